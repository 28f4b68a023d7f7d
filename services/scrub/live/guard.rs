//! The loop that engages and releases destinations: reads what XDP counted, asks, does and tells.
//!
//! ```text
//!   every 100 ms:  counts of the selector, all CPUs ─► Engagement ─► set the selector's state
//!                                                          └─► log, counters, hook
//! ```
//!
//! It decides nothing itself: when to engage is [`engage`](crate::scrub::engage), how a flow keeps
//! its order meanwhile is the steering program's. An operator may overrule it by command.

use std::io;

use tidegate_config::{Protocol, Selector};
use tracing::{info, warn};

use super::fates::Fate;
use super::hook::{Event, Hook};
use crate::scrub::engage::{Advice, Counts, Engagement, Policy};
use crate::scrub::protect::{Engage, Protect, Stalled};

/// What an operator wants for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Never engaged: all that comes stays with the kernel.
    Off,
    /// Always engaged.
    On,
    /// As its counts say.
    Auto(Policy),
}

impl Mode {
    /// In `stats`.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Auto(_) => "auto",
        }
    }
}

/// What the loop needs of the steering programs.
pub(crate) trait Gate {
    /// What came for a destination since the start, on all its interfaces and CPUs.
    fn counts(&self, destination: usize) -> io::Result<Counts>;

    /// What became of it, as far as that is known.
    fn fate(&self, destination: usize) -> Fate;

    /// Has what comes for it go to the shards, or drain and stay with the kernel.
    fn engage(&self, destination: usize, engaged: bool) -> io::Result<()>;
}

/// What a guard is given for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protected {
    /// In messages: its prefix, protocol and ports.
    pub(crate) name: Box<str>,
    /// As configured.
    pub(crate) mode: Mode,
    /// What the program does while a shard stands still.
    pub(crate) stalled: Stalled,
}

impl From<&Protect> for Protected {
    fn from(protect: &Protect) -> Self {
        let Selector { destination, protocol, ports, .. } = &protect.selector;
        let mut name = destination.to_string();
        match protocol {
            Protocol::Any => {}
            Protocol::Number(6) => name.push_str(" tcp"),
            Protocol::Number(17) => name.push_str(" udp"),
            Protocol::Number(number) => name.push_str(&format!(" protocol {number}")),
        }
        if let Some(ports) = ports {
            name.push_str(&format!(" {ports}"));
        }
        let mode = match protect.engage {
            Engage::Off => Mode::Off,
            Engage::On => Mode::On,
            Engage::Auto => Mode::Auto(protect.policy),
        };
        Self { name: name.into(), mode, stalled: protect.stalled }
    }
}

/// One destination and how it stands.
#[derive(Debug)]
pub(crate) struct Destination {
    name: Box<str>,
    mode: Mode,
    stalled: Stalled,
    /// What an operator said, until they say `auto`.
    ordered: Option<bool>,
    engagement: Engagement,
    /// As the steering program was last told.
    engaged: bool,
    /// Whether it was told at all.
    told: bool,
    engagements: u64,
    releases: u64,
    since_ns: u64,
    now: Sample,
    /// A second ago or a little more, and when.
    earlier: [(u64, Sample); 2],
    failing: bool,
}

/// What was counted of a destination at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    counts: Counts,
    fate: Fate,
}

/// So much a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Of what came.
    pub(crate) packets: u64,
    pub(crate) bits: u64,
    /// Of these, what reached the kernel's stack.
    pub(crate) after_packets: u64,
    pub(crate) after_bits: u64,
    /// What was dropped, wherever that was.
    pub(crate) dropped_packets: u64,
}

/// How a destination stands, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing<'a> {
    pub(crate) name: &'a str,
    pub(crate) mode: &'static str,
    pub(crate) engaged: bool,
    pub(crate) engagements: u64,
    pub(crate) releases: u64,
    pub(crate) counts: Counts,
    pub(crate) fate: Fate,
    pub(crate) rates: Rates,
}

/// Rates are of at least so long.
const RATE_NS: u64 = 1_000_000_000;

impl Destination {
    fn new(Protected { name, mode, stalled }: Protected) -> Self {
        let policy = match mode {
            Mode::Auto(policy) => policy,
            Mode::Off | Mode::On => Policy::default(),
        };
        Self {
            name,
            mode,
            stalled,
            ordered: None,
            engagement: Engagement::new(policy),
            engaged: false,
            told: false,
            engagements: 0,
            releases: 0,
            since_ns: 0,
            now: Sample::default(),
            earlier: [(0, Sample::default()); 2],
            failing: false,
        }
    }

