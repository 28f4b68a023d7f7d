//! Kinds of packets, and what each kind surely shows or surely does not.
//!
//! Rules are compiled once for each kind. Half of most rule sets is then gone: what asks for UDP is
//! not among the rules for TCP, and what is left needs no test of layers. Where a field is certain to
//! be there, its negation is a test of the other numbers.

use tidegate_dataplane::wire::packet::{Network, Transport};

use crate::scrub::facts::Facts;
use crate::scrub::rules::field::{Layer, NumberField, Scope};

/// Versions of IP and what is above it, of the packet that arrived. Parts of datagrams without ports
/// are `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    NotIp,
    V4Tcp,
    V4Udp,
    V4Icmp,
    V4Other,
    V6Tcp,
    V6Udp,
    V6Icmp,
    V6Other,
}

/// What is known of a field before the packet is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Never,
    Maybe,
    Always,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::NotIp,
        Self::V4Tcp,
        Self::V4Udp,
        Self::V4Icmp,
        Self::V4Other,
        Self::V6Tcp,
        Self::V6Udp,
        Self::V6Icmp,
        Self::V6Other,
    ];

    /// The kind of a packet, and its ports where it shows some.
    #[inline]
    pub(super) fn of(facts: &Facts<'_>) -> (Self, Option<(u16, u16)>) {
        let Some(network) = facts.network(Scope::Outer) else { return (Self::NotIp, None) };
        let v4 = matches!(network, Network::V4(_));
        let either = |four, six| if v4 { four } else { six };
        match facts.transport(Scope::Outer) {
            Some(Transport::Tcp(tcp)) => {
                (either(Self::V4Tcp, Self::V6Tcp), Some((tcp.source(), tcp.destination())))
            }
            Some(Transport::Udp(udp)) => {
                (either(Self::V4Udp, Self::V6Udp), Some((udp.source(), udp.destination())))
            }
            // Each kind of ICMP is over its own kind of IP only.
            Some(Transport::Icmp(_) | Transport::Icmpv6(_)) => {
                (either(Self::V4Icmp, Self::V6Icmp), None)
            }
            _ => (either(Self::V4Other, Self::V6Other), None),
        }
    }

    pub(super) const fn is_v4(self) -> bool {
        matches!(self, Self::V4Tcp | Self::V4Udp | Self::V4Icmp | Self::V4Other)
    }

    pub(super) const fn is_v6(self) -> bool {
        matches!(self, Self::V6Tcp | Self::V6Udp | Self::V6Icmp | Self::V6Other)
    }

    pub(super) const fn is_tcp(self) -> bool {
        matches!(self, Self::V4Tcp | Self::V6Tcp)
    }

    pub(super) const fn is_udp(self) -> bool {
        matches!(self, Self::V4Udp | Self::V6Udp)
    }

    const fn is_other(self) -> bool {
        matches!(self, Self::V4Other | Self::V6Other)
    }

    /// Whether packets of this kind have a header.
    pub(super) fn layer(self, scope: Scope, layer: Layer) -> Presence {
        if scope == Scope::Inner {
            return never_unless(self != Self::NotIp);
        }
        match layer {
            Layer::Vlan => Presence::Maybe,
            Layer::Ip => surely(self != Self::NotIp),
            Layer::Ipv4 => surely(self.is_v4()),
            Layer::Ipv6 => surely(self.is_v6()),
            Layer::IpOptions => never_unless(self.is_v4()),
            Layer::HopByHop
            | Layer::Routing
            | Layer::DestinationOptions
            | Layer::FragmentHeader => never_unless(self.is_v6()),
            Layer::Authentication | Layer::Carried => never_unless(self != Self::NotIp),
            Layer::Tcp => surely(self.is_tcp()),
            Layer::Udp => surely(self.is_udp()),
            Layer::Icmp => surely(self == Self::V4Icmp),
            Layer::Icmpv6 => surely(self == Self::V6Icmp),
            Layer::Gre => never_unless(self.is_other()),
            Layer::Vxlan => never_unless(self.is_udp()),
            Layer::Dns => never_unless(self.is_udp() || self.is_tcp()),
        }
    }

    /// Whether packets of this kind have a field.
    pub(super) fn number(self, scope: Scope, field: NumberField) -> Presence {
        use NumberField as F;
        if scope == Scope::Inner {
            return never_unless(self != Self::NotIp);
        }
        match field {
            F::IpId if self.is_v6() => Presence::Maybe,
            F::SourcePort | F::DestinationPort => surely(self.is_tcp() || self.is_udp()),
            F::TcpMss | F::TcpWindowScale => never_unless(self.is_tcp()),
            F::PayloadLength if self.is_other() => Presence::Maybe,
            _ => field.layer().map_or(Presence::Maybe, |layer| self.layer(scope, layer)),
        }
    }
}

const fn surely(is: bool) -> Presence {
    if is { Presence::Always } else { Presence::Never }
}

const fn never_unless(may: bool) -> Presence {
    if may { Presence::Maybe } else { Presence::Never }
}
