//! Services.
pub mod scrub;
