//! What is said of drivers, held against the driver that is everywhere; of the others see `tests/vm`.

use std::env;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::driver::{Driver, Seen};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::{self, Fragments, Protocol, Selector, Steering};
use tidegate_dataplane::sys::mapping::Mapping;
use tidegate_dataplane::sys::netlink::{Change, Watch};
use tidegate_dataplane::sys::xdp;
use tidegate_dataplane::umem::{self, Pages, Umem};
use tidegate_dataplane::xsk::{self, CopyMode};

fn wire(mtu: u32) -> Wire {
    let options = WireOptions { mtu, ipv6: false, ..WireOptions::default() };
    Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &options).unwrap()
}

fn attach(end: &End) -> Steering {
    let selector = Selector {
        destination: "198.18.0.0/15".parse().unwrap(),
        source: None,
        protocol: Protocol::UDP,
        destination_ports: Some(9..=9),
        fragments: Fragments::Pass,
        protection: None,
    };
    let xdp = steer::XdpMode::Native;
    let interface = end.name.clone();
    Steering::attach(&steer::Options { interface, xdp, selectors: vec![selector] }).unwrap()
}

fn umem(chunk_octets: u32) -> Umem {
    Umem::new(&umem::Options { chunk_octets, frames: 256, pages: Pages::Ordinary }).unwrap()
}

fn options(end: &End) -> xsk::Options {
    xsk::Options { ring_entries: 128, fill_frames: 128, ..xsk::Options::new(&end.name, 0) }
}

/// Where the scenarios of guests are listed.
const GUESTS: &str = include_str!("vm/scenario.rs");

/// A witness that is not there is none.
#[test]
fn the_tests_that_show_a_fact_are_there() {
    let list =
        Command::new(env::current_exe().unwrap()).args(["--list", "--format=terse"]).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    for driver in Driver::KNOWN {
        let Driver {
            name,
            zero_copy,
            sends_without_program,
            buffer_step_octets,
            resets_link,
            finishes_checksums,
        } = driver;
        for seen in [
            zero_copy.seen,
            sends_without_program.seen,
            buffer_step_octets.seen,
            resets_link.seen,
            finishes_checksums.seen,
        ] {
            let Seen::Test(test) = seen else { continue };
            let there = match test.strip_prefix("vm::") {
                Some(scenario) => GUESTS.contains(&format!("\"{scenario}\"")),
                None => list.lines().any(|line| line == format!("{test}: test")),
            };
            assert!(there, "{name}: no test {test}");
        }
    }
}

#[test]
fn a_veth_keeps_its_carrier_through_attach_bind_and_close() {
    require_net!();
    let wire = wire(1500);
    let near = &wire.near;
    let watched = || {
        let mut watch = Watch::open().unwrap();
        let steering = attach(near);
        let queue = xsk::open(&options(near), umem(2048)).unwrap();
        drop(queue);
        drop(steering);
        while let Some(change) = watch.next(Duration::from_millis(300)).unwrap() {
            let Change::Now(link) = change else { panic!("{change:?}") };
            assert!(link.index != near.index || link.running, "{link:?}");
        }
    };
    near.namespace.run(watched).unwrap();
    // And the watch sees what is there to be seen.
    let mut watch = near.namespace.run(|| Watch::open().unwrap()).unwrap();
    wire.far.set_down().unwrap();
    let mut lost = false;
    while let Some(Change::Now(link)) = watch.next(Duration::from_secs(5)).unwrap() {
        lost |= link.index == near.index && !link.carrier;
        if lost {
            break;
        }
    }
    assert!(lost, "nobody told of the carrier");
}

