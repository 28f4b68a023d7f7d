//! Checksums and launch times that are left to others, judged by the kernel at the other end.
//!
//! What is sent through an `AF_XDP` socket arrives at a veth's other end as a packet whose checksum
//! nobody has looked at, so the kernel there verifies it: a wrong one is dropped and counted as
//! `InCsumErrors`. Each test sends a wrong one too, or the right ones would prove nothing.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate::registry::Registry;
use tidegate::run::Program;
use tidegate_config::Config;
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::offload::{ChecksumBy, ChecksumWish, TxOffloads};
use tidegate_dataplane::steer::{self, Prefix, Protocol, Selector, Steering};
use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::wire::{
    TransportChecksum, checksum, ethernet, ipv4, ipv6, protocol, tcp, udp,
};
use tidegate_dataplane::xsk::{self, Queue};

const PORT: u16 = 9;

fn wire() -> Wire {
    Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &WireOptions::default())
        .unwrap()
}

/// A packet for the far end, with a wrong checksum. TCP is a SYN.
fn packet(wire: &Wire, ipv6: bool, number: u8, data: &[u8]) -> Vec<u8> {
    let transport = match number {
        protocol::UDP => {
            let payload_octets = data.len().try_into().unwrap();
            let header =
                udp::Header { source: 40_000, destination: PORT, payload_octets, checksum: 1 };
            [&header.emit()[..], data].concat()
        }
        _ => {
            let header = tcp::Header {
                source: 40_000,
                destination: PORT,
                sequence: 1,
                acknowledgment: 0,
                flags: tcp::Flags::SYN,
                window: 1024,
                checksum: 1,
            };
            [&header.emit()[..], data].concat()
        }
    };
    let payload_octets = transport.len().try_into().unwrap();
    let (near, far) = (&wire.near, &wire.far);
    let (ether_type, ip) = match ipv6 {
        false => {
            let header = ipv4::Header {
                source: near.ipv4,
                destination: far.ipv4,
                protocol: number,
                payload_octets,
                ttl: 64,
                traffic_class: 0,
                id: 0,
            };
            (ethernet::ether_type::IPV4, header.emit().to_vec())
        }
        true => {
            let header = ipv6::Header {
                source: near.ipv6,
                destination: far.ipv6,
                protocol: number,
                payload_octets,
                hop_limit: 64,
                traffic_class: 0,
            };
            (ethernet::ether_type::IPV6, header.emit().to_vec())
        }
    };
    let link = ethernet::Header { destination: far.mac, source: near.mac, ether_type };
    [&link.emit()[..], &ip, &transport].concat()
}

fn open(end: &End, tx_checksum: ChecksumWish) -> Queue {
    let umem = umem::Options { chunk_octets: 2048, frames: 256, pages: umem::Pages::Ordinary };
    let options = xsk::Options {
        ring_entries: 128,
        fill_frames: 128,
        tx_checksum,
        ..xsk::Options::new(&end.name, 0)
    };
    xsk::open(&options, Umem::new(&umem).unwrap()).unwrap()
}

fn frame_of(queue: &mut Queue, packet: &[u8]) -> Frame {
    let mut frame = queue.take().unwrap();
    frame.set_len(packet.len());
    frame.bytes_mut().copy_from_slice(packet);
    frame
}

/// Sends one frame and waits until the kernel is done with it.
fn send(queue: &mut Queue, frame: Frame) {
    assert_eq!(queue.send(&mut [frame].into_iter().collect()), 1);
    within_five_seconds(|| {
        queue.kick();
        queue.reap();
        queue.tx_outstanding() == 0
    });
}

fn within_five_seconds(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < deadline, "not within five seconds");
        std::thread::yield_now();
    }
}

