//! Shapes of floods, and of what is sent to get past a filter: pure octets.
//!
//! What hping3 and nping make with spoofed sources, and the evasions of the literature: headers in
//! pieces, pieces that overlap, checksums that are wrong, lengths that lie, options and extension
//! headers in front of the ports. Every packet has a source of its own in 198.19.0.0/16 or
//! 2001:db8:f100::/64, and the packets of one datagram share one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_dataplane::wire::checksum::{self, Sum};

use super::Family;
use super::template::{MARK, SOURCE_IPV4, SOURCE_IPV6, Way, mix};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What the packets of a flood are like, beyond a plain datagram or SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Requests for an ICMP echo.
    Ping,
    /// SYN with the options that a client of today sends.
    SynWithOptions,
    /// Answers of servers that nobody asked, as reflected ones are.
    SynAck,
    /// Segments of connections that never were.
    Ack,
    /// Resets of connections that never were.
    Rst,
    /// Every TCP flag there is.
    AllFlags,
    /// No TCP flag.
    NoFlags,
    /// Datagrams in two fragments, both whole and right.
    Fragments,
    /// A SYN cut behind its ports, so that the flags are in the second fragment (RFC 1858, 3).
    TinyFragments,
    /// A datagram whose second fragment writes over the end of the first (RFC 1858, 4; RFC 5722).
    OverlappingFragments,
    /// Last fragments of datagrams without a beginning.
    LoneFragments,
    /// Datagrams whose UDP checksum is wrong.
    WrongChecksum,
    /// Datagrams whose IPv4 header checksum is wrong. IPv4 whatever was asked for.
    WrongHeaderChecksum,
    /// Datagrams behind 40 octets of options. IPv4 whatever was asked for.
    Options,
    /// Datagrams behind a chain of extension headers. IPv6 whatever was asked for.
    ExtensionHeaders,
    /// Datagrams that say they are longer than their packet.
    LongLength,
    /// Their source is their destination, ports too.
    Land,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Ping,
        Self::SynWithOptions,
        Self::SynAck,
        Self::Ack,
        Self::Rst,
        Self::AllFlags,
        Self::NoFlags,
        Self::Fragments,
        Self::TinyFragments,
        Self::OverlappingFragments,
        Self::LoneFragments,
        Self::WrongChecksum,
        Self::WrongHeaderChecksum,
        Self::Options,
        Self::ExtensionHeaders,
        Self::LongLength,
        Self::Land,
    ];

    /// Packets of one datagram.
    const fn parts(self) -> u64 {
        match self {
            Self::Fragments | Self::TinyFragments | Self::OverlappingFragments => 2,
            _ => 1,
        }
    }

    /// What stands behind IP.
    const fn protocol(self) -> u8 {
        match self {
            Self::Ping => ICMP,
            Self::SynWithOptions
            | Self::SynAck
            | Self::Ack
            | Self::Rst
            | Self::AllFlags
            | Self::NoFlags
            | Self::TinyFragments
            | Self::Land => TCP,
            _ => UDP,
        }
    }
}

/// All that a packet of a shape follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shaped {
    pub(super) way: Way,
    pub(super) shape: Shape,
    pub(super) port: u16,
    pub(super) family: Family,
    pub(super) seed: u64,
}

