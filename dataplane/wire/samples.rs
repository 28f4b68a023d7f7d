//! Whole frames for tests, made by the emitters; none has padding.

use core::net::Ipv6Addr;

use super::{checksum, ethernet, icmp, ipv4, ipv6, protocol, rfc4175, rtp, tcp, udp};

const ONE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const TWO: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

fn link(ether_type: u16) -> Vec<u8> {
    let source = [2, 0, 0, 0, 0, 1];
    ethernet::Header { destination: [2, 0, 0, 0, 0, 2], source, ether_type }.emit().to_vec()
}

fn v4(number: u8, body: &[u8]) -> Vec<u8> {
    let header = ipv4::Header {
        source: [198, 18, 0, 1].into(),
        destination: [198, 18, 0, 2].into(),
        protocol: number,
        payload_octets: body.len().try_into().unwrap(),
        ttl: 64,
        traffic_class: 0,
        id: 7,
    };
    [&link(ethernet::ether_type::IPV4), &header.emit()[..], body].concat()
}

fn v6(number: u8, body: &[u8]) -> Vec<u8> {
    let header = ipv6::Header {
        source: ONE,
        destination: TWO,
        protocol: number,
        payload_octets: body.len().try_into().unwrap(),
        hop_limit: 64,
        traffic_class: 0,
    };
    [&link(ethernet::ether_type::IPV6), &header.emit()[..], body].concat()
}

fn datagram(data: &[u8]) -> Vec<u8> {
    let payload_octets = data.len().try_into().unwrap();
    let header = udp::Header { source: 20001, destination: 20000, payload_octets, checksum: 0 };
    [&header.emit()[..], data].concat()
}

/// UDP from 198.18.0.1:20001 to 198.18.0.2:20000.
pub(super) fn udp_v4(data: &[u8]) -> Vec<u8> {
    v4(protocol::UDP, &datagram(data))
}

/// A TCP SYN to port 443 over IPv6 in VLAN 7, with a right checksum.
pub(super) fn tcp_v6_tagged() -> Vec<u8> {
    let mut header = tcp::Header {
        source: 40000,
        destination: 443,
        sequence: 1,
        acknowledgment: 0,
        flags: tcp::Flags::SYN,
        window: 1024,
        checksum: 0,
    };
    let pseudo = checksum::pseudo_v6(ONE, TWO, protocol::TCP, 20);
    header.checksum = pseudo.add_octets(&header.emit()).finish();
    assert_eq!(pseudo.add_octets(&header.emit()).finish(), 0);
    let mut frame = v6(protocol::TCP, &header.emit());
    frame.splice(12..12, [0x81, 0, 0, 7]);
    frame
}

/// One packet of video.
pub(super) fn video() -> Vec<u8> {
    let rtp = rtp::Header { marker: true, payload_type: 96, sequence: 9, timestamp: 3600, ssrc: 1 };
    let row =
        rfc4175::Header { extended_sequence: 1, data_octets: 10, line: 3, offset_pixels: 480 };
    udp_v4(&[&rtp.emit()[..], &row.emit(), &[0xa5; 10]].concat())
}

/// UDP over IPv6 behind hop-by-hop options, a routing header and an atomic fragment header.
fn udp_v6_chained() -> Vec<u8> {
    let mut body = vec![protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0];
    body.extend([protocol::FRAGMENT, 0, 4, 0, 0, 0, 0, 0]);
    body.extend([protocol::UDP, 0, 0, 0, 0, 0, 0, 9]);
    body.extend(datagram(b"behind"));
    v6(protocol::HOP_BY_HOP, &body)
}

/// One frame of each kind.
pub(super) fn all() -> Vec<Vec<u8>> {
    let echo = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
    assert_eq!(echo.len(), icmp::HEADER_LEN);
    vec![
        udp_v4(b"payload"),
        tcp_v6_tagged(),
        video(),
        udp_v6_chained(),
        v4(protocol::ICMP, &echo),
        v6(protocol::ICMPV6, &echo),
        v4(47, &[0, 0, 8, 0]),
    ]
}
