//! How fast do others take a flood away, on the same wire in the same run?
//!
//!     cargo bench --bench peers            # ROUNDS=7 MILLISECONDS=700, ONLY=nft for one of them
//!
//! All from Debian packages: rules of nftables at ingress (nftables), xdp-filter (xdp-tools), and
//! testpmd of DPDK on AF_XDP (dpdk-dev); beside them an XDP program that only drops, bare AF_XDP
//! rings that only recycle, and scrub. Each has the same ten rules, of which the last one matches;
//! xdp-filter knows neither networks nor ranges, so it has ten ports, and testpmd drops all that it
//! receives. What is missing is left out, and said.
//!
//! The generator is on one core and makes as much as it is let. A veth receives on the processor
//! that sends, so those that drop in the kernel share that core with it, and only what drops in user
//! space has the other one; per second of processor time, the generator's included, they compare
//! best.
#![allow(clippy::print_stdout)] // What a benchmark is for.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::bare::Bare;
use common::{Contender, Lap, Watch, compare, lasting, start, wire};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tidegate::dataplane::steer::{self, Fragments, Prefix, Protocol, Selector, Steering};
use tidegate::dataplane::sys::netlink::Netlink;
use tidegate::lab::flood::{self, Budget, Flood, Kind, Running};
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::{End, Namespace, Wire};

const PORT: u16 = 9;
const RECEIVER_CPU: usize = 0;
const GENERATOR_CPU: usize = 1;

fn main() {
    let wire = wire();
    let wire = &wire;
    let mut contenders = vec![
        Contender::new("bare XDP_DROP", |time| dropping(wire, time)),
        Contender::new("bare rings, recycling", |time| bare(wire, time)),
        Contender::new("scrub, ten rules", |time| scrub(wire, time)),
    ];
    if there("/usr/sbin/nft", "nftables") {
        contenders.push(Contender::new("nftables at ingress", |time| nftables(wire, time)));
    }
    if there("/usr/sbin/xdp-filter", "xdp-tools") {
        contenders.push(Contender::new("xdp-filter, ten ports", |time| xdp_filter(wire, time)));
    }
    if there("/usr/bin/dpdk-testpmd", "dpdk-dev") {
        match Testpmd::start(&wire.near) {
            Ok(_) => contenders
                .push(Contender::new("testpmd, af_xdp, rxonly", |time| testpmd(wire, time))),
            Err(said) => println!("left out: testpmd does not start here: {said}"),
        }
    }
    compare(contenders);
}

fn there(path: &str, package: &str) -> bool {
    let there = Path::new(path).is_file();
    if !there {
        println!("left out: {path} is not installed (Debian: {package})");
    }
    there
}

/// A flood as fast as it goes, for longer than any round.
fn flood(far: &End) -> Running {
    let options = flood::Options::new(Kind::Udp { port: PORT });
    let flood = Flood::new(far, &options).expect("a generator");
    let budget = Budget {
        packets: u64::MAX,
        time: Duration::from_secs(30),
        packets_per_second: None,
        processor: Some(GENERATOR_CPU),
    };
    flood.start(budget).expect("a flood")
}

/// What the wire took in `time`, which somebody at its near end drops: no packet of it comes to the
/// stack's protocols.
fn dropped(wire: &Wire, time: Duration) -> Lap {
    let refused = || wire.far.link().expect("the lab's link").counters.tx_dropped;
    let received = || {
        let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").expect("always there");
        let text = wire.near.namespace.run(read).expect("a thread");
        // Ip: the names, then the values; the third is what came from below.
        let line = text.lines().filter(|line| line.starts_with("Ip:")).nth(1).expect("of IP");
        line.split_whitespace().nth(3).and_then(|it| it.parse::<u64>().ok()).expect("a number")
    };
    let through = received();
    let flood = flood(&wire.far);
    std::thread::sleep(Duration::from_millis(100));
    let (offered, lost, watch) = (flood.offered(), refused(), Watch::start());
    std::thread::sleep(time);
    let lap = watch.lap((flood.offered() - offered) - (refused() - lost));
    flood.stop().expect("what was sent");
    let through = received() - through;
    assert!(through < lap.packets() / 1000, "{through} of {} came through", lap.packets());
    lap
}

