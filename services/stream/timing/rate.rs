//! Frames per second, and where that puts frame `k`.
//!
//! ST 2059-1: frame `k` starts `k * T` after the epoch, 1970-01-01 of TAI, whoever sends it. `T`
//! is a ratio, and everything here is computed from it with integers: 1001 rates do not drift.

use std::fmt;

use serde::Deserialize;

/// Ticks of the RTP clock in a second, for all video.
const CLOCK: u128 = 90_000;

/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;

/// Largest numerator and denominator. Any broadcast rate needs less; with more, the products of
/// [`super::schedule`] would not fit in 64 bits.
const NUMBER_MAX: u32 = 1 << 20;

/// Not a positive ratio of frames per second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub Box<str>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rate {:?}: allowed are frames per second as a number or a ratio, as in \"50\" or \
             \"30000/1001\", up to 1000 and of numbers up to {NUMBER_MAX}",
            self.0
        )
    }
}

impl std::error::Error for Error {}

/// Frames per second, as an exact ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    frames: u32,
    seconds: u32,
}

impl TryFrom<String> for Rate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl std::str::FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (frames, seconds) = text.split_once(['/', ':']).unwrap_or((text, "1"));
        let number = |text: &str| text.trim().parse().ok().filter(|&number: &u32| number > 0);
        match (number(frames), number(seconds)) {
            // Above 1000 a frame is shorter than the shortest stall.
            (Some(frames), Some(seconds))
                if frames / seconds <= 1000 && frames.max(seconds) <= NUMBER_MAX =>
            {
                Ok(Self { frames, seconds })
            }
            _ => Err(Error(text.into())),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            1 => write!(f, "{}", self.frames),
            seconds => write!(f, "{}/{seconds}", self.frames),
        }
    }
}

impl Rate {
    /// Numerator and denominator.
    pub const fn ratio(self) -> (u32, u32) {
        (self.frames, self.seconds)
    }

    /// Whether both are the same number, however written: 50 is 50/1 is 100/2.
    pub fn same_as(self, other: Self) -> bool {
        let cross = |a: Self, b: Self| u64::from(a.frames) * u64::from(b.seconds);
        cross(self, other) == cross(other, self)
    }

    /// The rate of what is sent `times` in each frame: twice for fields. It may be above 1000.
    ///
    /// # Panics
    ///
    /// When `times` is 0 or larger than a picture could need.
    #[must_use]
    pub const fn times(self, times: u32) -> Self {
        assert!(times > 0 && times < 16);
        Self { frames: self.frames * times, ..self }
    }

    /// When frame `index` starts: `index * T` since the epoch, in nanoseconds of TAI.
    pub fn frame_start_ns(self, index: u64) -> u64 {
        self.scaled(index, SECOND)
    }

    /// The RTP timestamp of frame `index`: `index * T` on the 90 kHz clock.
    pub fn timestamp(self, index: u64) -> u32 {
        // Modulo 2^32 by the standard.
        #[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
        let timestamp = self.scaled(index, CLOCK) as u32;
        timestamp
    }

    /// The first frame that starts at `tai_ns` or later.
    pub fn next_frame(self, tai_ns: u64) -> u64 {
        let per_frame = u128::from(self.seconds) * SECOND;
        let index = (u128::from(tai_ns) * u128::from(self.frames)).div_ceil(per_frame);
        u64::try_from(index).expect("fewer frames than nanoseconds")
    }

