//! The laboratory itself: before it bears witness about the program, it is
//! shown to be exact, quiet and gone when it is over.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tidegate::lab::flood::{self, Budget, Family, Flood, Generator, Kind};
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::witness::udp::Questions;
use tidegate::lab::witness::{tcp, udp};
use tidegate::lab::{End, LabError, Namespace, Wire, WireOptions};
use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};

use crate::require;

fn wire(options: &WireOptions) -> Wire {
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    Wire::new(&near, &far, options).unwrap()
}

fn without_ipv6() -> WireOptions {
    WireOptions { ipv6: false, ..WireOptions::default() }
}

/// Whether `true` comes within a time that only something broken needs.
fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

#[test]
fn a_namespace_and_its_links_vanish_with_the_last_that_holds_it() {
    require_net!();
    let near = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    let wire = Wire::new(&near, &far, &without_ipv6()).unwrap();
    let name = wire.near.name.clone();
    let there = || near.netlink().unwrap().link(&name).is_ok();
    // A process is killed without a chance to clean up.
    let mut child = far.spawn(Command::new("sleep").arg("60")).unwrap();
    // A thread panics.
    let thread = far.spawn_thread("lab-panic", || {
        thread::sleep(Duration::from_millis(50));
        panic!("as it should, in a test about panics");
    });
    drop((far, wire));
    assert!(thread.unwrap().join().is_err());
    assert!(there(), "the process still holds it");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(soon(|| !there()), "the link outlived the other namespace");
}

#[test]
fn a_namespace_is_another_than_ours_and_empty() {
    require_net!();
    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let namespace = Namespace::new().unwrap();
    let inside = namespace.run(own).unwrap();
    assert_ne!(inside, own());
    assert_eq!(inside.to_str().unwrap(), format!("net:[{}]", namespace.number().unwrap()));
    let in_thread = namespace.spawn_thread("lab-test", own).unwrap().join().unwrap();
    assert_eq!(in_thread, inside);
    let mut netlink = namespace.netlink().unwrap();
    for link in netlink.links().unwrap() {
        // The kernel may give every namespace tunnel stubs; they are down.
        assert_eq!(link.up, &*link.name == "lo", "{link:?}");
    }
    assert_eq!(netlink.default_route_interface().unwrap(), None);
}

#[test]
fn a_panic_inside_a_namespace_goes_on_outside() {
    require_net!();
    let namespace = Namespace::new().unwrap();
    let outcome = std::panic::catch_unwind(|| namespace.run(|| panic!("with these words")));
    let cause = outcome.unwrap_err();
    assert_eq!(cause.downcast_ref::<&str>(), Some(&"with these words"));
}

#[test]
fn a_wire_has_the_queues_asked_for_and_sends_finished_packets() {
    require_net!();
    let wire = wire(&WireOptions { number: 7, queues: 3, mtu: 1400, ipv6: true });
    assert_ne!(wire.near.mac, wire.far.mac);
    for end in [&wire.near, &wire.far] {
        let link = end.link().unwrap();
        assert_eq!((link.rx_queues, link.tx_queues, link.mtu), (3, 3, 1400));
        assert_eq!(link.mac, end.mac);
        assert!(link.up && link.carrier);
        end.namespace
            .run(|| {
                let ethtool = Ethtool::open().unwrap();
                assert_eq!(ethtool.channels(&end.name).unwrap().receiving(), 3);
                for offload in [Offload::TxChecksum, Offload::Tso, Offload::Gso, Offload::Gro] {
                    assert!(!ethtool.offload(&end.name, offload).unwrap(), "{offload:?}");
                }
            })
            .unwrap();
    }
}

#[test]
fn nothing_passes_a_wire_that_nobody_sent() {
    require_net!();
    for ipv6 in [false, true] {
        let wire = wire(&WireOptions { ipv6, ..WireOptions::default() });
        let count = |end: &End| end.link().unwrap().counters.rx_packets;
        thread::sleep(Duration::from_millis(1200));
        assert_eq!([count(&wire.near), count(&wire.far)], [0, 0], "IPv6: {ipv6}");
    }
}

/// Asks across `wire` and hears every answer.
fn talk(wire: &Wire, ipv6: bool) {
    let address = |end: &End, port| match ipv6 {
        true => SocketAddr::from((end.ipv6, port)),
        false => SocketAddr::from((end.ipv4, port)),
    };
    let to = address(&wire.near, 5300);
    let server = udp::Server::start(&wire.near.namespace, to).unwrap();
    let patience = Duration::from_secs(5);
    let questions = Questions { count: 200, per_second: 2000, octets: 100, patience };
    let from = address(&wire.far, 0);
    let client = udp::ask(&wire.far.namespace, from, to, questions).unwrap();
    let asked = client.wait().unwrap();
    let answered = server.stop().unwrap();
    assert_eq!((asked.sent, asked.delivered), (200, 200), "{asked:?}");
    assert_eq!((asked.wrong, asked.duplicate), (0, 0), "{asked:?}");
    assert_eq!((answered.sent, answered.delivered, answered.wrong), (200, 200, 0));
    assert_eq!(asked.delivered_octets, 200 * 100);
    assert!(asked.round_trip_ns_max > 0);
}

