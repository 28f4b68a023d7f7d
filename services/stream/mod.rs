//! Uncompressed studio video: a sender and a receiver of RFC 4175 over RTP, as ST 2110-20 uses it.
//!
//! ```text
//!   source ─► picture ─► packetizer ─► Frame (in place) ─► group ─► send, one wake-up
//!                            ▲                    ▲          ▲
//!                   format, packing    header, departure    timing: k*T, TRS, CMAX, the class held
//!
//!   Frame ─► wire ─► assembler (redundancy: lost, twice, late) ─► frame of pixels ─► sink (a thread)
//! ```
//!
//! Two services: [`sender::StreamSend`] and [`receiver::StreamReceive`]. All that can be computed
//! without a shard is in files of its own; the two services are the loops around them.
//!
//! Sent and received: every sampling, depth and scan of [`video::format`], in every packing, over
//! IPv4 and IPv6, to receivers and groups, tagged or not: [`header`], [`route`]. A receiver may be
//! told what it receives by an SDP, a sender's is printed: [`sdp`].

pub mod ancillary;
pub mod audio;
pub mod departure;
pub mod follow;
pub mod handoff;
pub mod header;
pub mod membership;
pub mod outcome;
pub mod probe;
pub mod programme;
pub mod receiver;
pub mod redundancy;
pub mod route;
pub mod sdp;
pub mod sender;
pub mod sink;
pub mod source;
pub mod timing;
pub mod video;
mod worker;
pub mod y4m;

pub use programme::{EssenceReceive, EssenceSend};
pub use receiver::StreamReceive;
pub use sender::StreamSend;

#[cfg(test)]
mod tests;
