//! The numbers of one service on one shard.
//!
//! Plain cells, written by the shard alone. They outlive the service: one that is built anew
//! finds its counters where it left them, by name.

use std::cell::{Cell, RefCell};

use crate::verdict::{DROP_REASONS_MAX, DropReason, OWN_REASONS};

/// A number that only grows. Registered with [`Build::counter`](crate::service::Build::counter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter(u8);

/// A number that goes up and down. Registered with [`Build::gauge`](crate::service::Build::gauge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gauge(u8);

/// Counters that a service can have. As for drop reasons, a bound instead of a look-up.
pub const COUNTERS_MAX: usize = 64;

/// Gauges that a service can have.
pub const GAUGES_MAX: usize = 32;

/// Name and help text of what was registered, in the order of registration.
pub type Names = Vec<(Box<str>, Box<str>)>;

/// What became of the frames of one service, and what it counts itself.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) flow: Flow,
    drops: [Cell<u64>; DROP_REASONS_MAX],
    counters: [Cell<u64>; COUNTERS_MAX],
    gauges: [Cell<u64>; GAUGES_MAX],
    names: RefCell<Registered>,
}

/// The frames of a service, by where they came from and where they went.
///
/// `received + taken = dropped + transmitted + reinjected + consumed + sent + reclaimed + held`.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// From an RX ring, what was over budget included.
    pub(crate) received: Cell<u64>,
    pub(crate) received_octets: Cell<u64>,
    /// Blank, from the pool.
    pub(crate) taken: Cell<u64>,
    pub(crate) transmitted: Cell<u64>,
    pub(crate) reinjected: Cell<u64>,
    pub(crate) consumed: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    /// Octets transmitted and sent.
    pub(crate) sent_octets: Cell<u64>,
    /// Dropped without a verdict; their chunks came back by themselves.
    pub(crate) reclaimed: Cell<u64>,
    /// Held by a service that is gone: their chunks are lost until the shard ends.
    pub(crate) leaked: Cell<u64>,
    pub(crate) bursts: Cell<u64>,
    pub(crate) polls: Cell<u64>,
    pub(crate) panics: Cell<u64>,
    pub(crate) failures: Cell<u64>,
    pub(crate) restarts: Cell<u64>,
}

#[derive(Debug, Default)]
struct Registered {
    drops: Names,
    counters: Names,
    gauges: Names,
}

/// Adds to a cell.
#[inline]
pub(crate) fn add(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}

impl Tally {
    pub(crate) fn new() -> Self {
        let own = |(name, help): (&str, &str)| (name.into(), help.into());
        Self {
            flow: Flow::default(),
            drops: [const { Cell::new(0) }; DROP_REASONS_MAX],
            counters: [const { Cell::new(0) }; COUNTERS_MAX],
            gauges: [const { Cell::new(0) }; GAUGES_MAX],
            names: RefCell::new(Registered {
                drops: OWN_REASONS.into_iter().map(own).collect(),
                ..Registered::default()
            }),
        }
    }

    #[inline]
    pub(crate) fn drop(&self, reason: DropReason, frames: u64) {
        add(&self.drops[usize::from(reason.0)], frames);
    }

    #[inline]
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        add(&self.counters[usize::from(counter.0)], by);
    }

    #[inline]
    pub(crate) fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[usize::from(gauge.0)].set(value);
    }

    pub(crate) fn drop_reason(&self, name: &str, help: &str) -> DropReason {
        DropReason(register(&mut self.names.borrow_mut().drops, DROP_REASONS_MAX, name, help))
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> Counter {
        Counter(register(&mut self.names.borrow_mut().counters, COUNTERS_MAX, name, help))
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> Gauge {
        Gauge(register(&mut self.names.borrow_mut().gauges, GAUGES_MAX, name, help))
    }

    /// Drop reasons, counters and gauges by name, with their values.
    pub(crate) fn named(&self) -> [Vec<(Box<str>, u64)>; 3] {
        let names = self.names.borrow();
        let pair = |names: &Names, cells: &[Cell<u64>]| {
            names.iter().zip(cells).map(|((name, _), cell)| (name.clone(), cell.get())).collect()
        };
        [
            pair(&names.drops, &self.drops),
            pair(&names.counters, &self.counters),
            pair(&names.gauges, &self.gauges),
        ]
    }
}

/// Finds or adds a name; returns its index.
fn register(names: &mut Names, max: usize, name: &str, help: &str) -> u8 {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
    assert!(!name.is_empty() && name.bytes().all(plain), "a name is [a-z0-9_]+, not {name:?}");
    let index = names.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
        assert!(names.len() < max, "{name} is one too many: at most {max} of a kind");
        names.push((name.into(), help.into()));
        names.len() - 1
    });
    u8::try_from(index).expect("the bounds are far under 256")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_own_reasons_come_first_and_keep_their_places() {
        let tally = Tally::new();
        assert_eq!(tally.drop_reason("over_budget", ""), DropReason::OVER_BUDGET);
        assert_eq!(tally.drop_reason("unsettled", ""), DropReason::UNSETTLED);
        assert_eq!(tally.drop_reason("tx_full", ""), DropReason::TX_FULL);
        assert_eq!(tally.drop_reason("reinject_full", ""), DropReason::REINJECT_FULL);
        assert_eq!(tally.drop_reason("abandoned", ""), DropReason::ABANDONED);
        assert_eq!(tally.drop_reason("rule_1", ""), DropReason(5));
    }

    #[test]
    fn a_service_that_is_built_anew_finds_its_counters() {
        let tally = Tally::new();
        let first = tally.counter("answers", "Answers sent");
        tally.count(first, 3);
        let again = tally.counter("answers", "Answers sent");
        assert_eq!(first, again);
        assert_eq!(tally.named()[1], [("answers".into(), 3)]);
    }

    #[test]
    #[should_panic(expected = "a name is [a-z0-9_]+, not \"No-Such\"")]
    fn refuses_a_name_that_no_exporter_can_show() {
        Tally::new().gauge("No-Such", "");
    }

    #[test]
    #[should_panic(expected = "g32 is one too many: at most 32 of a kind")]
    fn refuses_more_than_the_bound() {
        let tally = Tally::new();
        for n in 0..=32 {
            tally.gauge(&format!("g{n}"), "");
        }
    }
}
