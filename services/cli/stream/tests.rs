//! From a capture that the simulator makes to words and a drawing.

use std::path::PathBuf;

use clap::Parser as _;
use tidegate_dataplane::pcap::Writer;
use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::sim::{Sim, SimPort, TURN_NS};

use super::super::args::{Args, Command};
use super::*;
use crate::stream::sender::StreamSend;

mod probe;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-plot-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the command prints.
fn output(line: &str) -> Result<String, String> {
    let words = ["tidegate"].into_iter().chain(line.split_whitespace());
    let Command::Stream(args) = Args::try_parse_from(words).map_err(|it| it.to_string())?.command
    else {
        panic!("{line}")
    };
    let mut out = Vec::new();
    run(&args, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

/// Writes what a sender of 640x64 at 500 sends, in frames of 128 packets, cut to 80 octets.
fn capture(path: &str, class: &str, frames: u64) {
    capture_of(path, class, frames, "");
}

/// The same with more options.
fn capture_of(path: &str, class: &str, frames: u64, more: &str) {
    let options = tidegate_config::Options::from_text(&format!(
        "destination = \"198.18.0.2:20000\"\nsource_address = \"198.18.0.1:20000\"\n\
         destination_mac = \"02:00:00:00:00:02\"\nwidth = 640\nheight = 64\nrate = \"500\"\n\
         depth = 10\nssrc = 7\nclass = \"{class}\"\nframes = {frames}\n{more}"
    ))
    .unwrap();
    let options: crate::stream::sender::Options = options.parse().unwrap();
    let mut sim = Sim::new(1);
    let plan = ServicePlan::of::<StreamSend>("out", options);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    let mut writer = Writer::new(path, std::fs::File::create(path).unwrap()).unwrap();
    // A capture has UTC, 37 s behind, and seconds of 32 bits.
    let utc_ns = tidegate_runtime::sim::TAI_AT_ZERO_NS - 37_000_000_000;
    for _ in 0..(frames + 2) * 2_000_000 / TURN_NS {
        sim.turn();
        for packet in sim.sent(0, 0) {
            writer.write(utc_ns + sim.now_ns() - TURN_NS, &packet).unwrap();
        }
    }
}

const FORMAT: &str = "--rate 500 --height 64";

#[test]
fn a_captured_stream_is_measured_and_drawn() {
    let scratch = Scratch::new("good");
    let (pcap, svg) = (scratch.path("a.pcap"), scratch.path("a.svg"));
    capture(&pcap, "narrow", 6);
    let text = output(&format!("stream plot {pcap} {FORMAT} --class narrow --out {svg}")).unwrap();
    // The last picture has no end.
    for expected in [
        "stream   64 lines progressive, 500 frames a second, pictures of 128 packets, to \
         198.18.0.2 port 20000\n",
        "read     gapped, a packet each 15000.000 ns, from 74.666 us after k*T on\n",
        "narrow allows 0 to 8, wide 0 to 720\n",
        "C_INST   0 at most; narrow allows 4, wide 16\n",
        "pictures 5 narrow, 0 narrow-linear, 0 wide, 0 of no class, 0 not whole\n",
        "class    narrow\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.contains("VRX, packets") && drawn.contains(">narrow</text>"), "{drawn}");
}

#[test]
fn any_pictures_can_be_asked_for() {
    let scratch = Scratch::new("any");
    let (pcap, svg) = (scratch.path("a.pcap"), scratch.path("a.svg"));
    capture(&pcap, "wide", 6);
    for more in ["--skip 4294967295", "--pictures 4294967295 --skip 1", "--pictures 0"] {
        output(&format!("stream plot {pcap} {FORMAT} --out {svg} {more}")).unwrap();
    }
    // A clock of long ago, lines that no picture has.
    output(&format!("stream plot {pcap} --rate 500 --height 0 --tai-offset 4294967295")).unwrap();
}

#[test]
fn the_same_stream_is_late_by_another_offset_or_another_second() {
    let scratch = Scratch::new("late");
    let pcap = scratch.path("a.pcap");
    capture(&pcap, "wide", 6);
    let class = |more: &str| {
        let text = output(&format!("stream plot {pcap} {FORMAT} {more}")).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    assert_eq!(class(""), "class    wide");
    assert_eq!(class("--troffset-us 0"), "class    none");
    // A capture that had TAI already, with a frame's rate that divides the second, fits as well.
    assert_eq!(class("--tai-offset 0"), "class    wide");
    assert_eq!(class("--reference each-image"), "class    wide");
}

#[test]
fn what_says_nothing_is_refused_with_the_reason() {
    let scratch = Scratch::new("bad");
    let pcap = scratch.path("a.pcap");
    capture(&pcap, "wide", 2);
    let refused = |line: &str| output(line).unwrap_err();
    let short = refused(&format!("stream plot {pcap} {FORMAT}"));
    assert_eq!(
        short,
        "256 packets of 1 pictures: how many packets a picture has is known from two whole ones in \
         a row; capture at least four"
    );
    let rate = refused(&format!("stream plot {pcap} --rate 50 --height 64"));
    assert_eq!(
        rate,
        "timestamps step by 180 ticks of 90 kHz, the rate that was given by 1800; give the rate of \
         the stream, of frames where it is interlaced"
    );
    let none = refused(&format!("stream plot {pcap} {FORMAT} --port 9"));
    assert_eq!(
        none,
        format!(
            "capture {pcap}: none of 256 packets is RFC 4175 to port 9; leave the port out to take \
             the first"
        )
    );
    let missing = refused(&format!("stream plot {} {FORMAT}", scratch.path("no.pcap")));
    assert!(missing.contains("no.pcap: No such file"), "{missing}");
    capture(&pcap, "wide", 6);
    let place = refused(&format!("stream plot {pcap} {FORMAT} --out /no/such/place.svg"));
    assert!(place.starts_with("/no/such/place.svg: No such file"), "{place}");
    for line in [
        "stream plot a.pcap",
        "stream plot a.pcap --rate 59.94 --height 1080",
        "stream plot a.pcap --rate 50 --height 1080 --class broad",
        "stream",
    ] {
        assert!(output(line).is_err(), "{line}");
    }
}
