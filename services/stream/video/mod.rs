//! ST 2110-20: what pictures are, and how they become packets and pictures again.
//!
//! - [`mod@format`]: size, sampling, depth, scan and rate, checked
//! - [`pgroup`]: the smallest groups of pixels; [`convert`]: to and from planes of samples
//! - [`packing`]: which pieces of a field are in which packet
//! - [`picture`]: pixels as the packetizer reads them; [`pattern`]: a picture that proves itself
//! - [`colour`]: pictures as screens want them
//! - [`packetizer`]: packets, built in place; [`assembler`]: packets to frames

pub mod assembler;
pub mod colour;
pub mod convert;
pub mod format;
pub mod packetizer;
pub mod packing;
pub mod pattern;
pub mod pgroup;
pub mod picture;

pub use format::{Depth, Format, Sampling, Scan, Spec};
pub use packing::Packing;
