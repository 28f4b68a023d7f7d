//! Sound to and from FFmpeg and GStreamer, sample for sample, and tshark's account of it.

use std::fs;
use std::process::Stdio;

use super::*;
use crate::require;

/// Samples of each channel of the clip: a second and a half, no multiple of any packet.
const SAMPLES: usize = 72_001;

/// What is sent: channels, bits of a sample, and microseconds of sound in our packets. GStreamer
/// sorts more channels than two by where its loudspeakers would stand.
const FORMATS: [((u16, u16), u32); 3] = [((2, 24), 1000), ((8, 24), 125), ((2, 16), 125)];

/// A WAV file of samples that are all different, and the same in network order.
fn paint(scene: &Scene, (channels, bits): (u16, u16)) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: 48_000,
        bits_per_sample: bits,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(scene.path("clip.wav"), spec).unwrap();
    let mut octets = Vec::new();
    let mut state = 1_u32;
    for _ in 0..SAMPLES * usize::from(channels) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let sample = state.cast_signed() >> (32 - bits);
        file.write_sample(sample).unwrap();
        octets.extend_from_slice(&state.to_be_bytes()[..usize::from(bits) / 8]);
    }
    file.finalize().unwrap();
    fs::write(scene.path("clip.pcm"), &octets).unwrap();
    octets
}

/// Our sender of the clip.
fn sender(scene: &Scene, (channels, bits): (u16, u16), packet_time_us: u32) -> Program {
    let (near, far) = (&scene.wire.near, &scene.wire.far);
    scene.start(&format!(
        "name = \"band\"\nkind = \"essence-send\"\n[service.options]\n\
         source_address = \"{}:{PORT}\"\n[service.options.audio]\ndestination = \"{}:{PORT}\"\n\
         source = \"{}\"\nchannels = {channels}\ndepth = {bits}\n\
         packet_time_us = {packet_time_us}\n",
        near.ipv4,
        far.ipv4,
        scene.path("clip.wav").display(),
    ))
}

/// Whether `got` is a stretch of the clip, repeated.
fn is_stretch(clip: &[u8], got: &[u8], frame: usize) -> bool {
    let Some(first) = got.get(..frame * 4) else { return false };
    let twice = [clip, clip].concat();
    let starts = (0..clip.len()).step_by(frame).filter(|&at| twice[at..].starts_with(first));
    starts.into_iter().any(|at| {
        let endless = clip.iter().cycle().skip(at);
        got.iter().zip(endless).all(|(got, sent)| got == sent)
    })
}

type Hears = fn(&Scene, (u16, u16), u32) -> Option<Vec<u8>>;
type Speaks = fn(&Scene, (u16, u16)) -> Command;

fn ready() -> bool {
    ["ffmpeg", "gst-launch-1.0"].iter().all(|name| require::program(name))
}

#[test]
fn ffmpeg_and_gstreamer_hear_what_we_send() {
    require_net!();
    if !ready() {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("sound-out");
    for (format, packet_time_us) in FORMATS {
        let clip = paint(&scene, format);
        let others: [Hears; 2] = [ffmpeg_hears, gstreamer_hears];
        let others = &others[..if format.0 == 2 { 2 } else { 1 }];
        for other in others {
            let heard = (0..TRIES).find_map(|_| other(&scene, format, packet_time_us));
            let got = heard.expect("one of them in time");
            let frame = usize::from(format.0 * format.1 / 8);
            assert!(got.len() > 20_000 * frame, "{format:?}: {} octets", got.len());
            assert!(is_stretch(&clip, &got, frame), "{format:?}, {packet_time_us} us");
            // The comparison notices: a bit, and a packet's worth of it.
            let mut wrong = got.clone();
            wrong[got.len() / 2] ^= 1;
            assert!(!is_stretch(&clip, &wrong, frame));
            let (before, behind) = (&got[..frame * 9600], &got[frame * 9648..]);
            assert!(!is_stretch(&clip, &[before, behind].concat(), frame));
        }
    }
}

/// Lets the other listen and us send until it has half a second; what it got, or nothing where the
/// kernel lost some or we left out some.
fn heard(scene: &Scene, mut sending: impl FnMut() -> Program, mut other: Other) -> Option<Vec<u8>> {
    let far = &scene.wire.far;
    let overflowed_before = overflowed(far);
    await_that("the other listens", || listens(far));
    let sender = sending();
    await_that("the other has half a second", || other.is_done());
    let outcome = sender.stop();
    clean(&outcome);
    let skipped = service(&outcome.snapshot).counters["audio_packets_skipped"];
    other.finish("the other has half a second");
    (overflowed(far) == overflowed_before && skipped == 0)
        .then(|| fs::read(scene.path("theirs.pcm")).unwrap())
}

/// FFmpeg, by the session as ST 2110-30 describes it.
fn ffmpeg_hears(scene: &Scene, format: (u16, u16), packet_time_us: u32) -> Option<Vec<u8>> {
    let (channels, bits) = format;
    let (from, to) = (scene.wire.near.ipv4, scene.wire.far.ipv4);
    let ptime = f64::from(packet_time_us) / 1000.0;
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {from}\r\ns=tidegate\r\nt=0 0\r\nm=audio {PORT} RTP/AVP 97\r\n\
         c=IN IP4 {to}\r\na=rtpmap:97 L{bits}/48000/{channels}\r\na=ptime:{ptime}\r\n\
         a=mediaclk:direct=0\r\n"
    );
    fs::write(scene.path("session.sdp"), sdp).unwrap();
    let mut ffmpeg = scene.ffmpeg();
    ffmpeg.args(["-protocol_whitelist", "file,udp,rtp", "-buffer_size", "8388608"]);
    ffmpeg.args(["-i", "session.sdp", "-t", "0.5", "-c:a", "copy"]);
    ffmpeg.args(["-f", &format!("s{bits}be"), "theirs.pcm"]);
    let other = Other::start(&scene.wire.far, &mut ffmpeg);
    heard(scene, || sender(scene, format, packet_time_us), other)
}

