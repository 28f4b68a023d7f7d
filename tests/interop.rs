//! Video and sound to and from programs that others wrote, bit for bit: FFmpeg and GStreamer receive
//! what we send, in every packing of every format that they have, and we receive what they send.
//!
//! The picture is FFmpeg's own moving test pattern. It is small and slow, so that a kernel socket
//! with ordinary buffers holds a whole frame. What is lost there all the same, on a machine that is
//! busy with other tests, says nothing about us: the kernel counts it, and then the test tries
//! again.
//!
//! Neither program has 12 or 16 bits. FFmpeg has 4:2:0 in planes, which RFC 4175 does not, and takes
//! no fields; GStreamer counts the lines of a field as those of the frame, which ST 2110-20 does
//! not. What is left is all here.

mod clip;
mod ffmpeg;
mod gstreamer;
mod photos;
mod probe;
mod sound;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate::registry::Registry;
use tidegate::run::{Outcome, Program};
use tidegate_config::Config;
use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

use clip::Clip;

const PORT: u16 = 20_000;

/// Tries, where the kernel says that a program did not get to its socket in time, or we say that our
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
    /// Lays the wire.
    fn set(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tide-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let options = WireOptions { ipv6: false, ..WireOptions::default() };
        Self { wire: Wire::new(&near, &far, &options).unwrap(), directory }
    }

    fn ffmpeg(&self) -> Command {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-y"]).current_dir(&self.directory);
        ffmpeg.stdin(Stdio::null());
        ffmpeg
    }

    fn gstreamer(&self) -> Command {
        let mut gstreamer = Command::new("gst-launch-1.0");
        gstreamer.args(["-q", "-e"]).current_dir(&self.directory);
        // What it knows of its plugins it keeps in a file: ours, and not the user's.
        gstreamer.env("GST_REGISTRY", self.path("registry.bin")).stdin(Stdio::null());
        gstreamer
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// A tidegate at the near end, with one service for pictures of this clip.
    fn tidegate(&self, clip: &Clip, service: &str) -> Program {
        self.start(&format!("{service}\n{}\n", clip.options()))
    }

    /// A tidegate at the near end, with one service.
    fn start(&self, service: &str) -> Program {
        let (interface, pid) = (&self.wire.near.name, std::process::id());
        let name = self.directory.file_name().unwrap().to_str().unwrap();
        let instance = name.trim_end_matches(&format!("-{pid}"));
        let text = format!(
            "[runtime]\ninstance = \"{instance}-{pid}\"\nshards = 1\n\n\
             [[interface]]\nname = \"{interface}\"\n\n[[service]]\n{service}\n"
        );
        let config = Config::parse("interop.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        let start = || Program::start(&config, &Registry::stock());
        self.wire.near.namespace.run(start).unwrap().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Our sender of the clip, in this packing, so many frames of it.
    fn sender(&self, clip: &Clip, packing: &str, frames: usize) -> Program {
        let (near, far) = (&self.wire.near, &self.wire.far);
        self.tidegate(
            clip,
            &format!(
                "name = \"camera\"\nkind = \"stream-send\"\n[service.options]\n\
                 destination = \"{}:{PORT}\"\nsource_address = \"{}:{PORT}\"\n\
                 source = \"{}\"\npacking = \"{packing}\"\nframes = {frames}",
                far.ipv4,
                near.ipv4,
                self.path(clip::WIRE).display()
            ),
        )
    }

    /// Our receiver, which writes what comes to `got.raw`.
    fn receiver(&self, clip: &Clip) -> Program {
        let address = self.wire.near.ipv4;
        self.tidegate(
            clip,
            &format!(
                "name = \"monitor\"\nkind = \"stream-receive\"\n\
                 selectors = [{{ destination = \"{address}\", protocol = \"udp\", ports = {PORT} }}]\n\
                 [service.options]\nport = {PORT}\nsink = \"file\"\npath = \"{}\"",
                self.path("got.raw").display()
            ),
        )
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

/// Datagrams that the kernel threw away at `end` because a socket's buffer was full.
fn overflowed(end: &End) -> u64 {
    let table = end.namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp"));
    let table = table.unwrap().unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "RcvbufErrors").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

fn service(snapshot: &Snapshot) -> &ServiceSnapshot {
    &snapshot.shards[0].services[0]
}

#[track_caller]
fn clean(outcome: &Outcome) {
    assert!(outcome.report.is_clean(), "{:?}", outcome.report);
}

/// Lets another program send, and returns what our receiver counted. Again where our sink's thread
/// did not get to its file.
fn received(scene: &Scene, clip: &Clip, mut send: impl FnMut() -> Command) -> ServiceSnapshot {
    for _ in 0..TRIES {
        let receiver = scene.receiver(clip);
        Other::start(&scene.wire.far, &mut send()).finish("the other has sent");
        // Its last packet is in our ring, or soon will be; a lost one would never come.
        let taken = || receiver.snapshot().totals().1.rx_frames;
        let mut before = 0;
        await_that("silence", || {
            thread::sleep(Duration::from_millis(100));
            let now = taken();
            now > 0 && now == std::mem::replace(&mut before, now)
        });
        let outcome = receiver.stop();
        clean(&outcome);
        let service = service(&outcome.snapshot);
        if service.counters["frames_dropped"] == 0 {
            return service.clone();
        }
    }
    panic!("no sink that keeps up");
}

/// Asserts that we got the whole clip, and nothing else.
#[track_caller]
fn is_whole(scene: &Scene, clip: &Clip, service: &ServiceSnapshot) {
    let counters = &service.counters;
    assert_eq!(counters["frames_written"], clip.wire.len() as u64, "{clip:?}: {service:?}");
    for zero in ["packets_lost", "frames_cut", "frames_incomplete", "restarts"] {
        assert_eq!(counters[zero], 0, "{clip:?}: {zero}: {counters:?}");
    }
    assert!(service.drops.values().all(|&count| count == 0), "{clip:?}: {:?}", service.drops);
    let octets = fs::read(scene.path("got.raw")).unwrap();
    assert!(octets == clip.wire.concat(), "{clip:?}: other pixels");
}
