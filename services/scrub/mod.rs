//! Flood scrubbing: drop what floods, give the kernel back the rest.
//!
//! ```text
//!  RX ring ─► burst ─► facts ─► judge ─┬─► drop(malformed | rule | limit | default | …)
//!                                      ├─► reinject: into the kernel, on the interface it came from
//!                                      ├─► challenge: a SYN goes back as its own question
//!                                      └─► hold: a part waits for the first of its datagram
//! ```
//!
//! What is wanted and what not say rules, in a language of their own (`rules`; docs/rules.md).
//! They are tried in order: the first that drops or passes decides, a limit ends what is over it and
//! lets the rest go on. `judge` decides without doing anything: it is a function of rules, tables,
//! octets and time. The `service` around it only settles and counts.
//!
//! A packet is parsed once, however many rules there are. Every packet gets exactly one decision,
//! malformed ones included, and every drop one reason. All tables have a fixed size and a hash with
//! a secret key. Of a packet in several chunks the headers are in the first, its length is that of
//! all; only for a rule that looks at payload further behind is it copied together.
//!
//! Not done here: reassembly, state of connections (the steering program asks the kernel's), and
//! checksums: the kernel verifies those of what is given back.

mod cbpf;
mod challenge;
mod engage;
mod facts;
mod fragments;
mod heavy;
mod judge;
mod limits;
mod live;
pub(crate) mod load;
mod matcher;
mod misread;
pub(crate) mod offline;
mod options;
mod p0f;
mod presets;
mod protect;
mod rules;
mod service;
mod siphash;
mod surge;
mod trial;
mod verified;
mod wishes;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use options::Options;
pub use service::Scrub;
pub use siphash::Key;
pub use trial::{Compiled, Parsed, Rules, Trial};

pub(crate) use live::check_rules;
