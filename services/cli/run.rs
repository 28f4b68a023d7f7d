//! `tidegate run`: a config at work, until a signal asks it to leave.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tidegate_runtime::metrics::snapshot::Snapshot;
use tidegate_runtime::signals::{Event, Signals};
use tracing::{info, warn};

use super::args::Run;
use super::told::told;
use super::{check, log};
use crate::registry::Registry;
use crate::run::{Outcome, Program};

/// How often the wait for signals looks up, in case a shard has ended by itself.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the command.
///
/// # Errors
///
/// Where `errors` cannot be written or no signal handlers can be had.
pub fn run(args: &Run, registry: &Registry, errors: &mut dyn Write) -> io::Result<ExitCode> {
    let mut config = match check::load(&args.config, registry) {
        Ok(config) => config,
        Err(error) => {
            writeln!(errors, "{error}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(cpus) = &args.cpus {
        config.runtime.cpus = Some(cpus.as_slice().to_vec());
    }
    log::to_stderr(args.log.unwrap_or(config.runtime.log));
    for remark in config.warnings() {
        warn!("{remark}");
    }
    // Before the start, so that a signal during it is not lost.
    let signals = Signals::install()?;
    let program = match Program::start(&config, registry) {
        Ok(program) => program,
        Err(error) => {
            writeln!(errors, "tidegate: {}", told(&error))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    info!(instance = config.runtime.instance, socket = %program.control_socket().display(), "running");
    let outcome = until_asked(program, signals)?;
    let in_order = tell(&outcome) && outcome.put_back && over(&outcome.snapshot) != Over::Broken;
    Ok(if in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether there is anything left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// There is.
    No,
    /// All that was to be sent was sent.
    Sent,
    /// What was to be sent cannot be read.
    Broken,
}

/// A program whose services are senders, all at the end of their pipes, has nothing left to do. One
/// that receives as well, or filters, or was told how many frames to send, stays.
fn over(snapshot: &Snapshot) -> Over {
    let mut over = Over::No;
    for service in snapshot.shards.iter().flat_map(|shard| &shard.services) {
        match service.words.get("source").map(String::as_str) {
            Some("ended") if over != Over::Broken => over = Over::Sent,
            Some("ended") => {}
            Some("broken") => over = Over::Broken,
            _ => return Over::No,
        }
    }
    over
}

/// Waits for a signal or the program's own end, whichever comes first.
fn until_asked(program: Program, mut signals: Signals) -> io::Result<Outcome> {
    let stopper = program.stopper();
    let numbers = program.numbers();
    let mut told = false;
    let waiter = std::thread::Builder::new().name("waiter".into()).spawn(|| program.wait())?;
    while !waiter.is_finished() {
        match signals.wait(LOOK)? {
            Some(Event::Drain) => stopper.stop(),
            Some(Event::HangUp) => info!("SIGHUP: nothing is read again; restart to change"),
            None if !told && over(&numbers()) != Over::No => {
                info!("all sources have ended");
                told = true;
                stopper.stop();
            }
            None => {}
        }
    }
    Ok(waiter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Says how it ended; whether that was in order.
fn tell(outcome: &Outcome) -> bool {
    let report = &outcome.report;
    for (shard, message) in &report.crashed {
        tracing::error!(%shard, message, "a shard ended by itself");
    }
    for shard in report.shards.iter().filter(|shard| shard.drain_timed_out) {
        warn!(shard = %shard.shard, "did not settle all within drain_timeout");
    }
    let unaccounted = report.unaccounted();
    if unaccounted > 0 {
        tracing::error!(unaccounted, "frames are nowhere: please report this");
    }
    info!(unaccounted, "left");
    report.is_clean()
}

#[cfg(test)]
mod tests {
    use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, ShardSnapshot};

    use super::*;

    #[test]
    fn it_is_over_when_every_service_is_at_its_end() {
        let of = |states: &[&[&str]]| {
            let service = |state: &&str| {
                let words = [("source".to_owned(), (*state).to_owned())];
                let words = words.into_iter().filter(|(_, state)| !state.is_empty()).collect();
                ServiceSnapshot { words, ..ServiceSnapshot::default() }
            };
            let shards = states.iter().map(|shard| ShardSnapshot {
                services: shard.iter().map(service).collect(),
                ..ShardSnapshot::default()
            });
            over(&Snapshot { shards: shards.collect(), ..Snapshot::default() })
        };
        assert_eq!(of(&[]), Over::No);
        assert_eq!(of(&[&["ended"]]), Over::Sent);
        assert_eq!(of(&[&["ended"], &["playing"]]), Over::No);
        assert_eq!(of(&[&["broken"], &["ended", "ended"]]), Over::Broken);
        assert_eq!(of(&[&["ended", "broken"]]), Over::Broken);
        assert_eq!(of(&[&["ended", ""]]), Over::No, "another kind of service");
    }
}
