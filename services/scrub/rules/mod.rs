//! Rules: what an operator says of packets, read into types and not yet compiled.
//!
//! ```text
//! set local = { 198.18.0.0/24, 2001:db8::/32 }
//! set bad   = file "bad-prefixes.txt"
//!
//! bad:      drop when ip.src in $bad
//! monlist:  drop when udp.srcport == 123 and payload[3] == 0x2a and ip.len > 400
//! cookie:   challenge when tcp.flags.syn and not tcp.flags.ack
//! each:     limit 1000 packets/s burst 2000 per source when ip.dst in $local
//! trial:    dry-run drop when dns.qry.type == ANY
//! ```
//!
//! One rule a line, in the order in which they are tried: its name, its action, `when`, and an
//! expression. Names of fields are Wireshark's where Wireshark has one.
//!
//! A test of something that a packet does not have is false, whatever it asks: `udp.port != 53`
//! holds for no TCP segment, `not udp.port == 53` for each.

//! [`read`] makes types of text and says all that is wrong in it; [`oracle`] says what they mean.
//! The language itself is in docs/rules.md.
//!
//! ```text
//!  text ─► lexer ─► statements ─► action, parser ─► RuleSet ─► oracle, or the matcher
//!                       └► sets ─────┘  └► contradiction
//! ```
//!
//! Not done here: looking up names of hosts, and patterns. Both take an unbounded time for a packet
//! or for a reload.

mod action;
mod contradiction;
mod cursor;
mod display;
pub(crate) mod expression;
pub(crate) mod field;
mod lexer;
mod mistake;
pub(crate) mod oracle;
mod parser;
mod reader;
pub(crate) mod rule;
mod sets;
mod subject;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod value;
mod words;

pub(crate) use mistake::Mistake;
pub(crate) use reader::{Files, Preset, RULES_MAX, definitions, read};
