//! FFmpeg receives by an SDP, and sends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tidegate::stream::video::{Depth, Format, Packing, Sampling, Scan, Spec};

use super::clip::{Clip, THEIRS};
use super::*;
use crate::require;

/// All that it has of what RFC 4175 has.
pub(super) const FORMATS: [(Sampling, Depth); 3] = [
    (Sampling::YCbCr422, Depth::Ten),
    (Sampling::YCbCr422, Depth::Eight),
    (Sampling::Rgb, Depth::Eight),
];

const PACKINGS: [(&str, Packing); 3] =
    [("gpm-line", Packing::GpmLine), ("gpm", Packing::Gpm), ("bpm", Packing::Bpm)];

/// How it takes and gives the clip's samples: as they are.
pub(super) fn codec(clip: &Clip) -> [&'static str; 2] {
    let name = if clip.pixels == "yuv422p10le" { "bitpacked" } else { "rawvideo" };
    ["-c:v", name]
}

/// The session as ST 2110-20, section 7, describes it.
fn sdp(wire: &Wire, format: &Format) -> String {
    let (from, to) = (wire.near.ipv4, wire.far.ipv4);
    let spec = format.spec();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {from}\r\ns=tidegate\r\nt=0 0\r\nm=video {PORT} RTP/AVP 96\r\n\
         c=IN IP4 {to}\r\na=rtpmap:96 raw/90000\r\n\
         a=fmtp:96 sampling={}; width={}; height={}; exactframerate={}; depth={}; \
         TCS=SDR; colorimetry=BT709; PM={}; SSN=ST2110-20:2017; TP=2110TPW;\r\n\
         a=mediaclk:direct=0\r\n",
        spec.sampling,
        spec.width,
        spec.height,
        spec.rate,
        spec.depth.bits(),
        spec.packing.sdp_name(),
    )
}

/// Lost packets, and all of them, as tshark counts the one stream of a capture.
fn streams_by_tshark(capture: &Path) -> (u64, u64) {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args(["-d", "udp.port==20000,rtp", "-q", "-z", "rtp,streams"]);
    let output = tshark.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let streams: Vec<_> = table.lines().filter(|line| line.contains(" 0x")).collect();
    let [stream] = streams[..] else { panic!("{table}") };
    // Start, end, source, port, destination, port, SSRC, payload ("RTPType-96"), packets, lost.
    let columns: Vec<_> = stream.split_whitespace().collect();
    let ssrc = columns.iter().position(|column| column.starts_with("0x")).unwrap();
    let number = |at: usize| columns[ssrc + at].parse().unwrap_or_else(|_| panic!("{table}"));
    (number(3), number(2))
}

/// Whether a packet socket is open in `end`'s namespace.
pub(super) fn captures(end: &End) -> bool {
    let table = end.namespace.run(|| fs::read_to_string("/proc/thread-self/net/packet"));
    table.unwrap().unwrap().lines().count() > 1
}

