//! `tidegate sdp`: what streams are, as SDP says it; what is wrong with an SDP; what one means.

mod print;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{Sdp, SdpCheck, SdpCommand, SdpExplain};
use crate::registry::Registry;
use crate::stream::sdp::{Finding, OCTETS_MAX, Reading, Severity, explain, read};

/// Runs the command. Fails where an SDP cannot be read, or has an error.
///
/// # Errors
///
/// Where `out` or `errors` cannot be written.
pub fn run(
    args: &Sdp,
    registry: &Registry,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    let stdin = &mut io::stdin();
    match &args.command {
        SdpCommand::Print(args) => print::run(args, registry, out, errors),
        SdpCommand::Check(args) => check(args, stdin, out, errors),
        SdpCommand::Explain(args) => tell(args, stdin, out, errors),
    }
}

/// One SDP as `check` found it.
#[derive(Serialize)]
struct Checked {
    file: String,
    findings: Vec<Finding>,
}

impl Checked {
    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|it| it.severity == severity).count()
    }

    /// How many of each kind, in words.
    fn summary(&self) -> String {
        let [errors, warnings, notes] =
            [Severity::Error, Severity::Warning, Severity::Note].map(|it| self.count(it));
        match (errors, warnings, notes) {
            (0, 0, 0) => "nothing is wrong with it".into(),
            _ => format!(
                "{}, {}, {}",
                several(errors, "error"),
                several(warnings, "warning"),
                several(notes, "note")
            ),
        }
    }
}

fn several(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn check(
    args: &SdpCheck,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    let mut all = Vec::new();
    let mut is_bad = false;
    for path in &args.files {
        let file = name(path);
        match fetch(path, stdin) {
            Ok(text) => {
                let reading = read(&text);
                is_bad |= reading.has_errors();
                all.push(Checked { file, findings: reading.findings });
            }
            Err(error) => {
                is_bad = true;
                unreadable(&file, &error, errors)?;
            }
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
    } else {
        for checked in &all {
            for finding in &checked.findings {
                writeln!(out, "{}:{finding}", checked.file)?;
            }
            writeln!(out, "{}: {}", checked.file, checked.summary())?;
        }
    }
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Explains what can be read, and says before it what cannot.
fn tell(
    args: &SdpExplain,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    let file = name(&args.file);
    let text = match fetch(&args.file, stdin) {
        Ok(text) => text,
        Err(error) => {
            unreadable(&file, &error, errors)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let Reading { session, places, findings } = read(&text);
    let mut bad = findings.iter().filter(|it| it.severity == Severity::Error).peekable();
    let is_bad = bad.peek().is_some();
    for finding in bad {
        writeln!(errors, "{file}:{finding}")?;
    }
    if let Some(session) = session {
        out.write_all(explain(&session, &places).as_bytes())?;
    }
    let other = findings.iter().filter(|it| it.severity != Severity::Error).count();
    if other > 0 {
        let what = several(other, "more finding");
        writeln!(out, "\n{what}: tidegate sdp check {file}")?;
    }
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn unreadable(file: &str, error: &io::Error, errors: &mut dyn Write) -> io::Result<()> {
    writeln!(errors, "the SDP {file} cannot be read: {error}")
}

/// What a file is called in messages.
fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".into() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The text at `path`, or on `stdin`; no more than says that it is too much.
fn fetch(path: &Path, stdin: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let most = OCTETS_MAX as u64 + 1;
    if is_stdin(path) {
        stdin.take(most).read_to_end(&mut text)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: &str = include_str!("../stream/sdp/samples/narrow.sdp");

    /// What is said of `text` on standard input, what is complained of, and whether it is well.
    fn checked(text: &str, json: bool) -> (String, bool) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let args = SdpCheck { files: vec!["-".into()], json };
        let code = check(&args, &mut text.as_bytes(), &mut out, &mut errors).unwrap();
        assert!(errors.is_empty());
        (String::from_utf8(out).unwrap(), code == ExitCode::SUCCESS)
    }

    #[test]
    fn findings_have_the_file_the_line_and_a_summary() {
        let right = "standard input: nothing is wrong with it\n".to_owned();
        assert_eq!(checked(NARROW, false), (right, true));
        let text = NARROW.replace("TP=2110TPN;", "").replace("width=3840", "width=3841");
        let said = "standard input:9: error: width=3841, while pixels of YCbCr-4:2:2 10 bit come \
                    by 2 (ST 2110-20, 6.2)\n  remedy: a multiple of 2, as 3842\n\
                    standard input:9: warning: TP is missing (ST 2110-21, 8.1)\n  remedy: add \
                    TP=2110TPN, 2110TPNL or 2110TPW: as even as the sender is\n\
                    standard input: 1 error, 1 warning, 0 notes\n";
        assert_eq!(checked(&text, false), (said.into(), false));
        // A warning alone does not fail.
        assert!(checked(&NARROW.replace("TP=2110TPN;", ""), false).1);
    }

    #[test]
    fn json_has_what_the_text_has() {
        let (said, is_well) = checked(&NARROW.replace("depth=10", "depth=9"), true);
        assert!(!is_well);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let finding = &said[0]["findings"][0];
        assert_eq!(said[0]["file"], "standard input");
        assert_eq!(
            (&finding["line"], &finding["severity"], &finding["code"]),
            (&9.into(), &"error".into(), &"depth".into())
        );
        assert_eq!(finding["clause"], "ST 2110-20, 7.4.2");
        assert!(finding["remedy"].as_str().unwrap().contains("one of 8, 10, 12, 16, 16f"));
    }

    #[test]
    fn a_file_that_is_not_there_fails_and_the_others_are_checked() {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let args = SdpCheck { files: vec!["/nonexistent/a.sdp".into(), "-".into()], json: false };
        let code = check(&args, &mut NARROW.as_bytes(), &mut out, &mut errors).unwrap();
        assert_eq!(code, ExitCode::FAILURE);
        let errors = String::from_utf8(errors).unwrap();
        assert!(errors.starts_with("the SDP /nonexistent/a.sdp cannot be read: No such file"));
        assert!(String::from_utf8(out).unwrap().starts_with("standard input: nothing"));
    }

    #[test]
    fn an_explanation_comes_with_the_errors_and_counts_the_rest() {
        let told = |text: &str| {
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            let args = SdpExplain { file: "-".into() };
            let code = tell(&args, &mut text.as_bytes(), &mut out, &mut errors).unwrap();
            let [out, errors] = [out, errors].map(|it| String::from_utf8(it).unwrap());
            (out, errors, code == ExitCode::SUCCESS)
        };
        let (out, errors, is_well) = told(NARROW);
        assert!(out.starts_with("2160p25 of camera 1\n") && errors.is_empty() && is_well);
        let (out, errors, is_well) = told(&NARROW.replace("exactframerate=25; ", ""));
        assert!(out.contains("3840x2160, YCbCr-4:2:2 10 bit"), "{out}");
        assert!(errors.contains("error: exactframerate is missing") && !is_well, "{errors}");
        let (out, errors, is_well) = told(&NARROW.replace("TP=2110TPN;", ""));
        assert!(out.ends_with("1 more finding: tidegate sdp check standard input\n"), "{out}");
        assert!(errors.is_empty() && is_well);
        let (out, errors, is_well) = told("hello\n");
        assert!(out.is_empty() && errors.contains(":1: error: ") && !is_well);
    }

    #[test]
    fn an_endless_input_is_not_read_to_its_end() {
        let mut endless = io::repeat(b'v');
        assert_eq!(fetch(Path::new("-"), &mut endless).unwrap().len(), OCTETS_MAX + 1);
    }
}
