//! Shards and time.

pub mod clock;
pub mod gate;
pub mod metrics;
pub mod wheel;
