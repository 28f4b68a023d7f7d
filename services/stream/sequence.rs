//! Which packets came, which came twice, which late, and which not at all.
//!
//! ```text
//!              lost or late        newest
//!   ……│■■■■■□■■■■□□■■■■■■■■■■■■■■■■■│          a bit per sequence number
//!     └─ the window moves on; what is □ when it leaves, is lost
//! ```
//!
//! RFC 4175 has sequence numbers of 32 bits, so at 864,000 packets a second one number comes
//! again after 83 minutes: a number and its neighbourhood name one packet. Losses are therefore
//! counted, not estimated: `expected = first arrivals + lost`, always.

/// Packets that the window remembers. A packet that comes later than this many others counts as
/// lost. 8192 are 38 ms of 1080p50, more than any network reorders; fewer than a frame's worth
/// would let two paths of different length look like loss, and much more would tell of a loss
/// long after it mattered.
pub const WINDOW: u64 = 8192;

/// What a packet's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before. The number is the sequence number, continued beyond 32 bits.
    Newest(u64),
    /// Older than the newest, and the first of its number: reordered on the way.
    Late(u64),
    /// Seen before.
    Duplicate,
    /// From before the window or before the first packet.
    TooLate,
}

/// The window over one run of sequence numbers.
#[derive(Clone, Debug)]
pub struct Sequence {
    bits: Box<[u64; (WINDOW / 64) as usize]>,
    /// The first number, continued.
    origin: u64,
    newest: u64,
    lost: u64,
}

impl Sequence {
    /// Starts with the packet of number `first`, which has come.
    pub fn starting(first: u32) -> Self {
        // One turn of the 32 bits ahead, so that no distance leads below zero.
        let origin = (1 << 32) + u64::from(first);
        Self { bits: Box::new([u64::MAX; _]), origin, newest: origin, lost: 0 }
    }

    /// From the newest number to `sequence`, the shorter way around.
    pub const fn distance(&self, sequence: u32) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the number")]
        let newest = self.newest as u32;
        sequence.wrapping_sub(newest).cast_signed()
    }

    /// The number of 32 bits that a packet has whose low 16 are all that it carries: the one that
    /// is nearest to the newest.
    pub const fn near(&self, low: u16) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let (newest, newest_low) = (self.newest as u32, self.newest as u16);
        newest.wrapping_add_signed(low.wrapping_sub(newest_low).cast_signed() as i32)
    }

    /// The newest number, continued.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether this is the number that the run began with.
    pub const fn is_origin(&self, number: u64) -> bool {
        self.origin == number
    }

    /// Numbers that left the window without a packet.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes the packet of this number.
    pub fn arrive(&mut self, sequence: u32) -> Arrival {
        let distance = i64::from(self.distance(sequence));
        let number = self.newest.wrapping_add_signed(distance);
        if distance > 0 {
            self.advance(distance.unsigned_abs());
            self.set(number);
            return Arrival::Newest(number);
        }
        if number < self.origin || distance.unsigned_abs() >= WINDOW {
            Arrival::TooLate
        } else if self.is_set(number) {
            Arrival::Duplicate
        } else {
            self.set(number);
            Arrival::Late(number)
        }
    }

    /// Ends the run: what has not come by now is lost. Returns all that was lost.
    pub fn finish(&mut self) -> u64 {
        self.lost += self.bits.iter().map(|word| u64::from(word.count_zeros())).sum::<u64>();
        self.bits.fill(u64::MAX);
        self.lost
    }

    /// Moves the window by `steps`; numbers that it jumps over altogether are lost at once.
    fn advance(&mut self, steps: u64) {
        self.lost += steps.saturating_sub(WINDOW);
        for step in 1..=steps.min(WINDOW) {
            let slot = self.newest + step;
            if !self.is_set(slot) {
                self.lost += 1;
            }
            self.bits[word(slot)] &= !bit(slot);
        }
        self.newest += steps;
        // After a jump, every slot was cleared once; which is whose does not matter.
    }

    fn is_set(&self, number: u64) -> bool {
        self.bits[word(number)] & bit(number) != 0
    }

    fn set(&mut self, number: u64) {
        self.bits[word(number)] |= bit(number);
    }
}

