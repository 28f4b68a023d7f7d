//! `steering = "rss"` and `"ntuple"` on a card with an RSS table and without rules for flows.
//!
//! The table is read by the kernel's own interface before, during and after; and the flows of a
//! flood show that what it says is what the card does.

use std::process::Command;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate::lab::Wire;
use tidegate_dataplane::sys::ethtool::{self, Ethtool};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Left, law, ports, steered};
use crate::guest::cards::{soon, wire};
use crate::guest::configs::{interface_of, shield};
use crate::guest::flows::Flows;
use crate::guest::program::Program;
use crate::guest::step;
use crate::guest::traffic::server;
use crate::image::PROGRAM;
use crate::machine::Nics;

const QUEUES: u32 = 4;
const TAKEN: u32 = 3;

const FLOOD_PACKETS: u64 = 1_000;
const FLOOD_PACKETS_PER_SECOND: u32 = 1_000;

pub(super) struct Steering;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The table of a card that nobody has touched: before, while one queue is taken, and after
    /// an end in order.
    tables: [Vec<u32>; 3],
    running: Snapshot,
    doctor: Value,
    left: Left,
    /// A table that an operator has set: before, with a queue taken, after a kill, and after the
    /// next start, which takes the card's word for everything.
    next: [Vec<u32>; 4],
    /// The kernel's default, and put back by `tidegate restore`, which `doctor` has told of.
    killed: [Vec<u32>; 4],
    doctor_killed: Value,
    restore: String,
    /// With `ntuple`, and the table after it.
    refused: Left,
    table_after_refusal: Vec<u32>,
    /// Whether the kernel takes fewer queues in the end: not where the table is one that was set by
    /// hand and names more.
    fewer_queues: bool,
}

impl Play for Steering {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(QUEUES);
        let _server = server(&wire);
        step("which flow comes to which queue");
        let (flows, _echo) = Flows::look(&wire);
        assert!(flows.floods.iter().any(|it| it.0 == TAKEN), "no flow comes to queue {TAKEN}");

        step("rss, and an end in order");
        let before = table(&wire);
        let program = start(&wire, "orderly", "rss");
        let during = table(&wire);
        flows.flood(|_| true, FLOOD_PACKETS, FLOOD_PACKETS_PER_SECOND);
        let _ = soon(|| steered(&program.now(), "received") >= FLOOD_PACKETS);
        let running = program.quiet();
        let doctor = doctor_of(&wire);
        let left = program.leave();
        let tables = [before, during, table(&wire)];

        step("rss, a kill, and the next start");
        let entries = u32::try_from(tables[0].len()).unwrap();
        // As no driver sets it.
        let odd: Vec<u32> = (0..entries).map(|entry| entry * entry % 7 % QUEUES).collect();
        ask(&wire, |ethtool, name| ethtool.set_table(name, &odd));
        let (operators, isolated, left_behind) = kill(&wire, "again");
        let next = start(&wire, "next", "xdp");
        let next_table = table(&wire);
        next.leave();
        let next = [operators, isolated, left_behind, next_table];

        step("rss, a kill, and restore");
        ask(&wire, Ethtool::reset_table);
        let (default, isolated, killed) = kill(&wire, "killed");
        let doctor_killed = doctor_of(&wire);
        let restore = said(&wire, &["restore"]);
        let killed = [default, isolated, killed, table(&wire)];

