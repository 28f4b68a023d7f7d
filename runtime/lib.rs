//! Shards and time.

pub mod burst;
pub mod clock;
pub mod context;
pub mod control;
mod demux;
mod drain;
pub mod gate;
pub mod mailbox;
pub mod metrics;
pub mod plan;
pub mod port;
pub mod report;
pub mod service;
pub mod shard;
pub mod shards;
mod shared;
pub mod signals;
pub mod sim;
pub mod task;
pub mod turn;
pub mod verdict;
pub mod wake;
pub mod watchdog;
pub mod wheel;