impl Shaped {
    /// Packet `number` of the flood.
    pub(super) fn frame(&self, number: u64) -> Vec<u8> {
        let parts = self.shape.parts();
        let random = mix(self.seed, number / parts);
        let datagram = Datagram::new(self, random);
        let mut body = datagram.transport(self.shape);
        let ip = match self.shape {
            Shape::Fragments => match number % parts {
                0 => datagram.fragment(&body[..24], 0, true),
                _ => datagram.fragment(&body[24..], 24, false),
            },
            Shape::TinyFragments => match number % parts {
                0 => datagram.fragment(&body[..8], 0, true),
                _ => datagram.fragment(&body[8..], 8, false),
            },
            Shape::OverlappingFragments => match number % parts {
                0 => datagram.fragment(&body[..24], 0, true),
                _ => datagram.fragment(&[0x5a; 32], 8, false),
            },
            Shape::LoneFragments => datagram.fragment(&body, 1_400, false),
            Shape::WrongHeaderChecksum => {
                let mut ip = datagram.whole(&body);
                ip[10] ^= 0x55;
                ip
            }
            Shape::LongLength => {
                body[4..6].copy_from_slice(&4_000u16.to_be_bytes());
                datagram.whole(&body)
            }
            Shape::Options => datagram.with_options(&body),
            Shape::ExtensionHeaders => datagram.behind_headers(&body),
            _ => datagram.whole(&body),
        };
        let ether_type: [u8; 2] = if datagram.source.is_ipv6() { [0x86, 0xdd] } else { [8, 0] };
        let mut frame = [&self.way.to_mac[..], &self.way.from_mac, &ether_type, &ip].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

/// Between whom one datagram goes.
struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    port: u16,
    protocol: u8,
    random: u64,
}

impl Datagram {
    fn new(shaped: &Shaped, random: u64) -> Self {
        let Shaped { way, shape, port, family, .. } = shaped;
        let ipv6 = match shape {
            Shape::WrongHeaderChecksum | Shape::Options => false,
            Shape::ExtensionHeaders => true,
            _ => *family == Family::Ipv6,
        };
        let host = random.to_be_bytes();
        let (source, destination): (IpAddr, IpAddr) = if ipv6 {
            let mut source = SOURCE_IPV6.octets();
            source[8..].copy_from_slice(&host);
            (Ipv6Addr::from(source).into(), way.to_ipv6.into())
        } else {
            let [a, b, ..] = SOURCE_IPV4.octets();
            (Ipv4Addr::new(a, b, host[0], host[1]).into(), way.to_ipv4.into())
        };
        let source_port = u16::from_be_bytes([host[2], host[3]]) | 1024;
        let (source, source_port) = match shape {
            Shape::Land => (destination, *port),
            _ => (source, source_port),
        };
        let protocol = match shape.protocol() {
            ICMP if ipv6 => ICMPV6,
            protocol => protocol,
        };
        Self { source, destination, source_port, port: *port, protocol, random }
    }

