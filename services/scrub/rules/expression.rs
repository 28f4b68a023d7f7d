//! Expressions: tests of one packet, joined by and, or, not.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_config::Prefix;

use super::field::{AddressField, Layer, NumberField, Scope, Standing};

/// What holds of a packet or does not. There is no third: see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Of every packet.
    True,
    /// The other one does not hold.
    Not(Box<Expression>),
    /// Each holds. At least two.
    And(Vec<Expression>),
    /// One of them holds. At least two.
    Or(Vec<Expression>),
    /// One test.
    Test(Test),
}

/// One question to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// Whether a header is there: `tcp`, `inner.ipv6`, `vlan`.
    Has(Scope, Layer),
    /// Whether a number, after `& mask`, lies in one of the ranges: `ip.ttl < 5`,
    /// `tcp.dstport in {80, 443}`, `tcp.flags & 0x12 == 0x02`. A field of one bit alone,
    /// `tcp.flags.syn`, is this with the range 1 to 1.
    Number { scope: Scope, field: NumberField, mask: u64, ranges: Ranges },
    /// Whether an address lies in one of the prefixes.
    Address { scope: Scope, field: AddressField, set: Arc<Prefixes> },
    /// Whether the octets at a place of the payload, read as one number in network order and after
    /// `& mask`, lie in the ranges: `payload[3] == 0x2a`, `payload[0:2] in {1, 2}`.
    Octets { scope: Scope, place: Place, width: Width, mask: u64, ranges: Ranges },
    /// Whether exactly these octets stand at a place of the payload: `payload[0:4] == ff:ff:ff:ff`.
    Equal { scope: Scope, place: Place, octets: Box<[u8]> },
    /// Whether these octets stand anywhere in the payload: `payload contains "xyz"`.
    Contains { scope: Scope, octets: Box<[u8]>, any_case: bool },
    /// Whether the name that a DNS message asks for is one of these: `dns.qry.name == "*.example.com"`.
    Name { scope: Scope, names: Arc<Names> },
    /// Whether classic BPF returns something other than 0 of the packet from its IP header on, as
    /// iptables' xt_bpf runs it: `cbpf "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"`.
    Bytecode(Arc<crate::scrub::cbpf::Program>),
    /// Whether a SYN or SYN-ACK has the signature of p0f 3: `p0f "*:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0"`.
    Fingerprint(Arc<crate::scrub::p0f::Signature>),
    /// What is known of the packet from before it came: `known`, `verified`.
    Standing(Standing),
}

/// Numbers, as ranges with both ends: in ascending order, disjoint, not adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ranges(pub(super) Box<[(u64, u64)]>);

impl Ranges {
    /// The numbers of all `ranges`, each from its first to its last.
    ///
    /// # Panics
    ///
    /// When one of them runs backwards.
    pub(crate) fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<(u64, u64)> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            assert!(first <= last, "{first} to {last} runs backwards");
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => joined.push((first, last)),
            }
        }
        Self(joined.into())
    }

    /// All numbers up to `last` that are not among these.
    pub(crate) fn complement(&self, last: u64) -> Self {
        let mut next = Some(0);
        let mut gaps = Vec::new();
        for &(first, end) in &self.0 {
            if let Some(start) = next.filter(|&start| start < first) {
                gaps.push((start, first - 1));
            }
            next = end.checked_add(1);
        }
        gaps.extend(next.filter(|&start| start <= last).map(|start| (start, last)));
        Self::new(gaps.into_iter().filter(|&(first, _)| first <= last))
    }

    /// The numbers that are among both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&a), Some(&b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                both.push((first, last));
            }
            // Who ends first has nothing more to share.
            if a.1 < b.1 {
                left.next()
            } else {
                right.next()
            };
        }
        Self(both.into())
    }

    /// Whether there is no number.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `number` is one of them.
    pub(crate) fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// From the lowest on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// Networks of both kinds of IP: sorted, each once, none within another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefixes {
    /// First and last address of each network of IPv4.
    pub(super) ipv4: Box<[(u32, u32)]>,
    /// The same of IPv6.
    pub(super) ipv6: Box<[(u128, u128)]>,
}

