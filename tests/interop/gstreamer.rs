//! GStreamer receives by caps, and sends.

use std::fs;
use std::process::{Command, Stdio};

use tidegate::stream::video::{Depth, Packing, Sampling, Scan, Spec};

use super::clip::{Clip, THEIRS, WIRE};
use super::*;
use crate::require;

/// All that it has of what RFC 4175 has.
const FORMATS: [(Sampling, Depth); 5] = [
    (Sampling::YCbCr422, Depth::Ten),
    (Sampling::YCbCr422, Depth::Eight),
    (Sampling::YCbCr444, Depth::Eight),
    (Sampling::YCbCr420, Depth::Eight),
    (Sampling::Rgb, Depth::Eight),
];

const PACKINGS: [(&str, Packing); 3] =
    [("gpm-line", Packing::GpmLine), ("gpm", Packing::Gpm), ("bpm", Packing::Bpm)];

pub(super) fn missing() -> bool {
    !["ffmpeg", "gst-launch-1.0"].iter().all(|name| require::program(name))
}

/// It writes `packets` packets' frames to `theirs-got.raw`, and ends.
pub(super) fn receive(scene: &Scene, clip: &Clip, packets: u64) -> Command {
    let spec = clip.format.spec();
    let mut gstreamer = scene.gstreamer();
    gstreamer.args(["udpsrc", "address=0.0.0.0", "buffer-size=8388608"]);
    gstreamer.args([format!("port={PORT}"), format!("num-buffers={packets}")]);
    // All of these have to be strings, and colours have other names here.
    gstreamer.arg(format!(
        "caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=RAW,payload=96,\
         sampling={},depth=(string){},width=(string){},height=(string){},colorimetry=BT709-2",
        spec.sampling,
        spec.depth.bits(),
        spec.width,
        spec.height
    ));
    gstreamer.args(["!", "rtpvrawdepay", "!", &format!("video/x-raw,format={}", clip.caps)]);
    gstreamer.args(["!", "filesink", "location=theirs-got.raw"]).stdout(Stdio::null());
    gstreamer
}

/// Returns what it received; `None` where the kernel lost what it did not fetch, or the machine
/// stood still for so long that we left out a frame.
fn to_gstreamer(scene: &Scene, clip: &Clip, (word, packing): (&str, Packing)) -> Option<Vec<u8>> {
    let far = &scene.wire.far;
    let format = Spec { packing, ..clip.format.spec() }.check().unwrap();
    let overflowed_before = overflowed(far);
    let frames = clip.wire.len() + 2;
    let packets = frames as u64 * u64::from(format.packets_per_frame());
    let mut gstreamer = Other::start(far, &mut receive(scene, clip, packets));
    await_that("GStreamer listens", || listens(far));
    let sender = scene.sender(clip, word, frames);
    let lost = || overflowed(far) > overflowed_before;
    await_that("GStreamer has its packets", || gstreamer.is_done() || lost());
    let outcome = sender.stop();
    clean(&outcome);
    assert_eq!(service(&outcome.snapshot).counters["packets_sent"], packets);
    if lost() || service(&outcome.snapshot).counters["frames_skipped"] > 0 {
        return None;
    }
    gstreamer.finish("GStreamer has its packets");
    let got = fs::read(scene.path("theirs-got.raw")).unwrap();
    assert_eq!(got.len(), frames * clip.theirs[0].len(), "{clip:?} {packing:?}");
    Some(got)
}

#[test]
fn gstreamer_receives_what_we_send() {
    require_net!();
    if missing() {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("to-gstreamer");
    for (sampling, depth) in FORMATS {
        let clip = Clip::paint(&scene, sampling, depth, Scan::Progressive);
        for packing in PACKINGS {
            let got = (0..TRIES).find_map(|_| to_gstreamer(&scene, &clip, packing));
            clip.is_repeated_in(&got.expect("one of them in time"));
        }
    }
}

/// Whether a comparison would notice: one bit in each frame of the file that we send.
#[test]
fn one_bit_that_is_another_is_noticed() {
    require_net!();
    if missing() {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("flipped");
    let clip = Clip::paint(&scene, Sampling::YCbCr422, Depth::Ten, Scan::Progressive);
    let flipped = clip.wire.iter().map(|frame| {
        let mut frame = frame.clone();
        *frame.last_mut().unwrap() ^= 1;
        frame
    });
    let flipped: Vec<_> = flipped.collect();
    fs::write(scene.path(WIRE), flipped.concat()).unwrap();
    let got = (0..TRIES).find_map(|_| to_gstreamer(&scene, &clip, PACKINGS[0]));
    for frame in got.expect("one of them in time").chunks(flipped[0].len()) {
        assert!(!clip.theirs.iter().any(|whole| whole == frame), "the bit is as it was");
        assert!(flipped.iter().any(|whole| whole == frame), "more than that bit is another");
    }
}

#[test]
fn we_receive_what_gstreamer_sends() {
    require_net!();
    if missing() {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("from-gstreamer");
    for (sampling, depth) in FORMATS {
        let clip = Clip::paint(&scene, sampling, depth, Scan::Progressive);
        let service = received(&scene, &clip, || {
            let address = scene.wire.near.ipv4;
            let mut gstreamer = scene.gstreamer();
            gstreamer.args(["filesrc", &format!("location={THEIRS}")]);
            gstreamer.arg(format!("blocksize={}", clip.theirs[0].len()));
            gstreamer.args(["!", "rawvideoparse", "width=320", "height=180", "framerate=10/1"]);
            gstreamer.arg(format!("format={}", clip.caps.to_ascii_lowercase()));
            // As long as ST 2110-10 allows, so that most packets have two rows and some three.
            gstreamer.args(["!", "rtpvrawpay", "mtu=1452", "pt=96"]);
            gstreamer.args(["!", "udpsink", &format!("host={address}"), &format!("port={PORT}")]);
            gstreamer.stdout(Stdio::null());
            gstreamer
        });
        is_whole(&scene, &clip, &service);
    }
}