    /// Sum of the pseudo header (RFC 768; RFC 9293, 3.1; RFC 8200, 8.1).
    fn pseudo(&self, octets: usize) -> Sum {
        let octets = u16::try_from(octets).expect("a packet's length");
        match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                checksum::pseudo_v4(from, to, self.protocol, octets)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                checksum::pseudo_v6(from, to, self.protocol, octets.into())
            }
            _ => unreachable!("both of one family"),
        }
    }

    /// Transport header and data, with a right checksum unless that is the shape.
    fn transport(&self, shape: Shape) -> Vec<u8> {
        let [source, port] = [self.source_port, self.port].map(u16::to_be_bytes);
        let (mut octets, at) = match self.protocol {
            TCP => (self.segment(shape), 16),
            // RFC 792, RFC 4443, 4.1: echo request, its identifier and number, data.
            ICMP | ICMPV6 => {
                let kind = if self.protocol == ICMP { 8 } else { 128 };
                ([&[kind, 0, 0, 0][..], &source, &[0, 1], &[MARK; 24]].concat(), 2)
            }
            _ => {
                let octets = 8 + 32_u16;
                let header = [source, port, octets.to_be_bytes(), [0; 2]].concat();
                ([&header[..], &[MARK; 32]].concat(), 6)
            }
        };
        // RFC 792: that of IPv4 has no pseudo header.
        let sum = if self.protocol == ICMP { Sum::default() } else { self.pseudo(octets.len()) };
        let sum = sum.add_octets(&octets);
        let sum = if self.protocol == UDP { checksum::for_udp(sum) } else { sum.finish() };
        // Neither the right one nor none.
        let sum = if shape == Shape::WrongChecksum { (!sum).max(1) } else { sum };
        octets[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        octets
    }

    /// RFC 9293, 3.1; checksum zero.
    fn segment(&self, shape: Shape) -> Vec<u8> {
        // Largest segment, selective acknowledgement, timestamps, window scale: as Linux does.
        let timestamp = self.random.to_be_bytes();
        let options: &[u8] = &match shape {
            Shape::SynWithOptions => {
                [&[2, 4, 5, 180, 4, 2, 8, 10][..], &timestamp[..4], &[0; 4], &[1, 3, 3, 7]].concat()
            }
            _ => Vec::new(),
        };
        let flags = match shape {
            Shape::SynAck => SYN | ACK,
            Shape::Ack => ACK,
            Shape::Rst => RST,
            Shape::AllFlags => 0xff,
            Shape::NoFlags => 0,
            _ => SYN,
        };
        let acknowledgement = if flags & ACK == 0 { [0; 4] } else { *b"gate" };
        let words = u8::try_from(5 + options.len() / 4).expect("at most 15");
        [
            &self.source_port.to_be_bytes()[..],
            &self.port.to_be_bytes(),
            &timestamp[4..],
            &acknowledgement,
            &[words << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0],
            options,
        ]
        .concat()
    }

    /// The whole in one packet.
    fn whole(&self, body: &[u8]) -> Vec<u8> {
        match self.source {
            IpAddr::V4(_) => self.ipv4(&[], 0, body),
            IpAddr::V6(_) => self.ipv6(self.protocol, body),
        }
    }

    /// A part of it, from octet `offset` on.
    fn fragment(&self, body: &[u8], offset: u16, more: bool) -> Vec<u8> {
        match self.source {
            // RFC 791, 3.1: in units of eight octets, below three flags.
            IpAddr::V4(_) => self.ipv4(&[], (offset / 8) | (u16::from(more) << 13), body),
            // RFC 8200, 4.5: above two reserved bits and the flag.
            IpAddr::V6(_) => {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                let random = self.random.to_be_bytes();
                let header = [&[self.protocol, 0, high, low], &random[..4]].concat();
                self.ipv6(FRAGMENT, &[&header, body].concat())
            }
        }
    }

    /// RFC 791, 3.1: 38 times "no operation", the end, padding.
    fn with_options(&self, body: &[u8]) -> Vec<u8> {
        let mut options = [1; 40];
        options[38..].copy_from_slice(&[0, 0]);
        self.ipv4(&options, 0, body)
    }

    /// RFC 8200, 4: hop-by-hop options, routing with nothing left to do, destination options.
    fn behind_headers(&self, body: &[u8]) -> Vec<u8> {
        let padding = [1, 4, 0, 0, 0, 0];
        let chain = [
            &[ROUTING, 0][..],
            &padding,
            &[DESTINATION_OPTIONS, 0, 253, 0, 0, 0, 0, 0],
            &[self.protocol, 0],
            &padding,
            body,
        ];
        self.ipv6(0, &chain.concat())
    }

    fn ipv4(&self, options: &[u8], fragment: u16, body: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) else {
            unreachable!("asked for an IPv4 header")
        };
        let header = 20 + options.len();
        let octets = u16::try_from(header + body.len()).expect("a packet's length");
        let [.., high, low] = self.random.to_be_bytes();
        let words = u8::try_from(header / 4).expect("at most 15");
        let mut ip = [
            &[0x40 | words, 0][..],
            &octets.to_be_bytes(),
            &[high, low],
            &fragment.to_be_bytes(),
            &[64, self.protocol, 0, 0],
            &source.octets(),
            &destination.octets(),
            options,
        ]
        .concat();
        let sum = checksum::of(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        ip.extend_from_slice(body);
        ip
    }

    fn ipv6(&self, next: u8, body: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (self.source, self.destination) else {
            unreachable!("asked for an IPv6 header")
        };
        let octets = u16::try_from(body.len()).expect("a packet's length").to_be_bytes();
        [
            &[0x60, 0, 0, 0, octets[0], octets[1], next, 64][..],
            &source.octets(),
            &destination.octets(),
            body,
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::wire::Malformed;
    use tidegate_dataplane::wire::packet::{Network, Packet, Transport};
    use tidegate_dataplane::wire::transport::TransportChecksum;

    use super::*;

    fn shaped(shape: Shape, family: Family) -> Shaped {
        let way = Way {
            from_mac: [2, 0, 0, 0, 0, 2],
            to_mac: [2, 0, 0, 0, 0, 1],
            to_ipv4: Ipv4Addr::new(198, 18, 1, 1),
            to_ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1),
            mtu: 1500,
        };
        Shaped { way, shape, port: 53, family, seed: 7 }
    }

    const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    #[test]
    fn sources_are_those_set_aside_and_follow_from_the_number() {
        for (shape, family) in Shape::ALL.into_iter().flat_map(|it| FAMILIES.map(|f| (it, f))) {
            let shaped = shaped(shape, family);
            for number in 0..50 {
                let frame = shaped.frame(number);
                assert_eq!(frame, shaped.frame(number), "{shape:?}");
                let source = match frame[12] {
                    8 => &frame[26..30],
                    _ => &frame[22..38],
                };
                let aside: &[u8] = match (shape, frame[12]) {
                    (Shape::Land, 8) => &[198, 18, 1, 1],
                    (Shape::Land, _) => &[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1],
                    (_, 8) => &[198, 19],
                    _ => &[0x20, 0x01, 0x0d, 0xb8, 0xf1, 0, 0, 0],
                };
                assert!(source.starts_with(aside), "{shape:?} {source:?}");
                let next = shaped.frame(number + shape.parts());
                assert!(shape == Shape::Land || frame != next, "{shape:?}");
            }
        }
    }

    #[test]
    fn whole_packets_have_right_checksums_but_those_that_are_to_be_wrong() {
        for (shape, family) in Shape::ALL.into_iter().flat_map(|it| FAMILIES.map(|f| (it, f))) {
            let frame = shaped(shape, family).frame(3);
            if frame[12] == 8 {
                let header = usize::from(frame[14] & 15) * 4;
                let right = checksum::of(&frame[14..14 + header]) == 0;
                assert_eq!(right, shape != Shape::WrongHeaderChecksum, "{shape:?}");
            }
            let Ok(place) = TransportChecksum::of(&frame) else { continue };
            let octets = Packet::parse(&frame).unwrap().ip_octets() + 14;
            let mut finished = frame.clone();
            place.begin(&mut finished[..octets]);
            place.finish(&mut finished[..octets]);
            assert_eq!(finished == frame, shape != Shape::WrongChecksum, "{shape:?} {family:?}");
        }
    }

    #[test]
    fn each_is_what_its_name_says() {
        let parsed = |shape, family, number, look: &dyn Fn(Result<Packet<'_>, Malformed>)| {
            look(Packet::parse(&shaped(shape, family).frame(number)));
        };
        for family in FAMILIES {
            for (shape, flags) in [
                (Shape::SynWithOptions, 2),
                (Shape::SynAck, 18),
                (Shape::Ack, 16),
                (Shape::Rst, 4),
                (Shape::AllFlags, 255),
                (Shape::NoFlags, 0),
                (Shape::Land, 2),
            ] {
                parsed(shape, family, 0, &|packet| {
                    let Transport::Tcp(tcp) = packet.unwrap().transport() else { panic!("TCP") };
                    assert_eq!((tcp.flags().0, tcp.destination()), (flags, 53), "{shape:?}");
                    let options = if shape == Shape::SynWithOptions { 20 } else { 0 };
                    assert_eq!(tcp.options().len(), options);
                });
            }
            // The transport header of the first: of TCP, only its ports.
            parsed(Shape::TinyFragments, family, 0, &|packet| {
                assert!(!packet.is_ok_and(|it| matches!(it.transport(), Transport::Tcp(_))));
            });
            for shape in [Shape::Fragments, Shape::OverlappingFragments] {
                for number in [0, 1] {
                    parsed(shape, family, number, &|packet| {
                        assert_eq!(packet.unwrap().ports().is_some(), number == 0, "{shape:?}");
                    });
                }
            }
            parsed(Shape::LongLength, family, 0, &|packet| assert!(packet.is_err()));
        }
        parsed(Shape::Options, Family::Ipv6, 0, &|packet| {
            let Network::V4(ip) = packet.unwrap().network() else { panic!("IPv4") };
            assert_eq!(ip.options().len(), 40);
        });
        parsed(Shape::ExtensionHeaders, Family::Ipv4, 0, &|packet| {
            let packet = packet.unwrap();
            let Network::V6(ip) = packet.network() else { panic!("IPv6") };
            assert_eq!((ip.extensions().len(), packet.ports().map(|it| it.1)), (24, Some(53)));
        });
    }
}
