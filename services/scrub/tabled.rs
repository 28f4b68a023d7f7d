//! The decision on one packet: a function of rules, buckets, octets and time.

use super::gathered::{Facts, has};
use super::limiter::{Admission, Limiter};
use super::options::{Action, Fallback, Options, PayloadOptions};
use super::rule::Rule;
use super::siphash::Key;

/// All that decisions depend on, and all that they change.
pub struct State {
    rules: Vec<Judged>,
    default: Fallback,
    /// Octets of payload that some rule looks at, counted from the first.
    reach: usize,
}

/// A rule and what it does.
struct Judged {
    rule: Rule,
    outcome: Outcome,
}

enum Outcome {
    Drop,
    Pass,
    Limit(Box<Limiter>),
}

/// What becomes of a packet, and which rule said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rule that matched, counted from 0.
    pub rule: Option<u8>,
    /// What becomes of the packet.
    pub fate: Fate,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on into the kernel, as if it had just arrived.
    Reinject,
    /// It ends here.
    Drop(Reason),
}

/// Why a packet ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its headers are cut off or contradict themselves.
    Malformed,
    /// No rule matched, and the default is to drop.
    Default,
    /// The rule that matched drops, or its limit is reached.
    Rule,
    /// The rule that matched has a limit, and no bucket is left for a new source.
    TableFull,
}

impl State {
    /// Rules as `options` have them, with full buckets. Takes all memory that
    /// will be needed.
    pub fn new(options: &Options, key: Key) -> Self {
        let rules = options.rules.iter().map(|rule| Judged {
            rule: Rule::new(rule),
            outcome: match rule.action {
                Action::Drop => Outcome::Drop,
                Action::Pass => Outcome::Pass,
                Action::Limit(limit) => Outcome::Limit(Box::new(Limiter::new(limit.limit(), key))),
            },
        });
        let reach = options.rules.iter().filter_map(|rule| rule.payload.as_ref());
        Self {
            rules: rules.collect(),
            default: options.default,
            reach: reach.map(PayloadOptions::reach).max().unwrap_or(0),
        }
    }

    /// Octets of payload that some rule looks at, counted from the first; 0 where none does.
    pub const fn reach(&self) -> usize {
        self.reach
    }

    /// Whether [`judge_head`] could miss what a rule asks for, in a packet that goes on behind
    /// `head`.
    pub fn looks_beyond(&self, head: &[u8], octets: usize) -> bool {
        let seen = |facts: Facts<'_>| facts.payload.len() < self.reach;
        self.reach > 0 && Facts::of(head, octets).is_ok_and(seen)
    }

    /// How often a source took over another one's bucket, over all limits.
    pub fn takeovers(&self) -> u64 {
        let of = |judged: &Judged| match &judged.outcome {
            Outcome::Limit(limiter) => limiter.takeovers(),
            Outcome::Drop | Outcome::Pass => 0,
        };
        self.rules.iter().map(of).sum()
    }
}

/// Decides on one frame. Same state, octets and time, same decision.
#[inline]
pub fn judge(state: &mut State, frame: &[u8], now_ns: u64) -> Decision {
    judge_head(state, frame, frame.len(), now_ns)
}

/// Decides on a frame of `octets` by its beginning, which has all headers in it, and of the payload
/// what rules ask for (see [`State::looks_beyond`]).
#[inline]
pub fn judge_head(state: &mut State, head: &[u8], octets: usize, now_ns: u64) -> Decision {
    let Ok(facts) = Facts::of(head, octets) else {
        return Decision { rule: None, fate: Fate::Drop(Reason::Malformed) };
    };
    for (index, judged) in (0..).zip(&mut state.rules) {
        if judged.rule.matches(&facts) {
            let fate = match &mut judged.outcome {
                Outcome::Drop => Fate::Drop(Reason::Rule),
                Outcome::Pass => Fate::Reinject,
                Outcome::Limit(limiter) => limited(limiter, &facts, now_ns),
            };
            return Decision { rule: Some(index), fate };
        }
    }
    let fate = match state.default {
        Fallback::Drop => Fate::Drop(Reason::Default),
        Fallback::Pass => Fate::Reinject,
    };
    Decision { rule: None, fate }
}

/// Asks the bucket of the packet's source. Frames that are not IP have one together.
fn limited(limiter: &mut Limiter, facts: &Facts<'_>, now_ns: u64) -> Fate {
    let admission = if facts.has & has::IPV4 != 0 {
        limiter.admit_ipv4(u32::try_from(facts.source).unwrap_or(0), now_ns)
    } else {
        limiter.admit_ipv6(facts.source, now_ns)
    };
    match admission {
        Admission::Admitted => Fate::Reinject,
        Admission::Over => Fate::Drop(Reason::Rule),
        Admission::TableFull => Fate::Drop(Reason::TableFull),
    }
}
