//! The program from outside.

// First, so that the others know its macro.
#[macro_use]
mod require;

mod attach;
mod lab;
mod links;
mod inject;
mod own_namespace;
mod sockets;
mod steer;
