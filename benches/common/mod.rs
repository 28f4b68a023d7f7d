//! What all benchmarks share: a wire of the lab, rounds in turn, ratios.
//!
//! A ratio compares contenders in one run on one wire. They take turns, round after round, so that
//! whatever else the machine does meets all of them; the median of the rounds is what counts.
#![allow(dead_code)] // Each benchmark takes what it needs.
#![allow(clippy::cast_precision_loss)] // Rates to be looked at.
#![allow(clippy::print_stdout)] // What a benchmark is for.

pub(crate) mod bare;

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use tidegate::config::Config;
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate::registry::Registry;
use tidegate::run::Program;

/// Ends the process, with what to type, where it may not have a lab.
pub(crate) fn privileged() {
    if let Some(missing) = tidegate::lab::missing() {
        println!("cannot be measured here:\n{missing}");
        std::process::exit(2);
    }
}

/// A wire between two namespaces of its own.
pub(crate) fn wire() -> Wire {
    privileged();
    let namespace = || Namespace::new().expect("a namespace");
    wire_of(&namespace(), &namespace(), 1)
}

/// Wire `number` between these two.
pub(crate) fn wire_of(near: &Namespace, far: &Namespace, number: u8) -> Wire {
    let options = WireOptions { number, ipv6: false, ..WireOptions::default() };
    Wire::new(near, far, &options).expect("a wire")
}

/// Has what comes to an end be received on this processor, as if another machine did it. A veth
/// receives on the processor that sends, unless its NAPI has threads; and it has a NAPI only where a
/// program is attached.
pub(crate) fn receive_on(end: &End, cpu: usize) {
    let threaded =
        format!("mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{}/threaded", end.name);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &threaded]);
    let done = end.namespace.spawn(&mut command).expect("unshare").wait().expect("its end");
    assert!(done.success(), "NAPI of {} has no threads", end.name);
    let prefix = format!("napi/{}-", end.name);
    std::thread::spawn(move || {
        for _ in 0..100 {
            for pid in processes_of(&prefix) {
                let mut cpus = CpuSet::new();
                cpus.set(cpu).expect("a CPU");
                sched_setaffinity(pid, &cpus).expect("a thread of the kernel");
                // A card is not kept waiting by what else runs there.
                let _ = Command::new("chrt").args(["-f", "-p", "1", &pid.to_string()]).status();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

fn processes_of(prefix: &str) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").expect("always there").flatten();
    let named = entries.filter(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        name.starts_with(prefix)
    });
    named.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)).collect()
}

/// The number in an environment variable.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A program of a config, started inside `end`'s namespace.
pub(crate) fn start(end: &End, config: &str) -> Program {
    let config = Config::parse("bench.toml", config).unwrap_or_else(|error| panic!("{error}"));
    let started = end.namespace.run(|| Program::start(&config, &Registry::stock()));
    started.expect("a thread").unwrap_or_else(|error| panic!("{error}"))
}

/// A closure that is true for `time` from its first call; it looks at the clock every 64 calls.
pub(crate) fn lasting(time: Duration) -> impl FnMut() -> bool {
    let mut end = None;
    let mut calls = 0_u32;
    move || {
        calls = calls.wrapping_add(1);
        let end = *end.get_or_insert_with(|| Instant::now() + time);
        !calls.is_multiple_of(64) || Instant::now() < end
    }
}

/// What was done between two moments.
#[derive(Clone, Copy)]
pub(crate) struct Lap {
    packets: u64,
    seconds: f64,
    /// User and system time of this process; the generator, where there is one, is in it for all
    /// contenders alike.
    cpu_seconds: f64,
    /// The user's part of it.
    user_seconds: f64,
}

impl Lap {
    /// How many it were.
    pub(crate) const fn packets(&self) -> u64 {
        self.packets
    }
}

/// A running measurement.
pub(crate) struct Watch {
    start: Instant,
    cpu: [f64; 2],
    /// Whose processor time is taken; ours, where it is nobody's.
    child: Option<u32>,
    /// Ours as well as the child's.
    both: bool,
}