#[test]
fn a_veth_brings_the_longest_packet_that_its_chunk_is_said_to_hold() {
    require_net!();
    let wire = wire(3000);
    let near = &wire.near;
    let veth = near.namespace.run(|| Driver::of(&near.name)).unwrap();
    assert_eq!(veth.name, "veth");
    let whole = veth.whole_octets(2048, CopyMode::Auto);
    let send = |octets: u32| {
        let socket = UdpSocket::bind((wire.far.ipv4, 0)).unwrap();
        // Ethernet, IPv4 and UDP are in front.
        let payload = vec![0xa5; octets as usize - 14 - 20 - 8];
        socket.send_to(&payload, (near.ipv4, 9)).unwrap();
    };
    let receive = || {
        let steering = attach(near);
        let mut queue = xsk::open(&options(near), umem(2048)).unwrap();
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        wire.far.namespace.run(|| [whole + 1, whole].map(send)).unwrap();
        let mut frames: Vec<Frame> = Vec::new();
        let give_up = Instant::now() + Duration::from_secs(5);
        while frames.is_empty() && Instant::now() < give_up {
            queue.recv(&mut frames, 64);
        }
        let lengths: Vec<usize> = frames.iter().map(Frame::len).collect();
        (lengths, queue.kernel_statistics().unwrap().rx_dropped)
    };
    let came = near.namespace.run(receive).unwrap();
    assert_eq!(came, (vec![whole as usize], 1), "the longer one is lost by name");
}

/// A socket with its rings mapped, as `xsk::open` makes it, but in parts.
struct Parts {
    socket: OwnedFd,
    rings: Vec<Mapping>,
    _umem: Umem,
}

impl Parts {
    fn new() -> Self {
        const ENTRIES: u32 = 64;
        let (socket, umem) = (xdp::socket().unwrap(), umem(2048));
        let fd = socket.as_fd();
        let (start, octets) = umem.region();
        xdp::register_umem(fd, start, octets, umem.chunk_octets(), xdp::TxRoom::None).unwrap();
        let page = |offset: u64| i64::try_from(offset).unwrap();
        let rings = [
            (xdp::XDP_UMEM_FILL_RING, page(xdp::XDP_UMEM_PGOFF_FILL_RING)),
            (xdp::XDP_UMEM_COMPLETION_RING, page(xdp::XDP_UMEM_PGOFF_COMPLETION_RING)),
            (xdp::XDP_RX_RING, xdp::XDP_PGOFF_RX_RING),
            (xdp::XDP_TX_RING, xdp::XDP_PGOFF_TX_RING),
        ];
        for (option, _) in rings {
            xdp::set_option(fd, option, ENTRIES).unwrap();
        }
        let rings = rings.map(|(_, page)| Mapping::shared(fd, 4096, page).unwrap()).into();
        Self { socket, rings, _umem: umem }
    }

    /// Whether the queue can be had within `patience`.
    fn bind(&self, end: &End, patience: Duration) -> bool {
        let give_up = Instant::now() + patience;
        loop {
            match xdp::bind(self.socket.as_fd(), end.index, 0, 0) {
                Ok(()) => return true,
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{error}"),
            }
            if Instant::now() > give_up {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Each mapping of a ring keeps the socket, and with it the queue, though the descriptor is closed:
/// why a queue unmaps its rings when it is dropped.
#[test]
fn a_queue_is_taken_until_the_last_ring_of_its_socket_is_unmapped() {
    require_net!();
    let wire = wire(1500);
    let near = &wire.near;
    // A queue that is let go of is free after 60 ms at the most, seen.
    let (enough, plenty) = (Duration::from_millis(300), Duration::from_secs(10));
    let work = || {
        for last in 0..4 {
            let mut first = Parts::new();
            assert!(first.bind(near, plenty));
            drop(first.socket);
            let kept = first.rings.swap_remove(last);
            drop(first.rings);
            let second = Parts::new();
            assert!(!second.bind(near, enough), "ring {last} is mapped still");
            drop(kept);
            assert!(second.bind(near, plenty), "ring {last} was the last");
        }
    };
    near.namespace.run(work).unwrap();
}
