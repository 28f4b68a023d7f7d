//! Facts of packets of every kind: each field once, and what is not there has no value.

use std::net::IpAddr;

use tidegate_dataplane::pcap::Reader;
use tidegate_dataplane::wire::{Malformed, protocol};

use super::testing::{datagram, frame, message, segment, tagged, tcp_v4, udp_v4, v4, v6};
use super::*;
use NumberField as F;

fn facts(frame: &[u8]) -> Facts<'_> {
    Facts::of(frame, frame.len(), Standings::default()).unwrap()
}

/// Every field that has a value, of the packet itself.
fn numbers(frame: &[u8], scope: Scope) -> Vec<(NumberField, u64)> {
    let facts = facts(frame);
    NumberField::ALL.iter().filter_map(|&it| Some((it, facts.number(scope, it)?))).collect()
}

/// Every layer that is there.
fn layers(frame: &[u8], scope: Scope) -> Vec<Layer> {
    let facts = facts(frame);
    Layer::ALL.iter().copied().filter(|&layer| facts.has(scope, layer)).collect()
}

const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7];

/// TCP over IPv4, in two VLANs.
fn syn() -> Vec<u8> {
    let body = segment((40_000, 443), 0b1010_1010, &SYN_OPTIONS, b"fast open");
    let once = tagged(&frame(0x0800, &v4(protocol::TCP, &body)), 0x0007);
    tagged(&once, 0xa064)
}

#[test]
fn every_field_of_tcp_over_ipv4_in_two_vlans_has_its_number() {
    let expected = [
        (F::FrameLength, 14 + 8 + 20 + 40 + 9),
        (F::EtherType, 0x0800),
        (F::VlanId, 100),
        (F::VlanPriority, 5),
        (F::VlanInnerId, 7),
        (F::IpVersion, 4),
        (F::IpLength, 20 + 40 + 9),
        (F::IpHeaderLength, 20),
        (F::IpTtl, 64),
        (F::IpDscp, 46),
        (F::IpEcn, 1),
        (F::IpProtocol, 6),
        (F::IpId, 0x1234),
        (F::IpDontFragment, 1),
        (F::IpMoreFragments, 0),
        (F::IpReserved, 0),
        (F::IpFragmentOffset, 0),
        (F::IpFragment, 0),
        (F::SourcePort, 40_000),
        (F::DestinationPort, 443),
        (F::TcpSourcePort, 40_000),
        (F::TcpDestinationPort, 443),
        (F::TcpFlags, 0b1010_1010),
        (F::TcpFin, 0),
        (F::TcpSyn, 1),
        (F::TcpReset, 0),
        (F::TcpPush, 1),
        (F::TcpAckFlag, 0),
        (F::TcpUrgent, 1),
        (F::TcpEce, 0),
        (F::TcpCwr, 1),
        (F::TcpSequence, 0x0102_0304),
        (F::TcpAcknowledgement, 0x0506_0708),
        (F::TcpWindow, 29_200),
        (F::TcpUrgentPointer, 0),
        (F::TcpHeaderLength, 40),
        (F::TcpLength, 9),
        (F::TcpMss, 1460),
        (F::TcpWindowScale, 7),
        (F::TcpSackPermitted, 1),
        (F::TcpTimestamps, 1),
        (F::PayloadLength, 9),
    ];
    let mut frame = syn();
    frame.extend([0xa5; 6]); // Padding is the frame's, not the packet's.
    assert_eq!(numbers(&frame, Scope::Outer)[1..], expected[1..]);
    assert_eq!(numbers(&syn(), Scope::Outer), expected);
    assert_eq!(layers(&frame, Scope::Outer), [Layer::Vlan, Layer::Ip, Layer::Ipv4, Layer::Tcp]);
    assert_eq!(facts(&frame).payload(Scope::Outer), b"fast open");
    assert_eq!(facts(&frame).ip(), Some(&frame[22..22 + 69]));
    assert_eq!(numbers(&frame, Scope::Inner), []);
}

