//! Verdicts that the program enforces: repeat offenders end before any shard, for as long as the
//! rule stands that said so.

use serde_json::{Value, json};
use tidegate::lab::Wire;
use tidegate_dataplane::steer;

use super::senders::{SOURCES, frames, sent};
use super::{ROOMY, Stage, config, counted, law, seen, service, soon};
use crate::require;

/// Its port.
const FLOODED: u16 = 9;

/// Packets that are sent at once.
const PIECE: u64 = 2_000;

const RULES: &str = "bad: drop for 60s per source when udp.dstport == 9";

/// A piece of the flood.
fn send(wire: &Wire) {
    sent(wire, frames(wire, 0, (wire.near.ipv4, FLOODED)), PIECE);
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
