//! `tidegate completions`: what a shell needs to complete a command line.

use std::io::{self, Write};

use clap::CommandFactory as _;

use super::args::{Args, Completions};

/// Prints the completions for the shell asked for.
///
/// # Errors
///
/// Where `out` cannot be written.
pub fn run(args: &Completions, out: &mut dyn Write) -> io::Result<()> {
    // Into memory first: the generator panics where its writer fails, as `| head` makes it.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "tidegate", &mut text);
    out.write_all(&text)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn each_shell_learns_each_command() {
        for &shell in Shell::value_variants() {
            let mut out = Vec::new();
            run(&Completions { shell }, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            for word in ["run", "check", "stats", "demo", "doctor", "completions", "stall"] {
                assert_eq!(text.contains(word), word != "stall", "{shell}: {word}");
            }
        }
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_panic() {
        struct Closed;

        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let error = run(&Completions { shell: Shell::Bash }, &mut Closed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
