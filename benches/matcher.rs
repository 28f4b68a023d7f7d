//! How long does it take to find the rule for a packet, and how much longer among a thousand rules
//! than among ten?
//!
//! Rules of the kinds that operators write (prefixes, ports, flags, lengths, payload, DNS names and
//! types, substrings, sets), over captured packets and over a flood from random sources and ports,
//! all in memory: no ring, no kernel. Without sets from files, with one of 100,000 prefixes, and with
//! four. The least of many short rounds counts, so that whatever else the machine does matters
//! little. Reading the packet's headers is shown by itself and is in none of the other numbers.
//!
//! ```text
//! cargo bench --bench matcher
//! valgrind --tool=callgrind target/release/deps/matcher-… --count 1000 1       the loop alone
//! ```
//!
//! Before anything is measured, each answer is held against that of trying rule by rule.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::env;
use std::fmt::Write;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use tidegate::config::Options;
use tidegate::dataplane::pcap::Reader;
use tidegate::dataplane::wire::{ethernet, ipv4, protocol, udp};
use tidegate::scrub::{Compiled, Key, Parsed, Rules, Trial};

/// Packets in one round: under a tenth of a millisecond.
const ROUND: usize = 512;

/// How often each packet comes.
const TIMES: usize = 8;

/// Rules of each set.
const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];

/// Prefixes of each large set.
const PREFIXES: usize = 100_000;

/// Captures, each with a column of its own.
const CAPTURES: [(&str, &str); 4] = [
    ("SYN flood", "attack/tcp-syn-flood-spoofed.pcap"),
    ("SNMP flood", "attack/udp-snmp-amplification.pcapng"),
    ("DNS flood", "attack/udp-dns-rrsig-amplification-fragmented.pcap"),
    ("QUIC", "legit/quic.pcap"),
];

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 32).expect("half of it")
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }

    fn port(&mut self) -> u16 {
        u16::try_from(1024 + self.below(64_000)).expect("below")
    }

    fn prefix(&mut self, shortest: u32) -> String {
        let bits = shortest + self.below(33 - shortest);
        let address = self.next() & (u32::MAX << (32 - bits));
        format!("{}/{bits}", Ipv4Addr::from(address))
    }
}

/// One rule of one of twelve kinds.
fn rule(random: &mut Random, number: usize) -> String {
    let (port, other) = (random.port(), random.port());
    let small = random.below(256);
    match number % 12 {
        0 => format!("ip.src == {}", random.prefix(16)),
        1 => format!("udp.srcport == {port} and ip.len > {}", 200 + small),
        2 => format!("udp.dstport == {port} and payload[0:4] == ff:ff:ff:ff"),
        3 => format!("tcp.dstport == {port} and tcp.flags & 0x12 == 0x02 and ip.ttl <= {small}"),
        4 => format!("ip.src == {} and udp and not udp.dstport == 53", random.prefix(16)),
        5 => format!("dns.qry.name == \"*.zone{number}.example\" and payload.len > {small}"),
        6 => format!("udp and payload[{}] == {small} and payload.len == {other}", number % 8),
        7 => format!("tcp.srcport == {port} and tcp.window == {other}"),
        8 => format!("ip.dst == {} and icmp", random.prefix(16)),
        9 => format!("udp.srcport == {port} and payload contains \"attack{number}\""),
        10 => format!("ip.src in $set{} and dstport == {port}", number % 4),
        _ => format!(
            "tcp.flags.syn and not tcp.flags.ack and tcp.window == {other} and tcp.dstport in {{{port}, 443}}"
        ),
    }
}

/// So many rules, with so many large sets.
fn text(count: usize, large: usize) -> String {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut text = String::new();
    for set in 0..4 {
        if set < large {
            writeln!(text, "set set{set} = file \"set{set}\"").expect("a String grows");
        } else {
            writeln!(text, "set set{set} = {{ 192.0.2.{set}, 203.0.113.0/24 }}").expect("it grows");
        }
    }
    for number in 0..count - 4 {
        writeln!(text, "r{number}: drop when {}", rule(&mut random, number)).expect("it grows");
    }
    for set in 0..4 {
        writeln!(text, "s{set}: drop when ip.src in $set{set} and ip.ttl == {set}")
            .expect("it grows");
    }
    text
}

fn sets() -> Vec<String> {
    let mut random = Random(99);
    let set = |_| (0..PREFIXES).fold(String::new(), |set, _| set + &random.prefix(18) + "\n");
    (0..4).map(set).collect()
}

/// A datagram from anywhere, as a spoofed flood has them.
fn datagram(random: &mut Random) -> Vec<u8> {
    let datagram = udp::Header {
        source: random.port(),
        destination: random.port(),
        payload_octets: 22,
        checksum: 0,
    };
    let ip = ipv4::Header {
        source: random.next().into(),
        destination: [198, 19, 0, 1].into(),
        protocol: protocol::UDP,
        payload_octets: 30,
        ttl: 64,
        traffic_class: 0,
        id: 0,
    };
    let link = ethernet::Header {
        destination: [2, 0, 0, 0, 0, 2],
        source: [2, 0, 0, 0, 0, 1],
        ether_type: ethernet::ether_type::IPV4,
    };
    [&link.emit()[..], &ip.emit(), &datagram.emit(), &[0x55; 22]].concat()
}

