//! When packets leave: ST 2110-21's formulas, exact, and the decision after a delay.
//!
//! ```text
//!  k*T                                                        (k+1)*T
//!   │ group │ group │ group │ …                       │  gap  │ group │ …
//!   └─ spacing: group * TRS ─┘   RACTIVE = 24/25 of T  └ 1/25 ┘
//! ```
//!
//! A whole group leaves at once, so it must be no longer than CMAX, the burst that a receiver of
//! the class takes. That holds after a delay too: a late group is followed by the next one at its
//! ordinary distance, and the rest of the frame *slips*; it comes back to time at a twentieth
//! faster than TRS, which is still slower than the 1.1 at which ST 2110-21's bucket drains.

use serde::Deserialize;

use super::Rate;
use crate::stream::video::format::Format;
use tidegate_runtime::burst::BURST_FRAMES_MAX;

/// Sender classes of ST 2110-21, section 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Type N: bursts of 23 microseconds. Software needs luck or hardware for it.
    Narrow,
    /// Type W: bursts of 44 microseconds.
    #[default]
    Wide,
}

impl Class {
    /// Most packets in a burst: CMAX of ST 2110-21, section 7.1, for a gapped schedule.
    pub fn burst_packets_max(self, format: &Format) -> u32 {
        let (frames, seconds) = format.rate().ratio();
        let packets = u64::from(format.packets_per_frame()) * u64::from(frames);
        let seconds = u64::from(seconds);
        let packets = match self {
            // N / (43200 * RACTIVE * T), RACTIVE = 24/25.
            Self::Narrow => (packets * 25 / (43_200 * 24 * seconds)).max(4),
            // N / (21600 * T).
            Self::Wide => (packets / (21_600 * seconds)).max(16),
        };
        u32::try_from(packets).unwrap_or(u32::MAX)
    }

    /// Packets handed over together: CMAX, as far as a burst of the runtime goes.
    pub fn group_packets(self, format: &Format) -> u32 {
        self.burst_packets_max(format).min(GROUP_PACKETS_MAX)
    }
}

/// Packets of a group at most: a burst of the runtime.
pub const GROUP_PACKETS_MAX: u32 = 64;

const _: () = assert!(GROUP_PACKETS_MAX as usize == BURST_FRAMES_MAX);

/// TRS, the time between two packets, as an exact ratio of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// `T * RACTIVE` in nanoseconds, times `unit`.
    numerator: u64,
    denominator: u64,
}

impl Spacing {
    /// `T * RACTIVE / N`.
    pub fn new(format: &Format) -> Self {
        let (frames, seconds) = format.rate().ratio();
        Self {
            numerator: u64::from(seconds) * 1_000_000_000 * 24,
            denominator: u64::from(frames) * u64::from(format.packets_per_frame()) * 25,
        }
    }

    /// From the start of a frame to its packet `packet`, in nanoseconds, rounded down.
    pub fn offset_ns(self, packet: u32) -> u64 {
        let scaled = u128::from(self.numerator) * u128::from(packet);
        u64::try_from(scaled / u128::from(self.denominator)).expect("less than a frame")
    }
}

/// What a wake-up means for the group that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Within its distance to the next.
    InTime,
    /// Later than that: the rest of the frame has slipped.
    Late,
}

/// The schedule of one frame, from its first group to its last.
#[derive(Clone, Copy, Debug)]
pub struct FrameSchedule {
    start_ns: u64,
    spacing: Spacing,
    group_packets: u32,
    /// How far the groups are behind their ideal times.
    slip_ns: u64,
}

impl FrameSchedule {
    /// A frame that starts at `start_ns` of the shard's clock.
    pub const fn new(start_ns: u64, spacing: Spacing, group_packets: u32) -> Self {
        Self { start_ns, spacing, group_packets, slip_ns: 0 }
    }

    /// When the group that begins with `packet` is due.
    pub fn due_ns(&self, packet: u32) -> u64 {
        self.start_ns + self.spacing.offset_ns(packet) + self.slip_ns
    }

    /// Judges the group that begins with `packet` and leaves at `now_ns`, and plans the rest.
    pub fn leaves(&mut self, packet: u32, now_ns: u64) -> Timing {
        let distance_ns = self.spacing.offset_ns(self.group_packets);
        let late_ns = now_ns.saturating_sub(self.due_ns(packet));
        if late_ns >= distance_ns {
            // Two groups would leave together: move everything that follows.
            self.slip_ns += late_ns;
            return Timing::Late;
        }
        self.slip_ns = self.slip_ns.saturating_sub(distance_ns / CATCH_UP);
        Timing::InTime
    }
}

