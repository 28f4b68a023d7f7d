//! Which class of ST 2110-21 does a paced sender hold, frame by frame, by its own meter?
//!
//!     cargo bench --bench class_held            # 10 s of each format; SECONDS=60, ONLY=narrow
//!
//! Each sender has CPU 0 for itself (`CPU`); what arrives at the far end of a veth is counted by
//! XDP on another one, as if another machine did it: on the sender's, that work takes turns with it. The meter takes the clock at each wake-up, so this shows the sender's scheduling and the
//! machine's, not a wire: a virtual link has no spacing of its own to measure.
//!
//! With `PCAP=/tmp/class` the packets go to the far end's kernel instead, and `tcpdump` writes what
//! arrives there to one file for each sender, for `tidegate stream plot`: the check from outside.
//!
//! First, and again after each sender, the machine is looked at: a loop on the same CPU that does
//! nothing but read the clock, and how long it was away. No sender can be better than that: the
//! whole buffer of narrow is 36 microseconds, of which ours has 31 to be late in; wide has hundreds.

#![allow(clippy::cast_precision_loss)] // Shares to be looked at.
#![allow(clippy::print_stdout)] // What a benchmark is for.

mod common;

use std::time::{Duration, Instant};

use common::{number, receive_on, start, wire};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tidegate::lab::End;
use tidegate::lab::sink::{Action, Sink};
use tidegate::runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

/// Name, size, rate, class, chunks of the UMEM.
const SENDERS: [(&str, u32, u32, &str, &str); 5] = [
    ("1080p50 narrow", 1920, 1080, "50", "narrow"),
    ("1080p50 narrow-linear", 1920, 1080, "50", "narrow-linear"),
    ("1080p50 wide", 1920, 1080, "50", "wide"),
    ("2160p25 narrow", 3840, 2160, "25", "narrow"),
    ("2160p25 wide", 3840, 2160, "25", "wide"),
];

fn main() {
    common::privileged();
    let only = std::env::var("ONLY").unwrap_or_default();
    let (seconds, cpu) = (number("SECONDS", 10), number("CPU", 0));
    println!("{} s each on CPU {cpu}; load {}", seconds, load());
    pauses(cpu);
    for sender in SENDERS.iter().filter(|sender| sender.0.contains(&only)) {
        measure(sender, seconds, cpu);
        pauses(cpu);
    }
}

fn measure(
    &(name, width, height, rate, class): &(&str, u32, u32, &str, &str),
    seconds: u64,
    cpu: u64,
) {
    let wire = wire();
    let capture = std::env::var("PCAP").ok().map(|path| Capture::start(&path, name, &wire.far));
    let sink = capture.is_none().then(|| Sink::attach(&wire.far, Action::Drop).expect("a sink"));
    if sink.is_some() {
        receive_on(&wire.far, 1 - usize::try_from(cpu).expect("a CPU").min(1));
    }
    let program = start(
        &wire.near,
        &format!(
            r#"
[runtime]
instance = "bench-class"
shards = 1
cpus = [{cpu}]
[[interface]]
name = "{}"
[[service]]
name = "camera"
kind = "stream-send"
[service.options]
destination = "{}:9"
source_address = "{}:9"
width = {width}
height = {height}
rate = "{rate}"
depth = 10
class = "{class}"
"#,
            wire.near.name, wire.far.ipv4, wire.near.ipv4,
        ),
    );
    std::thread::sleep(Duration::from_secs(seconds));
    let before_stop = program.snapshot();
    let outcome = program.stop();
    let camera = camera(&outcome.snapshot);
    let count = |name: &str| camera.counters.get(name).copied().unwrap_or(0);
    let level = |name: &str| camera.levels.get(name).copied().unwrap_or(0);
    let sent = count("frames_sent");
    let share = |frames: u64| frames as f64 * 100.0 / sent.max(1) as f64;
    println!("{name}");
    println!(
        "  frames sent {sent}: narrow {:.2} %, narrow-linear {:.2} %, wide {:.2} %, none {:.2} %",
        share(count("frames_narrow")),
        share(count("frames_narrow_linear")),
        share(count("frames_wide")),
        share(count("frames_of_no_class")),
    );
    println!(
        "  VRX {}..{} of {}, C_INST {} of {}",
        level("vrx_min_since_start"),
        level("vrx_max_since_start"),
        level("vrx_full"),
        level("c_inst_max_since_start"),
        level("c_max"),
    );
    println!(
        "  groups late {}, frames late {}, skipped {}; packets sent {}{}",
        count("groups_late"),
        count("frames_late"),
        count("frames_skipped"),
        count("packets_sent"),
        sink.map_or(String::new(), |sink| {
            format!(", arrived {}", sink.arrived().expect("a count").packets)
        }),
    );
    let stats = &before_stop.shards[0].stats;
    let share = |ns: u64| ns as f64 * 100.0 / stats.total_ns.max(1) as f64;
    println!(
        "  shard busy {:.0} %, asleep {:.0} %, longest turn {} us; load {}",
        share(stats.busy_ns),
        share(stats.asleep_ns),
        stats.longest_turn_ns / 1000,
        load(),
    );
    if let Some(capture) = capture {
        println!("  captured to {}", capture.end());
    }
}

