//! Does 2160p25 4:2:2 10 bit leave one core in time, and come to another without loss?
//!
//!     cargo bench --bench uhd                   # 60 s; SECONDS=10, CLASS=narrow, SINK=verify
//!
//! 432,000 packets and 4.3 Gbit a second, paced on CPU 0, over a veth, received on CPU 1. A veth
//! receives on the processor that sends, unless its NAPI has a thread: here it has, on CPU 1, where
//! a card's interrupts would be. Then the sender's core sends, and the receiver's receives. Its rings
//! hold 76 ms, for a core that is taken away now and then.

#![allow(clippy::cast_precision_loss)] // Shares to be looked at.
#![allow(clippy::print_stdout)] // What a benchmark is for.

mod common;

use std::time::Duration;

use common::{number, receive_on, start, wire};
use tidegate::lab::End;
use tidegate::runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

/// Entries of the receiver's rings: 300 ms of packets, for a core that the machine takes away.
const RECEIVED: u32 = 131_072;
/// Entries of the sender's.
const SENT: u32 = 32_768;

fn main() {
    common::privileged();
    let seconds = number("SECONDS", 60);
    let class = std::env::var("CLASS").unwrap_or_else(|_| "wide".into());
    let sink = std::env::var("SINK").unwrap_or_else(|_| "nothing".into());
    let wire = wire();
    let picture = "width = 3840\nheight = 2160\nrate = \"25\"\ndepth = 10\n";
    let receiver = program(
        &wire.far,
        1,
        RECEIVED,
        &format!(
            "selectors = [{{ destination = \"{}/32\", protocol = \"udp\", ports = \"20000\" }}]\n\
             [service.options]\nport = 20000\nclass = \"{class}\"\nsink = \"{sink}\"\n{picture}",
            wire.far.ipv4
        ),
        "stream-receive",
    );
    receive_on(&wire.far, 1);
    let sender = program(
        &wire.near,
        0,
        SENT,
        &format!(
            "[service.options]\ndestination = \"{}:20000\"\nsource_address = \"{}:20000\"\n\
             class = \"{class}\"\nframes = {}\n{picture}",
            wire.far.ipv4,
            wire.near.ipv4,
            25 * seconds,
        ),
        "stream-send",
    );
    std::thread::sleep(Duration::from_secs(seconds) + Duration::from_millis(500));
    let sent = sender.stop().snapshot;
    std::thread::sleep(Duration::from_millis(200));
    let received = receiver.stop().snapshot;

    println!("{seconds} s of 2160p25 4:2:2 10 bit, class {class} asked for, sink {sink}");
    let sent_of = |name: &str| counter(&sent, name);
    println!(
        "  sent      frames {}, late {}, skipped {}, groups late {}; busy {:.0} %",
        sent_of("frames_sent"),
        sent_of("frames_late"),
        sent_of("frames_skipped"),
        sent_of("groups_late"),
        busy(&sent),
    );
    classes("its meter", &sent);
    let came = |name: &str| counter(&received, name);
    let (_, ports, _) = received.totals();
    println!(
        "  received  packets {} of {}, lost {}; frames {}, incomplete {}, not kept {}, wrong {}; \
         lost by the kernel {}; busy {:.0} %",
        came("packets_received"),
        sent_of("packets_sent"),
        came("packets_lost"),
        came("frames_received"),
        came("frames_incomplete"),
        came("frames_dropped"),
        came("frames_wrong"),
        ports.kernel_losses(),
        busy(&received),
    );
    classes("its meter", &received);
}

/// With rings of so many entries.
fn program(
    end: &End,
    cpu: u32,
    ring_entries: u32,
    service: &str,
    kind: &str,
) -> tidegate::run::Program {
    let frames = 2 * ring_entries;
    start(
        end,
        &format!(
            r#"
[runtime]
instance = "bench-uhd-{kind}"
shards = 1
cpus = [{cpu}]
[[interface]]
name = "{}"
umem = {{ frames = {frames} }}
ring_entries = {ring_entries}
[[service]]
name = "video"
kind = "{kind}"
{service}"#,
            end.name,
        ),
    )
}

fn classes(who: &str, snapshot: &Snapshot) {
    let service = video(snapshot);
    let of = |name: &str| service.counters.get(name).copied().unwrap_or(0);
    let level = |name: &str| service.levels.get(name).copied().unwrap_or(0);
    let all = ["frames_narrow", "frames_narrow_linear", "frames_wide", "frames_of_no_class"];
    let frames: u64 = all.iter().map(|name| of(name)).sum();
    let share = |name: &str| of(name) as f64 * 100.0 / frames.max(1) as f64;
    println!(
        "  {who}: narrow {:.2} %, narrow-linear {:.2} %, wide {:.2} %, none {:.2} %; VRX {}..{} of \
         {}, C_INST {} of {}",
        share(all[0]),
        share(all[1]),
        share(all[2]),
        share(all[3]),
        level("vrx_min_since_start"),
        level("vrx_max_since_start"),
        level("vrx_full"),
        level("c_inst_max_since_start"),
        level("c_max"),
    );
}

fn busy(snapshot: &Snapshot) -> f64 {
    let stats = &snapshot.shards[0].stats;
    stats.busy_ns as f64 * 100.0 / stats.total_ns.max(1) as f64
}

fn video(snapshot: &Snapshot) -> &ServiceSnapshot {
    &snapshot.shards[0].services[0]
}

fn counter(snapshot: &Snapshot, name: &str) -> u64 {
    video(snapshot).counters.get(name).copied().unwrap_or(0)
}
