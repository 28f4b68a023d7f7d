//! `tidegate measure`: counts to the packet, cuts off what it names and no more, sends nothing,
//! ends in time, and refuses the machine's own way in.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tidegate::lab::flood::{self, Budget, Flood, Kind};
use tidegate::lab::{End, Namespace, Wire, WireOptions};

use super::{PATIENCE, Process, Said, assert_bare, tidegate, wire};
use crate::require;

const PORT: u16 = 5300;

const BOTH: [&str; 2] = ["--allow-default-route", "--yes-cut-me-off"];

/// `tidegate measure` at the near end of a wire.
fn measure(end: &End, words: &[&str]) -> Process {
    let words = [&["measure", &*end.name][..], words].concat();
    let mut command = tidegate(&words);
    command.env_remove("SSH_CONNECTION");
    Process::start(&end.namespace, command)
}

/// The same, once packets are taken.
#[track_caller]
fn measuring(end: &End, words: &[&str]) -> Process {
    let mut process = measure(end, words);
    let give_up = Instant::now() + PATIENCE;
    while !process.errors.heard().contains("tidegate: measuring\n") {
        let ended = process.child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", process.errors.heard());
        assert!(Instant::now() < give_up, "does not start: {}", process.errors.heard());
        thread::sleep(Duration::from_millis(5));
    }
    process
}

/// Sends so many packets from the far end, at a pace that two shared cores carry in a debug build;
/// returns how many the link took.
fn flood(wire: &Wire, port: u16, packets: u64) -> u64 {
    let options = flood::Options {
        generator: flood::Generator::Packets,
        ..flood::Options::new(Kind::Udp { port })
    };
    let budget = Budget {
        packets,
        time: Duration::from_secs(60),
        packets_per_second: NonZeroU64::new(50_000),
        processor: None,
    };
    Flood::new(&wire.far, &options).unwrap().run(&budget).unwrap().taken()
}