/// A counter of the far kernel: `Udp` and `InCsumErrors`, or `Udp6InCsumErrors`.
fn counter(wire: &Wire, protocol: &str, name: &str) -> u64 {
    let read = |file| {
        let read = || std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
        wire.far.namespace.run(read).unwrap()
    };
    if protocol.ends_with('6') {
        let line = format!("{protocol}{name}");
        let text = read("snmp6");
        let value = text.lines().find_map(|it| it.strip_prefix(&line)).expect("such a counter");
        return value.trim().parse().unwrap();
    }
    let text = read("snmp");
    let mut lines = text.lines().filter_map(|it| it.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|it| it == name).expect("such a counter");
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Sends UDP that this queue finishes and, where `spoil` says so, UDP that was changed afterwards;
/// says what the far kernel made of both.
fn the_far_kernel_takes_what_is_right_and_nothing_else(
    wire: &Wire,
    wish: ChecksumWish,
    obtained: ChecksumBy,
    spoil: bool,
) {
    for (ipv6, protocol) in [(false, "Udp"), (true, "Udp6")] {
        let address: IpAddr = if ipv6 { wire.far.ipv6.into() } else { wire.far.ipv4.into() };
        let far = wire.far.namespace.run(|| UdpSocket::bind((address, PORT)).unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let refused_before = counter(wire, protocol, "InCsumErrors");
        let on_the_queue = || {
            let mut queue = open(&wire.near, wish);
            assert_eq!(queue.obtained().tx.checksum, obtained);
            for length in [0, 1, 2, 7, 64, 1000, 1001, 1400] {
                let data: Vec<u8> = (0..=u8::MAX).cycle().step_by(7).take(length).collect();
                let whole = packet(wire, ipv6, protocol::UDP, &data);
                let mut frame = frame_of(&mut queue, &whole);
                frame.finish_checksum().unwrap();
                send(&mut queue, frame);
                let mut octets = [0; 2048];
                let len = far.recv(&mut octets).expect("a right one is delivered");
                assert_eq!(octets[..len], data);
                if spoil && length > 0 {
                    let mut frame = frame_of(&mut queue, &whole);
                    frame.finish_checksum().unwrap();
                    *frame.bytes_mut().last_mut().unwrap() ^= 1;
                    send(&mut queue, frame);
                }
            }
            assert_eq!(queue.stats().bad_descriptors, 0);
        };
        wire.near.namespace.run(on_the_queue).unwrap();
        let spoiled = if spoil { 7 } else { 0 };
        // A packet is judged when somebody reads, at the latest.
        far.set_nonblocking(true).unwrap();
        within_five_seconds(|| {
            assert!(far.recv(&mut [0; 2048]).is_err(), "a wrong one was delivered");
            counter(wire, protocol, "InCsumErrors") - refused_before == spoiled
        });
    }
}

#[test]
fn what_we_sum_is_what_the_kernel_verifies() {
    require_net!();
    let wire = wire();
    the_far_kernel_takes_what_is_right_and_nothing_else(
        &wire,
        ChecksumWish::Auto,
        ChecksumBy::Software,
        true,
    );
}

/// A card or, on a veth without offload, the kernel sums what was only begun. It sums what is there
/// at the end, so there is nothing to spoil.
#[test]
fn what_the_kernel_sums_for_us_is_what_the_kernel_verifies() {
    require_net!();
    let wire = wire();
    the_far_kernel_takes_what_is_right_and_nothing_else(
        &wire,
        ChecksumWish::Kernel,
        ChecksumBy::Kernel,
        false,
    );
    offer_to_sum(&wire.near);
    the_far_kernel_takes_what_is_right_and_nothing_else(
        &wire,
        ChecksumWish::KernelAlone,
        ChecksumBy::Kernel,
        false,
    );
}

/// Lets a veth do what it does by default: say that it sums, and leave it to the other end.
fn offer_to_sum(end: &End) {
    let switch = || {
        let ethtool = Ethtool::open().unwrap();
        ethtool.set_offload(&end.name, Offload::TxChecksum, true).unwrap();
        assert!(ethtool.offload(&end.name, Offload::TxChecksum).unwrap());
    };
    end.namespace.run(switch).unwrap();
}

#[test]
fn a_begun_checksum_that_nobody_finishes_is_refused() {
    require_net!();
    let wire = wire();
    let far = || UdpSocket::bind((wire.far.ipv4, PORT)).unwrap();
    let far = wire.far.namespace.run(far).unwrap();
    far.set_nonblocking(true).unwrap();
    let on_the_queue = || {
        let mut queue = open(&wire.near, ChecksumWish::Software);
        let mut packet = packet(&wire, false, protocol::UDP, b"begun");
        TransportChecksum::of(&packet).unwrap().begin(&mut packet);
        let frame = frame_of(&mut queue, &packet);
        send(&mut queue, frame);
    };
    wire.near.namespace.run(on_the_queue).unwrap();
    within_five_seconds(|| {
        assert!(far.recv(&mut [0; 64]).is_err());
        counter(&wire, "Udp", "InCsumErrors") == 1
    });
}

#[test]
fn a_tcp_segment_is_answered_where_its_checksum_is_right() {
    require_net!();
    let wire = wire();
    for wish in [ChecksumWish::Software, ChecksumWish::Kernel] {
        let (wrong, answered) =
            (counter(&wire, "Tcp", "InCsumErrors"), counter(&wire, "Tcp", "OutRsts"));
        let on_the_queue = || {
            let mut queue = open(&wire.near, wish);
            for (ipv6, finish) in [(false, true), (true, true), (false, false), (true, false)] {
                let segment = packet(&wire, ipv6, protocol::TCP, b"");
                let mut frame = frame_of(&mut queue, &segment);
                if finish {
                    frame.finish_checksum().unwrap();
                }
                send(&mut queue, frame);
            }
        };
        wire.near.namespace.run(on_the_queue).unwrap();
        // Nobody listens: a segment that is believed is answered by a reset.
        within_five_seconds(|| {
            counter(&wire, "Tcp", "OutRsts") == answered + 2
                && counter(&wire, "Tcp", "InCsumErrors") == wrong + 2
        });
    }
}

/// The octets that a queue at the far end sees.
fn seen(wire: &Wire, wish: ChecksumWish) -> Vec<u8> {
    let options = steer::Options {
        interface: wire.far.name.clone(),
        xdp: steer::XdpMode::Native,
        selectors: vec![Selector {
            destination: Prefix::host(wire.far.ipv4.into()),
            source: None,
            protocol: Protocol::UDP,
            destination_ports: Some(PORT..=PORT),
            fragments: steer::Fragments::Pass,
            protection: None,
        }],
    };
    let at_the_far_end = || {
        let steering = Steering::attach(&options).unwrap();
        let mut far = open(&wire.far, ChecksumWish::Auto);
        steering.set_socket(0, far.fd().unwrap()).unwrap();
        let on_the_queue = || {
            let mut queue = open(&wire.near, wish);
            let packet = packet(wire, false, protocol::UDP, b"seen");
            let mut frame = frame_of(&mut queue, &packet);
            frame.finish_checksum().unwrap();
            send(&mut queue, frame);
        };
        wire.near.namespace.run(on_the_queue).unwrap();
        let mut frames: Vec<Frame> = Vec::new();
        within_five_seconds(|| far.recv(&mut frames, 1) == 1);
        frames.remove(0).bytes().to_vec()
    };
    wire.far.namespace.run(at_the_far_end).unwrap()
}

/// Why the kernel is not asked on a veth: between two kernels a sum may stay undone, but whoever
/// reads the octets sees it.
#[test]
fn on_a_veth_that_offers_to_sum_the_octets_are_right_only_where_it_is_not_asked() {
    require_net!();
    let wire = wire();
    let mut right = packet(&wire, false, protocol::UDP, b"seen");
    let place = TransportChecksum::of(&right).unwrap();
    let mut begun = right.clone();
    place.finish(&mut right);
    place.begin(&mut begun);
    assert_eq!(seen(&wire, ChecksumWish::Kernel), right, "it does not offer yet");
    offer_to_sum(&wire.near);
    assert_eq!(seen(&wire, ChecksumWish::Kernel), begun);
    assert_eq!(seen(&wire, ChecksumWish::KernelAlone), right);
    assert_eq!(seen(&wire, ChecksumWish::Auto), right);
}

/// Nobody listens at the far end, so its kernel counts each datagram that it believes as one
/// without a port, and sends word of that.
#[test]
fn video_with_checksums_is_believed_to_the_last_packet() {
    require_net!();
    let wire = wire();
    let (near, far) = (&wire.near, &wire.far);
    let config = format!(
        r#"
        [runtime]
        instance = "offloads-{pid}"
        [[interface]]
        name = "{name}"
        [[service]]
        name = "camera"
        kind = "stream-send"
        [service.options]
        destination = "{to}:20000"
        source_address = "{from}:20000"
        width = 640
        height = 64
        rate = "100"
        depth = 10
        frames = 5
        checksum = "full"
        "#,
        pid = std::process::id(),
        name = near.name,
        to = far.ipv4,
        from = near.ipv4,
    );
    let config = Config::parse("test.toml", &config).unwrap();
    let start = || Program::start(&config, &Registry::stock()).unwrap();
    let program = near.namespace.run(start).unwrap();
    let packets = 5 * 128;
    within_five_seconds(|| counter(&wire, "Udp", "NoPorts") == packets);
    let obtained = &program.snapshot().shards[0].ports[0].obtained;
    assert_eq!((&*obtained["tx_checksum"], &*obtained["launch_time"]), ("software", "none"));
    assert!(program.stop().report.is_clean());
    assert_eq!(counter(&wire, "Udp", "InCsumErrors"), 0);
}

/// As far as a launch time goes without a card that has them: the kernel reads it where we write
/// it, and gives it to the driver with the packet. veth passes it on within one namespace, so the
/// other end takes it for the time of receipt.
#[test]
fn the_kernel_hands_the_launch_time_to_the_driver() {
    require_net!();
    const LAUNCH_NS: u64 = 1_234_567_890_123_456_789;
    let namespace = Namespace::new().unwrap();
    let wire = Wire::new(&namespace, &namespace, &WireOptions::default()).unwrap();
    let inside = || {
        let far = UdpSocket::bind((wire.far.ipv4, PORT)).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        setsockopt(&far, sockopt::ReceiveTimestampns, &true).unwrap();
        let mut queue = open(&wire.near, ChecksumWish::Software);
        assert_eq!(queue.obtained().tx, TxOffloads::default(), "veth has no launch times");
        let stranger = Ipv4Addr::new(198, 18, 1, 77);
        for (said, ask) in [(TxOffloads::default(), false), (LAUNCHES, true)] {
            queue.set_tx_offloads(said);
            let mut packet = packet(&wire, false, protocol::UDP, b"when");
            // Not an address of this namespace: the kernel takes nothing that says it is from here.
            packet[26..30].copy_from_slice(&stranger.octets());
            rewrite_ip_checksum(&mut packet);
            let mut frame = frame_of(&mut queue, &packet);
            frame.finish_checksum().unwrap();
            assert_eq!(frame.launch_at(LAUNCH_NS), ask);
            send(&mut queue, frame);
            assert_eq!(stamped(&far) == LAUNCH_NS, ask);
        }
    };
    namespace.run(inside).unwrap();
}

const LAUNCHES: TxOffloads = TxOffloads { checksum: ChecksumBy::Software, launch_time: true };

fn rewrite_ip_checksum(packet: &mut [u8]) {
    packet[24..26].fill(0);
    let sum = checksum::of(&packet[14..34]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// When the kernel says that it received the next datagram.
fn stamped(socket: &UdpSocket) -> u64 {
    let mut octets = [0; 64];
    let mut pieces = [IoSliceMut::new(&mut octets)];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::empty())
            .unwrap();
    let stamp = message.cmsgs().unwrap().find_map(|it| match it {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });
    let at = stamp.expect("a time was asked for");
    u64::try_from(at.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(at.tv_nsec()).unwrap()
}
