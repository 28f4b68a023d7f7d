//! Queues on a real link: what the kernel played in memory promises, the kernel keeps.

use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tidegate::lab::flood::{self, Budget, Flood, Kind};
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::{self, Outcome, Prefix, Protocol, Selector, Steering};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::xsk::queue::Group;
use tidegate_dataplane::xsk::{self, CopyMode, Queue};

use crate::require;

const PORT: u16 = 9;

fn wire(number: u8) -> Wire {
    let options = WireOptions { number, ipv6: false, ..WireOptions::default() };
    Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &options).unwrap()
}

fn steer(end: &End, ports: std::ops::RangeInclusive<u16>) -> Steering {
    let options = steer::Options {
        interface: end.name.clone(),
        xdp: steer::XdpMode::Auto,
        selectors: vec![Selector {
            destination: Prefix::host(end.ipv4.into()),
            source: None,
            protocol: Protocol::UDP,
            destination_ports: Some(ports),
            fragments: steer::Fragments::Pass,
            protection: None,
        }],
    };
    end.namespace.run(|| Steering::attach(&options)).unwrap().unwrap()
}

/// Opens queue 0 of `end` and works on it, on a thread inside its namespace: a queue is not `Send`.
fn on_queue<T: Send>(end: &End, work: impl FnOnce(&mut Queue) -> T + Send) -> T {
    let inside = || {
        let umem = Umem::new(&umem::Options::default()).unwrap();
        let mut queue = xsk::open(&xsk::Options::new(&end.name, 0), umem).unwrap();
        work(&mut queue)
    };
    end.namespace.run(inside).unwrap()
}

fn within_ten_seconds(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not within ten seconds");
    }
}

#[test]
fn selected_packets_come_whole_and_in_order_and_the_rest_stays_with_the_kernel() {
    require_net!();
    let wire = wire(1);
    let steering = steer(&wire.near, PORT..=PORT);
    let near = wire.near.clone();
    let kernel =
        wire.near.namespace.run(|| UdpSocket::bind((near.ipv4, PORT + 1))).unwrap().unwrap();
    kernel.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sender = wire.far.namespace.run(|| UdpSocket::bind((wire.far.ipv4, 0))).unwrap().unwrap();

    on_queue(&wire.near, |queue| {
        assert_eq!(queue.obtained().copy, CopyMode::Copy, "veth has no zero-copy");
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        for number in 0..1000_u32 {
            sender.send_to(&number.to_be_bytes(), (near.ipv4, PORT)).unwrap();
            if number % 100 == 0 {
                sender.send_to(b"unselected", (near.ipv4, PORT + 1)).unwrap();
            }
        }
        let mut frames: Vec<Frame> = Vec::new();
        within_ten_seconds(|| {
            queue.recv(&mut frames, 64);
            frames.len() >= 1000
        });
        for (number, frame) in (0_u32..).zip(frames) {
            assert_eq!(frame.selector(), 0);
            assert_eq!(frame.bytes()[42..46], number.to_be_bytes());
            queue.release(frame);
        }
        assert_eq!(queue.census().unaccounted(), 0);
    });
    let mut octets = [0; 64];
    for _ in 0..10 {
        assert_eq!(kernel.recv(&mut octets).unwrap(), 10);
    }
    let counters = steering.counters().unwrap();
    assert_eq!(counters.get(Outcome::Redirected).packets, 1000);
    assert_eq!(counters.get(Outcome::PassNoSelector).packets, 10);
    assert_eq!(counters.unaccounted(), 0);
}

#[test]
fn what_is_sent_arrives_and_every_chunk_comes_home() {
    require_net!();
    let wire = wire(1);
    let sink = Sink::attach(&wire.far, Action::Drop).unwrap();
    let sent = on_queue(&wire.near, |queue| {
        let mut sent = 0;
        within_ten_seconds(|| {
            let mut group: Group = (0..64)
                .map_while(|_| queue.take())
                .map(|mut frame| {
                    frame.set_len(1262);
                    frame.bytes_mut()[..12].copy_from_slice(&[2; 12]);
                    frame
                })
                .collect();
            while !group.is_empty() {
                sent += u64::from(queue.send(&mut group));
                queue.kick();
                queue.reap();
            }
            sent >= 20_000
        });
        within_ten_seconds(|| {
            queue.kick();
            queue.reap();
            queue.tx_outstanding() == 0
        });
        assert_eq!(queue.stats().completed_frames, sent);
        assert_eq!(queue.census().unaccounted(), 0);
        sent
    });
    assert_eq!(sink.arrived().unwrap().packets, sent);
}

/// The kernel's losses are named: redirected = received + what XDP_STATISTICS says.
#[test]
fn a_queue_that_nobody_reads_loses_only_what_the_kernel_names() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(1);
    let steering = steer(&wire.near, PORT..=PORT);
    let received = on_queue(&wire.near, |queue| {
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        let mut flood =
            Flood::new(&wire.far, &flood::Options::new(Kind::Udp { port: PORT })).unwrap();
        let budget = Budget {
            packets: 10_000,
            time: Duration::from_secs(20),
            packets_per_second: NonZeroU64::new(1_000_000),
            processor: None,
        };
        flood.run(&budget).unwrap();
        let mut frames: Vec<Frame> = Vec::new();
        while queue.recv(&mut frames, 64) > 0 {}
        let lost = queue.kernel_statistics().unwrap();
        let received = frames.len() as u64;
        frames.into_iter().for_each(|frame| queue.release(frame));
        assert_eq!(received, 2048, "the fill ring's chunks");
        received + lost.rx_dropped + lost.rx_ring_full
    });
    assert_eq!(steering.counters().unwrap().get(Outcome::Redirected).packets, received);
}

#[test]
fn a_queue_beyond_the_interfaces_is_refused_with_its_remedy() {
    require_net!();
    let wire = wire(1);
    let refusal = wire
        .near
        .namespace
        .run(|| {
            let umem = Umem::new(&umem::Options::default()).unwrap();
            xsk::open(&xsk::Options::new(&wire.near.name, 7), umem).map(drop).unwrap_err()
        })
        .unwrap();
    assert_eq!(
        refusal.to_string(),
        "tide1 has no queue 7; `ethtool -l tide1` shows how many there are, \
         `ethtool -L tide1 combined 8` raises them"
    );
}

#[test]
fn zero_copy_is_demanded_or_not_had() {
    require_net!();
    let wire = wire(1);
    let refusal = wire.near.namespace.run(|| {
        let umem = Umem::new(&umem::Options::default()).unwrap();
        let options =
            xsk::Options { copy: CopyMode::ZeroCopy, ..xsk::Options::new(&wire.near.name, 0) };
        xsk::open(&options, umem).map(drop).unwrap_err()
    });
    assert!(matches!(refusal.unwrap(), xsk::Error::NoZeroCopy { .. }));
}

#[test]
fn a_queue_is_opened_again_as_soon_as_it_is_closed() {
    require_net!();
    let wire = wire(1);
    for _ in 0..20 {
        on_queue(&wire.near, |queue| {
            assert!(queue.fd().unwrap().as_fd().try_clone_to_owned().is_ok())
        });
    }
}
