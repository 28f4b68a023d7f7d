//! The ledger: which numbered packets the shard still has.
//!
//! The steering program numbers the packets of protected destinations. They come in the order of
//! their numbers, with gaps where the kernel lost some, and end in any order. What is told back is
//! one number: *all up to here is settled*. It is one below the lowest that is still with the shard,
//! and where none is, the last one that came: what is below it and never came was lost, since a ring
//! keeps its order.
//!
//! ```text
//!     received   3   4   6   7        5 was lost
//!     settled    x       x
//!     all up to  3                    4 is held; once it is settled: 6
//! ```
//!
//! A list through a table by chunk, so that any packet leaves it in one step, however long another
//! is held.

/// No chunk.
const NONE: u32 = u32::MAX;

/// The numbered packets of one UMEM, by the number of their first chunk.
#[derive(Debug)]
pub(super) struct Ledger {
    /// One for each chunk.
    entries: Box<[Entry]>,
    /// Ends of the list.
    lowest: u32,
    highest: u32,
    /// The last number that came.
    received: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    lower: u32,
    higher: u32,
}

impl Ledger {
    pub(super) fn new(chunks: usize) -> Self {
        let entry = Entry { number: 0, lower: NONE, higher: NONE };
        Self {
            entries: vec![entry; chunks].into_boxed_slice(),
            lowest: NONE,
            highest: NONE,
            received: 0,
        }
    }

    /// A packet came, in a chunk that none is in.
    pub(super) fn receive(&mut self, chunk: u32, number: u64) {
        self.entries[chunk as usize] = Entry { number, lower: self.highest, higher: NONE };
        match self.highest {
            NONE => self.lowest = chunk,
            highest => self.entries[highest as usize].higher = chunk,
        }
        self.highest = chunk;
        self.received = number;
    }

    /// The packet of this chunk, which is in the list, came to its end.
    pub(super) fn settle(&mut self, chunk: u32) {
        let Entry { lower, higher, .. } = self.entries[chunk as usize];
        match lower {
            NONE => self.lowest = higher,
            lower => self.entries[lower as usize].higher = higher,
        }
        match higher {
            NONE => self.highest = lower,
            higher => self.entries[higher as usize].lower = lower,
        }
    }

    /// The number up to which all is settled.
    pub(super) fn settled(&self) -> u64 {
        match self.lowest {
            NONE => self.received,
            lowest => self.entries[lowest as usize].number.saturating_sub(1),
        }
    }

    /// Whether the shard has none.
    pub(super) const fn is_empty(&self) -> bool {
        self.lowest == NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_one_below_the_lowest_that_is_held() {
        let mut ledger = Ledger::new(8);
        assert_eq!(ledger.settled(), 0);
        for (chunk, number) in [(5, 3), (2, 4), (7, 6), (0, 7)] {
            ledger.receive(chunk, number);
        }
        assert_eq!(ledger.settled(), 2);
        ledger.settle(5);
        assert_eq!(ledger.settled(), 3);
        ledger.settle(7);
        assert_eq!(ledger.settled(), 3, "4 is held");
        ledger.settle(2);
        assert_eq!(ledger.settled(), 6, "5 never came");
        ledger.receive(5, 11);
        ledger.settle(0);
        assert_eq!(ledger.settled(), 10);
        assert!(!ledger.is_empty());
        ledger.settle(5);
        assert_eq!((ledger.settled(), ledger.is_empty()), (11, true));
    }

    /// Random receipts, losses and ends, with a plain set as oracle.
    #[test]
    fn agrees_with_a_set_whatever_the_order() {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
        println!("SEED={seed}");
        // xorshift64*, Vigna 2016.
        let mut state = seed.max(1);
        let mut random = move |below: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
        };
        let mut ledger = Ledger::new(16);
        let (mut free, mut held): (Vec<u32>, Vec<(u32, u64)>) = ((0..16).collect(), Vec::new());
        let (mut number, mut received) = (0, 0);
        for _ in 0..20_000 {
            if random(2) == 0 && !free.is_empty() {
                number += 1 + random(4) as u64 / 3;
                let chunk = free.swap_remove(random(free.len()));
                ledger.receive(chunk, number);
                held.push((chunk, number));
                received = number;
            } else if !held.is_empty() {
                let (chunk, _) = held.swap_remove(random(held.len()));
                ledger.settle(chunk);
                free.push(chunk);
            }
            let lowest = held.iter().map(|(_, number)| number - 1).min();
            assert_eq!(ledger.settled(), lowest.unwrap_or(received));
        }
    }
}
