//! The headers of one packet, the one that arrived or the one in it, and the numbers in them.

use tidegate_dataplane::wire::packet::{Network, Transport};
use tidegate_dataplane::wire::tcp::options::kind;
use tidegate_dataplane::wire::{
    Dns, Ethernet, Fragment, Gre, Icmp, Ipv4, Ipv6, Malformed, Tcp, Udp, Vxlan, dns, protocol,
    vxlan,
};

use super::super::rules::field::{Layer, NumberField};

/// From Ethernet, where there is one, to TCP, UDP or ICMP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers<'a> {
    link: Option<Link<'a>>,
    ip: Option<Ip<'a>>,
}

/// The frame that a packet came in.
#[derive(Clone, Copy, Debug)]
struct Link<'a> {
    ethernet: Ethernet<'a>,
    /// Of the whole frame.
    octets: usize,
}

/// A packet of IP.
#[derive(Clone, Copy, Debug)]
struct Ip<'a> {
    /// From the IP header on, and perhaps padding.
    octets: &'a [u8],
    network: Network<'a>,
    transport: Transport<'a>,
}

impl<'a> Headers<'a> {
    /// Of a frame of `octets`. One that is not IP has none above the link.
    #[inline]
    pub(super) fn of_frame(ethernet: Ethernet<'a>, octets: usize) -> Result<Self, Malformed> {
        let behind = octets - ethernet.header_octets();
        let ip = match Ip::of(ethernet.ether_type(), ethernet.payload(), behind) {
            Ok(ip) => Some(ip),
            Err(Malformed::NotIp { .. }) => None,
            Err(malformed) => return Err(malformed),
        };
        Ok(Self { link: Some(Link { ethernet, octets }), ip })
    }

    /// Of a packet of `octets` without a frame.
    #[inline]
    pub(super) fn of_packet(
        ether_type: u16,
        head: &'a [u8],
        octets: usize,
    ) -> Result<Self, Malformed> {
        Ok(Self { link: None, ip: Some(Ip::of(ether_type, head, octets)?) })
    }

