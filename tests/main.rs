//! The program from outside.

<<<<<<< HEAD
mod attach;
mod own_namespace;
mod steer;
=======
// First, so that the others know its macro.
#[macro_use]
mod require;

mod lab;
mod links;
>>>>>>> refs/heads/lab
