//! Services, and the program around them.

pub mod cli;
pub mod echo;
pub mod registry;
pub mod scrub;
//! Services.

pub mod lab;
