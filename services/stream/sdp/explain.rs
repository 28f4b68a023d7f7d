//! Says in words and numbers what an SDP describes.

use std::fmt::{self, Write as _};

use super::audio::Audio;
use super::medium::Place;
use super::numbers::{self, Packets, WIRE};
use super::session::{
    Essence, Grandmaster, Leg, Media, MediaClock, RefClock, Session, TsMode, UDP_STANDARD,
};
use super::translate;
use super::video::{Packing, Scan, SenderType, Video};

/// Octets of an IPv4 or IPv6 header, as `leg` has it, and of UDP's.
fn ip_headers(leg: &Leg) -> u64 {
    8 + if leg.destination.is_ipv4() { 20 } else { 40 }
}

/// The whole explanation, each line ended.
pub fn explain(session: &Session, places: &[Place]) -> String {
    let mut text = String::new();
    let origin = &session.origin;
    let _ = writeln!(text, "{}", session.name);
    if let Some(information) = &session.information {
        let _ = writeln!(text, "  {information}");
    }
    let _ = writeln!(text, "  from {}, version {}", origin.host, origin.version);
    for first in session.streams() {
        let paths = session.paths(first);
        stream(&mut text, session, places, &paths);
    }
    text
}

/// One stream, with all its paths.
fn stream(text: &mut String, session: &Session, places: &[Place], paths: &[usize]) {
    let Some(&first) = paths.first() else { return };
    let media = &session.media[first];
    let line = places.get(first).map_or(0, |place| place.line);
    let mid = media.mid.as_ref().map_or(String::new(), |mid| format!(" {mid}"));
    let _ = writeln!(
        text,
        "\n{}{mid} (line {line}), {}",
        media.essence.kind(),
        media.essence.standard()
    );
    match &media.essence {
        Essence::Video(it) => video(text, media, it),
        Essence::Audio(it) => audio(text, media, it),
        Essence::Ancillary(it) => {
            let _ = writeln!(text, "  {it}");
        }
    }
    let count: usize = paths.iter().map(|&path| session.media[path].legs.len()).sum();
    let mut number = 0;
    for media in paths.iter().map(|&path| &session.media[path]) {
        for leg in &media.legs {
            number += 1;
            let which = if count > 1 { format!("path {number} ") } else { String::new() };
            let _ = writeln!(text, "  {which}to {}", Destination(leg, media.port));
        }
    }
    if count > 1 {
        let _ = writeln!(text, "  {count} paths with the same packets (ST 2022-7)");
    } else if media.legs.iter().any(|leg| leg.sources.len() > 1) {
        let _ = writeln!(text, "  several sources to one group: may be paths of ST 2022-7");
    }
    clocks(text, media);
    let size = match media.max_udp {
        UDP_STANDARD => "1460 octets, the standard size".into(),
        other => format!("{other} octets"),
    };
    let _ = writeln!(text, "  payload type {}; UDP up to {size}", media.payload_type);
    match translate::spec(media, None) {
        Ok(_) => {
            let _ = writeln!(text, "  tidegate: stream-receive takes it by `sdp`, and selects");
            for media in paths.iter().map(|&path| &session.media[path]) {
                for leg in &media.legs {
                    let _ = writeln!(text, "    {}", Selection(leg, media.port));
                }
            }
        }
        Err(why) => {
            let _ = writeln!(text, "  tidegate does not receive it: {why}");
        }
    }
}

fn video(text: &mut String, media: &Media, video: &Video) {
    let _ = writeln!(text, "  {video}");
    let Video { colorimetry, tcs, range, pixel_aspect: (across, down), .. } = video;
    let _ = write!(text, "  colours {colorimetry}, {tcs}, range {range}");
    let square = if (across, down) == (&1, &1) { "" } else { ", pixels not square" };
    let _ = writeln!(text, "{square}");
    let Some(packets) = numbers::packets(video, media.max_udp) else { return };
    let _ = writeln!(text, "  {}", Packed(video, packets));
    rates(text, media, video, packets);
    if let Some(sender) = video.sender {
        sending(text, media, video, sender, packets);
    }
    let default = numbers::troff_default_us(video);
    let _ = match (video.troff_us, default) {
        (Some(troff), _) => writeln!(text, "  first packet {troff} us after its time (TROFF)"),
        (None, Some(us)) => writeln!(text, "  first packet {us:.1} us after its time, the default"),
        (None, None) => Ok(()),
    };
}

/// Packets of a frame in words.
struct Packed<'a>(&'a Video, Packets);

impl fmt::Display for Packed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(video, Packets { fewest, by_line, .. }) = self;
        let unit = if video.scan == Scan::Progressive { "frame" } else { "field" };
        let packing = video.packing;
        match packing {
            Packing::Block => write!(f, "{packing}: {fewest} packets a {unit}"),
            Packing::General => write!(
                f,
                "{packing}: {fewest} packets a {unit} at least, {by_line} where none crosses a line"
            ),
        }
    }
}

