//! When the packets of a small essence leave, and what becomes of a delay.
//!
//! Packets are due at their own moments of TAI. After a delay they follow at twice their pace until
//! they are in time again, never two at once; after a long one, those that nobody waits for any
//! more are left out. When somebody sets TAI, they go on where it is now.

use crate::stream::audio;
use crate::stream::timing::Rate;
use crate::stream::video::format::Scan;

/// Where the moments of a stream are.
pub trait Beat {
    /// When moment `index` since the epoch is: nanoseconds of TAI.
    fn starts_ns(&self, index: u64) -> u64;

    /// The first moment at `tai_ns` or later.
    fn first_from(&self, tai_ns: u64) -> u64;

    /// About how long from one to the next.
    fn period_ns(&self) -> u64 {
        self.starts_ns(1) - self.starts_ns(0)
    }
}

impl Beat for audio::Format {
    fn starts_ns(&self, index: u64) -> u64 {
        self.packet_ns(index)
    }

    fn first_from(&self, tai_ns: u64) -> u64 {
        self.next_packet(tai_ns)
    }
}

/// The fields of a picture's rate, which ancillary data follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    rate: Rate,
    scan: Scan,
}

impl Fields {
    /// Of frames at `rate`.
    pub const fn new(rate: Rate, scan: Scan) -> Self {
        Self { rate, scan }
    }

    /// Frames per second.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// What a frame consists of.
    pub const fn scan(&self) -> Scan {
        self.scan
    }

    /// Fields of a frame.
    pub const fn per_frame(&self) -> u32 {
        match self.scan {
            Scan::Progressive => 1,
            Scan::Interlaced | Scan::Psf => 2,
        }
    }

    /// The frame of field `index`, and which of its fields it is.
    pub fn place(&self, index: u64) -> (u64, u32) {
        let per_frame = u64::from(self.per_frame());
        (index / per_frame, u32::try_from(index % per_frame).expect("0 or 1"))
    }

    /// The RTP timestamp of field `index`, as that of its picture.
    pub fn timestamp(&self, index: u64) -> u32 {
        match self.scan {
            Scan::Progressive => self.rate.timestamp(index),
            Scan::Psf => self.rate.timestamp(index / 2),
            Scan::Interlaced => self.rate.times(2).timestamp(index),
        }
    }
}

impl Beat for Fields {
    fn starts_ns(&self, index: u64) -> u64 {
        self.rate.times(self.per_frame()).frame_start_ns(index)
    }

    fn first_from(&self, tai_ns: u64) -> u64 {
        self.rate.times(self.per_frame()).next_frame(tai_ns)
    }
}

/// Longest delay after which packets are still sent. Receivers of sound keep some milliseconds of
/// it; at more than 20 they have played silence in its place.
const LATE_NS: u64 = 20_000_000;

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Index of its moment.
    pub index: u64,
    /// When, on the shard's clock.
    pub at_ns: u64,
    /// Moments before it that are left out. Told once.
    pub skipped: u64,
}

/// Decides when one stream's packets leave.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    next: u64,
    /// No packet before this, on the shard's clock.
    not_before_ns: u64,
    spacing_ns: u64,
}

impl Cadence {
    /// Begins with the first moment at `tai_ns` or later.
    pub fn starting(beat: &impl Beat, tai_ns: u64) -> Self {
        let spacing_ns = beat.period_ns() / 2;
        Self { next: beat.first_from(tai_ns), not_before_ns: 0, spacing_ns }
    }

    /// What is due next, when it is `now_ns`.
    pub fn look(&mut self, beat: &impl Beat, now_ns: u64, tai_at_zero_ns: u64) -> Due {
        let starts_ns = |index: u64| beat.starts_ns(index).saturating_sub(tai_at_zero_ns);
        let mut at_ns = starts_ns(self.next);
        let mut skipped = 0;
        let late_ns = LATE_NS.max(beat.period_ns() / 2);
        let is_late = now_ns > at_ns.saturating_add(late_ns);
        // Not a moment or two ahead but more: TAI was set back.
        let is_far = at_ns > now_ns.saturating_add(2 * beat.period_ns() + LATE_NS);
        if is_late || is_far {
            let next = beat.first_from(now_ns.saturating_add(tai_at_zero_ns));
            skipped = if is_late { next.saturating_sub(self.next) } else { 0 };
            self.next = next;
            at_ns = starts_ns(next);
        }
        Due { index: self.next, at_ns: at_ns.max(self.not_before_ns), skipped }
    }

    /// A packet left at `at_ns`; the moment is done with if `is_last`.
    pub const fn left(&mut self, at_ns: u64, is_last: bool) {
        self.not_before_ns = at_ns + if is_last { self.spacing_ns } else { PARTS_NS };
        self.next += is_last as u64;
    }
}