#[test]
fn options_that_are_not_there_have_no_number_or_say_no() {
    let frame = tcp_v4(1, 2, 2);
    let facts = facts(&frame);
    let number = |field| facts.number(Scope::Outer, field);
    assert_eq!((number(F::TcpMss), number(F::TcpWindowScale)), (None, None));
    assert_eq!((number(F::TcpSackPermitted), number(F::TcpTimestamps)), (Some(0), Some(0)));
}

/// A DNS answer over IPv6 behind four extension headers.
fn answer() -> Vec<u8> {
    let mut body = vec![protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0];
    body.extend([protocol::DESTINATION_OPTIONS, 0, 4, 0, 0, 0, 0, 0]);
    body.extend([protocol::FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
    body.extend([protocol::UDP, 0, 0, 0, 0, 1, 0, 9]);
    body.extend(datagram(53, 4096, &message([0xae, 0x85], b"\x01a\x02no\0", 255)));
    let mut packet = v6(protocol::HOP_BY_HOP, &body);
    (packet[1], packet[2], packet[3]) = (packet[1] | 0x0a, 0xbc, 0xde);
    frame(0x86dd, &packet)
}

#[test]
fn every_field_of_dns_over_ipv6_with_extension_headers_has_its_number() {
    let expected = [
        (F::FrameLength, 14 + 40 + 32 + 8 + 22),
        (F::EtherType, 0x86dd),
        (F::IpVersion, 6),
        (F::IpLength, 40 + 32 + 8 + 22),
        (F::IpHeaderLength, 40),
        (F::IpTtl, 63),
        (F::IpDscp, 11),
        (F::IpEcn, 2),
        (F::IpProtocol, 17),
        (F::IpId, 0x0001_0009),
        (F::IpMoreFragments, 0),
        (F::IpFragmentOffset, 0),
        (F::IpFragment, 0),
        (F::IpFlowLabel, 0xa_bcde),
        (F::IpExtensions, 4),
        (F::SourcePort, 53),
        (F::DestinationPort, 4096),
        (F::UdpSourcePort, 53),
        (F::UdpDestinationPort, 4096),
        (F::UdpLength, 30),
        (F::UdpChecksum, 0xbeef),
        (F::PayloadLength, 22),
        (F::DnsId, 0x1234),
        (F::DnsResponse, 1),
        (F::DnsOpcode, 5),
        (F::DnsAuthoritative, 1),
        (F::DnsTruncated, 1),
        (F::DnsRecursionDesired, 0),
        (F::DnsRecursionAvailable, 1),
        (F::DnsResponseCode, 5),
        (F::DnsQuestions, 1),
        (F::DnsAnswers, 2),
        (F::DnsAuthorities, 3),
        (F::DnsAdditionals, 4),
        (F::DnsQueryType, 255),
        (F::DnsQueryClass, 1),
    ];
    let frame = answer();
    assert_eq!(numbers(&frame, Scope::Outer), expected);
    let there = [
        Layer::Ip,
        Layer::Ipv6,
        Layer::HopByHop,
        Layer::Routing,
        Layer::DestinationOptions,
        Layer::FragmentHeader,
        Layer::Udp,
        Layer::Dns,
    ];
    assert_eq!(layers(&frame, Scope::Outer), there);
    assert_eq!(facts(&frame).query_name(Scope::Outer), Some(&b"\x01a\x02no\0"[..]));
}

#[test]
fn dns_is_asked_on_port_53_alone_and_over_tcp_behind_a_length() {
    let query = message([1, 0], b"\x01a\0", 46);
    let asked = |frame: &[u8]| facts(frame).number(Scope::Outer, F::DnsQueryType);
    assert_eq!(asked(&udp_v4(4096, 53, &query)), Some(46));
    assert_eq!(asked(&udp_v4(4096, 5353, &query)), None);
    let segment = |data: &[u8]| frame(0x0800, &v4(6, &segment((4096, 53), 0x18, &[], data)));
    let behind = [&[0, u8::try_from(query.len()).unwrap()][..], &query].concat();
    assert_eq!(asked(&segment(&behind)), Some(46));
    let id = |frame: &[u8]| facts(frame).number(Scope::Outer, F::DnsId);
    assert_eq!(id(&segment(&behind)), Some(0x1234));
    assert_eq!(id(&segment(&query)), Some(0x0100), "its first octets are taken for the length");
    // A class that is cut off takes the type with it, not the name.
    let cut = udp_v4(4096, 53, &query[..query.len() - 1]);
    assert_eq!(asked(&cut), None);
    assert_eq!(facts(&cut).query_name(Scope::Outer), Some(&b"\x01a\0"[..]));
}

#[test]
fn messages_of_icmp_are_of_their_own_kind_of_ip() {
    let echo = [8, 3, 0, 0, 0, 1, 0, 0, 0xaa];
    let four = frame(0x0800, &v4(protocol::ICMP, &echo));
    let six = frame(0x86dd, &v6(protocol::ICMPV6, &echo));
    let number = |frame: &[u8], field| facts(frame).number(Scope::Outer, field);
    assert_eq!((number(&four, F::IcmpType), number(&four, F::IcmpCode)), (Some(8), Some(3)));
    assert_eq!((number(&four, F::Icmpv6Type), number(&six, F::IcmpType)), (None, None));
    assert_eq!((number(&six, F::Icmpv6Type), number(&six, F::Icmpv6Code)), (Some(8), Some(3)));
    assert_eq!(layers(&four, Scope::Outer), [Layer::Ip, Layer::Ipv4, Layer::Icmp]);
    assert_eq!(layers(&six, Scope::Outer), [Layer::Ip, Layer::Ipv6, Layer::Icmpv6]);
    assert_eq!(
        (number(&six, F::PayloadLength), facts(&six).payload(Scope::Outer)),
        (Some(1), &[0xaa][..])
    );
    let crossed = frame(0x0800, &v4(protocol::ICMPV6, &echo));
    assert_eq!(layers(&crossed, Scope::Outer), [Layer::Ip, Layer::Ipv4]);
}

#[test]
fn options_and_authentication_of_ipv4_are_seen() {
    let mut packet = v4(protocol::AUTHENTICATION, &[6, 4, 0, 0]);
    packet.splice(20..20, [1, 1, 1, 0]);
    (packet[0], packet[3], packet[6]) = (0x46, 28, 0x80);
    let frame = frame(0x0800, &packet);
    let there = [Layer::Ip, Layer::Ipv4, Layer::IpOptions, Layer::Authentication];
    assert_eq!(layers(&frame, Scope::Outer), there);
    let number = |field| facts(&frame).number(Scope::Outer, field);
    assert_eq!(number(F::IpHeaderLength), Some(24));
    assert_eq!((number(F::IpReserved), number(F::IpDontFragment)), (Some(1), Some(0)));
}

#[test]
fn a_later_fragment_has_no_ports_no_payload_and_no_transport() {
    let mut frame = udp_v4(53, 4096, &message([0x80, 0], b"\x01a\0", 46));
    (frame[20], frame[21]) = (0x20, 3);
    assert_eq!(layers(&frame, Scope::Outer), [Layer::Ip, Layer::Ipv4]);
    let facts = facts(&frame);
    let number = |field| facts.number(Scope::Outer, field);
    assert_eq!((number(F::IpFragment), number(F::IpFragmentOffset)), (Some(1), Some(24)));
    assert_eq!((number(F::IpMoreFragments), number(F::IpProtocol)), (Some(1), Some(17)));
    for field in [F::SourcePort, F::UdpSourcePort, F::PayloadLength, F::DnsId, F::UdpLength] {
        assert_eq!(number(field), None, "{field}");
    }
    assert!(facts.payload(Scope::Outer).is_empty());
    assert_eq!(facts.octets(Scope::Outer, Place::Front(0), 1), None);
}

#[test]
fn a_first_fragment_has_ports_and_what_is_there_of_the_payload() {
    let mut frame = udp_v4(53, 4096, &message([0x80, 0], b"\x01a\0", 46));
    (frame[20], frame[38]) = (0x20, 4); // Of more than a thousand octets.
    let facts = facts(&frame);
    let number = |field| facts.number(Scope::Outer, field);
    assert_eq!((number(F::IpFragment), number(F::IpMoreFragments)), (Some(1), Some(1)));
    assert_eq!((number(F::SourcePort), number(F::DnsQueryType)), (Some(53), Some(46)));
    assert_eq!((number(F::PayloadLength), number(F::UdpLength)), (Some(19), Some(1024 + 27)));
}

/// The packet in `frame` is UDP from port 7 to port 9.
fn carries(frame: &[u8]) -> bool {
    let facts = facts(frame);
    let number = |field| facts.number(Scope::Inner, field);
    let ports = (number(F::SourcePort), number(F::DestinationPort)) == (Some(7), Some(9));
    assert_eq!(ports, facts.has(Scope::Outer, Layer::Carried));
    assert_eq!(ports, facts.has(Scope::Inner, Layer::Udp));
    assert!(!facts.has(Scope::Inner, Layer::Carried));
    ports
}

#[test]
fn the_packet_within_is_found_in_every_tunnel() {
    let body = datagram(7, 9, b"within");
    let (four, six) = (v4(protocol::UDP, &body), v6(protocol::UDP, &body));
    let vxlan = |frame: &[u8]| [&[8, 0, 0, 0, 0, 1, 2, 0][..], frame].concat();
    let gre = |flags: u8, kind: u16, optional: usize, body: &[u8]| {
        let [a, b] = kind.to_be_bytes();
        [&[flags, 0, a, b][..], &vec![0xa5; optional], body].concat()
    };
    for (protocol, body) in [
        (4, four.clone()),
        (41, six.clone()),
        (47, gre(0, 0x0800, 0, &four)),
        (47, gre(0xb0, 0x86dd, 12, &six)),
        (47, gre(0x20, 0x6558, 4, &frame(0x0800, &four))),
        (47, gre(0, 0x6558, 0, &tagged(&frame(0x86dd, &six), 9))),
        (17, datagram(1, 4789, &vxlan(&frame(0x0800, &four)))),
    ] {
        assert!(carries(&frame(0x0800, &v4(protocol, &body))), "{protocol} over IPv4");
        assert!(carries(&frame(0x86dd, &v6(protocol, &body))), "{protocol} over IPv6");
    }
    let frame = frame(0x0800, &v4(17, &datagram(1, 4789, &vxlan(&frame(0x0800, &four)))));
    assert_eq!(facts(&frame).number(Scope::Outer, F::VxlanVni), Some(0x0102));
    assert_eq!(facts(&frame).number(Scope::Inner, F::EtherType), Some(0x0800));
    assert_eq!(facts(&frame).payload(Scope::Inner), b"within");
    assert_eq!(
        facts(&frame).address(Scope::Inner, AddressField::Source),
        Some(IpAddr::from([198, 18, 0, 1]))
    );
}

#[test]
fn what_is_no_packet_within_is_none() {
    let four = v4(protocol::UDP, &datagram(7, 9, b"within"));
    let gre = |first: u8, second: u8| [&[first, second, 8, 0][..], &four].concat();
    for (why, number, body) in [
        ("version 1", 47, gre(0, 1)),
        ("version 7", 47, gre(0, 7)),
        ("a source route", 47, gre(0x40, 0)),
        ("cut off", 4, four[..four.len() - 1].to_vec()),
        ("IPv4 where IPv6 is said", 41, four.clone()),
        ("no VXLAN flag", 17, datagram(1, 4789, &frame(0x0800, &four))),
        ("another port", 17, datagram(4789, 4790, &[8, 0, 0, 0, 0, 0, 0, 0])),
        ("ESP", 50, four.clone()),
    ] {
        assert!(!carries(&frame(0x0800, &v4(number, &body))), "{why}");
    }
    let mut later = frame(0x0800, &v4(4, &four));
    assert!(carries(&later));
    later[21] = 1;
    assert!(!carries(&later), "a later fragment");
    // Of a first fragment it goes on in the next.
    let mut first = frame(0x0800, &v4(4, &four[..four.len() - 3]));
    first[20] = 0x20;
    let facts = facts(&first);
    assert_eq!(facts.payload(Scope::Inner), b"wit");
    assert_eq!(facts.number(Scope::Inner, F::UdpLength), Some(14));
}

#[test]
fn a_frame_that_is_not_ip_has_the_facts_of_its_link() {
    let arp = tagged(&frame(0x0806, &[0; 28]), 5);
    let expected =
        [(F::FrameLength, 46), (F::EtherType, 0x0806), (F::VlanId, 5), (F::VlanPriority, 0)];
    assert_eq!(numbers(&arp, Scope::Outer), expected);
    assert_eq!(layers(&arp, Scope::Outer), [Layer::Vlan]);
    assert_eq!((facts(&arp).ip(), facts(&arp).payload(Scope::Outer)), (None, &[][..]));
    assert_eq!(facts(&arp).address(Scope::Outer, AddressField::Source), None);
}

#[test]
fn what_is_cut_off_is_malformed_and_no_prefix_panics() {
    for frame in [syn(), answer(), udp_v4(1, 2, b"")] {
        for end in 0..frame.len() {
            let facts = Facts::of(&frame[..end], end, Standings::default());
            assert!(facts.is_err(), "{end} of {}", frame.len());
        }
    }
    let refusal = Facts::of(&[0; 13], 13, Standings::default()).unwrap_err();
    assert_eq!(refusal, Malformed::Truncated { have: 13, need: 14 });
}

#[test]
fn places_are_counted_from_the_whole_packet_though_only_its_beginning_is_there() {
    let frame = udp_v4(1, 2, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for end in 42..=frame.len() {
        let facts = Facts::of(&frame[..end], frame.len(), Standings::default()).unwrap();
        assert_eq!(facts.number(Scope::Outer, F::PayloadLength), Some(10));
        for at in 0..10_u16 {
            let there = usize::from(at) + 42 < end;
            let expected = there.then(|| [u8::try_from(at).unwrap()]);
            let octet = |place| facts.octets(Scope::Outer, place, 1).map(<[u8]>::to_vec);
            assert_eq!(octet(Place::Front(at)), expected.map(Vec::from));
            assert_eq!(octet(Place::Back(10 - at)), expected.map(Vec::from));
        }
        assert_eq!(facts.octets(Scope::Outer, Place::Front(10), 1), None);
        assert_eq!(facts.octets(Scope::Outer, Place::Back(11), 1), None);
        assert_eq!(facts.octets(Scope::Outer, Place::Back(1), 2), None);
    }
}

#[test]
fn standing_is_what_was_said() {
    let frame = udp_v4(1, 2, b"");
    for set in 0..3 {
        let [known, verified, surging] = [0, 1, 2].map(|it| it == set);
        let standing = Standings { known, verified, surging };
        let mut facts = Facts::of(&frame, frame.len(), standing).unwrap();
        let all = [Standing::Known, Standing::Verified, Standing::Surging];
        assert_eq!(all.map(|it| facts.stands(it)), [known, verified, surging]);
        facts.verify();
        facts.surge();
        assert_eq!(all.map(|it| facts.stands(it)), [known, true, true]);
    }
}

#[test]
fn no_field_is_larger_than_its_bits() {
    for frame in captured() {
        let Ok(facts) = Facts::of(&frame, frame.len(), Standings::default()) else { continue };
        for scope in [Scope::Outer, Scope::Inner] {
            for &field in NumberField::ALL {
                let number = facts.number(scope, field).unwrap_or(0);
                assert!(number >> field.bits() == 0, "{field} {number}");
            }
        }
    }
}

/// Some packets of each capture of the corpus, and some made here.
pub(crate) fn captured() -> Vec<Vec<u8>> {
    let mut frames = vec![syn(), answer(), udp_v4(1, 2, b"")];
    let Some(captures) = crate::scrub::corpus::corpus() else { return frames };
    let mut folders = vec![captures];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|it| it == "pcap" || it == "pcapng") {
                let records = Reader::open(&entry).unwrap().take(300);
                frames.extend(records.map(|record| record.unwrap().bytes));
            }
        }
    }
    frames
}
