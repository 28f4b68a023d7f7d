//! What remained of all that came for each destination.
//!
//! ```text
//!   came ─► program ─┬─ passed: left to the kernel
//!                    ├─ dropped: by a cached verdict, or because the shard stood still
//!                    └─ redirected ─► shard ─┬─ reinjected
//!                                            ├─ dropped, by reason
//!                                            └─ challenged; held; lost by the ring before
//!   after = passed + reinjected
//! ```
//!
//! The program counts by selector what came, what it dropped and what it redirected; the rest is passed.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tidegate_dataplane::steer::{PeaceCounts, SELECTORS_MAX, Steering, Tally};
use tidegate_runtime::instances::{AskError, Asked, Instances};
use tidegate_runtime::shards::ReplyError;

use super::instance::{Done, Order};
use super::ledger::{Row, Settled, add};
use crate::operator::{Ground, Place};

/// What became of what came for one destination, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// What the steering programs did with it.
    pub(crate) early: Early,
    /// What the shards did with what they were handed.
    pub(crate) settled: Settled,
}

impl Fate {
    /// What reached the kernel's stack.
    pub(crate) const fn after(&self) -> Tally {
        let mut sum = self.early.passed;
        add(&mut sum, self.settled.reinjected);
        sum
    }

    /// What was dropped, wherever that was.
    pub(crate) const fn dropped(&self) -> u64 {
        self.early.dropped.packets + self.settled.dropped.packets
    }
}

/// What a program says at one moment.
pub(crate) struct Reading {
    /// By selector; read before `redirected`, so that what was counted there came.
    pub(crate) came: Vec<PeaceCounts>,
    redirected: [Tally; SELECTORS_MAX],
}

impl Reading {
    /// Asks a program.
    pub(crate) fn of(steering: &Steering) -> io::Result<Self> {
        let came = steering.selector_counts().map_err(io::Error::other)?;
        let redirected = steering.counters().map_err(io::Error::other)?.selectors;
        Ok(Self { came, redirected })
    }
}

/// What a program did with the packets of one selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Early {
    /// Left to the kernel; or dropped because the shard stood still.
    pub(crate) passed: Tally,
    /// By a verdict.
    pub(crate) dropped: Tally,
    /// Handed to the shards.
    pub(crate) redirected: Tally,
}

impl Early {
    /// Takes what came so far, and what was redirected by then or a little later.
    fn look(&mut self, came: &PeaceCounts, redirected: Tally) {
        let PeaceCounts { packets, octets, dropped, .. } = *came;
        // So this is never more than was passed, and is all of it as soon as nothing comes: it only
        // grows.
        let left = |came: u64, dropped: u64, redirected: u64| {
            came.saturating_sub(dropped).saturating_sub(redirected)
        };
        let passed = &mut self.passed;
        let left_packets = left(packets, dropped.packets, redirected.packets);
        passed.packets = passed.packets.max(left_packets);
        let left_octets = left(octets, dropped.octets, redirected.octets);
        passed.octets = passed.octets.max(left_octets);
        self.dropped = dropped;
        self.redirected = redirected;
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.passed, other.passed);
        add(&mut self.dropped, other.dropped);
        add(&mut self.redirected, other.redirected);
    }
}

/// What a program did, by selector.
type Split = [Early; SELECTORS_MAX];

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
                programs.push((Arc::clone(steering), [Early::default(); SELECTORS_MAX]));
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
            for ((early, came), redirected) in
                split.iter_mut().zip(&reading.came).zip(reading.redirected)
            {
                early.look(came, redirected);
            }
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
        let packets =
            |split: &Split| -> u64 { split.iter().map(|early| early.redirected.packets).sum() };
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
                fate.early.add(&split[usize::from(place.selector)]);
            }
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn load(packets: u64) -> Tally {
        Tally { packets, octets: 100 * packets }
    }

    /// A selector of a program that a test plays.
    #[derive(Default)]
    struct Played {
        came: PeaceCounts,
        redirected: Tally,
        early: Early,
    }

    impl Played {
        /// So much comes: passed, redirected, dropped.
        fn come(&mut self, [passed, redirected, dropped]: [u64; 3]) {
            let Tally { packets, octets } = load(passed + redirected + dropped);
            self.came.packets += packets;
            self.came.octets += octets;
            add(&mut self.came.dropped, load(dropped));
            add(&mut self.redirected, load(redirected));
        }
    }

    #[test]
    fn what_came_and_was_neither_dropped_nor_redirected_was_passed() {
        let mut program = Played::default();
        for (come, passed, redirected, dropped) in
            [([7, 0, 0], 7, 0, 0), ([2, 40, 60], 9, 40, 60), ([0, 0, 9], 9, 40, 69)]
        {
            program.come(come);
            program.early.look(&program.came, program.redirected);
            let [passed, redirected, dropped] = [passed, redirected, dropped].map(load);
            assert_eq!(program.early, Early { passed, dropped, redirected });
        }
    }

    #[test]
    fn what_is_read_while_packets_come_never_shrinks_and_is_exact_in_the_end() {
        let mut program = Played::default();
        let mut before = 0;
        for round in 0..100 {
            program.come([3, 1, 1]);
            let came = program.came;
            // More come between the two readings, so what came is read too low.
            program.come([round % 3, 5, 1]);
            program.early.look(&came, program.redirected);
            let passed = program.early.passed.packets;
            assert!(passed >= before);
            before = passed;
        }
        let passed = (0..100).map(|round| 3 + round % 3).sum::<u64>();
        assert!(before < passed);
        program.early.look(&program.came, program.redirected);
        let [passed, redirected, dropped] = [passed, 600, 200].map(load);
        assert_eq!(program.early, Early { passed, dropped, redirected });
    }
}
