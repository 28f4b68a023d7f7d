//! One stream by two paths, SMPTE ST 2022-7: whatever comes by either is there.
//!
//! ```text
//!   path 0 ■■■□■■■■■■□■■ ─┐            per path:  received + lost          = all
//!                         ├─► Merge ─► together:  received by any + lost   = all
//!   path 1   ■■■■□■■■■■□■ ┘
//!            └ skew ┘ what is missing on both when it has passed, is lost
//! ```
//!
//! The sender gives both paths the same RTP packets: the same SSRC, sequence numbers and timestamps.
//! The receiver takes the first of each number and does not wait: while both paths live, a packet is
//! there when the faster path brings it. Only a gap waits, until the slower path has filled it or
//! the *skew* has passed, the most that one path may be behind the other. Where a path is silent
//! for longer, nobody waits for it: see [`Merge::is_alone`].
//!
//! Nothing is estimated. There is a bit for each number and path ([`Merge`]), as many as the skew
//! has packets, so every packet is received, lost, late or a duplicate, on its path and altogether.
//!
//! [`merge`] has the account, [`skew`] the time, [`paths`] says which path a packet came by, [`export`]
//! shows it all. Nothing here knows video: audio and ancillary data, whose numbers have 16 bits, use
//! [`Merge::arrive_short`].

pub mod export;
pub mod merge;
pub mod paths;
pub mod skew;
pub mod split;

pub use export::Export;
pub use merge::{Arrival, Counts, Memory, Merge, PathCounts};
pub use paths::{Paths, Tell};
pub use skew::{Skew, SkewClass};

/// Paths of a stream, at most. ST 2022-7 allows more; nobody builds them.
pub const PATHS: usize = 2;
