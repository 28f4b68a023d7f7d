//! One token bucket.

use crate::scrub::siphash;

/// Billionths of a token in a token. Tokens are kept in billionths, so that a refill of
/// `elapsed_ns × rate` is exact and never rounds away.
const NANO: u128 = 1_000_000_000;

/// How far back time may seem to go without having been set: packets of a capture that were written
/// out of order, two cores whose clocks differ. Shorter and a shaken order would be taken for a set
/// clock, and bring tokens twice; longer and after a clock was set back nobody gets tokens for that
/// long.
const SHAKEN_NS: u64 = 1_000_000_000;

/// What a bucket gets and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Tokens per second in the long run.
    pub(crate) per_second: u64,
    /// Tokens at once after a silence.
    pub(crate) burst: u64,
}

impl Rate {
    /// What a full bucket holds, in billionths. Below 2^94.
    const fn full(self) -> u128 {
        self.burst as u128 * NANO
    }
}

/// Tokens at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// At `filled_at_ns`, in billionths: low and high half. 128 bits, because 100 Gbit are more
    /// billionths of a bit than 64 bits count; halves, because a `u128` is aligned to 16 octets and
    /// would leave a hole in each slot.
    halves: [u64; 2],
    filled_at_ns: u64,
}

impl Bucket {
    /// As full as it gets.
    pub(crate) const fn full(rate: Rate) -> Self {
        Self { halves: siphash::halves(rate.full()), filled_at_ns: 0 }
    }

    const fn nano_tokens(self) -> u128 {
        let [low, high] = self.halves;
        (high as u128) << 64 | low as u128
    }

    /// Adds what came in since the last time.
    ///
    /// A clock that is set forth fills the bucket, one that is set back brings nothing, and from
    /// then on the bucket fills as always.
    pub(crate) fn refill(&mut self, rate: Rate, now_ns: u64) {
        let Some(elapsed_ns) = now_ns.checked_sub(self.filled_at_ns) else {
            if self.filled_at_ns - now_ns > SHAKEN_NS {
                self.filled_at_ns = now_ns;
            }
            return;
        };
        // Below 2^128: two of 64 bits.
        let came_in = u128::from(elapsed_ns) * u128::from(rate.per_second);
        let tokens = self.nano_tokens().saturating_add(came_in).min(rate.full());
        self.halves = siphash::halves(tokens);
        self.filled_at_ns = now_ns;
    }

    /// Takes so many tokens, if there are as many.
    pub(crate) const fn spend(&mut self, tokens: u32) -> bool {
        let asked = tokens as u128 * NANO;
        let has = self.nano_tokens();
        let enough = has >= asked;
        if enough {
            self.halves = siphash::halves(has - asked);
        }
        enough
    }

    /// Whether nothing is missing.
    pub(crate) const fn is_full(self, rate: Rate) -> bool {
        self.nano_tokens() >= rate.full()
    }

    /// Whether it is the fuller one, at the same moment.
    pub(crate) const fn holds_more_than(self, other: Self) -> bool {
        self.nano_tokens() > other.nano_tokens()
    }
}
