//! A laboratory in the kernel: network namespaces, links between them, a flood
//! and witnesses. `demo`, the tests and the benchmarks run in it.
//!
//! ```text
//!     namespace "far"                          namespace "near"
//!   ┌──────────────────────┐   veth pair     ┌──────────────────────────┐
//!   │ flood ─┐             │                 │                          │
//!   │ asker ─┼─ End "sea1" ╪═════════════════╪ End "tide1" ─ the program│
//!   │ TCP   ─┘  198.18.1.2 │                 │ 198.18.1.1     under test│
//!   └──────────────────────┘                 └──────────────────────────┘
//! ```
//!
//! Nothing is left behind, however the process ends. A namespace has no name
//! and no file: it lives as long as a descriptor, a thread or a socket holds
//! it, so that the kernel itself takes it down, links and all, after a return,
//! a panic, Ctrl-C or `kill -9` alike. There is no clean-up to forget.
//!
//! Nothing gets out either. A fresh namespace has no way to the machine's
//! interfaces, a [`Wire`] only joins two namespaces of a lab, addresses are
//! those set aside for such tests (198.18.0.0/15 of RFC 2544, 2001:db8::/32 of
//! RFC 3849), and a [`flood::Flood`] can only be made from a lab's [`End`].
//!
//! It refuses to: touch an interface that it did not make, take an address or
//! an interface name from a user, run for ever. The one exception is
//! [`Wire::of_cards`], for a machine that is a lab as a whole.

mod error;
pub mod flood;
mod missing;
mod namespace;
pub mod sink;
mod wire;
pub mod witness;

pub use error::LabError;
pub use missing::missing;
pub use namespace::Namespace;
pub use wire::{End, Options as WireOptions, Wire};
