//! Who is inside, and a door that closes.
//!
//! Work that must be finished before a shard leaves takes a [`Pass`] and gives
//! it back by dropping it. Draining closes the gate, so that nobody enters any
//! more, and waits until it is empty:
//!
//! ```
//! # use tidegate_runtime::gate::Gate;
//! let gate = Gate::new();
//! let pass = gate.enter().expect("open");
//! gate.close();
//! assert!(gate.enter().is_none());
//! assert!(!gate.is_empty(), "one is still inside");
//! drop(pass);
//! assert!(gate.is_empty());
//! ```
//!
//! One thread only: a `Cell` behind an `Rc`. A gate wakes nobody; the turn looks
//! at [`Gate::is_empty`] each time round.

use std::cell::Cell;
use std::rc::Rc;

/// Counts who is inside, until closed. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    inside: Cell<u32>,
    closed: Cell<bool>,
}

impl Gate {
    /// An open gate with nobody inside.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one in, or nobody once the gate is closed.
    pub fn enter(&self) -> Option<Pass> {
        if self.state.closed.get() {
            return None;
        }
        self.state.inside.set(self.state.inside.get() + 1);
        Some(Pass { state: Rc::clone(&self.state) })
    }

    /// Lets nobody in from now on. Those inside stay until they drop their pass.
    pub fn close(&self) {
        self.state.closed.set(true);
    }

    /// Whether [`Gate::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.state.closed.get()
    }

    /// Whether nobody is inside.
    pub fn is_empty(&self) -> bool {
        self.state.inside.get() == 0
    }

    /// Passes given out and not yet dropped.
    pub fn inside_count(&self) -> u32 {
        self.state.inside.get()
    }
}

/// The right to be inside. Dropping it leaves.
#[derive(Debug)]
#[must_use = "dropping the pass leaves the gate"]
pub struct Pass {
    state: Rc<State>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let inside = self.state.inside.get();
        debug_assert!(inside > 0, "more left than entered");
        self.state.inside.set(inside - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_those_inside() {
        let gate = Gate::new();
        assert!(gate.is_empty());
        let (one, two) = (gate.enter().unwrap(), gate.clone().enter().unwrap());
        assert_eq!(gate.inside_count(), 2);
        drop(one);
        assert!(!gate.is_empty());
        drop(two);
        assert!(gate.is_empty());
    }

    #[test]
    fn a_closed_gate_keeps_those_inside_and_admits_nobody() {
        let gate = Gate::new();
        let pass = gate.enter().unwrap();
        gate.close();
        assert!(gate.is_closed());
        assert!(gate.enter().is_none());
        assert_eq!(gate.inside_count(), 1);
        drop(pass);
        assert!(gate.is_empty());
        assert!(gate.enter().is_none(), "empty is not open");
    }

    #[test]
    fn a_pass_may_outlive_the_gate() {
        let gate = Gate::new();
        let pass = gate.enter().unwrap();
        drop(gate);
        drop(pass);
    }

    #[test]
    fn a_panic_inside_leaves_the_gate() {
        let gate = Gate::new();
        let seen = gate.clone();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _pass = seen.enter().unwrap();
            panic!("inside");
        }));
        assert!(result.is_err());
        assert!(gate.is_empty());
    }
}
