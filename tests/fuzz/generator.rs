//! Packets that are right, of every protocol that is read here, by chance.
//!
//! A packet is made from the inside out. Its length fields are remembered by their distance from
//! its end, which does not change while headers are put in front; damage likes them.

use tidegate_dataplane::wire::{icmp, protocol, rfc4175, rtp, udp};
use tidegate_runtime::sim::Random;

/// Width and height of the video in the packets of [`video`], and its UDP port.
pub(super) const VIDEO: (u16, u16, u16) = (320, 180, 20_000);

/// Octets of one line of it, with 10 bits a sample: a packet's worth.
const LINE_OCTETS: u16 = VIDEO.0 / 2 * 5;

/// Upper layers that nothing here looks into: GRE, ESP, "no next header", SCTP, an experiment.
const UNREAD: [u8; 5] = [47, 50, protocol::NO_NEXT_HEADER, 132, 253];

/// Extension headers that count their length in eight octets, and so can be put anywhere.
const EXTENSIONS: [u8; 5] = [protocol::ROUTING, protocol::DESTINATION_OPTIONS, 135, 139, 140];

/// A packet, or the inner part of one.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) octets: Vec<u8>,
    /// Whether it must be read. What is not is ARP, or has more tags or headers than are walked.
    pub(super) readable: bool,
    /// Length fields: distance of the first octet from the end, and how many octets.
    lengths: Vec<(usize, usize)>,
}

impl Made {
    pub(super) fn new(octets: Vec<u8>, lengths: &[(usize, usize)]) -> Self {
        let from_end = |&(at, width): &(usize, usize)| (octets.len() - at, width);
        let lengths = lengths.iter().map(from_end).collect();
        Self { octets, readable: true, lengths }
    }

    /// Puts `header` in front, whose length fields are at `lengths`.
    fn behind(mut self, header: &[u8], lengths: &[(usize, usize)]) -> Self {
        self.octets.splice(0..0, header.iter().copied());
        let len = self.octets.len();
        self.lengths.extend(lengths.iter().map(|&(at, width)| (len - at, width)));
        self
    }

    /// Where its length fields are, and how wide.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (usize, usize)> {
        self.lengths.iter().map(|&(from_end, width)| (self.octets.len() - from_end, width))
    }

    fn len(&self) -> u16 {
        self.octets.len().try_into().unwrap()
    }
}

/// The lowest octet of a random number.
fn octet(random: &mut Random) -> u8 {
    random.next().to_le_bytes()[0]
}

/// A number from 0 up to `most`.
fn upto(random: &mut Random, most: u16) -> u16 {
    random.below(u64::from(most) + 1).try_into().unwrap()
}

fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[usize::from(upto(random, u16::try_from(choices.len()).unwrap() - 1))]
}

fn noise(random: &mut Random, most: u16) -> Vec<u8> {
    (0..upto(random, most)).map(|_| octet(random)).collect()
}

/// Any packet: Ethernet with tags, and ARP or IP in it.
pub(super) fn packet(random: &mut Random) -> Made {
    let (kind, inner) = match random.below(16) {
        0 => (0x0806, arp(random)),
        1..=8 => (0x0800, ipv4(random)),
        _ => (0x86dd, ipv6(random)),
    };
    link(random, kind, inner)
}

/// One line of video, over IPv4, with this number, in the frame of this time.
pub(super) fn video(random: &mut Random, sequence: u32, timestamp: u32, line: u16) -> Made {
    let marker = line + 1 == VIDEO.1;
    let data = vec![octet(random); LINE_OCTETS.into()];
    let inner = datagram(VIDEO.2, rtp_payload(marker, sequence, timestamp, line, &data));
    let inner = ipv4_of(random, protocol::UDP, 0, inner);
    link(random, 0x0800, inner)
}

