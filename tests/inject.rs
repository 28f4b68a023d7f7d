//! Packets put back into the kernel stack, in network namespaces of the tests' own.
//!
//! Every packet has a number, and must arrive, in order and once, at a UDP socket that is
//! bound to the interface, with strict reverse path filtering: the stack took it as received
//! there.

mod flaps;
mod pools;
mod ways;

use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_dataplane::inject::{Error, Flushed, Injector, Options, Outcome, Tiers};
use tidegate_dataplane::steer::XdpMode;
use tidegate_dataplane::sys::netlink::Netlink;

const PORT: u16 = 7;
/// Ethernet, IPv4, UDP.
const HEADERS: usize = 14 + 20 + 8;

/// A UDP packet from the far end with `number` in its payload.
fn packet(number: u32, octets: usize) -> Vec<u8> {
    let mut packet = vec![0; octets];
    let length = |octets: usize| u16::try_from(octets).unwrap().to_be_bytes();
    // As the lab names the ends of wire 1.
    packet[..6].copy_from_slice(&[2, 0x74, 0x67, 0, 1, 1]);
    packet[6..12].copy_from_slice(&[2, 0x74, 0x67, 0, 1, 2]);
    packet[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut packet[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length(octets - 14));
    ip[8..10].copy_from_slice(&[64, 17]);
    ip[12..20].copy_from_slice(&[198, 18, 1, 2, 198, 18, 1, 1]);
    let words = ip.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>();
    // Folded twice it fits: ten words.
    let sum = !((sum & 0xffff) + (sum >> 16));
    ip[10..12].copy_from_slice(&sum.to_be_bytes()[2..]);
    packet[34..36].copy_from_slice(&4000u16.to_be_bytes());
    packet[36..38].copy_from_slice(&PORT.to_be_bytes());
    packet[38..40].copy_from_slice(&length(octets - 34));
    // No UDP checksum: allowed over IPv4.
    packet[HEADERS..HEADERS + 4].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Runs `test` in a namespace of its own, with the near end of a wire, `tide1`, strict
/// reverse path filtering, and a socket bound to the interface.
fn on_a_wire(test: impl FnOnce(UdpSocket) + Send) {
    let near = Namespace::new().unwrap();
    let options = WireOptions { ipv6: false, ..WireOptions::default() };
    let _wire = Wire::new(&near, &Namespace::new().unwrap(), &options).unwrap();
    for interface in ["all", "tide1"] {
        near.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "1").unwrap();
    }
    let inside = || {
        let socket = UdpSocket::bind(("198.18.1.1", PORT)).unwrap();
        setsockopt(&socket, sockopt::BindToDevice, &"tide1".into()).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        test(socket);
    };
    near.run(inside).unwrap();
}

fn options(tiers: Tiers) -> Options {
    Options { interface: "tide1".into(), xdp: XdpMode::Native, tiers }
}

fn injector(tiers: Tiers) -> Injector {
    Injector::new(&options(tiers)).unwrap()
}

/// Reads `expected` from the socket, and nothing more.
fn expect(socket: &UdpSocket, expected: impl Iterator<Item = (u32, usize)>) {
    let mut octets = vec![0; 65536];
    for (number, len) in expected {
        let (got, from) = socket.recv_from(&mut octets).unwrap_or_else(|error| {
            panic!("packet {number}: {error}");
        });
        assert_eq!(u32::from_be_bytes(octets[..4].try_into().unwrap()), number);
        assert_eq!(got, len - HEADERS);
        assert!(octets[4..got].iter().all(|octet| *octet == 0), "packet {number}");
        assert_eq!(from, SocketAddrV4::new([198, 18, 1, 2].into(), 4000).into());
    }
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut octets).is_err(), "more than was injected");
    socket.set_nonblocking(false).unwrap();
}

fn take(injector: &mut Injector, packet: &[u8]) {
    assert_eq!(injector.inject(packet), Outcome::Taken);
}

#[test]
fn batches_of_live_frames_arrive_whole_and_in_order() {
    require_net!();
    on_a_wire(|socket| {
        let mut injector = injector(Tiers::LiveFrames);
        assert_eq!(injector.obtained(), Tiers::LiveFrames);
        let mut first = 0;
        for batch in [1, 2, 16, 64, 255, 256] {
            // Lengths that go up and down: each copy is cut to its own.
            let packets: Vec<(u32, usize)> = (first..first + batch)
                .map(|number| (number, 60 + number as usize * 7 % 1440))
                .collect();
            first += batch;
            for (number, len) in &packets {
                take(&mut injector, &packet(*number, *len));
            }
            assert_eq!(injector.pending(), batch % 256);
            assert_eq!(injector.flush(), Flushed { delivered: batch, refused: 0 });
            expect(&socket, packets.into_iter());
        }
        assert_eq!(injector.stats().live_packets, u64::from(first));
        assert_eq!(injector.stats().live_calls, 6);
        assert_eq!(injector.flush(), Flushed::default());
        assert_eq!(injector.stats().live_calls, 6);
    });
}

