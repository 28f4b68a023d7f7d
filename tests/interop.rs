//! Video to and from programs that others wrote, bit for bit: FFmpeg receives what we send, by an
//! SDP, and we receive what FFmpeg sends.
//!
//! The picture is FFmpeg's own moving test pattern, packed by its `bitpacked` encoder, which is
//! what RFC 4175 calls pgroups. It is small and slow, so that a kernel socket with ordinary buffers
//! holds a whole frame. What is lost there all the same, on a machine that is busy with other
//! tests, says nothing about us: the kernel counts it, and then the test tries again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate::registry::Registry;
use tidegate::run::{Outcome, Program};
use tidegate_config::Config;
use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

use crate::require;

const PORT: u16 = 20_000;
/// 4:2:2 with 10 bits: five octets for two pixels.
const FRAME_OCTETS: usize = 320 * 180 / 2 * 5;
/// Packets that our sender makes of a frame: one for each line.
const FRAME_PACKETS: u64 = 180;
/// Frames of the clip, all different.
const CLIP_FRAMES: usize = 12;
/// The same for our services.
const FORMAT: &str = "width = 320\nheight = 180\nrate = \"10\"\ndepth = 10";

/// Tries, where the kernel says that FFmpeg did not get to its socket in time, or we say that our
/// sink's thread did not get to its file.
const TRIES: u32 = 4;

