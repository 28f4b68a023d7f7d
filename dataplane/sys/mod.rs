//! What the kernel is asked, and how.
//!
//! One file per interface of the kernel. Each turns numbers and pointers into
//! types on its first line and back on its last, so that the rest of the room
//! never sees either. With the UMEM and the rings this is the only place where
//! `unsafe` may stand.

pub mod ethtool;
pub mod netlink;
pub mod permission;
