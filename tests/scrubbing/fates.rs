//! What `stats` says of each destination, before and after, against what the stack sees.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use tidegate::lab::Wire;
use tidegate_dataplane::steer::{Outcome, State};

use super::senders::{budget, frames, sent};
use super::{
    Duration, Flood, ROOMY, Stage, ask_from, config, counted, law, nft, seen, server, soon, talk,
    tcp, thread,
};
use crate::require;
use crate::under_load::PORT;

/// Ports of the flood: dropped by the shard, by the program, over a limit, let through by the shard,
/// and by the program.
const RULE: u8 = 9;
const PROMOTED: u8 = 10;
const LIMITED: u8 = 11;
const FREE: u8 = 12;
const PROVEN: u8 = 13;

/// Packets that are sent of each.
const PIECE: u64 = 3_000;

/// A host behind the near end, which does not forward: the stack sees what is for it, and no more.
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 77);

fn shield(wire: &Wire, behind: &str) -> String {
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
proven: pass for 60s per source when udp.dstport == {PROVEN}
limited: limit 10 packets/s burst 10 per destination when udp.dstport == {LIMITED}
'''
[[service.options.protect]]
destination = \"{v4}\"
engage = \"on\"
[[service.options.protect]]
destination = \"{BEHIND}\"
engage = \"{behind}\"
"
    )
}

/// Datagrams to this port, from sources of its own.
fn flood(wire: &Wire, to: Ipv4Addr, port: u8) -> Flood {
    Flood::of_frames(&wire.far, frames(wire, port, (to, port.into()))).unwrap()
}

/// A piece of them.
fn send(wire: &Wire, to: Ipv4Addr, port: u8) {
    sent(wire, frames(wire, port, (to, port.into())), PIECE);
}

impl Stage {
    /// Counters and gauges of a destination, by its place in the config, in the table of this name.
    fn row(&self, place: usize, table: &str) -> BTreeMap<String, u64> {
        let tables = self.program.desk().attended()[0].operator.tables();
        let mut table = tables.into_iter().find(|it| it.name == table).unwrap();
        let row = table.rows.swap_remove(place);
        row.counters.into_iter().chain(row.gauges).collect()
    }

    /// Waits until all that came for a destination is told, to the packet and to the octet, and is
    /// what its stack saw of it; so many of it were dropped by verdicts.
    #[track_caller]
    fn agrees(&self, place: usize, dropped: u64, stack: impl Fn() -> (u64, u64)) {
        // An interface counts without its header.
        const HEADER: u64 = 14;
        let told = || ["destination", "fate"].map(|table| self.row(place, table));
        let agree = || {
            let [destination, fate] = told();
            let (packets, octets) = stack();
            fate["after"] == packets
                && fate["after_octets"] == octets + HEADER * packets
                && fate["dropped_in_xdp"] == dropped
                && fate["redirected"] + fate["passed"] + dropped == destination["packets"]
        };
        assert!(soon(agree), "{:?}, {dropped} dropped, and the stack saw {:?}", told(), stack());
    }

    /// A rate is what the stack sees of a destination in a second.
    #[track_caller]
    fn rate_agrees(&self, place: usize, stack: impl Fn() -> (u64, u64)) {
        let said_and_seen = || {
            let (at, before) = (Instant::now(), stack().0);
            thread::sleep(Duration::from_millis(2_500));
            let took = u64::try_from(at.elapsed().as_millis()).unwrap();
            let seen = (stack().0 - before) * 1_000 / took;
            (self.row(place, "destination")["after_packets_per_second"], seen)
        };
        // A machine that is busy elsewhere changes the rate within the time that it is measured in.
        let mut tries = (0..8).map(|_| said_and_seen());
        let agree = |&(said, seen): &(u64, u64)| seen > 1_000 && said.abs_diff(seen) * 10 <= seen;
        assert!(tries.any(|rates| agree(&rates)), "rates differ by more than a tenth, eight times");
    }
}

/// Counts what comes for an address, packets and octets of IP.
fn counter(wire: &Wire, address: Ipv4Addr) -> impl Fn() -> (u64, u64) {
    let near = &wire.near.namespace;
    let name = format!("of{}", address.to_bits());
    let table = format!(
        "table netdev {name} {{
            counter mine {{}}
            chain arrives {{
                type filter hook ingress device \"tide1\" priority 1;
                ip daddr {address} counter name mine
            }}
        }}"
    );
    assert!(nft(near, &table).is_some(), "nft counts nothing at an interface");
    let near = near.clone();
    move || {
        let text = nft(&near, &format!("list counter netdev {name} mine")).unwrap();
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
    let one = wire.near.ipv4;
    let mine = counter(&wire, one);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &shield(&wire, "off")));
    let near = &wire.near.namespace;
    let (_server, _echo) = (server(&wire), tcp::echo(near, (one, PORT).into()).unwrap());
    assert!(soon(|| stage.state() == Some(State::Engaged)));
    // Users: of a connection, which the program passes by its socket, and of datagrams.
    let (asked, talked) = (ask_from(&wire, 0, PORT, 500), talk(&wire, 200));
    for port in [RULE, LIMITED, FREE] {
        send(&wire, one, port);
    }
    let dropped_in_xdp = || stage.outcome(Outcome::DropVerdict);
    assert!(soon(|| {
        send(&wire, one, PROMOTED);
        dropped_in_xdp() >= PIECE
    }));
    let _ = (asked.wait().unwrap(), talked.wait().unwrap());

    stage.agrees(0, dropped_in_xdp(), &mine);
    let fate = stage.row(0, "fate");
    let stalled = stage.outcome(Outcome::PassStalled);
    assert!(fate["passed"] >= 200, "by its socket: {fate:?}");
    // What the program let by while the shard had no processor was not judged.
    assert!(fate["dropped_limit"] + stalled > PIECE / 2, "{fate:?}");
    assert!(fate["dropped_rule"] + stalled >= PIECE + 50, "{fate:?}");

    let flood = flood(&wire, one, FREE).start(budget(u64::MAX, 5_000)).unwrap();
    stage.rate_agrees(0, &mine);
    flood.stop().unwrap();
    let rate = || stage.row(0, "destination")["after_packets_per_second"];
    assert!(soon(|| rate() < 100), "it is over");
    assert!(seen(near, "flood") > 0);
    law(&wire, &stage.leave());
}

#[test]
fn what_remains_of_one_destination_is_exact_while_verdicts_drop_what_is_for_another() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let one = wire.near.ipv4;
    let (of_one, of_behind) = (counter(&wire, one), counter(&wire, BEHIND));
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &shield(&wire, "on")));
    let states = || stage.program.steerings()[0].states();
    assert!(soon(|| states()[..2] == [Some(State::Engaged); 2]));
    let dropped_in_xdp = || stage.outcome(Outcome::DropVerdict);
    assert!(soon(|| {
        send(&wire, one, PROMOTED);
        dropped_in_xdp() >= PIECE
    }));

    // Both at once, and both stay in the program: what verdicts drop, and what they pass.
    let floods = [flood(&wire, one, PROMOTED), flood(&wire, BEHIND, PROVEN)];
    let floods = floods.map(|flood| flood.start(budget(u64::MAX, 3_000)).unwrap());
    stage.rate_agrees(1, &of_behind);
    let rates = stage.row(0, "destination");
    assert!(rates["packets_per_second"] > 1_000, "{rates:?}");
    assert!(rates["after_packets_per_second"] * 10 < rates["packets_per_second"], "{rates:?}");
    let [_, behind] = floods.map(|flood| flood.stop().unwrap().1);
    for to in [one, BEHIND] {
        for port in [RULE, FREE] {
            send(&wire, to, port);
        }
    }
    assert!(stage.outcome(Outcome::PassVerdict) >= PIECE);
    let dropped = dropped_in_xdp();
    stage.agrees(0, dropped, &of_one);
    stage.agrees(1, 0, &of_behind);
    assert_eq!(stage.row(1, "destination")["packets"], behind.taken() + 2 * PIECE);

    // Who is known from there is dropped here, and counted here.
    send(&wire, BEHIND, PROMOTED);
    stage.agrees(0, dropped, &of_one);
    stage.agrees(1, PIECE, &of_behind);
    assert_eq!(dropped_in_xdp(), dropped + PIECE);
    law(&wire, &stage.leave());
}
