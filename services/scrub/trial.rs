//! The judge alone, for whoever measures it.

use super::facts::Standings;
use super::judge::{Fate, Judge};
use super::options::Options;
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
