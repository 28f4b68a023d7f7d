//! What remained of all that came for each destination.
//!
//! ```text
//!   came ─► program ─┬─ passed: left to the kernel
//!                    ├─ dropped: by a cached verdict, or because `stalled = "closed"`
//!                    └─ redirected ─► shard ─┬─ reinjected
//!                                            ├─ dropped, by reason
//!                                            └─ challenged; held; lost by the ring before
//!   after = passed + reinjected
//! ```
//!
//! The program counts by selector what came and what it redirected, and only for the interface as a
//! whole what it dropped. It drops nothing but what is for an engaged destination. So what it dropped
//! between two looks was for the one that was engaged, where it was one; and where several were, what
//! stayed in the program of each is *unsplit*: neither counted as passed nor as dropped.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tidegate_dataplane::steer::{
    Counters, Outcome, PeaceCounts, SELECTORS_MAX, State, Steering, Tally,
};
use tidegate_runtime::instances::{AskError, Asked, Instances};
use tidegate_runtime::shards::ReplyError;

use super::instance::{Done, Order};
use super::ledger::{Row, Settled, add};
use crate::operator::{Ground, Place};

/// What became of what came for one destination, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Left to the kernel by the program.
    pub(crate) passed: Tally,
    /// Dropped by the program.
    pub(crate) dropped_early: Tally,
    /// Passed or dropped by the program while several destinations were engaged.
    pub(crate) unsplit: Tally,
    /// Handed to the shards.
    pub(crate) redirected: Tally,
    /// What they did with it.
    pub(crate) settled: Settled,
}

impl Fate {
    /// What reached the kernel's stack. Of what is unsplit nothing: so it is this much at least.
    pub(crate) const fn after(&self) -> Tally {
        let mut sum = self.passed;
        add(&mut sum, self.settled.reinjected);
        sum
    }

    /// What was dropped, wherever that was.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped_early.packets + self.settled.dropped.packets
    }

    fn add_early(&mut self, early: &Early) {
        add(&mut self.passed, early.passed);
        add(&mut self.dropped_early, early.dropped);
        add(&mut self.unsplit, early.unsplit);
        add(&mut self.redirected, early.redirected);
    }
}

/// What a program says at one moment.
pub(crate) struct Reading {
    /// By selector; read before `counters`, so that what was counted there came.
    pub(crate) came: Vec<PeaceCounts>,
    pub(crate) counters: Counters,
    pub(crate) states: Vec<Option<State>>,
}

impl Reading {
    /// Asks a program.
    pub(crate) fn of(steering: &Steering) -> io::Result<Self> {
        let came = steering.selector_counts().map_err(io::Error::other)?;
        let counters = steering.counters().map_err(io::Error::other)?;
        Ok(Self { came, counters, states: steering.states() })
    }
}

/// What one program did with the packets of one selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Early {
    passed: Tally,
    dropped: Tally,
    unsplit: Tally,
    redirected: Tally,
    was_engaged: bool,
}

impl Early {
    /// What stayed in the program and is not told apart yet.
    fn open(&self, came: Tally) -> Tally {
        let Self { passed, dropped, unsplit, redirected, .. } = *self;
        // One that was read later than what came may be above it.
        [passed, dropped, unsplit, redirected].iter().fold(came, |open, told| Tally {
            packets: open.packets.saturating_sub(told.packets),
            octets: open.octets.saturating_sub(told.octets),
        })
    }
}

/// What one program did, by selector.
struct Split {
    selectors: [Early; SELECTORS_MAX],
    /// Of what it dropped: what is in `selectors`, or unsplit.
    told: Tally,
}

impl Split {
    const fn new() -> Self {
        const NONE: Tally = Tally { packets: 0, octets: 0 };
        const EARLY: Early = Early {
            passed: NONE,
            dropped: NONE,
            unsplit: NONE,
            redirected: NONE,
            was_engaged: false,
        };
        Self { selectors: [EARLY; SELECTORS_MAX], told: NONE }
    }

