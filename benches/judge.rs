//! How long does `scrub` take to decide on a packet?
//!
//! 64-octet UDP over IPv4 from random sources and ports, in memory: no ring, no kernel. The least
//! of many short rounds counts, so that whatever else the machine does matters little. Run it with
//! `cargo bench --bench judge`.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::hint::black_box;
use std::time::Instant;

use tidegate::config::Options;
use tidegate::dataplane::wire::{ethernet, ipv4, protocol, udp};
use tidegate::scrub::{Key, Trial};

/// Packets in one round: under a tenth of a millisecond.
const ROUND: usize = 1024;

/// Conditions of different kinds; only the last one holds.
fn rules(count: usize) -> String {
    let rule = |n: usize| {
        let (low, high, port) = (n % 250, n / 250 % 250, 1024 + n % 19_000);
        let when = match n % 8 {
            0 => format!("ip.src in {{ 10.{high}.{low}.0/24 }} and dstport == 22"),
            1 => format!("tcp.flags.syn and not tcp.flags.ack and tcp.dstport == {port}"),
            2 => format!("udp.srcport == {port} and payload[0:4] == 17:00:{low:02x}:2a"),
            3 => format!("udp.srcport == 53 and ip.len >= 512 and ip.dst == 10.{high}.{low}.1"),
            4 => format!("udp.srcport in {{ 1900, 11211 }} and ip.ttl == {low}"),
            5 => format!("ip.fragment and ip.src == 10.{low}.{high}.9"),
            6 => format!("ip.src in {{ 2001:db8:{n:x}::/48 }} and icmpv6"),
            _ => format!("ip.len == {} and udp.dstport == {port}", 400 + low),
        };
        format!("r{n}: drop when {when}\n")
    };
    (1..count).map(rule).collect::<String>() + "last: drop when dstport in { 20000-40000 }\n"
}

const LIMIT: &str = "all: limit 10 packets/s burst 10 per source of 65536 when ip\n";
const MILLION: &str = "all: limit 10 packets/s burst 10 per source of 2000000 when ip\n";
const BITS: &str = "all: limit 10 Mbits/s burst 1M per flow of 65536 when ip\n";

fn frame(random: u64) -> Vec<u8> {
    let bits =
        |shift: u32, count: u32| u32::try_from(random >> shift & ((1 << count) - 1)).unwrap();
    let datagram = udp::Header {
        source: u16::try_from(bits(0, 16)).unwrap(),
        destination: 20_000 + u16::try_from(bits(16, 14)).unwrap(),
        payload_octets: 22,
        checksum: 0,
    };
    let ip = ipv4::Header {
        source: (0xc612_0000 + bits(32, 17)).into(),
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
    [&link.emit()[..], &ip.emit(), &datagram.emit(), &[0; 22]].concat()
}

fn main() {
    let mut random = 1_u64;
    let frames: Vec<Vec<u8>> = (0..64 * ROUND)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            frame(random >> 8)
        })
        .collect();
    for (name, text) in [
        ("no rule, so what parsing takes", String::new()),
        ("ten rules, the last one matches", rules(10)),
        ("a hundred rules, the last one matches", rules(100)),
        ("a thousand rules, the last one matches", rules(1000)),
        ("a limit per source, 131,072 sources in a table of 65,536", LIMIT.to_owned()),
        ("a limit per source, 131,072 sources in a table of 2,097,152", MILLION.to_owned()),
        ("a limit of bits per flow, each packet another flow", BITS.to_owned()),
    ] {
        let text = format!("rules = '''\n{text}'''");
        let options = Options::from_text(&text).unwrap().parse().unwrap();
        let mut trial = Trial::new(&options, Key::fixed(1));
        let (mut now_ns, mut least_ns) = (0, u128::MAX);
        for round in frames.chunks(ROUND).cycle().take(64 * 20) {
            let start = Instant::now();
            for frame in round {
                black_box(trial.passes(black_box(frame), now_ns));
            }
            least_ns = least_ns.min(start.elapsed().as_nanos());
            now_ns += 1_000_000;
        }
        let tenths = least_ns * 10 / ROUND as u128;
        println!("{:>4}.{} ns a packet: {name}", tenths / 10, tenths % 10);
    }
}
