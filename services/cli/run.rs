//! `tidegate run`: a config at work, until a signal asks it to leave.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tidegate_config::{Config, Service};
use tidegate_runtime::metrics::snapshot::Snapshot;
use tidegate_runtime::signals::{Event, Signals};
use tracing::{info, warn};

use super::args::Run;
use super::told::told;
use super::{check, log};
use crate::operator::Desk;
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
    let desk = program.desk();
    let reread = || reread(args, &config, registry, &desk);
    let outcome = until_asked(program, signals, &reread)?;
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

/// Reads the config again, says what of it only a restart can change, and has the services take what
/// they can. A file with a mistake changes nothing.
fn reread(args: &Run, running: &Config, registry: &Registry, desk: &Desk) {
    let path = &args.config;
    let now = match check::load(path, registry) {
        Ok(mut now) => {
            if args.cpus.is_some() {
                now.runtime.cpus.clone_from(&running.runtime.cpus);
            }
            now
        }
        Err(error) => {
            warn!("SIGHUP: nothing changes, for there is a mistake:\n{error}");
            return;
        }
    };
    for part in fixed(running, &now) {
        warn!("SIGHUP: {part} changed in {}; restart to have that", path.display());
    }
    desk.reread(|name| {
        let service = now.services.iter().find(|service| service.name == name);
        service.map(|service| service.options.clone())
    });
}

/// What differs of two configs and is fixed while the program runs, the options of services apart.
fn fixed(running: &Config, now: &Config) -> Vec<String> {
    let mut parts = Vec::new();
    if format!("{:?}", running.runtime) != format!("{:?}", now.runtime) {
        parts.push("[runtime]".to_owned());
    }
    if format!("{:?}", running.interfaces) != format!("{:?}", now.interfaces) {
        parts.push("an [[interface]]".to_owned());
    }
    let outside = |service: &Service| {
        let Service { name, kind, interface, further, queues, cores, .. } = service;
        let Service { selectors, derived, held_frames_max, .. } = service;
        let place = (interface, further, queues, cores);
        format!("{:?}", (name, kind, place, selectors, derived, held_frames_max))
    };
    for service in &running.services {
        match now.services.iter().find(|other| other.name == service.name) {
            Some(other) if outside(other) == outside(service) => {}
            Some(_) => parts.push(format!("the table of the service {:?}", service.name)),
            None => parts.push(format!("that the service {:?} is no longer there", service.name)),
        }
    }
    for service in &now.services {
        if !running.services.iter().any(|other| other.name == service.name) {
            parts.push(format!("that there is a new service {:?}", service.name));
        }
    }
    parts
}

/// Waits for a signal or the program's own end, whichever comes first.
fn until_asked(program: Program, mut signals: Signals, reread: &dyn Fn()) -> io::Result<Outcome> {
    let stopper = program.stopper();
    let numbers = program.numbers();
    let mut told = false;
    let waiter = std::thread::Builder::new().name("waiter".into()).spawn(|| program.wait())?;
    while !waiter.is_finished() {
        match signals.wait(LOOK)? {
            Some(Event::Drain) => stopper.stop(),
            Some(Event::HangUp) => reread(),
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
    fn says_which_parts_of_a_config_only_a_restart_can_change() {
        let config = |extra: &str, options: &str, more: &str| {
            let text = format!(
                "[runtime]\n{extra}\n[[service]]\nname = \"a\"\nkind = \"echo\"\n{options}\n{more}"
            );
            Config::parse("tide.toml", &text).unwrap()
        };
        let running = config("", "", "");
        let parts =
            |extra, options, more| fixed(&running, &config(extra, options, more)).join("; ");
        assert_eq!(parts("", "", ""), "");
        assert_eq!(parts("", "options = { loud = true }", ""), "", "that is the service's affair");
        assert_eq!(parts("instance = \"b\"", "", ""), "[runtime]");
        assert_eq!(
            parts("", "held_frames_max = 7", "[[service]]\nname = \"b\"\nkind = \"echo\""),
            "the table of the service \"a\"; that there is a new service \"b\""
        );
        let named = Config::parse("tide.toml", "[[service]]\nname = \"c\"\nkind = \"echo\"");
        assert_eq!(
            fixed(&running, &named.unwrap()).join("; "),
            "that the service \"a\" is no longer there; that there is a new service \"c\""
        );
    }

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
