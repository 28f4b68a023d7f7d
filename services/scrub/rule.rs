//! One rule as it is applied: a row of comparisons, each always made the same way.
//!
//! What a rule leaves open is a comparison that is always true (a mask of zero,
//! a range of everything), so that there is nothing to look up and little to
//! guess for the processor. The first one, on [`Facts::has`], decides most
//! rules: IPv6, ICMP or a later fragment fail it when ports or flags are asked.

use std::net::IpAddr;

use tidegate_config::{PortRange, Prefix};

use super::gathered::{Facts, has};
use super::options::RuleOptions;
use super::words::Protocol;

/// The conditions of one rule. All must hold.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Bits of `has` that are looked at, and what they must be.
    has_mask: u8,
    has_value: u8,
    protocol_mask: u8,
    protocol: u8,
    flags_mask: u8,
    flags: u8,
    source_ports: Range<u16>,
    destination_ports: Range<u16>,
    lengths: Range<u32>,
    source: Network,
    destination: Network,
    payload: Option<Needle>,
}

/// Both ends included, as a start and a distance: one comparison instead of two.
#[derive(Clone, Copy, Debug)]
struct Range<T> {
    first: T,
    span: T,
}

/// Leading bits of an address.
#[derive(Clone, Copy, Debug)]
struct Network {
    mask: u128,
    value: u128,
}

/// Octets at a place.
#[derive(Clone, Debug)]
struct Needle {
    offset: usize,
    octets: Box<[u8]>,
}

impl Rule {
    /// The rule that `options` describe.
    pub(crate) fn new(options: &RuleOptions) -> Self {
        let mut rule = Self {
            has_mask: 0,
            has_value: 0,
            protocol_mask: 0,
            protocol: 0,
            flags_mask: options.flags.map_or(0, |flags| flags.mask),
            flags: options.flags.map_or(0, |flags| flags.value),
            source_ports: ports(options.source_ports),
            destination_ports: ports(options.destination_ports),
            lengths: (options.length).map_or(Range { first: 0, span: u32::MAX }, |range| Range {
                first: range.first,
                span: range.last - range.first,
            }),
            source: network(options.source),
            destination: network(options.destination),
            payload: options.payload.as_ref().map(|payload| Needle {
                offset: usize::from(payload.offset),
                octets: payload.octets.0.clone(),
            }),
        };
        for prefix in [options.source, options.destination].into_iter().flatten() {
            rule.require(if prefix.is_ipv4() { has::IPV4 } else { has::IPV6 });
        }
        match options.protocol {
            None => {}
            Some(Protocol::Icmp) => rule.require(has::ICMP),
            Some(Protocol::Number(number)) => {
                rule.require(has::LENGTH);
                (rule.protocol_mask, rule.protocol) = (u8::MAX, number);
            }
        }
        if options.source_ports.is_some() || options.destination_ports.is_some() {
            rule.require(has::PORTS);
        }
        if options.flags.is_some() {
            rule.require(has::FLAGS);
        }
        if options.length.is_some() {
            rule.require(has::LENGTH);
        }
        if options.payload.is_some() {
            rule.require(has::PAYLOAD);
        }
        match options.fragment {
            None => {}
            Some(true) => rule.require(has::FRAGMENT),
            Some(false) => {
                rule.require(has::LENGTH);
                rule.has_mask |= has::FRAGMENT;
            }
        }
        rule
    }

    const fn require(&mut self, bit: u8) {
        self.has_mask |= bit;
        self.has_value |= bit;
    }

    /// Whether a packet is what the rule says.
    #[inline]
    pub(crate) fn matches(&self, facts: &Facts<'_>) -> bool {
        let within = |range: Range<u16>, port: u16| port.wrapping_sub(range.first) <= range.span;
        (facts.has & self.has_mask) == self.has_value
            && (facts.protocol & self.protocol_mask) == self.protocol
            && (facts.flags & self.flags_mask) == self.flags
            && within(self.destination_ports, facts.destination_port)
            && within(self.source_ports, facts.source_port)
            && facts.length.wrapping_sub(self.lengths.first) <= self.lengths.span
            && (facts.destination & self.destination.mask) == self.destination.value
            && (facts.source & self.source.mask) == self.source.value
            && self.payload.as_ref().is_none_or(|needle| needle.is_in(facts.payload))
    }
}

impl Needle {
    fn is_in(&self, payload: &[u8]) -> bool {
        payload.get(self.offset..).is_some_and(|rest| rest.starts_with(&self.octets))
    }
}

fn ports(range: Option<PortRange>) -> Range<u16> {
    range.map_or(Range { first: 0, span: u16::MAX }, |range| Range {
        first: range.first(),
        span: range.last() - range.first(),
    })
}

fn network(prefix: Option<Prefix>) -> Network {
    let Some(prefix) = prefix else { return Network { mask: 0, value: 0 } };
    let (bits, value) = match prefix.address() {
        IpAddr::V4(address) => (32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    // For IPv4 the 96 bits above the address are zero in every fact; they may be compared or not.
    let mask = u128::MAX.checked_shl(bits - u32::from(prefix.prefix_len())).unwrap_or(0);
    Network { mask, value: value & mask }
}