    /// `index * T` in units of which a second has `units`, rounded down.
    fn scaled(self, index: u64, units: u128) -> u64 {
        let scaled = u128::from(index) * u128::from(self.seconds) * units / u128::from(self.frames);
        u64::try_from(scaled).expect("a frame within 584 years of the epoch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_start_at_exact_multiples_of_the_period() {
        let rate: Rate = "30000/1001".parse().unwrap();
        assert_eq!(rate.frame_start_ns(0), 0);
        assert_eq!(rate.frame_start_ns(1), 33_366_666);
        assert_eq!(rate.frame_start_ns(30_000), 1_001_000_000_000);
        // Far from the epoch nothing has drifted: 30,000 frames are 1001 s wherever they are.
        let far = 30_000 * 1_800_000;
        assert_eq!(rate.frame_start_ns(far), 1_801_800_000 * 1_000_000_000);
        let fifty: Rate = "50".parse().unwrap();
        assert_eq!(fifty.frame_start_ns(3), 60_000_000);
    }

    /// A property over a thousand million frames: 193 days at 59.94. Each start is the floor of
    /// the exact one, compared as a product that needs no division.
    #[test]
    fn a_1001_rate_does_not_drift_over_months() {
        for text in ["24000/1001", "30000/1001", "60000/1001", "120000/1001"] {
            let rate: Rate = text.parse().unwrap();
            let (frames, seconds) = rate.ratio();
            // 30 years after the epoch; every step is another, so that all residues are met.
            let first = rate.next_frame(946_684_800_000_000_000);
            let mut last = None;
            for step in (0..1_000_000_000_u64).step_by(999_983) {
                let index = first + step;
                let (start, exact) = (
                    u128::from(rate.frame_start_ns(index)) * u128::from(frames),
                    u128::from(index) * u128::from(seconds) * SECOND,
                );
                assert!(start <= exact && exact < start + u128::from(frames), "{text}: {index}");
                let ticks = u128::from(index) * u128::from(seconds) * CLOCK / u128::from(frames);
                assert_eq!(u128::from(rate.timestamp(index)), ticks % (1 << 32), "{text}: {index}");
                assert!(last < Some(start), "{text}: {index}");
                last = Some(start);
            }
            // The frames of each 1001 s and the seconds agree, however far away.
            let seconds_apart = |index: u64| {
                rate.frame_start_ns(index + u64::from(frames)) - rate.frame_start_ns(index)
            };
            assert_eq!(seconds_apart(first), u64::from(seconds) * 1_000_000_000);
            assert_eq!(seconds_apart(first + 999_999_999), u64::from(seconds) * 1_000_000_000);
        }
    }

    #[test]
    fn fields_are_twice_as_many_as_frames() {
        let fields = "30000/1001".parse::<Rate>().unwrap().times(2);
        assert_eq!(fields.to_string(), "60000/1001");
        assert_eq!(fields.frame_start_ns(60_000), 1_001_000_000_000);
    }

    #[test]
    fn the_next_frame_is_the_first_that_has_not_started() {
        for rate in ["50", "30000/1001", "24", "1000"] {
            let rate: Rate = rate.parse().unwrap();
            for index in [0, 1, 2, 999, 53_946_053_946, 107_892_107_893] {
                let start = rate.frame_start_ns(index);
                assert_eq!(rate.next_frame(start + 1), index + 1, "{rate}");
                // The exact start may lie a fraction of a nanosecond behind the rounded one.
                assert_eq!(rate.next_frame(start), index, "{rate}");
            }
        }
    }

    #[test]
    fn timestamps_step_by_the_period_and_wrap() {
        let sixty: Rate = "60000/1001".parse().unwrap();
        let steps: Vec<u32> =
            (0..4).map(|k| sixty.timestamp(k + 1).wrapping_sub(sixty.timestamp(k))).collect();
        assert_eq!(steps, [1501, 1502, 1501, 1502]);
        let rate: Rate = "25".parse().unwrap();
        // 2^32 / 3600 = 1193046.47: the next frame is past the wrap.
        assert_eq!(rate.timestamp(1_193_046), 4_294_965_600);
        assert_eq!(rate.timestamp(1_193_047), 1904);
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        for text in ["59.94", "0", "30/0", "", "-5", "2000", "a/b", "1/2000000", "2000000/2000000"]
        {
            let refusal = text.parse::<Rate>().unwrap_err().to_string();
            let expected = format!(
                "rate {text:?}: allowed are frames per second as a number or a ratio, as in \
                 \"50\" or \"30000/1001\", up to 1000 and of numbers up to 1048576"
            );
            assert_eq!(refusal, expected);
        }
    }

    #[test]
    fn equal_rates_may_be_written_differently() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        assert!(rate("50").same_as(rate("100:2")));
        assert!(!rate("30").same_as(rate("30000/1001")));
        assert_eq!(rate("30000:1001").to_string(), "30000/1001");
    }
}