    fn rates(&self, now_ns: u64) -> Rates {
        let (at, before) = &self.earlier[0];
        let elapsed = u128::from(now_ns.saturating_sub(*at).max(1));
        let rate = |now: u64, before: u64| {
            let grown = u128::from(now.saturating_sub(before)) * 1_000_000_000;
            u64::try_from(grown / elapsed).unwrap_or(u64::MAX)
        };
        let (counts, counted) = (&self.now.counts, &before.counts);
        let (after, earlier) = (self.now.fate.after(), before.fate.after());
        Rates {
            packets: rate(counts.packets, counted.packets),
            bits: rate(counts.octets, counted.octets).saturating_mul(8),
            after_packets: rate(after.packets, earlier.packets),
            after_bits: rate(after.octets, earlier.octets).saturating_mul(8),
            dropped_packets: rate(self.now.fate.dropped(), before.fate.dropped()),
        }
    }

    fn count(&mut self, now: Sample, now_ns: u64) {
        if self.earlier[0].0 == 0 {
            self.earlier = [(now_ns, now); 2];
        }
        self.now = now;
        if now_ns.saturating_sub(self.earlier[1].0) >= RATE_NS {
            self.earlier = [self.earlier[1], (now_ns, now)];
        }
    }

    /// Whether it should be engaged now, and why.
    fn wanted(&mut self, counts: Counts, now_ns: u64) -> (bool, Box<str>) {
        let advice = self.engagement.tell(counts, now_ns);
        if let Some(ordered) = self.ordered {
            return (ordered, "an operator said so".into());
        }
        match self.mode {
            Mode::Off => (false, "engage = \"off\"".into()),
            Mode::On => (true, "engage = \"on\"".into()),
            Mode::Auto(_) => {
                let why = match advice {
                    Advice::Engage(cause) => cause.to_string().into(),
                    Advice::Release => "all has been calm for long enough".into(),
                    Advice::Keep => "as its counts say".into(),
                };
                (self.engagement.is_engaged(), why)
            }
        }
    }
}

/// All destinations of one service.
#[derive(Debug)]
pub(crate) struct Guard {
    service: Box<str>,
    destinations: Vec<Destination>,
    hook: Hook,
}

impl Guard {
    /// Nothing engaged yet.
    pub(crate) fn new(service: &str, protected: Vec<Protected>, hook: Option<Box<str>>) -> Self {
        let destinations = protected.into_iter().map(Destination::new).collect();
        Self { service: service.into(), destinations, hook: Hook::new(hook) }
    }

