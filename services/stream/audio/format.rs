//! What sound a stream has, and how much of it is in a packet.

use std::fmt;

use serde::Deserialize;

use crate::stream::sdp::session::UDP_STANDARD;
use tidegate_dataplane::wire::{rtp, udp};

/// Octets of sound that fit in a packet: the Standard UDP Size Limit of ST 2110-10 holds the headers
/// of UDP and RTP too. AES67 has 1440 as well.
pub const PAYLOAD_OCTETS_MAX: usize = UDP_STANDARD as usize - udp::HEADER_LEN - rtp::HEADER_LEN;

const _: () = assert!(PAYLOAD_OCTETS_MAX == 1440);

/// Bits of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Depth {
    /// L16.
    Sixteen,
    /// L24.
    #[default]
    TwentyFour,
}

impl TryFrom<u8> for Depth {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        match bits {
            16 => Ok(Self::Sixteen),
            24 => Ok(Self::TwentyFour),
            _ => Err(format!("{bits} bits of a sample of sound; allowed are 16 and 24")),
        }
    }
}

impl Depth {
    /// Bits of a sample.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Sixteen => 16,
            Self::TwentyFour => 24,
        }
    }

    /// Octets of a sample.
    pub const fn octets(self) -> usize {
        self.bits() as usize / 8
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Bits of a sample.
    pub depth: Depth,
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// Microseconds of sound in a packet: 1000 or 125, nominally.
    pub packet_time_us: u32,
}