fn dropping(wire: &Wire, time: Duration) -> Lap {
    let _sink = Sink::attach(&wire.near, Action::Drop).expect("a sink");
    dropped(wire, time)
}

fn nftables(wire: &Wire, time: Duration) -> Lap {
    // A veth takes what the generator makes only where there is an XDP program; it passes all.
    let _receiver = Sink::attach(&wire.near, Action::Pass).expect("a receiver");
    let others: String = (0..9).map(|n| format!("ip saddr 10.{n}.0.0/16 drop\n")).collect();
    nft(
        &wire.near.namespace,
        &format!(
            "table netdev bench {{ chain before {{
            type filter hook ingress device \"{}\" priority 0;
            {others} ip saddr 198.19.0.0/16 drop
        }}
        }}",
            wire.near.name
        ),
    );
    let lap = dropped(wire, time);
    nft(&wire.near.namespace, "delete table netdev bench");
    lap
}

fn nft(namespace: &Namespace, script: &str) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    let mut child = namespace.spawn(&mut command).expect("nft");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("a script");
    assert!(child.wait().expect("its end").success(), "nft refuses {script}");
}

fn xdp_filter(wire: &Wire, time: Duration) -> Lap {
    // Its parts hang in a file system for BPF objects, so it has one of its own, and as long as the
    // shell waits.
    let name = &wire.near.name;
    let ports: String =
        (0..10).map(|n| format!("&& xdp-filter port {} -m dst -p udp ", PORT + n)).collect();
    let script = format!(
        "mount -t bpf none /sys/fs/bpf && xdp-filter load -m native -p allow -f udp {name} {ports} \
         && echo ready && exec cat"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = wire.near.namespace.spawn(&mut command).expect("unshare");
    let mut lines = BufReader::new(shell.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("text") == "ready"), "xdp-filter does not start");
    let lap = dropped(wire, time);
    let _ = shell.kill();
    let _ = shell.wait();
    bare_again(&wire.near);
    lap
}

/// Takes off a program that was left on the interface.
fn bare_again(end: &End) {
    let mut command = Command::new("ip");
    command.args(["link", "set", "dev", &end.name, "xdp", "off"]);
    let _ = end.namespace.spawn(&mut command).expect("ip").wait();
    let index = end.index;
    let link = end.namespace.run(|| Netlink::open().and_then(|mut it| it.link_by_index(index)));
    assert_eq!(link.expect("a thread").expect("the lab's link").xdp, None, "{} is bare", end.name);
}

fn bare(wire: &Wire, time: Duration) -> Lap {
    let near = &wire.near;
    let round = || {
        let mut cpus = CpuSet::new();
        cpus.set(RECEIVER_CPU).expect("the first CPU");
        sched_setaffinity(Pid::from_raw(0), &cpus).expect("an affinity");
        let steering = Steering::attach(&steering(near)).expect("the steering program");
        let mut bare = Bare::open(&near.name, 0, &[]);
        steering.set_socket(0, bare.fd()).expect("a socket");
        let flood = flood(&wire.far);
        bare.recycle(lasting(Duration::from_millis(100)));
        let watch = Watch::start();
        let lap = watch.lap(bare.recycle(lasting(time)));
        flood.stop().expect("what was sent");
        lap
    };
    near.namespace.run(round).expect("a thread")
}

fn steering(near: &End) -> steer::Options {
    steer::Options {
        interface: near.name.clone(),
        xdp: steer::XdpMode::Native,
        selectors: vec![Selector {
            destination: Prefix::host(near.ipv4.into()),
            source: None,
            protocol: Protocol::UDP,
            destination_ports: Some(PORT..=PORT),
            fragments: Fragments::Pass,
            protection: None,
        }],
    }
}

