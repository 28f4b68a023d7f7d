//! Sound and ancillary data of a receiver, as its options say them or an SDP does.
//!
//! As for pictures ([`super::receive`]): what stands in both must be the same, and an error of
//! another stream is none of ours.

use std::net::IpAddr;
use std::path::Path;

use super::audio::Encoding;
use super::receive::{Arrival, AskedPath, Same, arrivals_of, by_addresses, concerning, fetch};
use super::receive::{choose_of, refused, unfit};
use super::session::{Essence, Session};
use super::{Place, Reading, read};
use crate::registry::Unfit;
use crate::stream::audio::{Depth, Format, Spec};
use crate::stream::programme::options;
use crate::stream::timing::Rate;

/// What the options say of sound, as far as they do.
#[derive(Clone, Copy, Debug, Default)]
pub struct AskedAudio<'a> {
    /// The SDP.
    pub sdp: Option<&'a Path>,
    /// Which medium of it.
    pub media: Option<&'a str>,
    /// UDP port.
    pub port: Option<u16>,
    /// Address that packets are sent to.
    pub destination: Option<IpAddr>,
    /// Address that they come from.
    pub source: Option<IpAddr>,
    /// A second path, where there is no SDP that has it.
    pub second: Option<AskedPath>,
    /// Bits of a sample.
    pub depth: Option<Depth>,
    /// Samples of a channel in a second.
    pub sample_rate: Option<u32>,
    /// Channels.
    pub channels: Option<u16>,
    /// Microseconds of sound in a packet.
    pub packet_time_us: Option<u32>,
    /// RTP payload type.
    pub payload_type: Option<u8>,
}

/// What the options say of ancillary data, as far as they do.
#[derive(Clone, Copy, Debug, Default)]
pub struct AskedData<'a> {
    /// The SDP.
    pub sdp: Option<&'a Path>,
    /// Which medium of it.
    pub media: Option<&'a str>,
    /// UDP port.
    pub port: Option<u16>,
    /// Address that packets are sent to.
    pub destination: Option<IpAddr>,
    /// Address that they come from.
    pub source: Option<IpAddr>,
    /// A second path, where there is no SDP that has it.
    pub second: Option<AskedPath>,
    /// Frames per second.
    pub rate: Option<Rate>,
    /// RTP payload type.
    pub payload_type: Option<u8>,
}

/// An SDP, read, and the medium of it that is wanted.
struct Found {
    name: String,
    session: Session,
    places: Vec<Place>,
    index: usize,
    paths: Vec<usize>,
}

/// The medium of a kind in the SDP at `path`.
fn find(
    path: &Path,
    media: Option<&str>,
    what: &'static str,
    is_wanted: fn(&Essence) -> bool,
) -> Result<Found, Unfit> {
    let name = path.display().to_string();
    let text = fetch(path).map_err(|error| {
        unfit("sdp", format!("{name:?}, which cannot be read: {error}"), "the path of an SDP")
    })?;
    let Reading { session, places, findings } = read(&text);
    let Some(session) = session else { return Err(refused(&name, &findings[0])) };
    let index = choose_of(&name, media, &session, &places, what, is_wanted)?;
    let paths = session.paths(index);
    let errors = concerning(&session, index, &places, &text, &findings);
    if let Some(error) = errors.into_iter().next() {
        return Err(refused(&name, error));
    }
    Ok(Found { name, session, places, index, paths })
}

/// Addresses of options that an SDP has itself.
fn no_addresses(
    name: &str,
    destination: Option<IpAddr>,
    source: Option<IpAddr>,
    second: Option<AskedPath>,
) -> Result<(), Unfit> {
    let AskedPath { port, destination: other, source: from } = second.unwrap_or_default();
    for (key, is_given) in [
        ("destination", destination.is_some()),
        ("source", source.is_some()),
        ("second", port.is_some() || other.is_some() || from.is_some()),
    ] {
        if is_given {
            let found = format!("addresses, while {name:?} has them");
            return Err(unfit(key, found, "an SDP without them, or interface alone"));
        }
    }
    Ok(())
}

