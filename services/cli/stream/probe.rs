//! `tidegate stream probe`: what comes, in words, as JSON, and as SDP.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_dataplane::pcap::{LINK_ETHERNET, Reader};
use tidegate_dataplane::sys::multicast::Member;

use super::live::Listener;
use crate::cli::args::Probe as Args;
use crate::progress::Progress;
use crate::stream::probe::{Audio, Cut, Essence, Finding, Probe, Video};
use crate::stream::sdp::audio::{Audio as SdpAudio, Encoding};
use crate::stream::sdp::session::{self, Leg, Media, Origin, Session, UDP_STANDARD};
use crate::stream::sdp::translate;
use crate::stream::sdp::video::{Colorimetry, SenderType, Tcs, Video as SdpVideo};
use crate::stream::timing::Class;
use crate::stream::timing::arrivals::Expected;
use crate::stream::timing::capture::{Analysis, OCTETS_MAX, analyse};
use crate::stream::timing::record::Standing;
use crate::stream::timing::schedule::Images;
use crate::stream::video::Scan;

/// What the packets of a stream of video do not say.
const UNKNOWN: &str = "colorimetry, transfer characteristic, range and clock: not in the packets";

/// Runs the command. Fails where nothing was found.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> io::Result<ExitCode> {
    let (probe, dropped) = match (&args.read, &args.interface) {
        (Some(path), _) => (read(path)?, 0),
        (None, Some(interface)) => listen(interface, args)?,
        (None, None) => unreachable!("one of them is required"),
    };
    let of_port = |it: &Finding| args.port.is_none_or(|port| port == it.flow.port);
    let findings: Vec<Finding> = probe.findings().into_iter().filter(of_port).collect();
    let found: Vec<_> = findings.iter().map(|finding| (finding, timing(finding, args))).collect();
    if args.json {
        let streams: Vec<_> =
            found.iter().map(|(it, timing)| as_json(it, timing.as_ref())).collect();
        let all = json!({
            "streams": streams,
            "packets_dropped_by_the_kernel": dropped,
            "packets_other": probe.others,
            "packets_of_too_many_streams": probe.crowded,
        });
        writeln!(out, "{all}")?;
    } else {
        for (finding, timing) in &found {
            write!(out, "{}", in_words(finding, timing.as_ref()))?;
        }
        if dropped > 0 {
            writeln!(
                out,
                "dropped  {dropped} packets came while this program did not get to them: what is \
                 lost above may be lost here alone"
            )?;
        }
        if findings.is_empty() {
            writeln!(out, "no stream of RTP among {} packets", probe.others)?;
        }
    }
    Ok(if findings.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &std::path::Path) -> io::Result<Probe> {
    let mut probe = Probe::default();
    let octets = std::fs::metadata(path).map_or(0, |it| it.len());
    let mut progress = Progress::begin(format!("reading {}", path.display()), octets);
    for record in Reader::open(path).map_err(io::Error::other)? {
        let mut record = record.map_err(io::Error::other)?;
        progress.advance(record.bytes.len() as u64 + 16);
        if record.link_type == LINK_ETHERNET {
            // What was cut off is not read, but lengths count it.
            record.bytes.resize((record.original_len as usize).min(OCTETS_MAX), 0);
            probe.packet(record.timestamp_ns, &record.bytes);
        }
    }
    Ok(probe)
}

fn listen(interface: &str, args: &Args) -> io::Result<(Probe, u32)> {
    let mut probe = Probe::default();
    let mut listener = Listener::open(interface)?;
    // Left when they are dropped.
    let _members = args
        .join
        .iter()
        .map(|(group, source)| {
            Member::join(*group, source.as_slice(), listener.index)
                .map_err(|error| io::Error::other(format!("cannot join {group}: {error}")))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let span = Duration::from_secs(args.seconds.into());
    let begun = Instant::now();
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut progress = Progress::begin(format!("listening on {interface}"), milliseconds(span));
    let mut buffer = vec![0; OCTETS_MAX];
    let (mut shown, mut count) = (0, 0_u32);
    loop {
        let packet = listener.packet(&mut buffer)?;
        if let Some((at_ns, octets)) = packet {
            probe.packet(at_ns, &buffer[..octets]);
        }
        count = count.wrapping_add(1);
        // The time is looked at now and then, while packets come.
        if packet.is_none() || count.is_multiple_of(64) {
            let passed = begun.elapsed();
            progress.advance(milliseconds(passed) - shown);
            shown = milliseconds(passed);
            if passed >= span {
                return Ok((probe, listener.dropped));
            }
        }
    }
}

/// VRX and C_INST, where the format is one that they are defined for.
fn timing(finding: &Finding, args: &Args) -> Option<Analysis> {
    let Essence::Video(video) = &finding.essence else { return None };
    let format = video.spec()?.check().ok()?;
    let images = Images { packets: 0, ..format.images() };
    let class = if video.gapped == Some(false) { Class::NarrowLinear } else { Class::Narrow };
    let expected = Expected { images, class, offset_us: None, reference: args.reference };
    analyse(&finding.stamps, expected, u64::from(args.tai_offset) * 1_000_000_000).ok()
}

fn class_word(timing: &Analysis) -> &'static str {
    Standing::WORDS[timing.worst.standing.number()]
}

fn cut_word(cut: Cut) -> &'static str {
    match cut {
        Cut::Blocks => "bpm",
        Cut::Line => "gpm-line",
        Cut::Lines => "gpm",
    }
}

