//! Packets longer than a chunk, on a real link of the MTU that they are known by: what comes is
//! what a kernel socket sent, what goes is what one receives, every octet of it.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::{self, Outcome, Prefix, Protocol, Selector, Steering, XdpMode};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::wire::{Packet, ethernet, ipv4, protocol, udp};
use tidegate_dataplane::xsk::queue::Group;
use tidegate_dataplane::xsk::{self, CopyMode, MultiBuffer, Queue};

const PORT: u16 = 9;

/// The usual MTU of networks with long packets.
const MTU: u32 = 9000;

/// Octets of data in the longest datagram of such a network.
const LONGEST: usize = MTU as usize - 20 - 8;

/// Lengths around every border there is, longest and shortest among them.
fn lengths() -> Vec<usize> {
    // Data that fills so many chunks of a received packet, 1792 octets each, to the last octet.
    let full = (1..=5).map(|chunks| chunks * 1792 - 42);
    let around = full.flat_map(|octets| octets - 1..=octets + 1);
    around.chain([0, 1, 18, 1472, 1473, 4096, 8192, LONGEST - 1, LONGEST]).collect()
}

/// Data of a numbered datagram: no two places of it, and no two of them, look alike.
pub(crate) fn data(number: usize, octets: usize) -> Vec<u8> {
    (0..octets).map(|at| ((at * 31 + at / 251 + number * 7) % 251).to_le_bytes()[0]).collect()
}

fn wire() -> Wire {
    let options = WireOptions { mtu: MTU, ipv6: false, ..WireOptions::default() };
    Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &options).unwrap()
}

fn steer(end: &End, xdp: XdpMode) -> Steering {
    let options = steer::Options {
        interface: end.name.clone(),
        xdp,
        selectors: vec![Selector {
            destination: Prefix::host(end.ipv4.into()),
            source: None,
            protocol: Protocol::UDP,
            destination_ports: Some(PORT..=PORT),
            fragments: steer::Fragments::Pass,
            protection: None,
        }],
    };
    end.namespace.run(|| Steering::attach(&options)).unwrap().unwrap()
}

fn options(end: &End, multi_buffer: MultiBuffer) -> xsk::Options {
    xsk::Options { multi_buffer, ..xsk::Options::new(&end.name, 0) }
}

fn umem(chunk_octets: u32) -> Umem {
    Umem::new(&umem::Options { chunk_octets, ..umem::Options::default() }).unwrap()
}

/// Opens queue 0 of `end` with chunks of this size, and works on it, inside its namespace.
fn on_queue<T: Send>(end: &End, chunk_octets: u32, work: impl FnOnce(&mut Queue) -> T + Send) -> T {
    let inside = || {
        let options = options(end, MultiBuffer::Require);
        work(&mut xsk::open(&options, umem(chunk_octets)).unwrap())
    };
    end.namespace.run(inside).unwrap()
}

fn socket(end: &End, port: u16) -> UdpSocket {
    let socket = end.namespace.run(|| UdpSocket::bind((end.ipv4, port))).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Each packet holds whole pages in it: the usual buffer has room for eight.
    setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
    socket
}

fn within_ten_seconds(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not within ten seconds");
    }
}

/// The whole packet.
fn whole(frame: &Frame) -> Vec<u8> {
    frame.parts().flatten().copied().collect()
}

/// Sends every length from `wire`'s far end and takes it off `queue`; with it comes what the
/// datagram was.
fn receive_every_length(wire: &Wire, queue: &mut Queue, chunk_octets: usize) {
    let sender = socket(&wire.far, 0);
    let lengths = lengths();
    for (number, octets) in lengths.iter().enumerate() {
        sender.send_to(&data(number, *octets), (wire.near.ipv4, PORT)).unwrap();
    }
    let mut frames: Vec<Frame> = Vec::new();
    within_ten_seconds(|| {
        queue.recv(&mut frames, 64);
        frames.len() >= lengths.len()
    });
    for (number, (frame, octets)) in frames.into_iter().zip(lengths).enumerate() {
        assert_eq!(frame.selector(), 0);
        assert_eq!(frame.octets(), 42 + octets);
        let chunks = frame.octets().div_ceil(chunk_octets - 256);
        assert_eq!(frame.chunks() as usize, chunks, "{octets} octets");
        let octets_of_it = whole(&frame);
        let head = Packet::parse_head(frame.bytes(), frame.octets()).unwrap();
        assert_eq!(head.ports().unwrap().1, PORT);
        let arrived = Packet::parse(&octets_of_it).unwrap();
        assert!(arrived.payload() == data(number, octets), "{octets} octets");
        queue.release(frame);
    }
    assert_eq!((queue.stats().bad_descriptors, queue.stats().overlong_packets), (0, 0));
    assert_eq!((queue.census().unaccounted(), queue.census().held_parts), (0, 0));
}

