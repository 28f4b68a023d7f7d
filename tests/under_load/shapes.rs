//! Floods of every shape that the lab has: none of their packets is nowhere, none comes through that
//! a rule ends, and those who mean it are answered.

use std::num::NonZeroU64;
use std::time::Duration;

use tidegate::lab::flood::{self, Budget, Family, Flood, Kind, Shape};

use super::{
    PORT, ROOMY, Stage, WireOptions, all_answered, ask, config, lost, ports, scrub, server,
    service, soon, wire,
};
use crate::require;

/// Packets of each shape and family.
const PACKETS: u64 = 2_000;

#[test]
fn floods_of_every_shape_are_accounted_for_while_questions_are_answered() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    // All that comes to the near end's addresses, by whatever protocol, in whatever piece.
    let all = scrub(&wire).replace(&format!(", protocol = \"udp\", ports = {PORT}"), "");
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &all));
    let came = || ports(&stage.program.snapshot(), "tide1").rx_frames;
    let mut sent = 0;
    let mut to_itself = 0;
    let asker = ask(&wire, 1_000);
    for shape in Shape::ALL {
        for family in [Family::Ipv4, Family::Ipv6] {
            let kind = Kind::Shaped { shape, port: PORT };
            let options = flood::Options { family, ..flood::Options::new(kind) };
            let budget = Budget {
                packets: PACKETS,
                time: Duration::from_secs(20),
                packets_per_second: NonZeroU64::new(40_000),
                processor: None,
            };
            let taken = Flood::new(&wire.far, &options).unwrap().run(&budget).unwrap().taken();
            sent += taken;
            to_itself += if shape == Shape::Land { taken } else { 0 };
        }
    }
    let asked = asker.wait().unwrap();
    assert!(soon(|| came() >= sent), "{} of {sent}", came());
    let heard = server.heard(flood::MARK);
    let outcome = stage.leave();
    let shield = service(&outcome.snapshot, "shield");
    let named = lost(&wire, &outcome.snapshot);
    all_answered(&asked, named);
    // Every packet has a source that a rule ends, or is ended because it lies, but for those that
    // say that they come from here.
    let ended = shield.stats.settled_drop;
    assert!(sent - to_itself - ended <= named, "{sent} - {to_itself} - {ended}: {shield:#?}");
    assert!(shield.drops["malformed"] > 0, "{shield:#?}");
    assert_eq!(heard, 0, "datagrams of a flood came to the server");
}
