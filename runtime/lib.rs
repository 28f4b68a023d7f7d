//! Shards and time: a core's thread, its packets, and the services that handle them.
//!
//! ```text
//!   shard 0 (CPU 2)                                     shard 1 (CPU 3)
//!   ┌───────────────────────────────────────────────┐   ┌─────────────────
//!   │ port 0: RX ─┐                    ┌─ TX :port 0 │   │ the same again,
//!   │             ├─► demux ─► inbox ─►│             │   │ nothing shared
//!   │ port 1: RX ─┘  by       service a├─ TX :port 1 │   │
//!   │              selector   service b└─ reinject   │   │
//!   │ wheel ─────── deadlines ───► ▲                 │   │
//!   └──────────── mail ────────────┴─────────────────┘   └─────────────────
//!                  ▲ closures, answers (control only)           ▲
//!                  └───────────────── Shards ───────────────────┘
//! ```
//!
//! *A shard* is one thread on one CPU with its own ports, memory and services. It takes no lock
//! and shares no data; other threads send it messages ([`shards`]).
//!
//! *A turn* is one pass of its loop: take what the rings have, hand it to the services that their
//! selectors name, fire timers, poll the services that are ready, hand over what they did. The
//! time is read once per turn and is the time of everything in it. A turn allocates nothing and
//! waits for nothing. See [`turn`].
//!
//! *A service* is one type with an async function that owns its loop ([`service::Service`]) or is
//! called per burst ([`service::BurstHandler`]). It receives frames, gives each its
//! [`verdict`], takes blank frames and sends them, sleeps until deadlines. A service that panics,
//! fails, hoards or forgets frames is contained and named; its neighbours go on.
//!
//! The same [`shard::Shard`] runs under an executor with sockets ([`runtime`]) and under a manual
//! clock with rings in memory ([`sim`]). What it refuses to do: know a kind of service, read a
//! configuration, ask the machine for the time anywhere but in [`clock`].
//!
//! Where to read on: [`service`] to write one, [`sim`] to test it, [`plan`] and [`runtime`] to
//! run it, [`shard`] to see how.

pub mod burst;
pub mod clock;
pub mod context;
pub mod control;
mod cpus;
mod demux;
mod drain;
pub mod executor;
pub mod gate;
pub mod instances;
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
pub mod signals;
pub mod sim;
mod sleep;
pub mod task;
pub mod turn;
pub mod verdict;
pub mod wake;
pub mod watchdog;
pub mod wheel;