fn link(random: &mut Random, kind: u16, mut inner: Made) -> Made {
    let tags = random.below(12).saturating_sub(8);
    let mut header = vec![2, 0x74, 0x67, 0, 1, 1, 2, 0x74, 0x67, 0, 1, 2];
    for _ in 0..tags {
        header.extend(one_of(random, &[[0x81, 0], [0x88, 0xa8]]));
        header.extend(upto(random, u16::MAX).to_be_bytes());
    }
    header.extend(u16::to_be_bytes(kind));
    inner.readable &= tags <= 2;
    let mut made = inner.behind(&header, &[]);
    if made.octets.len() < 60 && random.chance(500) {
        // Padding belongs to no header, and moves the end.
        let padding = 60 - made.octets.len();
        made.octets.resize(60, 0xa5);
        made.lengths.iter_mut().for_each(|(from_end, _)| *from_end += padding);
    }
    made
}

fn arp(random: &mut Random) -> Made {
    let mut octets = vec![0, 1, 8, 0, 6, 4, 0, 1];
    octets.extend((0..20).map(|_| octet(random)));
    Made { readable: false, ..Made::new(octets, &[(4, 1), (5, 1)]) }
}

/// Which part of a datagram to make.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Whole,
    First,
    Later,
}

fn part(random: &mut Random) -> Part {
    match random.below(8) {
        0 => Part::First,
        1 => Part::Later,
        _ => Part::Whole,
    }
}

fn ipv4(random: &mut Random) -> Made {
    let part = part(random);
    let (number, inner) = upper(random, part, false);
    let field = fragment_field(random, part);
    // IPv4 has three flags in front of the offset; "more" is the lowest.
    let field = field >> 3 | (field & 1) << 13;
    ipv4_of(random, number, field, inner)
}

