//! What one packet of a flood looks like: pure octets.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Family, Kind};

/// Octets of an Ethernet header.
const ETHERNET: usize = 14;

/// Where the flood says that it comes from; the last two octets follow from the
/// packet's number. No end of a wire is there, so answers go nowhere.
pub const SOURCE_IPV4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
/// As [`SOURCE_IPV4`]; the last eight octets follow from the packet's number.
pub const SOURCE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf100, 0, 0, 0, 0, 0);

/// First octet of every datagram's data, by which a witness knows it.
pub const MARK: u8 = b'F';

/// Shortest frame of each family: what the generator in the kernel stores in
/// one go, and no less than Ethernet's minimum.
const SHORTEST: [usize; 2] = [60, 80];
/// Longest frame: what fits a page with the headroom that live frames have.
const LONGEST: usize = 1514;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// Between whom the packets go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) from_mac: [u8; 6],
    pub(super) to_mac: [u8; 6],
    pub(super) to_ipv4: Ipv4Addr,
    pub(super) to_ipv6: Ipv6Addr,
    pub(super) mtu: u32,
}

/// The frame from which every packet of a flood is made.
///
/// Holding one proves that its headers agree with its length. Source address,
/// source port and checksums are zero.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) frame: Vec<u8>,
    pub(super) ipv6: bool,
    pub(super) tcp: bool,
    /// Sum over the IPv4 header, not folded.
    pub(super) ip_sum: u32,
    /// Sum over pseudo header, transport header and data, not folded.
    pub(super) l4_sum: u32,
    pub(super) seed: u64,
}

impl Template {
    /// A frame of about `frame_octets`, brought into the range that the family
    /// and the link allow.
    pub(super) fn new(way: &Way, kind: Kind, family: Family, frame_octets: u16, seed: u64) -> Self {
        let ipv6 = family == Family::Ipv6;
        let tcp = matches!(kind, Kind::Syn { .. });
        let longest = LONGEST.min(way.mtu as usize + ETHERNET);
        let len = usize::from(frame_octets).clamp(SHORTEST[usize::from(ipv6)], longest);
        let mut frame = vec![0; len];
        frame[..6].copy_from_slice(&way.to_mac);
        frame[6..12].copy_from_slice(&way.from_mac);
        let protocol = if tcp { TCP } else { UDP };
        // A SYN carries no data; the rest of the frame is Ethernet padding.
        let l3 = &mut frame[ETHERNET..];
        let l3_header = if ipv6 { 40 } else { 20 };
        let l4_len = if tcp { 20 } else { l3.len() - l3_header };
        let l4_len_field = u16::try_from(l4_len).expect("below the longest frame");
        let mut ip_sum = 0;
        if ipv6 {
            // RFC 8200, 3.
            l3[0] = 0x60;
            l3[4..6].copy_from_slice(&l4_len_field.to_be_bytes());
            l3[6] = protocol;
            l3[7] = 64;
            l3[8..24].copy_from_slice(&SOURCE_IPV6.octets());
            l3[24..40].copy_from_slice(&way.to_ipv6.octets());
        } else {
            // RFC 791, 3.1; not to be fragmented.
            l3[0] = 0x45;
            l3[2..4].copy_from_slice(&(l4_len_field + 20).to_be_bytes());
            l3[6] = 0x40;
            l3[8] = 64;
            l3[9] = protocol;
            l3[12..16].copy_from_slice(&SOURCE_IPV4.octets());
            l3[16..20].copy_from_slice(&way.to_ipv4.octets());
            ip_sum = sum(&l3[..20]);
        }
        let (l3, l4) = l3.split_at_mut(l3_header);
        let l4 = &mut l4[..l4_len];
        let port = match kind {
            Kind::Udp { port } | Kind::Syn { port } | Kind::Shaped { port, .. } => port,
        };
        l4[2..4].copy_from_slice(&port.to_be_bytes());
        if tcp {
            // RFC 9293, 3.1: five words of header, SYN.
            l4[4..8].copy_from_slice(b"tide");
            l4[12] = 5 << 4;
            l4[13] = 0x02;
            l4[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        } else {
            l4[4..6].copy_from_slice(&l4_len_field.to_be_bytes());
            l4[8] = MARK;
        }
        // RFC 8200, 8.1 and RFC 768: addresses, length and protocol count too.
        let addresses = if ipv6 { &l3[8..40] } else { &l3[12..20] };
        let pseudo = sum(addresses) + sum(&l4_len_field.to_be_bytes()) + sum(&[0, protocol]);
        let l4_sum = pseudo + sum(l4);
        let ether_type: [u8; 2] = if ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        frame[12..14].copy_from_slice(&ether_type);
        Self { frame, ipv6, tcp, ip_sum, l4_sum, seed }
    }

    /// Makes `frame`, a copy of the template or of an earlier packet, packet
    /// `number` of the flood. `tidegate_flood` in flood.bpf.c does the same.
    pub(super) fn stamp(&self, frame: &mut [u8], number: u64) {
        let random = mix(self.seed, number);
        let low = |shift: u32| (random >> shift & 0xffff) as u16;
        // Ports below are for servers.
        let port = (low(0) | 1024).to_be_bytes();
        let l4 = if self.ipv6 {
            frame[ETHERNET + 16..ETHERNET + 24].copy_from_slice(&random.to_ne_bytes());
            ETHERNET + 40
        } else {
            let host = low(16).to_ne_bytes();
            frame[ETHERNET + 14..ETHERNET + 16].copy_from_slice(&host);
            let header = checksum(self.ip_sum + sum(&host));
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header);
            ETHERNET + 20
        };
        let stamped =
            if self.ipv6 { sum(&random.to_ne_bytes()) } else { sum(&low(16).to_ne_bytes()) };
        frame[l4..l4 + 2].copy_from_slice(&port);
        let mut transport = checksum(self.l4_sum + sum(&port) + stamped);
        // RFC 768: zero means that none was computed, and its other form stands for it.
        if !self.tcp && transport == [0, 0] {
            transport = [0xff; 2];
        }
        let at = l4 + if self.tcp { 16 } else { 6 };
        frame[at..at + 2].copy_from_slice(&transport);
    }
}

