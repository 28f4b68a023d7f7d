//! Classes of senders: how much of a burst, and of a receiver's buffer. ST 2110-21, section 7.
//!
//! Two models, each a bucket that packets fall into. The *network's* (C_INST) drains at 1.1 of
//! the mean rate and stands for the buffers of switches; the *receiver's* (VRX) drains one packet
//! per TRS from TVD on, as the receiver reads them. A class is a depth of both.

use std::fmt;

use serde::Deserialize;
use tidegate_runtime::burst::BURST_FRAMES_MAX;

use super::schedule::{Read, Schedule};

/// Sender classes of ST 2110-21, section 7.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Type N: bursts of 23 microseconds, a gapped schedule. Software needs a core that nobody
    /// else has.
    Narrow,
    /// Type NL: the same on a linear schedule.
    NarrowLinear,
    /// Type W: bursts of 46 microseconds, and milliseconds of buffer, on a linear schedule.
    #[default]
    Wide,
}

impl Class {
    /// The schedule that its packets are read by, and judged by.
    pub const fn read(self) -> Read {
        match self {
            Self::Narrow => Read::Gapped,
            Self::NarrowLinear | Self::Wide => Read::Linear,
        }
    }

    /// The schedule that we send by. A wide sender is read by a linear one, of which it is ahead
    /// by 4 % of a frame at most if it sends gapped: its buffer holds twice that, and the gap is
    /// the time in which a sender of software makes up for a delay. A frame whose packets are
    /// evenly spread has no end to be late for.
    pub const fn sent(self) -> Read {
        match self {
            Self::NarrowLinear => Read::Linear,
            Self::Narrow | Self::Wide => Read::Gapped,
        }
    }

    /// The value of TP in an SDP, section 8.1.
    pub const fn tp(self) -> &'static str {
        match self {
            Self::Narrow => "2110TPN",
            Self::NarrowLinear => "2110TPNL",
            Self::Wide => "2110TPW",
        }
    }

    /// All, as written in a configuration.
    pub const WORDS: [&'static str; 3] = ["narrow", "narrow-linear", "wide"];

    /// The class of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Narrow, Self::NarrowLinear, Self::Wide].into_iter().find(|it| it.word() == word)
    }

    /// As written in a configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::NarrowLinear => "narrow-linear",
            Self::Wide => "wide",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a class allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// CMAX: C_INST at most.
    pub burst_packets: u32,
    /// VRX_FULL: VRX at most; it is 0 at least.
    pub buffer_packets: u32,
}

/// MAXIP of section 7.1: octets of the longest IP packet, 1500 by ST 2110-10's standard size.
const IP_OCTETS_MAX: u64 = 1500;

/// Both limits of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of narrow, or narrow linear where the schedule is.
    pub narrow: Limit,
    /// Of wide.
    pub wide: Limit,
    /// The narrow class that the schedule allows.
    narrow_class: Class,
}

impl Limits {
    /// Of a stream that is read by `schedule`.
    pub fn of(schedule: &Schedule) -> Self {
        let (frames, seconds) = schedule.images().rate().ratio();
        let (active, of_active) = schedule.active();
        // N / T is `packets / seconds`.
        let packets = u64::from(schedule.images().packets) * u64::from(frames);
        let seconds = u64::from(seconds);
        let limit = |burst: u64, buffer: u64| {
            let small = |packets| u32::try_from(packets).expect("parts of N");
            Limit { burst_packets: small(burst), buffer_packets: small(buffer) }
        };
        let narrow = limit(
            (packets * of_active / (43_200 * active * seconds)).max(4),
            (packets / (27_000 * seconds)).max(1500 * 8 / IP_OCTETS_MAX),
        );
        let wide = limit(
            (packets / (21_600 * seconds)).max(16),
            (packets / (300 * seconds)).max(1500 * 720 / IP_OCTETS_MAX),
        );
        let narrow_class = match schedule.read() {
            Read::Gapped => Class::Narrow,
            Read::Linear => Class::NarrowLinear,
        };
        Self { narrow, wide, narrow_class }
    }

    /// What `class` allows.
    pub const fn of_class(&self, class: Class) -> Limit {
        match class {
            Class::Narrow | Class::NarrowLinear => self.narrow,
            Class::Wide => self.wide,
        }
    }

    /// The strictest class that these extremes keep, if they keep any.
    pub const fn held(&self, extremes: &Extremes) -> Option<Class> {
        if extremes.within(&self.narrow) {
            Some(self.narrow_class)
        } else if extremes.within(&self.wide) {
            Some(Class::Wide)
        } else {
            None
        }
    }
}

