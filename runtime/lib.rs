//! Shards and time.

pub mod clock;
pub mod wheel;
