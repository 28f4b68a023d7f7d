//! Services, and the program around them.
//!
//! A program of one's own depends on this library alone: the other rooms are here under their
//! short names, and [`main_with`] is the whole command line.

pub mod cli;
mod compose;
mod demo;
pub mod echo;
mod entry;
pub mod lab;
mod links;
pub mod operator;
mod progress;
pub mod registry;
pub mod run;
pub mod scrub;
pub mod stream;

pub use entry::main_with;
pub use {tidegate_config as config, tidegate_dataplane as dataplane, tidegate_runtime as runtime};