/// The sound that is asked for: its format, its payload type, and the ways that it comes.
///
/// # Errors
///
/// [`Unfit`], with the key that lacks something, cannot be followed, or contradicts the SDP.
pub fn sound(asked: &AskedAudio<'_>) -> Result<(Format, u8, Vec<Arrival>), Unfit> {
    let checked = |spec: Spec, key| {
        spec.check().map_err(|error| unfit(key, error.to_string(), "sound that is received"))
    };
    let Some(path) = asked.sdp else {
        let spec = Spec {
            depth: asked.depth.unwrap_or_default(),
            sample_rate: asked.sample_rate.unwrap_or(options::sample_rate()),
            channels: asked.channels.unwrap_or(options::channels()),
            packet_time_us: asked.packet_time_us.unwrap_or(options::packet_time_us()),
        };
        let AskedAudio { media, port, destination, source, second, .. } = *asked;
        let arrivals = by_addresses("audio", media, port, destination, source, second)?;
        let payload_type = asked.payload_type.unwrap_or(options::audio_payload_type());
        return Ok((checked(spec, "audio")?, payload_type, arrivals));
    };
    let is_sound = |essence: &Essence| matches!(essence, Essence::Audio(_));
    let found = find(path, asked.media, "sound", is_sound)?;
    let media = &found.session.media[found.index];
    let Essence::Audio(audio) = &media.essence else {
        let what = format!("{:?}, of which the medium is no sound", found.name);
        return Err(unfit("media", what, "one of ST 2110-30"));
    };
    let depth = match audio.encoding {
        Encoding::L16 => Depth::Sixteen,
        Encoding::L24 => Depth::TwentyFour,
    };
    // Packets of any length are taken: a packet time that we do not send is no obstacle.
    let packet_time_us = if audio.packet_time_us < 500 { 125 } else { 1000 };
    let spec =
        Spec { depth, sample_rate: audio.sample_rate, channels: audio.channels, packet_time_us };
    let same = Same { name: &found.name, line: found.places[found.index].parameters };
    same.hold("depth", asked.depth.map(Depth::bits), depth.bits())?;
    same.hold("sample_rate", asked.sample_rate, spec.sample_rate)?;
    same.hold("channels", asked.channels, spec.channels)?;
    same.hold("packet_time_us", asked.packet_time_us, audio.packet_time_us)?;
    same.hold("payload_type", asked.payload_type, media.payload_type)?;
    same.hold("port", asked.port, media.port)?;
    no_addresses(&found.name, asked.destination, asked.source, asked.second)?;
    Ok((checked(spec, "sdp")?, media.payload_type, arrivals_of(&found.session, &found.paths)))
}

/// The ancillary data that are asked for: their rate where it is said, their payload type, and the
/// ways that they come.
///
/// # Errors
///
/// As [`sound`].
pub fn data(asked: &AskedData<'_>) -> Result<(Option<Rate>, u8, Vec<Arrival>), Unfit> {
    let Some(path) = asked.sdp else {
        let AskedData { media, port, destination, source, second, .. } = *asked;
        let arrivals = by_addresses("ancillary", media, port, destination, source, second)?;
        let payload_type = asked.payload_type.unwrap_or(options::ancillary_payload_type());
        return Ok((asked.rate, payload_type, arrivals));
    };
    let is_data = |essence: &Essence| matches!(essence, Essence::Ancillary(_));
    let found = find(path, asked.media, "ancillary data", is_data)?;
    let media = &found.session.media[found.index];
    let Essence::Ancillary(ancillary) = &media.essence else {
        let what = format!("{:?}, of which the medium is no ancillary data", found.name);
        return Err(unfit("media", what, "one of ST 2110-40"));
    };
    let said: Option<Rate> =
        ancillary.rate.map(|rate| rate.to_string().parse().expect("checked more narrowly"));
    let same = Same { name: &found.name, line: found.places[found.index].parameters };
    if let (Some(asked), Some(said)) = (asked.rate, said)
        && !asked.same_as(said)
    {
        return Err(same.differs("rate", asked, said));
    }
    same.hold("payload_type", asked.payload_type, media.payload_type)?;
    same.hold("port", asked.port, media.port)?;
    no_addresses(&found.name, asked.destination, asked.source, asked.second)?;
    let arrivals = arrivals_of(&found.session, &found.paths);
    Ok((said.or(asked.rate), media.payload_type, arrivals))
}

#[cfg(test)]
mod tests;
