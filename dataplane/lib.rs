//! Frames and wire.
