//! `tidegate measure`: how fast an interface receives and drops, on an interface that the operator
//! names.
//!
//! ```text
//!   named queues ─► XDP program ─► RX rings ─► shards ─► a service that drops all ─► report
//!                     │ other queues, what is not IP: the kernel, as ever
//! ```
//!
//! It is the ordinary program with one service: what is measured is what `run` would do. It sends
//! nothing. It ends by itself, and the kernel then has its queues again, also after a kill.
//!
//! While it runs the machine hears nothing of what arrives on those queues. So it says so first,
//! and it refuses the interfaces by which a machine is usually reached; see `refusal`.

mod discard;
mod only;
mod plan;
mod refusal;
mod report;
mod surroundings;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tidegate_config::LogLevel;
use tidegate_runtime::signals::Signals;

pub use only::Only;

use super::args::Measure;
use super::log;
use super::told::told;
use super::wrap::wrap;
use crate::registry::Registry;
use crate::run::Program;
use report::{Ended, Report};

/// Runs the command.
///
/// # Errors
///
/// Where `out` or `errors` cannot be written, or the machine grants no signal handlers.
pub fn run(args: &Measure, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<ExitCode> {
    log::to_stderr(args.log.unwrap_or(LogLevel::Warn));
    let refuse = |errors: &mut dyn Write, why: &str| {
        writeln!(errors, "tidegate: {why}")?;
        Ok(ExitCode::FAILURE)
    };
    let found = match surroundings::of(&args.interface) {
        Ok(found) => found,
        Err(error) => return refuse(errors, &told(&error)),
    };
    if let Err(refusal) = refusal::judge(args, &found) {
        return refuse(errors, &refusal.to_string());
    }
    let config = match plan::config(args, &found) {
        Ok(config) => config,
        Err(error) => return refuse(errors, &error.to_string()),
    };
    for line in wrap(&announcement(args), 80) {
        writeln!(errors, "{line}")?;
    }
    errors.flush()?;
    // Before the start, so that a signal during it is not lost.
    let mut signals = Signals::install()?;
    let program = match Program::start(&config, &Registry::new().add::<discard::Discard>()) {
        Ok(program) => program,
        Err(error) => return refuse(errors, &told(&error)),
    };
    // A link may have taken seconds to come up again.
    writeln!(errors, "tidegate: measuring")?;
    let start = Instant::now();
    let before = program.snapshot();
    let ended = wait(args, &mut signals, start, &program, out)?;
    let after = program.snapshot();
    let elapsed = start.elapsed();
    let outcome = program.stop();
    let report = Report::new(&args.interface, elapsed, ended, &before, &after, &outcome.snapshot);
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    let clean = outcome.report.is_clean() && report.holds();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is about to happen, before it does.
fn announcement(args: &Measure) -> String {
    let Measure { interface, seconds, .. } = args;
    let what = match args.only.as_slice() {
        [] => "ALL IP PACKETS".to_owned(),
        only => only.iter().map(|it| format!("all packets to {it}")).collect::<Vec<_>>().join(", "),
    };
    let queues = args.queues();
    let (word, list) = match queues.as_slice() {
        [queue] => ("queue", queue.to_string()),
        queues => ("queues", queues.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    };
    format!(
        "{what} that arrive at {interface} on {word} {list} ARE CUT OFF from this machine for \
         {seconds} s: they are counted and dropped. Nothing is transmitted. Ctrl-C ends it at once."
    )
}

/// Waits until the time is over or a signal comes, and says each second what is received.
fn wait(
    args: &Measure,
    signals: &mut Signals,
    start: Instant,
    program: &Program,
    out: &mut dyn Write,
) -> io::Result<Ended> {
    let end = start + Duration::from_secs(args.seconds.into());
    let (mut second, mut packets_before) = (0, 0);
    loop {
        let next = (start + Duration::from_secs(second + 1)).min(end);
        let now = Instant::now();
        // The terminal may be gone because its packets are: no reason to go on.
        if signals.wait(next.saturating_duration_since(now))?.is_some() {
            return Ok(Ended::Signal);
        }
        if Instant::now() >= end {
            return Ok(Ended::Time);
        }
        if Instant::now() >= next {
            second += 1;
            if !args.json {
                let (_, ports, _) = program.snapshot().totals();
                let (packets, lost) = (ports.rx_frames, ports.kernel_losses());
                writeln!(out, "{}", report::second(second, packets - packets_before, lost))?;
                out.flush()?;
                packets_before = packets;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    pub(super) fn args(line: &str) -> Measure {
        let words = ["tidegate", "measure"].into_iter().chain(line.split_whitespace());
        match Args::try_parse_from(words).unwrap().command {
            Command::Measure(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn says_before_it_starts_what_is_cut_off_and_for_how_long() {
        assert_eq!(
            announcement(&args("eth1")),
            "ALL IP PACKETS that arrive at eth1 on queue 0 ARE CUT OFF from this machine for 10 s: \
             they are counted and dropped. Nothing is transmitted. Ctrl-C ends it at once."
        );
        let some = args("eth1 --queue 0-1 --queue 3 --seconds 2 --only 198.18.0.1,udp,53");
        assert!(announcement(&some).starts_with(
            "all packets to 198.18.0.1/32,udp,53 that arrive at eth1 on queues 0, 1, 3 ARE CUT OFF \
             from this machine for 2 s:"
        ));
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused_without_privilege() {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(&args("no-such-link"), &mut out, &mut errors).unwrap();
        assert_eq!(code, ExitCode::FAILURE);
        assert_eq!(
            String::from_utf8(errors).unwrap(),
            "tidegate: no interface \"no-such-link\" in this network namespace; \
             `ip -brief link` lists them\n"
        );
        assert!(out.is_empty());
    }
}