    #[inline]
    const fn link(&self) -> Option<Ethernet<'a>> {
        match self.link {
            Some(link) => Some(link.ethernet),
            None => None,
        }
    }

    #[inline]
    pub(super) fn network(&self) -> Option<Network<'a>> {
        self.ip.map(|ip| ip.network)
    }

    #[inline]
    pub(super) fn transport(&self) -> Option<Transport<'a>> {
        self.ip.map(|ip| ip.transport)
    }

    /// The packet from its IP header on, as far as it is there.
    #[inline]
    pub(super) fn ip_octets(&self) -> Option<&'a [u8]> {
        let ip = self.ip.as_ref()?;
        Some(&ip.octets[..ip.total().min(ip.octets.len())])
    }

    #[inline]
    pub(super) fn tcp(&self) -> Option<Tcp<'a>> {
        match self.ip.as_ref()?.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    #[inline]
    fn udp(&self) -> Option<Udp<'a>> {
        match self.ip.as_ref()?.transport {
            Transport::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    #[inline]
    fn ipv4(&self) -> Option<Ipv4<'a>> {
        match self.ip.as_ref()?.network {
            Network::V4(ip) => Some(ip),
            Network::V6(_) => None,
        }
    }

    #[inline]
    fn ipv6(&self) -> Option<Ipv6<'a>> {
        match self.ip.as_ref()?.network {
            Network::V6(ip) => Some(ip),
            Network::V4(_) => None,
        }
    }

    #[inline]
    fn icmp(&self) -> Option<Icmp<'a>> {
        match self.ip.as_ref()?.transport {
            Transport::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }

    #[inline]
    fn icmpv6(&self) -> Option<Icmp<'a>> {
        match self.ip.as_ref()?.transport {
            Transport::Icmpv6(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// What a protocol carries that is not read before it is asked for.
    #[inline]
    pub(super) fn other(&self) -> Option<(u8, &'a [u8])> {
        match self.ip.as_ref() {
            Some(ip) => match ip.transport {
                Transport::Other(octets) => Some((ip.protocol(), octets)),
                _ => None,
            },
            None => None,
        }
    }

    #[inline]
    pub(super) fn gre(&self) -> Option<Gre<'a>> {
        let (_, octets) = self.other().filter(|&(number, _)| number == protocol::GRE)?;
        Gre::parse(octets).ok()
    }

    #[inline]
    pub(super) fn vxlan(&self) -> Option<Vxlan<'a>> {
        let udp = self.udp().filter(|udp| udp.destination() == vxlan::PORT)?;
        Vxlan::parse(udp.payload()).ok()
    }

    #[inline]
    pub(super) fn dns(&self) -> Option<Dns<'a>> {
        let either =
            |source: u16, destination: u16| source == dns::PORT || destination == dns::PORT;
        match self.ip.as_ref()?.transport {
            Transport::Udp(udp) if either(udp.source(), udp.destination()) => {
                Dns::parse(udp.payload()).ok()
            }
            Transport::Tcp(tcp) if either(tcp.source(), tcp.destination()) => {
                Dns::parse_segment(tcp.payload()).ok()
            }
            _ => None,
        }
    }

    /// The part of its datagram that this packet is.
    #[inline]
    pub(super) fn fragment(&self) -> Option<Fragment> {
        self.ip.as_ref().map(Ip::fragment)
    }

    /// What is behind the last header that was read, as far as it is there; nothing in later
    /// fragments.
    #[inline]
    pub(super) fn payload(&self) -> &'a [u8] {
        self.ip.as_ref().map_or(&[], Ip::payload)
    }

    /// Octets of the payload of the whole packet.
    #[inline]
    pub(super) fn payload_octets(&self) -> usize {
        self.ip.as_ref().and_then(Ip::payload_octets).unwrap_or(0)
    }

    /// Whether a header is there.
    #[inline]
    pub(super) fn has(&self, layer: Layer) -> bool {
        let extension = |number: u8| {
            self.ipv6().is_some_and(|ip| ip.each_extension().any(|(found, _)| found == number))
        };
        match layer {
            Layer::Vlan => self.link().is_some_and(|link| link.tags().len() > 0),
            Layer::Ip => self.ip.is_some(),
            Layer::Ipv4 => self.ipv4().is_some(),
            Layer::Ipv6 => self.ipv6().is_some(),
            Layer::IpOptions => self.ipv4().is_some_and(|ip| !ip.options().is_empty()),
            Layer::HopByHop => extension(protocol::HOP_BY_HOP),
            Layer::Routing => extension(protocol::ROUTING),
            Layer::DestinationOptions => extension(protocol::DESTINATION_OPTIONS),
            Layer::FragmentHeader => extension(protocol::FRAGMENT),
            Layer::Authentication => {
                let above = |(number, _)| number == protocol::AUTHENTICATION;
                self.other().is_some_and(above) || extension(protocol::AUTHENTICATION)
            }
            Layer::Tcp => self.tcp().is_some(),
            Layer::Udp => self.udp().is_some(),
            Layer::Icmp => self.icmp().is_some(),
            Layer::Icmpv6 => self.icmpv6().is_some(),
            Layer::Gre => self.gre().is_some(),
            Layer::Vxlan => self.vxlan().is_some(),
            Layer::Dns => self.dns().is_some(),
            // Only the facts know both packets.
            Layer::Carried => false,
        }
    }

    /// The number in a field.
    #[inline]
    pub(super) fn number(&self, field: NumberField) -> Option<u64> {
        use NumberField as F;
        let ports = || match self.ip.as_ref()?.transport {
            Transport::Tcp(tcp) => Some((tcp.source(), tcp.destination())),
            Transport::Udp(udp) => Some((udp.source(), udp.destination())),
            _ => None,
        };
        let flag = |bit: u8| Some((self.tcp()?.flags().0 >> bit & 1).into());
        match field {
            F::FrameLength => Some(self.link.as_ref()?.octets as u64),
            F::EtherType => Some(self.link()?.ether_type().into()),
            F::VlanId => Some(self.link()?.tags().next()?.id().into()),
            F::VlanPriority => Some(self.link()?.tags().next()?.priority().into()),
            F::VlanInnerId => Some(self.link()?.tags().nth(1)?.id().into()),
            F::IpVersion
            | F::IpLength
            | F::IpHeaderLength
            | F::IpTtl
            | F::IpDscp
            | F::IpEcn
            | F::IpProtocol
            | F::IpId
            | F::IpDontFragment
            | F::IpMoreFragments
            | F::IpReserved
            | F::IpFragmentOffset
            | F::IpFragment
            | F::IpFlowLabel
            | F::IpExtensions => self.ip.as_ref()?.number(field),
            F::SourcePort => ports().map(|(source, _)| source.into()),
            F::DestinationPort => ports().map(|(_, destination)| destination.into()),
            F::TcpSourcePort => Some(self.tcp()?.source().into()),
            F::TcpDestinationPort => Some(self.tcp()?.destination().into()),
            F::TcpFlags => Some(self.tcp()?.flags().0.into()),
            F::TcpFin => flag(0),
            F::TcpSyn => flag(1),
            F::TcpReset => flag(2),
            F::TcpPush => flag(3),
            F::TcpAckFlag => flag(4),
            F::TcpUrgent => flag(5),
            F::TcpEce => flag(6),
            F::TcpCwr => flag(7),
            F::TcpSequence => Some(self.tcp()?.sequence().into()),
            F::TcpAcknowledgement => Some(self.tcp()?.acknowledgment().into()),
            F::TcpWindow => Some(self.tcp()?.window().into()),
            F::TcpUrgentPointer => Some(self.tcp()?.urgent_pointer().into()),
            F::TcpHeaderLength => Some(self.tcp()?.header_octets() as u64),
            F::TcpLength => self.tcp().and(Some(self.payload_octets() as u64)),
            F::TcpMss => {
                let value = self.tcp()?.each_option().value(kind::MAXIMUM_SEGMENT_SIZE)?;
                Some(u16::from_be_bytes(*value).into())
            }
            F::TcpWindowScale => {
                let &[shift] = self.tcp()?.each_option().value(kind::WINDOW_SCALE)?;
                Some(shift.into())
            }
            F::TcpSackPermitted => {
                Some(self.tcp()?.each_option().value::<0>(kind::SACK_PERMITTED).is_some().into())
            }
            F::TcpTimestamps => {
                Some(self.tcp()?.each_option().value::<8>(kind::TIMESTAMPS).is_some().into())
            }
            F::UdpSourcePort => Some(self.udp()?.source().into()),
            F::UdpDestinationPort => Some(self.udp()?.destination().into()),
            F::UdpLength => Some(self.udp()?.octets().into()),
            F::UdpChecksum => Some(self.udp()?.checksum().unwrap_or(0).into()),
            F::IcmpType => Some(self.icmp()?.kind().into()),
            F::IcmpCode => Some(self.icmp()?.code().into()),
            F::Icmpv6Type => Some(self.icmpv6()?.kind().into()),
            F::Icmpv6Code => Some(self.icmpv6()?.code().into()),
            F::GreProtocol => Some(self.gre()?.protocol().into()),
            F::VxlanVni => Some(self.vxlan()?.identifier().into()),
            F::PayloadLength => Some(self.ip.as_ref()?.payload_octets()? as u64),
            F::DnsId => Some(self.dns()?.id().into()),
            F::DnsResponse => Some(self.dns()?.is_response().into()),
            F::DnsOpcode => Some(self.dns()?.opcode().into()),
            F::DnsAuthoritative => Some(self.dns()?.is_authoritative().into()),
            F::DnsTruncated => Some(self.dns()?.is_truncated().into()),
            F::DnsRecursionDesired => Some(self.dns()?.recursion_desired().into()),
            F::DnsRecursionAvailable => Some(self.dns()?.recursion_available().into()),
            F::DnsResponseCode => Some(self.dns()?.response_code().into()),
            F::DnsQuestions => Some(self.dns()?.counts()[0].into()),
            F::DnsAnswers => Some(self.dns()?.counts()[1].into()),
            F::DnsAuthorities => Some(self.dns()?.counts()[2].into()),
            F::DnsAdditionals => Some(self.dns()?.counts()[3].into()),
            F::DnsQueryType => Some(self.dns()?.question()?.asked?.0.into()),
            F::DnsQueryClass => Some(self.dns()?.question()?.asked?.1.into()),
        }
    }
}