#[test]
fn packets_of_every_length_come_whole_and_in_order() {
    require_net!();
    for chunk_octets in [2048, 4096] {
        let wire = wire();
        let steering = steer(&wire.near, XdpMode::Native);
        on_queue(&wire.near, chunk_octets, |queue| {
            assert_eq!(queue.obtained().copy, CopyMode::Copy, "veth has no zero-copy");
            assert_eq!(queue.obtained().packet_chunks_max, 17);
            steering.set_socket(0, queue.fd().unwrap()).unwrap();
            receive_every_length(&wire, queue, chunk_octets as usize);
            assert_eq!(queue.kernel_statistics().unwrap().rx_dropped, 0);
        });
        let counters = steering.counters().unwrap();
        assert_eq!(counters.get(Outcome::Redirected).packets, lengths().len() as u64);
        assert_eq!(counters.unaccounted(), 0);
    }
}

#[test]
fn they_come_whole_in_generic_mode_too() {
    require_net!();
    let wire = wire();
    let steering = steer(&wire.near, XdpMode::Generic);
    on_queue(&wire.near, 2048, |queue| {
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        receive_every_length(&wire, queue, 2048);
    });
}

/// A UDP packet from `from` to the other end, in the octets of `frame`.
fn build(frame: &mut Frame, from: &End, data: &[u8]) {
    let payload_octets = u16::try_from(data.len()).unwrap();
    let link = ethernet::Header {
        destination: from.peer.mac,
        source: from.mac,
        ether_type: ethernet::ether_type::IPV4,
    };
    let ip = ipv4::Header {
        source: from.ipv4,
        destination: from.peer.ipv4,
        protocol: protocol::UDP,
        payload_octets: payload_octets + 8,
        ttl: 64,
        traffic_class: 0,
        id: 0,
    };
    // No checksum: allowed over IPv4.
    let udp = udp::Header { source: PORT, destination: PORT, payload_octets, checksum: 0 };
    let packet = [&link.emit()[..], &ip.emit(), &udp.emit(), data].concat();
    let mut rest = &packet[..];
    for part in frame.parts_mut() {
        let (here, behind) = rest.split_at(part.len());
        part.copy_from_slice(here);
        rest = behind;
    }
    assert!(rest.is_empty());
}

#[test]
fn packets_of_every_length_are_sent_whole_and_every_chunk_comes_home() {
    require_net!();
    for chunk_octets in [2048, 4096] {
        let wire = wire();
        let receiver = socket(&wire.far, PORT);
        on_queue(&wire.near, chunk_octets, |queue| {
            let mut group = Group::new();
            for (number, octets) in lengths().into_iter().enumerate() {
                let mut frame = queue.take_packet(42 + octets).unwrap();
                build(&mut frame, &wire.near, &data(number, octets));
                group.push(frame);
            }
            let count = group.len();
            assert_eq!(queue.send(&mut group) as usize, count);
            within_ten_seconds(|| {
                queue.kick();
                queue.reap();
                queue.tx_outstanding() == 0
            });
            let stats = queue.stats();
            assert_eq!(stats.tx_frames, count as u64);
            assert_eq!(stats.completed_frames, stats.tx_frames + stats.tx_parts);
            assert_eq!(queue.kernel_statistics().unwrap().tx_invalid_descriptors, 0);
            assert_eq!(queue.census().unaccounted(), 0);
        });
        let mut octets = vec![0; 65536];
        for (number, expected) in lengths().into_iter().enumerate() {
            let (len, from) = receiver.recv_from(&mut octets).unwrap();
            assert_eq!(from, SocketAddr::from((wire.near.ipv4, PORT)));
            assert!(octets[..len] == data(number, expected), "{expected} octets");
        }
    }
}