#[test]
fn the_tap_device_takes_packets_of_every_length() {
    require_net!();
    on_a_wire(|socket| {
        let mut injector = injector(Tiers::Tap);
        assert_eq!(injector.obtained(), Tiers::Tap);
        let packets: Vec<(u32, usize)> =
            (0..).zip([60, 46, 1514, 2040, 2041, 9014, 65549]).collect();
        for (number, len) in &packets {
            take(&mut injector, &packet(*number, *len));
            assert_eq!(injector.pending(), 0);
        }
        assert_eq!(injector.flush(), Flushed { delivered: 7, refused: 0 });
        assert_eq!(injector.stats().tap_packets, 7);
        expect(&socket, packets.into_iter());
    });
}

#[test]
fn both_ways_together_keep_the_order() {
    require_net!();
    on_a_wire(|socket| {
        let mut injector = injector(Tiers::Auto);
        assert_eq!(injector.obtained(), Tiers::Auto);
        // Few by TAP, many live, one too long for that in the middle of many.
        let lengths =
            [vec![60; 15], vec![60; 16], vec![1514; 40], vec![2041], vec![60; 3], vec![99; 300]];
        let mut number = 0;
        let mut packets = Vec::new();
        for group in &lengths {
            for len in group {
                take(&mut injector, &packet(number, *len));
                packets.push((number, *len));
                number += 1;
            }
            // Not between the forty, the long one and the three.
            if group.len() != 40 && group.len() != 1 {
                let flushed = injector.flush();
                assert_eq!(flushed.refused, 0);
            }
        }
        expect(&socket, packets.into_iter());
        let stats = injector.stats();
        assert_eq!(stats.tap_packets, 15 + 1 + 3);
        assert_eq!(stats.live_packets, 16 + 40 + 300);
        assert_eq!(stats.live_calls, 1 + 1 + 2);
        assert_eq!((stats.injected(), stats.refused()), (u64::from(number), 0));
    });
}

#[test]
fn refuses_what_no_way_takes_and_counts_it() {
    require_net!();
    on_a_wire(|socket| {
        let mut live = injector(Tiers::LiveFrames);
        assert_eq!(live.inject(&[0; 13]), Outcome::Refused);
        assert_eq!(live.inject(&packet(0, 2041)), Outcome::Refused);
        take(&mut live, &packet(1, 2040));
        assert_eq!(live.flush(), Flushed { delivered: 1, refused: 0 });
        assert_eq!(live.stats().refused_runt_packets, 1);
        assert_eq!(live.stats().refused_oversized_packets, 1);
        let mut tap = injector(Tiers::Tap);
        assert_eq!(tap.inject(&vec![0; 65558]), Outcome::Refused);
        expect(&socket, [(1, 2040)].into_iter());
    });
}

#[test]
fn packets_for_an_interface_that_is_gone_are_counted_as_refused() {
    require_net!();
    on_a_wire(|socket| {
        let mut injector = injector(Tiers::LiveFrames);
        drop(socket);
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link("tide1").unwrap().index;
        netlink.delete_link(index).unwrap();
        for number in 0..20 {
            take(&mut injector, &packet(number, 60));
        }
        assert_eq!(injector.flush(), Flushed { delivered: 0, refused: 20 });
        assert_eq!(injector.stats().refused_link_packets, 20, "{injector:?}");
    });
}

#[test]
fn refuses_an_interface_where_packets_would_come_back_for_ever() {
    require_net!();
    on_a_wire(|_socket| {
        let generic = Options { xdp: XdpMode::Generic, ..options(Tiers::Auto) };
        let refusal = Injector::new(&generic).unwrap_err();
        assert!(matches!(refusal, Error::Generic { .. }), "{refusal:?}");
        let unknown = Options { interface: "vz".into(), ..options(Tiers::Auto) };
        let refusal = Injector::new(&unknown).unwrap_err();
        assert_eq!(refusal.to_string(), "no interface \"vz\" in this network namespace");
    });
}

#[test]
fn leaves_nothing_behind() {
    require_net!();
    on_a_wire(|_socket| {
        let names = || -> Vec<Box<str>> {
            let links = Netlink::open().unwrap().links().unwrap();
            links.into_iter().map(|link| link.name).collect()
        };
        let before = names();
        let mut injector = injector(Tiers::Auto);
        take(&mut injector, &packet(0, 60));
        assert_ne!(names(), before, "the TAP device");
        drop(injector);
        assert_eq!(names(), before);
    });
}
