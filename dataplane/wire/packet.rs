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
/// reading it cost a bounded number of steps. It borrows the frame and copies nothing. Of a packet
/// that lies in several parts it is made from the first, and lengths are those of the whole.
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
        Self::parse_head(frame, frame.len())
    }

    /// Checks `head`, the beginning of a frame of `octets`, which has all headers in it: of a packet
    /// in several chunks the first part. For one that is whole, the same as [`Self::parse`].
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], also where a header is not whole in `head`.
    ///
    /// # Panics
    ///
    /// When `octets` are fewer than `head` has.
    #[inline]
    pub fn parse_head(head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        assert!(head.len() <= octets, "a beginning is no longer than the whole");
        let ethernet = Ethernet::parse(head)?;
        let (body, body_octets) = (ethernet.payload(), octets - ethernet.header_octets());
        let network = Network::parse_head(ethernet.ether_type(), body, body_octets)?;
        let transport = Transport::parse(network)?;
        Ok(Self { frame_octets: octets, ethernet, network, transport })
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

    /// The octets behind the last header that was read, as far as they were there to be parsed.
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

    /// Octets of the whole frame, as it was given.
    #[inline]
    pub const fn frame_octets(&self) -> usize {
        self.frame_octets
    }
}

impl<'a> Network<'a> {
    /// Checks `head`, the beginning of `octets` octets behind a header that announces `ether_type`.
    ///
    /// # Errors
    ///
    /// What the views say; [`Malformed::NotIp`] where the type is neither IPv4 nor IPv6.
    #[inline]
    pub fn parse_head(ether_type: u16, head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        match ether_type {
            ether_type::IPV4 => Ok(Self::V4(Ipv4::parse_head(head, octets)?)),
            ether_type::IPV6 => Ok(Self::V6(Ipv6::parse_head(head, octets)?)),
            ether_type => Err(Malformed::NotIp { ether_type }),
        }
    }
}

impl<'a> Transport<'a> {
    /// Checks what `network` carries.
    ///
    /// # Errors
    ///
    /// What the views say.
    #[inline]
    pub fn parse(network: Network<'a>) -> Result<Self, Malformed> {
        let (number, fragment, payload, v6) = match network {
            Network::V4(ip) => (ip.protocol(), ip.fragment(), ip.payload(), false),
            Network::V6(ip) => (ip.protocol(), ip.fragment(), ip.payload(), true),
        };
        let octets = || match network {
            Network::V4(ip) => ip.payload_octets(),
            Network::V6(ip) => ip.payload_octets(),
        };
        Ok(match (number, fragment) {
            (_, Fragment::Later { .. }) => Self::Fragment(payload),
            (protocol::TCP, _) => Self::Tcp(Tcp::parse(payload)?),
            (protocol::UDP, Fragment::Whole) => Self::Udp(Udp::parse_head(payload, octets())?),
            (protocol::UDP, _) => Self::Udp(Udp::parse_first_fragment(payload, octets())?),
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

    /// What a packet says of itself, in which all of it takes part.
    fn told(packet: &Packet<'_>) -> impl PartialEq + core::fmt::Debug + use<> {
        let octets = (packet.ip_octets(), packet.frame_octets());
        let ends = (packet.source(), packet.destination(), packet.ports());
        (octets, ends, packet.protocol(), packet.fragment())
    }

    #[test]
    fn a_beginning_with_all_headers_says_what_the_whole_says() {
        for mut frame in samples::all() {
            // Padding too, which is not the datagram's.
            frame.extend([0; 5]);
            let whole = Packet::parse(&frame).unwrap();
            let payload = whole.payload();
            let headers = payload.as_ptr() as usize - frame.as_ptr() as usize;
            for end in 0..=frame.len() {
                let head = Packet::parse_head(&frame[..end], frame.len());
                assert_eq!(head.is_ok(), end >= headers, "{end} of {frame:02x?}");
                let Ok(head) = head else { continue };
                assert_eq!(told(&head), told(&whole));
                assert_eq!(head.payload(), &payload[..payload.len().min(end - headers)]);
            }
        }
    }

    #[test]
    fn lengths_are_held_against_the_whole_packet_not_against_its_beginning() {
        let frame = samples::udp_v4(&[7; 100]);
        let head = &frame[..60];
        assert!(Packet::parse(head).is_err());
        assert!(Packet::parse_head(head, frame.len()).is_ok());
        let short = Packet::parse_head(head, frame.len() - 1).unwrap_err();
        assert_eq!(short, Malformed::Length { field: 128, have: 127 });
        // A datagram longer than the packet that carries it.
        let mut long = frame.clone();
        long[39] += 1;
        let refusal = Packet::parse_head(&long[..60], frame.len()).unwrap_err();
        assert_eq!(refusal, Malformed::Length { field: 109, have: 108 });
        // A fragment whose end is past the largest datagram, though its beginning is not.
        let mut last = samples::udp_v4(&[7; 9000]);
        last[20..22].copy_from_slice(&(57_000_u16 / 8).to_be_bytes());
        let refusal = Packet::parse_head(&last[..60], last.len()).unwrap_err();
        assert_eq!(refusal, Malformed::Fragment { offset: 57_000, length: 9008 });
    }

    #[test]
    #[should_panic(expected = "a beginning is no longer than the whole")]
    fn a_beginning_longer_than_the_whole_is_our_mistake() {
        let frame = samples::udp_v4(b"payload");
        let _ = Packet::parse_head(&frame, frame.len() - 1);
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
