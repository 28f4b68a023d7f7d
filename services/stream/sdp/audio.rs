//! Audio of ST 2110-30, which is AES67 with fewer choices, as SDP says it.

use std::fmt;

use super::finding::{Code, Findings, quoted};
use super::medium::COMMON;
use super::parameters::Parameters;
use super::rate::digits;
use super::text::Section;
use super::words::words;

/// PCM audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Bits of a sample.
    pub encoding: Encoding,
    /// Samples of a channel in a second, which is also the RTP clock.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// Microseconds of sound in a packet.
    pub packet_time_us: u32,
    /// The most of them, where the SDP says it.
    pub packet_time_max_us: Option<u32>,
    /// What the channels are; empty where the SDP does not say it.
    pub channel_order: Vec<ChannelGroup>,
}

words! {
    /// Bits of a sample.
    pub enum Encoding {
        /// 16 bits.
        L16 = "L16",
        /// 24 bits.
        L24 = "L24",
    }
}

/// Channels that belong together, ST 2110-30, 6.2.2, table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelGroup {
    /// One channel.
    Mono,
    /// Two independent ones.
    DualMono,
    /// Left and right.
    Stereo,
    /// Left total, right total: a matrix of more.
    Matrix,
    /// 5.1.
    Surround51,
    /// 7.1.
    Surround71,
    /// 22.2.
    Surround222,
    /// An SDI audio group: four.
    SdiGroup,
    /// So many that nobody has said anything about, 1 to 64.
    Undefined(u8),
}

/// The convention that ST 2110-30 defines.
pub(in crate::stream) const CONVENTION: &str = "SMPTE2110.";

impl ChannelGroup {
    /// Its channels.
    pub const fn channels(self) -> u16 {
        match self {
            Self::Mono => 1,
            Self::DualMono | Self::Stereo | Self::Matrix => 2,
            Self::SdiGroup => 4,
            Self::Surround51 => 6,
            Self::Surround71 => 8,
            Self::Surround222 => 24,
            Self::Undefined(count) => count as u16,
        }
    }

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "M" => Self::Mono,
            "DM" => Self::DualMono,
            "ST" => Self::Stereo,
            "LtRt" => Self::Matrix,
            "51" => Self::Surround51,
            "71" => Self::Surround71,
            "222" => Self::Surround222,
            "SGRP" => Self::SdiGroup,
            _ => {
                let count = word.strip_prefix('U').filter(|count| count.len() == 2)?;
                Self::Undefined(digits(count).filter(|count| (1..=64).contains(count))?)
            }
        })
    }

    /// The groups of what stands behind `channel-order=`.
    pub fn order(text: &str) -> Option<Vec<Self>> {
        let inside = text.strip_prefix(CONVENTION)?.strip_prefix('(')?.strip_suffix(')')?;
        inside.split(',').map(|word| Self::of(word.trim())).collect()
    }
}

impl fmt::Display for ChannelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mono => "M",
            Self::DualMono => "DM",
            Self::Stereo => "ST",
            Self::Matrix => "LtRt",
            Self::Surround51 => "51",
            Self::Surround71 => "71",
            Self::Surround222 => "222",
            Self::SdiGroup => "SGRP",
            Self::Undefined(count) => return write!(f, "U{count:02}"),
        })
    }
}

impl Audio {
    /// Samples of each channel in a packet.
    ///
    /// Packet times are written rounded: 0.333 ms are 16 samples, 1.09 ms at 44.1 kHz are 48.
    pub fn packet_samples(&self) -> u32 {
        let samples = u64::from(self.packet_time_us) * u64::from(self.sample_rate);
        u32::try_from((samples + 500_000) / 1_000_000).unwrap_or(u32::MAX)
    }

    /// Octets of sound in a packet.
    pub fn packet_octets(&self) -> u64 {
        let sample = if self.encoding == Encoding::L16 { 2 } else { 3 };
        u64::from(self.packet_samples()) * u64::from(self.channels) * sample
    }
}

impl fmt::Display for Audio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoding, sample_rate, channels, .. } = self;
        let time = Milliseconds(self.packet_time_us);
        write!(f, "{channels} channels of {encoding} at {sample_rate} Hz, {time} ms a packet")
    }
}

/// What an `rtpmap` of audio says.
pub(super) struct Mapped {
    encoding: Encoding,
    sample_rate: u32,
    channels: u16,
}

/// Checks the `rtpmap` of audio.
pub(super) fn mapped(
    encoding: Encoding,
    line: usize,
    map: &sdp_types::RtpMap,
    out: &mut Findings,
) -> Option<Mapped> {
    let sample_rate = map.clock_rate;
    let is_known = match encoding {
        Encoding::L16 => [44_100, 48_000].contains(&sample_rate),
        Encoding::L24 => [48_000, 96_000].contains(&sample_rate),
    };
    if !is_known {
        let text = format!("{encoding} at {sample_rate} Hz");
        out.add(line, Code::SampleRate, text, "L24/48000, L24/96000, L16/48000 or L16/44100");
    }
    // RFC 8866, 6.6: one channel where it is not said.
    let written = map.encoding_params.as_deref().unwrap_or("1");
    let channels = digits(written).filter(|&channels| channels > 0);
    if channels.is_none() || sample_rate == 0 {
        let text = format!("{encoding} with {} channels at {sample_rate} Hz", quoted(written));
        out.add(line, Code::Channels, text, format!("{encoding}/48000/<channels>"));
        return None;
    }
    Some(Mapped { encoding, sample_rate, channels: channels? })
}

