//! What the kernel is asked, and how.
//!
//! One file per interface of the kernel. Each turns numbers and pointers into types on its first
//! line and back on its last, and proves its `unsafe` there, so that the rest of the room never
//! sees either.

pub mod bpf;
pub mod ethtool;
pub mod mapping;
pub mod multicast;
pub mod netlink;
pub mod permission;
pub mod tun;
pub mod xdp;
