//! Services, and the program around them.

pub mod cli;
pub mod echo;
pub mod lab;
pub mod registry;
pub mod scrub;
