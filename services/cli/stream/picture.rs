//! `tidegate stream picture`: one picture of a captured stream, as PNG.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use tidegate_dataplane::pcap::{LINK_ETHERNET, Reader, Record};
use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_dataplane::wire::{Fragment, Rtp};

use crate::cli::args::Picture as Args;
use crate::progress::Progress;
use crate::stream::probe::{Candidate, Essence, Finding, Flow, Probe, Video};
use crate::stream::sink::write_picture;
use crate::stream::timing::Rate;
use crate::stream::video::assembler::{Assembler, Incomplete};
use crate::stream::video::colour::{Colours, Screen};
use crate::stream::video::{Format, Packing, Spec};

/// Runs the command.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> io::Result<ExitCode> {
    let probe = records(args, "looking at", Probe::default(), |probe, record| {
        probe.packet(record.timestamp_ns, &record.bytes);
        false
    })?;
    let (flow, format) = choose(&probe, args).map_err(io::Error::other)?;
    let colours = Colours::of(&format, args.colorimetry, args.range);
    let Some(mut screen) = Screen::new(format, colours) else {
        let why = format!(
            "pictures of colorimetry {}: allowed are BT601, BT709, BT2020 and BT2100",
            colours.colorimetry
        );
        return Err(io::Error::other(why));
    };
    let (pgroups, whole) = assemble(args, &flow, format)?;
    let Some(pgroups) = pgroups else {
        let why = format!(
            "{} has {whole} whole pictures of {format}, counted from 0; --number {} is none of them",
            args.capture.display(),
            args.number
        );
        return Err(io::Error::other(why));
    };
    let mut picture = vec![0; screen.octets()];
    screen.show(&pgroups, &mut picture);
    let named = |error| io::Error::other(format!("{}: {error}", args.out.display()));
    let file = File::create(&args.out).map_err(named)?;
    write_picture(file, &format, screen.bits(), &picture).map_err(named)?;
    writeln!(
        out,
        "picture  {} of {format}, to {} port {}, by {} and range {}\nwritten  {}, {} bits a colour",
        args.number,
        flow.destination,
        flow.port,
        colours.colorimetry,
        colours.range,
        args.out.display(),
        screen.bits(),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Gives each record to `take`, until it says that it is enough.
fn records<T>(
    args: &Args,
    what: &str,
    mut state: T,
    mut take: impl FnMut(&mut T, &Record) -> bool,
) -> io::Result<T> {
    let octets = std::fs::metadata(&args.capture).map_or(0, |it| it.len());
    let mut progress = Progress::begin(format!("{what} {}", args.capture.display()), octets);
    for record in Reader::open(&args.capture).map_err(io::Error::other)? {
        let record = record.map_err(io::Error::other)?;
        progress.advance(record.bytes.len() as u64 + 16);
        if record.link_type == LINK_ETHERNET && take(&mut state, &record) {
            break;
        }
    }
    Ok(state)
}

/// The stream, and its format: as far as they were given, else what the packets say.
fn choose(probe: &Probe, args: &Args) -> Result<(Flow, Format), String> {
    let name = args.capture.display();
    let of_port = |it: &Finding| args.port.is_none_or(|port| port == it.flow.port);
    let found = probe.findings().into_iter().filter(of_port).find_map(|it| match it.essence {
        Essence::Video(video) => Some((it.flow, *video)),
        _ => None,
    });
    let (flow, video) = found.ok_or_else(|| {
        format!("{name} has no stream of video; a capture must have whole packets (tcpdump -s 0)")
    })?;
    let fits = |it: &&Candidate| {
        args.sampling.is_none_or(|sampling| sampling == it.sampling)
            && args.depth.is_none_or(|depth| depth == it.depth)
            && args.width.is_none_or(|width| width == it.width)
    };
    let fitting: Vec<&Candidate> = video.candidates.iter().filter(fits).collect();
    match fitting[..] {
        [] => Err(format!("the stream is {}: it is not what was given", named(&video))),
        [one] => format(one, &video, args).map(|format| (flow, format)),
        _ => Err(format!(
            "the stream may be {}: its packets are the same; say which by --sampling, --depth and \
             --width",
            named(&video)
        )),
    }
}

fn named(video: &Video) -> String {
    let each = video.candidates.iter();
    let each: Vec<_> = each
        .map(|it| format!("{} {} bit of {} pixels", it.sampling, it.depth.bits(), it.width))
        .collect();
    each.join(", or ")
}

fn format(candidate: &Candidate, video: &Video, args: &Args) -> Result<Format, String> {
    let Candidate { sampling, depth, width } = *candidate;
    // Where timestamps do not say the rate: a picture is one at any, but fields want to be paired.
    let slow: Rate = "25".parse().map_err(|error| format!("{error}"))?;
    let rate = args.rate.or(video.rate).unwrap_or(slow);
    let height = args.height.unwrap_or(video.height);
    let packing = Packing::Gpm;
    let scan = video.scan;
    Spec { width, height, sampling, depth, scan, rate, packing }
        .check()
        .map_err(|it| it.to_string())
}

/// The picture asked for, or how many there are.
fn assemble(args: &Args, flow: &Flow, format: Format) -> io::Result<(Option<Vec<u8>>, u64)> {
    // Two are being filled, and one is given back at once.
    let assembler = Assembler::new(format, flow.payload_type, Incomplete::Drop, 3);
    let state = (assembler, None, 0_u64);
    let (_, picture, whole) = records(args, "reading", state, |state, record| {
        let (assembler, picture, whole) = state;
        let Some(datagram) = datagram(&record.bytes, flow) else { return false };
        let _ = assembler.packet(datagram);
        while let Some(delivered) = assembler.take_delivered() {
            let Some(octets) = delivered.octets else { continue };
            if *whole == args.number {
                *picture = Some(octets);
                return true;
            }
            assembler.give_back(octets);
            *whole += 1;
        }
        false
    })?;
    Ok((picture, whole))
}

/// The payload of a datagram of the stream.
fn datagram<'a>(octets: &'a [u8], flow: &Flow) -> Option<&'a [u8]> {
    let packet = Packet::parse(octets).ok()?;
    let (Transport::Udp(udp), Fragment::Whole) = (packet.transport(), packet.fragment()) else {
        return None;
    };
    let is_ours = packet.source() == flow.source
        && packet.destination() == flow.destination
        && udp.destination() == flow.port
        && Rtp::parse(udp.payload()).is_ok_and(|rtp| rtp.ssrc() == flow.ssrc);
    is_ours.then_some(udp.payload())
}
