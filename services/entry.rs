//! From the words on the command line to the command.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tidegate_runtime::control;
use tidegate_runtime::metrics::snapshot::Snapshot;

use crate::cli::args::{Args, Command, Stats};
use crate::cli::told::told;
use crate::cli::{check, completions, doctor, measure, restore, run, scrub, sdp, stats, stream};
use crate::demo;
use crate::registry::Registry;

/// The whole program, with these services: all that a `main` has to call.
///
/// ```no_run
/// use tidegate::registry::Registry;
///
/// fn main() -> std::process::ExitCode {
///     tidegate::main_with(&Registry::stock()) // .add::<YourService>()
/// }
/// ```
pub fn main_with(registry: &Registry) -> ExitCode {
    let args = Args::parse();
    match command(args.command, registry) {
        Ok(code) => code,
        // Whoever read the output has enough of it, as `| head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell where this fails too.
            let _ = writeln!(io::stderr(), "tidegate: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command, registry: &Registry) -> io::Result<ExitCode> {
    // Not locked: the log goes to standard error from other threads.
    let (mut out, mut errors) = (io::stdout(), io::stderr());
    match command {
        Command::Check(args) => check::run(&args.config, registry, &mut out, &mut errors),
        Command::Doctor(args) => doctor::run(&args, &mut out),
        Command::Sdp(args) => sdp::run(&args, registry, &mut out, &mut errors),
        Command::Stream(args) => stream::run(&args, &mut out),
        Command::Scrub(args) => scrub::run(&args, &mut out, &mut errors),
        Command::Completions(args) => completions::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Command::Restore(args) => restore::run(&args, &mut out, &mut errors),
        Command::Run(args) => run::run(&args, registry, &mut errors),
        Command::Measure(args) => measure::run(&args, &mut out, &mut errors),
        Command::Stats(args) => show_stats(&args, &mut out),
        Command::Demo(args) => {
            let is_terminal = out.is_terminal();
            demo::run(&args, registry, is_terminal, &mut out, &mut errors)
        }
    }
}

/// `tidegate stats` with its numbers from the control socket.
fn show_stats(args: &Stats, out: &mut dyn io::Write) -> io::Result<ExitCode> {
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => {
            control::socket_path(&control::directory(), &args.instance).map_err(io::Error::other)?
        }
    };
    let mut fetch = || {
        let answer = control::request(&path, "stats").map_err(io::Error::other)?;
        serde_json::from_value::<Snapshot>(answer).map_err(io::Error::other)
    };
    let is_terminal = io::stdout().is_terminal();
    stats::run(args, &mut fetch, &mut std::thread::sleep, is_terminal, out)?;
    Ok(ExitCode::SUCCESS)
}
