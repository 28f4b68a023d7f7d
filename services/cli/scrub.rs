//! `tidegate scrub`: what the scrubbing service would do with a capture.

use std::io::{self, Write};
use std::process::ExitCode;

use super::args::Scrub;
use crate::scrub::load::{Origin, Rules};
use crate::scrub::offline::{self, Failure, Request, Summary};

/// Runs the command: explanations and the summary to `out`, what is wrong to `errors`.
///
/// # Errors
///
/// Where `out` or `errors` cannot be written.
pub fn run(args: &Scrub, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<ExitCode> {
    let origin = args.rules.clone().map_or(Origin::Shipped, Origin::File);
    let rules = match Rules::load(&origin) {
        Ok(rules) => rules,
        Err(error) => {
            writeln!(errors, "{error}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let request = Request {
        read: &args.read,
        passed: &args.passed,
        dropped: &args.dropped,
        engaged: args.engaged,
    };
    // Explanations are many and short: one system call for each would be most of the work.
    let mut explained = io::BufWriter::new(&mut *out);
    let explain = args.explain.then_some(&mut explained as &mut dyn Write);
    let judged = offline::run(&request, &rules, explain);
    explained.flush()?;
    drop(explained);
    match judged {
        Ok(summary) => finish(args, &summary, out, errors),
        Err(Failure::Explain(error)) => Err(error),
        Err(Failure::File(error)) => {
            writeln!(errors, "{error}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The summary, where it does not stand between explanations.
fn finish(
    args: &Scrub,
    summary: &Summary,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    match args.explain {
        true => write!(errors, "{summary}")?,
        false => write!(out, "{summary}")?,
    }
    if let Some(broken) = &summary.broken {
        writeln!(errors, "{broken}; what is before that was judged")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::PathBuf;

    use tidegate_dataplane::pcap::Writer;

    use super::*;

    /// A directory of a test, gone with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// One packet of nothing known: 14 octets of Ethernet, a header of IPv4, UDP to port 9.
        fn args(&self) -> Scrub {
            let mut frame = [0; 46];
            frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17]);
            frame[26..42].copy_from_slice(&[198, 18, 0, 1, 198, 18, 0, 2, 0, 7, 0, 9, 0, 12, 0, 0]);
            let read = self.0.join("in.pcap");
            let mut writer = Writer::new(&read, File::create(&read).unwrap()).unwrap();
            writer.write(1_700_000_000_000_000_000, &frame).unwrap();
            drop(writer);
            Scrub {
                read,
                passed: self.0.join("passed.pcapng"),
                dropped: self.0.join("dropped.pcapng"),
                rules: None,
                engaged: true,
                explain: false,
            }
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn said(args: &Scrub) -> (ExitCode, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(args, &mut out, &mut errors).unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (code, text(out), text(errors))
    }

    #[test]
    fn tells_what_became_of_a_capture_by_the_named_rules() {
        let place = Place::new("scrub-tells");
        let mut args = place.args();
        let passed = "1 packets: 1 passed, 0 dropped (0 of them challenged)\n\
                      all destinations engaged, as asked\n";
        assert_eq!(said(&args), (ExitCode::SUCCESS, passed.into(), String::new()));
        let rules = place.0.join("my.rules");
        fs::write(&rules, "nine: drop when udp.dstport == 9\n").unwrap();
        args.rules = Some(rules);
        args.explain = true;
        let (code, out, errors) = said(&args);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(out, "1 dropped: rule nine (rule): drop when udp.dstport == 9\n");
        assert!(errors.starts_with("1 packets: 0 passed, 1 dropped"), "{errors}");
        assert!(errors.contains("         1  nine\n"), "{errors}");
        args.engaged = false;
        let (_, out, errors) = said(&args);
        assert_eq!(out, "1 passed: its destination is not engaged\n");
        assert!(errors.ends_with("no destination was engaged\n"), "{errors}");
    }

    #[test]
    fn what_is_wrong_is_said_and_fails() {
        let place = Place::new("scrub-wrong");
        let good = place.args();
        let rules = place.0.join("bad.rules");
        fs::write(&rules, "nine: drop when udp.dstprt == 9\n").unwrap();
        let cut = place.0.join("cut.pcap");
        let octets = fs::read(&good.read).unwrap();
        fs::write(&cut, &octets[..octets.len() - 1]).unwrap();
        let cases = [
            (Scrub { rules: Some(rules), ..good.clone() }, "did you mean udp.dstport?"),
            (
                Scrub { rules: Some("/no/such.rules".into()), ..good.clone() },
                "/no/such.rules cannot be read",
            ),
            (
                Scrub { read: "/no/such.pcap".into(), ..good.clone() },
                "capture /no/such.pcap: No such file",
            ),
            (Scrub { passed: good.read.clone(), ..good.clone() }, "are the same file"),
            (Scrub { read: cut, ..good }, "the file breaks off; what is before that was judged"),
        ];
        for (args, expected) in cases {
            let (code, _, errors) = said(&args);
            assert_eq!(code, ExitCode::FAILURE, "{errors}");
            assert!(errors.contains(expected), "{errors}");
        }
    }
}
