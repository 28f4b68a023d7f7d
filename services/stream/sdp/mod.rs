//! SDP of ST 2110: what a sender tells its receivers about its streams.
//!
//! ```text
//!   text ─► sdp-types: the syntax of RFC 8866 ─► fields, each with its line
//!                                                    │ read: medium by medium, then all together
//!                       findings ◄───────────────────┤ line, severity, clause, remedy
//!                       Session  ◄───────────────────┘
//!                          │  emit ─► text, which is read as the same session
//!                          │  explain ─► what it is, in words and numbers
//!                          └─ receive ─► what a receiver of it has to know: format, paths
//! ```
//!
//! An SDP comes from another machine, often by hand: nothing in it is believed and nothing stops
//! the reading of the rest. What it lacks or contradicts is named; whether it can be received all
//! the same is the difference between an error and a warning. The types are plain and know nothing
//! of the services; only [`receive`] knows theirs.
//!
//! Not read: compressed video (ST 2110-22), AES3 (-31), fast metadata (-41), names in place of
//! addresses, layered groups. Each is named.

pub mod ancillary;
pub mod audio;
mod check;
pub mod describe;
mod emit;
pub mod essence;
mod explain;
pub mod finding;
mod medium;
pub mod numbers;
mod parameters;
pub mod programme;
pub mod rate;
mod read;
pub mod receive;
pub mod session;
mod text;
pub mod translate;
pub mod video;
pub mod words;

pub use explain::explain;
pub use finding::{Code, Finding, Severity};
pub use medium::Place;
pub use read::{Reading, read};
pub use session::Session;
pub use text::{MEDIA_MAX, OCTETS_MAX};

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