impl Prefixes {
    /// The addresses of all `prefixes`.
    pub(crate) fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            let behind = u32::from(prefix.prefix_len());
            match prefix.address() {
                IpAddr::V4(address) => {
                    let first = address.to_bits();
                    ipv4.push((first, first | u32::MAX.checked_shr(behind).unwrap_or(0)));
                }
                IpAddr::V6(address) => {
                    let first = address.to_bits();
                    ipv6.push((first, first | u128::MAX.checked_shr(behind).unwrap_or(0)));
                }
            }
        }
        Self { ipv4: outermost(ipv4), ipv6: outermost(ipv6) }
    }

    /// The addresses of all `sets`.
    pub(super) fn union<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for set in sets {
            ipv4.extend_from_slice(&set.ipv4);
            ipv6.extend_from_slice(&set.ipv6);
        }
        Self { ipv4: outermost(ipv4), ipv6: outermost(ipv6) }
    }

    /// Whether one of them holds `address`.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => is_in(&self.ipv4, address.to_bits()),
            IpAddr::V6(address) => is_in(&self.ipv6, address.to_bits()),
        }
    }

    /// First and last address of each network of IPv4, ascending and disjoint.
    pub(crate) fn ipv4(&self) -> &[(u32, u32)] {
        &self.ipv4
    }

    /// First and last address of each network of IPv6, ascending and disjoint.
    pub(crate) fn ipv6(&self) -> &[(u128, u128)] {
        &self.ipv6
    }
}

/// Networks lie within each other or apart, so who begins within the one before lies within it.
fn outermost<T: Ord + Copy>(mut networks: Vec<(T, T)>) -> Box<[(T, T)]> {
    networks.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut apart: Vec<(T, T)> = Vec::with_capacity(networks.len());
    for network in networks {
        if apart.last().is_none_or(|before| network.0 > before.1) {
            apart.push(network);
        }
    }
    apart.into()
}

fn is_in<T: Ord + Copy>(networks: &[(T, T)], address: T) -> bool {
    let after = networks.partition_point(|&(first, _)| first <= address);
    after > 0 && address <= networks[after - 1].1
}

/// Where octets stand in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// So many octets behind its beginning.
    Front(u16),
    /// Beginning so many octets before its end, at least 1.
    Back(u16),
}

/// Octets that are read as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    One = 1,
    Two = 2,
    Four = 4,
}

/// Names of DNS: whole ones, and `*.` followed by one, which stands for all below it but not itself.
/// Compared without regard to case (RFC 4343).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// In the form of the wire, in lower case: labels with their lengths and the final zero.
    pub(super) exact: Box<[Box<[u8]>]>,
    /// The same, of what stands behind `*.`.
    pub(super) below: Box<[Box<[u8]>]>,
}

impl Names {
    /// Names that must be met whole, in the form of the wire and in lower case.
    pub(crate) fn exact(&self) -> &[Box<[u8]>] {
        &self.exact
    }

    /// Names of which only those below are meant.
    pub(crate) fn below(&self) -> &[Box<[u8]>] {
        &self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_have_a_complement() {
        let ranges = Ranges::new([(5, 9), (1, 2), (3, 3), (20, 30), (25, 26)]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 3), (5, 9), (20, 30)]);
        let rest = ranges.complement(25);
        assert_eq!(rest.iter().collect::<Vec<_>>(), [(0, 0), (4, 4), (10, 19)]);
        for number in 0..=25 {
            assert_ne!(ranges.contains(number), rest.contains(number), "{number}");
        }
        assert!(ranges.intersection(&rest).is_empty());
        let some = Ranges::new([(2, 6), (8, 21)]).intersection(&ranges);
        assert_eq!(some.iter().collect::<Vec<_>>(), [(2, 3), (5, 6), (8, 9), (20, 21)]);
        let all = Ranges::default().complement(u64::MAX);
        assert_eq!(all.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
        assert_eq!(all.complement(u64::MAX), Ranges::default());
    }

    #[test]
    fn prefixes_hold_their_addresses_and_no_other() {
        let networks = ["198.18.0.0/15", "198.18.1.0/24", "2001:db8::/32", "0.0.0.0/32"];
        let set = Prefixes::new(networks.map(|text| text.parse().unwrap()));
        assert_eq!(set.ipv4().len(), 2);
        for (address, inside) in [
            ("198.18.0.0", true),
            ("198.19.255.255", true),
            ("198.20.0.0", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        let all = Prefixes::new(["::/0", "0.0.0.0/0"].map(|text| text.parse().unwrap()));
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(all.contains("ffff::".parse().unwrap()));
    }
}