/// `tcpdump` at an end, for as many packets as a plot needs.
struct Capture {
    child: std::process::Child,
    path: String,
}

impl Capture {
    fn start(prefix: &str, name: &str, end: &End) -> Self {
        let path = format!("{prefix}-{}.pcap", name.replace(' ', "-"));
        let mut command = std::process::Command::new("tcpdump");
        command.args(["-i", &end.name, "-s", "96", "--time-stamp-precision", "nano"]);
        // A second at most; a buffer for all of it.
        command.args(["-c", "200000", "-B", "65536", "-w", &path, "udp", "port", "9"]);
        command.stderr(std::process::Stdio::null());
        let child = end.namespace.spawn(&mut command).expect("tcpdump, as Debian packages it");
        std::thread::sleep(Duration::from_millis(500));
        Self { child, path }
    }

    fn end(mut self) -> String {
        // Not killed: it still has to write what it has.
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        self.path
    }
}

fn camera(snapshot: &Snapshot) -> &ServiceSnapshot {
    &snapshot.shards[0].services[0]
}

/// Two seconds of reading the clock: how often, and for how long, was somebody else there?
fn pauses(cpu: u64) {
    let look = move || {
        let mut cpus = CpuSet::new();
        cpus.set(usize::try_from(cpu).expect("a CPU")).expect("a CPU");
        sched_setaffinity(Pid::from_raw(0), &cpus).expect("a CPU that this process may use");
        let start = Instant::now();
        let (mut last, mut longest, mut away) = (start, Duration::ZERO, Duration::ZERO);
        let mut over = [0_u32; 3];
        let mut worst_of_frame = [Duration::ZERO; 100];
        while last.duration_since(start) < Duration::from_secs(2) {
            let now = Instant::now();
            let pause = now.duration_since(last);
            for (count, microseconds) in over.iter_mut().zip([31, 100, 1000]) {
                *count += u32::from(pause > Duration::from_micros(microseconds));
            }
            if pause > Duration::from_micros(2) {
                away += pause;
            }
            longest = longest.max(pause);
            let frame = last.duration_since(start).as_micros() / 20_000;
            let worst = &mut worst_of_frame[usize::try_from(frame).expect("below 100")];
            *worst = pause.max(*worst);
            last = now;
        }
        let without = |microseconds| {
            let short = |worst: &&Duration| worst.as_micros() <= microseconds;
            worst_of_frame.iter().filter(short).count()
        };
        println!(
            "  (the machine, 2 s: away {:.2} %; {} times over 31 us, {} over 100 us, {} over 1 ms, \
             longest {} us;\n   of 100 times 20 ms, {} without a pause over 31 us, {} over 36 us)",
            away.as_secs_f64() * 50.0,
            over[0],
            over[1],
            over[2],
            longest.as_micros(),
            without(31),
            without(36),
        );
    };
    std::thread::spawn(look).join().expect("it only looks");
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
