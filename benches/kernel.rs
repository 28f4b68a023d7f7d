//! What does the steering program cost, where it passes and where it drops by a cached verdict?
//!
//! ```text
//!     BPF_PROG_RUN   one packet a million times, no device around it     ns over a program that passes
//!     a wire         a flood of 65,536 sources as fast as it goes        ns and ratio, to bare programs
//!     memory         a million sources in the cache                      octets, by the kernel's word
//! ```
//!
//! Rounds of all contenders alternate, and the least of each counts: whatever else the machine does
//! makes a round longer, never shorter. `cargo bench --bench kernel`, as root; `ONLY=alone`, `wire` or `memory`
//! for one of them.
#![expect(clippy::print_stdout, reason = "what it is for")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use std::{env, fs};

use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use common::wire;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tidegate::dataplane::steer::{
    self, Cache, CacheSizes, Cached, Fragments, Prefix, Program, Promotion, Protection, Protocol,
    Selector, State, Steering, Whose,
};
use tidegate::dataplane::sys::bpf;
use tidegate::lab::End;
use tidegate::lab::flood::{self, Budget, Flood, Kind, SOURCE_IPV4};

const PORT: u16 = 9;
/// Runs in one call, short enough to be done before another process has its turn, and calls of each
/// contender.
const REPEAT: u32 = 20_000;
const CALLS: usize = 100;
/// Packets before each round on the wire, so that all sources were seen; packets of the round, more
/// than come until each source is looked up anew; and rounds of each contender.
const WARM_UP: u64 = 200_000;
const PACKETS: u64 = 8_000_000;
const ROUNDS: usize = 7;

/// Made from common/bare.bpf.c by `dataplane/steer/rebuild`.
static BARE: &[u8] = aya::include_bytes_aligned!("common/bare.bpf.o");

fn main() {
    let only = env::var("ONLY").unwrap_or_default();
    let parts: [(&str, fn()); 3] = [("alone", alone), ("wire", on_a_wire), ("memory", memory)];
    for (_, part) in parts.iter().filter(|(name, _)| only.is_empty() || only == *name) {
        part();
    }
}

fn selector(destination: &str, state: Option<State>) -> Selector {
    Selector {
        destination: destination.parse().expect("a prefix"),
        source: None,
        protocol: Protocol::Any,
        destination_ports: None,
        fragments: Fragments::Pass,
        protection: state.map(|state| Protection { state, ..Protection::default() }),
    }
}

/// The program with these selectors.
fn program(selectors: &[Selector]) -> Program {
    let mut program = Program::load().expect("the program");
    program.set_selectors(selectors).expect("selectors");
    program
}

fn loaded<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program: &mut Xdp = ebpf.program_mut(name).expect("it has it").try_into().expect("XDP");
    program.load().expect("two instructions");
    program
}

/// Ethernet, IP and the beginning of what is in it.
fn packet(ipv6: bool, protocol: u8) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if ipv6 {
        packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, protocol, 64]);
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50]);
    } else {
        packet.extend([8, 0, 0x45, 0, 0, 60, 0, 1, 0, 0, 64, protocol, 0, 0]);
        packet.extend([198, 19, 7, 7, 198, 18, 0, 80]);
    }
    packet.extend([0x9c, 0x40, 0, 53]);
    packet.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10]);
    packet.extend([0; 26]);
    packet
}

fn drop_of(whose: Whose, cache: &Cache) -> Promotion {
    Promotion {
        scope: 0,
        whose,
        verdict: Cached::Drop,
        rule: 0,
        epoch: cache.epoch(),
        until_ns: u64::MAX,
    }
}

fn run_ns(program: BorrowedFd<'_>, packet: &[u8]) -> f64 {
    // By the kernel's own clock: the call costs milliseconds beside the runs.
    bpf::prog_test_run(program, packet, None, REPEAT).expect("a run").run_ns.into()
}

