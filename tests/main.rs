//! The program from outside.

// First, so that the others know its macro.
#[macro_use]
mod require;

mod lab;
mod links;
