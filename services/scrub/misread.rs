//! What is wrong in a short text, and where in it.

use std::fmt;
use std::ops::Range;

/// A text that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    /// The octets of the text that are wrong.
    pub(crate) at: Range<usize>,
    /// Why, and what may stand there.
    pub(crate) what: String,
}

impl Misread {
    /// `part`, which lies within `text`, is wrong.
    pub(super) fn part(text: &str, part: &str, what: impl Into<String>) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let start = start.min(text.len());
        Self { at: start..text.len().min(start + part.len()), what: what.into() }
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Misread {}
