//! Reads one `m=` section.

mod address;
mod clock;

use super::finding::{Code, Findings, quoted};
use super::parameters::Parameters;
use super::rate::digits;
use super::session::{Essence, Media, UDP_EXTENDED, UDP_STANDARD};
use super::text::Section;
use super::{ancillary, audio, video};

pub(super) use address::session_filters;
pub(super) use clock::named;

/// Where a medium stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which `m=` of the file it is, from 0.
    pub index: usize,
    /// Line of its `m=`.
    pub line: usize,
    /// Line of its parameters, or of its `m=`.
    pub parameters: usize,
    /// Line of its `c=`, or of the session's.
    pub connection: usize,
    /// Line of its `mid`, or of its `m=`.
    pub mid: usize,
}

/// Reads a section; `None` where nothing can be received by it, which is then said.
pub(super) fn read(
    index: usize,
    medium: &sdp_types::Media,
    section: &Section,
    top: &Section,
    out: &mut Findings,
) -> Option<(Media, Place)> {
    let line = section.line;
    let payload_type = head(medium, line, out);
    let (legs, connection) = address::legs(section, top, out);
    let refclks = clock::refclks(section, top, out);
    let mediaclk = clock::mediaclk(section, top, &refclks, out);
    let mid = section.only("mid", out).filter(|it| !it.value.is_empty());
    let place_of_mid = mid.map_or(line, |it| it.line);

    let payload_type = payload_type?;
    let kind = encoding(medium, section, payload_type, out);
    let parameters = Parameters::of(section, payload_type, out);
    let mut place = Place { index, line, parameters: line, connection, mid: place_of_mid };
    if let (Some(Kind::Video), None) = (&kind, &parameters) {
        let text = format!("no fmtp for payload type {payload_type}: the format is unknown");
        let remedy = format!("a=fmtp:{payload_type} sampling=…; width=…; height=…; …");
        out.add(line, Code::FmtpMissing, text, remedy);
        return None;
    }
    let mut parameters = parameters.unwrap_or_else(|| Parameters::none(line));
    place.parameters = parameters.line;
    let max_udp = max_udp(&mut parameters, out);
    let ts_mode = parameters.word("TSMODE", Code::TsMode, out);
    let ts_delay_us = parameters.number("TSDELAY", 0..=u32::MAX, Code::TsDelay, out);
    let essence = match kind? {
        Kind::Video => Essence::Video(video::read(parameters, max_udp, out)?),
        Kind::Audio(format) => {
            Essence::Audio(audio::read(format, parameters, section, max_udp, out)?)
        }
        Kind::Ancillary => Essence::Ancillary(ancillary::read(parameters, out)),
    };
    let media = Media {
        mid: mid.map(|it| it.value.clone()),
        port: medium.port,
        legs: legs?,
        payload_type,
        refclks,
        mediaclk,
        max_udp,
        ts_mode,
        ts_delay_us,
        essence,
    };
    (medium.port > 0).then_some((media, place))
}

/// What is said of a medium in all of its parameters, whatever it is.
pub(super) const COMMON: [&str; 3] = ["MAXUDP", "TSMODE", "TSDELAY"];

/// Checks the `m=` line; gives the payload type.
fn head(medium: &sdp_types::Media, line: usize, out: &mut Findings) -> Option<u8> {
    let sdp_types::Media { media, port, num_ports, proto, fmt, .. } = medium;
    let mut is_sound = true;
    if !matches!(media.as_str(), "video" | "audio") {
        let text = format!("a medium of the kind {}", quoted(media));
        out.add(line, Code::MediaKind, text, "video or audio; ancillary data are video, too");
        is_sound = false;
    }
    if proto != "RTP/AVP" {
        let text = format!("the protocol {}", quoted(proto));
        out.add(
            line,
            Code::Protocol,
            text,
            "RTP/AVP: RTP over UDP, neither secured nor with feedback",
        );
        is_sound = false;
    }
    if *port == 0 {
        let text = "port 0: the medium was refused or is off";
        out.add(line, Code::PortZero, text, "the UDP port that it is sent to");
    }
    if num_ports.is_some_and(|count| count != 1) {
        let text = "several ports, of which only the first is received";
        out.add(line, Code::PortCount, text, "an m= for each stream");
    }
    let mut types = fmt.split_whitespace();
    let first = types.next().unwrap_or_default();
    let Some(payload_type) = digits::<u8>(first).filter(|&it| it <= 127) else {
        let text = format!("the payload type {}", quoted(first));
        out.add(line, Code::PayloadType, text, "a number from 96 to 127");
        return None;
    };
    if types.next().is_some() {
        let text = format!("several payload types, of which only {payload_type} is received");
        out.add(line, Code::PayloadTypes, text, "one payload type for each m=");
    }
    if payload_type < 96 {
        let text = format!("payload type {payload_type} belongs to another format for good");
        out.add(line, Code::PayloadTypeStatic, text, "a dynamic one, 96 to 127");
    }
    is_sound.then_some(payload_type)
}

