//! From selectors to the flow rules of a network card. Pure.
//!
//! ```text
//!   UDP to 198.18.0.0/24 port 1000-2000   ──►  udp4 198.18.0.0/24, ports 1000-1007    queue 1
//!                                              udp4 198.18.0.0/24, ports 1008-1023    queue 1
//!                                              …   ports 2000                         queue 1
//! ```
//!
//! A card compares bits, so a range of ports becomes blocks of a power of two, at most 30. A
//! selector of any protocol that names ports becomes such rules for TCP, UDP and SCTP each.
//!
//! A rule only chooses the queue: which packets leave the kernel, and for which service, the XDP
//! program decides there, as always. So a rule that is wider than its selector would do no harm;
//! none is. Where selectors overlap, the first decides: its rule gets the lower location. A driver
//! that chooses locations itself keeps its own order, most often the narrower rule first; then a
//! packet of both may come to the queue of the second, and is unclaimed there where the services
//! differ. What a rule cannot see is a later fragment of a packet: it carries no ports.

use std::ops::RangeInclusive;

use crate::steer::{Prefix, Protocol, Selector};
use crate::sys::ethtool::rule::{Flow, FlowProtocol, Network, PortBlock, Rule};

/// Most rules of one interface: as many as the largest of the usual cards takes by this way
/// (mlx5, 1024). Each is a system call at the start and at the end, under a lock of the kernel
/// that all changes of all interfaces wait for. Lower, and a config is refused that the card could
/// serve; higher, and a slip such as a range of ports in every selector keeps that lock for long.
pub const RULES_MAX: usize = 1024;

/// The rules that send what `selector` names to `queue`.
pub fn rules(selector: &Selector, queue: u32) -> Vec<Rule> {
    let network = |prefix: Prefix| Network { address: prefix.address(), len: prefix.bits() };
    let destination = network(selector.destination);
    let source = selector.source.map_or(Network::any(destination.address), network);
    let with_ports = [FlowProtocol::Tcp, FlowProtocol::Udp, FlowProtocol::Sctp];
    let protocols = match selector.protocol {
        Protocol::Any if selector.destination_ports.is_some() => &with_ports[..],
        Protocol::Any => &[FlowProtocol::Any],
        Protocol::TCP => &with_ports[..1],
        Protocol::UDP => &with_ports[1..2],
        Protocol::SCTP => &with_ports[2..],
        Protocol::Number(number) => &[FlowProtocol::Number(number)],
    };
    let blocks = selector.destination_ports.clone().map_or(vec![PortBlock::ANY], blocks);
    let of = |&protocol: &FlowProtocol| {
        let rule = move |ports: &PortBlock| {
            let flow = Flow { protocol, source, destination, ports: *ports };
            Rule { flow, queue }
        };
        blocks.iter().map(rule).collect::<Vec<_>>()
    };
    protocols.iter().flat_map(of).collect()
}