const fn word(number: u64) -> usize {
    (number % WINDOW / 64) as usize
}

const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests {
    use std::collections::HashSet;

    use tidegate_runtime::sim::Random;

    use super::*;

    #[test]
    fn counts_through_the_wrap_of_32_bits() {
        let mut sequence = Sequence::starting(u32::MAX - 1);
        assert_eq!(sequence.arrive(u32::MAX), Arrival::Newest((1 << 33) - 1));
        assert_eq!(sequence.arrive(1), Arrival::Newest((1 << 33) + 1));
        assert_eq!(sequence.arrive(0), Arrival::Late(1 << 33));
        assert_eq!(sequence.arrive(u32::MAX), Arrival::Duplicate);
        assert_eq!(sequence.finish(), 0);
    }

    #[test]
    fn sixteen_bits_are_continued() {
        let mut sequence = Sequence::starting(65_534);
        for (low, number) in [(65_535, 65_535), (1, 65_537), (0, 65_536), (32_000, 97_536)] {
            assert_eq!(sequence.near(low), number);
            assert_ne!(sequence.arrive(number), Arrival::TooLate);
        }
        assert_eq!(sequence.near(65_535), 65_535, "behind is nearer");
    }

    #[test]
    fn what_came_before_the_first_is_too_late_and_not_lost() {
        let mut sequence = Sequence::starting(100);
        assert_eq!(sequence.arrive(99), Arrival::TooLate);
        assert_eq!(sequence.arrive(100), Arrival::Duplicate);
        assert_eq!(sequence.finish(), 0);
    }

    #[test]
    fn a_gap_is_lost_when_the_window_has_left_it() {
        let mut sequence = Sequence::starting(0);
        sequence.arrive(3);
        for number in 4..8192 {
            sequence.arrive(number);
        }
        assert_eq!(sequence.lost(), 0, "1 and 2 may still come");
        sequence.arrive(8193);
        assert_eq!(sequence.lost(), 1);
        assert_eq!(sequence.arrive(1), Arrival::TooLate);
        assert_eq!(sequence.arrive(2), Arrival::Late((1 << 32) + 2));
        assert_eq!(sequence.finish(), 2, "1 and 8192");
    }

    #[test]
    fn a_jump_over_the_window_loses_everything_between() {
        let mut sequence = Sequence::starting(0);
        sequence.arrive(100_001);
        assert_eq!(sequence.finish(), 100_000);
        assert_eq!(sequence.finish(), 100_000, "once");
    }

    /// The oracle keeps every number; delivery loses, duplicates and reorders.
    #[test]
    fn agrees_with_a_model_that_forgets_nothing() {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
        for seed in seed..seed + 20 {
            eprintln!("SEED={seed}");
            let mut random = Random::new(seed);
            // Starts shortly before the wrap of 32 bits.
            let first = u32::MAX - 10_000;
            let mut arrivals: Vec<(u64, u64)> = Vec::new();
            for number in 1..40_000 {
                for copy in 0..[0, 1, 1, 1, 1, 1, 1, 1, 1, 2][random.below(10) as usize] {
                    let delay = if random.chance(100) { random.below(4000) } else { 0 };
                    arrivals.push((number + delay + copy, number));
                }
            }
            arrivals.sort_by_key(|&(at, _)| at);
            let mut sequence = Sequence::starting(first);
            let (mut seen, mut newest) = (HashSet::from([0]), 0);
            for &(_, number) in &arrivals {
                let arrival = sequence.arrive(first.wrapping_add(number as u32));
                let continued = (1 << 32) + u64::from(first) + number;
                let expected = match (seen.insert(number), number > newest) {
                    (true, true) => Arrival::Newest(continued),
                    (true, false) => Arrival::Late(continued),
                    (false, _) => Arrival::Duplicate,
                };
                newest = newest.max(number);
                assert_eq!(arrival, expected, "number {number}");
            }
            assert_eq!(sequence.finish(), newest + 1 - seen.len() as u64);
        }
    }
}
