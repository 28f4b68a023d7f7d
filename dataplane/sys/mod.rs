//! System calls and kernel ABI: the thin, safe faces of what `libc` declares.
//!
//! Each file wraps one family of calls and proves its `unsafe` there, so that the rest of the
//! room is safe code.

pub mod mapping;
pub mod xdp;
