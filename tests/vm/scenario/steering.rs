//! What a card is told about its queues: taken ones kept out of the RSS table, and all put back.
//!
//! ```text
//!   far                                 near: four queues, the second is taken
//!     flood of many flows ═══════════►    RSS ─┬─► queues 0, 2, 3 ─► kernel socket
//!                                              └─► queue 1 ─────────► service, drops
//! ```

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate::lab::flood::MARK;
use tidegate::lab::{End, Wire};
use tidegate_dataplane::sys::ethtool::{self, Ethtool};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Flooded, Left, law, ports, steered};
use crate::guest::cards::{await_links, soon, wire};
use crate::guest::configs::{interface, shield};
use crate::guest::program::Program;
use crate::guest::step;
use crate::guest::traffic::{flood, server};
use crate::image::PROGRAM;
use crate::machine::Nics;

/// Queues of the card, and the one that is taken.
const QUEUES: u32 = 4;
const TAKEN: u32 = 1;

/// Enough that a queue among four which gets none of so many flows was kept out of them: each flow
/// misses it with three quarters' chance.
const FLOOD_PACKETS: u64 = 1_000;

pub(super) struct Steering;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// As the driver has it: in blocks, which is not the kernel's default.
    own_table: Vec<u32>,
    /// With the queue kept out.
    isolated: Spread,
    table_isolated: Vec<u32>,
    /// After an end in order.
    left: Left,
    table_left: Vec<u32>,
    /// With rules that the card does not have.
    ntuple: Left,
    table_refused: Vec<u32>,
    /// The kernel's default, with the queue kept out, and after a kill.
    default_table: Vec<u32>,
    doctor_alive: Value,
    table_killed: Vec<u32>,
    doctor_killed: Value,
    /// After the next start, which keeps nothing out.
    table_next: Vec<u32>,
    shared: Spread,
    shared_left: Left,
    /// Whether the kernel takes fewer queues then: not where the table counts as set by hand.
    fewer_queues: bool,
}

/// What became of a flood.
#[derive(Debug, Serialize, Deserialize)]
struct Spread {
    stats: Snapshot,
    flooded: Flooded,
    /// Packets that the kernel's socket heard.
    heard: u64,
}

impl Play for Steering {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(QUEUES);
        let near = &wire.near;
        let own_table = table(near);

        step("one that keeps the queue out");
        let first = start(&wire, "rss");
        let isolated = flooded(&wire, &first);
        let table_isolated = table(near);
        let left = first.leave();
        let table_left = table(near);

        step("one that wants rules");
        let ntuple = Program::refused(&near.namespace, "near", &config(&wire, "ntuple"));
        let table_refused = table(near);

        step("one that is killed");
        ask(near, Ethtool::reset_table);
        let default_table = table(near);
        let killed = start(&wire, "rss");
        let doctor_alive = doctor(near);
        killed.signal(Signal::SIGKILL);
        drop(killed);
        let (table_killed, doctor_killed) = (table(near), doctor(near));

