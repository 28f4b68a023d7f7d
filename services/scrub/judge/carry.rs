//! What goes from the rules of one generation to those of the next.

use std::collections::BTreeMap;

use super::book::{Book, limit_of};
use crate::scrub::rules::rule::RuleSet;

/// Rules that are in both of two rule sets, by name. Made by whoever prepares the next generation,
/// so that the shard has only to go through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carry {
    pairs: Box<[Pair]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    new: u32,
    old: u32,
    /// Both limit the same thing to as many buckets, be it to another rate.
    buckets: bool,
}

impl Carry {
    /// From the rules of `old` to those of `new`.
    pub(crate) fn between(old: &RuleSet, new: &RuleSet) -> Self {
        let by_name: BTreeMap<&str, u32> =
            (0..).zip(&old.rules).map(|(index, rule)| (&*rule.name, index)).collect();
        let pair = |(index, rule): (u32, &crate::scrub::rules::rule::Rule)| {
            let was = *by_name.get(&*rule.name)?;
            let limits = (limit_of(&old.rules[was as usize].action), limit_of(&rule.action));
            let buckets = match limits {
                (Some(was), Some(now)) => {
                    (was.unit, was.per, was.buckets) == (now.unit, now.per, now.buckets)
                }
                _ => false,
            };
            Some(Pair { new: index, old: was, buckets })
        };
        Self { pairs: (0..).zip(&new.rules).filter_map(pair).collect() }
    }

    /// Lets the rules of `new` have what those of the same name in `old` counted and kept.
    pub(super) fn apply(&self, old: &mut Book, new: &mut Book) {
        for pair in &self.pairs {
            new.inherit(pair.new as usize, old, pair.old as usize, pair.buckets);
        }
    }
}
