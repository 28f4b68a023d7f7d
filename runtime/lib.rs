//! Shards and time.

pub mod clock;
pub mod gate;
pub mod mailbox;
pub mod metrics;
pub mod shards;
pub mod watchdog;
pub mod wheel;
