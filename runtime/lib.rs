//! Shards and time.

pub mod clock;
pub mod gate;
pub mod metrics;
pub mod watchdog;
pub mod wheel;
