//! Real pictures: a photograph of the size of UHD, panned by FFmpeg, sent by us and received by us
//! and by GStreamer, and compared to the last octet.
//!
//! A frame a second, so that kernel sockets and builds without optimisation keep up; the packets
//! of a frame are as many as ever.

use std::collections::BTreeSet;

use tidegate::stream::video::{Depth, Spec};

use super::clip::{Clip, WIRE};
use super::*;
use crate::require;

/// A still of 4096 by 4096 pixels, and Debian's package that has it.
const STILL: &str = "/usr/share/backgrounds/gnome/pixels-l.webp";
const PACKAGE: &str = "gnome-backgrounds";

const WIDTH: u32 = 3840;
const HEIGHT: u32 = 2160;

/// Frames of the pan.
const FRAMES: usize = 4;

/// Pans over the still, into the file [`WIRE`].
fn pan(scene: &Scene) -> Clip {
    let rate = "1".parse().unwrap();
    let format = Spec::new(WIDTH, HEIGHT, Depth::Ten, rate).check().unwrap();
    let mut ffmpeg = scene.ffmpeg();
    // Decoded once; what is cut out of it moves.
    let filter =
        format!("loop={FRAMES}:1,crop={WIDTH}:{HEIGHT}:x='n*16':y='n*24',format=yuv422p10le");
    ffmpeg.args(["-i", STILL, "-vf", &filter, "-frames:v", &FRAMES.to_string()]);
    ffmpeg.args(["-c:v", "bitpacked", "-f", "rawvideo", WIRE]);
    assert!(ffmpeg.status().unwrap().success());
    let octets = fs::read(scene.path(WIRE)).unwrap();
    let wire: Vec<Vec<u8>> = octets.chunks(format.frame_octets()).map(<[u8]>::to_vec).collect();
    assert_eq!(wire.len(), FRAMES);
    assert_eq!(wire.iter().collect::<BTreeSet<_>>().len(), FRAMES, "all different");
    Clip { format, pixels: "yuv422p10le", caps: "UYVP", theirs: wire.clone(), wire }
}

/// What each frame of `got` is in the clip; `None`: no frame of it.
fn places(clip: &Clip, got: &[u8]) -> Vec<Option<usize>> {
    let place = |frame: &[u8]| clip.wire.iter().position(|it| it == frame);
    got.chunks(clip.format.frame_octets()).map(place).collect()
}

/// Whether `places` are the clip's frames, each behind the one before it.
fn is_repeated(places: &[Option<usize>]) -> bool {
    let follows = |pair: &[Option<usize>]| match (pair[0], pair[1]) {
        (Some(before), Some(place)) => (before + 1) % FRAMES == place,
        _ => false,
    };
    places.iter().all(Option::is_some) && places.windows(2).all(follows)
}