/// How far both models went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremes {
    /// Highest C_INST.
    pub burst_max: i64,
    /// Lowest VRX; negative where packets came after they should have been read.
    pub buffer_min: i64,
    /// Highest VRX.
    pub buffer_max: i64,
}

impl Extremes {
    /// Of nothing.
    pub const NONE: Self = Self { burst_max: 0, buffer_min: i64::MAX, buffer_max: i64::MIN };

    /// Of both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            burst_max: self.burst_max.max(other.burst_max),
            buffer_min: self.buffer_min.min(other.buffer_min),
            buffer_max: self.buffer_max.max(other.buffer_max),
        }
    }

    const fn within(&self, limit: &Limit) -> bool {
        self.burst_max <= limit.burst_packets as i64
            && self.buffer_min >= 0
            && self.buffer_max <= limit.buffer_packets as i64
    }
}

/// Packets of a group at most: a burst of the runtime.
pub const GROUP_PACKETS_MAX: u32 = 64;

const _: () = assert!(GROUP_PACKETS_MAX as usize == BURST_FRAMES_MAX);

/// How a sender uses what its class allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allotment {
    /// Packets handed over together.
    pub group_packets: u32,
    /// Packets by which the sender is ahead of the reader, before each group.
    pub lead_packets: u32,
    /// CMAX, which also bounds how it makes up for a delay.
    pub burst_packets: u32,
}

impl Allotment {
    /// For a sender of `class`.
    ///
    /// A wide group is CMAX packets: the fewest wake-ups, and lateness is for the buffer, which
    /// holds milliseconds. A narrow buffer holds 36 microseconds, and what a group takes of it is
    /// missing in the lead. So there a group is a fifth of CMAX, 4.6 microseconds, 216,000 a
    /// second for any format: 31 microseconds are left for the machine. (Measured where a timer's
    /// tick takes 20 to 60: at CMAX no frame of 1080p50 kept narrow, at three fifths 40 of 100, at
    /// one 73. Each wake-up has its price: the sender kept 45 % of a core instead of 33.) What was
    /// late is made up for by CMAX at once.
    ///
    /// The lead takes the rest of the buffer but one packet, which is for gaps that shrink on the
    /// way. But no more than half of TROFFSET: what is sent before `k * T` has an RTP timestamp in
    /// the future, and a receiver whose clock is a little behind takes it for part of the image
    /// before.
    pub fn new(class: Class, limits: &Limits, schedule: &Schedule) -> Self {
        let Limit { burst_packets, buffer_packets } = limits.of_class(class);
        let group = match class {
            Class::Wide => burst_packets,
            Class::Narrow | Class::NarrowLinear => burst_packets.div_ceil(5),
        };
        let group_packets = group.min(GROUP_PACKETS_MAX);
        // The last packet of a group finds `lead + group - 1` in the buffer.
        let lead = (buffer_packets + 1).saturating_sub(group_packets + SPARE_PACKETS);
        let lead_packets = lead.min(schedule.offset_packets(2));
        Self { group_packets, lead_packets, burst_packets }
    }
}

/// Packets of the receiver's buffer that a sender leaves free. Without one, a group that is a
/// nanosecond early by the receiver's clock overflows a narrow buffer; each one more takes 4
/// microseconds from the lateness that 1080p50 may have.
const SPARE_PACKETS: u32 = 1;

#[cfg(test)]
mod tests {
    use super::super::schedule::{Images, Scan};
    use super::*;

    fn schedule(height: u32, rate: &str, packets: u32, read: Read) -> Schedule {
        let images =
            Images { frames: rate.parse().unwrap(), scan: Scan::Progressive, height, packets };
        Schedule::new(images, read, None).unwrap()
    }

    /// CMAX and VRX_FULL of narrow and wide, gapped.
    #[test]
    fn the_worked_numbers_hold() {
        let table = [
            (1080, "25", 4320, (4, 8), (16, 720)),
            (1080, "50", 4320, (5, 8), (16, 720)),
            (1080, "50", 4115, (4, 8), (16, 720)),
            (2160, "25", 17_280, (10, 16), (20, 1440)),
            (2160, "25", 16_458, (9, 15), (19, 1371)),
            (2160, "25", 14_552, (8, 13), (16, 1212)),
            (2160, "50", 17_280, (20, 32), (40, 2880)),
            (2160, "50", 16_458, (19, 30), (38, 2743)),
            (2160, "50", 14_552, (17, 26), (33, 2425)),
            (720, "60000/1001", 2880, (4, 8), (16, 720)),
        ];
        for (height, rate, packets, narrow, wide) in table {
            let limits = Limits::of(&schedule(height, rate, packets, Read::Gapped));
            let pair = |limit: Limit| (limit.burst_packets, limit.buffer_packets);
            assert_eq!(pair(limits.narrow), narrow, "{height}p{rate} of {packets}");
            assert_eq!(pair(limits.wide), wide, "{height}p{rate} of {packets}");
        }
    }