impl Watch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu_seconds(), child: None, both: false }
    }

    /// Starts now, for the processor time of a child that runs.
    pub(crate) fn start_of(child: u32) -> Self {
        let cpu = cpu_seconds_of(child);
        Self { start: Instant::now(), cpu, child: Some(child), both: false }
    }

    /// Starts now, for the processor time of a child that runs, and ours.
    pub(crate) fn start_with(child: u32) -> Self {
        let cpu = both(cpu_seconds(), cpu_seconds_of(child));
        Self { start: Instant::now(), cpu, child: Some(child), both: true }
    }

    /// Ends it: so many packets since the start.
    pub(crate) fn lap(&self, packets: u64) -> Lap {
        let seconds = self.start.elapsed().as_secs_f64();
        let [user, system] = match self.child {
            Some(child) if self.both => both(cpu_seconds(), cpu_seconds_of(child)),
            Some(child) => cpu_seconds_of(child),
            None => cpu_seconds(),
        };
        let user_seconds = user - self.cpu[0];
        Lap { packets, seconds, cpu_seconds: user_seconds + system - self.cpu[1], user_seconds }
    }
}

fn both(one: [f64; 2], other: [f64; 2]) -> [f64; 2] {
    [one[0] + other[0], one[1] + other[1]]
}

fn cpu_seconds() -> [f64; 2] {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("always there");
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    [seconds(usage.user_time()), seconds(usage.system_time())]
}

/// Fields 14 and 15 of proc(5), all threads together, in hundredths of a second.
fn cpu_seconds_of(child: u32) -> [f64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).expect("it runs");
    let behind_name = stat.rsplit(')').next().expect("a name in parentheses");
    let fields: Vec<f64> = behind_name.split_whitespace().flat_map(str::parse).collect();
    // The state is a letter and falls out, so field 4 is the first.
    [fields[10] / 100.0, fields[11] / 100.0]
}

/// One contender: its name and its rounds.
pub(crate) struct Contender<'a> {
    name: &'static str,
    round: Box<dyn FnMut(Duration) -> Lap + 'a>,
    laps: Vec<Lap>,
}

impl<'a> Contender<'a> {
    /// `round` works for the time given and says what it did.
    pub(crate) fn new(name: &'static str, round: impl FnMut(Duration) -> Lap + 'a) -> Self {
        Self { name, round: Box::new(round), laps: Vec::new() }
    }

    fn median(&self, of: impl Fn(&Lap) -> f64) -> f64 {
        let mut values: Vec<f64> = self.laps.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

/// Lets the contenders take turns and prints each one's rate, its packets per second of processor
/// time, and their ratios to the first.
pub(crate) fn compare(mut contenders: Vec<Contender<'_>>) {
    let (rounds, time) = (number("ROUNDS", 7), Duration::from_millis(number("MILLISECONDS", 700)));
    // For profiles: `ONLY=stream` lets only those run that have the word in their name.
    if let Ok(word) = std::env::var("ONLY") {
        contenders.retain(|contender| contender.name.contains(&word));
    }
    for _ in 0..rounds {
        for contender in &mut contenders {
            let lap = (contender.round)(time);
            contender.laps.push(lap);
        }
    }
    let rate = |lap: &Lap| lap.packets as f64 / lap.seconds;
    let per_cpu = |lap: &Lap| lap.packets as f64 / lap.cpu_seconds;
    let base = (contenders[0].median(rate), contenders[0].median(per_cpu));
    println!("median of {rounds} rounds of {} ms", time.as_millis());
    println!(
        "  {:<28} {:>9} {:>7}   {:>9} {:>7}   {:>7} {:>7}",
        "packets per second of", "clock", "", "cpu", "", "user ns", "sys ns"
    );
    for contender in &contenders {
        let (rate, per_cpu) = (contender.median(rate), contender.median(per_cpu));
        println!(
            "  {:<28} {rate:>9.0} x {:.3}   {per_cpu:>9.0} x {:.3}   {:>7.0} {:>7.0}",
            contender.name,
            rate / base.0,
            per_cpu / base.1,
            contender.median(|lap| lap.user_seconds * 1e9 / lap.packets as f64),
            contender.median(|lap| (lap.cpu_seconds - lap.user_seconds) * 1e9 / lap.packets as f64),
        );
    }
}