#[test]
fn datagrams_of_both_families_pass_by_kernel_sockets() {
    require_net!();
    let wire = wire(&WireOptions::default());
    talk(&wire, false);
    talk(&wire, true);
}

#[test]
fn tcp_passes_by_kernel_sockets() {
    require_net!();
    let wire = wire(&WireOptions::default());
    let port = |port| SocketAddr::from((wire.near.ipv4, port));
    let echo = tcp::echo(&wire.near.namespace, port(80)).unwrap();
    let swallow = tcp::swallow(&wire.near.namespace, port(81)).unwrap();
    let patience = Duration::from_secs(5);
    let exchange = tcp::Exchange { messages: 100, octets: 3000, per_second: 0, patience };
    let exchanged = tcp::exchange(&wire.far.namespace, port(80), exchange).unwrap();
    let poured = tcp::pour(&wire.far.namespace, port(81), 3 << 20).unwrap();
    let (exchanged, poured) = (exchanged.wait().unwrap(), poured.wait().unwrap());
    assert_eq!((exchanged.sent, exchanged.delivered, exchanged.wrong), (100, 100, 0));
    assert_eq!(echo.stop().unwrap().delivered_octets, 300_000);
    assert_eq!(poured.delivered_octets, 3 << 20);
    assert!(soon(|| swallow.testimony().delivered_octets == 3 << 20));
}

#[test]
fn a_client_without_a_server_hears_nothing_and_ends() {
    require_net!();
    let wire = wire(&without_ipv6());
    let to = SocketAddr::from((wire.near.ipv4, 5300));
    let patience = Duration::from_millis(100);
    let questions = Questions { count: 10, per_second: 1000, octets: 100, patience };
    let from = SocketAddr::from((wire.far.ipv4, 0));
    let asked = udp::ask(&wire.far.namespace, from, to, questions).unwrap().wait().unwrap();
    assert_eq!((asked.sent, asked.delivered), (10, 0), "{asked:?}");
    let exchange = tcp::Exchange { messages: 1, octets: 8, per_second: 0, patience };
    let refused = tcp::exchange(&wire.far.namespace, to, exchange).unwrap().wait().unwrap_err();
    assert_eq!(refused.to_string(), "the lab could not hear a witness out");
}

#[test]
fn two_labs_at_once_do_not_meet() {
    require_net!();
    thread::scope(|scope| {
        for _ in 0..2 {
            // The same number: the same names and addresses.
            scope.spawn(|| talk(&wire(&WireOptions::default()), false));
        }
    });
}

#[test]
fn an_end_that_goes_down_and_comes_back_is_as_before() {
    require_net!();
    let wire = wire(&WireOptions::default());
    for end in [&wire.near, &wire.far] {
        end.set_down().unwrap();
        assert!(soon(|| !wire.near.link().unwrap().carrier));
        end.set_up().unwrap();
        talk(&wire, true);
        talk(&wire, false);
    }
    wire.near.remove().unwrap();
    assert!(wire.far.link().is_err());
}

const EVERY_KIND: [(Kind, Family); 4] = [
    (Kind::Udp { port: 53 }, Family::Ipv4),
    (Kind::Udp { port: 53 }, Family::Ipv6),
    (Kind::Syn { port: 80 }, Family::Ipv4),
    (Kind::Syn { port: 80 }, Family::Ipv6),
];

const GENERATORS: [Generator; 2] = [Generator::LiveFrames, Generator::Packets];

fn budget(packets: u64) -> Budget {
    let time = Duration::from_secs(10);
    Budget { packets, time, packets_per_second: None, processor: None }
}

#[test]
fn a_flood_of_n_packets_arrives_as_n() {
    require_net!();
    let _alone = require::alone();
    const PACKETS: u64 = 20_000;
    for (kind, family) in EVERY_KIND {
        for generator in GENERATORS {
            let wire = wire(&WireOptions { queues: 2, ..WireOptions::default() });
            let sink = Sink::attach(&wire.near, Action::Drop).unwrap();
            let options = flood::Options { family, generator, ..flood::Options::new(kind) };
            let mut flood = Flood::new(&wire.far, &options).unwrap();
            let sent = flood.run(&budget(PACKETS)).unwrap();
            assert_eq!((sent.offered, sent.generator), (PACKETS, generator));
            assert_eq!(sent.refused, 0, "{kind:?} {family:?} {generator:?}");
            assert!(soon(|| sink.arrived().unwrap().packets >= PACKETS), "{:?}", sink.arrived());
            let arrived = sink.arrived().unwrap();
            assert_eq!(arrived.packets, PACKETS, "{kind:?} {family:?} {generator:?}");
            assert_eq!(arrived.octets, PACKETS * sent.frame_octets);
            assert_eq!(wire.near.link().unwrap().counters.rx_packets, PACKETS);
        }
    }
}

