//! Who speaks to whom in one packet.

use std::net::IpAddr;

use tidegate_dataplane::wire::packet::Transport;
use tidegate_dataplane::wire::protocol;

use super::super::facts::Facts;
use super::super::rules::field::{AddressField, NumberField, Scope};

/// An address and a port: of TCP and UDP theirs, of an echo its identifier, else 0.
pub(super) type End = (IpAddr, u16);

/// Both ends of a packet, and what they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) source: End,
    pub(super) destination: End,
    pub(super) protocol: u8,
}

impl Ends {
    /// The same for both directions, and whether these are it turned round.
    pub(super) fn pair(self) -> (Self, Side) {
        if self.source <= self.destination {
            (self, Side::Lower)
        } else {
            let Self { source, destination, protocol } = self;
            (Self { source: destination, destination: source, protocol }, Side::Upper)
        }
    }
}

/// Which end of a pair speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Lower = 0,
    Upper = 1,
}

/// What all parts of one datagram have in common (RFC 791, section 3.2; RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

/// A packet, as far as conversations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without ports where they are not in the packet.
    pub(super) ends: Ends,
    pub(super) kind: Kind,
    /// The datagram that it is a part of, where it is one.
    pub(super) part_of: Option<Datagram>,
}

/// What kind of word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Segment(Segment),
    /// UDP, and whatever has no kind of its own.
    Datagram,
    /// ICMP asks for an echo.
    Ping,
    /// An echo that was asked for, perhaps.
    Echo,
    /// ICMP says that a packet of these ends did not arrive; `None` where it is cut off.
    Undelivered(Option<Ends>),
    /// A later fragment: its ends have no ports.
    Later,
}

/// What TCP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) reset: bool,
    pub(super) sequence: u32,
    /// The number that comes next.
    pub(super) next: u32,
    pub(super) acknowledgement: u32,
}

/// What `facts` tell of their ends; `None` without IP.
pub(super) fn word(facts: &Facts<'_>) -> Option<Word> {
    let source = facts.address(Scope::Outer, AddressField::Source)?;
    let destination = facts.address(Scope::Outer, AddressField::Destination)?;
    let number = |field| facts.number(Scope::Outer, field);
    let protocol = number(NumberField::IpProtocol).map_or(0, narrow::<u8>);
    let port = |field| number(field).map_or(0, narrow::<u16>);
    let mut ends = Ends {
        source: (source, port(NumberField::SourcePort)),
        destination: (destination, port(NumberField::DestinationPort)),
        protocol,
    };
    let kind = match facts.transport(Scope::Outer)? {
        Transport::Fragment(_) => Kind::Later,
        Transport::Tcp(_) => Kind::Segment(segment(facts)),
        Transport::Icmp(icmp) => {
            let kind = match icmp.kind() {
                8 => Kind::Ping,
                0 => Kind::Echo,
                3 | 4 | 5 | 11 | 12 => Kind::Undelivered(quoted(icmp.payload())),
                _ => Kind::Datagram,
            };
            identify(&mut ends, kind, icmp.rest());
            kind
        }
        Transport::Icmpv6(icmp) => {
            let kind = match icmp.kind() {
                128 => Kind::Ping,
                129 => Kind::Echo,
                1..=4 => Kind::Undelivered(quoted(icmp.payload())),
                _ => Kind::Datagram,
            };
            identify(&mut ends, kind, icmp.rest());
            kind
        }
        Transport::Udp(_) | Transport::Other(_) => Kind::Datagram,
    };
    let part_of = (number(NumberField::IpFragment) == Some(1)).then(|| Datagram {
        source,
        destination,
        protocol,
        id: number(NumberField::IpId).map_or(0, narrow::<u32>),
    });
    Some(Word { ends, kind, part_of })
}

/// A field of no more bits than the type has.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

/// An echo and its answer have the identifier in common.
fn identify(ends: &mut Ends, kind: Kind, rest: [u8; 4]) {
    if matches!(kind, Kind::Ping | Kind::Echo) {
        let id = u16::from_be_bytes([rest[0], rest[1]]);
        (ends.source.1, ends.destination.1) = (id, id);
    }
}

fn segment(facts: &Facts<'_>) -> Segment {
    let number = |field| facts.number(Scope::Outer, field).unwrap_or(0);
    let flag = |field| number(field) == 1;
    let (syn, fin) = (flag(NumberField::TcpSyn), flag(NumberField::TcpFin));
    let sequence = narrow::<u32>(number(NumberField::TcpSequence));
    let octets = narrow::<u32>(number(NumberField::TcpLength));
    Segment {
        syn,
        ack: flag(NumberField::TcpAckFlag),
        reset: flag(NumberField::TcpReset),
        sequence,
        next: sequence.wrapping_add(octets).wrapping_add(u32::from(syn) + u32::from(fin)),
        acknowledgement: narrow(number(NumberField::TcpAcknowledgement)),
    }
}

/// The ends of the packet that an ICMP error quotes: its IP header and at least eight octets more
/// (RFC 792), which have the ports in them. Behind extension headers nothing is looked for.
fn quoted(packet: &[u8]) -> Option<Ends> {
    let (source, destination, protocol, behind): (IpAddr, IpAddr, u8, &[u8]) =
        match packet.first()? >> 4 {
            4 => {
                let header = usize::from(packet[0] & 15) * 4;
                let octets = |at: usize| packet.get(at..at + 4)?.first_chunk::<4>().copied();
                let ports = packet.get(header.max(20)..)?;
                (octets(12)?.into(), octets(16)?.into(), packet[9], ports)
            }
            6 => {
                let octets = |at: usize| packet.get(at..at + 16)?.first_chunk::<16>().copied();
                (octets(8)?.into(), octets(24)?.into(), packet[6], packet.get(40..)?)
            }
            _ => return None,
        };
    let port = |at: usize| behind.get(at..at + 2).map(|it| u16::from_be_bytes([it[0], it[1]]));
    let (from, to) = match protocol {
        protocol::TCP | protocol::UDP => (port(0)?, port(2)?),
        // Type, code, checksum, identifier.
        protocol::ICMP | protocol::ICMPV6 => (port(4)?, port(4)?),
        _ => (0, 0),
    };
    Some(Ends { source: (source, from), destination: (destination, to), protocol })
}
