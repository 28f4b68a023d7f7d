//! The steering program on interfaces: getting on, being refused, replaced and taken off.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::{
    Error, Fragments, Options, Outcome, Protocol, Selector, Steering, XdpMode,
};
use tidegate_dataplane::sys::netlink::{self, Netlink, VethEnd, XdpMode as Attached};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::xsk;

fn port(port: u16) -> Selector {
    Selector {
        destination: "198.18.0.0/15".parse().unwrap(),
        source: None,
        protocol: Protocol::UDP,
        destination_ports: Some(port..=port),
        fragments: Fragments::Pass,
        protection: None,
    }
}

fn options(interface: &str, xdp: XdpMode) -> Options {
    Options { interface: interface.into(), xdp, selectors: vec![port(5000), port(5004)] }
}

fn attach(interface: &str, xdp: XdpMode) -> Steering {
    Steering::attach(&options(interface, xdp)).unwrap()
}

/// Runs `test` in a namespace with the near end of a wire, `tide1`.
fn on_a_wire(test: impl FnOnce(&Wire) + Send) {
    let near = Namespace::new().unwrap();
    let options = WireOptions { ipv6: false, ..WireOptions::default() };
    let wire = Wire::new(&near, &Namespace::new().unwrap(), &options).unwrap();
    near.run(|| test(&wire)).unwrap();
}

/// Sends `count` datagrams from the far end to `port` here.
fn send(wire: &Wire, port: u16, count: u8) {
    let there = || {
        let socket = UdpSocket::bind((wire.far.ipv4, 0)).unwrap();
        for number in 0..count {
            socket.send_to(&[number; 20], (wire.near.ipv4, port)).unwrap();
        }
    };
    wire.far.namespace.run(there).unwrap();
}

fn open_queue() -> xsk::Queue {
    let umem = umem::Options { chunk_octets: 2048, frames: 256, pages: umem::Pages::Ordinary };
    let umem = Umem::new(&umem).unwrap();
    let options =
        xsk::Options { ring_entries: 128, fill_frames: 128, ..xsk::Options::new("tide1", 0) };
    xsk::open(&options, umem).unwrap()
}

fn receive(queue: &mut xsk::Queue, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    let give_up = Instant::now() + Duration::from_secs(5);
    while frames.len() < count && Instant::now() < give_up {
        queue.recv(&mut frames, 64);
    }
    frames
}

fn the_kernel_has_what_no_socket_takes(xdp: XdpMode) {
    on_a_wire(|wire| {
        let steering = attach("tide1", xdp);
        assert_eq!(steering.obtained(), xdp);
        let kernel = UdpSocket::bind((wire.near.ipv4, 5004)).unwrap();
        kernel.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let kernel_has = |count: u8| {
            send(wire, 5004, count);
            let mut octets = [0; 64];
            for number in 0..count {
                assert_eq!(kernel.recv(&mut octets).unwrap(), 20);
                assert_eq!(octets[0], number);
            }
        };
        let mut queue = open_queue();

        // No socket is known to the program yet.
        kernel_has(3);
        assert_eq!(steering.counters().unwrap().get(Outcome::PassNoSocket).packets, 3);

        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        send(wire, 5004, 5);
        let frames = receive(&mut queue, 5);
        assert_eq!(frames.len(), 5);
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!(frame.selector(), 1);
            assert_eq!(frame.bytes()[42..], [number; 20]);
        }
        drop(frames);
        let counters = steering.counters().unwrap();
        assert_eq!(counters.get(Outcome::Redirected).packets, 5);
        assert_eq!(counters.selectors[1].packets, 5);
        assert_eq!(counters.selectors[1].octets, 5 * 62);

        steering.pass_all(true);
        kernel_has(2);
        steering.pass_all(false);
        steering.set_selectors(&[port(5000)]).unwrap();
        kernel_has(2);
        steering.set_selectors(&[port(5004)]).unwrap();
        send(wire, 5004, 1);
        assert_eq!(receive(&mut queue, 1)[0].selector(), 0);

        // A closed socket leaves the map by itself.
        drop(queue);
        kernel_has(1);
        assert_eq!(steering.counters().unwrap().unaccounted(), 0);
    });
}

