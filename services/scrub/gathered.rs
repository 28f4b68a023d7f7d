//! What rules ask about a packet, gathered once.

use tidegate_dataplane::wire::packet::{Network, Transport};
use tidegate_dataplane::wire::{Fragment, Malformed, Packet, protocol};

/// Bits of [`Facts::has`].
pub(super) mod has {
    /// The packet is IPv4.
    pub(crate) const IPV4: u8 = 1;
    /// The packet is IPv6.
    pub(crate) const IPV6: u8 = 2;
    /// It carries ICMP, or a later part of it, of its own family.
    pub(crate) const ICMP: u8 = 4;
    /// It shows ports.
    pub(crate) const PORTS: u8 = 8;
    /// It shows TCP flags.
    pub(crate) const FLAGS: u8 = 16;
    /// It is a part of a datagram, the first or a later one.
    pub(crate) const FRAGMENT: u8 = 32;
    /// Its payload starts where the payload of its datagram starts.
    pub(crate) const PAYLOAD: u8 = 64;
    /// It has a length as an IP packet.
    pub(crate) const LENGTH: u8 = 128;
}

/// The numbers of one packet, side by side and in host order. What the packet
/// does not have is zero and its bit of `has` is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts<'a> {
    /// See [`has`].
    pub(super) has: u8,
    pub(super) protocol: u8,
    pub(super) flags: u8,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    /// Octets of the IP packet, padding not counted.
    pub(super) length: u32,
    /// An IPv4 address in the low 32 bits, or an IPv6 address.
    pub(super) source: u128,
    pub(super) destination: u128,
    /// What is behind the last header that was read, as far as it is in the octets that were given.
    pub(super) payload: &'a [u8],
}

impl<'a> Facts<'a> {
    /// Reads `head`, the beginning of a frame of `octets` or all of it. A frame that is not IP is not
    /// malformed, it has no facts.
    ///
    /// # Errors
    ///
    /// What [`Packet::parse_head`] refuses.
    #[inline]
    pub(crate) fn of(head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        match Packet::parse_head(head, octets) {
            Ok(packet) => Ok(Self::gather(&packet)),
            Err(Malformed::NotIp { .. }) => Ok(Self::default()),
            Err(malformed) => Err(malformed),
        }
    }

    #[inline]
    fn gather(packet: &Packet<'a>) -> Self {
        let icmp = |is| if is { has::ICMP } else { 0 };
        let mut facts = Self {
            has: has::LENGTH,
            protocol: packet.protocol(),
            // A frame is shorter than 4 GiB.
            length: u32::try_from(packet.ip_octets()).unwrap_or(u32::MAX),
            payload: packet.payload(),
            ..Self::default()
        };
        match packet.network() {
            Network::V4(ip) => {
                facts.has |= has::IPV4 | icmp(facts.protocol == protocol::ICMP);
                facts.source = u128::from(ip.source().to_bits());
                facts.destination = u128::from(ip.destination().to_bits());
            }
            Network::V6(ip) => {
                facts.has |= has::IPV6 | icmp(facts.protocol == protocol::ICMPV6);
                facts.source = ip.source().to_bits();
                facts.destination = ip.destination().to_bits();
            }
        }
        facts.has |= match packet.fragment() {
            Fragment::Whole => has::PAYLOAD,
            Fragment::First { .. } => has::PAYLOAD | has::FRAGMENT,
            Fragment::Later { .. } => has::FRAGMENT,
        };
        match packet.transport() {
            Transport::Tcp(tcp) => {
                facts.has |= has::PORTS | has::FLAGS;
                facts.flags = tcp.flags().0;
                (facts.source_port, facts.destination_port) = (tcp.source(), tcp.destination());
            }
            Transport::Udp(udp) => {
                facts.has |= has::PORTS;
                (facts.source_port, facts.destination_port) = (udp.source(), udp.destination());
            }
            Transport::Icmp(_)
            | Transport::Icmpv6(_)
            | Transport::Other(_)
            | Transport::Fragment(_) => {}
        }
        facts
    }
}
