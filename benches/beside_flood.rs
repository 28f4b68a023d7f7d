//! Does 1080p50 leave in time while a flood is scrubbed: by the same shard, and by another?
//!
//! 1080p50 4:2:2 10 bit is 216,000 packets and 2.16 Gbit a second, paced for 30 s (`SECONDS`) in
//! class wide. The same shard scrubs half a million packets a second beside it, and the generator
//! has the other core; then another shard scrubs a million, and the generator runs wherever the
//! scheduler finds room, which is the harder case. What arrives at the far ends is counted by XDP.

#![allow(clippy::cast_precision_loss)] // Shares to be looked at.
#![allow(clippy::print_stdout)] // What a benchmark is for.

mod common;

use std::num::NonZeroU64;
use std::time::Duration;

use common::{number, receive_on, start, wire_of};
use tidegate::lab::Namespace;
use tidegate::lab::flood::{self, Budget, Flood, Kind};
use tidegate::lab::sink::{Action, Sink};
use tidegate::runtime::metrics::snapshot::Snapshot;

const PORT: u16 = 9;

struct Case {
    name: &'static str,
    shards: u32,
    flood_packets_per_second: u64,
    generator_cpu: Option<usize>,
}

const CASES: [Case; 2] = [
    Case {
        name: "by the same shard",
        shards: 1,
        flood_packets_per_second: 500_000,
        generator_cpu: Some(1),
    },
    Case {
        name: "by another shard",
        shards: 2,
        flood_packets_per_second: 1_050_000,
        generator_cpu: None,
    },
];

fn main() {
    common::privileged();
    let only = std::env::var("ONLY").unwrap_or_default();
    for case in CASES.iter().filter(|case| case.name.contains(&only)) {
        measure(case);
    }
}

fn measure(case: &Case) {
    let seconds = number("SECONDS", 30);
    let rate = case.flood_packets_per_second;
    let (near, far) = (Namespace::new().expect("near"), Namespace::new().expect("far"));
    let (video, sea) = (wire_of(&near, &far, 1), wire_of(&near, &far, 2));
    let sink = Sink::attach(&video.far, Action::Drop).expect("a sink");
    receive_on(&video.far, 1);
    let program = start(
        &video.near,
        &format!(
            r#"
[runtime]
instance = "bench-beside"
shards = {shards}
cpus = {cpus}
idle = "5us"
[[interface]]
name = "{video}"
[[interface]]
name = "{sea}"
umem = {{ frames = 16384 }}
ring_entries = 8192
[[service]]
name = "camera"
kind = "stream-send"
interface = "{video}"
cores = [0]
[service.options]
interface = "{video}"
destination = "{to}:9"
source_address = "{from}:9"
width = 1920
height = 1080
rate = "50"
depth = 10
class = "wide"
[[service]]
name = "shield"
kind = "scrub"
interface = "{sea}"
cores = [{scrubs}]
held_frames_max = 8192
selectors = [{{ destination = "{protected}/32", protocol = "udp", ports = "{PORT}" }}]
[service.options]
rules = """
    default drop
    spoofed: drop when ip.src in {{ 198.19.0.0/16 }}
"""
"#,
            shards = case.shards,
            cpus = if case.shards == 1 { "[0]" } else { "[0, 1]" },
            scrubs = case.shards - 1,
            video = video.near.name,
            sea = sea.near.name,
            to = video.far.ipv4,
            from = video.near.ipv4,
            protected = sea.near.ipv4,
        ),
    );
    let options = flood::Options::new(Kind::Udp { port: PORT });
    let flood = Flood::new(&sea.far, &options).expect("a generator");
    let flood = flood.start(Budget {
        packets: u64::MAX,
        time: Duration::from_secs(seconds + 5),
        packets_per_second: NonZeroU64::new(rate),
        processor: case.generator_cpu,
    });
    let flood = flood.expect("a flood");
    std::thread::sleep(Duration::from_secs(seconds));
    let before_stop = program.snapshot();
    let (_, sent) = flood.stop().expect("what was sent");
    let outcome = program.stop();

    let snapshot = &outcome.snapshot;
    let count = |name| counter(snapshot, "camera", name);
    let arrived = sink.arrived().expect("a count").packets;
    let shield = service(snapshot, "shield");
    let (_, ports, _) = snapshot.totals();
    println!("{seconds} s of 1080p50 4:2:2 10 bit, a flood scrubbed {}", case.name);
    println!(
        "  frames sent {}, late {}, skipped {}",
        count("frames_sent"),
        count("frames_late"),
        count("frames_skipped")
    );
    let share = |name| count(name) as f64 * 100.0 / count("frames_sent").max(1) as f64;
    println!(
        "  narrow {:.2} %, wide {:.2} %, of no class {:.2} %",
        share("frames_narrow"),
        share("frames_narrow_linear") + share("frames_wide"),
        share("frames_of_no_class"),
    );
    println!(
        "  packets sent {}, arrived {arrived}, groups late {}",
        count("packets_sent"),
        count("groups_late")
    );
    println!(
        "  flood {:.2} Mpps offered, {} scrubbed, {} lost by the kernel for want of room",
        sent.packets_per_second() / 1e6,
        shield.stats.settled_drop,
        ports.kernel_losses(),
    );
    for shard in &before_stop.shards {
        let busy = shard.stats.busy_ns as f64 / shard.stats.total_ns.max(1) as f64;
        println!(
            "  shard {} busy {:.0} %, longest turn {} us",
            shard.id,
            busy * 100.0,
            shard.stats.longest_turn_ns / 1000
        );
    }
    println!(
        "  memory {} MiB resident, of which {} MiB UMEM",
        resident_mib(),
        ((8192 + 16384) * 2048) >> 20
    );
}

fn service<'a>(
    snapshot: &'a Snapshot,
    name: &str,
) -> &'a tidegate::runtime::metrics::snapshot::ServiceSnapshot {
    let mut services = snapshot.shards.iter().flat_map(|shard| &shard.services);
    services.find(|service| service.name == name).expect("the config has it")
}

fn counter(snapshot: &Snapshot, name: &str, counter: &str) -> u64 {
    service(snapshot, name).counters.get(counter).copied().unwrap_or(0)
}

/// Most memory that the process had, from `/proc/self/status`.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("always there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line of it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib >> 10
}
