//! What an operator says of sound and ancillary data that are sent.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use tidegate_config::Refusal;

use crate::registry::Unfit;
use crate::stream::ancillary;
use crate::stream::audio;
use crate::stream::programme::cadence::Fields;
use crate::stream::redundancy::split::Second;
use crate::stream::route::Mac;
use crate::stream::sdp::audio::{CONVENTION, ChannelGroup};
use crate::stream::timing::Rate;
use crate::stream::video::format::Scan;

/// The sound of a sender.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// Where to.
    pub destination: SocketAddr,
    /// From where; as the pictures where it is missing.
    #[serde(default)]
    pub source_address: Option<SocketAddr>,
    /// Link address of the next hop; from the kernel where it is missing.
    #[serde(default)]
    pub destination_mac: Option<Mac>,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// `tone`, or the path of a WAV file.
    #[serde(default = "tone")]
    pub source: Box<str>,
    /// Bits of a sample.
    #[serde(default)]
    pub depth: audio::Depth,
    /// Samples of a channel in a second.
    #[serde(default = "sample_rate")]
    pub sample_rate: u32,
    /// Channels.
    #[serde(default = "channels")]
    pub channels: u16,
    /// Microseconds of sound in a packet.
    #[serde(default = "packet_time_us")]
    pub packet_time_us: u32,
    /// RTP payload type.
    #[serde(default = "audio_payload_type")]
    pub payload_type: u8,
    /// RTP synchronisation source; random where it is missing.
    #[serde(default)]
    pub ssrc: Option<u32>,
    /// What the channels are, for the SDP: groups of ST 2110-30.
    #[serde(default)]
    pub channel_order: Option<ChannelOrder>,
}

/// The name of the tone.
pub const TONE: &str = "tone";

fn tone() -> Box<str> {
    TONE.into()
}

pub(in crate::stream) const fn sample_rate() -> u32 {
    48_000
}

pub(in crate::stream) const fn channels() -> u16 {
    2
}

pub(in crate::stream) const fn packet_time_us() -> u32 {
    1000
}

/// What most senders give to sound.
pub(in crate::stream) const fn audio_payload_type() -> u8 {
    97
}

/// What most senders give to ancillary data.
pub(in crate::stream) const fn ancillary_payload_type() -> u8 {
    100
}

/// Groups of channels, written as in `"51,ST"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ChannelOrder(pub Vec<ChannelGroup>);

impl TryFrom<String> for ChannelOrder {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        ChannelGroup::order(&format!("{CONVENTION}({text})")).map(Self).ok_or_else(|| {
            format!(
                "channel_order {text:?}: allowed are M, DM, ST, LtRt, 51, 71, 222, SGRP and U01 to \
                 U64, with commas between them"
            )
        })
    }
}

impl Audio {
    /// The sound that they ask for.
    ///
    /// # Errors
    ///
    /// When there is no such sound.
    pub fn format(&self) -> Result<audio::Format, audio::format::Error> {
        let Self { depth, sample_rate, channels, packet_time_us, .. } = *self;
        audio::Spec { depth, sample_rate, channels, packet_time_us }.check()
    }

    /// Where it comes from.
    ///
    /// # Errors
    ///
    /// When a file cannot be sent.
    pub fn open(&self, format: audio::Format) -> Result<audio::Source, audio::source::Error> {
        match &*self.source {
            TONE => Ok(audio::Source::tone(format)),
            path => audio::Source::file(Path::new(path), format),
        }
    }
}

/// The ancillary data of a sender.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ancillary {
    /// Where to.
    pub destination: SocketAddr,
    /// From where; as the pictures where it is missing.
    #[serde(default)]
    pub source_address: Option<SocketAddr>,
    /// Link address of the next hop; from the kernel where it is missing.
    #[serde(default)]
    pub destination_mac: Option<Mac>,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// `timecode`, or the path of a file.
    #[serde(default = "timecode")]
    pub source: Box<str>,
    /// Frames per second; the pictures' where there are some.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Fields or not; as the pictures where there are some.
    #[serde(default)]
    pub scan: Option<Scan>,
    /// RTP payload type.
    #[serde(default = "ancillary_payload_type")]
    pub payload_type: u8,
    /// RTP synchronisation source; random where it is missing.
    #[serde(default)]
    pub ssrc: Option<u32>,
}

/// The name of the timecode.
pub const TIMECODE: &str = "timecode";

fn timecode() -> Box<str> {
    TIMECODE.into()
}

