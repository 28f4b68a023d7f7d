//! It leaves, asked or not, in the middle of it all.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate::lab::Wire;
use tidegate::lab::flood::Generator;
use tidegate::lab::sink::{Action, Sink};
use tidegate::stream::timing::Rate;
use tidegate::stream::video::format::{Depth, Format};
use tidegate_runtime::control;
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::{
    PACE, ROOMY, Stage, WireOptions, all_answered, ask, config, flood, ports, scrub, server,
    service, soon, steered, wire,
};
use crate::require;

/// A picture of 640 by 360, 25 times a second: some 9,000 packets in that time.
pub(super) fn camera(wire: &Wire) -> String {
    let (from, to) = (wire.near.ipv4, wire.far.ipv4);
    format!(
        r#"
[[service]]
name = "camera"
kind = "stream-send"
[service.options]
destination = "{to}:20000"
source_address = "{from}:20000"
width = 640
height = 360
rate = "25"
depth = 10
"#
    )
}

pub(super) fn packets_per_frame() -> u64 {
    let rate: Rate = "25".parse().unwrap();
    Format::new(640, 360, Depth::Ten, rate).unwrap().packets_per_frame().into()
}

#[test]
fn a_sender_ends_with_a_whole_frame_and_all_that_it_sent_arrives() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let sink = Sink::attach(&wire.far, Action::Drop).unwrap();
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &camera(&wire)));
    let sent = || ports(&stage.program.snapshot(), "tide1").tx_frames;
    assert!(soon(|| sent() > 5_000));
    let outcome = stage.leave();
    let (port, camera) = (ports(&outcome.snapshot, "tide1"), service(&outcome.snapshot, "camera"));
    let frames = camera.counters["frames_sent"];
    assert_eq!(frames * packets_per_frame(), camera.counters["packets_sent"]);
    assert_eq!(camera.counters["packets_sent"], port.tx_frames);
    let dropped = wire.near.link().unwrap().counters.tx_dropped;
    let arrived = || sink.arrived().unwrap().packets;
    assert!(soon(|| arrived() + dropped == port.tx_frames), "{} {dropped} {port:#?}", arrived());
}

#[test]
fn a_scrubber_settles_all_that_it_was_given_before_it_leaves_a_flood() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    let flood = stage.flood(None, Generator::Auto);
    let asked = ask(&wire, 100);
    let came = || ports(&stage.program.snapshot(), "tide1").rx_frames;
    assert!(soon(|| came() > 100_000));
    let outcome = stage.leave();
    flood.stop().unwrap();
    asked.stop().unwrap();
    // Steering went with the program, and what it had left to the kernel until then was told.
    let port = ports(&outcome.snapshot, "tide1");
    assert!(steered(&outcome.snapshot, "pass_gate_closed") > 0);
    assert_eq!(port.settled_drop, service(&outcome.snapshot, "shield").drops["rule"]);
    assert_eq!(port.reinject_refused_packets, 0);
    server.stop().unwrap();
}

/// The shipped binary as a process in the near namespace.
struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    fn start(wire: &Wire, text: &str) -> Self {
        let instance = text.split('"').nth(1).unwrap();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{instance}.toml"));
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--config"]).arg(&file).stderr(Stdio::piped());
        let child = wire.near.namespace.spawn(&mut command).unwrap();
        let socket = control::socket_path(&control::directory(), instance).unwrap();
        Self { child, socket }
    }

    /// What it counts now, once it is there.
    fn snapshot(&self) -> Option<Snapshot> {
        let answer = control::request(&self.socket, "stats").ok()?;
        serde_json::from_value(answer).ok()
    }

    /// Whether it is ready for packets: it answers before it is.
    fn is_ready(&self) -> bool {
        self.snapshot().is_some_and(|it| !it.steering.is_empty() && !it.shards.is_empty())
    }

    /// Frames that it received and sent.
    fn frames(&self) -> u64 {
        let port = self.snapshot().map(|it| ports(&it, "tide1")).unwrap_or_default();
        port.rx_frames + port.tx_frames
    }

    fn end(&mut self, signal: Signal) -> (ExitStatus, String) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where a test failed; after `end` there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What only one that was killed leaves behind: the next of its name would take it over.
        for left in ["sock", "lock"] {
            let _ = fs::remove_file(self.socket.with_extension(left));
        }
    }
}