/// What it said with `--json`, of one that measured.
#[track_caller]
fn report(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out.lines().count(), 1, "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

fn sum(report: &Value, key: &str) -> u64 {
    report["queues"].as_array().unwrap().iter().map(|it| it[key].as_u64().unwrap()).sum()
}

#[test]
fn every_packet_is_measured_or_lost_by_name_and_none_is_sent() {
    require_net!();
    let _alone = require::alone();
    for queues in [1, 2] {
        let wire = wire(queues);
        let before = wire.near.link().unwrap().counters;
        let list = if queues == 1 { "0" } else { "0-1" };
        let words = ["--queue", list, "--seconds", "60", "--json"];
        let process = measuring(&wire.near, &words);
        let sent = flood(&wire, PORT, 30_000);
        assert!(sent > 0);
        process.signal(Signal::SIGINT);
        let report = report(&process.end());
        let lost = sum(&report, "kernel_rx_dropped") + sum(&report, "kernel_rx_ring_full");
        assert_eq!(sum(&report, "packets") + lost, sent, "{report}");
        assert_eq!(report["steering"]["redirected"], sent, "{report}");
        assert_eq!(report["steering"]["received"], sent, "{report}");
        assert_eq!((&report["ended"], &report["unaccounted"]), (&"signal".into(), &0.into()));
        assert_eq!(report["queues"].as_array().unwrap().len(), queues as usize);
        let obtained = &report["queues"][0]["obtained"];
        assert_eq!((&obtained["copy"], &obtained["xdp"]), (&"copy".into(), &"native".into()));
        assert!(report["shards"][0]["busy_ns_per_packet"].as_f64().unwrap() > 0.0);

        // By the socket's own count, and by the interface's.
        assert_eq!(sum(&report, "transmitted_packets"), 0);
        let after = wire.near.link().unwrap().counters;
        assert_eq!((before.tx_packets, before.tx_octets), (after.tx_packets, after.tx_octets));
        assert_bare(&wire.near);
    }
}

#[test]
fn the_kernel_hears_nothing_of_it_meanwhile_and_all_of_it_afterwards() {
    require_net!();
    let wire = wire(1);
    let socket = |port: u16| {
        let socket = wire.near.namespace.run(|| UdpSocket::bind((wire.near.ipv4, port))).unwrap();
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };
    let (taken, left) = (socket(PORT), socket(PORT + 1));
    let far = wire.far.namespace.run(|| UdpSocket::bind((wire.far.ipv4, 0)).unwrap()).unwrap();
    let say = |port: u16, octet: u8| {
        far.send_to(&[octet], (wire.near.ipv4, port)).unwrap();
    };
    let heard = |socket: &UdpSocket| {
        let mut octet = [0];
        socket.recv(&mut octet).map(|_| octet[0])
    };
    let only = format!("{},udp,{PORT}", wire.near.ipv4);
    let process = measuring(&wire.near, &["--seconds", "60", "--only", &only, "--json"]);
    say(PORT, 1);
    say(PORT + 1, 2);
    // In the order of the wire: when this one is here, the other is not coming.
    assert_eq!(heard(&left).unwrap(), 2, "what was not named stays with the kernel");
    taken.set_nonblocking(true).unwrap();
    assert!(heard(&taken).is_err());
    process.signal(Signal::SIGTERM);
    let report = report(&process.end());
    assert_eq!((sum(&report, "packets"), &report["steering"]["received"]), (1, &2.into()));
    taken.set_nonblocking(false).unwrap();
    say(PORT, 3);
    assert_eq!(heard(&taken).unwrap(), 3);
    assert_bare(&wire.near);
}

#[test]
fn says_what_it_does_shows_each_second_and_ends_by_itself() {
    require_net!();
    let wire = wire(1);
    let process = measuring(&wire.near, &["--seconds", "4"]);
    let sent = flood(&wire, PORT, 1_000);
    let said = process.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    let announced = "ALL IP PACKETS that arrive at tide1 on queue 0 ARE CUT OFF from this machine";
    assert!(said.errors.starts_with(announced), "{said:?}");
    assert!(said.out.starts_with("second 1: "), "{said:?}");
    let redirected = format!("redirected {sent}");
    for line in ["\ntide1: ", "\nobtained by tide1:0: copy copy, ", &redirected] {
        assert!(said.out.contains(line), "{line:?} in {said:?}");
    }
    assert!(said.out.ends_with("\nevery packet is accounted for\n"), "{said:?}");
    assert_bare(&wire.near);
}

/// A refusal: complete, before anything was touched.
#[track_caller]
fn refused(end: &End, words: &[&str]) -> String {
    let said = measure(end, words).end();
    assert_bare(end);
    said.refusal().to_owned()
}

#[test]
fn the_way_of_a_default_route_is_refused_unless_told_twice() {
    require_net!();
    for destination in [IpAddr::from([0, 0, 0, 0]), "::".parse().unwrap()] {
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
        let mut netlink = wire.near.namespace.netlink().unwrap();
        netlink.add_route(destination, 0, None, wire.near.index).unwrap();
        let text = "tidegate: a default route leaves by tide1: measuring there may cut this \
                    machine off from you. Nothing was done. Who means it says it twice, by \
                    --allow-default-route and --yes-cut-me-off; missing: ";
        assert_eq!(
            refused(&wire.near, &[]),
            format!("{text}--allow-default-route, --yes-cut-me-off")
        );
        assert_eq!(refused(&wire.near, &BOTH[..1]), format!("{text}--yes-cut-me-off"));
        assert_eq!(refused(&wire.near, &BOTH[1..]), format!("{text}--allow-default-route"));
        let words = [&BOTH[..], &["--seconds", "1", "--json"]].concat();
        let report = report(&measure(&wire.near, &words).end());
        assert_eq!(report["ended"], "time");
    }
}

#[test]
fn the_way_of_the_operators_own_session_is_refused_too() {
    require_net!();
    let wire = wire(1);
    let (us, them) = (wire.near.ipv4, wire.far.ipv4);
    let ask = |session: String| {
        let mut command = tidegate(&["measure", "tide1", "--seconds", "1", "--json"]);
        command.env("SSH_CONNECTION", session);
        Process::start(&wire.near.namespace, command).end()
    };
    let said = ask(format!("{them} 50000 {us} 22"));
    let text = format!("tidegate: your session from {them} comes in by tide1: measuring there");
    assert!(said.refusal().starts_with(&text), "{said:?}");
    let elsewhere = Ipv4Addr::new(198, 18, 200, 1);
    report(&ask(format!("{elsewhere} 50000 {elsewhere} 22")));
}

#[test]
fn what_cannot_be_measured_on_is_refused_with_its_remedy() {
    require_net!();
    let wire = wire(1);
    let near = |words: &[&str]| Process::start(&wire.near.namespace, tidegate(words)).end();
    assert_eq!(
        near(&[&["measure", "lo"], &BOTH[..]].concat()).refusal(),
        "tidegate: lo is the loopback, by which this machine speaks to itself; name an interface \
         at which packets arrive"
    );
    assert_eq!(
        near(&["measure", "tide9"]).refusal(),
        "tidegate: no interface \"tide9\" in this network namespace; `ip -brief link` lists them"
    );
    let said = near(&["measure", "tide1", "--copy", "zero-copy", "--seconds", "1"]);
    let last = said.errors.lines().last().unwrap();
    assert!(last.contains("the driver of tide1 has no zero-copy for this queue"), "{said:?}");
    assert_eq!((said.code, &*said.out), (Some(1), ""));
    assert_bare(&wire.near);
    wire.near.set_down().unwrap();
    assert_eq!(
        near(&["measure", "tide1"]).refusal(),
        "tidegate: tide1 is switched off, nothing arrives there; `ip link set dev tide1 up` \
         switches it on"
    );
}