/// What an `rtpmap` says that a medium is.
enum Kind {
    Video,
    Audio(audio::Mapped),
    Ancillary,
}

/// What the `rtpmap` of `payload_type` says.
fn encoding(
    medium: &sdp_types::Media,
    section: &Section,
    payload_type: u8,
    out: &mut Findings,
) -> Option<Kind> {
    let mut found = None;
    for attribute in section.all("rtpmap") {
        let line = attribute.line;
        let Ok(map) = attribute.parse::<sdp_types::RtpMap>() else {
            let text = format!("rtpmap of {}", quoted(&attribute.value));
            out.add(line, Code::RtpmapSyntax, text, format!("a=rtpmap:{payload_type} raw/90000"));
            return None;
        };
        if map.payload_type != payload_type {
            let text =
                format!("rtpmap of payload type {}, which m= does not have", map.payload_type);
            let remedy = format!("a=rtpmap:{payload_type} …, or leave it out");
            out.add(line, Code::RtpmapOther, text, remedy);
        } else if found.is_some() {
            let text = "a second rtpmap of the same payload type";
            out.add(line, Code::AttributeRepeated, text, "leave one of them");
        } else {
            found = Some((line, map));
        }
    }
    let Some((line, map)) = found else {
        let text = format!("no rtpmap for payload type {payload_type}: what it is, is unknown");
        let remedy = format!("a=rtpmap:{payload_type} raw/90000, for video");
        out.add(section.line, Code::RtpmapMissing, text, remedy);
        return None;
    };
    let name = map.encoding_name.to_ascii_lowercase();
    let kind = match (medium.media.as_str(), name.as_str()) {
        ("video", "raw") => Kind::Video,
        ("video", "smpte291") => Kind::Ancillary,
        ("audio", "l16") => Kind::Audio(audio::mapped(audio::Encoding::L16, line, &map, out)?),
        ("audio", "l24") => Kind::Audio(audio::mapped(audio::Encoding::L24, line, &map, out)?),
        (kind, other) => {
            let text =
                format!("{kind} of the encoding {}{}", quoted(&map.encoding_name), what(other));
            let remedy = "video: raw or smpte291; audio: L16 or L24";
            out.add(line, Code::Encoding, text, remedy);
            return None;
        }
    };
    if !matches!(kind, Kind::Audio(_)) && map.clock_rate != 90_000 {
        let text = format!("a clock of {} Hz", map.clock_rate);
        out.add(line, Code::ClockRate, text, format!("{}/90000", map.encoding_name));
        return None;
    }
    Some(kind)
}

/// What encodings are that others send.
fn what(encoding: &str) -> &'static str {
    match encoding {
        "jxsv" => ", which is JPEG XS (ST 2110-22)",
        "vc2" => ", which is VC-2 (ST 2110-22)",
        "am824" => ", which is AES3 (ST 2110-31)",
        "smpte2022-6" => ", which is SDI (ST 2022-6)",
        "ttml+xml" => ", which is timed text (ST 2110-43)",
        _ => "",
    }
}

/// MAXUDP, or what it is where it is not said.
fn max_udp(parameters: &mut Parameters, out: &mut Findings) -> u16 {
    let (line, largest) = (parameters.line, u32::from(u16::MAX));
    let Some(octets) = parameters.number("MAXUDP", 64..=largest, Code::MaxUdp, out) else {
        return UDP_STANDARD;
    };
    let octets = u16::try_from(octets).expect("as asked for");
    if octets == UDP_EXTENDED {
        let text = "MAXUDP=8960: datagrams that an MTU of 1500 does not let through";
        out.add(line, Code::MaxUdpMtu, text, "an MTU of 8980 (IPv4) or 9000 on the whole way");
    } else if octets != UDP_STANDARD {
        let beyond =
            if octets > UDP_EXTENDED { ", beyond the Extended UDP Size Limit" } else { "" };
        let text = format!("MAXUDP={octets}{beyond}");
        out.add(line, Code::MaxUdp, text, "1460, which may be left out, or 8960");
    }
    octets
}
