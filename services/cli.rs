//! The command line: what an operator types, and what they see.
//!
//! Each command is one file with a `run(args, out)`. What it prints goes to `out`, so a test
//! reads it; what it decides is a pure function beside it.

pub mod args;
pub mod check;
pub mod completions;
pub mod doctor;
pub mod log;
pub mod measure;
pub mod restore;
pub mod run;
pub mod scrub;
pub mod sdp;
pub mod stats;
pub mod stream;
pub(crate) mod told;
mod wrap;