/// Packets and bits of a second, with the packets that do not cross lines.
fn rates(text: &mut String, media: &Media, video: &Video, packets: Packets) {
    let Some(rate) = video.rate else { return };
    let Some(leg) = media.legs.first() else { return };
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    let per_second =
        |count: u64| count as f64 * rate.per_second() * f64::from(video.periods_per_frame());
    // RTP, sequence and one row header.
    let ip = packets.octets + packets.by_line * (ip_headers(leg) + 20);
    let giga = |octets: u64| per_second(octets) * 8.0 / 1e9;
    let _ = writeln!(
        text,
        "  {} packets a second; {:.3} Gbit/s of pixels, {:.3} of IP, {:.3} on the wire",
        thousands(per_second(packets.by_line)),
        giga(packets.octets),
        giga(ip),
        giga(ip + packets.by_line * WIRE),
    );
}

fn sending(text: &mut String, media: &Media, video: &Video, sender: SenderType, packets: Packets) {
    let what = match sender {
        SenderType::Narrow => "narrow, with a gap between frames",
        SenderType::NarrowLinear => "narrow, without a gap",
        SenderType::Wide => "wide",
    };
    let _ = write!(text, "  {sender}: {what}");
    if let Some(bounds) = numbers::bounds(video, sender, packets.by_line, media.max_udp) {
        let said = video.cmax.map_or(String::new(), |cmax| format!(" (the SDP says {cmax})"));
        let _ = write!(
            text,
            "\n  at most {} packets at once (CMAX){said}, {} in the receiver's buffer (VRX_FULL)",
            bounds.cmax, bounds.vrx_full
        );
    }
    let _ = writeln!(text);
}

fn audio(text: &mut String, media: &Media, audio: &Audio) {
    let _ = writeln!(text, "  {audio}");
    let (samples, octets) = (audio.packet_samples(), audio.packet_octets());
    let per_second = f64::from(audio.sample_rate) / f64::from(samples.max(1));
    let Some(leg) = media.legs.first() else { return };
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    let mega = |octets: u64| per_second * octets as f64 * 8.0 / 1e6;
    // RTP's header is 12 octets.
    let ip = octets + 12 + ip_headers(leg);
    let _ = writeln!(
        text,
        "  {samples} samples in a packet, {} packets a second; {:.2} Mbit/s of sound, {:.2} of IP",
        thousands(per_second),
        mega(octets),
        mega(ip),
    );
    if !audio.channel_order.is_empty() {
        let groups: Vec<_> = audio.channel_order.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  channels: {}", groups.join(", "));
    }
}

fn clocks(text: &mut String, media: &Media) {
    let clocks: Vec<String> = media.refclks.iter().map(clock).collect();
    let follows = match media.mediaclk {
        Some(MediaClock::Direct { offset: 0 }) => "timestamps are its time".into(),
        Some(MediaClock::Direct { offset }) => format!("timestamps are its time and {offset}"),
        Some(MediaClock::Sender) => "timestamps run by themselves".into(),
        Some(MediaClock::Other(ref text)) => format!("timestamps are {text}"),
        None => "how timestamps follow it is not said".into(),
    };
    let clocks = if clocks.is_empty() { "no clock is named".into() } else { clocks.join(" or ") };
    let _ = writeln!(text, "  {clocks}; {follows}");
    let mode = match media.ts_mode {
        Some(TsMode::Sampled) => "timestamps say when it was captured",
        Some(TsMode::New) => "timestamps were made anew",
        Some(TsMode::Preserved) => "timestamps are as they came",
        None => return,
    };
    let delay = media.ts_delay_us.map_or(String::new(), |us| format!(", sent {us} us later"));
    let _ = writeln!(text, "  {mode}{delay}");
}

fn clock(clock: &RefClock) -> String {
    match clock {
        RefClock::Ptp(Grandmaster::Traceable) => "PTP, any that is traceable to TAI".into(),
        RefClock::Ptp(Grandmaster::Id { .. }) => {
            let text = clock.to_string();
            format!("PTP by {}", text.trim_start_matches("ptp=IEEE1588-2008:"))
        }
        RefClock::LocalMac(_) => format!("the sender's own clock ({clock})"),
        RefClock::Other(text) => format!("the clock {text}"),
    }
}

/// A destination with its sources, in words.
struct Destination<'a>(&'a Leg, u16);

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(leg, port) = self;
        write!(f, "{} port {port}", leg.destination)?;
        if let Some(ttl) = leg.ttl {
            write!(f, ", TTL {ttl}")?;
        }
        let sources: Vec<_> = leg.sources.iter().map(ToString::to_string).collect();
        match sources.as_slice() {
            [] => f.write_str(", from anybody"),
            sources => write!(f, ", from {}", sources.join(" or ")),
        }
    }
}

/// A number, rounded, as people read it: `216,000`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What leaves the kernel's path.
struct Selection<'a>(&'a Leg, u16);

impl fmt::Display for Selection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(leg, port) = self;
        write!(f, "UDP to {} port {port}", leg.destination)?;
        let sources: Vec<_> = leg.sources.iter().map(ToString::to_string).collect();
        if sources.is_empty() { Ok(()) } else { write!(f, " from {}", sources.join(" and from ")) }
    }
}
