//! Reinjection through the whole program: the kernel takes a packet as if it had just arrived.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tidegate::lab::flood::{self, Budget, Flood, Kind};
use tidegate::lab::witness::tcp;
use tidegate::lab::{Namespace, Wire};

use super::{
    PACE, PORT, ROOMY, Stage, WireOptions, config, lost, ports, scrub, service, soon, wire,
};
use crate::require;

const RULES: &str = "table inet seen {
    counter questions {}
    chain before {
        type filter hook prerouting priority raw;
        iifname \"tide1\" udp dport 5300 counter name questions
    }
}";

/// What `nft` answers to `script`; nothing where there is no `nft`, or it may do nothing.
pub(crate) fn nft(namespace: &Namespace, script: &str) -> Option<String> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = namespace.spawn(&mut command).ok()?;
    child.stdin.take()?.write_all(script.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Packets in the counter of [`RULES`].
fn seen(namespace: &Namespace) -> Option<u64> {
    let text = nft(namespace, "list counter inet seen questions")?;
    text.split_once("packets ")?.1.split_whitespace().next()?.parse().ok()
}

/// A socket that takes only what came in by the interface.
fn bound_to_the_interface(wire: &Wire, at: IpAddr) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind((at, PORT)).unwrap();
        setsockopt(&socket, sockopt::BindToDevice, &"tide1".into()).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket
    };
    wire.near.namespace.run(open).unwrap()
}

/// Numbered datagrams, in pieces below what a wire's own queue holds.
pub(super) fn send_numbers(wire: &Wire, from: IpAddr, to: IpAddr, count: u32) {
    let work = || {
        let socket = UdpSocket::bind((from, 4000)).unwrap();
        for number in 0..count {
            let mut octets = vec![0; 4 + number as usize % 1000];
            octets[..4].copy_from_slice(&number.to_be_bytes());
            socket.send_to(&octets, SocketAddr::from((to, PORT))).unwrap();
            if number % 200 == 199 {
                thread::sleep(Duration::from_millis(5));
            }
        }
    };
    wire.far.namespace.run(work).unwrap();
}

fn all_come_in_order(wire: &Wire, from: IpAddr, to: IpAddr, count: u32) {
    let socket = bound_to_the_interface(wire, to);
    send_numbers(wire, from, to, count);
    let mut octets = [0; 2048];
    for number in 0..count {
        let (got, sender) = socket.recv_from(&mut octets).unwrap_or_else(|error| {
            panic!("datagram {number} to {to}: {error}");
        });
        assert_eq!(u32::from_be_bytes(octets[..4].try_into().unwrap()), number);
        assert_eq!(got, 4 + number as usize % 1000);
        assert_eq!(sender, SocketAddr::from((from, 4000)));
    }
}

#[test]
fn what_passes_the_scrubber_arrives_by_the_interface_in_order_and_once() {
    require_net!();
    let _alone = require::alone();
    const COUNT: u32 = 2_000;
    let wire = wire(&WireOptions::default());
    for interface in ["all", "tide1"] {
        wire.near.namespace.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "1").unwrap();
    }
    let counts = nft(&wire.near.namespace, RULES).is_some();
    if !counts {
        require::without("nft counts nothing");
    }
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    all_come_in_order(&wire, wire.far.ipv4.into(), wire.near.ipv4.into(), COUNT);
    all_come_in_order(&wire, wire.far.ipv6.into(), wire.near.ipv6.into(), COUNT);
    let both = u64::from(2 * COUNT);
    if counts {
        assert!(soon(|| seen(&wire.near.namespace) == Some(both)));
    }
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    assert_eq!((port.rx_frames, port.settled_reinject), (both, both));
    assert_eq!((port.settled_drop, port.reinject_refused_packets), (0, 0));
}

#[test]
fn a_source_that_strict_filtering_refuses_is_refused_after_the_scrubber_too() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { ipv6: false, ..WireOptions::default() });
    for interface in ["all", "tide1"] {
        wire.near.namespace.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "1").unwrap();
    }
    let counts = nft(&wire.near.namespace, RULES).is_some();
    if !counts {
        require::without("nft counts nothing");
    }
    // Passes everything, the flood's sources included, to which the near end has no route.
    let rules = scrub(&wire).replace(": drop when", ": pass when");
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &rules));
    let socket = bound_to_the_interface(&wire, wire.near.ipv4.into());
    let options = flood::Options::new(Kind::Udp { port: PORT });
    let mut spoofed = Flood::new(&wire.far, &options).unwrap();
    let budget = Budget {
        packets: 500,
        time: Duration::from_secs(10),
        packets_per_second: NonZeroU64::new(10_000),
        processor: None,
    };
    let sent = spoofed.run(&budget).unwrap().taken();
    assert!(soon(|| ports(&stage.program.snapshot(), "tide1").settled_reinject == sent));
    if counts {
        assert!(soon(|| seen(&wire.near.namespace) == Some(sent)));
    }
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 64]).is_err(), "taken though no route leads back");
    stage.leave();
}

/// TCP to [`PORT`] comes to the scrubber, over both Internet protocols.
pub(super) fn scrub_tcp(wire: &Wire) -> String {
    scrub(wire).replace("protocol = \"udp\"", "protocol = \"tcp\"")
}

#[test]
fn connections_through_the_scrubber_carry_bulk_data_while_others_only_ask_for_them() {
    require_net!();
    let _alone = require::alone();
    const OCTETS: u64 = 4 << 20;
    let wire = wire(&WireOptions::default());
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub_tcp(&wire)));
    let kind = Kind::Syn { port: PORT };
    let budget = Budget {
        packets: u64::MAX,
        time: Duration::from_secs(60),
        packets_per_second: NonZeroU64::new(PACE),
        processor: None,
    };
    let flood = Flood::new(&wire.far, &flood::Options::new(kind)).unwrap().start(budget).unwrap();
    assert!(soon(|| flood.offered() > 1_000));
    let (near, far) = (&wire.near.namespace, &wire.far.namespace);
    for address in [IpAddr::from(wire.near.ipv4), wire.near.ipv6.into()] {
        let at = SocketAddr::from((address, PORT));
        let swallower = tcp::swallow(near, at).unwrap();
        let poured = tcp::pour(far, at, OCTETS).unwrap().wait().unwrap();
        assert!(soon(|| swallower.testimony().delivered_octets == OCTETS), "{poured:?}");
        swallower.stop().unwrap();
        let listener = tcp::echo(near, at).unwrap();
        let patience = Duration::from_secs(5);
        let talk = tcp::Exchange { messages: 200, octets: 2_000, per_second: 0, patience };
        let talked = tcp::exchange(far, at, talk).unwrap().wait().unwrap();
        assert_eq!((talked.sent, talked.delivered), (200, 200));
        listener.stop().unwrap();
    }
    let (_, sent) = flood.stop().unwrap();
    let outcome = stage.leave();
    let shield = service(&outcome.snapshot, "shield");
    assert_eq!(ports(&outcome.snapshot, "tide1").reinject_refused_packets, 0);
    // More than 1460 octets never come in one packet.
    assert!(shield.stats.settled_reinject >= 2 * OCTETS / 1460, "{shield:#?}");
    let named = lost(&wire, &outcome.snapshot);
    let stopped = shield.drops["rule"];
    assert!(stopped <= sent.offered && sent.offered - stopped <= named, "{sent:?} {shield:#?}");
}