fn formats(video: &Video) -> Vec<String> {
    let rate = video.rate.map_or("an unknown rate".into(), |rate| rate.to_string());
    let of = |it: &crate::stream::probe::Candidate| {
        let (width, height) = (it.width, video.height);
        let (depth, scan) = (it.depth.bits(), video.scan);
        format!("{width}x{height} at {rate}, {scan}, {} {depth} bit", it.sampling)
    };
    video.candidates.iter().map(of).collect()
}

fn in_words(finding: &Finding, timing: Option<&Analysis>) -> String {
    let Finding { flow, losses, .. } = finding;
    let mut lines = vec![
        format!(
            "stream   {} port {} to {} port {}, payload type {}, SSRC {:#010x}",
            flow.source,
            flow.source_port,
            flow.destination,
            flow.port,
            flow.payload_type,
            flow.ssrc
        ),
        format!(
            "packets  {} in {} ms, {} a second, UDP of {} octets at most; {} lost, {} twice, {} \
             out of order",
            finding.packets,
            finding.span_ns / 1_000_000,
            finding.packets_per_second(),
            finding.datagram_octets_max,
            losses.lost,
            losses.duplicate,
            losses.reordered,
        ),
    ];
    match &finding.essence {
        Essence::Video(video) => lines.extend(video_in_words(video, timing)),
        Essence::Audio(audio) => {
            let each = audio.candidates.iter();
            let each: Vec<_> =
                each.map(|(bits, channels)| format!("L{bits} of {channels} channels")).collect();
            lines.push(format!(
                "audio    {} at {} Hz, {} us in a packet",
                each.join(", or "),
                audio.sample_rate,
                audio.packet_time_us()
            ));
        }
        Essence::Ancillary(ancillary) => lines.push(format!(
            "data     ancillary (ST 2110-40), at {}",
            ancillary.rate.map_or("an unknown rate".into(), |rate| rate.to_string())
        )),
        Essence::Unknown => lines.push("unknown  RTP, but no essence of ST 2110".into()),
    }
    let mut text = lines.join("\n") + "\n";
    if let Some(session) = session(finding, timing) {
        text += "sdp      as far as the packets say it:\n\n";
        text += &session.emit();
    }
    text + "\n"
}

fn video_in_words(video: &Video, timing: Option<&Analysis>) -> Vec<String> {
    let mut lines: Vec<_> = formats(video)
        .iter()
        .enumerate()
        .map(|(number, format)| match number {
            0 => format!("video    {format}"),
            _ => format!("or       {format}, which has the same packets"),
        })
        .collect();
    if !video.measured {
        lines.push(
            "         no line has two pieces: how many octets a pixel has is not known".into(),
        );
    }
    if video.scan == Scan::Psf {
        lines.push(
            "         both fields have one timestamp: a frame in segments, or fields of a sender \
             that does not tell them apart, as FFmpeg"
                .into(),
        );
    }
    if video.frame_lines {
        lines.push(
            "         lines of fields are numbered as those of the frame, against ST 2110-20"
                .into(),
        );
    }
    let packets = match video.packets_per_image {
        Some(packets) => format!("{packets} packets"),
        None => "packets of changing number".into(),
    };
    lines.push(format!(
        "packing  {}: {packets} in each of {} whole pictures, of {} octets of pixels and {} \
         pieces at most",
        cut_word(video.cut),
        video.images,
        video.data_octets_max,
        video.rows_max,
    ));
    let read = match video.gapped {
        Some(true) => "gapped",
        Some(false) => "linear",
        None => "too short to be gapped or linear",
    };
    lines.push(match timing {
        Some(timing) if timing.worst.standing != Standing::Unmeasured => format!(
            "timing   {read}, class {}: VRX {} to {}, C_INST {} at most",
            class_word(timing),
            timing.worst.extremes.buffer_min,
            timing.worst.extremes.buffer_max,
            timing.worst.extremes.burst_max
        ),
        _ => format!("timing   {read}; too few whole pictures for VRX and C_INST"),
    });
    lines.push(format!("unknown  {UNKNOWN}"));
    lines
}

