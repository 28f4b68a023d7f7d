//! Flood scrubbing.
mod limiter;
mod siphash;