fn alone() {
    let mut ebpf = Ebpf::load(BARE).expect("the bare programs");
    let bare = loaded(&mut ebpf, "bare_pass").fd().expect("loaded").try_clone().expect("a copy");
    let nobody: Vec<Selector> =
        (0..64).map(|host| selector(&format!("198.18.1.{host}"), None)).collect();
    let peace =
        [selector("198.18.0.80", Some(State::Peace)), selector("2001:db8::50", Some(State::Peace))];
    let mut last = nobody.clone();
    last[63] = peace[0].clone();
    let draining = [selector("198.18.0.80", Some(State::Draining))];
    let engaged = |source: &str| {
        let program = program(&[
            selector("198.18.0.80", Some(State::Engaged)),
            selector("2001:db8::50", Some(State::Engaged)),
        ]);
        let source = Whose::Source(source.parse().expect("an address"));
        program.cache().promote(&drop_of(source, program.cache())).expect("room");
        program
    };
    let programs = [
        ("no selector has the destination (1)", program(&nobody[..1]), packet(false, 17)),
        ("no selector has the destination (64)", program(&nobody), packet(false, 17)),
        ("no selector has the destination, IPv6", program(&nobody), packet(true, 17)),
        ("protected, in peace, UDP", program(&peace), packet(false, 17)),
        ("protected, in peace, UDP, the last of 64", program(&last), packet(false, 17)),
        ("protected, in peace, TCP", program(&peace), packet(false, 6)),
        ("protected, in peace, TCP over IPv6", program(&peace), packet(true, 6)),
        ("protected, draining, no socket", program(&draining), packet(false, 17)),
        ("its source dropped, UDP", engaged("198.19.7.7"), packet(false, 17)),
        ("its source dropped, TCP", engaged("198.19.7.7"), packet(false, 6)),
        ("its source dropped, UDP over IPv6", engaged("2001:db8:7::7"), packet(true, 17)),
    ];
    let mut least = vec![f64::MAX; programs.len() + 1];
    for _ in 0..CALLS {
        least[0] = least[0].min(run_ns(bare.as_fd(), &packet(false, 17)));
        for (least, (_, program, packet)) in least[1..].iter_mut().zip(&programs) {
            *least = least.min(run_ns(program.fd().expect("loaded"), packet));
        }
    }
    println!("alone: ns a packet, over a program that passes ({:.1} ns)", least[0]);
    for (ns, (name, ..)) in least[1..].iter().zip(&programs) {
        println!("  {name:42} {:6.1}", ns - least[0]);
    }
}

