//! Services.

pub mod lab;
