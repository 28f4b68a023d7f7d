//! One shard takes one queue and the kernel keeps the others; then two shards take two each.
//!
//! ```text
//!   far                                   near, N queues
//!     flood ════ hash ═══► taken queue ══► shard ─► shield
//!     TCP   ──── hash ───► other queues ─► kernel
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};
use tidegate::lab::Wire;
use tidegate::lab::flood::MARK;
use tidegate::lab::witness::udp::{self, QUESTION, Questions};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Left, law, obtained, service, steered};
use crate::guest::cards::{soon, wire};
use crate::guest::configs::{interface_of, shield};
use crate::guest::flows::Flows;
use crate::guest::program::{PATIENCE, Program};
use crate::guest::step;
use crate::guest::traffic::{PORT, server};
use crate::machine::Nics;

/// Not the first, which has what no hash sends anywhere.
const TAKEN: u32 = 1;

const FLOOD_PACKETS: u64 = 4_000;
const FLOOD_PACKETS_PER_SECOND: u32 = 1_000;
const QUESTIONS: u32 = 50;

/// With so many queues.
pub(super) struct Queues<const COUNT: u32>;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    one: Part,
    two: Part,
}

/// What one program saw.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    snapshot: Snapshot,
    left: Left,
    /// Flood packets sent to each queue.
    flooded: Vec<(u32, u64)>,
    /// Messages sent and answered meanwhile on TCP connections, by queue.
    exchanged: Vec<(u32, u64, u64)>,
    /// By two who asked: of a queue that is taken, and one that is not where there is one.
    asked: Vec<(u32, Asked)>,
    /// Questions, and flood packets, that the kernel's socket heard.
    heard: (u64, u64),
}

impl<const COUNT: u32> Play for Queues<COUNT> {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(COUNT);
        step("which flow comes to which queue");
        let (mut flows, _echo) = Flows::look(&wire);
        step("one shard, one queue");
        let one = part(&wire, &mut flows, "one", "[1]", "cores = 0", |queue| queue == TAKEN);
        step("two shards, two queues each");
        let two = part(&wire, &mut flows, "two", "\"0-3\"", "cores = [0, 1]", |_| true);
        Facts { one, two }
    }

    fn judge(_: Nics, Facts { one, two }: Facts) {
        let queues = |part: &Part| -> Vec<_> {
            let shards = part.snapshot.shards.iter();
            shards.map(|it| it.ports.iter().map(|port| port.queue).collect::<Vec<_>>()).collect()
        };
        assert_eq!(queues(&one), [[TAKEN]]);
        assert_eq!(queues(&two), [[0, 2], [1, 3]]);
        let flooded_queues = |part: &Part| part.flooded.iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(flooded_queues(&one), [TAKEN]);
        assert_eq!(flooded_queues(&two), (0..COUNT).collect::<Vec<_>>());
        for part in [one, two] {
            part.judge();
        }
    }
}