        step("ntuple");
        let refused = Program::refused(&wire.near.namespace, "ntuple", &config(&wire, "ntuple"));
        let table_after_refusal = table(&wire);
        let fewer =
            |ethtool: &Ethtool, name: &str| Ok(ethtool.set_combined(name, QUEUES / 2).is_ok());
        Facts {
            tables,
            running,
            doctor,
            left,
            next,
            killed,
            doctor_killed,
            restore,
            refused,
            table_after_refusal,
            fewer_queues: ask(&wire, fewer),
        }
    }

    fn judge(_: Nics, facts: Facts) {
        let [before, during, after] = &facts.tables;
        isolates(before, during);
        assert_eq!(before, after);
        facts.left.in_order();
        law(&facts.running);
        // The card does what its table says: all of the flood went past the taken queue.
        assert_eq!(ports(&facts.running).rx_frames, 0);
        assert_eq!(steered(&facts.running, "redirected"), 0);
        assert_eq!(steered(&facts.running, "pass_no_socket"), FLOOD_PACKETS);
        // And it is told.
        let hardware = facts.running.steering[0].hardware.as_ref().expect("it is told");
        assert_eq!((&*hardware.asked, &hardware.isolated_queues[..]), ("rss", &[TAKEN][..]));
        let card = &facts.doctor["facts"]["links"][0]["hardware"];
        assert_eq!(card["table_queues"], serde_json::json!([0, 1, 2]), "{card:#}");
        assert_eq!(card["record"]["isolated_queues"], serde_json::json!([TAKEN]), "{card:#}");
        assert_eq!(card["record"]["is_alive"], true, "{card:#}");

        let [operators, isolated, killed, next] = &facts.next;
        isolates(operators, isolated);
        assert_eq!(isolated, killed, "nobody was there to put it back");
        assert_eq!(operators, next);
        let [default, isolated, killed, restored] = &facts.killed;
        assert!((0..QUEUES).cycle().zip(default).all(|(queue, entry)| queue == *entry));
        isolates(default, isolated);
        assert_eq!(isolated, killed);
        assert_eq!(default, restored, "{}", facts.restore);
        assert!(facts.fewer_queues, "the default counts as set by hand");
        let found = facts.doctor_killed["findings"].as_array().unwrap().iter();
        let remedies: Vec<_> =
            found.filter(|it| it["command"] == "tidegate restore eth0").collect();
        assert_eq!(remedies.len(), 1, "{:#}", facts.doctor_killed);
        assert_eq!(remedies[0]["severity"], "warning");

        let complaint = facts.refused.complaint();
        assert!(
            complaint
                .starts_with("tidegate: igb, the driver of eth0, takes no flow rules (ntuple)"),
            "{complaint}"
        );
        assert_eq!(&facts.table_after_refusal, default);
    }
}

/// The taken queue is in the one and not in the other; what other queues had they have.
#[track_caller]
fn isolates(before: &[u32], during: &[u32]) {
    assert_eq!(before.len(), during.len());
    assert!(before.contains(&TAKEN) && !during.contains(&TAKEN), "{before:?} {during:?}");
    for (before, during) in before.iter().zip(during) {
        assert!(*before == TAKEN || before == during, "{before} became {during}");
        assert!(*during < QUEUES);
    }
}

/// Asks the card, or tells it something.
fn ask<T: Send>(
    wire: &Wire,
    what: impl FnOnce(&Ethtool, &str) -> Result<T, ethtool::Error> + Send,
) -> T {
    let ask = || what(&Ethtool::open().unwrap(), &wire.near.name).unwrap();
    wire.near.namespace.run(ask).unwrap()
}

fn table(wire: &Wire) -> Vec<u32> {
    ask(wire, Ethtool::table)
}

fn doctor_of(wire: &Wire) -> Value {
    let said = said(wire, &["doctor", "--json", &wire.near.name]);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Starts a program that takes a queue, and kills it: the table before, meanwhile and after.
fn kill(wire: &Wire, instance: &str) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let operators = table(wire);
    let program = start(wire, instance, "rss");
    let isolated = table(wire);
    program.signal(Signal::SIGKILL);
    drop(program);
    (operators, isolated, table(wire))
}

fn config(wire: &Wire, steering: &str) -> String {
    let keys = format!("steering = \"{steering}\"\nqueues = {TAKEN}");
    interface_of(&wire.near, 4096, 2048, &keys) + &shield(wire, "")
}

fn start(wire: &Wire, instance: &str, steering: &str) -> Program {
    Program::start(&wire.near.namespace, instance, &config(wire, steering))
}

/// What the shipped program says to these words.
fn said(wire: &Wire, words: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let said = wire.near.namespace.run(|| command.args(words).output()).unwrap().unwrap();
    String::from_utf8(said.stdout).unwrap() + &String::from_utf8_lossy(&said.stderr)
}
