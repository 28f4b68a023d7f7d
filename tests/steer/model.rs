//! The program of a protected destination against a model of it in plain Rust.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use tidegate_dataplane::steer::{Cached, Outcome, State, Whose};
use tidegate_runtime::clock::monotonic_ns as now_ns;

use super::Bench;
use super::packets::{UDP, udp};
use super::protect::{self, flow, from, guards, prefix, promote};

use Outcome::{DropVerdict, PassDrained, PassPeace, PassStalled, PassVerdict, Redirected};

/// What decides: the oracle of the walk below.
#[derive(Default)]
struct Model {
    state: State,
    fresh: bool,
    /// By whose and kind, with the epoch.
    verdicts: HashMap<(u8, u8), (Cached, u64)>,
    floor: u64,
    epoch: u64,
    /// The last number of each source.
    stamps: [u64; 4],
    numbered: u64,
    settled: u64,
}

impl Model {
    fn decides(&self, source: u8) -> Option<Cached> {
        let there = |kind| self.verdicts.get(&whose_key(source, kind));
        let holds = |(_, epoch): &&(Cached, u64)| *epoch >= self.floor;
        let own = [0, 1].into_iter().find_map(|kind| there(kind).filter(holds));
        let network = || [2, 3, 4].into_iter().find_map(there);
        own.or_else(network).map(|(verdict, _)| *verdict)
    }

    /// Outcome, and whether it is marked.
    fn packet(&mut self, source: u8) -> (Outcome, bool) {
        let stamp = self.stamps[usize::from(source)];
        let passes = match (self.state, self.decides(source)) {
            (State::Peace, _) => return (PassPeace, false),
            (State::Draining, _) => Some(PassDrained),
            (State::Engaged, Some(Cached::Drop)) => return (DropVerdict, false),
            (State::Engaged, Some(Cached::Pass)) => Some(PassVerdict),
            (State::Engaged, None) => None,
        };
        match passes {
            Some(outcome) if stamp <= self.settled => return (outcome, false),
            _ if !self.fresh => return (PassStalled, false),
            _ => {}
        }
        self.numbered += 1;
        self.stamps[usize::from(source)] = self.numbered;
        (Redirected, passes.is_some())
    }
}

#[test]
fn agrees_with_a_model_whatever_happens_in_whatever_order() {
    require_net!();
    walk(0..3);
}

/// The program looks for no flow before one has a verdict, and then drops known sources early.
#[test]
fn agrees_with_the_model_where_no_flow_has_a_verdict() {
    require_net!();
    walk(1..3);
}

/// Sources share what the program keeps of their networks, until one has a verdict of its own.
#[test]
fn agrees_with_the_model_where_networks_have_verdicts() {
    require_net!();
    walk(3..5);
    walk(2..5);
}

/// Two networks of two sources.
const fn address(source: u8) -> [u8; 4] {
    [198, 19, 9 + source / 2, source]
}

/// Kinds: of its flow, its own, its own as a prefix, its network's, and of all networks.
const fn whose_key(source: u8, kind: u8) -> (u8, u8) {
    match kind {
        0..=2 => (source, kind),
        3 => (source / 2, kind),
        _ => (0, kind),
    }
}

fn whose(source: u8, kind: u8) -> Whose {
    let text = Ipv4Addr::from(address(source)).to_string();
    match kind {
        0 => flow(&format!("{text}:40000"), "198.18.0.80:53", UDP),
        1 => protect::source(&text),
        2 => prefix(&format!("{text}/32")),
        3 => prefix(&format!("198.19.{}.0/24", address(source)[2])),
        _ => prefix("198.19.0.0/16"),
    }
}

/// With verdicts of these kinds.
fn walk(kinds: std::ops::Range<usize>) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    // xorshift64*, Vigna 2016.
    let mut state = seed.max(1);
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    };
    let mut bench = Bench::new(&guards(State::Peace)[..1]);
    let mut tidings = bench.program.tidings(0).unwrap();
    let mut model = Model { epoch: 1, ..Model::default() };
    let mut met = HashSet::new();
    for step in 0..20_000 {
        let source = u8::try_from(random(4)).unwrap();
        let kind = u8::try_from(kinds.start + random(kinds.len())).unwrap();
        match random(20) {
            0 => {
                model.state =
                    [State::Peace, State::Engaged, State::Engaged, State::Draining][random(4)];
                bench.program.set_state(0, model.state).unwrap();
            }
            1 => model.fresh = random(5) > 0,
            2 | 3 => {
                model.settled +=
                    random(usize::try_from(model.numbered - model.settled).unwrap() + 1) as u64;
                tidings.settle(model.settled);
            }
            4 => {
                let verdict = [Cached::Pass, Cached::Drop, Cached::Pass][random(3)];
                promote(&bench, whose(source, kind), verdict);
                model.verdicts.insert(whose_key(source, kind), (verdict, model.epoch));
            }
            5 | 6 => {
                let was = model.verdicts.remove(&whose_key(source, kind)).is_some();
                let forgot = bench.program.cache().forget(0, &whose(source, kind)).unwrap();
                assert_eq!(forgot, was, "step {step}");
            }
            7 if random(10) == 0 => {
                bench.program.cache().flush();
                model.epoch += 1;
                model.floor = model.epoch;
                model.verdicts.retain(|(_, kind), _| *kind < 2);
            }
            _ => {
                // Shortly before each packet: the machine may be busy.
                tidings.beat(if model.fresh { now_ns() + 1_000_000_000 } else { 1 });
                let packet = from(&udp(53), address(source));
                let expected = model.packet(source);
                let got = bench.run(&packet);
                let marked = got.metadata.is_some_and(|metadata| metadata.ordered);
                assert_eq!((got.outcome, marked), expected, "seed {seed}, step {step}");
                met.insert(format!("{expected:?}"));
            }
        }
        assert_eq!(tidings.numbered(), model.numbered);
    }
    assert_eq!(met.len(), 7, "every outcome was met, with and without a mark: {met:?}");
}
