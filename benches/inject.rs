//! How fast do packets go back into the kernel, and how much later is one that did?
//!
//!     cargo bench --bench inject                 # ROUNDS=7 MILLISECONDS=700; PART=rate
//!     PART=latency chrt -f 1 cargo bench --bench inject          # SECONDS=2
//!
//! Rates: one thread on one core, distinct UDP packets, counted and dropped by nft in raw
//! prerouting, where the stack has done all of its work but the protocols'. The bare loop is what
//! one system call of a prepared batch costs: no packet is copied, no one is asked anything. A
//! round ends with a look at nft's counter: what is counted as delivered came.
//!
//! Latency: 10,000 datagrams a second from the far end to a kernel socket, with the time of
//! sending in each and the kernel's time of receiving beside it (`SO_TIMESTAMPNS`): once without
//! the program and once through steering, ring, scrub and injection, in turns. Sender and veth are
//! on one core, the shard on the other. Where other programs run, they need `chrt`: without it the
//! scheduler's own delays, milliseconds, are all that is seen. Not with `idle = "spin"`, since the
//! kernel lets no thread of real time have all of a core (`sched_rt_runtime_us`).

#![allow(clippy::cast_precision_loss)] // Rates and shares to be looked at.
#![allow(clippy::print_stdout)] // What a benchmark is for.

mod common;

use std::io::Write as _;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aya::maps::Map;
use aya::programs::{Xdp, XdpMode};
use common::{Contender, Lap, Watch, compare, number, start, wire};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::unistd::Pid;
use tidegate::dataplane::inject::{Injector, Options, Outcome, Tiers};
use tidegate::dataplane::steer;
use tidegate::dataplane::sys::bpf::{self, SharedValues};
use tidegate::lab::{End, Namespace, Wire};

/// The injector's own program, for the loop without the injector.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../dataplane/inject/inject.bpf.o");
/// `struct slot` of inject.bpf.c.
const SLOT_OCTETS: usize = 2048;

const PORT: u16 = 7;
const CPU: usize = 0;
const SENDER_CPU: usize = 1;
/// Ethernet, IPv4, UDP.
const HEADERS: usize = 14 + 20 + 8;
/// Datagrams a second whose latency is measured.
const PER_SECOND: u64 = 10_000;

fn main() {
    let wire = wire();
    let only = std::env::var("PART").unwrap_or_default();
    if "rate".contains(&*only) {
        rates(&wire);
    }
    if "latency".contains(&*only) {
        latency(&wire);
    }
}

fn rates(wire: &Wire) {
    let near = &wire.near;
    nft(
        &near.namespace,
        "table inet bench {
        counter came {}
        chain before {
            type filter hook prerouting priority raw;
            iifname \"tide1\" udp dport 7 counter name came drop
        }
    }",
    );
    for octets in [60, 1400] {
        println!("{octets} octets a packet, on CPU {CPU}");
        let packets: Vec<Vec<u8>> = (0..256).map(|number| packet(number, octets)).collect();
        let injected = |tiers, batch| {
            let packets = &packets;
            move |time| on_a_core(near, || inject(near, packets, tiers, batch, time))
        };
        let bare = |batch| {
            let packets = &packets;
            move |time| on_a_core(near, || bare(near, packets, batch, time))
        };
        compare(vec![
            Contender::new("bare live frames, by 64", bare(64)),
            Contender::new("injector, by 64", injected(Tiers::Auto, 64)),
            Contender::new("bare live frames, by 256", bare(256)),
            Contender::new("injector, by 256", injected(Tiers::Auto, 256)),
            Contender::new("injector, by 16", injected(Tiers::Auto, 16)),
            Contender::new("injector, TAP alone", injected(Tiers::Tap, 64)),
        ]);
    }
    nft(&near.namespace, "delete table inet bench");
}

