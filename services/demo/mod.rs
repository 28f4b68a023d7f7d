//! `tidegate demo`: both services at once, on links of its own, with everything checked.
//!
//! ```text
//!      namespace "near": tidegate under test           namespace "far": the world
//!   ┌──────────────────────────────────────────┐   ┌────────────────────────────────────────┐
//!   │ shard 0: stream-send ─────────────► tide1 ╪═══╪ sea1 ─► stream-receive: every bit      │
//!   │ shard 1: scrub ◄── selected ◄────── tide2 ╪═══╪ sea2 ◄─ flood, questions, ordinary TCP │
//!   │            └─ reinjected ─► UDP socket    │   │                                        │
//!   │          not selected ────► TCP socket    │   │                                        │
//!   └──────────────────────────────────────────┘   └────────────────────────────────────────┘
//! ```
//!
//! Both sides run [`Program`], which is what `tidegate run` runs; the witnesses are ordinary
//! programs with kernel sockets. The namespaces have no names: whatever ends the process, the
//! kernel takes them down with all that is in them.

mod rig;
mod verdict;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tidegate_config::LogLevel;
use tidegate_runtime::metrics::snapshot::Snapshot;
use tidegate_runtime::signals::{Event, Signals};

use crate::cli::args::Demo;
use crate::cli::told::told;
use crate::cli::{log, stats};
use crate::lab;
use crate::registry::Registry;

use rig::Rig;

/// Runs the command.
///
/// # Errors
///
/// Where `out` or `errors` cannot be written, or the machine grants no signal handlers.
pub(crate) fn run(
    args: &Demo,
    registry: &Registry,
    is_terminal: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    log::to_stderr(args.log.unwrap_or(LogLevel::Warn));
    if let Some(missing) = lab::missing() {
        writeln!(errors, "tidegate: the demo cannot run here:\n{missing}")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut signals = Signals::install()?;
    let mut screen = Screen { json: args.json, is_terminal, before: None, out };
    let facts = match play(args.seconds, registry, &mut signals, &mut screen) {
        Ok(facts) => facts,
        Err(Failed::Output(error)) => return Err(error),
        Err(Failed::Rig(error)) => {
            writeln!(errors, "tidegate: the demo failed: {}", told(&error))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let report = verdict::judge(&facts);
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why there is no verdict.
enum Failed {
    Rig(rig::Error),
    Output(io::Error),
}

impl From<rig::Error> for Failed {
    fn from(error: rig::Error) -> Self {
        Self::Rig(error)
    }
}

fn play(
    seconds: u32,
    registry: &Registry,
    signals: &mut Signals,
    screen: &mut Screen<'_>,
) -> Result<verdict::Facts, Failed> {
    let rig = Rig::set_up(seconds, registry)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds.into());
    let mut shown = 0;
    loop {
        let now = Instant::now();
        let next = (start + Duration::from_secs(shown + 1)).min(end);
        let drain = signals.wait(next.saturating_duration_since(now)).map_err(Failed::Output)?;
        if drain == Some(Event::Drain) || Instant::now() >= end {
            break;
        }
        if Instant::now() >= next {
            shown += 1;
            screen.show(&rig.snapshot(), shown, seconds).map_err(Failed::Output)?;
        }
    }
    Ok(rig.take_down(start.elapsed())?)
}

/// Where the second-by-second view goes: a table on a terminal, a line elsewhere, nothing beside
/// JSON.
struct Screen<'a> {
    json: bool,
    is_terminal: bool,
    before: Option<Snapshot>,
    out: &'a mut dyn Write,
}

impl Screen<'_> {
    fn show(&mut self, now: &Snapshot, second: u64, seconds: u32) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let before = self.before.replace(now.clone()).unwrap_or_default();
        let rates = stats::rates(now, &before);
        if self.is_terminal {
            write!(self.out, "\x1b[H\x1b[J{}", stats::render(&rates, "per second"))?;
        } else {
            let (_, ports, services) = rates.totals();
            writeln!(
                self.out,
                "second {second} of {seconds}: {} frames/s in, {} out, {} dropped, {} reinjected",
                ports.rx_frames, ports.tx_frames, services.settled_drop, services.settled_reinject,
            )?;
        }
        self.out.flush()
    }
}
