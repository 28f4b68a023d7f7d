//! `tidegate capture`: packets that a scrubber judges, as a capture with a comment for each.
//!
//! The process sends samples as they come; this end writes them. Whatever goes wrong with the file
//! ends this end only, and the scrubber notices that nobody listens any more.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use tidegate_dataplane::pcap::{AnnotatedWriter, LINK_ETHERNET, Record};
use tidegate_runtime::control;
use tidegate_runtime::signals::Signals;

use super::args::Capture;
use super::ask::{number, request, socket, text};
use super::told::told;

/// Octets of one sample, at most: what the process sends is bounded, and what is not is no sample.
const OCTETS_MAX: u64 = 1 << 16;

/// Runs the command.
///
/// # Errors
///
/// Where nobody answers, or `errors` cannot be written.
pub fn run(args: &Capture, errors: &mut dyn Write) -> io::Result<ExitCode> {
    // Ctrl-C ends the capture, not the file in the middle of a packet.
    let signals = Signals::install()?;
    // First, so that nothing is asked for in vain.
    let file = match create(&args.write) {
        Ok(file) => file,
        Err(error) => {
            writeln!(errors, "{} cannot be written: {error}", args.write.display())?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let asked = request(&args.asked, "capture", &wanted(args));
    let (_, stream) =
        control::request_stream(&socket(&args.asked)?, &asked).map_err(io::Error::other)?;
    let name = args.write.display().to_string();
    match write(stream, &name, file, &mut || signals.drain_asked()) {
        Ok(ended) => {
            writeln!(errors, "{}", summary(&ended))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(errors, "the capture has ended: {error}; the scrubber goes on")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn create(path: &Path) -> io::Result<Box<dyn Write>> {
    match path.as_os_str() == "-" {
        true => Ok(Box::new(io::stdout())),
        false => Ok(Box::new(File::create(path)?)),
    }
}

fn wanted(args: &Capture) -> Value {
    let fate = match args {
        _ if args.dropped => "dropped",
        _ if args.passed => "passed",
        _ if args.challenged => "challenged",
        _ => "all",
    };
    json!({
        "fate": fate,
        "rule": args.rule,
        "sample": args.sample,
        "count": args.count,
        "seconds": args.seconds,
    })
}

/// How a capture ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ended {
    packets: u64,
    lost: u64,
    why: String,
}

fn summary(ended: &Ended) -> String {
    let Ended { packets, lost, why } = ended;
    let lost = match lost {
        0 => String::new(),
        lost => format!(", and {lost} more found no room on their way here"),
    };
    format!("{packets} packets captured{lost}; {why}")
}

/// Writes what comes until it ends, or `enough` says so.
fn write(
    mut stream: impl BufRead,
    name: &str,
    file: impl Write,
    enough: &mut dyn FnMut() -> bool,
) -> Result<Ended, String> {
    let mut writer = AnnotatedWriter::new(name, BufWriter::new(file)).map_err(|it| told(&it))?;
    let mut ended = Ended::default();
    let mut line = String::new();
    loop {
        line.clear();
        let read = (&mut stream).take(OCTETS_MAX).read_line(&mut line);
        read.map_err(|error| format!("the process says no more: {error}"))?;
        if line.is_empty() {
            return Err("the process has gone".into());
        }
        let said: Value = serde_json::from_str(&line)
            .map_err(|error| format!("what the process says cannot be read: {error}"))?;
        if let Some(why) = said["end"].as_str() {
            (ended.lost, ended.why) = (number(&said, "lost"), why.to_owned());
            break;
        }
        let octets = number(&said, "octets");
        if said["octets"].is_u64() && octets <= OCTETS_MAX {
            let mut bytes = vec![0; usize::try_from(octets).unwrap_or(0)];
            stream.read_exact(&mut bytes).map_err(|error| error.to_string())?;
            let record = Record {
                timestamp_ns: number(&said, "at_ns"),
                bytes,
                original_len: u32::try_from(number(&said, "original")).unwrap_or(u32::MAX),
                link_type: LINK_ETHERNET,
            };
            writer.write(&record, text(&said, "comment")).map_err(|error| told(&error))?;
            ended.packets += 1;
        }
        if enough() {
            "ended by a signal".clone_into(&mut ended.why);
            break;
        }
    }
    let flushed = writer.into_stream().flush();
    flushed.map_err(|error| format!("capture {name}: {error}"))?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::pcap::Reader;

    use super::*;

    fn said(packets: &[(&str, &[u8])], end: &str) -> Vec<u8> {
        let mut said = Vec::new();
        for (comment, octets) in packets {
            let head = json!({
                "at_ns": 1_700_000_000_000_000_001_u64,
                "octets": octets.len(),
                "original": octets.len() + 5,
                "comment": comment,
            });
            said.extend_from_slice(format!("{head}\n").as_bytes());
            said.extend_from_slice(octets);
            said.extend_from_slice(b"{\"alive\":true}\n");
        }
        said.extend_from_slice(end.as_bytes());
        said
    }

    #[test]
    fn what_is_said_is_written_with_its_comments() {
        let packets: [(&str, &[u8]); 2] =
            [("dropped: rule bad, generation 7", b"one\ntwo"), ("passed", &[0xa5; 60])];
        let stream = said(&packets, "{\"end\":\"enough packets\",\"lost\":3}\n");
        let mut file = Vec::new();
        let ended = write(&stream[..], "x.pcapng", &mut file, &mut || false).unwrap();
        assert_eq!(
            summary(&ended),
            "2 packets captured, and 3 more found no room on their way here; enough packets"
        );
        let read: Vec<Record> = Reader::new("x", &file[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((&read[0].bytes[..], read[0].original_len), (&b"one\ntwo"[..], 12));
        assert_eq!(read[0].timestamp_ns, 1_700_000_000_000_000_001);
        let has = |text: &str| file.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(has("dropped: rule bad, generation 7"));
    }

    #[test]
    fn a_disk_that_is_full_ends_the_capture_with_its_name() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                if self.0 < octets.len() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0 -= octets.len();
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let many = vec![("dropped", &[7; 1400][..]); 40];
        let stream = said(&many, "{\"end\":\"enough packets\"}\n");
        let error = write(&stream[..], "x.pcapng", Full(20_000), &mut || false).unwrap_err();
        assert_eq!(error, "capture x.pcapng: no storage space");
    }

    #[test]
    fn a_process_that_goes_is_said_so_and_a_signal_is_an_end() {
        let mut file = Vec::new();
        let error = write(&said(&[], "")[..], "x", &mut file, &mut || false).unwrap_err();
        assert_eq!(error, "the process has gone");
        let error = write(&b"hello\n"[..], "x", &mut file, &mut || false).unwrap_err();
        assert!(error.starts_with("what the process says cannot be read"), "{error}");
        let stream = said(&[("passed", &[1; 60]), ("passed", &[2; 60])], "");
        let ended = write(&stream[..], "x", &mut file, &mut || true).unwrap();
        assert_eq!(summary(&ended), "1 packets captured; ended by a signal");
    }
}
