//! The program from outside.

// First, so that the others know its macro.
#[macro_use]
mod require;

mod attach;
mod command;
mod conformance;
mod doctor;
mod driver;
mod echo;
mod fuzz;
mod inject;
mod interop;
mod jumbo;
mod lab;
mod links;
mod offloads;
mod outside;
mod pixels;
mod protected;
mod readme;
mod scrubbing;
mod sockets;
mod steer;
mod stream;
mod tidy;
mod under_load;
mod witness;
