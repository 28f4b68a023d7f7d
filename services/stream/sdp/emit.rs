//! Writes an SDP of ST 2110: what [`super::read`] reads as the same session.

use std::fmt::Write as _;

use sdp_types::{Attribute, Connection, Group, NetType, RtpMap, SourceFilter};
use sdp_types::{GroupSemantics, SourceFilterMode, Time};
use sdp_types::{SourceFilterAddrType, SourceFilterAddress, SourceFilterDestination};

use super::ancillary::Ancillary;
use super::audio::{Audio, CONVENTION, Milliseconds};
use super::session::{Essence, Leg, Media, Origin, Session, UDP_STANDARD};
use super::video::{Colorimetry, Range, Scan, Video};

impl Session {
    /// The SDP, its lines ended as RFC 8866 wants them.
    pub fn emit(&self) -> String {
        let mut sdp = sdp_types::Session::new(origin(&self.origin), or_dash(&self.name));
        sdp.session_description = self.information.clone();
        sdp.add_time(Time::new(0, 0));
        for group in &self.groups {
            let mut dup = Group::new(GroupSemantics::new("DUP"));
            dup.add_mid_tags(&group.mids);
            sdp.add_attribute(dup);
        }
        sdp.medias = self.media.iter().map(media).collect();
        let mut octets = Vec::new();
        sdp.write(&mut octets).expect("memory can be written");
        String::from_utf8(octets).expect("made of text")
    }
}

/// A field may not be empty, and RFC 8866 has a dash for nothing.
fn or_dash(text: &str) -> &str {
    if text.trim().is_empty() { "-" } else { text }
}

fn origin(origin: &Origin) -> sdp_types::Origin {
    // Blanks end a field of this line.
    let field = |text: &str| or_dash(text).split_whitespace().collect::<Vec<_>>().join("-");
    let kind = if origin.host.contains(':') { "IP6" } else { "IP4" };
    sdp_types::Origin {
        username: Some(field(&origin.user)),
        sess_id: origin.id.to_string(),
        sess_version: origin.version,
        nettype: NetType::In,
        addrtype: kind.parse().expect("one of the two"),
        unicast_address: field(&origin.host),
    }
}

fn media(media: &Media) -> sdp_types::Media {
    let payload_type = media.payload_type;
    let (map, parameters) = match &media.essence {
        Essence::Video(it) => (RtpMap::new(payload_type, "raw", 90_000), video(it)),
        Essence::Ancillary(it) => (RtpMap::new(payload_type, "smpte291", 90_000), ancillary(it)),
        Essence::Audio(it) => {
            let channels = it.channels.to_string();
            let encoding = it.encoding.word();
            let map =
                RtpMap::with_encoding_params(payload_type, encoding, it.sample_rate, channels);
            (map, audio(it))
        }
    };
    let mut attributes: Vec<Attribute> = media.legs.iter().filter_map(filter).collect();
    attributes.push(map.into());
    if let Some(fmtp) = fmtp(media, parameters) {
        attributes.push(Attribute::with_value("fmtp", fmtp));
    }
    if let Essence::Audio(it) = &media.essence {
        let time = |name, time| Attribute::with_value(name, Milliseconds(time));
        attributes.push(time("ptime", it.packet_time_us));
        attributes.extend(it.packet_time_max_us.map(|most| time("maxptime", most)));
    }
    attributes.extend(media.refclks.iter().map(|it| Attribute::with_value("ts-refclk", it)));
    attributes.extend(media.mediaclk.iter().map(|it| Attribute::with_value("mediaclk", it)));
    attributes.extend(media.mid.iter().map(|it| Attribute::with_value("mid", it)));
    sdp_types::Media {
        media: media.essence.kind().into(),
        port: media.port,
        num_ports: None,
        proto: "RTP/AVP".into(),
        fmt: payload_type.to_string(),
        media_title: None,
        connections: media.legs.iter().map(connection).collect(),
        bandwidths: Vec::new(),
        key: None,
        attributes,
    }
}

