//! What a service learns and registers while it is built.

use crate::port::PortFacts;
use crate::shared::{ShardId, Shared};
use crate::tally::{Counter, Gauge, Tally};
use crate::verdict::DropReason;

/// The shard as a service sees it that is being built.
///
/// Names are `[a-z0-9_]+` and stand beside the service's own name in what is exported. A name
/// that is registered again, as by a service that is built anew, is the same counter.
pub struct Build<'a> {
    shared: &'a Shared,
    index: usize,
}

impl<'a> Build<'a> {
    pub(crate) const fn new(shared: &'a Shared, index: usize) -> Self {
        Self { shared, index }
    }

    fn tally(&self) -> &'a Tally {
        &self.shared.services[self.index].tally
    }

    /// Name of the service in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.services[self.index].name
    }

    /// The shard that will run it.
    pub const fn shard(&self) -> ShardId {
        self.shared.id
    }

    /// The ports of the shard, in the order of their numbers.
    pub fn ports(&self) -> &'a [PortFacts] {
        &self.shared.facts
    }

    /// Most frames that the service may hold.
    pub fn held_frames_max(&self) -> u32 {
        self.shared.services[self.index].held_max
    }

    /// Time of this turn.
    pub fn now_ns(&self) -> u64 {
        self.shared.now_ns.get()
    }

    /// Registers a number that only grows.
    ///
    /// # Panics
    ///
    /// When the name is not `[a-z0-9_]+` or is one too many
    /// ([`COUNTERS_MAX`](crate::tally::COUNTERS_MAX)).
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.tally().counter(name, help)
    }

    /// Registers a number that goes up and down.
    ///
    /// # Panics
    ///
    /// When the name is not `[a-z0-9_]+` or is one too many
    /// ([`GAUGES_MAX`](crate::tally::GAUGES_MAX)).
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.tally().gauge(name, help)
    }

    /// Registers a reason for which frames are dropped.
    ///
    /// # Panics
    ///
    /// When the name is not `[a-z0-9_]+` or is one too many
    /// ([`DROP_REASONS_MAX`](crate::verdict::DROP_REASONS_MAX)).
    pub fn drop_reason(&mut self, name: &str, help: &str) -> DropReason {
        self.tally().drop_reason(name, help)
    }
}