        step("the next, that does not");
        let next = start(&wire, "xdp");
        let table_next = table(near);
        let shared = flooded(&wire, &next);
        let shared_left = next.leave();
        let fewer_queues = near
            .namespace
            .run(|| Ethtool::open().unwrap().set_combined(&near.name, QUEUES / 2).is_ok());
        Facts {
            own_table,
            isolated,
            table_isolated,
            left,
            table_left,
            ntuple,
            table_refused,
            default_table,
            doctor_alive,
            table_killed,
            doctor_killed,
            table_next,
            shared,
            shared_left,
            fewer_queues: fewer_queues.unwrap(),
        }
    }

    fn judge(nics: Nics, facts: Facts) {
        // Nothing of many flows comes to the queue, and the kernel has all of it.
        let Spread { stats, flooded, heard } = &facts.isolated;
        law(stats);
        assert!(flooded.taken >= FLOOD_PACKETS / 2, "{flooded:?}");
        assert_eq!(ports(stats).rx_frames, 0);
        assert_eq!((steered(stats, "redirected"), *heard), (0, flooded.taken));
        assert_eq!(steered(stats, "pass_no_socket"), flooded.taken);
        let hardware = stats.steering[0].hardware.as_ref().unwrap();
        assert_eq!((&*hardware.asked, &*hardware.table), ("rss", "ours"));
        assert_eq!(hardware.isolated_queues, [TAKEN]);
        assert_kept_out(&facts.own_table, &facts.table_isolated);
        facts.left.in_order();
        assert!(facts.left.log.contains("the RSS table is as it was"), "{}", facts.left.log);
        assert_eq!(facts.table_left, facts.own_table);

        let refusal = facts.ntuple.complaint();
        let names = format!("tidegate: {}, the driver of eth0, takes no flow rules", nics.driver());
        assert!(refusal.starts_with(&names), "{refusal}");
        assert_eq!(facts.table_refused, facts.own_table);

        // Killed, it leaves what it set; doctor says so, with what puts it back.
        let default: Vec<u32> = (0..QUEUES).cycle().take(128).collect();
        assert_eq!(facts.default_table, default);
        assert_kept_out(&default, &facts.table_killed);
        let record = |doctor: &Value| doctor["facts"]["links"][0]["hardware"]["record"].clone();
        let alive = record(&facts.doctor_alive);
        assert_eq!(alive["is_alive"], true, "{alive}");
        assert_eq!(alive["isolated_queues"][0], TAKEN);
        assert_eq!(record(&facts.doctor_killed)["is_alive"], false);
        let findings = facts.doctor_killed["findings"].as_array().unwrap();
        let command = |it: &&Value| it["command"] == "tidegate restore eth0";
        let found = findings.iter().find(command).unwrap_or_else(|| panic!("{findings:#?}"));
        assert_eq!(found["severity"], "warning");

        // The next start puts it back. Then the same flood comes to the queue as well: so the
        // first could have failed.
        assert_eq!(facts.table_next, default);
        let Spread { stats, flooded, heard } = &facts.shared;
        law(stats);
        let received = ports(stats).rx_frames;
        assert!(received > 0, "{stats:#?}");
        assert_eq!(received + heard, flooded.taken);
        assert!(stats.steering[0].hardware.is_none());
        facts.shared_left.in_order();
        assert!(facts.fewer_queues, "the table counts as set by hand");
    }
}

/// No entry names the taken queue, and those that named another do so still.
#[track_caller]
fn assert_kept_out(before: &[u32], table: &[u32]) {
    assert_eq!((before.len(), table.len()), (128, 128));
    assert!(before.contains(&TAKEN), "{before:?}");
    for (before, after) in before.iter().zip(table) {
        assert!(*after != TAKEN && (*before == TAKEN || before == after), "{table:?}");
    }
}

/// One service that ends all of the flood, on the taken queue.
fn config(wire: &Wire, steering: &str) -> String {
    let more = format!("queues = [{TAKEN}]\nsteering = \"{steering}\"\ncopy = \"zero-copy\"");
    interface(&wire.near, &more) + &shield(wire, "")
}

fn start(wire: &Wire, steering: &str) -> Program {
    Program::start(&wire.near.namespace, "near", &config(wire, steering))
}

/// Sends many flows to a port, where a socket of the kernel listens too.
fn flooded(wire: &Wire, program: &Program) -> Spread {
    await_links(wire);
    let server = server(wire);
    let (_, sent) = flood(wire, FLOOD_PACKETS).wait().unwrap();
    let stats = program.quiet();
    let received = ports(&stats).rx_frames;
    // What did not come by then is missed by whoever judges.
    let _ = soon(|| received + server.heard(MARK) >= sent.taken());
    Spread { stats, flooded: sent.into(), heard: server.heard(MARK) }
}

/// Asks or tells the card of `end`.
fn ask<T: Send>(
    end: &End,
    what: impl FnOnce(&Ethtool, &str) -> Result<T, ethtool::Error> + Send,
) -> T {
    end.namespace.run(|| what(&Ethtool::open().unwrap(), &end.name).unwrap()).unwrap()
}

fn table(end: &End) -> Vec<u32> {
    ask(end, Ethtool::table)
}

fn doctor(end: &End) -> Value {
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--json", &end.name]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = end.namespace.spawn(&mut command).expect("it is in the image");
    let said = child.wait_with_output().expect("it is our child");
    serde_json::from_slice(&said.stdout).unwrap()
}
