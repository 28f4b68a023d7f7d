//! Timecode in ANC packets: ST 12-1's time address, as ST 12-2 (ATC) packs it.
//!
//! The time is that of the frame on the media clock: its time of day in UTC, frames counted from
//! midnight. Whoever has the frame's RTP timestamp and knows the day can say its timecode, and the
//! other way round. At rates over 1001 frames are counted from midnight too, with the numbers that
//! drop-frame leaves out at 30 and 60: so label and clock agree to some frames all day, and exactly
//! at midnight. Above 30 a second, two frames have one label (ST 12-1, 12), told apart by the field
//! flag.

use std::fmt;

use tidegate_runtime::clock::TAI_MINUS_UTC_SECONDS;

use super::anc::with_parity;
use crate::stream::timing::Rate;

/// DID and SDID of ancillary timecode, ST 12-2, 6.1.
pub const KIND: (u8, u8) = (0x60, 0x60);

/// User data words of such a packet.
pub const WORDS: usize = 16;

/// Frames of a label: the tens have two bits, so 30, in pairs 60.
const LABEL_FRAMES_MAX: u64 = 30;

/// A rate that timecode does not count: above 60 frames a second, or below 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTimecode(pub Rate);

impl fmt::Display for NoTimecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ancillary source \"timecode\" at {} frames a second: timecode counts up to 60; use \
             another rate, or a file",
            self.0
        )
    }
}

impl std::error::Error for NoTimecode {}

/// Counts the frames of one rate.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    rate: Rate,
    /// Labels in a second.
    labels: u64,
    /// Frames of a label.
    shared: u64,
    drops: bool,
}

/// A label, as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timecode {
    /// Hours of the day.
    pub hours: u8,
    /// Minutes.
    pub minutes: u8,
    /// Seconds.
    pub seconds: u8,
    /// Frames, or pairs of them.
    pub frames: u8,
    /// Whether it is the second of a pair.
    pub second_of_pair: bool,
    /// Whether numbers are left out.
    pub drops: bool,
}

impl fmt::Display for Timecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hours, minutes, seconds, frames, second_of_pair, drops } = self;
        let (mark, second) =
            (if *drops { ';' } else { ':' }, if *second_of_pair { "." } else { "" });
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}{mark}{frames:02}{second}")
    }
}

impl Counter {
    /// Counts frames of `rate`.
    ///
    /// # Errors
    ///
    /// When timecode has no such rate.
    pub fn new(rate: Rate) -> Result<Self, NoTimecode> {
        let (frames, seconds) = rate.ratio();
        let nominal = u64::from(frames.div_ceil(seconds));
        let shared = if nominal > LABEL_FRAMES_MAX { 2 } else { 1 };
        let labels = nominal / shared;
        if labels > LABEL_FRAMES_MAX || nominal % shared != 0 {
            return Err(NoTimecode(rate));
        }
        let drops = labels == 30 && !frames.is_multiple_of(seconds);
        Ok(Self { rate, labels, shared, drops })
    }

    /// The label of frame `index` since the epoch.
    pub fn of(&self, index: u64) -> Timecode {
        let offset = u64::from(TAI_MINUS_UTC_SECONDS);
        let utc = (self.rate.frame_start_ns(index) / SECOND_NS).saturating_sub(offset);
        let midnight = (utc - utc % DAY + offset) * SECOND_NS;
        // A frame that begins in the last nanosecond before it has that day's number.
        let since = index.saturating_sub(self.rate.next_frame(midnight));
        let (mut label, second) = (since / self.shared, since % self.shared == 1);
        if self.drops {
            // ST 12-1, 8.2: two numbers are left out in each minute that is no multiple of ten.
            let (tens, rest) = (label / 17_982, label % 17_982);
            label += 18 * tens + rest.saturating_sub(2) / 1798 * 2;
        }
        let part = |of: u64, below: u64| u8::try_from(of % below).expect("below 60");
        Timecode {
            hours: part(label / (self.labels * 3600), 24),
            minutes: part(label / (self.labels * 60), 60),
            seconds: part(label / self.labels, 60),
            frames: part(label, self.labels),
            second_of_pair: second,
            drops: self.drops,
        }
    }

    /// Where the flag of the second field, or of the second frame of a pair, stands: bit 59 of the
    /// time address where there are 25 labels, else bit 27 (ST 12-1, table 7).
    const fn field_flag(&self) -> usize {
        if self.labels == 25 { 14 } else { 6 }
    }