/// A UDP packet from the far end of wire 1, with `number` in its payload.
fn packet(number: u32, octets: usize) -> Vec<u8> {
    let mut packet = vec![0; octets];
    let length = |octets: usize| u16::try_from(octets).expect("a length").to_be_bytes();
    packet[..6].copy_from_slice(&[2, 0x74, 0x67, 0, 1, 1]);
    packet[6..12].copy_from_slice(&[2, 0x74, 0x67, 0, 1, 2]);
    packet[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut packet[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length(octets - 14));
    ip[8..10].copy_from_slice(&[64, 17]);
    ip[12..20].copy_from_slice(&[198, 18, 1, 2, 198, 18, 1, 1]);
    let words = ip.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16));
    ip[10..12].copy_from_slice(&sum.to_be_bytes()[2..]);
    packet[34..36].copy_from_slice(&4000u16.to_be_bytes());
    packet[36..38].copy_from_slice(&PORT.to_be_bytes());
    packet[38..40].copy_from_slice(&length(octets - 34));
    packet[HEADERS..HEADERS + 4].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Runs `round` on a thread of the end's namespace that stays on [`CPU`]; what it says was
/// delivered must have come.
fn on_a_core(end: &End, round: impl FnOnce() -> Lap + Send) -> Lap {
    let before = came(&end.namespace);
    let lap = end.namespace.run(|| {
        stay_on(CPU);
        round()
    });
    let lap = lap.expect("a thread");
    let came = came(&end.namespace) - before;
    assert_eq!(came, lap.packets(), "what was delivered has come");
    lap
}

fn stay_on(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("an affinity");
}

fn inject(end: &End, packets: &[Vec<u8>], tiers: Tiers, batch: usize, time: Duration) -> Lap {
    let options = Options { interface: end.name.clone(), xdp: steer::XdpMode::Native, tiers };
    let mut injector = Injector::new(&options).expect("a way back");
    let (watch, end) = (Watch::start(), Instant::now() + time);
    let mut delivered = 0;
    while Instant::now() < end {
        for packet in &packets[..batch] {
            assert_eq!(injector.inject(packet), Outcome::Taken);
        }
        delivered += u64::from(injector.flush().delivered);
    }
    watch.lap(delivered)
}

/// The same batch again and again, as the kernel takes it.
fn bare(end: &End, packets: &[Vec<u8>], batch: usize, time: Duration) -> Lap {
    let mut ebpf = aya::Ebpf::load(OBJECT).expect("the injector's object");
    let program: &mut Xdp =
        ebpf.program_mut("tidegate_inject").expect("it has it").try_into().expect("XDP");
    program.load().expect("a program");
    // In the dispatcher for good, as live.rs says.
    let pier = Namespace::new().expect("a namespace");
    pier.run(|| program.attach_to_if_index(1, XdpMode::Skb)).expect("a thread").expect("a link");
    let shared = |name, octets| {
        let Some(Map::Array(map)) = ebpf.map(name) else { panic!("it has {name}") };
        SharedValues::of(map.fd().as_fd(), octets).expect("a mapping")
    };
    let mut slots = shared("slots", SLOT_OCTETS * 256);
    let mut state = shared("state", 8);
    for (index, packet) in packets[..batch].iter().enumerate() {
        slots.store(SLOT_OCTETS * index, u32::try_from(packet.len()).expect("a length"));
        slots.write(SLOT_OCTETS * index + 8, packet);
    }
    let program: &Xdp =
        ebpf.program("tidegate_inject").expect("it has it").try_into().expect("XDP");
    let program = program.fd().expect("it is loaded").as_fd();
    let (dummy, batch) = (vec![0; packets[0].len()], u32::try_from(batch).expect("a batch"));
    let (watch, until) = (Watch::start(), Instant::now() + time);
    let mut delivered = 0;
    while Instant::now() < until {
        state.store(0, 0);
        bpf::prog_run_live(program, &dummy, end.index, batch, batch).expect("a run");
        delivered += u64::from(batch);
    }
    watch.lap(delivered)
}

fn nft(namespace: &Namespace, script: &str) -> String {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = namespace.spawn(&mut command).expect("nft of nftables");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("a script");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "nft refuses {script}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn came(namespace: &Namespace) -> u64 {
    let text = nft(namespace, "list counter inet bench came");
    let (_, rest) = text.split_once("packets ").expect("a counter");
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// Latencies of the rounds of one way, and their percentiles.
struct Way<'a> {
    name: &'static str,
    /// The shard's `idle`; nothing where there is no program.
    idle: Option<&'a str>,
    /// By round: median, 99 of 100, 999 of 1000, of so many.
    rounds: Vec<([u64; 3], u64)>,
}

