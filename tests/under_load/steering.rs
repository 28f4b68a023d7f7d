//! Steering while it works: changed under load, and only for what was selected.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};
use tidegate::lab::Wire;
use tidegate::lab::flood::Generator;
use tidegate::lab::witness::udp::Questions;
use tidegate::lab::witness::{tcp, udp};
use tidegate_dataplane::steer::{Fragments, Prefix, Protocol, Selector};

use super::{
    PACE, PORT, ROOMY, Stage, WireOptions, all_answered, ask, ask_from, config, lost, ports, scrub,
    server, service, steered, wire,
};
use crate::require;

/// The selectors of [`scrub`], as steering knows them.
fn selectors(wire: &Wire) -> Vec<Selector> {
    let to = |address, bits| Selector {
        destination: Prefix::new(address, bits).unwrap(),
        source: None,
        protocol: Protocol::UDP,
        destination_ports: Some(PORT..=PORT),
        fragments: Fragments::Pass,
        protection: None,
    };
    vec![to(wire.near.ipv4.into(), 32), to(wire.near.ipv6.into(), 128)]
}

#[test]
fn a_program_and_its_selectors_change_under_load_without_a_packet_lost() {
    require_net!();
    let _alone = require::alone();
    const QUESTIONS: u32 = 1_500;
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    let flood = stage.flood(Some(PACE), Generator::Auto);
    let asked = ask(&wire, QUESTIONS);
    let (same, steering) = (selectors(&wire), &stage.program.steerings()[0]);
    // A third one, of which no packet is.
    let more: Vec<_> = same
        .iter()
        .cloned()
        .chain([Selector { destination_ports: Some(9..=9), ..same[0].clone() }])
        .collect();
    // A replacement is verified anew by the kernel, most of a second; a list takes milliseconds.
    let (mut lists, mut programs) = (0, 0);
    while asked.testimony().sent < QUESTIONS.into() {
        for list in [&more, &same].into_iter().cycle().take(20) {
            steering.set_selectors(list).unwrap();
            lists += 1;
        }
        steering.replace().unwrap();
        programs += 1;
    }
    assert!(lists >= 20 && programs > 1, "{lists} {programs}");
    let testimony = asked.wait().unwrap();
    let (_, sent) = flood.stop().unwrap();
    all_answered(&testimony, lost(&wire, &stage.program.snapshot()));
    let outcome = stage.leave();
    assert_eq!(steered(&outcome.snapshot, "received"), sent.taken() + testimony.sent);
    assert_eq!(steered(&outcome.snapshot, "redirected"), sent.taken() + testimony.sent);
    let port = ports(&outcome.snapshot, "tide1");
    assert_eq!(port.unclaimed_frames, 0);
    assert_eq!(port.settled_reinject, server.heard(b'A'));
    assert_eq!(server.stop().unwrap().wrong, 0, "the flood came through");
}

/// Sends `count` requests of the Address Resolution Protocol, made by hand.
fn ask_for_addresses(wire: &Wire, count: u64) {
    let far = &wire.far;
    let request = [
        &[0xff; 6][..],
        &far.mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &far.mac,
        &far.ipv4.octets(),
        &[0; 6],
        &wire.near.ipv4.octets(),
        &[0; 18],
    ]
    .concat();
    let work = || {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let addresses = getifaddrs().unwrap();
        let mut links = addresses.filter_map(|it| it.address?.as_link_addr().copied());
        let link = links.find(|link| link.ifindex() == far.index as usize).unwrap();
        bind(socket.as_raw_fd(), &link).unwrap();
        for _ in 0..count {
            send(socket.as_raw_fd(), &request, MsgFlags::empty()).unwrap();
        }
    };
    far.namespace.run(work).unwrap();
}

#[test]
fn only_what_was_selected_leaves_the_kernel_and_only_on_its_queue() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { queues: 4, ..WireOptions::default() });
    let near = &wire.near;
    let selected = server(&wire);
    let other_port =
        udp::Server::start(&near.namespace, SocketAddr::from((near.ipv4, PORT + 1))).unwrap();
    let tcp_at = SocketAddr::from((near.ipv6, PORT));
    let listener = tcp::echo(&near.namespace, tcp_at).unwrap();
    let other_six =
        udp::Server::start(&near.namespace, SocketAddr::from((near.ipv6, PORT + 1))).unwrap();
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    let flood = stage.flood(Some(PACE), Generator::Auto);

    // Sixteen flows, which the sending kernel spreads over the queues.
    let askers: Vec<_> = (0..16).map(|it| ask_from(&wire, 40_000 + it, PORT, 50)).collect();
    let beside = ask_from(&wire, 0, PORT + 1, 100);
    let six = udp::ask(
        &wire.far.namespace,
        SocketAddr::from((wire.far.ipv6, 0)),
        SocketAddr::from((near.ipv6, PORT + 1)),
        Questions { count: 100, per_second: 500, octets: 64, patience: Duration::from_secs(3) },
    )
    .unwrap();
    let exchange = tcp::Exchange {
        messages: 100,
        octets: 512,
        per_second: 500,
        patience: Duration::from_secs(5),
    };
    let talker = tcp::exchange(&wire.far.namespace, tcp_at, exchange).unwrap();
    ask_for_addresses(&wire, 20);

    let mut asked = 0;
    for asker in askers {
        let testimony = asker.wait().unwrap();
        all_answered(&testimony, lost(&wire, &stage.program.snapshot()));
        asked += testimony.sent;
    }
    for asker in [beside, six] {
        all_answered(&asker.wait().unwrap(), lost(&wire, &stage.program.snapshot()));
    }
    assert_eq!(talker.wait().unwrap().delivered, 100);
    flood.stop().unwrap();
    let outcome = stage.leave();
    let snapshot = &outcome.snapshot;
    assert_eq!(steered(snapshot, "pass_not_ip"), 20);
    // Two servers of UDP, and a TCP connection's packets both ways of its acknowledgements.
    assert!(steered(snapshot, "pass_no_selector") > 200 + 100);
    let other_queues = steered(snapshot, "pass_no_socket");
    assert!(other_queues >= 50, "none of sixteen flows on another queue");
    let shield = service(snapshot, "shield");
    let (through, heard) = (shield.stats.settled_reinject, selected.heard(b'A'));
    assert!(through >= 50, "none of sixteen flows on queue 0");
    assert!(asked >= heard && asked - heard <= lost(&wire, snapshot), "{heard} of {asked}");
    for server in [selected, other_port, other_six] {
        server.stop().unwrap();
    }
    listener.stop().unwrap();
}