/// What ancillary data lack, or contradict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// Without pictures, nobody says how many frames there are.
    Rate,
    /// Pictures have another rate or scan.
    Differs {
        /// Which key.
        key: &'static str,
        /// What it says.
        found: String,
        /// What the pictures have.
        pictures: String,
    },
}

impl std::fmt::Display for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rate => f.write_str(
                "ancillary data without pictures need a rate: set rate = \"25\", say, in \
                 [service.options.ancillary]",
            ),
            Self::Differs { key, found, pictures } => write!(
                f,
                "ancillary {key} {found}: the pictures beside have {pictures}; leave the key out"
            ),
        }
    }
}

impl std::error::Error for Unsettled {}

impl Ancillary {
    /// The fields that they belong to: those of the pictures, if there are some.
    ///
    /// # Errors
    ///
    /// [`Unsettled`].
    pub fn fields(&self, pictures: Option<Fields>) -> Result<Fields, Unsettled> {
        settle(self.rate, self.scan, pictures)
    }

    /// Where they come from.
    ///
    /// # Errors
    ///
    /// When a file cannot be sent, or there is no timecode at this rate.
    pub fn open(&self, fields: Fields) -> Result<ancillary::Source, ancillary::source::Error> {
        match &*self.source {
            TIMECODE => ancillary::Source::timecode(fields.rate()),
            path => ancillary::Source::file(Path::new(path), fields.scan()),
        }
    }
}

/// Checks what no machine has to be asked for.
///
/// # Errors
///
/// The table that has to be changed.
pub(in crate::stream) fn check(
    audio: Option<&Audio>,
    ancillary: Option<&Ancillary>,
    pictures: Option<Fields>,
) -> Result<(), Unfit> {
    let unfit = |key, error: &dyn std::fmt::Display| Unfit {
        key,
        refusal: Refusal::new(error.to_string(), "a table that can be followed"),
    };
    if let Some(audio) = audio {
        audio.format().map_err(|error| unfit("audio", &error))?;
    }
    if let Some(ancillary) = ancillary {
        ancillary.fields(pictures).map_err(|error| unfit("ancillary", &error))?;
    }
    Ok(())
}

/// Rate and scan of data beside pictures, or without.
pub(super) fn settle(
    rate: Option<Rate>,
    scan: Option<Scan>,
    pictures: Option<Fields>,
) -> Result<Fields, Unsettled> {
    let Some(pictures) = pictures else {
        return Ok(Fields::new(rate.ok_or(Unsettled::Rate)?, scan.unwrap_or_default()));
    };
    if let Some(rate) = rate.filter(|rate| !rate.same_as(pictures.rate())) {
        let (found, pictures) = (rate.to_string(), pictures.rate().to_string());
        return Err(Unsettled::Differs { key: "rate", found, pictures });
    }
    if let Some(scan) = scan.filter(|&scan| scan != pictures.scan()) {
        let (found, pictures) = (scan.to_string(), pictures.scan().to_string());
        return Err(Unsettled::Differs { key: "scan", found, pictures });
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_have_the_rate_of_the_pictures_beside() {
        let rate = |text: &str| Some(text.parse::<Rate>().unwrap());
        let pictures = Fields::new("50".parse().unwrap(), Scan::Progressive);
        assert_eq!(settle(None, None, Some(pictures)), Ok(pictures));
        assert_eq!(settle(rate("100/2"), None, Some(pictures)), Ok(pictures));
        assert_eq!(
            settle(rate("25"), None, Some(pictures)).unwrap_err().to_string(),
            "ancillary rate 25: the pictures beside have 50; leave the key out"
        );
        assert_eq!(
            settle(None, Some(Scan::Interlaced), Some(pictures)).unwrap_err().to_string(),
            "ancillary scan interlaced: the pictures beside have progressive; leave the key out"
        );
        assert!(settle(None, None, None).unwrap_err().to_string().contains("need a rate"));
        let alone = settle(rate("25"), Some(Scan::Interlaced), None).unwrap();
        assert_eq!((alone.per_frame(), alone.place(7)), (2, (3, 1)));
    }

    #[test]
    fn channel_orders_are_checked() {
        assert!(ChannelOrder::try_from("51,ST".to_owned()).is_ok());
        assert_eq!(
            ChannelOrder::try_from("5.1".to_owned()).unwrap_err(),
            "channel_order \"5.1\": allowed are M, DM, ST, LtRt, 51, 71, 222, SGRP and U01 to U64, \
             with commas between them"
        );
    }
}
