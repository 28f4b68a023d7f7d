//! From the words on the command line to the command.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::args::{Args, Command};
use crate::cli::{check, completions, doctor};
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
            let _ = writeln!(io::stderr(), "tidegate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command, registry: &Registry) -> io::Result<ExitCode> {
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr().lock());
    match command {
        Command::Check(args) => check::run(&args.config, registry, &mut out, &mut errors),
        Command::Doctor(args) => doctor::run(&args, &mut out),
        Command::Completions(args) => completions::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Command::Run(_) | Command::Stats(_) | Command::Demo(_) => {
            writeln!(errors, "tidegate: this command is not in this build")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