#[test]
fn native_the_kernel_has_what_no_socket_takes() {
    require_net!();
    the_kernel_has_what_no_socket_takes(XdpMode::Native);
}

#[test]
fn generic_the_kernel_has_what_no_socket_takes() {
    require_net!();
    the_kernel_has_what_no_socket_takes(XdpMode::Generic);
}

#[test]
fn leaves_another_program_alone_and_says_whose_it_is() {
    require_net!();
    on_a_wire(|_| {
        let first = attach("tide1", XdpMode::Native);
        let attached = netlink::link("tide1").unwrap().xdp.unwrap();
        assert_eq!(attached.mode, Attached::Native);
        for xdp in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
            let refusal = Steering::attach(&options("tide1", xdp)).unwrap_err();
            let Error::Occupied { interface, prog_id, prog_name } = refusal else {
                panic!("{refusal:?}")
            };
            assert_eq!(&*interface, "tide1");
            assert_eq!(prog_id, Some(attached.prog_id));
            assert_eq!(prog_name.as_deref(), Some("tidegate_steer"));
        }
        assert_eq!(netlink::link("tide1").unwrap().xdp, Some(attached));
        drop(first);
        assert_eq!(netlink::link("tide1").unwrap().xdp, None);
    });
}

#[test]
fn a_replaced_program_goes_on_with_socket_selectors_and_counters() {
    require_net!();
    on_a_wire(|wire| {
        let steering = attach("tide1", XdpMode::Native);
        let mut queue = open_queue();
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        let attached = || netlink::link("tide1").unwrap().xdp.unwrap().prog_id;
        let mut ids = vec![attached()];
        for round in 1..=3 {
            send(wire, 5000, 4);
            let frames = receive(&mut queue, 4);
            assert_eq!(frames.len(), 4);
            assert!(frames.iter().all(|frame| frame.selector() == 0));
            assert_eq!(steering.counters().unwrap().selectors[0].packets, round * 4);
            steering.replace().unwrap();
            ids.push(attached());
        }
        ids.dedup();
        assert_eq!(ids.len(), 4, "a program each time: {ids:?}");
    });
}

#[test]
fn falls_back_to_the_stack_only_where_that_was_allowed() {
    require_net!();
    on_a_wire(|wire| {
        let refusal = Steering::attach(&options("va", XdpMode::Auto)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "no interface \"va\" in this network namespace; `ip link` lists them"
        );

        // The loopback has no native mode.
        let auto = attach("lo", XdpMode::Auto);
        assert_eq!(auto.obtained(), XdpMode::Generic);
        drop(auto);
        let refusal = Steering::attach(&options("lo", XdpMode::Native)).unwrap_err();
        assert!(refusal.to_string().starts_with("the driver of lo runs no XDP"), "{refusal}");
        assert_eq!(netlink::link("lo").unwrap().xdp, None);

        // One receive queue here, two transmit queues there.
        let mut netlink = Netlink::open().unwrap();
        let end = |name, tx_queues| {
            let mac = [2, 0, 0, 0, 0, 1];
            VethEnd { name, mac, mtu: 1500, rx_queues: 1, tx_queues, namespace: None }
        };
        netlink.create_veth(&end("va", 1), &end("vb", 2)).unwrap();
        for name in ["va", "vb"] {
            let index = netlink.link(name).unwrap().index;
            netlink.set_up(index).unwrap();
        }
        let refusal = Steering::attach(&options("va", XdpMode::Native)).unwrap_err();
        assert!(refusal.to_string().starts_with("va has fewer receive queues"), "{refusal}");
        assert_eq!(attach("va", XdpMode::Auto).obtained(), XdpMode::Generic);
        assert_eq!(wire.near.link().unwrap().xdp, None);
    });
}
