//! The rules of one generation as they are applied: matcher, buckets, and what each rule did.

use std::net::IpAddr;
use std::sync::Arc;
use std::{error, fmt};

use tidegate_dataplane::wire::packet::Network;

use super::{Fate, Judgement, Reason, Why};
use crate::scrub::challenge;
use crate::scrub::facts::Facts;
use crate::scrub::limits::{Admission, Flow, Limiter, Owner, Rate};
use crate::scrub::matcher::Matcher;
use crate::scrub::rules::expression::{Expression, Place, Test};
use crate::scrub::rules::field::{Layer, NumberField, Scope, Standing};
use crate::scrub::rules::rule::{Action, Fallback, Limit, Promote, RuleSet, Unit};
use crate::scrub::siphash::Key;
use crate::scrub::wishes::{Wish, Wishes};

/// Buckets of all limits of a rule set together: 512 MiB on each shard.
const BUCKETS_MAX: u64 = 1 << 24;

/// Octets of payload that a question for DNS or for the packet within may look at: 12 of a DNS
/// header, 2 of its length in TCP, 255 of a name, 4 behind; or headers within headers, of which
/// there are less.
const ASKED_WITHIN: usize = 512;

/// What one rule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Packets that its condition held for, of those that came so far.
    pub(crate) met: u64,
    /// Packets that it ended: dropped, passed or challenged, by its action. Later parts of a
    /// datagram count here and not in `met`.
    pub(crate) ended: u64,
    /// Octets of them.
    pub(crate) octets: u64,
    /// Packets that it would have ended, had it not been in dry-run.
    pub(crate) would: u64,
}

impl Tally {
    /// Both together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            met: self.met + other.met,
            ended: self.ended + other.ended,
            octets: self.octets + other.octets,
            would: self.would + other.would,
        }
    }
}

/// What a rule does, as short as it can be said.
#[derive(Clone, Copy, Debug)]
enum Act {
    Drop,
    Pass,
    Challenge,
    /// The limiter of this number.
    Limit(u32),
    /// One of so many.
    Sample(u32),
}

/// A rule without its condition.
#[derive(Clone, Copy, Debug)]
struct Line {
    act: Act,
    dry_run: bool,
    promote: Option<Promote>,
}

/// Buckets with what they are for.
struct Limited {
    limit: Limit,
    limiter: Limiter,
}

/// The rules of one generation. Made by whoever prepares it, used by one shard.
pub(crate) struct Book {
    matcher: Arc<Matcher>,
    lines: Box<[Line]>,
    tallies: Box<[Tally]>,
    limits: Box<[Box<Limited>]>,
    default: Fallback,
    asks_verified: bool,
    asks_surging: bool,
    takeovers: u64,
    wishes: Wishes,
    /// Octets of payload that some rule looks at, counted from the first.
    reach: usize,
}

/// A rule set whose limits need more memory than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyBuckets {
    buckets: u64,
}

impl fmt::Display for TooManyBuckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buckets } = self;
        write!(
            f,
            "limits with {buckets} buckets in all, at most {BUCKETS_MAX}; say `of N` behind "
        )?;
        f.write_str("`per` to keep fewer, or use fewer limits")
    }
}

impl error::Error for TooManyBuckets {}

impl Book {
    /// Whether the limits of `set` have memory enough.
    ///
    /// # Errors
    ///
    /// [`TooManyBuckets`].
    pub(crate) fn fits(set: &RuleSet) -> Result<(), TooManyBuckets> {
        let limits = set.rules.iter().filter_map(|rule| limit_of(&rule.action));
        let buckets = limits.map(|limit| u64::from(limit.buckets)).sum();
        if buckets > BUCKETS_MAX { Err(TooManyBuckets { buckets }) } else { Ok(()) }
    }