fn scrub(wire: &Wire, time: Duration) -> Lap {
    let program = start(&wire.near, &config(&wire.near));
    let flood = flood(&wire.far);
    std::thread::sleep(Duration::from_millis(100));
    let received = || program.snapshot().totals().1.rx_frames;
    let (before, watch) = (received(), Watch::start());
    std::thread::sleep(time);
    let lap = watch.lap(received() - before);
    flood.stop().expect("what was sent");
    program.stop();
    lap
}

/// What the scrubber is told.
fn config(near: &End) -> String {
    let others: String =
        (0..9).map(|n| format!("r{n}: drop when ip.src in {{ 10.{n}.0.0/16 }}\n")).collect();
    format!(
        r#"
[runtime]
instance = "bench-peers"
shards = 1
cpus = [{RECEIVER_CPU}]
idle = "spin"
[[interface]]
name = "{}"
[[service]]
name = "shield"
kind = "scrub"
held_frames_max = 4096
selectors = [{{ destination = "{}/32", protocol = "udp", ports = "{PORT}" }}]
[service.options]
rules = '''
{others}spoofed: drop when ip.src in {{ 198.19.0.0/16 }}
'''
"#,
        near.name, near.ipv4
    )
}

/// DPDK's own program, which receives and drops.
struct Testpmd {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Testpmd {
    /// Starts it; what it said last, where it does not.
    fn start(end: &End) -> Result<Self, String> {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "dpdk-testpmd", "--no-pci", "--no-huge", "-m", "256"]);
        command.args(["--no-telemetry", "--file-prefix", "tidegate-bench"]);
        command.args(["--lcores", &format!("0@{GENERATOR_CPU},1@{RECEIVER_CPU}")]);
        command.args(["--vdev", &format!("net_af_xdp0,iface={}", end.name)]);
        command.args(["--", "-i", "--forward-mode=rxonly", "--total-num-mbufs=8192"]);
        command.args(["--rxd=2048", "--txd=2048", "--burst=64"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = end.namespace.spawn(&mut command).map_err(|error| error.to_string())?;
        let input = child.stdin.take().expect("a pipe");
        let (sender, lines) = channel();
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let other = sender.clone();
        std::thread::spawn(move || read(out.expect("a pipe"), &sender));
        std::thread::spawn(move || read(errors.expect("a pipe"), &other));
        let mut it = Self { child, input, lines };
        it.say("start");
        let mut last = String::new();
        loop {
            match it.lines.recv_timeout(Duration::from_secs(10)) {
                Ok(line) if line.contains("forwards packets on") => return Ok(it),
                Ok(line) => last = line,
                Err(_) => return Err(last),
            }
        }
    }

    fn say(&mut self, words: &str) {
        let _ = writeln!(self.input, "{words}");
    }

    /// Packets that it received.
    fn received(&mut self) -> u64 {
        self.say("show port stats 0");
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            if let Some((_, rest)) = line.split_once("RX-packets:") {
                return rest.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0);
            }
        }
        panic!("testpmd says nothing");
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        self.say("quit");
        for _ in 0..50 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(pipe: impl std::io::Read, to: &std::sync::mpsc::Sender<String>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        if to.send(line).is_err() {
            return;
        }
    }
}

fn testpmd(wire: &Wire, time: Duration) -> Lap {
    let mut testpmd = Testpmd::start(&wire.near).expect("it did before");
    let flood = flood(&wire.far);
    std::thread::sleep(Duration::from_millis(100));
    // The child is stdbuf(1), which becomes it.
    let (before, watch) = (testpmd.received(), Watch::start_with(testpmd.child.id()));
    std::thread::sleep(time);
    let lap = watch.lap(testpmd.received() - before);
    flood.stop().expect("what was sent");
    drop(testpmd);
    bare_again(&wire.near);
    lap
}
