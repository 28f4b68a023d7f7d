//! Whole files: the manual, and the exact message of each kind of mistake.

mod derived;
mod manual;
mod mistakes;
mod options;
mod placement;

use super::*;

/// A machine of two CPUs, so that no test depends on the one it runs on.
fn machine() -> Machine {
    Machine { cpus: 2 }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse_for("tide.toml", text, &machine())
}

fn accept(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The whole message for `text`.
fn refuse(text: &str) -> String {
    parse(text).expect_err("this text has a mistake").to_string()
}
