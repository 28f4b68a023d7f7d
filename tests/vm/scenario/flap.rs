//! The link goes down under load and comes back, in three ways. Nobody restarts anything.

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::lab::{End, Wire};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Flooded, Left, law, ports, service, steered};
use crate::guest::cards::{await_links, soon, wire};
use crate::guest::configs::{camera, interface, monitor, shield};
use crate::guest::program::Program;
use crate::guest::traffic::{ask, flood, server};
use crate::guest::{cable, step};
use crate::machine::Nics;

/// How long it stays down: a video of 25 frames a second misses several.
const OUTAGE: Duration = Duration::from_millis(500);

const FLOOD_PACKETS: u64 = 1_000;
const QUESTIONS: u32 = 50;

pub(super) struct Flap;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// After each outage, with nothing but this under way.
    after: Vec<After>,
    /// Frames of video that were right, before the first and after each outage.
    verified: Vec<u64>,
    near: Snapshot,
    far: Snapshot,
    near_left: Left,
    far_left: Left,
}

/// What a fresh batch of packets met.
#[derive(Debug, Serialize, Deserialize)]
struct After {
    flooded: Flooded,
    asked: Asked,
    /// What steering redirected, and what the shield ended and gave back, of it.
    redirected: u64,
    spoofed: u64,
    reinjected: u64,
}

/// The ways in which a link goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// `ip link set down` on our side.
    Near,
    /// The same on the other.
    Far,
    /// The cable.
    Cable,
}

impl Play for Flap {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(1);
        let _server = server(&wire);
        step("the programs");
        let far_config = interface(&wire.far, "") + &monitor(&wire);
        let far = Program::start(&wire.far.namespace, "far", &far_config);
        let near_config = interface(&wire.near, "") + &shield(&wire, "") + &camera(&wire, "");
        let near = Program::start(&wire.near.namespace, "near", &near_config);
        let right = || service(&far.now(), "monitor").counters["frames_verified"];
        assert!(soon(|| right() > 10), "there is no video");
        let (mut verified, mut after) = (vec![right()], Vec::new());
        for way in [Way::Near, Way::Far, Way::Cable] {
            step(&format!("{way:?} goes"));
            let load = flood(&wire, u64::MAX);
            thread::sleep(OUTAGE);
            outage(&wire, way);
            step("and is back");
            drop(load);
            let before = right();
            assert!(soon(|| right() > before + 20), "there is no video any more: {:#?}", far.now());
            verified.push(right());
            after.push(fresh(&wire, &near));
        }
        step("the ends");
        // The sender first, so that the receiver has all of it.
        let near_quiet = still(&near);
        let near_left = near.leave();
        let far_quiet = far.quiet();
        let far_left = far.leave();
        Facts { after, verified, near: near_quiet, far: far_quiet, near_left, far_left }
    }

    fn judge(_: Nics, facts: Facts) {
        for (after, way) in facts.after.iter().zip(["near", "far", "cable"]) {
            let questions = u64::from(QUESTIONS);
            assert_eq!(after.flooded, Flooded { taken: FLOOD_PACKETS, refused: 0 }, "{way}");
            assert_eq!(
                after.asked,
                Asked { sent: questions, answered: questions, odd: 0 },
                "{way}: {after:?}"
            );
            assert_eq!(after.redirected, FLOOD_PACKETS + questions, "{way}: {after:?}");
            assert_eq!(after.spoofed, FLOOD_PACKETS, "{way}: {after:?}");
            assert_eq!(after.reinjected, questions, "{way}: {after:?}");
        }
        law(&facts.far);
        facts.near_left.in_order();
        facts.far_left.in_order();
        let (monitor, camera) = (service(&facts.far, "monitor"), service(&facts.near, "camera"));
        assert_eq!(monitor.counters["frames_wrong"], 0);
        assert!(camera.counters["frames_sent"] > monitor.counters["frames_verified"]);
        let _ = ports(&facts.near);
    }
}

fn outage(wire: &Wire, way: Way) {
    let down = |end: &End| !end.link().unwrap().running;
    match way {
        Way::Near | Way::Far => {
            let end = if matches!(way, Way::Near) { &wire.near } else { &wire.far };
            end.set_down().unwrap();
            thread::sleep(OUTAGE);
            end.set_up().unwrap();
        }
        Way::Cable => {
            cable(0, false);
            assert!(soon(|| down(&wire.near)), "the cable cannot be pulled");
            thread::sleep(OUTAGE);
            cable(0, true);
        }
    }
    await_links(wire);
}

/// Sends a batch of packets of both kinds, and counts what becomes of them.
fn fresh(wire: &Wire, near: &Program) -> After {
    let count = |snapshot: &Snapshot| {
        let shield = service(snapshot, "shield");
        (steered(snapshot, "redirected"), shield.drops["rule"], shield.stats.settled_reinject)
    };
    let before = count(&still(near));
    let flood = flood(wire, FLOOD_PACKETS);
    let asked = ask(wire, QUESTIONS).wait().unwrap();
    let (_, flooded) = flood.wait().unwrap();
    // What does not come in time is missed by the judge.
    let came = || steered(&near.now(), "redirected") - before.0;
    let _ = soon(|| came() >= FLOOD_PACKETS + u64::from(QUESTIONS));
    let after = count(&still(near));
    After {
        flooded: flooded.into(),
        asked: asked.into(),
        redirected: after.0 - before.0,
        spoofed: after.1 - before.1,
        reinjected: after.2 - before.2,
    }
}

/// What it says when it receives nothing any more; the video that it sends goes on.
fn still(near: &Program) -> Snapshot {
    near.quiet_by(|snapshot| (snapshot.steering[0].counters["received"], ports(snapshot).settled()))
}
