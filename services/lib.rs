//! Services.

pub mod stream;