fn connection(leg: &Leg) -> Connection {
    Connection::from_ip_addr_ttl(leg.destination, leg.ttl)
}

/// The allowed sources, where not all are.
fn filter(leg: &Leg) -> Option<Attribute> {
    let is_ipv4 = leg.destination.is_ipv4();
    let filter = SourceFilter {
        mode: SourceFilterMode::Incl,
        nettype: NetType::In,
        addrtype: if is_ipv4 { SourceFilterAddrType::Ip4 } else { SourceFilterAddrType::Ip6 },
        destination: SourceFilterDestination::Address(SourceFilterAddress::IpAddr(leg.destination)),
        sources: leg.sources.iter().map(|&it| SourceFilterAddress::IpAddr(it)).collect(),
    };
    // RFC 4570, 3: a blank behind the colon, here and nowhere else.
    let written = || Attribute::with_value("source-filter", format!(" {filter}"));
    (!leg.sources.is_empty()).then(written)
}

/// The parameters of a medium behind its payload type; `None` where there are none.
fn fmtp(media: &Media, mut parameters: Vec<String>) -> Option<String> {
    if media.max_udp != UDP_STANDARD {
        parameters.push(format!("MAXUDP={}", media.max_udp));
    }
    parameters.extend(media.ts_mode.map(|mode| format!("TSMODE={mode}")));
    parameters.extend(media.ts_delay_us.map(|delay| format!("TSDELAY={delay}")));
    let mut text = media.payload_type.to_string();
    for parameter in &parameters {
        let _ = write!(text, " {parameter};");
    }
    // As the examples of ST 2110-20 have it, a semicolon ends the last one, too.
    (!parameters.is_empty()).then_some(text)
}

fn video(video: &Video) -> Vec<String> {
    let Video { sampling, width, height, depth, tcs, colorimetry, packing, .. } = video;
    let mut list =
        vec![format!("sampling={sampling}"), format!("width={width}"), format!("height={height}")];
    list.extend(video.rate.map(|rate| format!("exactframerate={rate}")));
    match video.scan {
        Scan::Progressive => {}
        Scan::Interlaced => list.push("interlace".into()),
        Scan::Segmented => list.extend(["interlace".into(), "segmented".into()]),
    }
    list.push(format!("depth={depth}"));
    list.push(format!("TCS={tcs}"));
    list.push(format!("colorimetry={colorimetry}"));
    // ST 2110-20, 7.5: signals of BT.2100 should say it.
    if video.range != Range::Narrow || *colorimetry == Colorimetry::Bt2100 {
        list.push(format!("RANGE={}", video.range));
    }
    if video.pixel_aspect != (1, 1) {
        let (width, height) = video.pixel_aspect;
        list.push(format!("PAR={width}:{height}"));
    }
    list.push(format!("PM={packing}"));
    list.push(format!("SSN={}", video.ssn()));
    list.extend(video.sender.map(|sender| format!("TP={sender}")));
    list.extend(video.troff_us.map(|troff| format!("TROFF={troff}")));
    list.extend(video.cmax.map(|cmax| format!("CMAX={cmax}")));
    list
}

fn audio(audio: &Audio) -> Vec<String> {
    let words: Vec<_> = audio.channel_order.iter().map(ToString::to_string).collect();
    let order = format!("channel-order={CONVENTION}({})", words.join(","));
    if words.is_empty() { Vec::new() } else { vec![order] }
}

fn ancillary(ancillary: &Ancillary) -> Vec<String> {
    let kind = |(did, sdid): &(u8, u8)| format!("DID_SDID={{0x{did:02X},0x{sdid:02X}}}");
    let mut list: Vec<String> = ancillary.kinds.iter().map(kind).collect();
    list.extend(ancillary.vpid.map(|code| format!("VPID_Code={code}")));
    list.extend(ancillary.rate.map(|rate| format!("exactframerate={rate}")));
    list.extend(ancillary.transmission.map(|model| format!("TM={model}")));
    list.push(format!("SSN={}", ancillary.ssn()));
    list.extend(ancillary.troff_us.map(|troff| format!("TROFF={troff}")));
    list
}
