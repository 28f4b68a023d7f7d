//! A shard is away for longer than its rings last: what is lost is named, and nothing is made up.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Flooded, Left, law, ports, service, steered};
use crate::guest::cards::{soon, wire};
use crate::guest::configs::{interface_of, shield};
use crate::guest::program::Program;
use crate::guest::step;
use crate::guest::traffic::{ask, flood, server};
use crate::machine::Nics;

/// Small, and still more than a card's own ring.
const RING_ENTRIES: u32 = 2048;

const FLOOD_PACKETS: u64 = 6_000;
const QUESTIONS: u32 = 50;

pub(super) struct Away;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    flooded: Flooded,
    /// After the flood, in most of which the shard was away.
    after: Snapshot,
    /// Of those who asked when it was back.
    asked: Asked,
    end: Snapshot,
    left: Left,
}

impl Play for Away {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(1);
        let _server = server(&wire);
        step("the program");
        let config =
            interface_of(&wire.near, 2 * RING_ENTRIES, RING_ENTRIES, "") + &shield(&wire, "");
        let program = Program::start(&wire.near.namespace, "away", &config);
        step("it is stopped");
        let flood = flood(&wire, FLOOD_PACKETS);
        assert!(soon(|| steered(&program.now(), "received") > 0), "no flood comes");
        program.signal(Signal::SIGSTOP);
        let (_, flooded) = flood.wait().unwrap();
        thread::sleep(Duration::from_millis(200));
        step("it goes on");
        program.signal(Signal::SIGCONT);
        let after = program.quiet();
        let asked = ask(&wire, QUESTIONS).wait().unwrap();
        let end = program.quiet();
        Facts { flooded: flooded.into(), after, asked: asked.into(), end, left: program.leave() }
    }

    fn judge(_: Nics, facts: Facts) {
        let Facts { flooded, after, asked, end, left } = facts;
        law(&after);
        law(&end);
        left.in_order();
        let (port, shield) = (ports(&after), service(&after, "shield"));
        assert!(port.kernel_losses() > 0, "the rings lasted: this shows nothing: {port:#?}");
        assert_eq!(shield.drops["rule"], port.rx_frames, "{shield:#?}");
        // A card has a queue of its own, and what comes when that is full it loses by itself; but
        // nothing comes twice, nor from nowhere.
        assert!(port.rx_frames <= flooded.taken, "{port:#?}");
        assert_eq!(steered(&after, "received"), steered(&after, "redirected"), "{after:#?}");
        let questions = u64::from(QUESTIONS);
        assert_eq!(asked, Asked { sent: questions, answered: questions, odd: 0 });
        assert_eq!(service(&end, "shield").stats.settled_reinject, questions);
    }
}
