//! Uncompressed studio video: a sender and a receiver of RFC 4175 over RTP, as ST 2110-20 uses it.
//!
//! ```text
//!   source ─► picture ─► packetizer ─► Frame (in place) ─► group ─► send, one wake-up
//!                            ▲                    ▲          ▲
//!                         format               departure    timing: k*T, TRS, CMAX, the class held
//!
//!   Frame ─► wire ─► assembler (sequence: lost, twice, late) ─► complete frame ─► sink (a thread)
//! ```
//!
//! Two services: [`sender::StreamSend`] and [`receiver::StreamReceive`]. All that can be computed
//! without a shard is in files of its own; the two services are the loops around them.
//!
//! Sent: progressive 4:2:2 of 8 or 10 bits, one-line GPM packets, over IPv4. Received: the same
//! pictures in any packing. Not yet: IPv6, interlaced pictures, other samplings, two paths
//! (ST 2022-7), SDP.

pub mod assembler;
pub mod departure;
pub mod format;
pub mod neighbour;
pub mod packetizer;
pub mod pattern;
pub mod pgroup;
pub mod picture;
pub mod receiver;
pub mod sender;
pub mod sequence;
pub mod sink;
pub mod source;
pub mod timing;
pub mod y4m;

pub use receiver::StreamReceive;
pub use sender::StreamSend;

#[cfg(test)]
mod tests;
