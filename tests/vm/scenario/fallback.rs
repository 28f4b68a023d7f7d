//! Where zero-copy cannot be had: `zero-copy` refuses, `auto` goes on without and says so.

use serde::{Deserialize, Serialize};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Left, law, obtained, service};
use crate::guest::configs::{interface, shield};
use crate::guest::program::Program;
use crate::guest::traffic::{ask, server};
use crate::guest::{cards, step};
use crate::machine::Nics;

const QUESTIONS: u32 = 50;

pub(super) struct Fallback;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// On a driver that has no zero-copy, and on one that has it on other machines.
    veth: OnOne,
    card: OnOne,
}

#[derive(Debug, Serialize, Deserialize)]
struct OnOne {
    /// With `copy = "zero-copy"`.
    refused: Left,
    /// A program that was left behind by that.
    attached: bool,
    /// With `copy = "auto"`.
    auto: Snapshot,
    auto_left: Left,
    asked: Asked,
}

impl Play for Fallback {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        step("veth");
        let veth = on(&Wire::new(&near, &far, &WireOptions::default()).unwrap());
        step("card");
        let card = on(&cards::wire(1));
        Facts { veth, card }
    }

    fn judge(_: Nics, Facts { veth, card }: Facts) {
        assert_eq!(
            veth.refused.complaint(),
            "tidegate: shard 0, tide1 queue 0: the driver of tide1 has no zero-copy for this \
             queue; set copy = \"auto\" or \"copy\""
        );
        let complaint = card.refused.complaint();
        assert!(complaint.starts_with("tidegate: shard 0, eth0 queue 0: the driver of eth0"));
        assert!(complaint.contains("refuses zero-copy for queue 0 (EINVAL)"), "{complaint}");
        assert!(complaint.contains("iommu_platform; copy = \"auto\" goes on"), "{complaint}");
        for OnOne { attached, auto, auto_left, asked, .. } in [veth, card] {
            assert!(!attached);
            law(&auto);
            assert_eq!(obtained(&auto, "copy"), ["copy"]);
            assert!(auto_left.log.contains("copy=copy"), "{}", auto_left.log);
            auto_left.in_order();
            let questions = u64::from(QUESTIONS);
            assert_eq!(asked, Asked { sent: questions, answered: questions, odd: 0 });
            assert_eq!(service(&auto, "shield").stats.settled_reinject, questions);
        }
    }
}

fn on(wire: &Wire) -> OnOne {
    let server = server(wire);
    let near = &wire.near.namespace;
    let config =
        |copy: &str| interface(&wire.near, &format!("copy = \"{copy}\"")) + &shield(wire, "");
    let refused = Program::refused(near, "demanding", &config("zero-copy"));
    let attached = wire.near.link().unwrap().xdp.is_some();
    let program = Program::start(near, "content", &config("auto"));
    let asked = ask(wire, QUESTIONS).wait().unwrap();
    let auto = program.quiet();
    drop(server);
    OnOne { refused, attached, auto, auto_left: program.leave(), asked: asked.into() }
}
