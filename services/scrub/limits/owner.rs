//! Whose bucket: what packets have in common that share one.

use std::net::IpAddr;

use crate::scrub::rules::rule;
use crate::scrub::siphash::{self, Key};

/// The owner of a bucket. Two are equal when they share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Everybody. Frames that are not IP have one together too.
    All,
    /// A source, or its network: the leading bits, the others zero.
    Source(IpAddr),
    /// A destination.
    Destination(IpAddr),
    /// What goes one way between two ends.
    Flow(Flow),
}

/// Both addresses, protocol, ports. Later fragments have ports of zero, as protocols without ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Owner {
    /// The one who is meant by `per` of the packets of `flow`.
    pub(crate) fn of(per: rule::Key, flow: Flow) -> Self {
        match per {
            rule::Key::All => Self::All,
            rule::Key::Source { ipv4, ipv6 } => {
                Self::Source(network(flow.source, if flow.source.is_ipv4() { ipv4 } else { ipv6 }))
            }
            rule::Key::Destination => Self::Destination(flow.destination),
            rule::Key::Flow => Self::Flow(flow),
        }
    }

    /// 64 bits that stand for it. The last word says which kind of owner it is, and of which kind of
    /// IP, so that nobody spends the tokens of an IPv4 source by packets of IPv6.
    pub(crate) fn tag(&self, key: Key) -> u64 {
        match *self {
            Self::All => key.hash_words([0]),
            Self::Source(address) => one(key, address, 1),
            Self::Destination(address) => one(key, address, 2),
            Self::Flow(flow) => flow.tag(key),
        }
    }
}

impl Flow {
    fn tag(&self, key: Key) -> u64 {
        let upper = u64::from(self.source_port) << 32
            | u64::from(self.destination_port) << 16
            | u64::from(self.protocol) << 8;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let both = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
                key.hash_words([both, upper | 4])
            }
            (source, destination) => {
                let [a, b] = siphash::halves(bits(source));
                let [c, d] = siphash::halves(bits(destination));
                key.hash_words([a, b, c, d, upper | 6])
            }
        }
    }
}

fn one(key: Key, address: IpAddr, kind: u64) -> u64 {
    match address {
        IpAddr::V4(address) => key.hash_words([u64::from(address.to_bits()), kind]),
        IpAddr::V6(address) => {
            let [low, high] = siphash::halves(address.to_bits());
            key.hash_words([low, high, kind])
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The leading `bits` of `address`; all of it where that are more than it has.
fn network(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let behind = 32_u32.saturating_sub(bits.into());
            IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            let behind = 128_u32.saturating_sub(bits.into());
            IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn flow(source: &str, destination: &str) -> Flow {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Flow { source, destination, protocol: 6, source_port: 1, destination_port: 2 }
    }

    #[test]
    fn networks_share_an_owner_and_neighbours_do_not() {
        let per = rule::Key::Source { ipv4: 24, ipv6: 64 };
        let of = |source, destination| Owner::of(per, flow(source, destination));
        let v4 = of("198.18.1.1", "198.19.0.1");
        assert_eq!(v4, of("198.18.1.255", "198.19.0.2"));
        assert_ne!(v4, of("198.18.2.1", "198.19.0.1"));
        let v6 = of("2001:db8:0:1::1", "2001:db8::");
        assert_eq!(v6, of("2001:db8:0:1:ffff::", "2001:db8::"));
        assert_ne!(v6, of("2001:db8:0:2::1", "2001:db8::"));
        // All bits, none, and more than there are.
        for (bits, same) in [(32, false), (0, true), (200, false)] {
            let per = rule::Key::Source { ipv4: bits, ipv6: bits };
            let [a, b] = ["198.18.1.1", "198.18.1.0"].map(|s| Owner::of(per, flow(s, "0.0.0.0")));
            assert_eq!(a == b, same, "/{bits}");
        }
    }

    #[test]
    fn each_part_of_a_flow_makes_another_owner_and_tag() {
        for (source, destination) in
            [("198.18.1.1", "198.18.1.2"), ("2001:db8::1", "2001:db8::2"), ("::1", "::2")]
        {
            let first = flow(source, destination);
            let others = [
                first,
                Flow { source: first.destination, destination: first.source, ..first },
                Flow { source: first.destination, ..first },
                Flow { protocol: 17, ..first },
                Flow { source_port: 2, ..first },
                Flow { destination_port: 1, ..first },
                Flow { source_port: 2, destination_port: 1, ..first },
            ];
            let tags = others.map(|flow| Owner::Flow(flow).tag(Key::fixed(1)));
            assert_eq!(tags.into_iter().collect::<HashSet<_>>().len(), others.len());
        }
    }

    #[test]
    fn the_same_digits_are_different_owners_by_kind_and_family() {
        let (v4, v6) = ("0.0.0.7".parse().unwrap(), "::7".parse().unwrap());
        let mapped = "::ffff:0.0.0.7".parse().unwrap();
        let owners = [
            Owner::Source(v4),
            Owner::Source(v6),
            Owner::Source(mapped),
            Owner::Destination(v4),
            Owner::Destination(v6),
            Owner::All,
        ];
        let tags = owners.map(|owner| owner.tag(Key::fixed(1)));
        assert_eq!(tags.into_iter().collect::<HashSet<_>>().len(), owners.len());
    }
}
