//! Rule sets one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use crate::scrub::load::Rules;

/// One rule set, compiled: what all shards of a service go by at the same time.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Counts from 1.
    pub(crate) number: u64,
    /// The rules.
    pub(crate) rules: Rules,
    /// Where it comes from, in words.
    pub(crate) from: Box<str>,
    /// Packets a second at which the last destination is engaged, where any is by packets: what
    /// surges follows from it.
    pub(crate) engaged_at: Option<u64>,
}

impl Generation {
    /// Where the rule of this name is.
    pub(crate) fn place(&self, name: &str) -> Option<u32> {
        let place = self.rules.set().rules.iter().position(|rule| *rule.name == *name);
        place.and_then(|place| u32::try_from(place).ok())
    }

    /// The name of the rule at this place.
    pub(crate) fn name(&self, place: u32) -> Option<&str> {
        self.rules.set().rules.get(place as usize).map(|rule| &*rule.name)
    }
}

/// The generation in force: what an instance begins with that is built now.
#[derive(Debug)]
pub(crate) struct Current {
    generation: Mutex<Arc<Generation>>,
}

impl Current {
    /// The first generation.
    pub(crate) fn new(rules: Rules, from: &str, engaged_at: Option<u64>) -> Self {
        let first = Generation { number: 1, rules, from: from.into(), engaged_at };
        Self { generation: Mutex::new(Arc::new(first)) }
    }

    /// The one in force.
    pub(crate) fn get(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the next one in force, for instances that are built from now on.
    pub(crate) fn set(&self, next: Arc<Generation>) {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(next.number, generation.number + 1, "generations follow each other");
        *generation = next;
    }
}
