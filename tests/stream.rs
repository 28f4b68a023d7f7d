//! Video over a real link: the program sends in one namespace and receives in another.

mod membership;
mod paths;
mod pipes;
mod programme;
mod route;
mod sdp;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tidegate::lab::{Namespace, Wire, WireOptions};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const FRAMES: u64 = 40;

/// Packets of a frame: 360 lines of two, each of 800 octets of pixels.
const PACKETS: u64 = 720;

/// Packets of a group: CMAX of wide, for a small picture.
const GROUP: u64 = 16;

const PICTURE: &str = "width = 640\nheight = 360\nrate = \"50\"\ndepth = 10\n";

/// A directory for sockets and configs, ours alone, that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, running; ended with the test, however that ends.
struct Running {
    child: Child,
    socket: PathBuf,
}

impl Running {
    fn start(place: &Namespace, scratch: &Path, name: &str, rest: &str) -> Self {
        Self::start_with(place, scratch, name, rest, |_| {})
    }

    /// The same, with other standard input and output.
    fn start_with(
        place: &Namespace,
        scratch: &Path,
        name: &str,
        rest: &str,
        alter: impl FnOnce(&mut Command),
    ) -> Self {
        let socket = scratch.join(format!("{name}.sock"));
        let config = scratch.join(format!("{name}.toml"));
        let runtime = format!(
            "[runtime]\ninstance = {name:?}\ncontrol_socket = {:?}\n",
            socket.to_str().unwrap()
        );
        fs::write(&config, runtime + rest).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--config").arg(config);
        alter(&mut command);
        let child = place.spawn(&mut command).unwrap();
        Self { child, socket }
    }

    /// What `stats` says; `None` while the program does not answer.
    fn stats(&self) -> Option<Value> {
        let output = Command::new(PROGRAM)
            .args(["stats", "--json", "--socket"])
            .arg(&self.socket)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// What it says to an operator.
    fn text(&self) -> String {
        let mut command = Command::new(PROGRAM);
        let output = command.args(["stats", "--socket"]).arg(&self.socket).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks until what it says is as wanted.
    fn until(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.stats();
            if let Some(stats) = stats.as_ref().filter(|stats| wanted(stats)) {
                return stats.clone();
            }
            assert!(self.child.try_wait().unwrap().is_none(), "ended, waiting for {what}");
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {stats:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn counter(stats: &Value, name: &str) -> u64 {
    stats["shards"][0]["services"][0]["counters"][name].as_u64().unwrap_or(0)
}

#[test]
fn every_packet_is_verified_or_counted() {
    require_net!();
    let _alone = crate::require::alone();
    let scratch = Scratch::new("stream");
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
    let (here, there) = (&wire.near, &wire.far);

    let receives = format!(
        "[[interface]]\nname = {:?}\n[[service]]\nname = \"screen\"\nkind = \"stream-receive\"\n\
         selectors = [{{ destination = \"{}\", protocol = \"udp\", ports = 20000 }}]\n\
         [service.options]\nport = 20000\nsink = \"verify\"\n{PICTURE}",
        here.name, here.ipv4,
    );
    let mut receiver = Running::start(&near, &scratch.0, "screen", &receives);
    // It answers before it is ready; what arrives until then stays with the kernel.
    receiver.until("the receiver", |stats| stats["shards"][0]["stats"]["turns"].as_u64() > Some(0));

    // The link address is the kernel's to know.
    let sends = format!(
        "[[interface]]\nname = {:?}\n[[service]]\nname = \"camera\"\nkind = \"stream-send\"\n\
         [service.options]\ndestination = \"{}:20000\"\nsource_address = \"{}:20000\"\n\
         frames = {FRAMES}\n{PICTURE}",
        there.name, here.ipv4, there.ipv4,
    );
    let mut sender = Running::start(&far, &scratch.0, "camera", &sends);
    let sent = sender.until("all frames", |stats| counter(stats, "frames_sent") == FRAMES);
    assert_eq!(counter(&sent, "packets_sent"), FRAMES * PACKETS);
    // Each group goes out by one wake-up; one more now and then, where the kernel had no memory.
    let stats = &sent["shards"][0]["ports"][0]["stats"];
    let (wakes, groups) = (stats["tx_wakes"].as_u64().unwrap(), FRAMES * PACKETS / GROUP);
    assert!((groups..groups + groups / 50).contains(&wakes), "{wakes} for {groups}: {stats}");

    let redirected = |stats: &Value| stats["steering"][0]["counters"]["redirected"].as_u64();
    let mut before = None;
    let received = receiver.until("every packet", |stats| {
        // All are on their way to the socket, and what it does with them has come to rest.
        let frames = counter(stats, "frames_verified") + counter(stats, "frames_dropped");
        let now = Some(counter(stats, "packets_received"));
        redirected(stats) == Some(FRAMES * PACKETS)
            && frames == counter(stats, "frames_received")
            && std::mem::replace(&mut before, now) == now
    });
    // All came to the socket. A busy machine may let its rings run over; what is lost there is
    // known, but for what no later packet shows.
    let missing = FRAMES * PACKETS - counter(&received, "packets_received");
    assert!(counter(&received, "packets_lost") <= missing, "{received}");
    assert!(counter(&received, "frames_verified") > 0, "{received}");
    for zero in ["frames_wrong", "packets_duplicate", "packets_reordered", "restarts"] {
        assert_eq!(counter(&received, zero), 0, "{zero}: {received}");
    }
    assert_eq!(received["conservation"]["unaccounted"], 0);
    // Every frame was judged by the sender, and what it is stands beside it.
    let classes = ["frames_narrow", "frames_wide", "frames_of_no_class"];
    let judged: u64 = classes.iter().map(|name| counter(&sent, name)).sum();
    assert_eq!(judged, FRAMES, "{sent}");
    let words = |stats: &Value| stats["shards"][0]["services"][0]["words"].clone();
    assert_eq!(words(&sent)["format"], "640x360 at 50, 4:2:2 10 bit");
    assert_eq!(words(&sent)["class_asked"], "wide");
    assert_ne!(words(&sent)["class_held"], "unmeasured");
    assert_eq!(
        (&words(&sent)["measured_by"], &words(&received)["measured_by"]),
        (&"hand-over".into(), &"arrival".into())
    );
    // What has an end is on the record of the receiver, too.
    let classes = [&classes[..], &["frames_unjudged"]].concat();
    let seen: u64 = classes.iter().map(|name| counter(&received, name)).sum();
    assert!((1..FRAMES).contains(&seen), "{received}");
    let text = sender.text();
    assert!(text.contains("\ncamera  wide   "), "{text}");
    assert!(sender.stop().success());
    assert!(receiver.stop().success());
}