/// From one packet of a field to the next, where it has several. It costs nothing where there is
/// one, as nearly always; as many at once would be a burst among the video's.
const PARTS_NS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::audio::{Depth, Spec};

    const ZERO_NS: u64 = 1_700_000_000_000_000_000;

    fn sound(packet_time_us: u32) -> audio::Format {
        Spec { depth: Depth::Sixteen, sample_rate: 48_000, channels: 2, packet_time_us }
            .check()
            .unwrap()
    }

    /// Sends at once whatever is due, on a clock that stands still from `stall.0` to `stall.1`;
    /// returns when packets left, and how many were left out.
    fn run(beat: &impl Beat, until_ns: u64, stall: (u64, u64)) -> (Vec<(u64, u64)>, u64) {
        let mut cadence = Cadence::starting(beat, ZERO_NS);
        let (mut now_ns, mut left, mut skipped) = (0, Vec::new(), 0);
        loop {
            let due = cadence.look(beat, now_ns, ZERO_NS);
            skipped += due.skipped;
            now_ns = now_ns.max(due.at_ns);
            if (stall.0..stall.1).contains(&now_ns) {
                now_ns = stall.1;
                continue;
            }
            if now_ns >= until_ns {
                return (left, skipped);
            }
            left.push((now_ns, due.index));
            cadence.left(now_ns, true);
        }
    }

    #[test]
    fn packets_leave_at_their_moments() {
        let beat = sound(125);
        let (left, skipped) = run(&beat, 1_000_000_000, (0, 0));
        assert_eq!((left.len(), skipped), (8000, 0));
        for (at, &(left_ns, index)) in (0..).zip(&left) {
            assert_eq!((left_ns, index), (at * 125_000, ZERO_NS / 125_000 + at));
        }
        let fields = Fields::new("30000/1001".parse().unwrap(), Scan::Interlaced);
        let (left, _) = run(&fields, 1_000_000_000, (0, 0));
        assert_eq!(left.len(), 60);
        assert_eq!(left[0].1, fields.first_from(ZERO_NS));
    }

    #[test]
    fn after_a_delay_they_follow_at_twice_their_pace_and_never_two_at_once() {
        for stall_ns in [50_000, 300_000, 5_000_000, 19_000_000] {
            let start = 10_000_000;
            let (left, skipped) = run(&sound(125), 100_000_000, (start, start + stall_ns));
            assert_eq!((left.len(), skipped), (800, 0), "{stall_ns}: none is lost");
            let least = left.windows(2).map(|pair| pair[1].0 - pair[0].0).min();
            assert!(least >= Some(62_500), "{stall_ns}: {least:?}");
            let late = left.iter().filter(|(at, index)| *at > (index * 125_000) - ZERO_NS).count();
            assert!(late as u64 <= 2 * stall_ns / 125_000 + 1, "{stall_ns}: {late} late");
        }
    }

    #[test]
    fn after_a_long_one_they_go_on_where_they_would_be() {
        let (left, skipped) = run(&sound(1000), 200_000_000, (10_500_000, 110_500_000));
        assert_eq!((left.len(), skipped), (100, 100));
        assert_eq!(left[11], (111_000_000, ZERO_NS / 1_000_000 + 111));
    }

    #[test]
    fn they_follow_tai_when_it_is_set() {
        let beat = sound(1000);
        for step_ns in [-3_600_000_000_000_i64, -90_000_000, 90_000_000, 3_600_000_000_000] {
            // The shard's clock shows ten seconds.
            let now_ns = 10_000_000_000;
            let mut cadence = Cadence::starting(&beat, ZERO_NS + now_ns);
            let due = cadence.look(&beat, now_ns, ZERO_NS);
            cadence.left(due.at_ns, true);
            let zero_ns = ZERO_NS.wrapping_add_signed(step_ns);
            let due = cadence.look(&beat, now_ns + 500_000, zero_ns);
            assert_eq!(due.at_ns, now_ns + 1_000_000, "{step_ns}: {due:?}");
            assert_eq!(due.index * 1_000_000, zero_ns + now_ns + 1_000_000, "{step_ns}");
        }
    }

    #[test]
    fn the_parts_of_a_field_are_apart() {
        let fields = Fields::new("25".parse().unwrap(), Scan::Progressive);
        let mut cadence = Cadence::starting(&fields, ZERO_NS);
        let first = cadence.look(&fields, 0, ZERO_NS);
        cadence.left(first.at_ns, false);
        let second = cadence.look(&fields, first.at_ns, ZERO_NS);
        assert_eq!((second.index, second.at_ns), (first.index, first.at_ns + 100_000));
        cadence.left(second.at_ns, true);
        assert_eq!(cadence.look(&fields, second.at_ns, ZERO_NS).index, first.index + 1);
    }
}