/// Why there is no such sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A rate that ST 2110-30 does not have.
    Rate(u32),
    /// A packet time that it does not have.
    PacketTime(u32),
    /// No channels, or more than fit in a packet.
    Channels {
        /// As asked for.
        channels: u16,
        /// How many fit.
        channels_max: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => {
                write!(f, "sample_rate {rate}: allowed are 48000, 96000 and 44100")
            }
            Self::PacketTime(time) => {
                write!(f, "packet_time_us {time}: allowed are 1000 and 125")
            }
            Self::Channels { channels, channels_max } => write!(
                f,
                "channels {channels}: of this rate, depth and packet time 1 to {channels_max} fit \
                 in a packet; with packet_time_us = 125 eight times as many"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Sound that can be sent. Holding one proves that a packet of it fits in [`PAYLOAD_OCTETS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    spec: Spec,
    packet_samples: u32,
}

impl Spec {
    /// Checks it.
    ///
    /// # Errors
    ///
    /// When ST 2110-30 has no such rate or packet time, or a packet does not hold the channels.
    pub fn check(self) -> Result<Format, Error> {
        // AES67, 7.2: 44.1 kHz has as many samples in a packet as 48 kHz, in a little more time.
        let millisecond = match self.sample_rate {
            44_100 | 48_000 => 48,
            96_000 => 96,
            other => return Err(Error::Rate(other)),
        };
        let packet_samples = match self.packet_time_us {
            1000 => millisecond,
            125 => millisecond / 8,
            other => return Err(Error::PacketTime(other)),
        };
        let channels_max = PAYLOAD_OCTETS_MAX / (packet_samples as usize * self.depth.octets());
        if !(1..=channels_max).contains(&usize::from(self.channels)) {
            return Err(Error::Channels { channels: self.channels, channels_max });
        }
        Ok(Format { spec: self, packet_samples })
    }
}

/// What a receiver has to conform to for taking a format, ST 2110-30, 6.2.1 and table 2. Each
/// includes those before it of its own kind: C and CX take what B and BX take, and they what A and
/// AX take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 48 kHz, 1 ms, up to 8 channels. Every receiver takes this.
    A,
    /// 96 kHz, 1 ms, up to 4 channels.
    Ax,
    /// 48 kHz, 125 us, up to 8 channels.
    B,
    /// 96 kHz, 125 us, up to 8 channels.
    Bx,
    /// 48 kHz, 125 us, up to 64 channels.
    C,
    /// 96 kHz, 125 us, up to 32 channels.
    Cx,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Ax => "AX",
            Self::B => "B",
            Self::Bx => "BX",
            Self::C => "C",
            Self::Cx => "CX",
        })
    }
}

impl Format {
    /// What was asked for.
    pub const fn spec(&self) -> Spec {
        self.spec
    }

    /// Samples of each channel in a packet.
    pub const fn packet_samples(&self) -> u32 {
        self.packet_samples
    }

    /// Octets of a sample of every channel.
    pub const fn frame_octets(&self) -> usize {
        self.spec.channels as usize * self.spec.depth.octets()
    }

    /// Octets of sound in a packet.
    pub const fn payload_octets(&self) -> usize {
        self.packet_samples as usize * self.frame_octets()
    }

    /// The lowest level that includes it; `None` where only receivers beyond all levels take it.
    pub const fn level(&self) -> Option<Level> {
        let Spec { sample_rate, channels, packet_time_us, .. } = self.spec;
        Some(match (sample_rate, packet_time_us, channels) {
            (48_000, 1000, ..=8) => Level::A,
            (96_000, 1000, ..=4) => Level::Ax,
            (48_000, 125, ..=8) => Level::B,
            (96_000, 125, ..=8) => Level::Bx,
            (48_000, 125, ..=64) => Level::C,
            (96_000, 125, ..=32) => Level::Cx,
            _ => return None,
        })
    }

    /// When packet `index` begins, which is packet 0 at the epoch: nanoseconds of TAI, rounded up,
    /// so that a packet is never before its first sample.
    pub fn packet_ns(&self, index: u64) -> u64 {
        let samples = u128::from(index) * u128::from(self.packet_samples);
        let ns = (samples * SECOND_NS).div_ceil(u128::from(self.spec.sample_rate));
        u64::try_from(ns).expect("within 584 years of the epoch")
    }

    /// The first packet that begins at `tai_ns` or later.
    pub fn next_packet(&self, tai_ns: u64) -> u64 {
        // ceil(index * samples / rate) >= ns, for the least index.
        let Some(before_ns) = tai_ns.checked_sub(1) else { return 0 };
        let per_packet = u128::from(self.packet_samples) * SECOND_NS;
        let index = u128::from(before_ns) * u128::from(self.spec.sample_rate) / per_packet + 1;
        u64::try_from(index).expect("fewer packets than nanoseconds")
    }

    /// Number of the first sample of packet `index` since the epoch.
    pub const fn first_sample(&self, index: u64) -> u64 {
        index * self.packet_samples as u64
    }
}

/// RTP timestamp of sample `number` since the epoch.
#[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
pub const fn timestamp(number: u64) -> u32 {
    number as u32
}

const SECOND_NS: u128 = 1_000_000_000;

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { depth, sample_rate, channels, packet_time_us } = self.spec;
        let bits = depth.bits();
        write!(f, "{channels} channels of L{bits} at {sample_rate} Hz, {packet_time_us} us")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(sample_rate: u32, packet_time_us: u32, channels: u16, depth: Depth) -> Spec {
        Spec { depth, sample_rate, channels, packet_time_us }
    }

    #[test]
    fn levels_are_those_of_the_table() {
        use Depth::{Sixteen, TwentyFour};
        for (rate, time, channels, depth, level) in [
            (48_000, 1000, 1, Sixteen, Some(Level::A)),
            (48_000, 1000, 8, TwentyFour, Some(Level::A)),
            (48_000, 1000, 10, TwentyFour, None),
            (96_000, 1000, 4, TwentyFour, Some(Level::Ax)),
            (96_000, 1000, 5, TwentyFour, None),
            (48_000, 125, 8, TwentyFour, Some(Level::B)),
            (48_000, 125, 9, TwentyFour, Some(Level::C)),
            (48_000, 125, 64, TwentyFour, Some(Level::C)),
            (48_000, 125, 65, TwentyFour, None),
            (96_000, 125, 8, Sixteen, Some(Level::Bx)),
            (96_000, 125, 32, TwentyFour, Some(Level::Cx)),
            (96_000, 125, 33, TwentyFour, None),
            (44_100, 1000, 2, Sixteen, None),
        ] {
            let format = spec(rate, time, channels, depth).check().unwrap();
            assert_eq!(format.level(), level, "{format}");
            assert!(format.payload_octets() <= PAYLOAD_OCTETS_MAX);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        let refused = |rate, time, channels| {
            spec(rate, time, channels, Depth::TwentyFour).check().unwrap_err()
        };
        assert_eq!(
            refused(32_000, 1000, 2).to_string(),
            "sample_rate 32000: allowed are 48000, 96000 and 44100"
        );
        assert_eq!(
            refused(48_000, 4000, 2).to_string(),
            "packet_time_us 4000: allowed are 1000 and 125"
        );
        assert_eq!(
            refused(48_000, 1000, 11).to_string(),
            "channels 11: of this rate, depth and packet time 1 to 10 fit in a packet; with \
             packet_time_us = 125 eight times as many"
        );
        assert_eq!(refused(48_000, 125, 0), Error::Channels { channels: 0, channels_max: 80 });
        assert_eq!(
            Depth::try_from(20).unwrap_err(),
            "20 bits of a sample of sound; allowed are 16 and 24"
        );
    }

    #[test]
    fn packets_are_where_the_epoch_puts_them() {
        let ms = spec(48_000, 1000, 2, Depth::TwentyFour).check().unwrap();
        assert_eq!(ms.packet_ns(1_700_000_000_123), 1_700_000_000_123_000_000);
        assert_eq!(ms.next_packet(1_700_000_000_122_000_001), 1_700_000_000_123);
        assert_eq!(ms.next_packet(1_700_000_000_123_000_000), 1_700_000_000_123);
        let eighth = spec(96_000, 125, 2, Depth::TwentyFour).check().unwrap();
        assert_eq!(eighth.packet_ns(8), 1_000_000);
        // 44.1 kHz: after 147 packets of 48 samples, 160 ms have gone, whenever that is.
        let odd = spec(44_100, 1000, 2, Depth::Sixteen).check().unwrap();
        assert_eq!(odd.packet_ns(147_000_000_000), 160_000_000_000_000_000);
        for index in [1, 2, 1_700_000_000_123] {
            assert_eq!(odd.next_packet(odd.packet_ns(index)), index);
            assert_eq!(odd.next_packet(odd.packet_ns(index) + 1), index + 1);
        }
    }
}
