//! One walk over a whole frame: what a service asks before it decides.

use core::net::IpAddr;

use super::ethernet::ether_type;
use super::{Ethernet, Fragment, Icmp, Ipv4, Ipv6, Malformed, Tcp, Udp, protocol};

/// The internet layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// IPv4.
    V4(Ipv4<'a>),
    /// IPv6.
    V6(Ipv6<'a>),
}

/// The transport layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// A TCP segment, or its beginning in a first fragment.
    Tcp(Tcp<'a>),
    /// A UDP datagram, or its beginning in a first fragment.
    Udp(Udp<'a>),
    /// An ICMP message, for IPv4.
    Icmp(Icmp<'a>),
    /// An ICMPv6 message.
    Icmpv6(Icmp<'a>),
    /// A protocol that is not read here; the octets behind the internet layer.
    Other(&'a [u8]),
    /// A later fragment: octets from the middle of a datagram, without a transport header.
    Fragment(&'a [u8]),
}

/// A frame whose headers were all checked, from Ethernet to transport.
///
/// Holding a `Packet` proves that every header it shows is whole, that all lengths agree, and that
/// reading it cost a bounded number of steps. It borrows the frame and copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    frame_octets: usize,
    ethernet: Ethernet<'a>,
    network: Network<'a>,
    transport: Transport<'a>,
}

impl<'a> Packet<'a> {
    /// Checks `frame`, which starts at the Ethernet destination address.
    ///
    /// # Errors
    ///
    /// What the views say; [`Malformed::NotIp`] for frames that carry neither IPv4 nor IPv6.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let ethernet = Ethernet::parse(frame)?;
        let network = match ethernet.ether_type() {
            ether_type::IPV4 => Network::V4(Ipv4::parse(ethernet.payload())?),
            ether_type::IPV6 => Network::V6(Ipv6::parse(ethernet.payload())?),
            ether_type => return Err(Malformed::NotIp { ether_type }),
        };
        let transport = Transport::parse(network)?;
        Ok(Self { frame_octets: frame.len(), ethernet, network, transport })
    }

    /// The link layer.
    #[inline]
    pub const fn ethernet(&self) -> Ethernet<'a> {
        self.ethernet
    }

    /// The internet layer.
    #[inline]
    pub const fn network(&self) -> Network<'a> {
        self.network
    }

    /// The transport layer.
    #[inline]
    pub const fn transport(&self) -> Transport<'a> {
        self.transport
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        match self.network {
            Network::V4(ip) => IpAddr::V4(ip.source()),
            Network::V6(ip) => IpAddr::V6(ip.source()),
        }
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self.network {
            Network::V4(ip) => IpAddr::V4(ip.destination()),
            Network::V6(ip) => IpAddr::V6(ip.destination()),
        }
    }

    /// Protocol behind the internet layer and its extension headers, see [`super::protocol`].
    #[inline]
    pub const fn protocol(&self) -> u8 {
        match self.network {
            Network::V4(ip) => ip.protocol(),
            Network::V6(ip) => ip.protocol(),
        }
    }

    /// The part of a datagram that this packet carries.
    #[inline]
    pub const fn fragment(&self) -> Fragment {
        match self.network {
            Network::V4(ip) => ip.fragment(),
            Network::V6(ip) => ip.fragment(),
        }
    }

    /// Source and destination port, where the packet shows any.
    #[inline]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp(tcp) => Some((tcp.source(), tcp.destination())),
            Transport::Udp(udp) => Some((udp.source(), udp.destination())),
            _ => None,
        }
    }

    /// The octets behind the last header that was read.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        match self.transport {
            Transport::Tcp(tcp) => tcp.payload(),
            Transport::Udp(udp) => udp.payload(),
            Transport::Icmp(icmp) | Transport::Icmpv6(icmp) => icmp.payload(),
            Transport::Other(octets) | Transport::Fragment(octets) => octets,
        }
    }

    /// Octets of the IP packet, header included and padding not.
    #[inline]
    pub const fn ip_octets(&self) -> usize {
        match self.network {
            Network::V4(ip) => ip.total_octets(),
            Network::V6(ip) => ip.total_octets(),
        }
    }

    /// Octets of the frame, as it was given.
    #[inline]
    pub const fn frame_octets(&self) -> usize {
        self.frame_octets
    }
}

