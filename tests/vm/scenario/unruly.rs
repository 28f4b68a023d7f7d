//! Guests that do not do as they are told: for the tests of the harness itself.

use std::{process, thread};

use super::Scenario;
use crate::machine::Nics;

/// Never comes to an end.
pub(crate) const HANGS: Scenario = unruly("unruly::hangs", |_| {
    loop {
        thread::park();
    }
});

/// The guest's first process ends, which no kernel survives.
pub(crate) const DIES: Scenario = unruly("unruly::dies", |_| process::exit(7));

/// A mistake of a scenario.
pub(crate) const PANICS: Scenario = unruly("unruly::panics", |_| panic!("these are its words"));

/// All of them.
pub(super) static ALL: &[Scenario] = &[HANGS, DIES, PANICS];

const fn unruly(name: &'static str, play: fn(Nics) -> String) -> Scenario {
    Scenario { name, nics: Nics::Virtio, play, judge: |_, _| unreachable!("it has no facts") }
}
