//! Ancillary data: timecode, captions, and what else stands beside the picture in SDI, as ST 2110-40
//! sends it (RFC 8331).
//!
//! ```text
//!   timecode | file ─► packetizer, in place ─► the packets of a field, at its k * T
//!
//!   packet ─► reader: lost, twice, late ─► ANC packets, parity and checksum judged ─► file (a thread)
//! ```
//!
//! A field's packets have the RTP timestamp of its picture, so that a caption belongs to the frame
//! that it was written for, however it travels. A field without data has a packet that says so:
//! silence would look like loss.

pub mod anc;
pub mod file;
pub mod packetizer;
pub mod payload;
pub mod reader;
pub mod sink;
pub mod source;
pub mod timecode;

pub use anc::{Anc, Head};
pub use packetizer::Packetizer;
pub use reader::Reader;
pub use source::Source;
