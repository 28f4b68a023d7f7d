//! The steering program on real interfaces, in network namespaces of the tests' own.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::{
    Error, Fragments, Options, Outcome, Protocol, Selector, Steering, XdpMode,
};
use tidegate_dataplane::sys::netlink::{self, XdpMode as Attached};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::xsk;

use crate::own_namespace::{Namespace, in_own_namespace, skip, veth};

fn port(port: u16) -> Selector {
    Selector {
        destination: "198.18.0.0/15".parse().unwrap(),
        source: None,
        protocol: Protocol::UDP,
        destination_ports: Some(port..=port),
        fragments: Fragments::Pass,
    }
}

fn options(interface: &str, xdp: XdpMode) -> Options {
    Options { interface: interface.into(), xdp, selectors: vec![port(5000), port(5004)] }
}

/// `None`, said aloud, where the process may not.
fn attach(interface: &str, xdp: XdpMode) -> Option<Steering> {
    match Steering::attach(&options(interface, xdp)) {
        Err(error @ Error::Privilege { .. }) => {
            skip(error);
            None
        }
        steering => Some(steering.unwrap()),
    }
}

/// Sends `count` datagrams from the far end to `port` here.
fn send(far: &Namespace, port: u16, count: u8) {
    far.run(|| {
        let socket = UdpSocket::bind("198.18.0.2:0").unwrap();
        for number in 0..count {
            socket.send_to(&[number; 20], ("198.18.0.1", port)).unwrap();
        }
    });
}

fn open_queue(interface: &str) -> xsk::Queue {
    let umem =
        Umem::new(&umem::Options { chunk_octets: 2048, frames: 256, pages: umem::Pages::Ordinary });
    let options =
        xsk::Options { ring_entries: 128, fill_frames: 128, ..xsk::Options::new(interface, 0) };
    xsk::open(&options, umem.unwrap()).unwrap()
}

fn receive(queue: &mut xsk::Queue, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    let give_up = Instant::now() + Duration::from_secs(5);
    while frames.len() < count && Instant::now() < give_up {
        queue.recv(&mut frames, 64);
    }
    frames
}

fn selected_packets_reach_the_socket_and_others_the_kernel(xdp: XdpMode) {
    in_own_namespace(|| {
        let far = Namespace::new();
        veth(&far, 1, 1);
        let Some(steering) = attach("va", xdp) else { return };
        assert_eq!(steering.obtained(), xdp);
        let kernel = UdpSocket::bind("198.18.0.1:5004").unwrap();
        kernel.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut octets = [0; 64];
        let mut queue = open_queue("va");

        // No socket is known to the program yet, so the kernel has all.
        send(&far, 5004, 3);
        for number in 0..3 {
            assert_eq!(kernel.recv(&mut octets).unwrap(), 20);
            assert_eq!(octets[0], number);
        }
        assert_eq!(steering.counters().unwrap().get(Outcome::PassNoSocket).packets, 3);

        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        send(&far, 5004, 5);
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

        let other = UdpSocket::bind("198.18.0.1:5001").unwrap();
        other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        send(&far, 5001, 1);
        assert_eq!(other.recv(&mut octets).unwrap(), 20);

        steering.pass_all(true).unwrap();
        send(&far, 5004, 1);
        assert_eq!(kernel.recv(&mut octets).unwrap(), 20);
        steering.pass_all(false).unwrap();

        // A closed socket leaves the map by itself.
        drop(queue);
        send(&far, 5004, 1);
        assert_eq!(kernel.recv(&mut octets).unwrap(), 20);
        assert_eq!(steering.counters().unwrap().unaccounted(), 0);
    });
}

#[test]
fn native_selected_packets_reach_the_socket_and_others_the_kernel() {
    selected_packets_reach_the_socket_and_others_the_kernel(XdpMode::Native);
}

#[test]
fn generic_selected_packets_reach_the_socket_and_others_the_kernel() {
    selected_packets_reach_the_socket_and_others_the_kernel(XdpMode::Generic);
}

#[test]
fn leaves_another_program_alone_and_says_whose_it_is() {
    in_own_namespace(|| {
        let far = Namespace::new();
        veth(&far, 1, 1);
        let Some(first) = attach("va", XdpMode::Native) else { return };
        let attached = netlink::link("va").unwrap().xdp.unwrap();
        assert_eq!(attached.mode, Attached::Native);
        for xdp in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
            let refusal = Steering::attach(&options("va", xdp)).unwrap_err();
            let Error::Occupied { interface, prog_id, prog_name } = refusal else {
                panic!("{refusal:?}")
            };
            assert_eq!(&*interface, "va");
            assert_eq!(prog_id, Some(attached.prog_id));
            assert_eq!(prog_name.as_deref(), Some("tidegate_steer"));
        }
        assert_eq!(netlink::link("va").unwrap().xdp, Some(attached));
        drop(first);
        assert_eq!(netlink::link("va").unwrap().xdp, None);
    });
}

#[test]
fn a_replaced_program_goes_on_with_socket_selectors_and_counters() {
    in_own_namespace(|| {
        let far = Namespace::new();
        veth(&far, 1, 1);
        let Some(steering) = attach("va", XdpMode::Native) else { return };
        let mut queue = open_queue("va");
        steering.set_socket(0, queue.fd().unwrap()).unwrap();
        let mut ids = vec![netlink::link("va").unwrap().xdp.unwrap().prog_id];
        for round in 1..=3 {
            send(&far, 5000, 4);
            let frames = receive(&mut queue, 4);
            assert!(frames.iter().all(|frame| frame.selector() == 0));
            assert_eq!(frames.len(), 4);
            assert_eq!(steering.counters().unwrap().selectors[0].packets, round * 4);
            steering.replace().unwrap();
            ids.push(netlink::link("va").unwrap().xdp.unwrap().prog_id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 4, "a program each time: {ids:?}");
    });
}

#[test]
fn says_that_an_interface_is_unknown() {
    in_own_namespace(|| {
        let refusal = Steering::attach(&options("va", XdpMode::Auto)).unwrap_err();
        assert_eq!(refusal.to_string(), "no interface \"va\" in this network namespace");
    });
}

#[test]
fn falls_back_to_the_stack_only_where_that_was_allowed() {
    in_own_namespace(|| {
        // The loopback has no native mode.
        let Some(auto) = attach("lo", XdpMode::Auto) else { return };
        assert_eq!(auto.obtained(), XdpMode::Generic);
        drop(auto);
        let refusal = Steering::attach(&options("lo", XdpMode::Native)).unwrap_err();
        assert!(refusal.to_string().starts_with("the driver of lo runs no XDP"), "{refusal}");
        assert_eq!(netlink::link("lo").unwrap().xdp, None);

        // One receive queue here, two transmit queues there.
        let far = Namespace::new();
        veth(&far, 1, 2);
        let refusal = Steering::attach(&options("va", XdpMode::Native)).unwrap_err();
        assert!(refusal.to_string().starts_with("va has fewer receive queues"), "{refusal}");
        let auto = Steering::attach(&options("va", XdpMode::Auto)).unwrap();
        assert_eq!(auto.obtained(), XdpMode::Generic);
    });
}