    /// Takes other modes and another hook, where the destinations are the same; else says so.
    pub(crate) fn change(
        &mut self,
        protected: Vec<Protected>,
        hook: Option<Box<str>>,
    ) -> Result<(), &'static str> {
        let same = self.destinations.len() == protected.len()
            && self.destinations.iter().zip(&protected).all(|(mine, new)| mine.name == new.name);
        if !same {
            return Err("other destinations are protected");
        }
        if self.destinations.iter().zip(&protected).any(|(mine, new)| mine.stalled != new.stalled) {
            return Err("`stalled` of a destination is another");
        }
        for (mine, new) in self.destinations.iter_mut().zip(protected) {
            if let Mode::Auto(policy) = new.mode {
                mine.engagement.set_policy(policy);
            }
            mine.mode = new.mode;
        }
        self.hook.set_command(hook);
        Ok(())
    }

    /// Overrules what is decided for the destination of this name, or for all; `None`: no longer.
    /// How many that were.
    pub(crate) fn order(&mut self, name: Option<&str>, engaged: Option<bool>) -> usize {
        let mut count = 0;
        for destination in &mut self.destinations {
            if name.is_none_or(|name| *destination.name == *name) {
                destination.ordered = engaged;
                count += 1;
            }
        }
        count
    }

    /// One round.
    pub(crate) fn tick(&mut self, gate: &dyn Gate, now_ns: u64) {
        let Self { service, destinations, hook } = self;
        hook.look(now_ns);
        for (index, destination) in destinations.iter_mut().enumerate() {
            let name = &*destination.name;
            let counts = match gate.counts(index) {
                Ok(counts) => counts,
                Err(error) => {
                    if !destination.failing {
                        warn!(%service, destination = name, %error, "its counts cannot be read");
                    }
                    destination.failing = true;
                    continue;
                }
            };
            destination.count(Sample { counts, fate: gate.fate(index) }, now_ns);
            let (engaged, reason) = destination.wanted(counts, now_ns);
            if engaged == destination.engaged && destination.told {
                destination.failing = false;
                continue;
            }
            if let Err(error) = gate.engage(index, engaged) {
                // It is tried again with the next tick; said once.
                if !destination.failing {
                    let name = &*destination.name;
                    warn!(%service, destination = name, engaged, %error, "its state was not set");
                }
                destination.failing = true;
                continue;
            }
            destination.failing = false;
            let changed = engaged != destination.engaged;
            destination.told = true;
            destination.engaged = engaged;
            if !changed {
                continue;
            }
            destination.since_ns = now_ns;
            let Rates { packets: packets_per_second, bits: bits_per_second, .. } =
                destination.rates(now_ns);
            let name = &*destination.name;
            let state = match engaged {
                true => {
                    destination.engagements += 1;
                    info!(
                        %service, destination = name, packets_per_second, bits_per_second,
                        "engaged: {reason}"
                    );
                    "engaged"
                }
                false => {
                    destination.releases += 1;
                    info!(
                        %service, destination = name, packets_per_second, bits_per_second,
                        "released: {reason}"
                    );
                    "released"
                }
            };
            let event = Event {
                service: service.clone(),
                destination: destination.name.clone(),
                state,
                reason,
                packets_per_second,
                bits_per_second,
            };
            hook.tell(event, now_ns);
        }
    }

    /// How all stand.
    pub(crate) fn standings(&self, now_ns: u64) -> impl Iterator<Item = Standing<'_>> {
        self.destinations.iter().map(move |destination| Standing {
            name: &destination.name,
            mode: match destination.ordered {
                Some(_) => "ordered",
                None => destination.mode.word(),
            },
            engaged: destination.engaged,
            engagements: destination.engagements,
            releases: destination.releases,
            counts: destination.now.counts,
            fate: destination.now.fate,
            rates: destination.rates(now_ns),
        })
    }

    /// What became of hooks, where there is one.
    pub(crate) fn hooks(&self) -> Option<super::hook::Counts> {
        self.hook.counts()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tidegate_dataplane::steer::Tally;

    use super::super::ledger::add;
    use super::*;
    use crate::scrub::engage::Thresholds;

    const SECOND: u64 = 1_000_000_000;
    const TICK: u64 = SECOND / 10;

    /// A steering program that a test plays.
    #[derive(Default)]
    struct Played {
        counts: Cell<Counts>,
        fate: Cell<Fate>,
        told: RefCell<Vec<(usize, bool)>>,
        refuses: Cell<bool>,
    }

    impl Gate for Played {
        fn counts(&self, _: usize) -> io::Result<Counts> {
            Ok(self.counts.get())
        }

        fn fate(&self, _: usize) -> Fate {
            self.fate.get()
        }

        fn engage(&self, destination: usize, engaged: bool) -> io::Result<()> {
            if self.refuses.get() {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.told.borrow_mut().push((destination, engaged));
            Ok(())
        }
    }

    fn policy() -> Policy {
        let packets_per_second = Some(1_000);
        let thresholds = Thresholds { packets_per_second, ..Thresholds::default() };
        Policy { thresholds, below_thousandths: 500, after_ns: 2 * SECOND }
    }

    fn guard(modes: &[Mode]) -> Guard {
        let protected = |(n, &mode): (usize, &Mode)| Protected {
            name: format!("198.18.0.{n}").into(),
            mode,
            stalled: Stalled::Open,
        };
        Guard::new("shield", modes.iter().enumerate().map(protected).collect(), None)
    }

    /// Ticks for so long while so much comes.
    fn run(guard: &mut Guard, gate: &Played, now_ns: &mut u64, for_ns: u64, per_second: u64) {
        for _ in 0..for_ns / TICK {
            *now_ns += TICK;
            let mut counts = gate.counts.get();
            counts.packets += per_second / 10;
            counts.octets += per_second / 10 * 100;
            gate.counts.set(counts);
            // A tenth is left to the kernel, three tenths come back, one is dropped, five wait.
            let mut fate = gate.fate.get();
            let load = |tenths| Tally {
                packets: per_second / 100 * tenths,
                octets: per_second / 100 * tenths * 100,
            };
            add(&mut fate.early.passed, load(1));
            add(&mut fate.settled.reinjected, load(3));
            add(&mut fate.settled.dropped, load(1));
            gate.fate.set(fate);
            guard.tick(gate, *now_ns);
        }
    }

    #[test]
    fn a_flood_is_engaged_within_a_second_and_released_when_it_is_over() {
        let (mut guard, gate, mut now_ns) =
            (guard(&[Mode::Auto(policy())]), Played::default(), SECOND);
        run(&mut guard, &gate, &mut now_ns, 5 * SECOND, 500);
        assert_eq!(*gate.told.borrow(), [(0, false)], "said once, to begin with");
        run(&mut guard, &gate, &mut now_ns, SECOND, 5_000);
        assert_eq!(gate.told.borrow()[1..], [(0, true)]);
        run(&mut guard, &gate, &mut now_ns, 3 * SECOND, 5_000);
        {
            let standing = guard.standings(now_ns).next().unwrap();
            assert_eq!((standing.engaged, standing.engagements, standing.releases), (true, 1, 0));
            let rates = Rates {
                packets: 5_000,
                bits: 4_000_000,
                after_packets: 2_000,
                after_bits: 1_600_000,
                dropped_packets: 500,
            };
            assert_eq!(standing.rates, rates);
        }
        run(&mut guard, &gate, &mut now_ns, 10 * SECOND, 100);
        assert_eq!(gate.told.borrow()[2..], [(0, false)]);
        let standing = guard.standings(now_ns).next().unwrap();
        assert_eq!((standing.engaged, standing.engagements, standing.releases), (false, 1, 1));
    }

    #[test]
    fn off_and_on_stay_whatever_comes_and_an_operator_overrules_all() {
        let (mut guard, gate, mut now_ns) =
            (guard(&[Mode::Off, Mode::On, Mode::Auto(policy())]), Played::default(), SECOND);
        let engaged = |guard: &Guard| guard.standings(0).map(|it| it.engaged).collect::<Vec<_>>();
        run(&mut guard, &gate, &mut now_ns, 2 * SECOND, 0);
        assert_eq!(engaged(&guard), [false, true, false]);
        run(&mut guard, &gate, &mut now_ns, 2 * SECOND, 100_000);
        assert_eq!(engaged(&guard), [false, true, true]);
        assert_eq!(guard.order(None, Some(false)), 3);
        run(&mut guard, &gate, &mut now_ns, TICK, 100_000);
        assert_eq!(engaged(&guard), [false; 3]);
        assert_eq!(guard.order(Some("198.18.0.0"), Some(true)), 1);
        assert_eq!(guard.order(Some("198.18.0.9"), Some(true)), 0);
        run(&mut guard, &gate, &mut now_ns, TICK, 100_000);
        assert_eq!(engaged(&guard), [true, false, false]);
        guard.order(None, None);
        run(&mut guard, &gate, &mut now_ns, TICK, 100_000);
        assert_eq!(engaged(&guard), [false, true, true]);
    }

    #[test]
    fn a_state_that_could_not_be_set_is_tried_again() {
        let (mut guard, gate, mut now_ns) = (guard(&[Mode::On]), Played::default(), SECOND);
        gate.refuses.set(true);
        run(&mut guard, &gate, &mut now_ns, SECOND, 0);
        assert!(!guard.standings(0).next().unwrap().engaged, "not said of what is not so");
        gate.refuses.set(false);
        run(&mut guard, &gate, &mut now_ns, TICK, 0);
        assert_eq!(*gate.told.borrow(), [(0, true)]);
        assert!(guard.standings(0).next().unwrap().engaged);
    }

    #[test]
    fn thresholds_and_hook_change_at_run_time_and_destinations_do_not() {
        let (mut guard, gate, mut now_ns) =
            (guard(&[Mode::Auto(policy())]), Played::default(), SECOND);
        run(&mut guard, &gate, &mut now_ns, 2 * SECOND, 900);
        let mut lower = policy();
        lower.thresholds.packets_per_second = Some(100);
        let stalled = Stalled::Open;
        let protected = |name: &str, mode| vec![Protected { name: name.into(), mode, stalled }];
        let changed = guard.change(protected("198.18.0.0", Mode::Auto(lower)), None);
        assert_eq!(changed, Ok(()));
        run(&mut guard, &gate, &mut now_ns, TICK, 900);
        assert!(guard.standings(0).next().unwrap().engaged);
        let other = guard.change(protected("198.18.0.7", Mode::Off), None);
        assert_eq!(other, Err("other destinations are protected"));
        let mut closed = protected("198.18.0.0", Mode::Off);
        closed[0].stalled = Stalled::Closed;
        assert_eq!(guard.change(closed, None), Err("`stalled` of a destination is another"));
    }
}
