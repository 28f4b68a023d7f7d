//! Operating a scrubber that runs.
//!
//! ```text
//!                         control side                                    shard
//!   rules, SIGHUP ─► Keeper ── generation, ready for use ─► mail ─► Instance ─► Judge
//!                      ▲ what it replaced ◄──────────────────────────┘  │  │
//!   top ───────────────┼── who sends most ◄──────────────────── Heavy ──┘  │
//!   capture ─► Capture ┴── samples ◄─────────── Ring ◄───────── Tap ───────┘
//!   every 100 ms ─► Guard ── counts, states ─► steering programs; log, hook
//!                   Fates ◄── what became of them ◄─────────── Ledger
//! ```
//!
//! Everything that takes long, waits, reads files or takes memory is on the control side, in the
//! [`operator`]. A shard takes an order between two bursts, and no order is longer than a walk over
//! its rules: what it needs comes ready made, and what it no longer needs goes back to be dropped.
//! So rules are replaced under flood, and no packet is judged by half a set.

mod capture;
mod edit;
mod fates;
mod generation;
mod guard;
mod hook;
mod instance;
mod keeper;
mod ledger;
mod operator;
mod promote;
mod ring;
mod show;
mod tap;
#[cfg(test)]
mod tests;
mod top;

pub(crate) use generation::Current;
pub(crate) use instance::Instance;
pub(crate) use ledger::End;
pub(crate) use operator::Scrubber;

use crate::scrub::load::Rules;
use crate::scrub::rules::Files;

/// How many rules `text`, which is called `name`, has; asks no process that runs.
///
/// # Errors
///
/// What is wrong with it, as an operator is to read it.
pub(crate) fn check_rules(text: &str, name: &str, files: Files<'_>) -> Result<usize, String> {
    let rules = Rules::read_with(text, name, files).map_err(|error| error.to_string())?;
    Ok(rules.set().rules.len())
}
