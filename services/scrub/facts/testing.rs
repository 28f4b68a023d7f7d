//! Frames for tests, header by header.

use tidegate_dataplane::wire::{ethernet, ipv4, ipv6, protocol, tcp, udp};

/// A frame around `body`, without tags.
pub(crate) fn frame(ether_type: u16, body: &[u8]) -> Vec<u8> {
    let (source, destination) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    [&ethernet::Header { destination, source, ether_type }.emit()[..], body].concat()
}

/// A frame with a tag of `control` before its type.
pub(crate) fn tagged(frame: &[u8], control: u16) -> Vec<u8> {
    let [a, b] = control.to_be_bytes();
    [&frame[..12], &[0x81, 0, a, b], &frame[12..]].concat()
}

/// A packet of IPv4 from 198.18.0.1 to 198.18.0.2.
pub(crate) fn v4(protocol: u8, body: &[u8]) -> Vec<u8> {
    let header = ipv4::Header {
        source: [198, 18, 0, 1].into(),
        destination: [198, 18, 0, 2].into(),
        protocol,
        payload_octets: body.len().try_into().unwrap(),
        ttl: 64,
        traffic_class: 0xb9,
        id: 0x1234,
    };
    [&header.emit()[..], body].concat()
}

/// A packet of IPv6 from 2001:db8::1 to 2001:db8::2.
pub(crate) fn v6(next: u8, body: &[u8]) -> Vec<u8> {
    let header = ipv6::Header {
        source: "2001:db8::1".parse().unwrap(),
        destination: "2001:db8::2".parse().unwrap(),
        protocol: next,
        payload_octets: body.len().try_into().unwrap(),
        hop_limit: 63,
        traffic_class: 0x2e,
    };
    [&header.emit()[..], body].concat()
}

/// A datagram of UDP.
pub(crate) fn datagram(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let payload_octets = data.len().try_into().unwrap();
    let header = udp::Header { source, destination, payload_octets, checksum: 0xbeef };
    [&header.emit()[..], data].concat()
}

/// A segment of TCP with `options`, whole words of them.
pub(crate) fn segment(ports: (u16, u16), flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4) && options.len() <= 40);
    let header = tcp::Header {
        source: ports.0,
        destination: ports.1,
        sequence: 0x0102_0304,
        acknowledgment: 0x0506_0708,
        flags: tcp::Flags(flags),
        window: 29_200,
        checksum: 0,
    };
    let mut octets = [&header.emit()[..], options, data].concat();
    octets[12] += u8::try_from(options.len() / 4).unwrap() << 4;
    octets
}

/// A DNS message with one question; `flags` are the header's third and fourth octet.
pub(crate) fn message(flags: [u8; 2], name: &[u8], kind: u16) -> Vec<u8> {
    let header = [0x12, 0x34, flags[0], flags[1], 0, 1, 0, 2, 0, 3, 0, 4];
    [&header[..], name, &kind.to_be_bytes(), &[0, 1]].concat()
}

/// A frame of UDP over IPv4.
pub(crate) fn udp_v4(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    frame(0x0800, &v4(protocol::UDP, &datagram(source, destination, data)))
}

/// A frame of TCP over IPv4 without options and data.
pub(crate) fn tcp_v4(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    frame(0x0800, &v4(protocol::TCP, &segment((source, destination), flags, &[], &[])))
}