/// A second of video takes a second; a busy machine needs some more to start programs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files and a wire, gone with it.
struct Scene {
    directory: PathBuf,
    wire: Wire,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Scene {
    /// Lays the wire and has FFmpeg paint the clip, `clip.raw`.
    fn set(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tide-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let options = WireOptions { ipv6: false, ..WireOptions::default() };
        let scene = Self { wire: Wire::new(&near, &far, &options).unwrap(), directory };
        let mut ffmpeg = scene.ffmpeg();
        ffmpeg.args(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=10", "-frames:v"]);
        ffmpeg.arg(CLIP_FRAMES.to_string()).args(["-pix_fmt", "yuv422p10le"]);
        ffmpeg.args(["-c:v", "bitpacked", "-f", "rawvideo", "clip.raw"]);
        assert!(ffmpeg.status().unwrap().success());
        let clip = scene.frames("clip.raw");
        let different: BTreeSet<_> = clip.iter().collect();
        assert_eq!((clip.len(), different.len()), (CLIP_FRAMES, CLIP_FRAMES));
        scene
    }

    fn ffmpeg(&self) -> Command {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-y"]).current_dir(&self.directory);
        ffmpeg.stdin(Stdio::null());
        ffmpeg
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// A file of pgroups, cut into whole frames.
    fn frames(&self, file: &str) -> Vec<Vec<u8>> {
        let octets = fs::read(self.path(file)).unwrap();
        assert_eq!(octets.len() % FRAME_OCTETS, 0, "{file} ends within a frame");
        octets.chunks(FRAME_OCTETS).map(<[u8]>::to_vec).collect()
    }

    /// A tidegate at the near end, with one service.
    fn tidegate(&self, service: &str) -> Program {
        let (interface, pid) = (&self.wire.near.name, std::process::id());
        let name = self.directory.file_name().unwrap().to_str().unwrap();
        let instance = name.trim_end_matches(&format!("-{pid}"));
        let text = format!(
            "[runtime]\ninstance = \"{instance}-{pid}\"\nshards = 1\n\n\
             [[interface]]\nname = \"{interface}\"\n\n[[service]]\n{service}\n{FORMAT}\n"
        );
        let config = Config::parse("interop.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        let start = || Program::start(&config, &Registry::stock());
        self.wire.near.namespace.run(start).unwrap().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A program of others at the far end, killed if it is still there.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Other {
    fn start(end: &End, command: &mut Command) -> Self {
        Self(end.namespace.spawn(command).unwrap())
    }

    fn is_done(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end, which must be a good one.
    fn finish(mut self, what: &str) {
        await_that(what, || self.is_done());
        assert!(self.0.wait().unwrap().success(), "{what}");
    }
}

#[track_caller]
fn await_that(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a UDP socket of `end`'s namespace listens on the port.
fn listens(end: &End) -> bool {
    let table = end.namespace.run(|| fs::read_to_string("/proc/thread-self/net/udp"));
    table.unwrap().unwrap().contains(&format!(":{PORT:04X} "))
}

/// Whether a packet socket is open in `end`'s namespace.
fn captures(end: &End) -> bool {
    let table = end.namespace.run(|| fs::read_to_string("/proc/thread-self/net/packet"));
    table.unwrap().unwrap().lines().count() > 1
}

fn service(snapshot: &Snapshot) -> &ServiceSnapshot {
    &snapshot.shards[0].services[0]
}

#[track_caller]
fn clean(outcome: &Outcome) {
    assert!(outcome.report.is_clean(), "{:?}", outcome.report);
}

/// The session as ST 2110-20, section 7, describes it.
fn sdp(wire: &Wire) -> String {
    let (from, to) = (wire.near.ipv4, wire.far.ipv4);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {from}\r\ns=tidegate\r\nt=0 0\r\nm=video {PORT} RTP/AVP 96\r\n\
         c=IN IP4 {to}\r\na=rtpmap:96 raw/90000\r\n\
         a=fmtp:96 sampling=YCbCr-4:2:2; width=320; height=180; exactframerate=10; depth=10; \
         TCS=SDR; colorimetry=BT709; PM=2110GPM; SSN=ST2110-20:2017; TP=2110TPW;\r\n\
         a=mediaclk:direct=0\r\n"
    )
}

/// Asserts that `got` is the clip, repeated, from any frame on.
fn is_the_clip_repeated(got: &[Vec<u8>], clip: &[Vec<u8>]) {
    let start = clip.iter().position(|frame| *frame == got[0]).expect("the first is of the clip");
    for (index, frame) in got.iter().enumerate() {
        assert!(*frame == clip[(start + index) % clip.len()], "frame {index} of {}", got.len());
    }
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

/// Datagrams that the kernel threw away at `end` because a socket's buffer was full.
fn overflowed(end: &End) -> u64 {
    let table = end.namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp"));
    let table = table.unwrap().unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "RcvbufErrors").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn ffmpeg_receives_what_we_send_and_tshark_misses_no_packet() {
    require_net!();
    if !["ffmpeg", "tcpdump", "tshark"].iter().all(|name| require::program(name)) {
        return;
    }
    let _alone = require::alone();
    assert!((0..TRIES).any(|_| to_ffmpeg()), "FFmpeg never read its socket in time");
}

/// Returns false where the kernel lost what FFmpeg did not fetch.
fn to_ffmpeg() -> bool {
    let scene = Scene::set("to-ffmpeg");
    let (near, far) = (&scene.wire.near, &scene.wire.far);
    fs::write(scene.path("session.sdp"), sdp(&scene.wire)).unwrap();

    // FFmpeg gives a frame when the next one begins, so it gets two more than it is asked for.
    let (wanted, frames) = (2 * CLIP_FRAMES, 2 * CLIP_FRAMES + 2);
    let packets = frames as u64 * FRAME_PACKETS;
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-i", &far.name, "-c", &packets.to_string(), "-B", "16384", "-Z", "root", "-w"]);
    tcpdump.arg(scene.path("stream.pcap")).args(["udp", "port", &PORT.to_string()]);
    let tcpdump = Other::start(far, tcpdump.stderr(Stdio::null()));
    let mut ffmpeg = scene.ffmpeg();
    ffmpeg.args(["-protocol_whitelist", "file,udp,rtp", "-buffer_size", "8388608"]);
    ffmpeg.args(["-i", "session.sdp", "-frames:v", &wanted.to_string()]);
    ffmpeg.args(["-fps_mode", "passthrough", "-c:v", "bitpacked", "-f", "rawvideo", "got.raw"]);
    let mut ffmpeg = Other::start(far, &mut ffmpeg);
    await_that("FFmpeg listens", || listens(far));
    await_that("tcpdump captures", || captures(far));

    let clip = scene.path("clip.raw");
    let sender = scene.tidegate(&format!(
        "name = \"camera\"\nkind = \"stream-send\"\n[service.options]\n\
         destination = \"{}:{PORT}\"\nsource_address = \"{}:{PORT}\"\n\
         source = \"{}\"\nframes = {frames}",
        far.ipv4,
        near.ipv4,
        clip.display()
    ));
    // What we do is right or wrong whatever FFmpeg gets.
    tcpdump.finish("tcpdump has all packets");
    await_that("FFmpeg has its frames", || ffmpeg.is_done() || overflowed(far) > 0);
    let outcome = sender.stop();
    clean(&outcome);
    assert_eq!(service(&outcome.snapshot).counters["packets_sent"], packets);
    assert_eq!(streams_by_tshark(&scene.path("stream.pcap")), (0, packets));

    if overflowed(far) > 0 {
        return false;
    }
    ffmpeg.finish("FFmpeg has its frames");
    let got = scene.frames("got.raw");
    assert_eq!(got.len(), wanted);
    is_the_clip_repeated(&got, &scene.frames("clip.raw"));
    true
}

/// FFmpeg sends the clip, its first packet with the number `first`, and we write it to a file.
fn from_ffmpeg(name: &str, first: u16) -> (Scene, Outcome) {
    let in_time = |(_, outcome): &(Scene, Outcome)| {
        service(&outcome.snapshot).counters["frames_dropped"] == 0
    };
    let mut tries = (0..TRIES).map(|_| try_from_ffmpeg(name, first));
    tries.find(in_time).expect("a sink that keeps up")
}

fn try_from_ffmpeg(name: &str, first: u16) -> (Scene, Outcome) {
    let scene = Scene::set(name);
    let (near, far) = (&scene.wire.near, &scene.wire.far);
    let address = near.ipv4;
    let receiver = scene.tidegate(&format!(
        "name = \"monitor\"\nkind = \"stream-receive\"\n\
         selectors = [{{ destination = \"{address}\", protocol = \"udp\", ports = {PORT} }}]\n\
         [service.options]\nport = {PORT}\nsink = \"file\"\npath = \"{}\"",
        scene.path("got.raw").display()
    ));
    let mut ffmpeg = scene.ffmpeg();
    ffmpeg.args(["-re", "-f", "bitpacked", "-pixel_format", "yuv422p10le"]);
    ffmpeg.args(["-video_size", "320x180", "-framerate", "10", "-i", "clip.raw"]);
    // Without a word about fields it sends two of them for each frame.
    ffmpeg.args(["-c:v", "bitpacked", "-field_order", "progressive"]);
    ffmpeg.args(["-f", "rtp", "-payload_type", "96", "-seq", &first.to_string()]);
    ffmpeg.arg(format!("rtp://{address}:{PORT}?pkt_size=1400")).stdout(Stdio::null());
    Other::start(far, &mut ffmpeg).finish("FFmpeg has sent");
    // Its last packet is in our ring, or soon will be; a lost one would never come.
    let sent = || receiver.snapshot().totals().1.rx_frames;
    let mut before = 0;
    await_that("silence", || {
        thread::sleep(Duration::from_millis(100));
        let now = sent();
        now > 0 && now == std::mem::replace(&mut before, now)
    });
    let outcome = receiver.stop();
    clean(&outcome);
    (scene, outcome)
}

#[test]
fn we_receive_what_ffmpeg_sends() {
    require_net!();
    if !require::program("ffmpeg") {
        return;
    }
    let _alone = require::alone();
    let (scene, outcome) = from_ffmpeg("from-ffmpeg", 7);
    let counters = &service(&outcome.snapshot).counters;
    assert_eq!(counters["frames_written"], CLIP_FRAMES as u64, "{:?}", outcome.snapshot);
    assert_eq!((counters["packets_lost"], counters["frames_cut"]), (0, 0));
    assert!(scene.frames("got.raw") == scene.frames("clip.raw"), "{counters:?}");
}

/// FFmpeg leaves the extended half at 0 for good, as GStreamer does.
#[test]
fn a_sender_that_counts_with_16_bits_only_may_wrap_within_a_frame() {
    require_net!();
    if !require::program("ffmpeg") {
        return;
    }
    let _alone = require::alone();
    let (scene, outcome) = from_ffmpeg("wrapping", 65_300);
    let counters = &service(&outcome.snapshot).counters;
    assert_eq!((counters["packets_lost"], counters["restarts"]), (0, 0), "{counters:?}");
    assert!(scene.frames("got.raw") == scene.frames("clip.raw"), "{counters:?}");
}
