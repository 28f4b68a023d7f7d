//! The echo service answers what its own test does not show: IPv6, VLAN tags, extension headers.

use tidegate::echo::Echo;
use tidegate::registry::NoOptions;
use tidegate_dataplane::wire::checksum::pseudo_v6;
use tidegate_dataplane::wire::packet::{Network, Packet, Transport};
use tidegate_dataplane::wire::{ethernet, ipv6, protocol, udp};
use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::sim::{Sim, SimPort};

/// A question in VLAN 7, over IPv6 with destination options, and with a right checksum.
fn question() -> Vec<u8> {
    let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let mut header = udp::Header { source: 40_000, destination: 7, payload_octets: 2, checksum: 0 };
    let sum = pseudo_v6(source, destination, protocol::UDP, 10);
    header.checksum = sum.add_octets(&header.emit()).add_octets(b"hi").finish();
    let ip = ipv6::Header {
        source,
        destination,
        protocol: protocol::DESTINATION_OPTIONS,
        payload_octets: 18,
        hop_limit: 64,
        traffic_class: 0,
    };
    let link = ethernet::Header {
        destination: [2, 0, 0, 0, 0, 2],
        source: [2, 0, 0, 0, 0, 1],
        ether_type: ethernet::ether_type::IPV6,
    };
    let options = [protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
    let mut frame = [&link.emit()[..], &ip.emit(), &options, &header.emit(), b"hi"].concat();
    frame.splice(12..12, [0x81, 0, 0, 7]);
    frame
}

#[test]
fn answers_over_ipv6_in_a_vlan_with_a_checksum_that_stays_right() {
    let mut sim = Sim::new(1);
    let plan = ServicePlan::of::<Echo>("echo", NoOptions {}).selector(0, 0);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    let question = question();
    sim.deliver(0, 0, &question, 0);
    sim.drain();
    let answers = sim.sent(0, 0);
    let [answer] = &answers[..] else { panic!("{} answers", answers.len()) };

    let (asked, answered) = (Packet::parse(&question).unwrap(), Packet::parse(answer).unwrap());
    assert_eq!(answered.source(), asked.destination());
    assert_eq!(answered.destination(), asked.source());
    assert_eq!(answered.ports(), Some((7, 40_000)));
    assert_eq!(answered.ethernet().source(), asked.ethernet().destination());
    assert_eq!(answered.ethernet().tags().next().unwrap().id(), 7);
    assert_eq!(answered.payload(), b"hi");
    let (Network::V6(ip), Transport::Udp(udp)) = (answered.network(), answered.transport()) else {
        panic!("{answered:?}")
    };
    let sum = pseudo_v6(ip.source(), ip.destination(), protocol::UDP, 10);
    assert_eq!(sum.add_octets(ip.payload()).finish(), 0);
    assert!(udp.checksum().is_some());
}
