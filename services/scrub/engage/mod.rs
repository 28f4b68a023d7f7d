//! When a destination leaves the kernel, and when it goes back.
//!
//! ```text
//!              any count of the last second above its threshold
//!     peace ───────────────────────────────────────────────────► engaged
//!       ▲                                                           │
//!       └───────────────────────────────────────────────────────────┘
//!         all counts below `below` × threshold, without a break, for `after` × patience
//! ```
//!
//! A decision of counters and time, and nothing else: the service asks it with what XDP counted,
//! `tidegate scrub` with what a capture holds. Counters are those of all that came for the
//! destination, whatever became of it, so that they go on while it is engaged.
//!
//! A rate is what came within the last second, not what a tenth of it would make of one: thirty
//! connections of one page are no flood of SYNs. So a flood at its threshold is found after a
//! second, and one at ten times of it after a tenth.
//!
//! An attack that stops and comes back meets more patience each time: `after` is doubled with
//! each engagement that follows a release within [`MEMORY`] times of what was waited, up to
//! [`PATIENCE_MAX`]. Once it stays away for so long, patience is what it was.
//!
//! Time that runs backwards, and counters that do (a table made anew), begin a new second: nothing
//! is concluded from them.

mod counts;

use std::fmt;

pub(crate) use counts::{Counts, Measure, Thresholds};

/// How often [`Engagement::tell`] should be called while packets come. Seldomer is no harm: rates
/// are of the time that went by, and what began meanwhile is found later.
pub(crate) const TELL_EVERY_NS: u64 = 100_000_000;

/// What a rate is of.
const WINDOW_NS: u64 = 1_000_000_000;

/// Samples that cover the window, and one more for its beginning.
const SAMPLES: usize = (WINDOW_NS / TELL_EVERY_NS) as usize + 1;

/// Patience grows up to so many times `after`: 64 × 10 s is about ten minutes. Much higher, and a
/// destination stays out of the kernel for the day because of a bad morning; much lower, and an
/// attack of ten seconds a minute makes it flap all day.
pub(crate) const PATIENCE_MAX: u32 = 64;

/// An attack that comes back within so many times of what was waited for the release is the same.
/// Lower, and one that pauses a little longer than we wait is new each time.
const MEMORY: u64 = 4;

/// When to engage and to release one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// What is too much.
    pub(crate) thresholds: Thresholds,
    /// Thousandths of a threshold below which a count is calm. At most 1000.
    pub(crate) below_thousandths: u32,
    /// How long all must be calm.
    pub(crate) after_ns: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { thresholds: Thresholds::default(), below_thousandths: 500, after_ns: 10_000_000_000 }
    }
}

/// What to do about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Take it out of the kernel; it said why.
    Engage(Cause),
    /// Give it back.
    Release,
    /// As it is.
    Keep,
}

/// What was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// Of what.
    pub(crate) measure: Measure,
    /// A second.
    pub(crate) rate: u64,
    /// What is allowed a second.
    pub(crate) threshold: u64,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, above {}", self.rate, self.measure.name(), self.threshold)
    }
}

/// One destination's state. Does nothing by itself: who holds it tells it what was counted, and
/// does what it advises.
#[derive(Clone, Debug)]
pub(crate) struct Engagement {
    policy: Policy,
    state: State,
    /// Times `after` that calm must last.
    patience: u32,
    /// Counters and when they stood so, oldest first; `held` of them.
    samples: [(u64, Counts); SAMPLES],
    held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Since when, where it was engaged before, and how long the release was waited for.
    Peace { released: Option<(u64, u64)> },
    /// Since when all is calm, if it is.
    Engaged { calm_since_ns: Option<u64> },
}

impl Engagement {
    /// In peace.
    pub(crate) const fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Peace { released: None },
            patience: 1,
            samples: [(0, Counts::ZERO); SAMPLES],
            held: 0,
        }
    }

    /// Another policy from now on; state and patience stay.
    pub(crate) const fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether it is engaged, by what was advised so far.
    pub(crate) const fn is_engaged(&self) -> bool {
        matches!(self.state, State::Engaged { .. })
    }

    /// How long calm must last now until it is released.
    pub(crate) fn wait_ns(&self) -> u64 {
        self.policy.after_ns.saturating_mul(u64::from(self.patience))
    }

    /// Takes the counters as they stand at `now_ns`, and says what follows.
    pub(crate) fn tell(&mut self, counts: Counts, now_ns: u64) -> Advice {
        let Some(rates) = self.rates(counts, now_ns) else {
            // A clock or counters that were set back say nothing about the time before.
            if let State::Engaged { calm_since_ns } = &mut self.state {
                *calm_since_ns = None;
            }
            return Advice::Keep;
        };
        match self.state {
            State::Peace { released } => match self.policy.thresholds.above(&rates) {
                Some(cause) => {
                    self.grow(released, now_ns);
                    self.state = State::Engaged { calm_since_ns: None };
                    Advice::Engage(cause)
                }
                None => Advice::Keep,
            },
            State::Engaged { calm_since_ns } => {
                let calm = self.policy.thresholds.calm(&rates, self.policy.below_thousandths);
                let since =
                    calm.then(|| calm_since_ns.filter(|&at| at <= now_ns).unwrap_or(now_ns));
                let wait = self.wait_ns();
                if since.is_some_and(|since| now_ns - since >= wait) {
                    self.state = State::Peace { released: Some((now_ns, wait)) };
                    return Advice::Release;
                }
                self.state = State::Engaged { calm_since_ns: since };
                Advice::Keep
            }
        }
    }

    /// Doubles the patience where the attack is the one before, else begins anew.
    fn grow(&mut self, released: Option<(u64, u64)>, now_ns: u64) {
        let is_same = released
            .is_some_and(|(at, waited)| now_ns.saturating_sub(at) <= waited.saturating_mul(MEMORY));
        self.patience = if is_same { (self.patience * 2).min(PATIENCE_MAX) } else { 1 };
    }

    /// What came within the last second; `None` where clock or counters ran backwards, or with the
    /// first sample, which says only where they begin.
    fn rates(&mut self, counts: Counts, now_ns: u64) -> Option<Counts> {
        let held = &self.samples[..self.held];
        if held.last().is_none_or(|&(at, before)| now_ns < at || !counts.is_since(&before)) {
            self.samples[0] = (now_ns, counts);
            self.held = 1;
            return None;
        }
        // The youngest sample that is a whole window old is its beginning, else the oldest.
        let old = held.partition_point(|&(at, _)| now_ns - at >= WINDOW_NS);
        let (at, before) = held[old.saturating_sub(1)];
        let elapsed = (now_ns - at).max(WINDOW_NS);
        let grown = counts.minus(&before);
        self.keep(old.saturating_sub(1), counts, now_ns);
        Some(grown.per(elapsed, WINDOW_NS))
    }

    /// Forgets the first `old` samples and keeps the new one, if the last is not too young for one
    /// more: with samples at any pace, those that are kept cover the window.
    fn keep(&mut self, old: usize, counts: Counts, now_ns: u64) {
        self.samples.copy_within(old..self.held, 0);
        self.held -= old;
        let last = self.samples[self.held - 1].0;
        if self.held < SAMPLES && now_ns - last >= TELL_EVERY_NS {
            self.samples[self.held] = (now_ns, counts);
            self.held += 1;
        }
    }
}

#[cfg(test)]
mod tests;
