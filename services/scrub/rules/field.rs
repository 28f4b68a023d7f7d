//! What rules can ask of a packet: names, meanings, sizes.

use std::fmt;

/// Which packet is meant, where one carries another (GRE, IPIP, 6in4, VXLAN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The one that arrived.
    Outer,
    /// The one in it; written `inner.` before a field.
    Inner,
}

/// What is known of a packet from before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// `known`: it belongs to a connection that this host has or began: the kernel has a socket for
    /// exactly its two ends, or the question that it answers was seen going out.
    Known,
    /// `verified`: its source has answered a challenge not long ago.
    Verified,
    /// `surging`: it is one of very many to its destination that look alike, or that nobody
    /// answers.
    Surging,
}

/// Makes an enum of fields with a table of what each is called and means.
macro_rules! fields {
    ($(#[$outer:meta])* $Enum:ident { $($(#[doc = $help:literal])+ $Name:ident $text:literal $bits:literal;)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum $Enum { $($(#[doc = $help])+ $Name,)+ }

        #[allow(dead_code, reason = "not each of the tables is asked all of it")]
        impl $Enum {
            /// All there are.
            pub(crate) const ALL: &[Self] = &[$(Self::$Name,)+];

            /// As it is written in a rule.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$Name => $text,)+ }
            }

            /// What it is.
            pub(crate) const fn help(self) -> &'static str {
                match self { $(Self::$Name => concat!($($help,)+),)+ }
            }

            /// Bits that it has at most.
            pub(crate) const fn bits(self) -> u32 {
                match self { $(Self::$Name => $bits,)+ }
            }
        }

        impl fmt::Display for $Enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

fields! {
    /// Numbers that a packet shows. A field that is not in a packet has no value there, and ports,
    /// flags and payload are not in later fragments.
    NumberField {
        /// Octets of the frame, Ethernet header included.
        FrameLength "frame.len" 32;
        /// EtherType behind the VLAN tags.
        EtherType "eth.type" 16;
        /// VLAN identifier of the outer tag.
        VlanId "vlan.id" 12;
        /// Priority of the outer tag.
        VlanPriority "vlan.priority" 3;
        /// VLAN identifier of the second tag (QinQ).
        VlanInnerId "vlan.inner_id" 12;
        /// 4 or 6.
        IpVersion "ip.version" 4;
        /// Octets of the IP packet, header included.
        IpLength "ip.len" 32;
        /// Octets of the IP header, options included, extension headers not.
        IpHeaderLength "ip.hdr_len" 8;
        /// Time to live, or hop limit.
        IpTtl "ip.ttl" 8;
        /// Differentiated services code point.
        IpDscp "ip.dscp" 6;
        /// Explicit congestion notification.
        IpEcn "ip.ecn" 2;
        /// Protocol above IP and its extension headers.
        IpProtocol "ip.proto" 8;
        /// Identification: of IPv4 always, of IPv6 where it has a fragment header.
        IpId "ip.id" 32;
        /// 1: don't fragment (IPv4).
        IpDontFragment "ip.flags.df" 1;
        /// 1: more fragments follow; IPv6 too.
        IpMoreFragments "ip.flags.mf" 1;
        /// 1: the reserved bit of IPv4 is set.
        IpReserved "ip.flags.rb" 1;
        /// Octets of the datagram before this part.
        IpFragmentOffset "ip.frag_offset" 16;
        /// 1: part of a datagram, the first or a later one.
        IpFragment "ip.fragment" 1;
        /// Flow label of IPv6.
        IpFlowLabel "ip.flow" 20;
        /// Number of IPv6 extension headers.
        IpExtensions "ip.extensions" 8;
        /// Source port of UDP or TCP.
        SourcePort "srcport" 16;
        /// Destination port of UDP or TCP.
        DestinationPort "dstport" 16;
        /// Source port of TCP.
        TcpSourcePort "tcp.srcport" 16;
        /// Destination port of TCP.
        TcpDestinationPort "tcp.dstport" 16;
        /// All eight flags, from FIN (1) to CWR (128).
        TcpFlags "tcp.flags" 8;
        /// 1: FIN.
        TcpFin "tcp.flags.fin" 1;
        /// 1: SYN.
        TcpSyn "tcp.flags.syn" 1;
        /// 1: RST.
        TcpReset "tcp.flags.reset" 1;
        /// 1: PSH.
        TcpPush "tcp.flags.push" 1;
        /// 1: ACK.
        TcpAckFlag "tcp.flags.ack" 1;
        /// 1: URG.
        TcpUrgent "tcp.flags.urg" 1;
        /// 1: ECE.
        TcpEce "tcp.flags.ece" 1;
        /// 1: CWR.
        TcpCwr "tcp.flags.cwr" 1;
        /// Sequence number.
        TcpSequence "tcp.seq" 32;
        /// Acknowledgement number, whatever the flag says.
        TcpAcknowledgement "tcp.ack" 32;
        /// Window as it stands in the header.
        TcpWindow "tcp.window" 16;
        /// Urgent pointer.
        TcpUrgentPointer "tcp.urgent_pointer" 16;
        /// Octets of the TCP header, options included.
        TcpHeaderLength "tcp.hdr_len" 8;
        /// Octets of the segment's payload.
        TcpLength "tcp.len" 16;
        /// Maximum segment size, where the option is there.
        TcpMss "tcp.options.mss" 16;
        /// Window scale, where the option is there.
        TcpWindowScale "tcp.options.wscale" 8;
        /// 1: the SACK-permitted option is there; 0 in any other segment.
        TcpSackPermitted "tcp.options.sack_perm" 1;
        /// 1: the timestamps option is there; 0 in any other segment.
        TcpTimestamps "tcp.options.timestamp" 1;
        /// Source port of UDP.
        UdpSourcePort "udp.srcport" 16;
        /// Destination port of UDP.
        UdpDestinationPort "udp.dstport" 16;
        /// Octets of the datagram, its header included, as the header says.
        UdpLength "udp.length" 16;
        /// Checksum; 0 is none.
        UdpChecksum "udp.checksum" 16;
        /// Type of ICMP (IPv4).
        IcmpType "icmp.type" 8;
        /// Code of ICMP (IPv4).
        IcmpCode "icmp.code" 8;
        /// Type of ICMPv6.
        Icmpv6Type "icmpv6.type" 8;
        /// Code of ICMPv6.
        Icmpv6Code "icmpv6.code" 8;
        /// EtherType of what GRE carries.
        GreProtocol "gre.proto" 16;
        /// VXLAN network identifier.
        VxlanVni "vxlan.vni" 24;
        /// Octets behind IP and the header of TCP, UDP or ICMP.
        PayloadLength "payload.len" 32;
        /// Identification of a DNS message. Messages are those from or to port 53 of UDP, and of TCP behind their length.
        DnsId "dns.id" 16;
        /// 1: an answer.
        DnsResponse "dns.flags.response" 1;
        /// Kind of question.
        DnsOpcode "dns.flags.opcode" 4;
        /// 1: authoritative.
        DnsAuthoritative "dns.flags.authoritative" 1;
        /// 1: truncated.
        DnsTruncated "dns.flags.truncated" 1;
        /// 1: recursion desired.
        DnsRecursionDesired "dns.flags.recdesired" 1;
        /// 1: recursion available.
        DnsRecursionAvailable "dns.flags.recavail" 1;
        /// Response code.
        DnsResponseCode "dns.flags.rcode" 4;
        /// Number of questions.
        DnsQuestions "dns.count.queries" 16;
        /// Number of answers.
        DnsAnswers "dns.count.answers" 16;
        /// Number of authority records.
        DnsAuthorities "dns.count.auth_rr" 16;
        /// Number of additional records.
        DnsAdditionals "dns.count.add_rr" 16;
        /// Type of the first question: a number or A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DS, RRSIG, DNSKEY, ANY.
        DnsQueryType "dns.qry.type" 16;
        /// Class of the first question.
        DnsQueryClass "dns.qry.class" 16;
    }
}

fields! {
    /// Addresses that a packet shows, of either kind of IP.
    AddressField {
        /// Source address.
        Source "ip.src" 128;
        /// Destination address.
        Destination "ip.dst" 128;
    }
}

fields! {
    /// Headers that can be there or not.
    Layer {
        /// At least one VLAN tag.
        Vlan "vlan" 1;
        /// IPv4 or IPv6.
        Ip "ip" 1;
        /// IPv4.
        Ipv4 "ipv4" 1;
        /// IPv6.
        Ipv6 "ipv6" 1;
        /// Options of IPv4.
        IpOptions "ip.options" 1;
        /// Hop-by-hop options of IPv6.
        HopByHop "ipv6.hopopts" 1;
        /// Routing header of IPv6.
        Routing "ipv6.routing" 1;
        /// Destination options of IPv6.
        DestinationOptions "ipv6.dstopts" 1;
        /// Fragment header of IPv6.
        FragmentHeader "ipv6.fraghdr" 1;
        /// Authentication header.
        Authentication "ah" 1;
        /// TCP.
        Tcp "tcp" 1;
        /// UDP.
        Udp "udp" 1;
        /// ICMP over IPv4.
        Icmp "icmp" 1;
        /// ICMPv6 over IPv6.
        Icmpv6 "icmpv6" 1;
        /// GRE.
        Gre "gre" 1;
        /// VXLAN: UDP to port 4789 with its flag set.
        Vxlan "vxlan" 1;
        /// A DNS message whose header is whole.
        Dns "dns" 1;
        /// Written `inner` alone: a packet within the packet.
        Carried "inner" 1;
    }
}

impl NumberField {
    /// The header that it is of: without that, it is not there. A few ask for more: options, ports,
    /// the identification of IPv6.
    pub(crate) const fn layer(self) -> Option<Layer> {
        use NumberField as F;
        Some(match self {
            F::FrameLength | F::EtherType => return None,
            F::VlanId | F::VlanPriority | F::VlanInnerId => Layer::Vlan,
            F::IpVersion
            | F::IpLength
            | F::IpHeaderLength
            | F::IpTtl
            | F::IpDscp
            | F::IpEcn
            | F::IpProtocol
            | F::IpId
            | F::IpMoreFragments
            | F::IpFragmentOffset
            | F::IpFragment
            | F::SourcePort
            | F::DestinationPort
            | F::PayloadLength => Layer::Ip,
            F::IpDontFragment | F::IpReserved => Layer::Ipv4,
            F::IpFlowLabel | F::IpExtensions => Layer::Ipv6,
            F::TcpSourcePort
            | F::TcpDestinationPort
            | F::TcpFlags
            | F::TcpFin
            | F::TcpSyn
            | F::TcpReset
            | F::TcpPush
            | F::TcpAckFlag
            | F::TcpUrgent
            | F::TcpEce
            | F::TcpCwr
            | F::TcpSequence
            | F::TcpAcknowledgement
            | F::TcpWindow
            | F::TcpUrgentPointer
            | F::TcpHeaderLength
            | F::TcpLength
            | F::TcpMss
            | F::TcpWindowScale
            | F::TcpSackPermitted
            | F::TcpTimestamps => Layer::Tcp,
            F::UdpSourcePort | F::UdpDestinationPort | F::UdpLength | F::UdpChecksum => Layer::Udp,
            F::IcmpType | F::IcmpCode => Layer::Icmp,
            F::Icmpv6Type | F::Icmpv6Code => Layer::Icmpv6,
            F::GreProtocol => Layer::Gre,
            F::VxlanVni => Layer::Vxlan,
            F::DnsId
            | F::DnsResponse
            | F::DnsOpcode
            | F::DnsAuthoritative
            | F::DnsTruncated
            | F::DnsRecursionDesired
            | F::DnsRecursionAvailable
            | F::DnsResponseCode
            | F::DnsQuestions
            | F::DnsAnswers
            | F::DnsAuthorities
            | F::DnsAdditionals
            | F::DnsQueryType
            | F::DnsQueryClass => Layer::Dns,
        })
    }
}
