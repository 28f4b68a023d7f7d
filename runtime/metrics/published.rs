//! The copy of a shard's counters that other threads may read.
//!
//! A sequence lock (Boehm, "Can seqlocks get along with programming language
//! memory models?", 2012), made of atomics only: the writer makes the version
//! odd, stores, and makes it even again; a reader that saw an odd version, or
//! two different ones around its loads, tries again. The writer never waits; the
//! price is that readers starve if it writes without pause, so it does not.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::Duration;

/// Words in a cache line pair. x86 fetches lines in pairs of 64 octets.
const LINE: usize = 16;

/// Sixteen words on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

const _: () = assert!(size_of::<Line>() == 128);

/// Values of one owner, in the order of its table.
#[derive(Debug)]
pub(super) struct Values(Box<[Line]>);

impl Values {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.div_ceil(LINE)).map(|_| Line::default()).collect())
    }

    fn cells(&self) -> impl Iterator<Item = &AtomicU64> {
        self.0.iter().flat_map(|line| &line.0)
    }

    /// Between [`Version::write`]'s two steps.
    pub(super) fn store(&self, values: impl Iterator<Item = u64>) {
        for (cell, value) in self.cells().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Within [`Version::read`].
    pub(super) fn load<const N: usize>(&self) -> [u64; N] {
        debug_assert!(N <= self.0.len() * LINE);
        let mut values = [0; N];
        for (value, cell) in values.iter_mut().zip(self.cells()) {
            *value = cell.load(Ordering::Relaxed);
        }
        values
    }
}

/// Whether a reader's copy is of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// All values are from one publication.
    Whole,
    /// The writer was found in the middle each time; sums may not hold.
    Torn,
}

/// Version of everything that one shard publishes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Version(AtomicU64);

/// Attempts before a reader gives up, and its pauses between them. A writer is
/// inside for well under a microsecond, unless its thread was interrupted there;
/// 100 ms outlasts any time slice. Lower, and a busy machine shows torn copies;
/// higher, and `stats` waits for a shard that died while publishing.
const READ_ATTEMPTS: u32 = 1_000;
const READ_PAUSE: Duration = Duration::from_micros(100);

impl Version {
    /// Runs `store` as one publication. One thread only: the shard's.
    pub(super) fn write(&self, store: impl FnOnce()) {
        let before = self.0.load(Ordering::Relaxed);
        // Even again, also if an earlier `store` panicked half way.
        let odd = before | 1;
        self.0.store(odd, Ordering::Relaxed);
        // Pairs with the reader's acquire fence: who sees one of the stores
        // below sees the odd version, or a later one, when it looks again.
        fence(Ordering::Release);
        store();
        // Pairs with the reader's acquire load: who sees the even version sees
        // all stores.
        self.0.store(odd + 1, Ordering::Release);
    }

    /// Runs `load` until what it returns comes from one publication.
    pub(super) fn read<T>(&self, mut load: impl FnMut() -> T) -> (T, Copy) {
        let mut attempt = 0;
        loop {
            let before = self.0.load(Ordering::Acquire);
            let values = load();
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.0.load(Ordering::Relaxed) == before {
                return (values, Copy::Whole);
            }
            attempt += 1;
            if attempt == READ_ATTEMPTS {
                return (values, Copy::Torn);
            }
            thread::sleep(READ_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_one_publication_or_another_but_no_mixture() {
        const COUNT: usize = 100;
        const ROUNDS: u64 = 20_000;
        let version = Version::default();
        let values = Values::new(COUNT);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 1..=ROUNDS {
                    version.write(|| values.store((0..COUNT).map(|_| round)));
                    if round % 64 == 0 {
                        thread::sleep(READ_PAUSE); // As a shard does: much room between.
                    }
                }
            });
            let mut last = 0;
            while !writer.is_finished() {
                let (seen, copy) = version.read(|| values.load::<COUNT>());
                assert_eq!(copy, Copy::Whole);
                assert!(seen.iter().all(|value| *value == seen[0]), "{seen:?}");
                assert!(seen[0] >= last, "from {last} back to {}", seen[0]);
                last = seen[0];
            }
        });
        assert_eq!(version.read(|| values.load::<COUNT>()), ([ROUNDS; COUNT], Copy::Whole));
    }

    #[test]
    fn a_writer_that_died_inside_is_read_as_torn_and_the_next_mends_it() {
        let version = Version::default();
        let values = Values::new(2);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            version.write(|| panic!("half way"));
        }));
        assert!(result.is_err());
        assert_eq!(version.read(|| values.load::<2>()), ([0, 0], Copy::Torn));
        version.write(|| values.store([1, 2].into_iter()));
        assert_eq!(version.read(|| values.load::<2>()), ([1, 2], Copy::Whole));
    }
}