    /// Tells apart what came since the last look.
    fn look(&mut self, reading: &Reading) {
        let Reading { came, counters, states } = reading;
        let came = |selector: usize| {
            let came = came.get(selector).copied().unwrap_or_default();
            Tally { packets: came.packets, octets: came.octets }
        };
        for (early, redirected) in self.selectors.iter_mut().zip(counters.selectors) {
            early.redirected = redirected;
        }
        let mut dropped = counters.get(Outcome::DropVerdict);
        add(&mut dropped, counters.get(Outcome::DropStalled));
        let fresh = Tally {
            packets: dropped.packets.saturating_sub(self.told.packets),
            octets: dropped.octets.saturating_sub(self.told.octets),
        };
        let is_engaged = |selector: usize| states.get(selector) == Some(&Some(State::Engaged));
        if fresh.packets > 0 {
            let engaged = |(selector, early): &(usize, &Early)| {
                (is_engaged(*selector) || early.was_engaged)
                    && early.open(came(*selector)).packets > 0
            };
            let mut suspects = self.selectors.iter().enumerate().filter(engaged);
            match (suspects.next().map(|(selector, _)| selector), suspects.next().is_some()) {
                // What they were for is counted with the next look.
                (None, _) => {}
                (Some(only), false) => {
                    add(&mut self.selectors[only].dropped, fresh);
                    self.told = dropped;
                }
                (Some(_), true) => {
                    for selector in 0..SELECTORS_MAX {
                        let early = &mut self.selectors[selector];
                        if engaged(&(selector, early)) {
                            let open = early.open(came(selector));
                            add(&mut early.unsplit, open);
                        }
                    }
                    self.told = dropped;
                }
            }
        }
        // What came was read first, so this is never more than was passed, and is all of it as soon
        // as nothing comes: it only grows.
        let all_told = fresh.packets == 0 || self.told == dropped;
        for (selector, early) in self.selectors.iter_mut().enumerate() {
            if all_told || !(is_engaged(selector) || early.was_engaged) {
                let open = early.open(came(selector));
                add(&mut early.passed, open);
            }
            // What it was engaged for may still be to be told.
            early.was_engaged = is_engaged(selector) || early.was_engaged && !all_told;
        }
    }
}

/// Adds up what became of the packets of one service, over programs and shards.
pub(crate) struct Fates {
    instances: Instances,
    places: Vec<Place>,
    programs: Vec<(Arc<Steering>, Split)>,
    /// By the destination's place in the service.
    settled: Vec<Settled>,
    /// What shards were asked, and have not answered yet.
    asked: Vec<Asked<Done>>,
    rooms: Vec<Vec<Row>>,
    /// Packets that were redirected when they were asked last.
    redirected: u64,
    /// They may still have some of these.
    quiet: bool,
}

impl fmt::Debug for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fates").field("settled", &self.settled).finish_non_exhaustive()
    }
}

impl Fates {
    /// Nothing came yet.
    pub(crate) fn new(ground: &Ground) -> Self {
        let mut programs = Vec::<(Arc<Steering>, Split)>::new();
        for Place { steering, .. } in &ground.selectors {
            if !programs.iter().any(|(other, _)| Arc::ptr_eq(other, steering)) {
                programs.push((Arc::clone(steering), Split::new()));
            }
        }
        let destinations = ground.selectors.iter().map(|place| place.of_service + 1).max();
        Self {
            instances: ground.instances.clone(),
            places: ground.selectors.clone(),
            programs,
            settled: vec![Settled::default(); destinations.unwrap_or(0)],
            asked: Vec::new(),
            rooms: Vec::new(),
            redirected: 0,
            quiet: true,
        }
    }

    /// Takes what a program says now.
    pub(crate) fn look(&mut self, steering: &Arc<Steering>, reading: &Reading) {
        let mine = self.programs.iter_mut().find(|(other, _)| Arc::ptr_eq(other, steering));
        if let Some((_, split)) = mine {
            split.look(reading);
        }
    }

    /// Takes what shards answered since, and asks them anew where they were given something: in
    /// peace nobody is woken up for this.
    pub(crate) fn tick(&mut self) {
        let mut waiting = Vec::with_capacity(self.asked.len());
        for mut one in std::mem::take(&mut self.asked) {
            match one.wait(Duration::ZERO) {
                Ok(Done::Ledger(interfaces, mut rows)) => {
                    self.quiet &= rows.is_empty();
                    rows.iter().for_each(|row| self.settle(&interfaces, row));
                    rows.clear();
                    // As many as a shard can have.
                    rows.reserve(interfaces.len() * SELECTORS_MAX);
                    self.rooms.push(rows);
                }
                Err(AskError::Shard { why: ReplyError::TimedOut, .. }) => waiting.push(one),
                Ok(_) | Err(_) => {}
            }
        }
        self.asked = waiting;
        let packets = |split: &Split| -> u64 {
            split.selectors.iter().map(|early| early.redirected.packets).sum()
        };
        let redirected = self.programs.iter().map(|(_, split)| packets(split)).sum();
        if redirected == self.redirected && self.quiet {
            return;
        }
        self.quiet = redirected == self.redirected;
        self.redirected = redirected;
        for &shard in self.instances.shards() {
            if self.asked.iter().any(|one| one.shard() == shard) {
                self.quiet = false;
                continue;
            }
            let room = self.rooms.pop().unwrap_or_else(|| Vec::with_capacity(SELECTORS_MAX));
            match self.instances.ask::<Order, Done>(shard, Order::Ledger(room)) {
                Ok(one) => self.asked.push(one),
                Err(_) => self.quiet = false,
            }
        }
    }

    /// Adds a row of a shard with ports at these interfaces to that of its destination.
    fn settle(&mut self, interfaces: &[Box<str>], row: &Row) {
        let Some(interface) = interfaces.get(row.port) else { return };
        let is_it = |place: &&Place| {
            place.selector == row.selector && place.steering.interface() == &**interface
        };
        if let Some(place) = self.places.iter().find(is_it) {
            self.settled[place.of_service].add(&row.settled);
        }
    }