/// The part of a group's distance by which a slipped frame comes back to time. ST 2110-21's
/// bucket drains at 1.1 of the mean rate, 1.056 of the rate within RACTIVE: below 18 the bucket
/// would fill while we catch up; at 100 a slip of a millisecond lasts for five frames.
const CATCH_UP: u64 = 20;

/// Which frame comes after frame `sent`, when it is `tai_ns`: the next one, or after a stall the
/// first that has not started. The frames between are not sent at all: a burst to catch up would
/// reach receivers that have gone on without them.
///
/// A frame that should have started less than half a period ago is still sent, late. At the gap,
/// a twenty-fifth, every hiccup of the machine would cost a frame that most receivers still show;
/// beyond the half, the next frame is the nearer one.
pub fn frame_after(rate: Rate, sent: u64, tai_ns: u64) -> u64 {
    let next = sent + 1;
    let half_ns = rate.frame_start_ns(1) / 2;
    if tai_ns <= rate.frame_start_ns(next) + half_ns { next } else { rate.next_frame(tai_ns) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::video::format::Depth;

    fn format(width: u32, height: u32, rate: &str) -> Format {
        Format::new(width, height, Depth::Ten, rate.parse().unwrap()).unwrap()
    }

    #[test]
    fn bursts_are_as_the_worked_numbers_say() {
        let table = [
            (1920, 1080, "25", 4, 16),
            (1920, 1080, "50", 5, 16),
            (3840, 2160, "25", 10, 20),
            (3840, 2160, "50", 20, 40),
            (1280, 720, "60000/1001", 4, 16),
        ];
        for (width, height, rate, narrow, wide) in table {
            let format = format(width, height, rate);
            assert_eq!(Class::Narrow.group_packets(&format), narrow, "{format}");
            assert_eq!(Class::Wide.group_packets(&format), wide, "{format}");
        }
        // 8K would allow more than the runtime moves at once.
        let largest = format(7680, 4320, "60");
        assert!(Class::Wide.burst_packets_max(&largest) > 64);
        assert_eq!(Class::Wide.group_packets(&largest), 64);
    }

    #[test]
    fn packets_are_spaced_by_trs_without_drift() {
        let spacing = Spacing::new(&format(1920, 1080, "50"));
        assert_eq!(spacing.offset_ns(1), 4444); // 4444.4
        assert_eq!(spacing.offset_ns(9), 40_000);
        assert_eq!(spacing.offset_ns(4320), 19_200_000); // 24/25 of 20 ms.
        assert_eq!(Spacing::new(&format(3840, 2160, "25")).offset_ns(10), 22_222);
        let fractional = Spacing::new(&format(1920, 1080, "30000/1001"));
        assert_eq!(fractional.offset_ns(4320), 32_032_000); // 24/25 of 33366666.6
    }

    #[test]
    fn a_group_in_time_keeps_the_schedule() {
        let spacing = Spacing::new(&format(1920, 1080, "50"));
        let mut frame = FrameSchedule::new(1_000_000, spacing, 16);
        assert_eq!(frame.due_ns(0), 1_000_000);
        assert_eq!(frame.leaves(0, 1_071_000), Timing::InTime);
        assert_eq!(frame.due_ns(16), 1_071_111);
    }

    #[test]
    fn a_late_group_moves_the_rest_and_never_leads_to_a_burst() {
        let spacing = Spacing::new(&format(1920, 1080, "50"));
        let distance = spacing.offset_ns(16);
        let mut frame = FrameSchedule::new(0, spacing, 16);
        let mut now = 0;
        let mut left = Vec::new();
        for group in 0..270 {
            now = frame.due_ns(group * 16).max(now);
            if group == 100 {
                now += 500_000; // A stall of seven groups.
            }
            let timing = frame.leaves(group * 16, now);
            assert_eq!(timing == Timing::Late, group == 100, "group {group}");
            left.push(now);
        }
        // Never closer than 19/20 of the ordinary distance (and rounding).
        let closest = left.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        assert!(closest >= distance * 19 / 20 - 1, "{closest} of {distance}");
        // And back in time by the frame's end.
        assert_eq!(frame.due_ns(4304), spacing.offset_ns(4304));
    }

    #[test]
    fn a_stall_ends_at_a_frame_boundary() {
        let rate: Rate = "50".parse().unwrap();
        assert_eq!(frame_after(rate, 9, 199_000_000), 10);
        // Half a period after its start, and later.
        assert_eq!(frame_after(rate, 9, 210_000_000), 10);
        assert_eq!(frame_after(rate, 9, 210_000_001), 11);
        assert_eq!(frame_after(rate, 9, 1_000_000_001), 51);
    }
}