fn ipv4_of(random: &mut Random, number: u8, fragment: u16, inner: Made) -> Made {
    let words = if random.chance(300) { octet(random) % 11 } else { 0 };
    let header_octets = 20 + usize::from(words) * 4;
    let mut header = vec![0x45 + words, 0];
    header.extend((inner.len() + u16::try_from(header_octets).unwrap()).to_be_bytes());
    header.extend(upto(random, u16::MAX).to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([64, number, 0, 0, 198, 18, 1, octet(random), 198, 18, 1, 1]);
    header.resize(header_octets, 1);
    inner.behind(&header, &[(0, 1), (2, 2)])
}

/// A fragment's offset in eight octets and whether more follow, as IPv6 writes them.
fn fragment_field(random: &mut Random, part: Part) -> u16 {
    match part {
        Part::Whole => 0,
        Part::First => 1,
        Part::Later => (1 + upto(random, 6_000)) << 3 | upto(random, 1),
    }
}

fn ipv6(random: &mut Random) -> Made {
    let part = part(random);
    let (mut next, mut inner) = upper(random, part, true);
    let mut count = 0;
    let chain = if random.chance(500) { random.below(4) } else { 0 };
    for _ in 0..chain {
        (next, inner) = extension(random, next, inner);
        count += 1;
    }
    if part != Part::Whole || random.chance(100) {
        let field = fragment_field(random, part);
        if field & 1 == 1 {
            // RFC 8200, section 4.5: all parts but the last are multiples of eight octets.
            let padding = inner.octets.len().next_multiple_of(8) - inner.octets.len();
            let short = inner.octets.len() + padding;
            inner.lengths.iter_mut().for_each(|(from_end, _)| *from_end += padding);
            inner.octets.resize(short, 0);
        }
        let [high, low] = field.to_be_bytes();
        inner = inner.behind(&[next, 0, high, low, 0, 0, 0, octet(random)], &[]);
        next = protocol::FRAGMENT;
        // What is behind a later fragment's header is not walked.
        count = if part == Part::Later { 1 } else { count + 1 };
    }
    let chain = if random.chance(100) { random.below(8) } else { random.below(2) };
    for _ in 0..chain {
        (next, inner) = extension(random, next, inner);
        count += 1;
    }
    if random.chance(100) {
        (_, inner) = eights(random, next, inner);
        next = protocol::HOP_BY_HOP;
        count += 1;
    }
    inner.readable &= count <= 8;
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(inner.len().to_be_bytes());
    header.extend([next, 64, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, octet(random)]);
    header.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    inner.behind(&header, &[(4, 2)])
}

fn extension(random: &mut Random, next: u8, inner: Made) -> (u8, Made) {
    if random.chance(800) {
        return eights(random, next, inner);
    }
    // RFC 4302, section 2.2: counted in four octets, minus 2.
    let words = 1 + octet(random) % 8;
    let mut header = vec![next, words];
    header.resize(usize::from(words + 2) * 4, 0);
    (protocol::AUTHENTICATION, inner.behind(&header, &[(1, 1)]))
}

/// An extension header that counts in eight octets, minus 1.
fn eights(random: &mut Random, next: u8, inner: Made) -> (u8, Made) {
    let units = octet(random) % 4;
    let mut header = vec![next, units];
    header.resize(usize::from(units + 1) * 8, 0);
    (one_of(random, &EXTENSIONS), inner.behind(&header, &[(1, 1)]))
}

/// What is behind the IP headers, and its protocol.
fn upper(random: &mut Random, part: Part, v6: bool) -> (u8, Made) {
    match random.below(8) {
        0..=2 => (protocol::UDP, udp(random, part)),
        3 => {
            let data = noise(random, 1_200);
            let (sequence, line) = (random.next().to_le_bytes(), upto(random, VIDEO.1));
            let [a, b, c, d, e, f, g, h] = sequence;
            let (sequence, time) =
                (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            let payload = rtp_payload(random.chance(500), sequence, time, line, &data);
            (protocol::UDP, first_of(part, datagram(VIDEO.2, payload)))
        }
        4 | 5 => (protocol::TCP, tcp(random)),
        6 => {
            let mut octets = vec![octet(random), octet(random)];
            octets.resize(icmp::HEADER_LEN, 0);
            octets.extend(noise(random, 100));
            (if v6 { protocol::ICMPV6 } else { protocol::ICMP }, Made::new(octets, &[]))
        }
        _ => (one_of(random, &UNREAD), Made::new(noise(random, 100), &[])),
    }
}

fn udp(random: &mut Random, part: Part) -> Made {
    let port = one_of(random, &[53, 7, VIDEO.2, 5_300]);
    let payload = Made::new(noise(random, 300), &[]);
    first_of(part, datagram(port, payload))
}

fn datagram(destination: u16, payload: Made) -> Made {
    let payload_octets = payload.len();
    let header = udp::Header { source: 40_000, destination, payload_octets, checksum: 0 };
    payload.behind(&header.emit(), &[(4, 2)])
}

/// In a first fragment a datagram's length counts what is still to come, and padding does not
/// reach it.
fn first_of(part: Part, mut datagram: Made) -> Made {
    if part == Part::First {
        let whole = datagram.len() + 64;
        datagram.octets[4..6].copy_from_slice(&whole.to_be_bytes());
    }
    datagram
}

fn tcp(random: &mut Random) -> Made {
    let words = octet(random) % 11;
    let mut header = vec![0x9c, 0x40, 1, 0xbb];
    header.extend((0..8).map(|_| octet(random)));
    header.extend([(5 + words) << 4, octet(random), 4, 0, 0, 0, 0, 0]);
    header.resize(20 + usize::from(words) * 4, 1);
    Made::new(noise(random, 200), &[]).behind(&header, &[(12, 1)])
}

fn rtp_payload(marker: bool, sequence: u32, timestamp: u32, line: u16, data: &[u8]) -> Made {
    let [high, low] = [sequence >> 16, sequence & 0xffff].map(|half| half.try_into().unwrap());
    let rtp = rtp::Header { marker, payload_type: 96, sequence: low, timestamp, ssrc: 1 };
    let data_octets = data.len().try_into().unwrap();
    let row = rfc4175::Header { extended_sequence: high, data_octets, line, offset_pixels: 0 };
    Made::new(data.to_vec(), &[]).behind(&row.emit(), &[(2, 2)]).behind(&rtp.emit(), &[(0, 1)])
}
