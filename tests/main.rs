//! The program from outside.

mod steer;
