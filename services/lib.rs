//! Services.

pub mod echo;
pub mod registry;
pub mod scrub;