    /// The rules of `set`, which `matcher` is made of and which [`Self::fits`], with full buckets and
    /// nothing counted.
    pub(crate) fn new(matcher: Arc<Matcher>, set: &RuleSet, key: Key) -> Box<Self> {
        let limits = || set.rules.iter().filter_map(|rule| limit_of(&rule.action));
        let mut number = 0;
        let lines = set.rules.iter().map(|rule| Line {
            act: match &rule.action {
                Action::Drop => Act::Drop,
                Action::Pass => Act::Pass,
                Action::Challenge => Act::Challenge,
                Action::Sample(one_in) => Act::Sample(one_in.get()),
                Action::Limit(_) => {
                    number += 1;
                    Act::Limit(number - 1)
                }
            },
            dry_run: rule.dry_run,
            promote: rule.promote,
        });
        let lines = lines.collect();
        let limited = |&limit: &Limit| {
            let rate = rate(&limit);
            Box::new(Limited { limit, limiter: Limiter::new(rate, limit.buckets, key) })
        };
        let conditions = || set.rules.iter().map(|rule| &rule.when);
        let challenges = set.rules.iter().any(|rule| rule.action == Action::Challenge);
        let is_verified = |test: &Test| matches!(test, Test::Standing(Standing::Verified));
        let is_surging = |test: &Test| matches!(test, Test::Standing(Standing::Surging));
        Box::new(Self {
            matcher,
            lines,
            tallies: vec![Tally::default(); set.rules.len()].into(),
            limits: limits().map(limited).collect(),
            default: set.default,
            asks_verified: challenges || conditions().any(|when| some(when, &is_verified)),
            asks_surging: conditions().any(|when| some(when, &is_surging)),
            takeovers: 0,
            wishes: Wishes::new(key),
            reach: conditions().map(reach).max().unwrap_or(0),
        })
    }

    /// What each rule did, in their order.
    pub(crate) const fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// Verdicts that the kernel is to have, in exchange for an empty list of [`Wishes::room`].
    pub(crate) fn take_wishes(&mut self, empty: Vec<Wish>) -> Vec<Wish> {
        self.wishes.take(empty)
    }

    /// How often a limit gave somebody the bucket of another, over all of them.
    pub(crate) const fn takeovers(&self) -> u64 {
        self.takeovers
    }

    /// Whether some rule depends on who was verified.
    pub(super) const fn asks_verified(&self) -> bool {
        self.asks_verified
    }

    /// Whether some rule depends on what surges.
    pub(super) const fn asks_surging(&self) -> bool {
        self.asks_surging
    }

    /// Octets of payload that some rule looks at, counted from the first; `usize::MAX` where one
    /// looks at all.
    #[cfg(test)]
    pub(crate) const fn reach(&self) -> usize {
        self.reach
    }

    /// Whether what a rule asks for could lie behind `head`, of a frame of `octets`.
    pub(crate) fn looks_beyond(&self, head: &[u8], octets: usize) -> bool {
        self.reach > 0
            && Facts::of(head, octets, Default::default())
                .is_ok_and(|facts| facts.payload(Scope::Outer).len() < self.reach)
    }

    /// So many octets more that a rule ended.
    #[inline]
    pub(super) fn weigh(&mut self, rule: Option<u32>, octets: usize) {
        if let Some(tally) = rule.and_then(|rule| self.tallies.get_mut(rule as usize)) {
            tally.octets += octets as u64;
        }
    }

    /// One packet more that a rule ended.
    pub(super) fn count_ended(&mut self, rule: Option<u32>) {
        if let Some(tally) = rule.and_then(|rule| self.tallies.get_mut(rule as usize)) {
            tally.ended += 1;
        }
    }

