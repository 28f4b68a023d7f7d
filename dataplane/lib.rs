//! Frames and wire.

pub mod sys;