/// The session, without what the packets do not say; `None` where they do not say what it is.
fn session(finding: &Finding, timing: Option<&Analysis>) -> Option<Session> {
    let flow = &finding.flow;
    let is_group = flow.destination.is_multicast();
    let essence = match &finding.essence {
        Essence::Video(video) => {
            let sender = timing.and_then(|timing| match timing.worst.standing {
                Standing::Narrow => Some(SenderType::Narrow),
                Standing::NarrowLinear => Some(SenderType::NarrowLinear),
                Standing::Wide => Some(SenderType::Wide),
                _ => None,
            });
            session::Essence::Video(SdpVideo {
                colorimetry: Colorimetry::Unspecified,
                tcs: Tcs::Unspecified,
                sender,
                ..translate::video(&video.spec()?, Class::Wide)
            })
        }
        Essence::Audio(audio) => session::Essence::Audio(sdp_audio(audio)?),
        Essence::Ancillary(_) | Essence::Unknown => return None,
    };
    let longest = u16::try_from(finding.datagram_octets_max).unwrap_or(u16::MAX);
    let media = Media {
        mid: None,
        port: flow.port,
        legs: vec![Leg {
            destination: flow.destination,
            ttl: (is_group && flow.destination.is_ipv4()).then_some(64),
            sources: if is_group { vec![flow.source] } else { Vec::new() },
        }],
        payload_type: flow.payload_type,
        refclks: Vec::new(),
        mediaclk: None,
        max_udp: longest.max(UDP_STANDARD),
        ts_mode: None,
        ts_delay_us: None,
        essence,
    };
    Some(Session {
        origin: Origin { user: "-".into(), id: 0, version: 0, host: flow.source.to_string() },
        name: "probed".into(),
        information: None,
        groups: Vec::new(),
        media: vec![media],
    })
}

fn sdp_audio(audio: &Audio) -> Option<SdpAudio> {
    let &(bits, channels) = audio.candidates.first()?;
    Some(SdpAudio {
        encoding: if bits == 24 { Encoding::L24 } else { Encoding::L16 },
        sample_rate: audio.sample_rate,
        channels: u16::try_from(channels).ok()?,
        packet_time_us: audio.packet_time_us(),
        packet_time_max_us: None,
        channel_order: Vec::new(),
    })
}

fn as_json(finding: &Finding, timing: Option<&Analysis>) -> Value {
    let Finding { flow, losses, .. } = finding;
    let essence = match &finding.essence {
        Essence::Video(video) => json!({
            "kind": "video",
            "candidates": video.candidates.iter().map(|it| json!({
                "width": it.width,
                "sampling": it.sampling.name(),
                "depth": it.depth.bits(),
            })).collect::<Vec<_>>(),
            "pixels_measured": video.measured,
            "height": video.height,
            "scan": video.scan.to_string(),
            "lines_of_frame": video.frame_lines,
            "rate": video.rate.map(|rate| rate.to_string()),
            "packing": cut_word(video.cut),
            "pieces_max": video.rows_max,
            "data_octets_max": video.data_octets_max,
            "pictures_whole": video.images,
            "packets_per_picture": video.packets_per_image,
            "gapped": video.gapped,
            "class": timing.map(class_word),
            "vrx_min": timing.map(|it| it.worst.extremes.buffer_min),
            "vrx_max": timing.map(|it| it.worst.extremes.buffer_max),
            "c_inst_max": timing.map(|it| it.worst.extremes.burst_max),
        }),
        Essence::Audio(audio) => json!({
            "kind": "audio",
            "candidates": audio.candidates.iter().map(|(bits, channels)| json!({
                "depth": bits,
                "channels": channels,
            })).collect::<Vec<_>>(),
            "sample_rate": audio.sample_rate,
            "packet_time_us": audio.packet_time_us(),
        }),
        Essence::Ancillary(ancillary) => json!({
            "kind": "ancillary",
            "rate": ancillary.rate.map(|rate| rate.to_string()),
        }),
        Essence::Unknown => json!({ "kind": "unknown" }),
    };
    json!({
        "source": flow.source.to_string(),
        "source_port": flow.source_port,
        "destination": flow.destination.to_string(),
        "port": flow.port,
        "ssrc": flow.ssrc,
        "payload_type": flow.payload_type,
        "packets": finding.packets,
        "octets": finding.octets,
        "span_ns": finding.span_ns,
        "packets_per_second": finding.packets_per_second(),
        "udp_octets_max": finding.datagram_octets_max,
        "packets_lost": losses.lost,
        "packets_duplicate": losses.duplicate,
        "packets_reordered": losses.reordered,
        "essence": essence,
        "sdp": session(finding, timing).map(|it| it.emit()),
    })
}