    /// Decides by the rules alone.
    #[inline]
    pub(super) fn judge(&mut self, facts: &Facts<'_>, now_ns: u64) -> Judgement {
        let (mut from, mut sampled) = (0, None);
        while let Some(rule) = self.matcher.first(facts, from) {
            from = rule + 1;
            let line = self.lines[rule as usize];
            let tally = &mut self.tallies[rule as usize];
            tally.met += 1;
            let fate = match line.act {
                Act::Drop => Some(Fate::Drop(Reason::Rule)),
                Act::Pass => Some(Fate::Pass),
                Act::Challenge => is_challenged(facts).then_some(Fate::Challenge),
                Act::Limit(number) => {
                    let buckets = &mut self.limits[number as usize];
                    let before = buckets.limiter.takeovers();
                    let fate = limited(buckets, facts, now_ns);
                    self.takeovers += buckets.limiter.takeovers() - before;
                    fate
                }
                Act::Sample(one_in) => {
                    if tally.met.is_multiple_of(u64::from(one_in)) {
                        sampled = sampled.or(Some(rule));
                    }
                    None
                }
            };
            let Some(fate) = fate else { continue };
            if line.dry_run {
                tally.would += 1;
                continue;
            }
            tally.ended += 1;
            if let Some(promote) = line.promote {
                self.wish(promote, fate, rule, facts, now_ns);
            }
            return Judgement { fate, rule: Some(rule), why: Why::Itself, sampled };
        }
        let fate = match self.default {
            Fallback::Pass => Fate::Pass,
            Fallback::Drop => Fate::Drop(Reason::Default),
        };
        Judgement { fate, rule: None, why: Why::Itself, sampled }
    }

    /// Writes down that the kernel is to have a verdict. A challenge is none.
    fn wish(&mut self, promote: Promote, fate: Fate, rule: u32, facts: &Facts<'_>, now_ns: u64) {
        let passes = match fate {
            Fate::Pass => true,
            Fate::Drop(_) => false,
            Fate::Challenge | Fate::Hold => return,
        };
        let Some(network) = facts.network(Scope::Outer) else { return };
        let owner = Owner::of(promote.per, flow(facts, network));
        let until_ns = now_ns.saturating_add(u64::from(promote.for_ms) * 1_000_000);
        self.wishes.add(Wish { owner, passes, rule, until_ns }, now_ns);
    }

    /// Takes over a rule of `old`: what was counted, and the buckets where they mean the same.
    pub(super) fn inherit(&mut self, rule: usize, old: &mut Self, its_rule: usize, buckets: bool) {
        self.tallies[rule] = old.tallies[its_rule];
        if buckets
            && let (Act::Limit(new), Act::Limit(was)) =
                (self.lines[rule].act, old.lines[its_rule].act)
        {
            let (new, was) = (&mut self.limits[new as usize], &mut old.limits[was as usize]);
            std::mem::swap(new, was);
            std::mem::swap(&mut new.limit, &mut was.limit);
            new.limiter.set_rate(rate(&new.limit));
        }
    }
}

/// What a rule limits to, if it limits.
pub(super) const fn limit_of(action: &Action) -> Option<&Limit> {
    match action {
        Action::Limit(limit) => Some(limit),
        _ => None,
    }
}

const fn rate(limit: &Limit) -> Rate {
    Rate { per_second: limit.rate, burst: limit.burst }
}

/// A SYN of a source that was not verified, in one piece.
#[inline]
fn is_challenged(facts: &Facts<'_>) -> bool {
    !facts.stands(Standing::Verified) && facts.tcp(Scope::Outer).is_some_and(challenge::asks)
}

/// Where the packet ends by a limit, how.
#[inline]
fn limited(limited: &mut Limited, facts: &Facts<'_>, now_ns: u64) -> Option<Fate> {
    let tokens = match limited.limit.unit {
        Unit::Packets => 1,
        Unit::Bits => bits(facts),
    };
    let owner = facts
        .network(Scope::Outer)
        .map_or(Owner::All, |network| Owner::of(limited.limit.per, flow(facts, network)));
    match limited.limiter.admit(&owner, tokens, now_ns) {
        Admission::Admitted => None,
        Admission::Over => Some(Fate::Drop(Reason::Limit)),
        Admission::TableFull => Some(Fate::Drop(Reason::TableFull)),
    }
}