/// The frames that `flood` sends, in their order, as seen by the other end.
fn caught(wire: &Wire, flood: &mut Flood, packets: u64) -> Vec<Vec<u8>> {
    let open = || {
        let kind = (AddressFamily::Packet, SockType::Raw);
        let (none, all) = (SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll);
        socket(kind.0, kind.1, none, all).unwrap()
    };
    let catcher = wire.near.namespace.run(open).unwrap();
    flood.run(&budget(packets)).unwrap();
    let mut frames = Vec::new();
    let complete = soon(|| {
        let mut buffer = [0; 2048];
        while let Ok(len) = nix::unistd::read(&catcher, &mut buffer) {
            // What this end answers passes the catcher too.
            if buffer[..6] == wire.near.mac {
                frames.push(buffer[..len].to_vec());
            }
        }
        frames.len() as u64 >= packets
    });
    assert!(complete, "{} of {packets} frames", frames.len());
    frames
}

#[test]
fn both_generators_send_the_same_octets_and_continue_where_they_stopped() {
    require_net!();
    let _alone = require::alone();
    for (kind, family) in EVERY_KIND {
        let wire = wire(&WireOptions::default());
        let _pass = Sink::attach(&wire.near, Action::Pass).unwrap();
        let [live, packets] = GENERATORS.map(|generator| {
            let defaults = flood::Options::new(kind);
            let options =
                flood::Options { family, generator, seed: 42, frame_octets: 101, ..defaults };
            let mut flood = Flood::new(&wire.far, &options).unwrap();
            [caught(&wire, &mut flood, 30), caught(&wire, &mut flood, 20)].concat()
        });
        assert_eq!(live.len(), 50);
        assert_eq!(live, packets, "{kind:?} {family:?}");
        let mut sources: Vec<_> = live.iter().map(|frame| &frame[26..38]).collect();
        sources.sort_unstable();
        sources.dedup();
        assert!(sources.len() >= 49, "{} sources", sources.len());
    }
}

#[test]
fn the_kernel_accepts_the_checksums_of_a_flood() {
    require_net!();
    let _alone = require::alone();
    const PACKETS: u64 = 5_000;
    let wire = wire(&WireOptions::default());
    let _pass = Sink::attach(&wire.near, Action::Pass).unwrap();
    for family in [Family::Ipv4, Family::Ipv6] {
        let to = match family {
            Family::Ipv4 => SocketAddr::from((wire.near.ipv4, 5300)),
            Family::Ipv6 => SocketAddr::from((wire.near.ipv6, 5300)),
        };
        let server = udp::Server::start(&wire.near.namespace, to).unwrap();
        let kind = Kind::Udp { port: 5300 };
        let options = flood::Options { family, ..flood::Options::new(kind) };
        let mut flood = Flood::new(&wire.far, &options).unwrap();
        assert_eq!(flood.generator(), Generator::LiveFrames);
        let pace = NonZeroU64::new(20_000);
        let sent = flood.run(&Budget { packets_per_second: pace, ..budget(PACKETS) }).unwrap();
        assert_eq!(sent.taken(), PACKETS);
        assert!(soon(|| server.heard(flood::MARK) == PACKETS), "{}", server.heard(flood::MARK));
        let testimony = server.stop().unwrap();
        assert_eq!((testimony.wrong, testimony.delivered, testimony.sent), (PACKETS, 0, 0));
    }
}

#[test]
fn live_frames_want_a_receiver_and_say_so() {
    require_net!();
    let wire = wire(&without_ipv6());
    let live = Generator::LiveFrames;
    let options = flood::Options { generator: live, ..flood::Options::new(Kind::Udp { port: 53 }) };
    let mut flood = Flood::new(&wire.far, &options).unwrap();
    let refused = flood.run(&budget(1)).unwrap_err();
    assert!(matches!(&refused, LabError::NoReceiver { interface } if **interface == *"tide1"));
}

#[test]
fn a_flood_keeps_its_pace_its_time_and_stops_when_told() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { queues: 2, ..without_ipv6() });
    let sink = Sink::attach(&wire.near, Action::Drop).unwrap();
    let options = flood::Options::new(Kind::Udp { port: 53 });
    let mut flood = Flood::new(&wire.far, &options).unwrap();
    let pace = NonZeroU64::new(50_000);
    let half_a_second =
        Budget { time: Duration::from_millis(500), packets_per_second: pace, ..budget(u64::MAX) };
    let sent = flood.run(&half_a_second).unwrap();
    // Never faster; how much slower depends on who else is on the machine.
    assert!((5_000..=25_000).contains(&sent.offered), "{sent:?}");
    let running = flood.start(Budget { time: Duration::from_secs(60), ..half_a_second }).unwrap();
    assert!(soon(|| running.offered() > 1000));
    let (_, more) = running.stop().unwrap();
    assert!(more.elapsed < Duration::from_secs(30), "{more:?}");
    let offered = sent.offered + more.offered;
    assert!(soon(|| sink.arrived().unwrap().packets == offered), "{:?}", sink.arrived());
}
