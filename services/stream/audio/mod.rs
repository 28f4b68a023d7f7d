//! Sound: PCM of ST 2110-30, which is AES67 with its clock fixed.
//!
//! ```text
//!   tone | WAV ─► packetizer, in place ─► packet k at k * packet time of TAI
//!
//!   packet ─► reader: lost, twice, late (16 bits of number, continued) ─► block of samples
//!                                          │ what did not come is silence, and counted
//!                                          ▼
//!                                   sink: a thread: verify | hash | WAV
//! ```
//!
//! The RTP timestamp of a sample is its number since the epoch on a clock of the sample rate
//! (ST 2110-10, 7.7), so that everything here is in samples: which packet, which block, which
//! phase of the tone. Nothing drifts, at 44.1 kHz neither.
//!
//! Not here: AES3 (ST 2110-31), and changing rates or depths, which would change samples.

pub mod format;
pub mod packetizer;
pub mod reader;
pub mod sink;
pub mod source;
pub mod tone;

pub use format::{Depth, Format, Level, Spec};
pub use packetizer::Packetizer;
pub use reader::Reader;

pub use source::Source;
