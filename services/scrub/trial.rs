//! Rules and the judge alone, for whoever measures them.

use std::io;

use super::facts::{Facts, Standings};
use super::judge::{Fate, Judge};
use super::matcher::Matcher;
use super::options::Options;
use super::rules::rule::RuleSet;
use super::rules::{self, oracle};
use super::siphash::Key;

/// Rules and tables without rings around them.
pub struct Trial(Judge);

impl Trial {
    /// As a service with these options begins.
    pub fn new(options: &Options, key: Key) -> Self {
        Self(Judge::new(options.rules().book(key), key))
    }

    /// Whether a frame would be given back to the kernel.
    #[inline]
    pub fn passes(&mut self, frame: &[u8], now_ns: u64) -> bool {
        self.0.judge(frame, frame.len(), Standings::default(), now_ns).fate == Fate::Pass
    }
}

/// Rules as they were read.
pub struct Rules(RuleSet);

/// Rules as they are looked up.
pub struct Compiled(Matcher);

/// What a frame says.
pub struct Parsed<'a>(Facts<'a>);

impl Rules {
    /// Reads a text; `files` reads what it names.
    ///
    /// # Errors
    ///
    /// All that is wrong in it.
    pub fn read(
        text: &str,
        files: &mut dyn FnMut(&str) -> io::Result<String>,
    ) -> Result<Self, String> {
        let lines = |mistakes: Vec<rules::Mistake>| {
            mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        rules::read(text, "trial", files, &[]).map(Self).map_err(lines)
    }

    /// The first rule that holds, found by trying one after the other.
    pub fn first(&self, packet: &Parsed<'_>) -> Option<usize> {
        oracle::first(&self.0, &packet.0, 0)
    }

    /// Compiles them.
    ///
    /// # Errors
    ///
    /// When they would take too much memory.
    pub fn compile(&self) -> Result<Compiled, String> {
        Matcher::compile(&self.0).map(Compiled).map_err(|error| error.to_string())
    }
}

impl Compiled {
    /// The first rule that holds.
    #[inline]
    pub fn first(&self, packet: &Parsed<'_>) -> Option<usize> {
        self.0.first(&packet.0, 0).map(|rule| rule as usize)
    }

    /// Octets that they take.
    pub fn octets(&self) -> usize {
        self.0.octets()
    }
}

impl<'a> Parsed<'a> {
    /// Reads a frame; `None` where it is malformed.
    #[inline]
    pub fn of(frame: &'a [u8]) -> Option<Self> {
        Facts::of(frame, frame.len(), Standings::default()).ok().map(Self)
    }
}
