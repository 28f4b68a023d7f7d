//! A flood that has nothing in common: held to what the operator says that the destination bears.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::json;
use tidegate::lab::Wire;
use tidegate_dataplane::steer::{self, State};

use super::senders::{budget, datagram};
use super::{
    Duration, Flood, PACE, ROOMY, Stage, config, counted, law, seen, shield, soon, talk, tcp,
    thread,
};
use crate::require;
use crate::under_load::PORT;

/// Different packets of it.
const FRAMES: u16 = 16_384;

/// What the operator says, a second.
const BEARS: u64 = 1_000;

/// Datagrams with random ports, lengths and payload, each of a source of its own.
fn frames(wire: &Wire) -> Arc<[Vec<u8>]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let frame = |number: u16| {
        let payload = 18 + random() % 600;
        // Ports of no service whose shape the rules know, and not the users'.
        let mut port = || u16::try_from(20_000 + random() % 40_000).unwrap();
        let (from, to) = (port(), port());
        let [high, low] = number.to_be_bytes();
        let from = (Ipv4Addr::new(198, 19, high, low), from).into();
        let payload: Vec<u8> = (0..payload).map(|_| random().to_be_bytes()[0]).collect();
        datagram(wire, [from, (wire.near.ipv4, to).into()], 64, &payload)
    };
    (0..FRAMES).map(frame).collect()
}

#[test]
fn what_has_nothing_in_common_is_held_to_what_the_destination_bears() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let near = &wire.near.namespace;
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &shield(&wire)));
    let _echo = tcp::echo(near, (wire.near.ipv4, PORT).into()).unwrap();
    let talked = talk(&wire, 1_400);
    let flood =
        Flood::of_frames(&wire.far, frames(&wire)).unwrap().start(budget(u64::MAX, PACE)).unwrap();
    assert!(soon(|| stage.state() == Some(State::Engaged)));
    let rule = format!(
        "bears: limit {BEARS} packets/s burst {BEARS} per destination when udp and not known"
    );
    let request = json!({ "command": "rules", "do": "add", "rule": rule, "place": "last" });
    stage.program.desk().attended()[0].operator.answer(&request).unwrap();

    let stalled = || stage.outcome(steer::Outcome::PassStalled);
    let (began, offered) = (std::time::Instant::now(), flood.offered());
    let (passed, unjudged) = (seen(near, "flood"), stalled());
    thread::sleep(Duration::from_secs(3));
    let passed = seen(near, "flood") - passed - (stalled() - unjudged);
    let took = began.elapsed().as_millis();
    let offered = flood.offered() - offered;
    // Its burst, and what it gets meanwhile; what was on its way when the rule came.
    let most = BEARS + BEARS * u64::try_from(took).unwrap() / 1_000 + 1_000;
    assert!(offered > PACE, "there was no flood, {offered}");
    assert!(passed <= most, "{passed} of {offered} in {took} ms, at most {most}");
    assert!(passed >= BEARS, "users have their share: {passed} of {offered}");
    flood.stop().unwrap();
    let talked = talked.wait().unwrap();
    assert_eq!((talked.sent, talked.delivered, talked.wrong), (1_400, 1_400, 0));
    law(&wire, &stage.leave());
}