/// GStreamer, by caps.
fn gstreamer_hears(scene: &Scene, format: (u16, u16), packet_time_us: u32) -> Option<Vec<u8>> {
    let (channels, bits) = format;
    let packets = 500_000 / packet_time_us;
    let mut gstreamer = scene.gstreamer();
    gstreamer.args(["udpsrc", "address=0.0.0.0", "buffer-size=8388608"]);
    gstreamer.args([format!("port={PORT}"), format!("num-buffers={packets}")]);
    gstreamer.arg(format!(
        "caps=application/x-rtp,media=audio,clock-rate=48000,encoding-name=L{bits},payload=97,\
         channels={channels}"
    ));
    gstreamer.args(["!", &format!("rtpL{bits}depay"), "!", "filesink", "location=theirs.pcm"]);
    let other = Other::start(&scene.wire.far, gstreamer.stdout(Stdio::null()));
    heard(scene, || sender(scene, format, packet_time_us), other)
}

#[test]
fn we_hear_what_ffmpeg_and_gstreamer_send() {
    require_net!();
    if !ready() {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("sound-in");
    for (format, _) in FORMATS {
        let clip = paint(&scene, format);
        let others: [Speaks; 2] = [ffmpeg_speaks, gstreamer_speaks];
        let others = &others[..if format.0 == 2 { 2 } else { 1 }];
        for other in others {
            we_hear(&scene, format, &clip, *other);
        }
    }
}

/// FFmpeg's packets are as long as fits, of whatever time that is.
fn ffmpeg_speaks(scene: &Scene, (channels, bits): (u16, u16)) -> Command {
    let mut ffmpeg = scene.ffmpeg();
    ffmpeg.args(["-re", "-f", &format!("s{bits}be"), "-ar", "48000"]);
    ffmpeg.args(["-ac", &channels.to_string(), "-i", "clip.pcm", "-c:a"]);
    ffmpeg.args([&format!("pcm_s{bits}be"), "-f", "rtp", "-payload_type", "97"]);
    ffmpeg.arg(format!("rtp://{}:{PORT}?pkt_size=1400", scene.wire.near.ipv4));
    ffmpeg.stdout(Stdio::null());
    ffmpeg
}

/// GStreamer's are of a millisecond.
fn gstreamer_speaks(scene: &Scene, (channels, bits): (u16, u16)) -> Command {
    let mut gstreamer = scene.gstreamer();
    gstreamer.args(["filesrc", "location=clip.pcm", "!", "rawaudioparse", "use-sink-caps=false"]);
    gstreamer.args([&format!("pcm-format=s{bits}be"), "sample-rate=48000"]);
    gstreamer.args([&format!("num-channels={channels}"), "!", "audioconvert", "dithering=none"]);
    gstreamer.args(["!", &format!("audio/x-raw,format=S{bits}BE"), "!"]);
    gstreamer.args([&format!("rtpL{bits}pay"), "pt=97", "min-ptime=1000000", "max-ptime=1000000"]);
    gstreamer.args(["!", "udpsink", &format!("host={}", scene.wire.near.ipv4)]);
    gstreamer.arg(format!("port={PORT}"));
    gstreamer
}

/// What the other sends is in our WAV file, whole.
fn we_hear(scene: &Scene, format: (u16, u16), clip: &[u8], other: Speaks) {
    let ((channels, bits), address) = (format, scene.wire.near.ipv4);
    let receiver = scene.start(&format!(
        "name = \"ears\"\nkind = \"essence-receive\"\n\
         selectors = [{{ destination = \"{address}\", protocol = \"udp\", ports = {PORT} }}]\n\
         [service.options.audio]\nport = {PORT}\nchannels = {channels}\ndepth = {bits}\n\
         sink = \"file\"\npath = \"{}\"\n",
        scene.path("got.wav").display()
    ));
    let mut command = other(scene, format);
    Other::start(&scene.wire.far, &mut command).finish("the other has sent");
    let mut before = 0;
    await_that("silence", || {
        thread::sleep(Duration::from_millis(100));
        let now = receiver.snapshot().totals().1.rx_frames;
        now > 0 && now == std::mem::replace(&mut before, now)
    });
    let outcome = receiver.stop();
    clean(&outcome);
    let service = service(&outcome.snapshot);
    let counters = &service.counters;
    for zero in ["audio_packets_lost", "audio_samples_silent", "audio_samples_dropped"] {
        assert_eq!(counters[zero], 0, "{format:?}: {zero}: {counters:?}");
    }
    assert!(service.drops.values().all(|&count| count == 0), "{format:?}: {:?}", service.drops);
    let mut got = Vec::new();
    for sample in hound::WavReader::open(scene.path("got.wav")).unwrap().into_samples::<i32>() {
        let octets = sample.unwrap().to_be_bytes();
        got.extend_from_slice(&octets[4 - usize::from(bits) / 8..]);
    }
    // A sender of packets of one length may keep the last samples, which do not fill one.
    let frame = usize::from(channels * bits / 8);
    assert!(got.len() > clip.len() - 96 * frame, "{format:?}: {} octets", got.len());
    assert!(clip.starts_with(&got), "{format:?}: other samples");
}
