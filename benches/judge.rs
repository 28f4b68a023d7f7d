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
use tidegate::scrub::{Key, State, judge};

/// Packets in one round: under a tenth of a millisecond.
const ROUND: usize = 1024;

/// Ten conditions of different kinds; only the last one holds.
const TEN_RULES: &str = r#"rules = [
    { name = "a", source = "198.18.0.0/24", destination_ports = 22, action = "pass" },
    { name = "b", protocol = "tcp", flags = "syn,!ack", destination_ports = 443, action = "drop" },
    { name = "c", source_ports = 123, payload = { octets = "17 00 03 2a" }, action = "drop" },
    { name = "d", protocol = "udp", source_ports = 53, length = "512-65535", action = "drop" },
    { name = "e", protocol = "udp", source_ports = 1900, action = "drop" },
    { name = "f", protocol = "udp", fragment = true, action = "drop" },
    { name = "g", source = "2001:db8::/32", protocol = "icmp", action = "drop" },
    { name = "h", protocol = "udp", source_ports = 11211, action = "drop" },
    { name = "i", length = "0-27", action = "drop" },
    { name = "j", destination_ports = "20000-40000", action = "drop" },
]"#;

const LIMIT: &str = r#"rules = [
    { name = "all", action = { limit = { packets_per_second = 10, burst = 10 } } },
]"#;

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
        ("no rule, so what parsing takes", ""),
        ("ten rules, the last one matches", TEN_RULES),
        ("a limit, 131,072 sources in a table of 65,536", LIMIT),
    ] {
        let options = Options::from_text(text).unwrap().parse().unwrap();
        let mut state = State::new(&options, Key::fixed(1));
        let (mut now_ns, mut least_ns) = (0, u128::MAX);
        for round in frames.chunks(ROUND).cycle().take(64 * 20) {
            let start = Instant::now();
            for frame in round {
                black_box(judge(&mut state, black_box(frame), now_ns));
            }
            least_ns = least_ns.min(start.elapsed().as_nanos());
            now_ns += 1_000_000;
        }
        let tenths = least_ns * 10 / ROUND as u128;
        println!("{:>4}.{} ns a packet: {name}", tenths / 10, tenths % 10);
    }
}
