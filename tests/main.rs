//! The program from outside.

// First, so that the others know its macro.
#[macro_use]
mod require;

mod attach;
mod inject;
mod lab;
mod links;
mod sockets;
mod steer;