#[test]
fn the_binary_ends_in_order_when_it_is_terminated_while_it_sends() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let sink = Sink::attach(&wire.far, Action::Drop).unwrap();
    let mut process = Process::start(&wire, &config(&wire, ROOMY, &camera(&wire)));
    assert!(soon(|| process.frames() > 2_000));
    let (status, log) = process.end(Signal::SIGTERM);
    assert!(status.success(), "{status}\n{log}");
    let sent = sink.arrived().unwrap().packets + wire.near.link().unwrap().counters.tx_dropped;
    assert!(sent > 2_000);
    assert_eq!(sent % packets_per_frame(), 0, "half a frame of {sent} packets");
    assert_eq!(wire.near.link().unwrap().xdp, None);
}

#[test]
fn the_binary_ends_in_order_when_it_is_terminated_in_a_flood() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let mut process = Process::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    assert!(soon(|| process.is_ready()));
    let flood = flood(&wire, None, Generator::Auto);
    assert!(soon(|| process.frames() > 50_000));
    let (status, log) = process.end(Signal::SIGTERM);
    flood.stop().unwrap();
    assert!(status.success(), "{status}\n{log}");
    assert!(log.contains("unaccounted=0"), "{log}");
    assert_eq!(wire.near.link().unwrap().xdp, None);
}

#[test]
fn a_killed_binary_leaves_the_kernel_its_packets_and_can_start_again_at_once() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    // Questions reach the port by the service alone: it drops all of them.
    let text = config(
        &wire,
        ROOMY,
        &scrub(&wire).replace("\"spoofed: drop", "\"default drop\\nspoofed: drop"),
    );
    let mut process = Process::start(&wire, &text);
    assert!(soon(|| process.is_ready()));
    // Through the kernel's stack, so that they go on when nothing is attached.
    let flood = flood(&wire, Some(PACE), Generator::Packets);
    assert!(soon(|| process.frames() > 10_000));
    let links = || wire.near.namespace.netlink().unwrap().links().unwrap().len();
    let (with, heard) = (links(), server.heard(b'A'));
    let asked = ask(&wire, 10_000);
    assert!(soon(|| asked.testimony().sent > 100));
    assert_eq!((heard, server.heard(b'A')), (0, 0));

    process.end(Signal::SIGKILL);
    let killed = Instant::now();
    assert!(soon(|| server.heard(b'A') > 0));
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert!(soon(|| wire.near.link().unwrap().xdp.is_none()));
    assert!(soon(|| links() < with), "the TAP device is still there");

    let mut again = Process::start(&wire, &text);
    assert!(soon(|| again.frames() > 10_000));
    // What was in the socket is read by now.
    thread::sleep(Duration::from_millis(100));
    let (heard, sent) = (server.heard(b'A'), asked.testimony().sent);
    assert!(soon(|| asked.testimony().sent > sent + 100));
    assert_eq!(server.heard(b'A'), heard, "it scrubs again");
    flood.stop().unwrap();
    drop(asked);
    let (status, log) = again.end(Signal::SIGTERM);
    assert!(status.success(), "{status}\n{log}");
    server.stop().unwrap();
}

#[test]
fn it_comes_and_goes_in_a_flood_and_those_who_ask_hardly_notice() {
    require_net!();
    let _alone = require::alone();
    const TIMES: u64 = 5;
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    let links = || wire.near.namespace.netlink().unwrap().links().unwrap().len();
    let before = links();
    let flood = flood(&wire, Some(20_000), Generator::Packets);
    let asked = ask(&wire, 2_000);
    let mut named = 0;
    for _ in 0..TIMES {
        let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
        let came = || ports(&stage.program.snapshot(), "tide1").rx_frames;
        assert!(soon(|| came() > 2_000));
        let outcome = stage.leave();
        named += ports(&outcome.snapshot, "tide1").kernel_losses();
        assert_eq!(wire.near.link().unwrap().xdp, None);
        assert_eq!(links(), before, "something was left behind");
        thread::sleep(Duration::from_millis(50));
    }
    let testimony = asked.wait().unwrap();
    flood.stop().unwrap();
    let dropped = wire.far.link().unwrap().counters.tx_dropped + named;
    // A veth empties its ring uncounted when a program comes or goes: rarely one is in it.
    all_answered(&testimony, dropped + 2 * TIMES);
    server.stop().unwrap();
}