    #[test]
    fn a_linear_schedule_allows_shorter_bursts() {
        // 17,280 * 50 / 43,200 is 20; RACTIVE of 24/25 makes 20.8 of it.
        let of = |packets, read| Limits::of(&schedule(2160, "50", packets, read)).narrow;
        assert_eq!(of(17_280, Read::Linear).burst_packets, 20);
        assert_eq!(of(16_800, Read::Gapped).burst_packets, 20);
        assert_eq!(of(16_800, Read::Linear).burst_packets, 19);
        let same = |read| of(16_800, read).buffer_packets;
        assert_eq!(same(Read::Gapped), same(Read::Linear));
    }

    #[test]
    fn a_class_is_held_within_both_limits_and_lost_below_zero() {
        let gapped = Limits::of(&schedule(1080, "50", 4320, Read::Gapped));
        let linear = Limits::of(&schedule(1080, "50", 4320, Read::Linear));
        let held = |limits: &Limits, burst_max, buffer_min, buffer_max| {
            limits.held(&Extremes { burst_max, buffer_min, buffer_max })
        };
        assert_eq!(held(&gapped, 5, 0, 8), Some(Class::Narrow));
        assert_eq!(held(&linear, 5, 0, 8), Some(Class::NarrowLinear));
        for limits in [gapped, linear] {
            assert_eq!(held(&limits, 6, 0, 8), Some(Class::Wide));
            assert_eq!(held(&limits, 5, 0, 9), Some(Class::Wide));
            assert_eq!(held(&limits, 16, 0, 720), Some(Class::Wide));
            assert_eq!(held(&limits, 17, 0, 720), None);
            assert_eq!(held(&limits, 16, 0, 721), None);
            assert_eq!(held(&limits, 1, -1, 2), None);
        }
    }

    #[test]
    fn groups_and_leads_fit_into_the_class() {
        use Class::{Narrow, NarrowLinear, Wide};
        let table = [
            (Narrow, 1080, "25", 4320, 1, 7),
            (Narrow, 1080, "50", 4320, 1, 7),
            (NarrowLinear, 1080, "50", 4320, 1, 7),
            (Wide, 1080, "50", 4320, 16, 86),
            (Narrow, 2160, "25", 17_280, 2, 14),
            (Wide, 2160, "25", 17_280, 20, 344),
            (Narrow, 2160, "50", 17_280, 4, 28),
            (Wide, 2160, "50", 17_280, 40, 344),
        ];
        for (class, height, rate, packets, group, lead) in table {
            let schedule = schedule(height, rate, packets, class.sent());
            let limits = Limits::of(&schedule);
            let allotment = Allotment::new(class, &limits, &schedule);
            let what = format!("{class} {height}p{rate}");
            let found = (allotment.group_packets, allotment.lead_packets);
            let expected_lead = match class {
                // TRS is a 24th longer, so fewer fit.
                NarrowLinear => lead.min(schedule.offset_packets(2)),
                _ => lead,
            };
            assert_eq!(found, (group, expected_lead), "{what}");
            let limit = limits.of_class(class);
            assert!(lead + group <= limit.buffer_packets, "{what}: one is spare");
            assert!(group <= limit.burst_packets, "{what}");
        }
        // 8K would allow more than the runtime moves at once.
        let schedule = schedule(4320, "60", 69_120, Read::Gapped);
        let limits = Limits::of(&schedule);
        assert!(limits.wide.burst_packets > 64);
        assert_eq!(Allotment::new(Wide, &limits, &schedule).group_packets, 64);
    }

    #[test]
    fn words_are_those_of_sdp_and_configuration() {
        for (class, word, tp) in [
            (Class::Narrow, "narrow", "2110TPN"),
            (Class::NarrowLinear, "narrow-linear", "2110TPNL"),
            (Class::Wide, "wide", "2110TPW"),
        ] {
            assert_eq!((class.word(), class.tp()), (word, tp));
            assert_eq!(Class::of(word), Some(class));
            assert!(Class::WORDS.contains(&word));
            let read: Class = serde_json::from_value(word.into()).unwrap();
            assert_eq!(read, class);
        }
    }
}