/// Frames of each column.
fn columns() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut random = Random(7);
    let mut columns = vec![("spoofed UDP", (0..16_384).map(|_| datagram(&mut random)).collect())];
    let place = env::var_os("TIDEGATE_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    for (name, file) in CAPTURES {
        let path = place.join("pcap").join(file);
        let Ok(reader) = Reader::open(&path) else {
            println!("skipped: no {}; TIDEGATE_CORPUS names another place", path.display());
            continue;
        };
        let frames = reader.take(16_384).map(|record| record.expect("whole").bytes);
        columns.push((name, frames.collect()));
    }
    columns
}

/// Nanoseconds for each, in the best round.
fn least<T>(items: &[T], mut each: impl FnMut(&T)) -> f64 {
    let mut least = f64::MAX;
    for round in (0..TIMES).flat_map(|_| items.chunks(ROUND)).filter(|it| it.len() * 2 > ROUND) {
        let start = Instant::now();
        round.iter().for_each(|item| each(black_box(item)));
        let count = u32::try_from(round.len()).expect("a round is short");
        least = least.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    least
}

fn read(count: usize, large: usize, sets: &[String]) -> (Rules, f64) {
    let text = text(count, large);
    let mut files = |name: &str| Ok(sets[usize::from(name.as_bytes()[3] - b'0')].clone());
    let start = Instant::now();
    let rules = Rules::read(&text, &mut files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (rules, start.elapsed().as_secs_f64() * 1e3)
}

fn compile(rules: &Rules) -> (Compiled, f64) {
    let start = Instant::now();
    let compiled = rules.compile().expect("not too large");
    (compiled, start.elapsed().as_secs_f64() * 1e3)
}

/// Only the loop, for whoever counts its instructions.
fn count(rules: usize, large: usize) {
    let (rules, _) = read(rules, large, &sets());
    let (compiled, _) = compile(&rules);
    for (_, frames) in columns() {
        let parsed: Vec<_> = frames.iter().filter_map(|frame| Parsed::of(frame)).collect();
        for packet in &parsed {
            black_box(compiled.first(black_box(packet)));
        }
    }
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
        return count(number(at + 1).unwrap_or(1000), number(at + 2).unwrap_or(0));
    }
    let (columns, sets) = (columns(), sets());
    let parsed: Vec<Vec<Parsed<'_>>> = (columns.iter())
        .map(|(_, frames)| frames.iter().filter_map(|frame| Parsed::of(frame)).collect())
        .collect();
    let line = |name: &str, cells: &[String], rest: &str| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>13}")).collect();
        println!("{name:<28}{cells}  {rest}");
    };
    let cells = |values: &[f64]| values.iter().map(|it| format!("{it:.1}")).collect::<Vec<_>>();
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    line("ns a packet", &names, "");
    let facts: Vec<f64> = (columns.iter())
        .map(|(_, frames)| {
            least(frames, |frame| {
                black_box(Parsed::of(frame));
            })
        })
        .collect();
    line("reading its headers", &cells(&facts), "");
    for large in [0, 1, 4] {
        let mut first: Option<Vec<f64>> = None;
        for count in COUNTS {
            let (rules, read_ms) = read(count, large, &sets);
            let (compiled, compile_ms) = compile(&rules);
            for packet in parsed.iter().flat_map(|packets| packets.iter().take(64)) {
                assert_eq!(compiled.first(packet), rules.first(packet));
            }
            let measured: Vec<f64> = (parsed.iter())
                .map(|packets| {
                    least(packets, |packet| {
                        black_box(compiled.first(packet));
                    })
                })
                .collect();
            let rest = format!(
                "read in {read_ms:.0} ms, compiled in {compile_ms:.0} ms to {} KiB",
                compiled.octets() / 1024
            );
            line(&format!("{count} rules, {large} large sets"), &cells(&measured), &rest);
            let first = first.get_or_insert_with(|| measured.clone());
            if count == 1_000 {
                let ratios =
                    measured.iter().zip(first).map(|(many, few)| format!("{:.2} x", many / *few));
                line("  of what ten cost", &ratios.collect::<Vec<_>>(), "");
            }
        }
    }
    let options = Options::from_text("rules = \"all: limit 10 packets/s per source when ip\"");
    let options = options.expect("TOML").parse().expect("options of scrub");
    let mut trial = Trial::new(&options, Key::fixed(1));
    let mut now_ns = 0;
    let judged: Vec<f64> = (columns.iter())
        .map(|(_, frames)| {
            least(frames, |frame| {
                now_ns += 1_000;
                black_box(trial.passes(frame, now_ns));
            })
        })
        .collect();
    line("judged, a limit per source", &cells(&judged), "");
}