#[test]
fn ffmpeg_receives_what_we_send_and_tshark_misses_no_packet() {
    require_net!();
    if !["ffmpeg", "tcpdump", "tshark"].iter().all(|name| require::program(name)) {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("to-ffmpeg");
    for (sampling, depth) in FORMATS {
        let clip = Clip::paint(&scene, sampling, depth, Scan::Progressive);
        for packing in PACKINGS {
            let in_time = (0..TRIES).any(|_| to_ffmpeg(&scene, &clip, packing));
            assert!(in_time, "neither FFmpeg nor we were ever in time");
        }
    }
}

/// Returns false where the kernel lost what FFmpeg did not fetch, or the machine stood still for so
/// long that we left out a frame.
fn to_ffmpeg(scene: &Scene, clip: &Clip, (word, packing): (&str, Packing)) -> bool {
    let far = &scene.wire.far;
    let format = Spec { packing, ..clip.format.spec() }.check().unwrap();
    fs::write(scene.path("session.sdp"), sdp(&scene.wire, &format)).unwrap();
    let overflowed_before = overflowed(far);

    // FFmpeg gives a frame when the next one begins, so it gets two more than it is asked for.
    let (wanted, frames) = (clip.wire.len() + 2, clip.wire.len() + 4);
    let packets = frames as u64 * u64::from(format.packets_per_frame());
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-i", &far.name, "-c", &packets.to_string(), "-B", "16384", "-Z", "root", "-w"]);
    tcpdump.arg(scene.path("stream.pcap")).args(["udp", "port", &PORT.to_string()]);
    let tcpdump = Other::start(far, tcpdump.stderr(Stdio::null()));
    let mut ffmpeg = scene.ffmpeg();
    ffmpeg.args(["-protocol_whitelist", "file,udp,rtp", "-buffer_size", "8388608"]);
    ffmpeg.args(["-i", "session.sdp", "-frames:v", &wanted.to_string()]);
    ffmpeg.args(["-fps_mode", "passthrough"]).args(codec(clip)).args(["-f", "rawvideo"]);
    let mut ffmpeg = Other::start(far, ffmpeg.arg("theirs-got.raw"));
    await_that("FFmpeg listens", || listens(far));
    await_that("tcpdump captures", || captures(far));

    let sender = scene.sender(clip, word, frames);
    // What we do is right or wrong whatever FFmpeg gets.
    tcpdump.finish("tcpdump has all packets");
    let lost = || overflowed(far) > overflowed_before;
    await_that("FFmpeg has its frames", || ffmpeg.is_done() || lost());
    let outcome = sender.stop();
    clean(&outcome);
    assert_eq!(service(&outcome.snapshot).counters["packets_sent"], packets);
    assert_eq!(streams_by_tshark(&scene.path("stream.pcap")), (0, packets));

    if lost() || service(&outcome.snapshot).counters["frames_skipped"] > 0 {
        return false;
    }
    ffmpeg.finish("FFmpeg has its frames");
    let got = fs::read(scene.path("theirs-got.raw")).unwrap();
    assert_eq!(got.len(), wanted * clip.theirs[0].len(), "{clip:?}");
    clip.is_repeated_in(&got);
    true
}

/// It sends the clip, its first packet with the number `first`.
fn send(scene: &Scene, clip: &Clip, first: u16) -> Command {
    let mut ffmpeg = scene.ffmpeg();
    let input = if clip.pixels == "yuv422p10le" { "bitpacked" } else { "rawvideo" };
    ffmpeg.args(["-re", "-f", input, "-pixel_format", clip.pixels]);
    ffmpeg.args(["-video_size", "320x180", "-framerate", "10", "-i", THEIRS]).args(codec(clip));
    // Without a word about fields it sends two of them for each frame.
    let order = if clip.format.fields() == 1 { "progressive" } else { "tt" };
    ffmpeg.args(["-field_order", order]);
    ffmpeg.args(["-f", "rtp", "-payload_type", "96", "-seq", &first.to_string()]);
    let address = scene.wire.near.ipv4;
    ffmpeg.arg(format!("rtp://{address}:{PORT}?pkt_size=1400")).stdout(Stdio::null());
    ffmpeg
}

#[test]
fn we_receive_what_ffmpeg_sends() {
    require_net!();
    if !require::program("ffmpeg") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("from-ffmpeg");
    for (sampling, depth) in FORMATS {
        // It gives both fields of a frame the same timestamp.
        for scan in [Scan::Progressive, Scan::Interlaced] {
            let clip = Clip::paint(&scene, sampling, depth, scan);
            let service = received(&scene, &clip, || send(&scene, &clip, 7));
            is_whole(&scene, &clip, &service);
        }
    }
}

/// FFmpeg leaves the extended half at 0 for good, as GStreamer does.
#[test]
fn a_sender_that_counts_with_16_bits_only_may_wrap_within_a_frame() {
    require_net!();
    if !require::program("ffmpeg") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("wrapping");
    let clip = Clip::paint(&scene, Sampling::YCbCr422, Depth::Ten, Scan::Progressive);
    let service = received(&scene, &clip, || send(&scene, &clip, 65_300));
    is_whole(&scene, &clip, &service);
}
