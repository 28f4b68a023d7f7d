//! Verdicts that the program enforces: repeat offenders end before any shard, for as long as the
//! rule stands that said so.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::lab::Wire;
use tidegate_dataplane::steer;

use super::{
    Budget, Duration, Flood, NonZeroU64, ROOMY, Stage, config, counted, law, seen, service, soon,
};
use crate::require;

/// Sources of the flood.
const SOURCES: u16 = 50;

/// Its port.
const FLOODED: u16 = 9;

/// Packets that are sent at once.
const PIECE: u64 = 2_000;

const RULES: &str = "bad: drop for 60s per source when udp.dstport == 9";

/// A datagram without a checksum.
pub(super) fn frame(wire: &Wire, source: Ipv4Addr, from: u16, to: u16) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&wire.near.mac);
    frame[6..12].copy_from_slice(&wire.far.mac);
    frame[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut frame[14..34];
    ip[0] = 0x45;
    ip[3] = 46;
    ip[8..10].copy_from_slice(&[64, 17]);
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&wire.near.ipv4.octets());
    let words = ip.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum = words.sum::<u32>();
    // Folded once it fits: ten words.
    let sum = !((sum & 0xffff) + (sum >> 16));
    ip[10..12].copy_from_slice(&sum.to_be_bytes()[2..]);
    frame[34..36].copy_from_slice(&from.to_be_bytes());
    frame[36..38].copy_from_slice(&to.to_be_bytes());
    frame[39] = 26;
    frame
}

/// A datagram to this port, of each source.
pub(super) fn frames(wire: &Wire, port: u16) -> Arc<[Vec<u8>]> {
    let frame = |source: u16| {
        let [high, low] = source.to_be_bytes();
        frame(wire, Ipv4Addr::new(198, 19, high, low), 4000, port)
    };
    (1..=SOURCES).map(frame).collect()
}

/// So many packets, these in turn, all of them on the wire when it returns.
pub(super) fn sent(wire: &Wire, frames: Arc<[Vec<u8>]>, packets: u64) {
    let budget = Budget {
        packets,
        time: Duration::from_secs(20),
        packets_per_second: NonZeroU64::new(10_000),
        processor: None,
    };
    let sent = Flood::of_frames(&wire.far, frames).unwrap().run(&budget).unwrap();
    assert_eq!((sent.offered, sent.refused), (packets, 0));
}

/// A piece of the flood.
fn send(wire: &Wire) {
    sent(wire, frames(wire, FLOODED), PIECE);
}

fn shield(wire: &Wire) -> String {
    let v4 = wire.near.ipv4;
    format!(
        "
[[service]]
name = \"shield\"
kind = \"scrub\"
held_frames_max = 8192
[service.options]
rules = '{RULES}'
[[service.options.protect]]
destination = \"{v4}\"
engage = \"on\"
"
    )
}

impl Stage {
    pub(super) fn ask(&self, request: &Value) -> Value {
        self.program.desk().attended()[0].operator.answer(request).unwrap()
    }

    fn replace(&self, text: &str) {
        let request = json!({ "command": "rules", "do": "replace", "text": text, "name": "test" });
        self.ask(&request);
    }

    /// What a rule ended: on shards, and in the program.
    pub(super) fn hits(&self, name: &str) -> (u64, u64) {
        let answer = self.ask(&json!({ "command": "rules", "do": "hits" }));
        let rules = answer["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["name"] == name).unwrap();
        (rule["packets"].as_u64().unwrap(), rule["promoted"].as_u64().unwrap())
    }

    pub(super) fn outcome(&self, outcome: steer::Outcome) -> u64 {
        self.program.steerings()[0].counters().unwrap().get(outcome).packets
    }
}

#[test]
fn repeat_offenders_end_in_the_program_while_their_rule_stands() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &shield(&wire)));
    let dropped = || stage.outcome(steer::Outcome::DropVerdict);
    assert!(soon(|| stage.state() == Some(steer::State::Engaged)));

    // First judged, then not even seen.
    send(&wire);
    assert!(soon(|| {
        send(&wire);
        dropped() >= PIECE
    }));
    let judged = stage.hits("bad").0;
    let before = dropped();
    send(&wire);
    assert_eq!(dropped() - before, PIECE, "all sources are known");
    assert_eq!(stage.hits("bad"), (judged, before + PIECE), "by its name, whoever ended them");
    assert_eq!(seen(&wire.near.namespace, "flood"), stage.outcome(steer::Outcome::PassStalled));

    // It is the same rule in another set: what it did stays, what was decided is decided anew.
    stage.replace(&format!("other: drop when udp.dstport == 1\n{RULES}"));
    assert_eq!(stage.hits("bad"), (judged, before + PIECE));
    send(&wire);
    assert!(soon(|| stage.hits("bad").0 >= judged + u64::from(SOURCES)), "judged again");
    assert!(soon(|| {
        send(&wire);
        dropped() >= before + 2 * PIECE
    }));

    // Gone: no verdict of it holds.
    stage.replace("other: drop when udp.dstport == 1");
    let (last, passed) = (dropped(), seen(&wire.near.namespace, "flood"));
    send(&wire);
    let came = || seen(&wire.near.namespace, "flood") - passed;
    assert!(soon(|| came() == PIECE), "{} of {PIECE} reached the stack", came());
    assert_eq!(dropped(), last);

    // Another rule of that name has done nothing yet.
    stage.replace(RULES);
    assert_eq!(stage.hits("bad"), (0, 0));
    assert!(soon(|| {
        send(&wire);
        stage.hits("bad").1 > 0
    }));
    let outcome = stage.leave();
    assert!(service(&outcome.snapshot, "shield").drops["rule"] > 0);
    law(&wire, &outcome);
}
