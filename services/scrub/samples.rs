//! Frames for tests, from a description: what a packet is, without reading it.

use std::net::IpAddr;

use tidegate_dataplane::wire::{ethernet, ipv4, ipv6, protocol, tcp, udp};

/// A packet as its sender thinks of it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) kind: Kind,
    pub(super) part: Part,
    pub(super) payload: Vec<u8>,
}

/// What is above IP.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Udp { source: u16, destination: u16 },
    Tcp { source: u16, destination: u16, flags: u8 },
    Icmp,
    Other(u8),
}

/// Which part of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    /// The last one; its payload is from the middle, without a header above IP.
    Later,
}

impl Sample {
    /// A whole UDP datagram over IPv4.
    pub(super) fn udp(payload: &[u8]) -> Self {
        Self {
            source: [198, 18, 0, 1].into(),
            destination: [198, 19, 0, 2].into(),
            kind: Kind::Udp { source: 123, destination: 40_000 },
            part: Part::Whole,
            payload: payload.to_vec(),
        }
    }

    /// A TCP segment over IPv6.
    pub(super) fn tcp_v6(flags: u8) -> Self {
        Self {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8:0:1::2".parse().unwrap(),
            kind: Kind::Tcp { source: 40_000, destination: 443, flags },
            ..Self::udp(b"")
        }
    }

    /// Number of the protocol.
    pub(super) fn protocol(&self) -> u8 {
        match self.kind {
            Kind::Udp { .. } => protocol::UDP,
            Kind::Tcp { .. } => protocol::TCP,
            Kind::Icmp if self.source.is_ipv4() => protocol::ICMP,
            Kind::Icmp => protocol::ICMPV6,
            Kind::Other(number) => number,
        }
    }

    fn above_ip(&self) -> Vec<u8> {
        let octets = u16::try_from(self.payload.len()).unwrap();
        let header = match self.kind {
            _ if self.part == Part::Later => vec![],
            Kind::Udp { source, destination } => {
                // The length is the whole datagram's, of which a first part has only the beginning.
                let rest = if self.part == Part::First { 100 } else { 0 };
                let payload_octets = octets + rest;
                udp::Header { source, destination, payload_octets, checksum: 0 }.emit().to_vec()
            }
            Kind::Tcp { source, destination, flags } => tcp::Header {
                source,
                destination,
                sequence: 1,
                acknowledgment: 0,
                flags: tcp::Flags(flags),
                window: 0,
                checksum: 0,
            }
            .emit()
            .to_vec(),
            Kind::Icmp => vec![8, 0, 0, 0, 0, 1, 0, 1],
            Kind::Other(_) => vec![],
        };
        let mut octets = [header, self.payload.clone()].concat();
        if self.part == Part::First {
            // RFC 791, section 3.2: all parts but the last are multiples of 8 octets.
            octets.resize(octets.len().next_multiple_of(8), 0);
        }
        octets
    }

    /// The frame, without padding.
    pub(super) fn frame(&self) -> Vec<u8> {
        let above = self.above_ip();
        let link = |ether_type| {
            let (destination, source) = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
            ethernet::Header { destination, source, ether_type }.emit().to_vec()
        };
        let octets = |length: usize| u16::try_from(length).unwrap();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = ipv4::Header {
                    source,
                    destination,
                    protocol: self.protocol(),
                    payload_octets: octets(above.len()),
                    ttl: 64,
                    traffic_class: 0,
                    id: 7,
                }
                .emit();
                let field: u16 = match self.part {
                    Part::Whole => 0,
                    Part::First => 0x2000,
                    Part::Later => 100,
                };
                ip[6..8].copy_from_slice(&field.to_be_bytes());
                [link(0x0800), ip.to_vec(), above].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let field: Option<u16> = match self.part {
                    Part::Whole => None,
                    Part::First => Some(1),
                    Part::Later => Some(100 << 3),
                };
                let fragment = field.map_or(vec![], |field| {
                    let [high, low] = field.to_be_bytes();
                    vec![self.protocol(), 0, high, low, 0, 0, 0, 7]
                });
                let next = if fragment.is_empty() { self.protocol() } else { protocol::FRAGMENT };
                let ip = ipv6::Header {
                    source,
                    destination,
                    protocol: next,
                    payload_octets: octets(fragment.len() + above.len()),
                    hop_limit: 64,
                    traffic_class: 0,
                };
                [link(0x86dd), ip.emit().to_vec(), fragment, above].concat()
            }
            mixed => panic!("no packet goes from one family to the other: {mixed:?}"),
        }
    }
}
