//! How long do 10,000 rules take to be in force under flood, and does a shard stand still for them?
//!
//! One shard on processor 0 judges `PPS` packets a second (100,000); the generator has the other, and the
//! control side what it finds. `ROUNDS` times (20) it goes on for two seconds as it is, then for two seconds in
//! which all 10,000 rules are replaced by others, half of which have names that were there. Printed are
//! the time from the request to its answer, which comes when the shard goes by the new rules, and the
//! turns of over a millisecond with and without a reload. A turn is measured by the clock, so one in
//! which somebody else had the processor is long too: how often that was is printed beside it.
//! `REALTIME=1` has the shard go before all others there.

#![allow(clippy::print_stdout)] // What a benchmark is for.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroU64;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{number, receive_on, start, wire};
use serde_json::json;
use tidegate::lab::flood::{self, Budget, Flood, Kind};
use tidegate::run::Program;

const RULES: u32 = 10_000;
const PORT: u16 = 9;
const WINDOW: Duration = Duration::from_secs(2);

/// The rules of a set: addresses, ports, lengths, limits, and half of their names those of the other.
fn rules(set: u32) -> String {
    let mut text = String::new();
    for n in 0..RULES {
        let name = set * RULES / 2 + n;
        let [_, _, high, low] = (name * 7).to_be_bytes();
        let _ = match n % 10 {
            0 => writeln!(
                text,
                "r{name}: limit 100 packets/s per source of 64 when udp.dstport == {}",
                10_000 + n
            ),
            1..4 => {
                writeln!(text, "r{name}: drop when udp.srcport == {n} and ip.len > {}", n % 1400)
            }
            4..8 => writeln!(
                text,
                "r{name}: drop when ip.src in {{ 10.{high}.{low}.0/24 }} and ip.ttl < {}",
                n % 200
            ),
            _ => writeln!(text, "r{name}: drop when tcp.dstport in {{ {}-{} }}", n, n + 5),
        };
    }
    text.push_str("flood: drop when ip.src in { 198.19.0.0/16 }\n");
    text
}

/// What a shard has counted.
#[derive(Clone, Copy)]
struct Counted {
    turns: u64,
    long_turns: u64,
    longest_turn_ns: u64,
    interrupted: u64,
    faults: u64,
    lost: u64,
}

fn counted(program: &Program, shard: u32) -> Counted {
    let snapshot = program.snapshot();
    let (stats, ports, _) = snapshot.totals();
    Counted {
        turns: stats.busy_turns,
        long_turns: stats.long_turns,
        longest_turn_ns: stats.longest_turn_ns,
        interrupted: interruptions(shard),
        faults: faults(shard),
        lost: ports.kernel_losses(),
    }
}

/// How often the thread had to give its processor to another one.
fn interruptions(thread: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

/// Pages that the thread touched first: field 10 of proc(5).
fn faults(thread: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).expect("it runs");
    let behind_name = stat.rsplit(')').next().expect("a name in parentheses");
    behind_name.split_whitespace().nth(7).and_then(|count| count.parse().ok()).expect("a count")
}

/// What was counted in some windows.
#[derive(Default)]
struct Sum {
    turns: u64,
    long_turns: u64,
    interrupted: u64,
    faults: u64,
    lost: u64,
}

impl Sum {
    fn add(&mut self, from: Counted, to: Counted) {
        self.turns += to.turns - from.turns;
        self.long_turns += to.long_turns - from.long_turns;
        self.interrupted += to.interrupted - from.interrupted;
        self.faults += to.faults - from.faults;
        self.lost += to.lost - from.lost;
    }
}

/// The thread of the one shard.
fn shard_thread() -> u32 {
    let tasks = fs::read_dir("/proc/self/task").expect("always there").flatten();
    let mut shards = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let id = task.file_name().to_str()?.parse().ok()?;
        (name.starts_with("shard") && pinned_to_first(id)).then_some(id)
    });
    shards.next().expect("a shard")
}