/// What stands at the end of the wire.
enum Standing {
    Bare(&'static str),
    Peace,
    Promoted,
    PromotedPrefix,
}

fn on_a_wire() {
    let wire = wire();
    let contenders = [
        ("bare XDP_PASS", Standing::Bare("bare_pass")),
        ("protected, in peace", Standing::Peace),
        ("bare XDP_DROP", Standing::Bare("bare_drop")),
        ("65,536 sources promoted to drop", Standing::Promoted),
        ("their prefix promoted to drop", Standing::PromotedPrefix),
    ];
    let options = flood::Options::new(Kind::Udp { port: PORT });
    let mut flood = Flood::new(&wire.far, &options).expect("a generator");
    let mut least = [f64::MAX; 5];
    for round in 0..ROUNDS {
        let order = 0..contenders.len();
        for index in order.map(|index| (index + round) % contenders.len()) {
            let ns = stand(&wire.near, &contenders[index].1, &mut flood);
            least[index] = least[index].min(ns);
        }
    }
    println!("on a wire: ns of processor time a packet, the generator's part included");
    for ((name, _), ns) in contenders.iter().zip(least) {
        println!("  {name:42} {ns:6.1}");
    }
    println!("  in peace, over bare XDP_PASS: {:.1} ns a packet", least[1] - least[0]);
    println!("  sources, to bare XDP_DROP: {:.3}", least[2] / least[3]);
    println!("  prefix, to bare XDP_DROP: {:.3}", least[2] / least[4]);
}

fn round_ns(flood: &mut Flood) -> f64 {
    let budget = |packets| Budget {
        packets,
        time: Duration::from_secs(20),
        packets_per_second: None,
        processor: Some(1),
    };
    flood.run(&budget(WARM_UP)).expect("a flood");
    // Of processor time, so that other processes cost nothing but what they leave of the caches. The
    // generator's thread receives too, and nothing else of this process works.
    let before = cpu_seconds();
    let sent = flood.run(&budget(PACKETS)).expect("a flood");
    let seconds = cpu_seconds() - before;
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    let offered = sent.offered as f64;
    seconds * 1e9 / offered
}

fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("our own");
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn stand(near: &End, standing: &Standing, flood: &mut Flood) -> f64 {
    let mut ebpf = Ebpf::load(BARE).expect("the bare programs");
    let steering = |state, sources| {
        let options = steer::Options {
            interface: near.name.clone(),
            xdp: steer::XdpMode::Native,
            selectors: vec![selector(&format!("{}/32", near.ipv4), Some(state))],
        };
        let sizes = CacheSizes { sources, ..CacheSizes::LEAST };
        near.namespace
            .run(|| Steering::attach_with(&options, &sizes))
            .expect("a thread")
            .expect("it")
    };
    match standing {
        Standing::Bare(name) => {
            let program = loaded(&mut ebpf, name);
            near.namespace
                .run(|| program.attach_to_if_index(near.index, XdpMode::Driver))
                .expect("a thread")
                .expect("attached");
            round_ns(flood)
        }
        Standing::Peace => {
            let _steering = steering(State::Peace, 1);
            round_ns(flood)
        }
        Standing::Promoted => {
            let steering = steering(State::Engaged, 131_072);
            for source in sources() {
                let promotion = drop_of(Whose::Source(source), steering.cache());
                steering.promote(&promotion).expect("room");
            }
            let ns = round_ns(flood);
            all_dropped(&steering);
            ns
        }
        Standing::PromotedPrefix => {
            let steering = steering(State::Engaged, 1);
            let prefix = Prefix::new(Ipv4Addr::from(base()).into(), 16).expect("a prefix");
            let promotion = drop_of(Whose::Prefix(prefix), steering.cache());
            steering.promote(&promotion).expect("room");
            let ns = round_ns(flood);
            all_dropped(&steering);
            ns
        }
    }
}

/// A number means nothing where packets took another way.
fn all_dropped(steering: &Steering) {
    let counters = steering.counters().expect("counters");
    let dropped = counters.get(steer::Outcome::DropVerdict).packets;
    assert!(dropped >= PACKETS * 99 / 100, "{dropped} of {PACKETS} dropped: {counters:?}");
}

fn base() -> u32 {
    u32::from(SOURCE_IPV4) & 0xffff_0000
}

/// Every source that the flood has.
fn sources() -> impl Iterator<Item = IpAddr> {
    (0..=0xffff_u32).map(|host| Ipv4Addr::from(base() | host).into())
}

fn memory() {
    const SOURCES: u32 = 1_000_000;
    let sizes = CacheSizes { sources: SOURCES, ..CacheSizes::LEAST };
    let program = Program::load_with(&sizes).expect("memory");
    let cache = program.cache();
    let start = Instant::now();
    for host in 0..SOURCES {
        let source = Whose::Source(Ipv4Addr::from(0xc612_0000 + host).into());
        cache.promote(&drop_of(source, cache)).expect("room");
    }
    let each_us = start.elapsed().as_secs_f64() * 1e6 / f64::from(SOURCES);
    println!("memory: {SOURCES} sources promoted, {each_us:.2} us each; maps of the program");
    let mut total = 0;
    for entry in fs::read_dir("/proc/self/fdinfo").expect("procfs").flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let (Some(kind), Some(octets)) = (field("map_type:"), field("memlock:")) else { continue };
        let entries = field("max_entries:").unwrap_or(0);
        total += octets;
        if octets >= 1 << 18 {
            println!("  kind {kind:2}, {entries:8} entries {:8.1} MiB", mib(octets));
        }
    }
    println!("  all {:.1} MiB", mib(total));
}

#[expect(clippy::cast_precision_loss, reason = "a size to be looked at")]
fn mib(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}
