//! What `tidegate stream probe` says of others' streams, as they come to an interface.

use serde_json::Value;
use tidegate::stream::video::{Depth, Sampling, Scan};

use super::clip::{Clip, THEIRS};
use super::*;
use crate::require;

/// Whether the near end is a member of 239.1.2.3, as the kernel writes it.
fn is_member(scene: &Scene) -> bool {
    let groups = || fs::read_to_string("/proc/thread-self/net/igmp");
    let groups = scene.wire.near.namespace.run(groups).unwrap().unwrap();
    let group = u32::from_ne_bytes([239, 1, 2, 3]);
    groups.contains(&format!("{group:08X}"))
}

/// Listens at the near end while `send` sends from the far one; returns what it says.
fn probed(scene: &Scene, send: &mut Command) -> Value {
    let near = &scene.wire.near;
    let mut probe = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    probe.args(["stream", "probe", &near.name, "--seconds", "4", "--json"]);
    probe.args(["--join", "239.1.2.3"]);
    let probe = near.namespace.spawn(probe.stdout(Stdio::piped())).unwrap();
    await_that("the probe listens", || ffmpeg::captures(near));
    await_that("the probe is a member", || is_member(scene));
    let sender = Other::start(&scene.wire.far, send);
    let output = probe.wait_with_output().unwrap();
    drop(sender);
    assert!(output.status.success(), "{output:?}");
    assert!(!is_member(scene), "and leaves with its end");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that it was the clip, whole.
#[track_caller]
fn is_clip(said: &Value, clip: &Clip) {
    let stream = &said["streams"][0];
    assert_eq!(stream["port"], PORT, "{said}");
    // The kernel's buffers may run over on a busy machine; it would have said so.
    if said["packets_dropped_by_the_kernel"] == 0 {
        assert_eq!(stream["packets_lost"], 0, "{said}");
    }
    let spec = clip.format.spec();
    let video = &stream["essence"];
    let is = |it: &&Value| {
        it["sampling"] == spec.sampling.name()
            && it["depth"] == spec.depth.bits()
            && it["width"] == spec.width
    };
    assert_eq!(video["candidates"].as_array().unwrap().iter().filter(is).count(), 1, "{said}");
    let (height, rate) = (&video["height"], &video["rate"]);
    assert_eq!((height, rate), (&spec.height.into(), &spec.rate.to_string().into()), "{said}");
    assert_eq!(video["scan"], "progressive", "{said}");
    assert!(stream["sdp"].as_str().unwrap().contains("m=video 20000 RTP/AVP 96"), "{said}");
}

#[test]
fn the_probe_says_what_ffmpeg_and_gstreamer_send() {
    require_net!();
    if gstreamer::missing() {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("probe");
    let address = scene.wire.near.ipv4;
    for (sampling, depth) in ffmpeg::FORMATS {
        let clip = Clip::paint(&scene, sampling, depth, Scan::Progressive);
        let mut ffmpeg = scene.ffmpeg();
        ffmpeg.args(["-re", "-stream_loop", "-1", "-f", "rawvideo"]).args(ffmpeg::codec(&clip));
        ffmpeg.args(["-pixel_format", clip.pixels, "-video_size", "320x180"]);
        // Without a word about fields it sends two of them for each frame.
        ffmpeg.args(["-framerate", "10", "-i", THEIRS, "-field_order", "progressive"]);
        ffmpeg.args(["-c:v", "copy", "-f", "rtp"]);
        ffmpeg.args(["-payload_type", "96", &format!("rtp://{address}:{PORT}?pkt_size=1400")]);
        is_clip(&probed(&scene, ffmpeg.stdout(Stdio::null())), &clip);
    }
    for (sampling, depth) in
        [(Sampling::YCbCr444, Depth::Eight), (Sampling::YCbCr420, Depth::Eight)]
    {
        let clip = Clip::paint(&scene, sampling, depth, Scan::Progressive);
        let mut gstreamer = scene.gstreamer();
        gstreamer.args(["filesrc", &format!("location={THEIRS}")]);
        gstreamer.arg(format!("blocksize={}", clip.theirs[0].len()));
        gstreamer.args(["!", "rawvideoparse", "width=320", "height=180", "framerate=10/1"]);
        gstreamer.arg(format!("format={}", clip.caps.to_ascii_lowercase()));
        gstreamer.args(["!", "rtpvrawpay", "mtu=1452", "pt=96"]);
        gstreamer.args(["!", "udpsink", &format!("host={address}"), &format!("port={PORT}")]);
        is_clip(&probed(&scene, gstreamer.stdout(Stdio::null())), &clip);
    }
}