/// The fewest blocks that are exactly `ports`, in their order: at most 30, of none but the last
/// and the first port of all.
pub fn blocks(ports: RangeInclusive<u16>) -> Vec<PortBlock> {
    let (mut first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let mut blocks = Vec::new();
    while first <= last {
        // As large as its first port is round, and as what is left.
        let round = first.trailing_zeros().min(16);
        let free = round.min((last - first + 1).ilog2());
        #[allow(clippy::cast_possible_truncation)] // `first` is at most `last`, `free` at most 16.
        blocks.push(PortBlock { first: first as u16, len: 16 - free as u8 });
        first += 1 << free;
    }
    blocks
}

/// The locations for `count` new rules of a card that does not choose them: free ones, in
/// ascending order, as many as there are up to `count`.
///
/// A packet that several rules name obeys the one at the lowest location, so the order of selectors
/// is kept. They are taken from the end, as `ethtool -N` does, which leaves the beginning for rules
/// that an operator wants to come first.
pub fn free_locations(size: u32, used: &[u32], count: usize) -> Vec<u32> {
    let mut free: Vec<u32> =
        (0..size).rev().filter(|location| !used.contains(location)).take(count).collect();
    free.reverse();
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::Fragments;

    fn selector(destination: &str, protocol: Protocol, ports: Option<(u16, u16)>) -> Selector {
        Selector {
            destination: destination.parse().unwrap(),
            source: None,
            protocol,
            destination_ports: ports.map(|(first, last)| first..=last),
            fragments: Fragments::Pass,
            protection: None,
        }
    }

    fn words(selector: &Selector) -> Vec<String> {
        rules(selector, 2).iter().map(Rule::to_string).collect()
    }

    #[test]
    fn each_kind_of_selector_has_its_rules() {
        let udp = selector("198.18.0.0/15", Protocol::UDP, Some((53, 53)));
        assert_eq!(
            words(&udp),
            ["flow-type udp4 dst-ip 198.18.0.0 m 0.1.255.255 dst-port 53 action 2"]
        );
        let from = Selector { source: Some("198.19.0.0/16".parse().unwrap()), ..udp };
        assert_eq!(
            words(&from),
            ["flow-type udp4 src-ip 198.19.0.0 m 0.0.255.255 dst-ip 198.18.0.0 m 0.1.255.255 \
              dst-port 53 action 2"]
        );
        let all = |destination, protocol| words(&selector(destination, protocol, None));
        assert_eq!(
            all("2001:db8::1", Protocol::TCP),
            ["flow-type tcp6 dst-ip 2001:db8::1 action 2"]
        );
        assert_eq!(
            all("198.18.0.1", Protocol::SCTP),
            ["flow-type sctp4 dst-ip 198.18.0.1 action 2"]
        );
        assert_eq!(all("198.18.0.1", Protocol::Any), ["flow-type ip4 dst-ip 198.18.0.1 action 2"]);
        assert_eq!(
            all("2001:db8::1", Protocol::Number(58)),
            ["flow-type ip6 dst-ip 2001:db8::1 l4proto 58 action 2"]
        );
        assert_eq!(all("0.0.0.0/0", Protocol::Any), ["flow-type ip4 action 2"]);
    }

    #[test]
    fn ports_of_any_protocol_are_those_of_all_that_have_some() {
        let any = selector("198.18.0.1", Protocol::Any, Some((6, 8)));
        let said = words(&any);
        assert_eq!(said.len(), 6);
        assert_eq!(said[0], "flow-type tcp4 dst-ip 198.18.0.1 dst-port 6 m 0x1 action 2");
        assert_eq!(said[3], "flow-type udp4 dst-ip 198.18.0.1 dst-port 8 action 2");
        assert!(said[5].starts_with("flow-type sctp4"), "{said:?}");
    }

    #[test]
    fn a_range_is_split_into_its_blocks() {
        let split = |first, last| -> Vec<(u16, u8)> {
            blocks(first..=last).iter().map(|block| (block.first, block.len)).collect()
        };
        assert_eq!(split(53, 53), [(53, 16)]);
        assert_eq!(split(1024, 2047), [(1024, 6)]);
        assert_eq!(
            split(1000, 2000),
            [
                (1000, 13),
                (1008, 12),
                (1024, 7),
                (1536, 8),
                (1792, 9),
                (1920, 10),
                (1984, 12),
                (2000, 16)
            ]
        );
        assert_eq!(split(0, u16::MAX), [(0, 0)]);
        assert_eq!(split(1, u16::MAX - 1).len(), 30, "the most that there are");
    }

    /// Every port is in exactly one block of its range, and no other is; checked at the ends of
    /// all ranges between places where blocks begin and end.
    #[test]
    fn blocks_are_the_range_and_nothing_else() {
        let edges = [0, 1, 2, 3, 53, 255, 256, 999, 1000, 32767, 32768, 65533, 65534, 65535];
        for first in edges {
            for last in edges.into_iter().filter(|last| *last >= first) {
                let blocks = blocks(first..=last);
                let mut next = u32::from(first);
                for block in &blocks {
                    assert_eq!(u32::from(block.first), next, "{first}-{last}: {blocks:?}");
                    let octets = 1u32 << (16 - block.len);
                    assert_eq!(u32::from(block.first) % octets, 0, "{first}-{last}: {blocks:?}");
                    next += octets;
                }
                assert_eq!(next, u32::from(last) + 1, "{first}-{last}: {blocks:?}");
                assert!(blocks.len() <= 30);
            }
        }
    }

    #[test]
    fn free_locations_are_the_last_ones_in_order() {
        assert_eq!(free_locations(8, &[7, 5], 3), [3, 4, 6]);
        assert_eq!(free_locations(8, &[], 0), [0; 0]);
        assert_eq!(free_locations(2, &[1], 3), [0], "fewer than wanted");
        assert_eq!(free_locations(0, &[], 1), [0; 0]);
    }
}