/// Audio of these parameters; `None` where it cannot be received, which is then said.
pub(super) fn read(
    mapped: Mapped,
    mut parameters: Parameters,
    section: &Section,
    max_udp: u16,
    out: &mut Findings,
) -> Option<Audio> {
    let Mapped { encoding, sample_rate, channels } = mapped;
    let line = section.line;
    let packet_time_us = packet_time(section, "ptime", out).unwrap_or_else(|| {
        if section.all("ptime").next().is_none() {
            let text = "ptime is missing; 1 ms is taken for it";
            out.add(line, Code::PtimeMissing, text, "a=ptime:1, or a=ptime:0.125");
        }
        1000
    });
    let packet_time_max_us = packet_time(section, "maxptime", out);
    let channel_order = channel_order(&mut parameters, channels, out);
    parameters.finish(&[&["channel-order"], &COMMON[..]].concat(), out);
    let audio = Audio {
        encoding,
        sample_rate,
        channels,
        packet_time_us,
        packet_time_max_us,
        channel_order,
    };
    let (needed, room) = (audio.packet_octets(), u64::from(max_udp).saturating_sub(8 + 12));
    if !(1..=room).contains(&needed) {
        let text = format!("{audio} are packets of {needed} octets, where {room} fit");
        out.add(line, Code::AudioPacket, text, "fewer channels, or a shorter ptime");
        return None;
    }
    Some(audio)
}

fn packet_time(section: &Section, name: &str, out: &mut Findings) -> Option<u32> {
    let attribute = section.only(name, out)?;
    let time = Milliseconds::read(&attribute.value);
    if time.is_none() {
        let text = format!("{name}:{} is no time", quoted(&attribute.value));
        out.add(attribute.line, Code::Ptime, text, "milliseconds, as 1 or 0.125");
    }
    time
}

fn channel_order(p: &mut Parameters, channels: u16, out: &mut Findings) -> Vec<ChannelGroup> {
    let line = p.line;
    let Some(value) = p.value("channel-order", out) else { return Vec::new() };
    let Some(order) = ChannelGroup::order(&value) else {
        let text = format!("channel-order={} is not understood", quoted(&value));
        let remedy = "SMPTE2110.(<groups>), of M, DM, ST, LtRt, 51, 71, 222, SGRP, U01 to U64";
        out.add(line, Code::ChannelOrder, text, remedy);
        return Vec::new();
    };
    let named: u32 = order.iter().map(|group| u32::from(group.channels())).sum();
    // Fewer leave the rest undefined.
    if named > u32::from(channels) {
        let text = format!("channel-order names {named} channels, rtpmap has {channels}");
        out.add(line, Code::ChannelCount, text, "groups of as many channels as there are");
    }
    order
}

/// Microseconds as SDP writes them: milliseconds, with decimals where there are some.
pub(super) struct Milliseconds(pub(super) u32);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, format!("{:03}", self.0 % 1000));
        match part.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            part => write!(f, "{whole}.{part}"),
        }
    }
}

impl Milliseconds {
    /// Microseconds of what stands behind `ptime:`; what is finer than one is cut off.
    pub(super) fn read(text: &str) -> Option<u32> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let whole: u32 = digits(whole)?;
        digits::<u64>(part).filter(|_| part.len() <= 15)?;
        let part: u32 = digits(format!("{part:0<3}").get(..3)?)?;
        whole.checked_mul(1000)?.checked_add(part).filter(|&time| time > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(encoding: Encoding, sample_rate: u32, packet_time_us: u32, channels: u16) -> Audio {
        let (packet_time_max_us, channel_order) = (None, Vec::new());
        Audio { encoding, sample_rate, channels, packet_time_us, packet_time_max_us, channel_order }
    }

    #[test]
    fn packet_times_are_rounded_to_samples() {
        for (rate, text, samples) in [
            (48_000, "1", 48),
            (48_000, "0.125", 6),
            (48_000, "0.12", 6),
            (48_000, "0.333", 16),
            (48_000, "4", 192),
            (96_000, "0.125", 12),
            (44_100, "1.09", 48),
            (44_100, "0.14", 6),
        ] {
            let time = Milliseconds::read(text).unwrap();
            assert_eq!(audio(Encoding::L24, rate, time, 8).packet_samples(), samples, "{text}");
            assert_eq!(Milliseconds(time).to_string(), text);
        }
        assert_eq!(audio(Encoding::L24, 48_000, 125, 8).packet_octets(), 144);
        for text in ["", "0", "0.0", ".5", "1.", "-1", "1,5", "5000000000", "0.0001"] {
            assert_eq!(Milliseconds::read(text), None, "{text}");
        }
    }

    #[test]
    fn channel_orders_are_read_and_counted() {
        let order = ChannelGroup::order("SMPTE2110.(51,ST,SGRP,U03)").unwrap();
        assert_eq!(order.iter().map(|group| group.channels()).sum::<u16>(), 15);
        let words: Vec<_> = order.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["51", "ST", "SGRP", "U03"]);
        for text in ["SMPTE2110.()", "SMPTE2110.(ST", "ST", "SMPTE2110.(U00)", "SMPTE2110.(U3)"] {
            assert_eq!(ChannelGroup::order(text), None, "{text}");
        }
    }
}
