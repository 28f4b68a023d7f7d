//! Frames that move together.

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::xsk::queue::{BURST_FRAMES, Group};

use crate::shared::Mail;

/// Frames in one burst, at most.
///
/// 64 packets of 1262 octets are 80 KiB, which still fits a second-level cache together with
/// what a service keeps. At 8 the cost of a burst (one poll of a future) is 5 ns a packet, at 64
/// it is under 1; at 256 the first packet waits for 255 others and the cache gains nothing.
pub const BURST_FRAMES_MAX: usize = BURST_FRAMES;

/// A group of frames as `send` and `recv` move them, without allocating.
pub type Frames = Group;

/// What one `recv` brought: at most [`BURST_FRAMES_MAX`] frames. Bursts are never waited for: one
/// holds what was there.
///
/// Keep one for the life of a service: its vector and that of the inbox are exchanged by each
/// `recv`, so that a burst is received without moving its frames.
#[derive(Debug, Default)]
pub struct Burst {
    /// The frames, in the order of their RX ring. The receiver takes them out to settle them.
    pub frames: Vec<Frame>,
    /// Time of the turn that took them from the ring.
    pub at_ns: u64,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "Drained means that the service has to leave"]
pub enum Delivery {
    /// What was waited for is there.
    Received,
    /// The deadline came first.
    TimedOut,
    /// The shard drains and has nothing more of this kind: settle what is held, and return.
    Drained,
}

/// How a wait for frames or a message ended.
#[derive(Debug)]
#[must_use = "a message may be in it"]
pub enum Arrival {
    /// The burst has frames.
    Frames,
    /// A message, between two bursts.
    Mail(Mail),
    /// The deadline came first.
    TimedOut,
    /// As [`Delivery::Drained`].
    Drained,
}