/// As many chunks as a packet may have, which is as many as the kernel sends: one more, and it
/// throws the packet away and never gives its chunks back.
#[test]
fn the_longest_packet_of_ip_is_sent_in_seventeen_chunks() {
    require_net!();
    const DATA: usize = 65_535 - 28;
    let options = WireOptions { mtu: 65_535, ipv6: false, ..WireOptions::default() };
    let wire = Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &options).unwrap();
    let receiver = socket(&wire.far, PORT);
    on_queue(&wire.near, 4096, |queue| {
        let mut frame = queue.take_packet(42 + DATA).unwrap();
        assert_eq!(frame.chunks(), 17);
        build(&mut frame, &wire.near, &data(0, DATA));
        assert_eq!(queue.send(&mut [frame].into_iter().collect()), 1);
        within_ten_seconds(|| {
            queue.kick();
            queue.reap();
            queue.tx_outstanding() == 0
        });
    });
    let mut octets = vec![0; 65_536];
    let len = receiver.recv(&mut octets).unwrap();
    assert!(octets[..len] == data(0, DATA), "{len} octets");
}

/// Far more packets than a ring has room for, or the kernel sends by one call: each is whole.
#[test]
fn a_stream_of_long_packets_over_full_rings_is_not_torn() {
    require_net!();
    const PACKETS: usize = 2_000;
    let wire = wire();
    let receiver = socket(&wire.far, PORT);
    let reader = std::thread::spawn(move || {
        let mut octets = vec![0; 65536];
        for number in 0..PACKETS {
            let len = receiver.recv(&mut octets).unwrap();
            assert!(octets[..len] == data(number, LONGEST - number % 100), "packet {number}");
        }
    });
    on_queue(&wire.near, 2048, |queue| {
        let mut group = Group::new();
        let mut number = 0;
        within_ten_seconds(|| {
            while number < PACKETS && group.len() < 20 {
                let octets = LONGEST - number % 100;
                let Some(mut frame) = queue.take_packet(42 + octets) else { break };
                build(&mut frame, &wire.near, &data(number, octets));
                group.push(frame);
                number += 1;
            }
            queue.send(&mut group);
            queue.kick();
            queue.reap();
            // The receiver's socket takes some; the wire itself holds no more than that.
            std::thread::sleep(Duration::from_micros(300));
            number == PACKETS && group.is_empty() && queue.tx_outstanding() == 0
        });
        assert_eq!(queue.stats().tx_frames, PACKETS as u64);
        assert_eq!(queue.census().unaccounted(), 0);
    });
    reader.join().unwrap();
}

#[test]
fn without_multi_buffer_long_packets_are_lost_by_name() {
    require_net!();
    let wire = wire();
    let steering = steer(&wire.near, XdpMode::Native);
    let inside = || {
        let options = options(&wire.near, MultiBuffer::Off);
        let mut queue = xsk::open(&options, umem(2048)).unwrap();
        assert_eq!(queue.obtained().packet_chunks_max, 1);
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        let sender = socket(&wire.far, 0);
        for octets in [LONGEST, 60, 1792 - 42, 1792 - 41] {
            sender.send_to(&data(0, octets), (wire.near.ipv4, PORT)).unwrap();
        }
        let mut frames: Vec<Frame> = Vec::new();
        within_ten_seconds(|| {
            queue.recv(&mut frames, 64);
            frames.len() as u64 + queue.kernel_statistics().unwrap().rx_dropped >= 4
        });
        assert_eq!(frames.iter().map(Frame::octets).collect::<Vec<_>>(), [102, 1792]);
        frames.into_iter().for_each(Frame::release);
        assert_eq!(queue.census().unaccounted(), 0);
    };
    wire.near.namespace.run(inside).unwrap();
}

#[test]
fn zero_copy_that_is_not_there_is_not_had_with_multi_buffer_either() {
    require_net!();
    let wire = wire();
    for multi_buffer in [MultiBuffer::Prefer, MultiBuffer::Require] {
        let inside = || {
            let options =
                xsk::Options { copy: CopyMode::ZeroCopy, ..options(&wire.near, multi_buffer) };
            xsk::open(&options, umem(2048)).map(drop).unwrap_err()
        };
        let refusal = wire.near.namespace.run(inside).unwrap();
        assert!(matches!(refusal, xsk::Error::NoZeroCopy { .. }), "{refusal}");
    }
}

#[test]
fn a_queue_beyond_the_interfaces_is_no_question_of_multi_buffer() {
    require_net!();
    let wire = wire();
    let inside = || {
        let options = xsk::Options { queue: 7, ..options(&wire.near, MultiBuffer::Require) };
        xsk::open(&options, umem(2048)).map(drop).unwrap_err()
    };
    let refusal = wire.near.namespace.run(inside).unwrap();
    assert!(matches!(refusal, xsk::Error::NoQueue { queue: 7, .. }), "{refusal}");
}
