//! The program from outside.

mod attach;
mod own_namespace;
mod steer;