/// We send, and receive at the other end; `None` where the machine was too busy.
fn to_ourselves(scene: &Scene, clip: &Clip) -> Option<Vec<u8>> {
    let far = &scene.wire.far;
    let text = format!(
        "[runtime]\ninstance = \"photos-far-{}\"\nshards = 1\n\n[[interface]]\nname = \"{}\"\n\n\
         [[service]]\nname = \"monitor\"\nkind = \"stream-receive\"\n\
         selectors = [{{ destination = \"{}\", protocol = \"udp\", ports = {PORT} }}]\n\
         [service.options]\nport = {PORT}\nsink = \"file\"\npath = \"{}\"\n{}\n",
        std::process::id(),
        far.name,
        far.ipv4,
        scene.path("got.raw").display(),
        clip.options(),
    );
    let config = Config::parse("photos.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let start = || Program::start(&config, &Registry::stock());
    let receiver = far.namespace.run(start).unwrap().unwrap_or_else(|error| panic!("{error}"));
    let frames = FRAMES + 1;
    let sender = scene.sender(clip, "gpm-line", frames);
    let counts = |program: &Program, name: &str| service(&program.snapshot()).counters[name];
    await_that("all frames", || counts(&sender, "frames_sent") == frames as u64);
    let mut before = 0;
    await_that("silence", || {
        thread::sleep(Duration::from_millis(100));
        let now = counts(&receiver, "packets_received");
        let done = counts(&receiver, "frames_written") + counts(&receiver, "frames_dropped");
        let is_quiet = now > 0 && now == std::mem::replace(&mut before, now);
        is_quiet && done == counts(&receiver, "frames_received")
    });
    let outcome = sender.stop();
    clean(&outcome);
    // The machine stood still for so long that a frame was left out.
    let skipped = service(&outcome.snapshot).counters["frames_skipped"] > 0;
    let outcome = receiver.stop();
    clean(&outcome);
    let counters = &service(&outcome.snapshot).counters;
    let got = fs::read(scene.path("got.raw")).unwrap();
    let is_whole = counters["frames_written"] == frames as u64;
    // What is missing is known; a picture that is not right never is.
    assert!(is_whole || counters["packets_lost"] + counters["frames_dropped"] > 0, "{counters:?}");
    (is_whole && !skipped).then_some(got)
}

/// We send, and GStreamer receives all packets but `missing`.
fn to_gstreamer(scene: &Scene, clip: &Clip, missing: u64) -> Option<Vec<u8>> {
    let far = &scene.wire.far;
    let overflowed_before = overflowed(far);
    let frames = FRAMES + 1;
    let packets = frames as u64 * u64::from(clip.format.packets_per_frame()) - missing;
    let mut receive = gstreamer::receive(scene, clip, packets);
    let mut gstreamer = Other::start(far, &mut receive);
    await_that("GStreamer listens", || listens(far));
    let sender = scene.sender(clip, "gpm-line", frames);
    let lost = || overflowed(far) > overflowed_before;
    await_that("GStreamer has its packets", || gstreamer.is_done() || lost());
    let outcome = sender.stop();
    clean(&outcome);
    if lost() || service(&outcome.snapshot).counters["frames_skipped"] > 0 {
        return None;
    }
    gstreamer.finish("GStreamer has its packets");
    Some(fs::read(scene.path("theirs-got.raw")).unwrap())
}

/// Has the far kernel drop one packet of a frame: the first that has this line and offset.
fn drop_one(scene: &Scene, line: u16, offset: u16) {
    // Behind the headers of UDP and RTP, the extended sequence number and the length.
    let place = u32::from(line) << 16 | u32::from(offset);
    let rules = format!(
        "add table ip lose\ndelete table ip lose\nadd table ip lose\nadd chain ip lose first {{ type filter hook input priority 0; }}\n\
         add rule ip lose first udp dport {PORT} @th,192,32 {place} limit rate 1/day burst 1 packets \
         drop\n"
    );
    fs::write(scene.path("lose.nft"), rules).unwrap();
    let mut nft = Command::new("nft");
    nft.arg("-f").arg(scene.path("lose.nft"));
    Other::start(&scene.wire.far, &mut nft).finish("nft");
}

#[test]
fn photographs_of_uhd_arrive_whole_and_one_packet_or_bit_is_noticed() {
    require_net!();
    if gstreamer::missing() || !require::program("nft") || !require::file(STILL, PACKAGE) {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("photos");
    let clip = pan(&scene);
    let ours = (0..TRIES).find_map(|_| to_ourselves(&scene, &clip)).expect("one of them in time");
    let ours = places(&clip, &ours);
    assert_eq!((ours.len(), is_repeated(&ours)), (FRAMES + 1, true), "{ours:?}");
    let theirs = (0..TRIES).find_map(|_| to_gstreamer(&scene, &clip, 0));
    let theirs = places(&clip, &theirs.expect("one of them in time"));
    assert_eq!((theirs.len(), is_repeated(&theirs)), (FRAMES + 1, true), "{theirs:?}");
    assert_eq!(ours.iter().collect::<BTreeSet<_>>(), theirs.iter().collect(), "each was shown");

    // One bit of one frame.
    let mut flipped = clip.wire.concat();
    let middle = flipped.len() / 2 + 12_345;
    flipped[middle] ^= 4;
    fs::write(scene.path(WIRE), &flipped).unwrap();
    let got = (0..TRIES).find_map(|_| to_ourselves(&scene, &clip)).expect("one of them in time");
    let got = places(&clip, &got);
    let others = got.iter().filter(|place| place.is_none()).count();
    assert!(!is_repeated(&got) && (1..=2).contains(&others), "{got:?}");
    fs::write(scene.path(WIRE), clip.wire.concat()).unwrap();

    // One packet of one frame: GStreamer's file is as long as ever.
    let got = (0..TRIES).find_map(|_| {
        drop_one(&scene, 1000, 960);
        to_gstreamer(&scene, &clip, 1)
    });
    let got = got.expect("one of them in time");
    let got = places(&clip, &got);
    assert_eq!(got.iter().filter(|place| place.is_none()).count(), 1, "{got:?}");
}
