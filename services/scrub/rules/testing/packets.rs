//! Random frames: most of them right, some damaged.

use std::net::IpAddr;

use tidegate_dataplane::wire::protocol;

use super::Random;
use crate::scrub::facts::testing::{datagram, frame, message, segment, tagged, v4, v6};

/// Ports that packets and rules have.
pub(super) const PORTS: [u16; 8] = [53, 80, 123, 443, 4789, 1024, 40_000, 65_535];

/// Other numbers that packets and rules have.
pub(super) const NUMBERS: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 8, 20, 24, 40, 46, 64, 128, 255, 1460];

/// Names that packets and rules ask for.
pub(super) const NAMES: [&str; 6] =
    [".", "com", "example.com", "a.example.com", "EXAMPLE.net", "b.c.d"];

/// What payloads begin with.
pub(super) const PAYLOADS: [&[u8]; 6] = [
    b"GET / HTTP/1.1\r\n",
    b"\x17\x00\x03\x2a\x00\x00\x00\x00",
    b"\xff\xff\xff\xffgetstatus",
    b"stats\r\n",
    b"\x00\x00\x00\x00",
    b"Host: Example.COM",
];

/// Addresses that packets and rules have.
pub(super) fn addresses() -> Vec<IpAddr> {
    [
        "198.18.0.1",
        "198.18.0.2",
        "198.19.255.255",
        "10.0.0.1",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:1::",
        "::1",
    ]
    .map(|it| it.parse().unwrap())
    .to_vec()
}

/// A frame as senders make it, or nearly so.
pub(crate) fn packet(random: &mut Random) -> Vec<u8> {
    let mut made = if random.chance(30) {
        frame(0x0806, &[1; 28])
    } else {
        let (kind, body) = ip(random, 1);
        frame(kind, &body)
    };
    for _ in 0..if random.chance(150) { 1 + random.below(2) } else { 0 } {
        let control = u16::try_from(random.next() & 0xe003).unwrap();
        made = tagged(&made, control);
    }
    if random.chance(200) {
        made.resize(made.len() + random.below(16), 0);
    }
    if random.chance(100) {
        damaged(random, &mut made);
    }
    made
}

/// Changes a few octets, most often to values that lengths and types trip over, and sometimes cuts
/// or grows.
pub(crate) fn damaged(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if frame.is_empty() {
            return;
        }
        let at = random.below(frame.len());
        frame[at] = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => frame[at] ^ (1 << random.below(8)),
            _ => *random
                .pick(&[0, 4, 6, 17, 41, 43, 44, 47, 51, 58, 60, 0x45, 0x60, 0x81, 0x08, 0xc0]),
        };
    }
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len()) + 1),
        1 => frame.resize(frame.len() + random.below(64), 0xa5),
        _ => {}
    }
}

/// A packet that may carry so many others; its EtherType and its octets.
fn ip(random: &mut Random, depth: usize) -> (u16, Vec<u8>) {
    let (number, body) = above(random, depth);
    if random.chance(600) {
        (0x0800, four(random, number, &body))
    } else {
        (0x86dd, six(random, number, &body))
    }
}

fn four(random: &mut Random, number: u8, body: &[u8]) -> Vec<u8> {
    let number = if number == protocol::ICMPV6 { protocol::ICMP } else { number };
    let mut packet = v4(number, body);
    packet[1] = octet_of(random, &[0, 0xb8, 0xb9, 0x28, 3]);
    packet[8] = octet_of(random, &[64, 128, 255, 1, 54]);
    for at in [12, 16] {
        if let IpAddr::V4(address) = *random.pick(&addresses()) {
            packet[at..at + 4].copy_from_slice(&address.octets());
        }
    }
    match random.below(20) {
        0 => packet[6] = 0x20,
        1 => (packet[6], packet[7]) = (0x20 * octet_of(random, &[0, 1]), octet_of(random, &[1, 3])),
        2 => packet[6] = 0x80,
        3 => packet[6] = 0,
        4 => {
            packet.splice(20..20, [1, 1, 1, 0]);
            packet[0] = 0x46;
            let total = u16::try_from(packet.len()).unwrap();
            packet[2..4].copy_from_slice(&total.to_be_bytes());
        }
        _ => {}
    }
    // The UDP length of a first fragment counts what follows.
    if packet[6] == 0x20 && packet[7] == 0 && number == protocol::UDP {
        packet[24] = packet[24].wrapping_add(4);
    }
    packet
}

