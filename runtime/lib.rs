//! Shards and time.

pub mod clock;