/// Bits of the IP packet, or of a frame that has none.
fn bits(facts: &Facts<'_>) -> u32 {
    let number = |field| facts.number(Scope::Outer, field);
    let octets = number(NumberField::IpLength).or_else(|| number(NumberField::FrameLength));
    u32::try_from(octets.unwrap_or(0)).unwrap_or(u32::MAX).saturating_mul(8)
}

fn flow(facts: &Facts<'_>, network: Network<'_>) -> Flow {
    let (source, destination, protocol): (IpAddr, IpAddr, u8) = match network {
        Network::V4(ip) => (ip.source().into(), ip.destination().into(), ip.protocol()),
        Network::V6(ip) => (ip.source().into(), ip.destination().into(), ip.protocol()),
    };
    let (source_port, destination_port) = facts.ports(Scope::Outer).unwrap_or((0, 0));
    Flow { source, destination, protocol, source_port, destination_port }
}

/// Whether one of the tests of `when` is such.
fn some(when: &Expression, is_it: &impl Fn(&Test) -> bool) -> bool {
    match when {
        Expression::True => false,
        Expression::Not(inner) => some(inner, is_it),
        Expression::And(all) | Expression::Or(all) => all.iter().any(|one| some(one, is_it)),
        Expression::Test(test) => is_it(test),
    }
}

/// Octets of payload that `when` looks at.
fn reach(when: &Expression) -> usize {
    match when {
        Expression::True => 0,
        Expression::Not(inner) => reach(inner),
        Expression::And(all) | Expression::Or(all) => all.iter().map(reach).max().unwrap_or(0),
        Expression::Test(test) => reach_of(test),
    }
}

fn reach_of(test: &Test) -> usize {
    let at = |scope: Scope, place: Place, octets: usize| match (scope, place) {
        (Scope::Outer, Place::Front(before)) => usize::from(before) + octets,
        (Scope::Inner, Place::Front(before)) => ASKED_WITHIN + usize::from(before) + octets,
        (_, Place::Back(_)) => usize::MAX,
    };
    match test {
        Test::Octets { scope, place, width, .. } => at(*scope, *place, *width as usize),
        Test::Equal { scope, place, octets } => at(*scope, *place, octets.len()),
        Test::Contains { .. } | Test::Bytecode(_) => usize::MAX,
        Test::Name { .. } => ASKED_WITHIN,
        Test::Has(Scope::Inner, _)
        | Test::Has(_, Layer::Carried | Layer::Dns)
        | Test::Number { scope: Scope::Inner, .. }
        | Test::Address { scope: Scope::Inner, .. } => ASKED_WITHIN,
        Test::Number { field, .. } if field.name().starts_with("dns.") => ASKED_WITHIN,
        Test::Has(..)
        | Test::Number { .. }
        | Test::Address { .. }
        | Test::Fingerprint(_)
        | Test::Standing(_) => 0,
    }
}

/// A judgement as a later part of the datagram follows it: in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    fate: Fate,
    rule: Option<u32>,
}

impl Verdict {
    /// Of places in a table that nobody took.
    pub(super) const DEFAULT: Self = Self { fate: Fate::Drop(Reason::Default), rule: None };

    pub(super) const fn of(judgement: Judgement) -> Self {
        let fate = match judgement.fate {
            // A SYN in parts is not answered, so what is behind it is of no use to anybody.
            Fate::Challenge => Fate::Drop(Reason::Challenge),
            fate => fate,
        };
        Self { fate, rule: judgement.rule }
    }

    pub(super) const fn judgement(self) -> Judgement {
        Judgement { fate: self.fate, rule: self.rule, why: Why::FirstPart, sampled: None }
    }
}

const _: () = {
    /// Kept for each datagram in a table.
    const OCTETS: usize = size_of::<Verdict>();
    assert!(OCTETS <= 12, "a verdict is short");
};