fn latency(wire: &Wire) {
    let (rounds, seconds) = (number("ROUNDS", 7), number("SECONDS", 2));
    let way = |name, idle| Way { name, idle, rounds: Vec::new() };
    let idle = std::env::var("IDLE").unwrap_or_else(|_| "50us".into());
    let mut ways = [way("without the program", None), way("through it", Some(&*idle))];
    for _ in 0..rounds {
        for way in &mut ways {
            let program = way.idle.map(|idle| start(&wire.near, &scrub(&wire.near, idle)));
            let round = latencies(wire, Duration::from_secs(seconds));
            program.map(|program| program.stop());
            way.rounds.push(round);
        }
    }
    println!(
        "latency of {PER_SECOND} datagrams a second, median of {rounds} rounds of {seconds} s"
    );
    println!("  {:<28} {:>9} {:>9} {:>9} {:>9}", "us", "50 %", "99 %", "99.9 %", "lost");
    let median = |way: &Way<'_>, at: usize| {
        let mut values: Vec<u64> = way.rounds.iter().map(|round| round.0[at]).collect();
        values.sort_unstable();
        values[values.len() / 2] as f64 / 1e3
    };
    let sent = PER_SECOND * seconds * rounds;
    for way in &ways {
        let came: u64 = way.rounds.iter().map(|round| round.1).sum();
        let [half, most, nearly_all] = [0, 1, 2].map(|at| median(way, at));
        println!("  {:<28} {half:>9.1} {most:>9.1} {nearly_all:>9.1} {:>9}", way.name, sent - came);
    }
    for way in &ways[1..] {
        let [half, most, nearly_all] = [0, 1, 2].map(|at| median(way, at) - median(&ways[0], at));
        println!("  {:<28} {half:>9.1} {most:>9.1} {nearly_all:>9.1}", "added by it");
    }
}

/// A scrubber that passes what comes to the port.
fn scrub(near: &End, idle: &str) -> String {
    format!(
        r#"
[runtime]
instance = "bench-inject"
shards = 1
cpus = [{CPU}]
idle = "{idle}"
[[interface]]
name = "{}"
[[service]]
name = "shield"
kind = "scrub"
selectors = [{{ destination = "{}/32", protocol = "udp", ports = "{PORT}" }}]
[service.options]
rules = "default pass"
"#,
        near.name, near.ipv4
    )
}

/// One round: percentiles of the latencies, and how many came.
fn latencies(wire: &Wire, time: Duration) -> ([u64; 3], u64) {
    let receiver = wire.near.namespace.run(|| {
        let socket = UdpSocket::bind((wire.near.ipv4, PORT)).expect("a socket");
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("timestamps");
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).expect("a buffer");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        socket
    });
    let receiver = receiver.expect("a thread");
    let count = PER_SECOND * time.as_secs();
    let sender = wire.far.namespace.spawn_thread("bench-sender", {
        let (from, to) = (wire.far.ipv4, wire.near.ipv4);
        move || {
            stay_on(SENDER_CPU);
            let socket = UdpSocket::bind((from, 0)).expect("a socket");
            socket.connect((to, PORT)).expect("a peer");
            let start = Instant::now();
            for number in 0..count {
                let due = start + Duration::from_nanos(number * 1_000_000_000 / PER_SECOND);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = socket.send(&real_ns().to_be_bytes());
            }
        }
    });
    sender.expect("a thread").join().expect("no panic");
    // The stamps are the kernel's, so that nobody has to be quick here.
    let mut took: Vec<u64> = std::iter::from_fn(|| receive(&receiver)).collect();
    took.sort_unstable();
    assert!(!took.is_empty(), "nothing came");
    let at = |of_thousand: usize| took[(took.len() * of_thousand / 1000).min(took.len() - 1)];
    ([at(500), at(990), at(999)], took.len() as u64)
}

/// Nanoseconds from sending to receiving, of the next datagram.
fn receive(socket: &UdpSocket) -> Option<u64> {
    use std::os::fd::AsRawFd as _;
    let mut octets = [0; 8];
    let mut room = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut slices = [std::io::IoSliceMut::new(&mut octets)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut room), MsgFlags::empty()).ok()?;
    let stamp = message.cmsgs().expect("room").find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
        _ => None,
    });
    let stamp = Duration::from(stamp.expect("asked for"));
    let received = u64::try_from(stamp.as_nanos()).expect("below the year 2554");
    Some(received.saturating_sub(u64::from_be_bytes(octets)))
}

/// The clock that the kernel's stamps are of.
fn real_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_nanos()).expect("below the year 2554")
}
