//! Frames and wire: everything between the NIC and a shard, and nothing above.
//!
//! ```text
//!             steer                    xsk                        umem, frame
//!   NIC ──► XDP program ──REDIRECT──► RX ring ──► Queue::recv ──► Frame ──► (a service)
//!             │ PASS                  fill ring ◄─ Queue::refill ◄─ pool ◄─── release
//!             ▼                       TX ring ◄─── Queue::send ◄─────────────  transmit
//!        kernel stack ◄── inject      completion ring ──► Queue::reap ──► pool
//! ```
//!
//! This room knows no executor, takes no decision of policy and asks nobody the time. What a
//! frame is and who may hold it is told in [`frame`]; how the four rings work in [`xsk`]; what a
//! driver does that others do not, in [`driver`].
//!
//! `unsafe` lives in [`sys`], [`umem`] and [`xsk::ring`] alone.

pub mod driver;
pub mod frame;
pub mod inject;
pub mod offload;
pub mod pcap;
pub mod steer;
pub mod sys;
pub mod umem;
pub mod wire;
pub mod xsk;
