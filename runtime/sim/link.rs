//! One direction of a cable between two ports, and what can go wrong on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::random::Random;

/// The selector that the steering program would have matched.
pub type Classify = fn(&[u8]) -> u16;

/// What goes wrong, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Packets that are lost.
    pub loss_per_mille: u32,
    /// Packets that arrive twice.
    pub duplicate_per_mille: u32,
    /// Packets that arrive later than those sent after them.
    pub reorder_per_mille: u32,
    /// Turns in which the sender's kernel ceases to take from the TX ring for a while, so that it
    /// fills up.
    pub stall_per_mille: u32,
    /// How long that takes.
    pub stall_ns: u64,
    /// How long every packet takes.
    pub delay_ns: u64,
}

impl Default for Faults {
    /// A good cable of one microsecond.
    fn default() -> Self {
        Self {
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            stall_per_mille: 0,
            stall_ns: 100_000,
            delay_ns: 1_000,
        }
    }
}

/// How much later a reordered packet arrives, at most, in multiples of the delay.
const REORDER_DELAYS_MAX: u64 = 8;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) from: (usize, usize),
    pub(super) to: (usize, usize),
    faults: Faults,
    classify: Classify,
    /// By arrival, and among those of the same time by departure.
    flying: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
    departures: u64,
    stalled_until_ns: u64,
}

impl Link {
    pub(super) const fn new(
        from: (usize, usize),
        to: (usize, usize),
        faults: Faults,
        classify: Classify,
    ) -> Self {
        let flying = BinaryHeap::new();
        Self { from, to, faults, classify, flying, departures: 0, stalled_until_ns: 0 }
    }

    /// Whether the sender's kernel takes nothing in this turn.
    pub(super) const fn stalls(&mut self, now_ns: u64, random: &mut Random) -> bool {
        if now_ns >= self.stalled_until_ns && random.chance(self.faults.stall_per_mille) {
            self.stalled_until_ns = now_ns + self.faults.stall_ns;
        }
        now_ns < self.stalled_until_ns
    }

    pub(super) fn send(&mut self, now_ns: u64, packet: Vec<u8>, random: &mut Random) {
        let Faults { loss_per_mille, duplicate_per_mille, reorder_per_mille, delay_ns, .. } =
            self.faults;
        if random.chance(loss_per_mille) {
            return;
        }
        if random.chance(duplicate_per_mille) {
            self.fly(now_ns + delay_ns, packet.clone());
        }
        let late_ns = match random.chance(reorder_per_mille) {
            true => delay_ns * (1 + random.below(REORDER_DELAYS_MAX)),
            false => 0,
        };
        self.fly(now_ns + delay_ns + late_ns, packet);
    }

    fn fly(&mut self, at_ns: u64, packet: Vec<u8>) {
        self.flying.push(Reverse((at_ns, self.departures, packet)));
        self.departures += 1;
    }

    /// The next packet that has arrived by now, and its selector.
    pub(super) fn arrived(&mut self, now_ns: u64) -> Option<(Vec<u8>, u16)> {
        let Reverse((at_ns, ..)) = self.flying.peek()?;
        if *at_ns > now_ns {
            return None;
        }
        let Reverse((_, _, packet)) = self.flying.pop()?;
        let selector = (self.classify)(&packet);
        Some((packet, selector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(faults: Faults) -> Vec<u8> {
        let mut link = Link::new((0, 0), (1, 0), faults, |_| 0);
        let mut random = Random::new(7);
        for octet in 0..20 {
            link.send(0, vec![octet], &mut random);
        }
        assert!(link.arrived(999).is_none(), "not before the delay");
        std::iter::from_fn(|| link.arrived(u64::MAX)).map(|(packet, _)| packet[0]).collect()
    }

    #[test]
    fn a_good_cable_brings_all_in_order() {
        assert_eq!(arrivals(Faults::default()), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn each_fault_does_what_it_is_called() {
        assert!(arrivals(Faults { loss_per_mille: 1_000, ..Faults::default() }).is_empty());
        let twice = arrivals(Faults { duplicate_per_mille: 1_000, ..Faults::default() });
        assert_eq!(twice, (0..20).flat_map(|octet| [octet; 2]).collect::<Vec<_>>());
        let mixed = arrivals(Faults { reorder_per_mille: 500, ..Faults::default() });
        assert!(!mixed.is_sorted());
        assert_eq!(mixed.len(), 20);
    }

    #[test]
    fn a_stall_has_its_length() {
        let faults = Faults { stall_per_mille: 1_000, stall_ns: 50, ..Faults::default() };
        let mut link = Link::new((0, 0), (1, 0), faults, |_| 0);
        assert!(link.stalls(100, &mut Random::new(7)));
        assert_eq!(link.stalled_until_ns, 150);
        assert!(link.stalls(149, &mut Random::new(7)));
        assert_eq!(link.stalled_until_ns, 150, "no new one within");
    }
}
