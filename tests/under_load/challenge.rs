//! Challenges: a kernel that connects answers them, a flood of invented sources does not.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use tidegate::lab::flood::{self, Budget, Family, Flood, Kind};
use tidegate::lab::witness::tcp;

use super::{PACE, PORT, ROOMY, Stage, WireOptions, config, lost, ports, service, soon, wire};
use crate::require;

/// The rules that belong together against floods of TCP.
const RULES: &str = r#"
rules = """
    syn:         challenge when tcp.flags.syn and not tcp.flags.ack
    unsolicited: drop when tcp and not known and not verified and not (tcp.flags.syn and not tcp.flags.ack)
"""
"#;

fn challenging(wire: &tidegate::lab::Wire) -> String {
    let (v4, v6) = (wire.near.ipv4, wire.near.ipv6);
    format!(
        r#"
[[service]]
name = "shield"
kind = "scrub"
held_frames_max = 8192
selectors = [
    {{ destination = "{v4}", protocol = "tcp", ports = {PORT} }},
    {{ destination = "{v6}", protocol = "tcp", ports = {PORT} }},
]
[service.options]
{RULES}
"#
    )
}

#[test]
fn a_kernel_answers_its_challenge_and_connects_under_a_flood_of_syns_that_do_not() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &challenging(&wire)));
    let floods = [Family::Ipv4, Family::Ipv6].map(|family| {
        let options = flood::Options { family, ..flood::Options::new(Kind::Syn { port: PORT }) };
        let budget = Budget {
            packets: u64::MAX,
            time: Duration::from_secs(60),
            packets_per_second: NonZeroU64::new(PACE / 4),
            processor: None,
        };
        Flood::new(&wire.far, &options).unwrap().start(budget).unwrap()
    });
    assert!(soon(|| floods.iter().all(|flood| flood.offered() > 1_000)));
    let (near, far) = (&wire.near.namespace, &wire.far.namespace);
    for address in [IpAddr::from(wire.near.ipv4), wire.near.ipv6.into()] {
        let at = SocketAddr::from((address, PORT));
        let listener = tcp::echo(near, at).unwrap();
        let patience = Duration::from_secs(5);
        let talk = tcp::Exchange { messages: 200, octets: 2_000, per_second: 0, patience };
        for _ in 0..3 {
            let talked = tcp::exchange(far, at, talk).unwrap().wait().unwrap();
            assert_eq!((talked.sent, talked.delivered, talked.wrong), (200, 200, 0));
        }
        listener.stop().unwrap();
    }
    let offered: u64 = floods.into_iter().map(|flood| flood.stop().unwrap().1.offered).sum();
    // Nobody but the client was verified, once for each of its addresses where nothing was lost.
    let outcome = stage.leave();
    let shield = service(&outcome.snapshot, "shield");
    let answers = shield.drops["answer"];
    assert!((2..=6).contains(&answers), "{shield:#?}");
    let challenged = shield.counters["challenged"] + shield.drops["challenge"];
    let named = lost(&wire, &outcome.snapshot);
    assert!(
        challenged <= offered + answers && offered - challenged.min(offered) <= named,
        "{shield:#?}"
    );
    assert_eq!(
        shield.stats.rx_frames,
        shield.stats.settled_transmit + shield.stats.settled_reinject + shield.stats.settled_drop
    );
}

#[test]
fn a_flood_of_syns_leaves_nothing_in_the_kernel() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { ipv6: false, ..WireOptions::default() });
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &challenging_v4(&wire)));
    let at = SocketAddr::from((wire.near.ipv4, PORT));
    let listener = tcp::echo(&wire.near.namespace, at).unwrap();
    let mut flood = Flood::new(&wire.far, &flood::Options::new(Kind::Syn { port: PORT })).unwrap();
    let budget = Budget {
        packets: 20_000,
        time: Duration::from_secs(20),
        packets_per_second: NonZeroU64::new(PACE / 2),
        processor: None,
    };
    let sent = flood.run(&budget).unwrap().taken();
    let port = || ports(&stage.program.snapshot(), "tide1");
    assert!(soon(|| port().rx_frames + lost(&wire, &stage.program.snapshot()) >= sent));
    // SYN_RECV is 03 in the kernel's table of sockets.
    let table =
        wire.near.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap());
    let half_open =
        table.unwrap().lines().filter(|line| line.split_whitespace().nth(3) == Some("03")).count();
    assert_eq!(half_open, 0);
    listener.stop().unwrap();
    let outcome = stage.leave();
    let shield = service(&outcome.snapshot, "shield");
    assert_eq!((shield.stats.settled_reinject, shield.drops["answer"]), (0, 0), "{shield:#?}");
    let challenged = shield.counters["challenged"] + shield.drops["challenge"];
    assert_eq!(challenged, shield.stats.rx_frames, "{shield:#?}");
}

/// As [`challenging`], of a wire without IPv6.
fn challenging_v4(wire: &tidegate::lab::Wire) -> String {
    let v6 = format!("    {{ destination = \"{}\", protocol", wire.near.ipv6);
    challenging(wire).lines().filter(|line| !line.starts_with(&v6)).collect::<Vec<_>>().join("\n")
}