/// splitmix64 (Steele, Lea, Flood 2014): the `number`th value of `seed`'s row.
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    let z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Sum of 16-bit words as they lie in memory: RFC 1071, 2 (B), so that the
/// generator in the kernel can go on with it without turning octets around.
fn sum(octets: &[u8]) -> u32 {
    let word = |pair: &[u8]| u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
    octets.chunks(2).map(|pair| u32::from(word(pair))).sum()
}

/// RFC 1071: the sum folded and inverted, as it lies in memory.
fn checksum(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded twice, 16 bits are left")]
    let word = !(sum as u16);
    word.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way {
        from_mac: [2, 0, 0, 0, 0, 2],
        to_mac: [2, 0, 0, 0, 0, 1],
        to_ipv4: Ipv4Addr::new(198, 18, 1, 1),
        to_ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1),
        mtu: 1500,
    };

    /// RFC 1071 by the book: big-endian words, the carry at once.
    fn book_sum(pieces: &[&[u8]]) -> u16 {
        let octets: Vec<u8> = pieces.concat();
        octets.chunks(2).fold(0, |sum: u16, pair| {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    #[test]
    fn every_packet_has_right_lengths_and_checksums_whatever_stood_in_the_frame() {
        for family in [Family::Ipv4, Family::Ipv6] {
            for kind in [Kind::Udp { port: 53 }, Kind::Syn { port: 80 }] {
                for octets in [0, 60, 101, 1400, u16::MAX] {
                    let template = Template::new(&WAY, kind, family, octets, 7);
                    let mut frame = template.frame.clone();
                    for number in 0..200 {
                        template.stamp(&mut frame, number);
                        check(&frame, family, kind);
                    }
                }
            }
        }
    }

    fn check(frame: &[u8], family: Family, kind: Kind) {
        assert!(frame.len() >= 60 && frame.len() <= 1514, "{}", frame.len());
        let l3 = &frame[14..];
        let field = |at: usize| usize::from(u16::from_be_bytes([l3[at], l3[at + 1]]));
        let (header, total, addresses, protocol) = match family {
            Family::Ipv4 => (20, field(2), &l3[12..20], l3[9]),
            Family::Ipv6 => (40, field(4) + 40, &l3[8..40], l3[6]),
        };
        if family == Family::Ipv4 {
            assert_eq!(book_sum(&[&l3[..20]]), 0xffff, "IPv4 header");
        }
        assert_eq!(frame[12..14], if header == 20 { [8, 0] } else { [0x86, 0xdd] });
        let l4 = &l3[header..total];
        let (number, port, len) = match kind {
            Kind::Udp { port } => (17, port, l3.len() - header),
            Kind::Syn { port } => (6, port, 20),
            Kind::Shaped { .. } => unreachable!("has no template"),
        };
        assert_eq!((protocol, l4.len()), (number, len));
        let l4_len = u16::try_from(len).unwrap().to_be_bytes();
        assert_eq!(book_sum(&[addresses, &[0, number], &l4_len, l4]), 0xffff, "{kind:?}");
        assert_eq!(l4[2..4], port.to_be_bytes());
        assert!(u16::from_be_bytes([l4[0], l4[1]]) >= 1024);
        if let Kind::Udp { .. } = kind {
            assert_eq!((&l4[4..6], l4[8]), (&l4_len[..], MARK));
            assert_ne!(l4[6..8], [0, 0], "zero would mean that there is none");
        }
    }

    #[test]
    fn sources_stay_in_what_is_set_aside_and_follow_from_seed_and_number() {
        let kind = Kind::Udp { port: 53 };
        let templates = [1, 1, 2].map(|seed| Template::new(&WAY, kind, Family::Ipv4, 60, seed));
        let row = |template: &Template| -> Vec<Vec<u8>> {
            let stamped = |number| {
                let mut frame = template.frame.clone();
                template.stamp(&mut frame, number);
                frame
            };
            (0..50).map(stamped).collect()
        };
        let [one, again, other] = templates.each_ref().map(row);
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert!(one.iter().all(|frame| frame[26..28] == [198, 19]));
    }
}