impl<'a> Transport<'a> {
    #[inline]
    fn parse(network: Network<'a>) -> Result<Self, Malformed> {
        let (number, fragment, payload, v6) = match network {
            Network::V4(ip) => (ip.protocol(), ip.fragment(), ip.payload(), false),
            Network::V6(ip) => (ip.protocol(), ip.fragment(), ip.payload(), true),
        };
        Ok(match (number, fragment) {
            (_, Fragment::Later { .. }) => Self::Fragment(payload),
            (protocol::TCP, _) => Self::Tcp(Tcp::parse(payload)?),
            (protocol::UDP, Fragment::Whole) => Self::Udp(Udp::parse(payload)?),
            (protocol::UDP, _) => Self::Udp(Udp::parse_first_fragment(payload)?),
            // ICMP belongs to IPv4 and ICMPv6 to IPv6; the other pairings are not messages that
            // anyone answers.
            (protocol::ICMP, _) if !v6 => Self::Icmp(Icmp::parse(payload)?),
            (protocol::ICMPV6, _) if v6 => Self::Icmpv6(Icmp::parse(payload)?),
            _ => Self::Other(payload),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn reads_a_udp_packet_through() {
        let frame = samples::udp_v4(b"payload");
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.source(), IpAddr::from([198, 18, 0, 1]));
        assert_eq!(packet.destination(), IpAddr::from([198, 18, 0, 2]));
        assert_eq!(packet.protocol(), protocol::UDP);
        assert_eq!(packet.fragment(), Fragment::Whole);
        assert_eq!(packet.ports(), Some((20001, 20000)));
        assert_eq!(packet.payload(), b"payload");
        assert_eq!((packet.ip_octets(), packet.frame_octets()), (35, 49));
    }

    #[test]
    fn reads_tcp_over_tagged_ipv6() {
        let frame = samples::tcp_v6_tagged();
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.ethernet().tags().len(), 1);
        let Transport::Tcp(tcp) = packet.transport() else { panic!("{packet:?}") };
        assert_eq!(tcp.destination(), 443);
        assert_eq!(packet.ports(), Some((40000, 443)));
    }

    #[test]
    fn a_later_fragment_shows_no_ports() {
        let mut frame = samples::udp_v4(b"payload");
        frame[21] = 1; // The fragment offset: 8 octets.
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.ports(), None);
        assert!(matches!(packet.transport(), Transport::Fragment(octets) if octets.len() == 15));
    }

    #[test]
    fn a_first_fragment_shows_ports_and_what_is_there() {
        let mut frame = samples::udp_v4(b"payload");
        frame[20] = 0x20; // More fragments.
        frame[38] = 9; // The UDP length counts them.
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.ports(), Some((20001, 20000)));
        assert_eq!(packet.payload(), b"payload");
    }

    #[test]
    fn icmp_of_the_wrong_family_is_only_octets() {
        let mut frame = samples::udp_v4(b"payload");
        frame[23] = protocol::ICMPV6;
        assert!(matches!(Packet::parse(&frame).unwrap().transport(), Transport::Other(_)));
        frame[23] = protocol::ICMP;
        assert!(matches!(Packet::parse(&frame).unwrap().transport(), Transport::Icmp(_)));
    }

    #[test]
    fn refuses_what_is_not_ip() {
        let mut frame = samples::udp_v4(b"payload");
        frame[13] = 6;
        assert_eq!(Packet::parse(&frame), Err(Malformed::NotIp { ether_type: 0x0806 }));
    }

    #[test]
    fn every_prefix_of_every_sample_is_refused() {
        for frame in samples::all() {
            assert!(Packet::parse(&frame).is_ok());
            for end in 0..frame.len() {
                assert!(Packet::parse(&frame[..end]).is_err(), "{end} of {frame:02x?}");
            }
        }
    }
}