fn pinned_to_first(thread: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.is_some_and(|cpus| cpus.trim() == "0")
}

fn main() {
    let rounds = number("ROUNDS", 20);
    let pps = number("PPS", 100_000);
    let wire = wire();
    let program = start(
        &wire.near,
        &format!(
            r#"
[runtime]
instance = "bench-reload"
shards = 1
cpus = [0]
[[interface]]
name = "{interface}"
umem = {{ frames = 16384 }}
ring_entries = 8192
[[service]]
name = "shield"
kind = "scrub"
interface = "{interface}"
held_frames_max = 8192
selectors = [{{ destination = "{protected}/32", protocol = "udp", ports = "{PORT}" }}]
[service.options]
rules = "flood: drop when ip.src in {{ 198.19.0.0/16 }}"
"#,
            interface = wire.near.name,
            protected = wire.near.ipv4,
        ),
    );
    receive_on(&wire.near, 1);
    let shard = shard_thread();
    if number("REALTIME", 0) == 1 {
        let done = Command::new("chrt").args(["-f", "-p", "10", &shard.to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "chrt -f -p 10 {shard}");
    }
    let flood = Flood::new(&wire.far, &flood::Options::new(Kind::Udp { port: PORT }));
    let flood = flood.expect("a generator").start(Budget {
        packets: u64::MAX,
        time: Duration::from_secs(rounds * 8 + 30),
        packets_per_second: NonZeroU64::new(pps),
        processor: Some(1),
    });
    let flood = flood.expect("a flood");
    thread::sleep(Duration::from_secs(1));

    let sets = [rules(0), rules(1)];
    let mut took = Vec::new();
    let (mut quiet, mut reloading) = (Sum::default(), Sum::default());
    let first = counted(&program, shard);
    println!("longest turn since the start {} us", first.longest_turn_ns / 1000);
    let mut longest_quiet_ns = 0;
    for (round, set) in (0..rounds).zip(sets.iter().cycle()) {
        let before = counted(&program, shard);
        thread::sleep(WINDOW);
        let between = counted(&program, shard);
        if round == 0 {
            longest_quiet_ns = between.longest_turn_ns;
        }
        let request = json!({ "command": "rules", "do": "replace", "text": set, "name": "bench" });
        let began = Instant::now();
        let answer = program.desk().attended()[0].operator.answer(&request).expect("in force");
        let elapsed = began.elapsed();
        assert_eq!(answer["late"], json!([]), "{answer}");
        took.push(elapsed);
        thread::sleep(WINDOW.saturating_sub(elapsed));
        let after = counted(&program, shard);
        quiet.add(before, between);
        reloading.add(between, after);
        println!(
            "round {round}: in force after {} ms; turns over 1 ms {} without, {} with; longest so far {} us, {} us",
            elapsed.as_millis(),
            between.long_turns - before.long_turns,
            after.long_turns - between.long_turns,
            between.longest_turn_ns / 1000,
            after.longest_turn_ns / 1000,
        );
    }
    let (_, sent) = flood.stop().expect("what was sent");
    took.sort();
    println!(
        "{} rules in force after {} ms (median; {} to {} ms), at {:.0} packets/s, of {rounds} reloads",
        RULES + 1,
        took[took.len() / 2].as_millis(),
        took[0].as_millis(),
        took[took.len() - 1].as_millis(),
        sent.packets_per_second(),
    );
    for (name, sum) in [("without", quiet), ("with", reloading)] {
        let Sum { turns, long_turns, interrupted, faults, lost } = sum;
        println!(
            "{name}: {turns} busy turns, {long_turns} over 1 ms; the shard was interrupted {interrupted} \
             times and touched {faults} pages first; {lost} packets lost"
        );
    }
    println!(
        "longest turn: {} us before the first reload, {} us at the end",
        longest_quiet_ns / 1000,
        counted(&program, shard).longest_turn_ns / 1000
    );
    program.stop();
}
