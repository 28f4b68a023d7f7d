//! Which pgroups of a frame have come: a bit for each.
//!
//! Complete is a frame whose bits are all set. Counting octets instead would take two copies of
//! one line for two lines; and where something is missing, this says what.

use std::ops::Range;

/// The bits of one frame. At 10 bits of 4:2:2 they are a fortieth of the picture.
#[derive(Debug)]
pub(super) struct Coverage {
    words: Box<[u64]>,
    pgroups: usize,
    missing: usize,
}

impl Coverage {
    /// Nothing has come of a frame of so many pgroups.
    pub(super) fn new(pgroups: usize) -> Self {
        Self { words: vec![0; pgroups.div_ceil(64)].into(), pgroups, missing: pgroups }
    }

    /// For the next frame.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.missing = self.pgroups;
    }

    /// Pgroups that have not come.
    pub(super) const fn missing(&self) -> usize {
        self.missing
    }

    /// Pgroups `start..start + count` have come.
    ///
    /// Nearly always none of them had: then nothing is counted but `count` itself. Processors of
    /// the baseline have no instruction that counts bits, and 240 pgroups are in five words.
    #[inline]
    pub(super) fn add(&mut self, start: usize, count: usize) {
        assert!(start + count <= self.pgroups, "pgroup {start} and {count} more");
        if count == 0 {
            return;
        }
        let (first, last) = (start / 64, (start + count - 1) / 64);
        let head = u64::MAX << (start % 64);
        let tail = u64::MAX >> (63 - (start + count - 1) % 64);
        let again = match &mut self.words[first..=last] {
            [word] => set(word, head & tail),
            [first, between @ .., last] => {
                let ends = set(first, head) + set(last, tail);
                between.iter_mut().fold(ends, |again, word| again + set(word, u64::MAX))
            }
            [] => 0,
        };
        self.missing -= count - again;
    }

    /// The pgroups that have not come, in runs.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, 0)?;
            at = self.next(start, u64::MAX).unwrap_or(self.pgroups);
            Some(start..at)
        })
    }

    /// The first pgroup from `at` on whose bit is not that of `not`.
    fn next(&self, at: usize, not: u64) -> Option<usize> {
        let mut from = at % 64;
        (at / 64..self.words.len()).find_map(|index| {
            // Gaps are zeros, so for them the word is looked at inverted.
            let bits = (self.words[index] ^ !not) & u64::MAX << from;
            from = 0;
            let at = index * 64 + bits.trailing_zeros() as usize;
            (bits != 0 && at < self.pgroups).then_some(at)
        })
    }
}

/// Sets bits of a word, and returns how many of them were set.
#[inline]
fn set(word: &mut u64, bits: u64) -> usize {
    let again = *word & bits;
    *word |= bits;
    if again == 0 { 0 } else { ones(again) }
}

/// Cold, so that it is called, and not computed for all words to choose from.
#[cold]
fn ones(word: u64) -> usize {
    word.count_ones() as usize
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests {
    use tidegate_runtime::sim::Random;

    use super::*;

    #[test]
    fn agrees_with_a_list_of_booleans() {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
        for seed in seed..seed + 20 {
            eprintln!("SEED={seed}");
            let mut random = Random::new(seed);
            let pgroups = 1 + random.below(700) as usize;
            let (mut coverage, mut model) = (Coverage::new(pgroups), vec![false; pgroups]);
            for _ in 0..20 {
                let start = random.below(pgroups as u64) as usize;
                let count = random.below((pgroups - start) as u64 + 1).min(300) as usize;
                coverage.add(start, count);
                model[start..start + count].fill(true);
                assert_eq!(coverage.missing(), model.iter().filter(|&&came| !came).count());
                let mut gaps = vec![true; pgroups];
                let mut before = None;
                for gap in coverage.gaps() {
                    assert!(!gap.is_empty() && before.is_none_or(|end| gap.start > end), "{gap:?}");
                    before = Some(gap.end);
                    gaps[gap].fill(false);
                }
                assert_eq!(gaps, model);
            }
            coverage.clear();
            assert_eq!(coverage.missing(), pgroups);
            assert!(coverage.gaps().eq(std::iter::once(0..pgroups)));
            coverage.add(0, pgroups);
            assert_eq!((coverage.missing(), coverage.gaps().count()), (0, 0));
        }
    }

    #[test]
    #[should_panic(expected = "pgroup 60 and 5 more")]
    fn there_is_nothing_behind_the_last() {
        Coverage::new(64).add(60, 5);
    }
}
