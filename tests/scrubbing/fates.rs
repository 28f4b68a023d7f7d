//! What `stats` says of each destination, before and after, against what the stack sees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tidegate::lab::Wire;
use tidegate::lab::flood::Sent;
use tidegate_dataplane::steer::{self, State};

use super::promotion::frames;
use super::{
    Budget, Duration, Flood, NonZeroU64, ROOMY, Stage, ask_from, config, counted, law, nft, seen,
    server, soon, talk, tcp, thread,
};
use crate::require;
use crate::under_load::PORT;

/// Ports of the flood: dropped by the shard, by the program, over a limit, and let through.
const RULE: u16 = 9;
const PROMOTED: u16 = 10;
const LIMITED: u16 = 11;
const FREE: u16 = 12;

/// Packets that are sent of each.
const PIECE: u64 = 3_000;

fn shield(wire: &Wire) -> String {
    let v4 = wire.near.ipv4;
    format!(
        "
[[service]]
name = \"shield\"
kind = \"scrub\"
held_frames_max = 8192
[service.options]
rules = '''
rule: drop when udp.dstport == {RULE}
promoted: drop for 60s per source when udp.dstport == {PROMOTED}
limited: limit 10 packets/s burst 10 per destination when udp.dstport == {LIMITED}
'''
[[service.options.protect]]
destination = \"{v4}\"
engage = \"on\"
[[service.options.protect]]
destination = \"198.18.255.0/24\"
engage = \"off\"
"
    )
}

/// A flood to this port, from sources of its own.
fn send(wire: &Wire, port: u16, packets: u64) -> Sent {
    let budget = Budget {
        packets,
        time: Duration::from_secs(20),
        packets_per_second: NonZeroU64::new(10_000),
        processor: None,
    };
    let mut own: Vec<Vec<u8>> = frames(wire, port).to_vec();
    for frame in &mut own {
        // 198.19.0.x becomes 198.19.port.x; the header's sum with it.
        let sum = u16::from_be_bytes([frame[24], frame[25]]);
        let more = u32::from(!sum) + u32::from(port << 8);
        let more = (more & 0xffff) + (more >> 16);
        frame[28] = u8::try_from(port).unwrap();
        frame[24..26].copy_from_slice(&(!u16::try_from(more).unwrap()).to_be_bytes());
    }
    Flood::of_frames(&wire.far, Arc::from(own)).unwrap().run(&budget).unwrap()
}

impl Stage {
    /// Counters and gauges of the flooded destination in the table of this name.
    fn row(&self, table: &str) -> BTreeMap<String, u64> {
        let tables = self.program.desk().attended()[0].operator.tables();
        let table = tables.into_iter().find(|it| it.name == table).unwrap();
        let row = table.rows.into_iter().next().unwrap();
        row.counters.into_iter().chain(row.gauges).collect()
    }
}

/// Counts what is for the protected address, packets and octets of IP.
fn mine(wire: &Wire) -> impl Fn() -> (u64, u64) {
    let (near, v4) = (&wire.near.namespace, wire.near.ipv4);
    let table = format!(
        "table netdev mine {{
            counter mine {{}}
            chain arrives {{
                type filter hook ingress device \"tide1\" priority 1;
                ip daddr {v4} counter name mine
            }}
        }}"
    );
    assert!(nft(near, &table).is_some(), "nft counts nothing at an interface");
    let near = near.clone();
    move || {
        let text = nft(&near, "list counter netdev mine mine").unwrap();
        let number = |word: &str| {
            let number = text.split_once(word).unwrap().1.split_whitespace().next().unwrap();
            number.parse().unwrap()
        };
        (number("packets "), number("bytes "))
    }
}

#[test]
fn what_remains_of_a_destination_is_what_its_stack_sees() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let mine = mine(&wire);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &shield(&wire)));
    let near = &wire.near.namespace;
    let (_server, _echo) = (server(&wire), tcp::echo(near, (wire.near.ipv4, PORT).into()).unwrap());
    assert!(soon(|| stage.state() == Some(State::Engaged)));
    // Users: of a connection, which the program passes by its socket, and of datagrams.
    let (asked, talked) = (ask_from(&wire, 0, PORT, 500), talk(&wire, 200));
    for port in [RULE, LIMITED, FREE] {
        send(&wire, port, PIECE);
    }
    let dropped_in_xdp = || stage.outcome(steer::Outcome::DropVerdict);
    assert!(soon(|| {
        send(&wire, PROMOTED, PIECE);
        dropped_in_xdp() >= PIECE
    }));
    let _ = (asked.wait().unwrap(), talked.wait().unwrap());

    // All is told, to the packet and to the octet. An interface counts without its header.
    const HEADER: u64 = 14;
    let told = || (stage.row("destination"), stage.row("fate"));
    let agree = || {
        let (destination, fate) = told();
        let (packets, octets) = mine();
        fate["after"] == packets
            && fate["after_octets"] == octets + HEADER * packets
            && fate["redirected"] + fate["passed"] + fate["dropped_in_xdp"]
                == destination["packets"]
            && fate["dropped_in_xdp"] == dropped_in_xdp()
    };
    assert!(soon(agree), "{:?}, and the stack saw {:?}", told(), mine());
    let (_, fate) = told();
    let stalled = stage.outcome(steer::Outcome::PassStalled);
    assert!(fate["passed"] >= 200, "by its socket: {fate:?}");
    // What the program let by while the shard had no processor was not judged.
    assert!(fate["dropped_limit"] + stalled > PIECE / 2, "{fate:?}");
    assert!(fate["dropped_rule"] + stalled >= PIECE + 50, "{fate:?}");
    assert!(!fate.contains_key("unsplit"), "{fate:?}");

    // A rate is what the stack sees of it in a second.
    let flood = Flood::of_frames(&wire.far, frames(&wire, FREE)).unwrap();
    let budget = Budget {
        packets: u64::MAX,
        time: Duration::from_secs(60),
        packets_per_second: NonZeroU64::new(5_000),
        processor: None,
    };
    let flood = flood.start(budget).unwrap();
    let said_and_seen = || {
        let (at, before) = (Instant::now(), mine().0);
        thread::sleep(Duration::from_millis(2_500));
        let seen = (mine().0 - before) * 1_000 / u64::try_from(at.elapsed().as_millis()).unwrap();
        (stage.row("destination")["after_packets_per_second"], seen)
    };
    // A machine that is busy elsewhere changes the rate within the time that it is measured in.
    let mut tries = (0..8).map(|_| said_and_seen());
    let agree = |&(said, seen): &(u64, u64)| seen > 1_000 && said.abs_diff(seen) * 10 <= seen;
    assert!(tries.any(|rates| agree(&rates)), "rates differ by more than a tenth, eight times");
    flood.stop().unwrap();
    assert!(soon(|| stage.row("destination")["after_packets_per_second"] < 100), "it is over");
    assert!(seen(near, "flood") > 0);
    law(&wire, &stage.leave());
}
