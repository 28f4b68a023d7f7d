//! Operating a scrubber that runs.

mod guard;
mod hook;
mod ring;
mod tap;
