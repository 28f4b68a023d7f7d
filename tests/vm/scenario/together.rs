//! The ordinary program with both services at once, from one card to the other.
//!
//! ```text
//!   near                                        far
//!     camera ══════════ video ═══════════════►    monitor, compares every bit
//!     shield ◄═════════ flood, questions ═════    flood, asker
//!        └─► kernel socket ── answers ───────►    asker
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate::lab::flood::MARK;
use tidegate::lab::witness::udp::QUESTION;
use tidegate::stream::timing::Rate;
use tidegate::stream::video::format::{Depth, Format};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Card, Flooded, Left, law, obtained, service, steered};
use crate::guest::cards::{soon, wire};
use crate::guest::configs::{camera, interface, monitor, shield};
use crate::guest::program::{Program, said};
use crate::guest::step;
use crate::guest::traffic::{ask, flood, server};
use crate::machine::Nics;

/// Frames of video: four seconds.
const FRAMES: u64 = 100;
const FLOOD_PACKETS: u64 = 8_000;
const QUESTIONS: u32 = 200;

pub(super) struct Together;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// What `tidegate doctor` says of the near card before.
    doctor: Value,
    near: Snapshot,
    far: Snapshot,
    near_left: Left,
    far_left: Left,
    near_card: Card,
    far_card: Card,
    flooded: Flooded,
    asked: Asked,
    /// Questions, and flood packets, that the kernel's socket heard.
    heard: (u64, u64),
}

impl Play for Together {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(1);
        let server = server(&wire);
        step("doctor");
        let doctor = said(&wire.near.namespace, &["doctor", "--json", &wire.near.name]);
        let zero_copy = "copy = \"zero-copy\"";
        step("the receiver");
        let far_config = interface(&wire.far, zero_copy) + &monitor(&wire);
        let far = Program::start(&wire.far.namespace, "far", &far_config);
        step("the sender");
        let services = shield(&wire, "") + &camera(&wire, &format!("frames = {FRAMES}"));
        let near_config = interface(&wire.near, zero_copy) + &services;
        let near = Program::start(&wire.near.namespace, "near", &near_config);
        step("the flood");
        let flood = flood(&wire, FLOOD_PACKETS);
        let asked = ask(&wire, QUESTIONS);
        let (_, flooded) = flood.wait().unwrap();
        let asked = asked.wait().unwrap();
        step("the end of the video");
        let sent = || service(&near.now(), "camera").counters["frames_sent"];
        assert!(soon(|| sent() >= FRAMES), "{} frames were sent", sent());
        // What does not come in time is missed by the judge.
        let came = |program: &Program| steered(&program.now(), "redirected");
        let _ = soon(|| came(&near) >= FLOOD_PACKETS + u64::from(QUESTIONS));
        let _ = soon(|| came(&far) >= FRAMES * packets_per_frame());
        step("quiet");
        let (near_quiet, far_quiet) = (near.quiet(), far.quiet());
        let (near_card, far_card) = (Card::of(&wire.near), Card::of(&wire.far));
        step("the ends");
        let heard = (server.heard(QUESTION), server.heard(MARK));
        Facts {
            doctor: serde_json::from_str(&doctor).unwrap(),
            near: near_quiet,
            far: far_quiet,
            near_left: near.leave(),
            far_left: far.leave(),
            near_card,
            far_card,
            flooded: flooded.into(),
            asked: asked.into(),
            heard,
        }
    }

    fn judge(nics: Nics, facts: Facts) {
        let link = &facts.doctor["facts"]["links"][0];
        assert_eq!(link["driver"], nics.driver(), "{link:#}");
        let findings = facts.doctor["findings"].as_array().expect("a list");
        assert!(findings.iter().all(|it| it["severity"] != "problem"), "{findings:#?}");
        for snapshot in [&facts.near, &facts.far] {
            law(snapshot);
            assert_eq!(obtained(snapshot, "copy"), ["zero-copy"]);
            assert_eq!(obtained(snapshot, "xdp"), ["native"]);
        }
        facts.near_left.in_order();
        facts.far_left.in_order();

        let (camera, monitor) = (service(&facts.near, "camera"), service(&facts.far, "monitor"));
        let packets = FRAMES * packets_per_frame();
        assert_eq!(camera.counters["frames_sent"], FRAMES);
        assert_eq!(camera.counters["packets_sent"], packets);
        assert_eq!(monitor.counters["packets_received"], packets, "{monitor:#?}");
        // On a busy host the thread that compares pictures may be behind, and says so.
        let compared = monitor.counters["frames_verified"];
        assert_eq!(compared + monitor.counters["frames_dropped"], FRAMES, "{monitor:#?}");
        assert!(compared > FRAMES / 2, "{monitor:#?}");
        assert_eq!(monitor.counters["frames_wrong"], 0);
        assert_eq!(steered(&facts.far, "redirected"), packets);

        let (shield, asked) = (service(&facts.near, "shield"), facts.asked);
        let questions = u64::from(QUESTIONS);
        assert_eq!(facts.flooded, Flooded { taken: FLOOD_PACKETS, refused: 0 });
        assert_eq!(shield.drops["rule"], FLOOD_PACKETS);
        assert_eq!(asked, Asked { sent: questions, answered: questions, odd: 0 });
        assert_eq!(shield.stats.settled_reinject, questions);
        assert_eq!(facts.heard, (questions, 0));
        assert_eq!(steered(&facts.near, "redirected"), FLOOD_PACKETS + questions);
        // The cards themselves have lost nothing.
        for (card, came) in [(facts.near_card, &facts.near), (facts.far_card, &facts.far)] {
            assert_eq!(card.rx, (steered(came, "received"), 0), "{card:?}");
            assert_eq!(card.tx.1, 0, "{card:?}");
        }
    }
}

fn packets_per_frame() -> u64 {
    let rate: Rate = "25".parse().unwrap();
    Format::new(320, 180, Depth::Ten, rate).unwrap().packets_per_frame().into()
}
