//! Services.

pub mod cli;