impl Part {
    fn judge(&self) {
        let Self { snapshot, left, flooded, exchanged, asked, heard } = self;
        law(snapshot);
        left.in_order();
        assert!(obtained(snapshot, "copy").iter().all(|copy| *copy == "zero-copy"));
        let ports = || snapshot.shards.iter().flat_map(|shard| &shard.ports);
        let is_taken = |queue: u32| ports().any(|port| port.queue == queue);
        let questions = u64::from(QUESTIONS);
        // All questions were answered, through the program or past it.
        for (queue, asked) in asked {
            let all = Asked { sent: questions, answered: questions, odd: 0 };
            assert_eq!(*asked, all, "queue {queue}");
        }
        // The kernel's connections did not notice.
        let kernels: Vec<_> = exchanged.iter().filter(|it| !is_taken(it.0)).collect();
        for (queue, sent, answered) in exchanged {
            assert!(*sent >= 3, "{exchanged:?}");
            assert_eq!(sent, answered, "queue {queue}: {exchanged:?}");
        }
        assert!(!kernels.is_empty() || ports().count() == 4, "{exchanged:?}");
        // Each taken queue brought what was sent to it, and no more.
        let asked_on = |queue: u32| asked.iter().filter(|it| it.0 == queue).count() as u64;
        let sent_to = |queue: u32| flooded.iter().find(|it| it.0 == queue).map_or(0, |it| it.1);
        for port in ports() {
            let came = port.stats.rx_frames + port.stats.kernel_losses();
            let sent = sent_to(port.queue) + questions * asked_on(port.queue);
            assert_eq!(came, sent, "queue {}", port.queue);
            assert_eq!(port.stats.settled_reinject, questions * asked_on(port.queue));
            assert_eq!(port.stats.unaccounted(), 0);
        }
        // What the selectors name on the others went to the kernel, by that name.
        let past: u64 = flooded.iter().filter(|it| !is_taken(it.0)).map(|it| it.1).sum();
        let past_questions = asked.iter().filter(|it| !is_taken(it.0)).count() as u64 * questions;
        assert_eq!(steered(snapshot, "pass_no_socket"), past + past_questions);
        assert_eq!(*heard, (questions * asked.len() as u64, past));
        let dropped: u64 =
            snapshot.shards.iter().map(|shard| shard.services[0].drops["rule"]).sum();
        let lost: u64 = ports().map(|port| port.stats.kernel_losses()).sum();
        let flood: u64 = flooded.iter().map(|it| it.1).sum();
        assert_eq!(dropped + lost, flood - past);
    }
}

fn part(
    wire: &Wire,
    flows: &mut Flows,
    name: &str,
    queues: &str,
    cores: &str,
    flooded: impl Fn(u32) -> bool + Sync,
) -> Part {
    let server = server(wire);
    let keys = format!("copy = \"zero-copy\"\nqueues = {queues}");
    let config = interface_of(&wire.near, 4096, 2048, &keys) + &shield(wire, cores);
    let program = Program::start(&wire.near.namespace, name, &config);
    let is_taken = |queue| {
        let now = program.now();
        now.shards.iter().flat_map(|shard| &shard.ports).any(|port| port.queue == queue)
    };
    let mut askers: Vec<_> = flows.askers.iter().find(|it| is_taken(it.0)).into_iter().collect();
    askers.extend(flows.askers.iter().find(|it| !is_taken(it.0)));
    let askers: Vec<_> = askers
        .into_iter()
        .map(|(queue, source)| {
            let questions =
                Questions { count: QUESTIONS, per_second: 25, octets: 64, patience: PATIENCE / 4 };
            let to = (wire.near.ipv4, PORT).into();
            (*queue, udp::ask(&wire.far.namespace, (*source, 0).into(), to, questions).unwrap())
        })
        .collect();
    let over = AtomicBool::new(false);
    let mut connections = std::mem::take(&mut flows.connections);
    let (sent, exchanged) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let sent = flows.flood(&flooded, FLOOD_PACKETS, FLOOD_PACKETS_PER_SECOND);
            over.store(true, Ordering::Relaxed);
            sent
        });
        let exchanged =
            crate::guest::flows::exchange(&mut connections, || over.load(Ordering::Relaxed));
        (flood.join().unwrap(), exchanged)
    });
    flows.connections = connections;
    let asked: Vec<_> =
        askers.into_iter().map(|(queue, it)| (queue, it.wait().unwrap().into())).collect();
    // What does not come in time is missed by the judge.
    let all: u64 =
        sent.iter().map(|it| it.1).sum::<u64>() + u64::from(QUESTIONS) * asked.len() as u64;
    let seen =
        |snapshot: &Snapshot| steered(snapshot, "redirected") + steered(snapshot, "pass_no_socket");
    let _ = soon(|| seen(&program.now()) >= all);
    let snapshot = program.quiet();
    let heard = (server.heard(QUESTION), server.heard(MARK));
    let _ = service(&snapshot, "shield");
    Part { snapshot, left: program.leave(), flooded: sent, exchanged, asked, heard }
}
