//! `tidegate stats`: what a running tidegate does.
//!
//! The numbers come over the control socket as a [`Snapshot`]; [`render`] makes the screen of it,
//! [`rates`] makes of two snapshots one whose counters are per second. Both are pure. The loop
//! around them takes its source as an argument, so a test needs no process.

mod render;
pub(super) mod units;

use std::io::{self, Write};
use std::time::Duration;

use tidegate_runtime::metrics::snapshot::Snapshot;

pub(super) use render::{Table, of_the_kernel};
pub use render::{rates, render};

use super::args::Stats;

/// How often `--watch` looks. Faster, and the digits cannot be read.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs the command with snapshots from `fetch`, waiting with `wait`. `--watch` ends where
/// `fetch` fails, as when the process has ended.
///
/// # Errors
///
/// Those of `fetch`, and where `out` cannot be written.
pub fn run(
    args: &Stats,
    fetch: &mut dyn FnMut() -> io::Result<Snapshot>,
    wait: &mut dyn FnMut(Duration),
    is_terminal: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut before: Option<Snapshot> = None;
    loop {
        let now = fetch()?;
        if args.json {
            serde_json::to_writer(&mut *out, &now)?;
            writeln!(out)?;
        } else {
            let text = match &before {
                Some(before) => render(&rates(&now, before), "per second"),
                None => render(&now, "since the start"),
            };
            // Home and clear to the end: no flicker, and nothing of an earlier screen remains.
            let home = if args.watch && is_terminal { "\x1b[H\x1b[J" } else { "" };
            write!(out, "{home}{text}")?;
        }
        out.flush()?;
        if !args.watch {
            return Ok(());
        }
        before = Some(now);
        wait(PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(watch: bool, json: bool) -> Stats {
        Stats { watch, json, instance: "main".to_owned(), socket: None }
    }

    /// What is printed for snapshots a second apart, until there are no more.
    fn output(args: &Stats, is_terminal: bool, count: u64) -> (io::Result<()>, String) {
        let mut uptime = 0;
        let mut fetch = || {
            uptime += 1_000_000_000;
            if uptime > count * 1_000_000_000 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Snapshot { instance: "main".to_owned(), uptime_ns: uptime, ..Snapshot::default() })
        };
        let mut out = Vec::new();
        let result = run(args, &mut fetch, &mut |_| (), is_terminal, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn prints_once_unless_watching() {
        let (result, text) = output(&args(false, false), true, 9);
        assert!(result.is_ok());
        assert_eq!(text.matches("since the start").count(), 1);
        assert!(!text.contains('\x1b'), "nothing is cleared");
    }

    #[test]
    fn watching_redraws_with_rates_until_the_process_is_gone() {
        let (result, text) = output(&args(true, false), true, 3);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(text.matches("\x1b[H\x1b[J").count(), 3);
        assert_eq!(text.matches("per second").count(), 2, "the first has nothing to compare with");
        assert!(!output(&args(true, false), false, 2).1.contains('\x1b'), "not into a file");
    }

    #[test]
    fn json_is_one_object_a_line_that_reads_back() {
        let (_, text) = output(&args(true, true), true, 2);
        let uptimes: Vec<u64> = (text.lines())
            .map(|line| serde_json::from_str::<Snapshot>(line).unwrap().uptime_ns)
            .collect();
        assert_eq!(uptimes, [1_000_000_000, 2_000_000_000]);
    }
}
