//! How fast does one core take a flood away: bare rings that only recycle, and scrub with a thousand rules?
//!
//! The generator is on the other core, and sends as fast as it can. What the receiver took from its
//! ring is counted; what the kernel lost for want of a free chunk is not.
mod common;

use std::time::Duration;

use common::bare::Bare;
use common::{Contender, Lap, Watch, compare, lasting, start, wire};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tidegate::dataplane::steer::{self, Fragments, Prefix, Protocol, Selector, Steering};
use tidegate::lab::End;
use tidegate::lab::flood::{self, Budget, Flood, Kind, Running};

const PORT: u16 = 9;
const RECEIVER_CPU: usize = 0;
const GENERATOR_CPU: usize = 1;

fn main() {
    let wire = wire();
    compare(vec![
        Contender::new("bare rings, recycling", |time| bare(&wire.near, &wire.far, time)),
        Contender::new("scrub, 1,000 rules, dropping", |time| scrub(&wire.near, &wire.far, time)),
    ]);
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

fn bare(near: &End, far: &End, time: Duration) -> Lap {
    let round = || {
        let mut cpus = CpuSet::new();
        cpus.set(RECEIVER_CPU).expect("the first CPU");
        sched_setaffinity(Pid::from_raw(0), &cpus).expect("an affinity");
        let options = steer::Options {
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
        };
        let steering = Steering::attach(&options).expect("the steering program");
        let mut bare = Bare::open(&near.name, 0, &[]);
        steering.set_socket(0, bare.fd()).expect("a socket");
        let flood = flood(far);
        bare.recycle(lasting(Duration::from_millis(100)));
        let watch = Watch::start();
        let lap = watch.lap(bare.recycle(lasting(time)));
        flood.stop().expect("what was sent");
        lap
    };
    near.namespace.run(round).expect("a thread")
}

fn scrub(near: &End, far: &End, time: Duration) -> Lap {
    let rule = |n: usize| {
        let (low, high) = (n % 250, n / 250);
        let when = match n % 4 {
            0 => format!("ip.src in {{ 10.{high}.{low}.0/24 }}"),
            1 => format!("udp.srcport == {n} and payload[0:4] == 17:00:{low:02x}:2a"),
            2 => format!("ip.src == 172.16.{high}.{low} and ip.len >= 512"),
            _ => format!("tcp.dstport == {n} and tcp.flags.syn"),
        };
        format!("r{n}: drop when {when}\n")
    };
    let rules: String = (1..1000).map(rule).collect();
    let program = start(
        near,
        &format!(
            r#"
[runtime]
instance = "bench-rx"
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
default drop
{rules}spoofed: drop when ip.src in {{ 198.19.0.0/16 }}
'''
"#,
            near.name, near.ipv4
        ),
    );
    let flood = flood(far);
    std::thread::sleep(Duration::from_millis(100));
    let received = || program.snapshot().totals().1.rx_frames;
    let (before, watch) = (received(), Watch::start());
    std::thread::sleep(time);
    let lap = watch.lap(received() - before);
    flood.stop().expect("what was sent");
    program.stop();
    lap
}
