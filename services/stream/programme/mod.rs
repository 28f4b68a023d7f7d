//! Sound and ancillary data beside the pictures: one programme, on one clock.
//!
//! ```text
//!   TAI ──┬─ k*T ──────► pacer ─► groups of video ─┐
//!         ├─ k*48 samples ─► cadence ─► a packet ──┤─► with the group of that moment,
//!         └─ k*T ──────────► cadence ─► a packet ──┘   or alone where none is near
//! ```
//!
//! All of it follows from TAI: frame `k`, the samples that sound while it is shown and its timecode
//! have RTP timestamps of the same moment, whenever the sender was started and however it was
//! delayed. That is lip-sync, and a test compares it ([`lanes`]).
//!
//! There is one loop, the video's, and it waits for the next thing that is due. A packet that is due
//! shortly before a group goes out behind it, in the same wake-up: it costs no system call and is
//! later by less than [`lanes::JOIN_NS`]. Where no group is near, in the gap between frames, it goes
//! alone. Packets are built before the wait, so that a group is never held up for one.
//!
//! [`cadence`] says when; [`lanes`] builds and sends; [`alone`] is the service without pictures.
//! [`receive`] takes the same apart, and [`listen`] is the receiver without pictures.

pub mod alone;
pub mod cadence;
pub mod lanes;
pub mod listen;
pub mod options;
pub mod receive;

pub use alone::EssenceSend;
pub use lanes::Lanes;
pub use listen::EssenceReceive;
