//! Why a text cannot be read as a value.

use std::{error, fmt};

/// What was found in a text, and what is allowed instead.
///
/// The types of a service's options may return it from their own `FromStr` or pass it to
/// `serde::de::Error::custom`: a config error then shows both parts apart, with line and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

/// Between the two parts when they travel as one text, as through serde.
const BETWEEN: &str = "; allowed: ";

impl Refusal {
    /// A refusal of `found` where only `allowed` may stand.
    pub fn new(found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { found: found.into(), allowed: allowed.into() }
    }

    /// The two parts of a text that [`Display`](fmt::Display) wrote.
    pub(crate) fn split(text: &str) -> Option<Self> {
        let (found, allowed) = text.split_once(BETWEEN)?;
        Some(Self::new(found, allowed))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{BETWEEN}{}", self.found, self.allowed)
    }
}

impl error::Error for Refusal {}
