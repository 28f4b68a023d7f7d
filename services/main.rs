//! The tidegate command.

use std::process::ExitCode;

use tidegate::registry::Registry;

fn main() -> ExitCode {
    tidegate::main_with(&Registry::stock())
}