fn six(random: &mut Random, number: u8, body: &[u8]) -> Vec<u8> {
    let (mut next, mut body) = (number, body.to_vec());
    for _ in 0..if random.chance(200) { 1 + random.below(3) } else { 0 } {
        let kind =
            *random.pick(&[protocol::ROUTING, protocol::DESTINATION_OPTIONS, protocol::FRAGMENT]);
        let more = u8::from(random.chance(300));
        let header = match kind {
            protocol::FRAGMENT => [next, 0, 0, octet_of(random, &[0, 8]) | more, 0, 0, 0, 5],
            _ => [next, 0, 1, 4, 0, 0, 0, 0],
        };
        body.splice(0..0, header);
        next = kind;
    }
    if random.chance(50) {
        body.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
        next = protocol::HOP_BY_HOP;
    }
    let mut packet = v6(next, &body);
    packet[3] = octet_of(random, &[0, 5, 46]);
    packet[7] = octet_of(random, &[64, 128, 255, 1]);
    for at in [8, 24] {
        if let IpAddr::V6(address) = *random.pick(&addresses()) {
            packet[at..at + 16].copy_from_slice(&address.octets());
        }
    }
    packet
}

/// Protocol, and what is above IP.
fn above(random: &mut Random, depth: usize) -> (u8, Vec<u8>) {
    let data = data(random);
    match random.below(if depth == 0 { 16 } else { 20 }) {
        0..=7 => (protocol::UDP, datagram(port(random), port(random), &data)),
        8..=13 => (protocol::TCP, tcp(random, &data)),
        14 => {
            let header = [
                octet_of(random, &[8, 0, 3, 128, 135]),
                octet_of(random, &[0, 1]),
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            (protocol::ICMPV6, [&header[..], &data].concat())
        }
        15 => (*random.pick(&[50, 51, 89, 132]), data),
        16 => {
            let (kind, body) = ip(random, depth - 1);
            (if kind == 0x0800 { protocol::IPV4 } else { protocol::IPV6 }, body)
        }
        17 | 18 => {
            let (kind, body) = ip(random, depth - 1);
            let ethernet = random.chance(300);
            let [a, b] = if ethernet { [0x65, 0x58] } else { kind.to_be_bytes() };
            let body = if ethernet { frame(kind, &body) } else { body };
            let keyed = random.chance(300);
            let key: &[u8] = if keyed { &[0, 0, 0, 7] } else { &[] };
            (protocol::GRE, [&[0x20 * u8::from(keyed), 0, a, b], key, &body].concat())
        }
        _ => {
            let (kind, body) = ip(random, depth - 1);
            let header = [8, 0, 0, 0, 0, 0, octet_of(random, &[1, 5]), 0];
            let data = [&header[..], &frame(kind, &body)].concat();
            (protocol::UDP, datagram(port(random), 4789, &data))
        }
    }
}

fn tcp(random: &mut Random, data: &[u8]) -> Vec<u8> {
    let flags =
        octet_of(random, &[0x02, 0x02, 0x02, 0x12, 0x10, 0x18, 0x04, 0x14, 0x11, 0, 0xff, 0xc2]);
    let options: &[u8] = random.pick::<&[u8]>(&[
        &[],
        &[2, 4, 5, 0xb4],
        &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7],
        &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        &[3, 3, 5, 0],
        &[2, 0, 0, 0],
    ]);
    let data = if flags & 2 != 0 && random.chance(800) { &[] } else { data };
    let mut segment = segment((port(random), port(random)), flags, options, data);
    if random.chance(500) {
        let window = random.pick(&[0_u16, 1024, 29_200, 65_535]).to_be_bytes();
        segment[14..16].copy_from_slice(&window);
    }
    segment
}

/// What is above UDP or TCP.
fn data(random: &mut Random) -> Vec<u8> {
    match random.below(5) {
        0 | 1 => {
            let flags =
                [octet_of(random, &[0, 1, 0x80, 0x84, 0x28]), octet_of(random, &[0, 0x80, 3, 5])];
            let kind = *random.pick(&[1, 16, 28, 46, 255]);
            let mut message = message(flags, &name(random), kind);
            message.truncate(message.len() - if random.chance(100) { random.below(8) } else { 0 });
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            if random.chance(300) { [&length[..], &message].concat() } else { message }
        }
        2 => Vec::new(),
        _ => {
            let mut data = random.pick(&PAYLOADS).to_vec();
            let most = if random.chance(50) { 1200 } else { 24 };
            let more = random.below(most);
            data.extend((0..more).map(|_| random.octet()));
            data
        }
    }
}

fn name(random: &mut Random) -> Vec<u8> {
    let text = *random.pick(&NAMES);
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap());
        let upper = random.chance(300);
        wire.extend(
            label.bytes().map(|octet| if upper { octet.to_ascii_uppercase() } else { octet }),
        );
    }
    wire.push(0);
    wire
}

fn port(random: &mut Random) -> u16 {
    if random.chance(100) {
        u16::try_from(random.next() & 0xffff).unwrap()
    } else {
        *random.pick(&PORTS)
    }
}

fn octet_of(random: &mut Random, from: &[u8]) -> u8 {
    *random.pick(from)
}
