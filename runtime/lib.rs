//! Shards and time.

pub mod burst;
pub mod clock;
pub mod context;
mod cpus;
mod demux;
mod drain;
pub mod executor;
pub mod gate;
pub mod mailbox;
pub mod metrics;
pub mod plan;
pub mod port;
pub mod report;
pub mod runtime;
pub mod service;
pub mod shard;
pub mod shards;
mod shared;
pub mod sim;
mod sleep;
pub mod task;
pub mod turn;
pub mod verdict;
pub mod wake;
pub mod watchdog;
pub mod wheel;