impl<'a> Ip<'a> {
    #[inline]
    fn of(ether_type: u16, head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        let network = Network::parse_head(ether_type, head, octets)?;
        Ok(Self { octets: head, network, transport: Transport::parse(network)? })
    }

    #[inline]
    const fn protocol(&self) -> u8 {
        match self.network {
            Network::V4(ip) => ip.protocol(),
            Network::V6(ip) => ip.protocol(),
        }
    }

    #[inline]
    const fn fragment(&self) -> Fragment {
        match self.network {
            Network::V4(ip) => ip.fragment(),
            Network::V6(ip) => ip.fragment(),
        }
    }

    /// Octets by the length field.
    #[inline]
    const fn total(&self) -> usize {
        match self.network {
            Network::V4(ip) => ip.total_octets(),
            Network::V6(ip) => ip.total_octets(),
        }
    }

    /// Octets behind IP and its extension headers, by the length field.
    #[inline]
    const fn body_octets(&self) -> usize {
        match self.network {
            Network::V4(ip) => ip.payload_octets(),
            Network::V6(ip) => ip.payload_octets(),
        }
    }

    #[inline]
    const fn payload(&self) -> &'a [u8] {
        match self.transport {
            Transport::Tcp(tcp) => tcp.payload(),
            Transport::Udp(udp) => udp.payload(),
            Transport::Icmp(icmp) | Transport::Icmpv6(icmp) => icmp.payload(),
            Transport::Other(octets) => octets,
            Transport::Fragment(_) => &[],
        }
    }

    /// Octets of the payload, also of what is not there to be read. None in later fragments.
    #[inline]
    const fn payload_octets(&self) -> Option<usize> {
        let body = self.body_octets();
        Some(match self.transport {
            Transport::Tcp(tcp) => body - tcp.header_octets(),
            // The datagram may end before the packet does, and its first fragment before it.
            Transport::Udp(udp) => match self.fragment() {
                Fragment::Whole => udp.octets() as usize - 8,
                Fragment::First { .. } | Fragment::Later { .. } => body - 8,
            },
            Transport::Icmp(_) | Transport::Icmpv6(_) => body - 8,
            Transport::Other(_) => body,
            Transport::Fragment(_) => return None,
        })
    }

    #[inline]
    fn number(&self, field: NumberField) -> Option<u64> {
        use NumberField as F;
        let class = || match self.network {
            Network::V4(ip) => ip.traffic_class(),
            Network::V6(ip) => ip.traffic_class(),
        };
        match (field, self.network) {
            (F::IpVersion, Network::V4(_)) => Some(4),
            (F::IpVersion, Network::V6(_)) => Some(6),
            (F::IpLength, _) => Some(self.total() as u64),
            (F::IpHeaderLength, Network::V4(ip)) => Some(20 + ip.options().len() as u64),
            (F::IpHeaderLength, Network::V6(_)) => Some(40),
            (F::IpTtl, Network::V4(ip)) => Some(ip.ttl().into()),
            (F::IpTtl, Network::V6(ip)) => Some(ip.hop_limit().into()),
            (F::IpDscp, _) => Some((class() >> 2).into()),
            (F::IpEcn, _) => Some((class() & 3).into()),
            (F::IpProtocol, _) => Some(self.protocol().into()),
            (F::IpId, Network::V4(ip)) => Some(ip.id().into()),
            (F::IpId, Network::V6(ip)) => identification(ip),
            (F::IpDontFragment, Network::V4(ip)) => Some(ip.dont_fragment().into()),
            (F::IpReserved, Network::V4(ip)) => Some(ip.reserved_bit().into()),
            (F::IpMoreFragments, _) => Some(match self.fragment() {
                Fragment::Whole => 0,
                Fragment::First { .. } => 1,
                Fragment::Later { more, .. } => more.into(),
            }),
            (F::IpFragmentOffset, _) => Some(match self.fragment() {
                Fragment::Later { offset_octets, .. } => offset_octets.into(),
                Fragment::Whole | Fragment::First { .. } => 0,
            }),
            (F::IpFragment, _) => Some((self.fragment() != Fragment::Whole).into()),
            (F::IpFlowLabel, Network::V6(ip)) => Some(ip.flow_label().into()),
            (F::IpExtensions, Network::V6(ip)) => Some(ip.each_extension().count() as u64),
            _ => None,
        }
    }
}

/// What the fragment header says, also that of a datagram in one part.
fn identification(ip: Ipv6<'_>) -> Option<u64> {
    let (_, header) = ip.each_extension().find(|&(number, _)| number == protocol::FRAGMENT)?;
    let &[.., a, b, c, d] = header.first_chunk::<8>()?;
    Some(u32::from_be_bytes([a, b, c, d]).into())
}
