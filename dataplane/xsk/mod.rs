//! `AF_XDP` sockets: one queue of one interface, its four rings and its UMEM.
//!
//! ```text
//!              fill ring  ──addresses──►            RX ring  ──descriptors──►
//!   shard ───────────────────────────────► kernel ──────────────────────────► shard
//!              TX ring  ──descriptors──►           completion ring ──addresses──►
//! ```
//!
//! *Ownership.* A chunk is handed to the kernel through the fill or the TX ring and comes back
//! through the RX or the completion ring, and in no other way. [`crate::umem`] keeps the table of
//! who has which; what the kernel returns is checked against it in every build.
//!
//! *Wake-ups.* The kernel says by a flag in the ring whether it wants a system call.
//! [`Queue::kick`] reads the flag and makes at most one call for all that was queued since.
//!
//! *Bad days.* `EAGAIN`, `EBUSY`, `ENOBUFS` and `ENETDOWN` from a wake-up mean "later": they are
//! counted, and the next kick tries again. A ring that is full takes what fits and says how much.
//! Binding a queue whose earlier socket is still being torn down answers `EBUSY` for a while, so
//! [`open()`] waits for it, with a bound.
//!
//! *Long packets.* Where the bind obtained multi-buffer ([`MultiBuffer`]), a packet that no chunk
//! holds lies in several, and is one [`crate::frame::Frame`] all the same.
//!
//! What this module does not do: shared UMEM between sockets, unaligned chunks.

pub mod open;
pub mod queue;
pub mod ring;
mod sizes;
pub mod testing;
pub mod tx_metadata;

pub use crate::sys::xdp::KernelStatistics;
pub use open::{CopyMode, Error, MultiBuffer, Options, open};
pub use queue::{Backend, Bind, Census, Queue, QueueStats, TxState};
