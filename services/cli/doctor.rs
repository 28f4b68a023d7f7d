//! `tidegate doctor`: what on this machine stands in the way, each with the command that mends it.
//!
//! ```text
//!   probe ──facts──► judge ──findings──► render
//!   asks the kernel   pure                text or JSON
//! ```
//!
//! It changes nothing: it opens an io_uring and an `AF_XDP` socket, reads `/proc` and `/sys`,
//! and asks netlink and ethtool. The commands it shows are for the operator to type.

mod facts;
mod hardware;
mod judge;
mod probe;
mod text;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

pub use facts::{Answer, Capability, Facts, FeatureFacts, HugePages, Irq, LinkFacts, XdpFacts};
pub use hardware::{HardwareFacts, RecordFacts, RuleFacts};
pub use judge::{Finding, Severity, judge};

use super::args::Doctor;
use super::wrap::wrap;

/// Runs the command. Fails where something will not work.
///
/// # Errors
///
/// Where the kernel does not list its interfaces, or `out` cannot be written.
pub fn run(args: &Doctor, out: &mut dyn Write) -> io::Result<ExitCode> {
    let facts = probe::facts(&args.interfaces)?;
    let findings = judge(&facts);
    if args.json {
        let report = Report { facts: &facts, findings: &findings };
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(render(&findings).as_bytes())?;
    }
    let problem = findings.iter().any(|finding| finding.severity == Severity::Problem);
    Ok(if problem { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    facts: &'a Facts,
}

/// The findings for a terminal of 80 columns. A command stands on a line of its own, whole, so
/// that it can be copied.
pub fn render(findings: &[Finding]) -> String {
    const INDENT: usize = 11;
    let mut text = String::new();
    let mut about = "";
    for (index, finding) in findings.iter().enumerate() {
        if finding.about != about {
            about = &finding.about;
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{about}");
        }
        let mut word = finding.severity.word();
        for line in wrap(&finding.what, 80 - INDENT) {
            let _ = writeln!(text, "  {word:<9}{line}");
            word = "";
        }
        // One command that mends several findings in a row stands once, below the last.
        let next = findings.get(index + 1).and_then(|next| next.command.as_ref());
        if let Some(command) = finding.command.as_ref().filter(|&command| next != Some(command)) {
            let _ = writeln!(text, "{:INDENT$}# {command}", "");
        }
    }
    let count = |severity| findings.iter().filter(|it| it.severity == severity).count();
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    let _ = writeln!(text, "\n{problems} problems, {warnings} warnings");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(about: &str, severity: Severity, what: &str, command: Option<&str>) -> Finding {
        let (about, what) = (about.to_owned(), what.to_owned());
        Finding { about, severity, what, command: command.map(str::to_owned) }
    }

    #[test]
    fn renders_findings_by_what_they_are_about_with_whole_commands() {
        let text = render(&[
            finding("kernel", Severity::Good, "6.12.9", None),
            finding("kernel", Severity::Problem, "io_uring is forbidden", Some("sysctl -w a=0")),
            finding("privilege", Severity::Problem, "this is missing", Some("setcap")),
            finding("privilege", Severity::Problem, "that is missing", Some("setcap")),
            finding(
                "eth1",
                Severity::Warning,
                &"far too long to stand on one line ".repeat(3),
                None,
            ),
        ]);
        assert_eq!(
            text,
            "\
kernel
  good     6.12.9
  PROBLEM  io_uring is forbidden
           # sysctl -w a=0

privilege
  PROBLEM  this is missing
  PROBLEM  that is missing
           # setcap

eth1
  WARNING  far too long to stand on one line far too long to stand on one line
           far too long to stand on one line

3 problems, 1 warnings
"
        );
        assert!(text.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn this_machine_can_be_asked_without_privilege() {
        let mut out = Vec::new();
        let args = Doctor { interfaces: vec!["no-such-link".to_owned()], json: true };
        let code = run(&args, &mut out).unwrap();
        assert_eq!(code, ExitCode::FAILURE, "the interface is missing");
        let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(report["facts"]["missing_links"][0], "no-such-link");
        assert!(!report["facts"]["cpus"].as_array().unwrap().is_empty());
        let missing = report["findings"].as_array().unwrap().iter();
        assert_eq!(missing.filter(|it| it["about"] == "no-such-link").count(), 1);
    }
}