    /// What became of what came for a destination.
    pub(crate) fn of(&self, destination: usize) -> Fate {
        let settled = self.settled.get(destination).copied().unwrap_or_default();
        let mut fate = Fate { settled, ..Fate::default() };
        for place in self.places.iter().filter(|place| place.of_service == destination) {
            let is_it =
                |(steering, _): &&(Arc<Steering>, Split)| Arc::ptr_eq(steering, &place.steering);
            if let Some((_, split)) = self.programs.iter().find(is_it) {
                fate.add_early(&split.selectors[usize::from(place.selector)]);
            }
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of three selectors that a test plays.
    struct Played {
        reading: Reading,
        split: Split,
    }

    impl Played {
        fn new() -> Self {
            let (came, counters) = (vec![PeaceCounts::default(); 3], Counters::default());
            let reading = Reading { came, counters, states: vec![Some(State::Peace); 3] };
            Self { reading, split: Split::new() }
        }

        fn engaged(&mut self, selectors: &[usize]) {
            for (selector, state) in self.reading.states.iter_mut().enumerate() {
                let engaged = selectors.contains(&selector);
                *state = Some(if engaged { State::Engaged } else { State::Peace });
            }
        }

        /// So much comes for a selector: passed, redirected, dropped.
        fn come(&mut self, selector: usize, [passed, redirected, dropped]: [u64; 3]) {
            let packets = passed + redirected + dropped;
            let came = &mut self.reading.came[selector];
            came.packets += packets;
            came.octets += 100 * packets;
            let load = |packets| Tally { packets, octets: 100 * packets };
            let counters = &mut self.reading.counters;
            add(&mut counters.selectors[selector], load(redirected));
            add(&mut counters.outcomes[Outcome::DropVerdict as usize], load(dropped));
        }

        /// Passed, dropped, unsplit, of which the octets agree.
        fn told(&mut self, selector: usize) -> [u64; 3] {
            self.split.look(&self.reading);
            let Early { passed, dropped, unsplit, .. } = self.split.selectors[selector];
            [passed, dropped, unsplit].map(|tally| {
                assert_eq!(tally.octets, 100 * tally.packets);
                tally.packets
            })
        }
    }

    #[test]
    fn what_is_dropped_is_of_the_destination_that_is_engaged() {
        let mut program = Played::new();
        program.come(0, [7, 0, 0]);
        program.come(1, [5, 0, 0]);
        assert_eq!((program.told(0), program.told(1)), ([7, 0, 0], [5, 0, 0]));
        program.engaged(&[1]);
        program.come(0, [3, 0, 0]);
        program.come(1, [2, 40, 60]);
        assert_eq!((program.told(0), program.told(1)), ([10, 0, 0], [7, 60, 0]));
        // Released in between: it was engaged when they came.
        program.come(1, [0, 0, 9]);
        program.engaged(&[]);
        assert_eq!((program.told(0), program.told(1)), ([10, 0, 0], [7, 69, 0]));
        // The next one's are the next one's.
        program.engaged(&[2]);
        program.come(2, [1, 1, 1]);
        program.come(1, [4, 0, 0]);
        assert_eq!((program.told(1), program.told(2)), ([11, 69, 0], [1, 1, 0]));
    }

    #[test]
    fn of_two_that_are_engaged_what_stays_is_unsplit_where_something_was_dropped() {
        let mut program = Played::new();
        program.engaged(&[0, 1]);
        program.come(0, [8, 2, 0]);
        program.come(1, [3, 1, 0]);
        assert_eq!((program.told(0), program.told(1)), ([8, 0, 0], [3, 0, 0]));
        program.come(0, [8, 2, 0]);
        program.come(1, [3, 1, 50]);
        program.come(2, [6, 0, 0]);
        assert_eq!((program.told(0), program.told(1)), ([8, 0, 8], [3, 0, 53]));
        assert_eq!(program.told(2), [6, 0, 0], "it is in peace");
        // Only one of them got anything: it was that one's.
        program.come(1, [0, 0, 20]);
        assert_eq!((program.told(0), program.told(1)), ([8, 0, 8], [3, 20, 53]));
    }

    #[test]
    fn what_is_read_while_packets_come_never_shrinks_and_is_exact_in_the_end() {
        let mut program = Played::new();
        program.engaged(&[0]);
        let mut before = 0;
        for round in 0..100 {
            // Five more come between the two readings, so what came is read too low.
            program.come(0, [3, 1, 1]);
            let came = program.reading.came[0];
            program.come(0, [round % 3, 2, 1]);
            let true_came = std::mem::replace(&mut program.reading.came[0], came);
            program.split.look(&program.reading);
            program.reading.came[0] = true_came;
            let passed = program.split.selectors[0].passed.packets;
            assert!(passed >= before);
            before = passed;
        }
        let passed = (0..100).map(|round| 3 + round % 3).sum::<u64>();
        assert_eq!(program.told(0), [passed, 200, 0]);
    }
}