    /// The user data words of frame `index`: as VITC of the first field, or of the second.
    pub fn words(&self, index: u64, second_field: bool) -> [u16; WORDS] {
        let Timecode { hours, minutes, seconds, frames, second_of_pair, drops } = self.of(index);
        // ST 12-2, 6.2.1: every other word has four bits of the time address, the words between
        // have the binary groups, which are 0.
        let mut nibbles = [0_u8; WORDS];
        for (place, value) in [frames, seconds, minutes, hours].into_iter().enumerate() {
            (nibbles[4 * place], nibbles[4 * place + 2]) = (value % 10, value / 10);
        }
        nibbles[2] |= u8::from(drops) << 2;
        nibbles[self.field_flag()] |= u8::from(second_field || second_of_pair) << 3;
        // ST 12-2, 6.2.2: what it is, a bit in each of the first eight words.
        let kind: u8 = if second_field { VITC_2 } else { VITC_1 };
        let mut words = [0; WORDS];
        for (at, (word, nibble)) in words.iter_mut().zip(nibbles).enumerate() {
            let kind_bit = if at < 8 { kind >> at & 1 } else { 0 };
            *word = with_parity(nibble << 4 | kind_bit << 3);
        }
        words
    }
}

/// Values of the first distributed binary bits, ST 12-2, table 5.
const VITC_1: u8 = 1;
const VITC_2: u8 = 2;

const SECOND_NS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01 00:00:00 UTC, in seconds.
    const MIDNIGHT: u64 = 1_772_323_200;

    fn labels(rate: &str) -> (Counter, u64) {
        let rate: Rate = rate.parse().unwrap();
        let midnight = rate.next_frame((MIDNIGHT + 37) * SECOND_NS);
        (Counter::new(rate).unwrap(), midnight)
    }

    #[test]
    fn labels_are_the_time_of_day() {
        for (rate, frame, label) in [
            ("25", 0, "00:00:00:00"),
            ("25", 25 * 3661 + 24, "01:01:01:24"),
            ("25", 25 * 86_400 - 1, "23:59:59:24"),
            ("25", 25 * 86_400, "00:00:00:00"),
            ("50", 50 * 60 + 3, "00:01:00:01."),
            ("60", 60 * 3600 + 58, "01:00:00:29"),
            ("24", 24 * 10 + 23, "00:00:10:23"),
            ("30000/1001", 1799, "00:00:59;29"),
            ("30000/1001", 1800, "00:01:00;02"),
            ("30000/1001", 17_981, "00:09:59;29"),
            ("30000/1001", 17_982, "00:10:00;00"),
            ("30000/1001", 17_982 + 1800, "00:11:00;02"),
            ("60000/1001", 3601, "00:01:00;02."),
            ("24000/1001", 24 * 60, "00:01:00:00"),
        ] {
            let (counter, midnight) = labels(rate);
            assert_eq!(counter.of(midnight + frame).to_string(), label, "{rate} {frame}");
        }
    }

    /// Drop-frame against counting one by one, over an hour.
    #[test]
    fn left_out_numbers_are_those_of_the_rule() {
        let (counter, midnight) = labels("30000/1001");
        let (mut minutes, mut seconds, mut frames) = (0_u64, 0_u8, 0_u8);
        for frame in 0..107_892 {
            let label = counter.of(midnight + frame);
            let hours = u8::try_from(minutes / 60).unwrap();
            let minute = u8::try_from(minutes % 60).unwrap();
            assert_eq!(
                (label.hours, label.minutes, label.seconds, label.frames),
                (hours, minute, seconds, frames)
            );
            frames += 1;
            if frames == 30 {
                (seconds, frames) = (seconds + 1, 0);
                if seconds == 60 {
                    (minutes, seconds) = (minutes + 1, 0);
                    frames = if minutes.is_multiple_of(10) { 0 } else { 2 };
                }
            }
        }
        assert_eq!(minutes, 60);
    }

    #[test]
    fn words_are_those_of_the_standard() {
        let (counter, midnight) = labels("25");
        // 12:34:56:17, of the first field.
        let frame = midnight + (12 * 3600 + 34 * 60 + 56) * 25 + 17;
        let octets = |second| {
            counter.words(frame, second).map(|word| super::super::anc::octet(word).unwrap())
        };
        assert_eq!(
            octets(false),
            [
                0x78, 0x00, 0x10, 0x00, 0x60, 0x00, 0x50, 0x00, 0x40, 0x00, 0x30, 0x00, 0x20, 0x00,
                0x10, 0x00
            ]
        );
        // Of the second: another kind, and bit 59.
        let second = octets(true);
        assert_eq!((second[0], second[1], second[14]), (0x70, 0x08, 0x90));
        // A pair's second frame, and bit 27 where there are 30 labels; drop-frame is bit 10.
        let (counter, midnight) = labels("60000/1001");
        let words = counter.words(midnight + 1, false);
        assert_eq!((words[2] & 0xff, words[6] & 0xff, words[14] & 0xff), (0x40, 0x80, 0));
    }

    #[test]
    fn rates_beyond_timecode_are_refused() {
        for rate in ["120", "100", "61"] {
            let rate: Rate = rate.parse().unwrap();
            assert_eq!(Counter::new(rate).unwrap_err(), NoTimecode(rate));
        }
        assert!(NoTimecode("120".parse().unwrap()).to_string().contains("counts up to 60"));
    }
}
