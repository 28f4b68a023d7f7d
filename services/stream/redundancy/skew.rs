//! How far one path may be behind the other.

use serde::Deserialize;

/// Classes of receivers, ST 2022-7:2019, section 6: the skew that they compensate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SkewClass {
    /// Low skew: 10 ms.
    #[default]
    A,
    /// Moderate skew: 50 ms.
    B,
    /// High skew: 450 ms.
    C,
    /// Ultra-low skew: 150 us.
    D,
}

impl SkewClass {
    /// The skew of the class.
    pub const fn skew(self) -> Skew {
        Skew {
            us: match self {
                Self::A => 10_000,
                Self::B => 50_000,
                Self::C => 450_000,
                Self::D => 150,
            },
        }
    }
}

/// The most that one path may be behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    us: u32,
}

/// What is not a skew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSkew(pub u32);

impl std::fmt::Display for NoSkew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self(found), max) = (self, Skew::MAX_US);
        write!(
            f,
            "skew_us {found}: allowed are 1 to {max}, or skew_class = \"A\", \"B\", \"C\" or \"D\""
        )
    }
}

impl std::error::Error for NoSkew {}

impl Skew {
    /// A second: frames are kept for as long, 50 of them at 50 Hz.
    pub const MAX_US: u32 = 1_000_000;

    /// A skew of `us` microseconds.
    ///
    /// # Errors
    ///
    /// Of none, or of more than [`Self::MAX_US`].
    pub fn of_us(us: u32) -> Result<Self, NoSkew> {
        if (1..=Self::MAX_US).contains(&us) { Ok(Self { us }) } else { Err(NoSkew(us)) }
    }

    /// In nanoseconds.
    pub const fn ns(self) -> u64 {
        self.us as u64 * 1_000
    }

    /// Packets in it, at the highest rate within an image; rounded up.
    pub fn packets(self, packets_per_second: u64) -> u64 {
        // A gapped sender is silent for 4.3 % of the time or, with 480 lines, 7.3 %; and after a
        // delay it is a twentieth faster still.
        let peak = packets_per_second.saturating_mul(9) / 8;
        (peak.saturating_mul(self.ns())).div_ceil(1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_standard() {
        let us = |class: SkewClass| class.skew().ns() / 1_000;
        assert_eq!(
            [SkewClass::A, SkewClass::B, SkewClass::C, SkewClass::D].map(us),
            [10_000, 50_000, 450_000, 150]
        );
    }

    #[test]
    fn a_skew_has_bounds_and_a_remedy() {
        assert_eq!(Skew::of_us(150).unwrap(), SkewClass::D.skew());
        assert!(Skew::of_us(Skew::MAX_US).is_ok());
        for wrong in [0, Skew::MAX_US + 1] {
            let text = Skew::of_us(wrong).unwrap_err().to_string();
            assert!(
                text.ends_with(
                    "allowed are 1 to 1000000, or skew_class = \"A\", \"B\", \"C\" or \"D\""
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn class_c_of_uhd_has_more_packets_than_16_bits() {
        // 2160p50: 864,000 packets a second, a ninth more within an image at most.
        let packets = SkewClass::C.skew().packets(864_000);
        assert!((864_000 * 45 / 100..864_000).contains(&packets), "{packets}");
    }
}
