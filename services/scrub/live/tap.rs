//! A shard's side of a capture: which packets are wanted.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::ring::{Ring, Sample};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ended here.
    Dropped,
    /// It went on into the kernel.
    Passed,
    /// Its source was asked whether it is there.
    Challenged,
}

impl Fate {
    /// In a comment.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Passed => "passed",
            Self::Challenged => "challenged",
        }
    }
}

/// Which packets a capture is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// With this fate; `None`: with any.
    pub(crate) fate: Option<Fate>,
    /// On which the rule of this name decided, or which it offers; `None`: whoever decided.
    pub(crate) rule: Option<Box<str>>,
    /// One of so many of them.
    pub(crate) sample: NonZeroU32,
}

/// A packet that was judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged<'a> {
    /// Its first octets: all, or those of the first chunk.
    pub(crate) head: &'a [u8],
    /// Octets that it has.
    pub(crate) octets: usize,
    /// When its burst was received.
    pub(crate) at_ns: u64,
    /// What became of it.
    pub(crate) fate: Fate,
    /// The rule that decided.
    pub(crate) rule: Option<u32>,
    /// A rule that samples, and offers this one.
    pub(crate) sampled: Option<u32>,
    /// Why, in a word.
    pub(crate) reason: &'static str,
}

/// What a shard holds while somebody captures.
#[derive(Debug)]
pub(crate) struct Tap {
    wanted: Wanted,
    ring: Arc<Ring>,
    /// The generation that judges now.
    generation: u64,
    /// The wanted rule in it: none is wanted, it is at this place, or it is not there.
    rule: Option<Option<u32>>,
    /// Wanted packets since the last that was taken.
    passed_over: u32,
}

impl Tap {
    /// A tap of what is wanted into `ring`.
    pub(crate) const fn new(wanted: Wanted, ring: Arc<Ring>) -> Self {
        Self { wanted, ring, generation: 0, rule: Some(None), passed_over: 0 }
    }

    /// From now on `generation` judges, in which `place` says where a rule of a name is.
    pub(crate) fn set_generation(
        &mut self,
        generation: u64,
        place: impl FnOnce(&str) -> Option<u32>,
    ) {
        self.generation = generation;
        self.rule = self.wanted.rule.as_deref().map(place);
    }

    /// Takes a copy of the packet where it is wanted.
    #[inline]
    pub(crate) fn offer(&mut self, judged: &Judged<'_>) {
        let Wanted { fate, sample, .. } = self.wanted;
        let is_wanted = fate.is_none_or(|fate| fate == judged.fate)
            && self.rule.is_none_or(|rule| {
                rule.is_some() && (rule == judged.rule || rule == judged.sampled)
            });
        if !is_wanted {
            return;
        }
        self.passed_over += 1;
        if self.passed_over >= sample.get() {
            self.passed_over = 0;
            let sample = Sample {
                at_ns: judged.at_ns,
                octets: u32::try_from(judged.octets).unwrap_or(u32::MAX),
                rule: judged.rule,
                generation: self.generation,
                fate: judged.fate.word(),
                reason: judged.reason,
            };
            self.ring.put(sample, judged.head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::Shelf;
    use super::*;

    fn judged(fate: Fate, rule: Option<u32>) -> Judged<'static> {
        Judged {
            head: &[0xa5; 60],
            octets: 60,
            at_ns: 7,
            fate,
            rule,
            sampled: None,
            reason: "rule",
        }
    }

    /// How many of these are taken.
    fn taken(wanted: Wanted, offered: &[(Fate, Option<u32>)]) -> usize {
        let ring = Arc::new(Ring::new());
        let mut tap = Tap::new(wanted, Arc::clone(&ring));
        tap.set_generation(3, |name| (name == "bad").then_some(4));
        for &(fate, rule) in offered {
            tap.offer(&judged(fate, rule));
        }
        let mut shelf = Shelf::new();
        ring.swap(&mut shelf);
        assert!(shelf.iter().all(|(sample, _)| sample.generation == 3));
        shelf.iter().count()
    }

    #[test]
    fn only_what_is_wanted_is_taken() {
        use Fate::{Challenged, Dropped, Passed};
        let all = [
            (Dropped, Some(4)),
            (Dropped, Some(5)),
            (Dropped, None),
            (Passed, Some(4)),
            (Passed, None),
            (Challenged, Some(5)),
        ];
        let wanted = |fate, rule: Option<&str>| Wanted {
            fate,
            rule: rule.map(Into::into),
            sample: NonZeroU32::MIN,
        };
        let count = |fate, rule| taken(wanted(fate, rule), &all);
        assert_eq!([count(None, None), count(Some(Dropped), None)], [6, 3]);
        assert_eq!([count(Some(Passed), None), count(Some(Challenged), None)], [2, 1]);
        assert_eq!([count(None, Some("bad")), count(Some(Dropped), Some("bad"))], [2, 1]);
        assert_eq!(count(None, Some("gone")), 0, "not what no rule decided on");
    }

    #[test]
    fn what_a_rule_offers_is_taken_under_its_name() {
        let taken = |rule: &str, sampled| {
            let ring = Arc::new(Ring::new());
            let wanted = Wanted { fate: None, rule: Some(rule.into()), sample: NonZeroU32::MIN };
            let mut tap = Tap::new(wanted, Arc::clone(&ring));
            tap.set_generation(3, |name| (name == "look").then_some(7));
            tap.offer(&Judged { sampled, ..judged(Fate::Dropped, Some(4)) });
            let mut shelf = Shelf::new();
            ring.swap(&mut shelf);
            shelf.iter().count()
        };
        assert_eq!(
            [taken("look", Some(7)), taken("look", Some(6)), taken("look", None)],
            [1, 0, 0]
        );
        assert_eq!(taken("gone", None), 0);
    }

    #[test]
    fn one_of_so_many_is_taken() {
        let sample = NonZeroU32::new(1000).unwrap();
        let wanted = Wanted { fate: None, rule: None, sample };
        assert_eq!(taken(wanted, &[(Fate::Passed, None); 2999]), 2);
    }
}
