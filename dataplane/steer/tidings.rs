//! What a shard tells the program of one queue: that it lives, and how far it is.
//!
//! The program numbers the packets of protected destinations that it redirects, one row for each
//! queue. A flow of which a packet is out is not overtaken: later packets that may pass follow it
//! (marked [`ordered`](super::Metadata::ordered)) until everything up to its last number is
//! *settled*: dropped, sent, or with the stack.
//!
//! ```text
//!     program   number 7 ─► ring ─► shard ─► settled, the injector's batch handed over
//!        ▲  all up to 7 is settled, and the turn began at ... ◄── end of turn │
//!        └────────────────────── mapped memory ◄──────────────────────────────┘
//! ```

use super::error::Error;
use super::program::QUEUES_MAX;
use crate::sys::bpf::SharedValues;

/// Octets of `struct shard` and of `struct queue` in protect.bpf.h.
pub(super) const SHARD_OCTETS: usize = 64;

/// How often a shard has to tell that it lives, with a margin: the program takes one that was
/// silent for 80 ms for standing still. Lower wakes idle shards for nothing; higher and one that a
/// busy machine delays is taken for dead.
pub const BEAT_NS: u64 = 20_000_000;

/// The pen of one shard for one queue.
#[derive(Debug)]
pub struct Tidings {
    shards: SharedValues,
    queues: SharedValues,
    at: usize,
    settled: u64,
}

impl Tidings {
    pub(super) fn new(
        shards: SharedValues,
        queues: SharedValues,
        queue: u32,
    ) -> Result<Self, Error> {
        if queue >= QUEUES_MAX {
            return Err(Error::NoQueue { queue, queues: QUEUES_MAX });
        }
        let at = queue as usize * SHARD_OCTETS;
        let settled = shards.load_u64(at + 8);
        Ok(Self { shards, queues, at, settled })
    }

    /// For tests: nobody listens but who has the memory's other hold.
    #[cfg(test)]
    pub(crate) fn unheard() -> std::io::Result<Self> {
        let memory = || SharedValues::private(SHARD_OCTETS);
        Ok(Self { shards: memory()?, queues: memory()?, at: 0, settled: 0 })
    }

    /// For tests: the program gave numbers up to this one.
    #[cfg(test)]
    pub(crate) fn set_numbered(&mut self, number: u64) {
        self.queues.store_u64(self.at, number);
    }

    /// Tells that the shard lives: `now_ns` is `CLOCK_MONOTONIC`, which is the program's clock too.
    #[inline]
    pub fn beat(&mut self, now_ns: u64) {
        self.shards.store_u64(self.at, now_ns);
    }

    /// Tells that every packet numbered up to `number` is settled. What did that is visible to the
    /// program's processor before. Never goes back.
    #[inline]
    pub fn settle(&mut self, number: u64) {
        if number > self.settled {
            self.settled = number;
            self.shards.store_u64(self.at + 8, number);
        }
    }

    /// The last number told to be settled.
    pub const fn settled(&self) -> u64 {
        self.settled
    }

    /// The last number that the program gave.
    pub fn numbered(&self) -> u64 {
        self.queues.load_u64(self.at)
    }
}
