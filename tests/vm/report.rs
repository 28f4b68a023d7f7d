//! What guest and host say to each other: lines of JSON on the guest's second serial line.

use std::fs::File;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// Where the host tells the guest what to play, on the kernel's command line.
pub(crate) const SCENARIO: &str = "tidegate.scenario=";

/// The guest's end of the line.
pub(crate) const LINE: &str = "/dev/ttyS1";

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Line {
    /// A step, for whoever looks why it is slow or where it stopped.
    Step {
        /// What begins now.
        what: String,
        /// Seconds since the guest's kernel started.
        at_s: f64,
    },
    /// A request: that a card's cable be pulled or plugged in.
    Cable {
        /// 0 is near, 1 is far.
        card: u8,
        /// How it is to be.
        plugged: bool,
    },
    /// The scenario was played to its end: its facts, as JSON.
    Played {
        /// What the scenario's judge reads.
        facts: String,
    },
    /// It was not.
    Failed {
        /// Why.
        why: String,
    },
}

impl Line {
    /// Writes it in one piece.
    pub(crate) fn say(&self, to: &mut File) -> io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        to.write_all(text.as_bytes())?;
        to.flush()
    }
}

/// Reads lines until the guest is gone; what is none of ours is an error.
pub(crate) fn hear(from: impl io::Read, mut each: impl FnMut(io::Result<Line>)) {
    for text in io::BufReader::new(from).lines() {
        match text {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => each(
                serde_json::from_str(text.trim())
                    .map_err(|error| io::Error::other(format!("the guest said {text:?}: {error}"))),
            ),
            Err(error) => return each(Err(error)),
        }
    }
}
