//! Shards and time.

pub mod clock;
pub mod gate;
pub mod wheel;
