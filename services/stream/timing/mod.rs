//! When packets leave, and how well they kept to it: ST 2110-21.
//!
//! - [`rate`]: frames per second as an exact ratio, and the moments that follow from it
//! - [`pace`]: when each group of a frame is due, and what to do after a delay

pub mod pace;
pub mod rate;

pub use rate::Rate;
