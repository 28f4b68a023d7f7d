//! Samples on their way from a shard to who writes them.
//!
//! ```text
//!   shard ─put─► shelf (fixed memory) ◄─swap─ writer, with an empty one
//! ```
//!
//! The shard never waits: where the writer is just swapping, or the shelf is full, the sample is lost
//! and counted. The writer holds the lock for the time of three exchanged pointers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

/// Octets of packets on one shelf: some 5,000 short packets, or 700 full ones, for the writer's 20 ms.
const SHELF_OCTETS: usize = 1 << 20;
/// Packets on one shelf.
const SHELF_PACKETS: usize = 8192;
/// Octets kept of one packet. Longer ones are cut, and say so by their original length.
pub(crate) const SAMPLE_OCTETS_MAX: usize = 4096;

/// What is known of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When its burst was received, by the shards' clock.
    pub(crate) at_ns: u64,
    /// Octets that it had.
    pub(crate) octets: u32,
    /// The rule that decided, by its place in the generation.
    pub(crate) rule: Option<u32>,
    /// The generation that judged it.
    pub(crate) generation: u64,
    /// What became of it, and why.
    pub(crate) fate: &'static str,
    /// The same in one more word.
    pub(crate) reason: &'static str,
}

/// Samples and their octets, one behind the other.
#[derive(Debug)]
pub(crate) struct Shelf {
    samples: Vec<(Sample, u32)>,
    octets: Vec<u8>,
}

impl Shelf {
    /// An empty one, with all its memory.
    pub(crate) fn new() -> Self {
        let samples = Vec::with_capacity(SHELF_PACKETS);
        Self { samples, octets: Vec::with_capacity(SHELF_OCTETS) }
    }

    fn put(&mut self, sample: Sample, head: &[u8]) -> bool {
        let head = &head[..head.len().min(SAMPLE_OCTETS_MAX)];
        let full =
            self.samples.len() == SHELF_PACKETS || self.octets.len() + head.len() > SHELF_OCTETS;
        if !full {
            self.octets.extend_from_slice(head);
            self.samples.push((sample, u32::try_from(head.len()).expect("at most 4096")));
        }
        !full
    }

    /// All samples with their octets, in the order in which they were put.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Sample, &[u8])> {
        let mut rest = &self.octets[..];
        self.samples.iter().map(move |(sample, octets)| {
            let (head, behind) = rest.split_at(*octets as usize);
            rest = behind;
            (sample, head)
        })
    }

    /// Takes everything off it.
    pub(crate) fn clear(&mut self) {
        self.samples.clear();
        self.octets.clear();
    }
}

/// Between one shard and one writer.
#[derive(Debug)]
pub(crate) struct Ring {
    shelf: Mutex<Shelf>,
    lost: AtomicU64,
}

impl Ring {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { shelf: Mutex::new(Shelf::new()), lost: AtomicU64::new(0) }
    }

    /// Puts a copy of a packet's head on the shelf, or counts it as lost.
    pub(crate) fn put(&self, sample: Sample, head: &[u8]) {
        let put = match self.shelf.try_lock() {
            Ok(mut shelf) => shelf.put(sample, head),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().put(sample, head),
            Err(TryLockError::WouldBlock) => false,
        };
        if !put {
            self.lost.store(self.lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Exchanges the shelf for `empty`.
    pub(crate) fn swap(&self, empty: &mut Shelf) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *shelf, empty);
    }

    /// Samples that found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ns: u64) -> Sample {
        Sample { at_ns, octets: 9000, rule: None, generation: 1, fate: "dropped", reason: "rule" }
    }

    #[test]
    fn what_was_put_is_found_in_order_and_what_had_no_room_is_counted() {
        let ring = Ring::new();
        let mut shelf = Shelf::new();
        for n in 0..SHELF_PACKETS as u64 + 3 {
            ring.put(sample(n), &[n.to_le_bytes()[0]; 60]);
        }
        ring.swap(&mut shelf);
        assert_eq!((shelf.iter().count(), ring.lost()), (SHELF_PACKETS, 3));
        for (n, (sample, head)) in (0_u64..).zip(shelf.iter()) {
            assert_eq!((sample.at_ns, head), (n, &[n.to_le_bytes()[0]; 60][..]));
        }
        shelf.clear();
        // Long ones are cut, and fill the octets first.
        for n in 0..300 {
            ring.put(sample(n), &[7; 9000]);
        }
        ring.swap(&mut shelf);
        assert_eq!(shelf.iter().count(), SHELF_OCTETS / SAMPLE_OCTETS_MAX);
        assert!(shelf.iter().all(|(_, head)| head.len() == SAMPLE_OCTETS_MAX));
    }

    #[test]
    fn a_writer_that_is_swapping_costs_a_sample_and_no_time() {
        let ring = Ring::new();
        let busy = ring.shelf.lock().unwrap();
        ring.put(sample(0), &[0; 60]);
        drop(busy);
        assert_eq!(ring.lost(), 1);
    }

    #[test]
    fn putting_asks_for_no_memory() {
        let ring = Ring::new();
        let mut shelf = Shelf::new();
        let counts = allocation_counter::measure(|| {
            for n in 0..20_000 {
                ring.put(sample(n), &[0; 1500]);
                if n % 500 == 0 {
                    ring.swap(&mut shelf);
                    shelf.clear();
                }
            }
        });
        assert_eq!(counts.count_total, 0);
    }
}
