//! When packets leave, and how well they kept to it: ST 2110-21.
//!
//! ```text
//!   rate ─► schedule: T, TROFFSET, TRS ─► class: CMAX, VRX_FULL, group and lead ─► pace
//!                          │                             │
//!                          └──────────► meter ◄──────────┘  VRX and C_INST of what happened
//! ```
//!
//! - [`rate`]: frames per second as an exact ratio, and the moments that follow from it
//! - [`schedule`]: when a receiver reads each packet
//! - [`class`]: what the classes of senders allow, and how a sender uses it
//! - [`pace`]: when each group of a frame is due, and what to do after a delay
//! - [`meter`]: what a stream really did, by the EBU's formulas
//! - [`arrivals`]: the same of a stream that arrives
//! - [`capture`]: the same of a stream that somebody captured
//! - [`record`]: the worst of that over a minute and since the start; [`export`]: shown
//!
//! Nothing here knows pixels: what is sent is N packets per image, at a rate.

pub mod arrivals;
pub mod capture;
pub mod class;
pub mod export;
pub mod meter;
pub mod pace;
pub mod rate;
pub mod record;
pub mod schedule;

pub use arrivals::Arrivals;
pub use class::Class;
pub use export::Export;
pub use meter::Meter;
pub use pace::Pacer;
pub use rate::Rate;
