//! What a service learns and registers while it is built.

use crate::metrics::registry::ServiceMetrics;
use crate::metrics::{Counter, DropReason, Gauge, Level, NameError, Word};
use crate::port::PortFacts;
use crate::shared::{ShardId, Shared};

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

    fn metrics(&self) -> &'a ServiceMetrics {
        &self.shared.services[self.index].account.metrics
    }

    /// Name of the service in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.services[self.index].name
    }

    /// The shard that will run it.
    pub const fn shard(&self) -> ShardId {
        self.shared.id
    }

    /// Whether it is built again after it failed. Then other services of the shard are at work, and
    /// it must not wait for anything.
    pub fn is_anew(&self) -> bool {
        self.metrics().counters.restarts.get() > 0
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
    /// When the name cannot be exported, stands for something else, or is one too many: a mistake
    /// of the service's author. A panic in `build` is a refusal with this message.
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.metrics().counter(name, help).unwrap_or_else(refuse)
    }

    /// Registers a number that goes up and down.
    ///
    /// # Panics
    ///
    /// As [`Self::counter`].
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.metrics().gauge(name, help).unwrap_or_else(refuse)
    }

    /// Registers a signed number that goes up and down, or an extreme of which the service keeps
    /// the account.
    ///
    /// # Panics
    ///
    /// As [`Self::counter`].
    pub fn level(&mut self, name: &str, help: &str) -> Level {
        self.metrics().level(name, help).unwrap_or_else(refuse)
    }

    /// Registers something that is said in one of `words`, the first to begin with.
    ///
    /// # Panics
    ///
    /// As [`Self::counter`].
    pub fn word(&mut self, name: &str, help: &str, words: &[&str]) -> Word {
        self.metrics().word(name, help, words).unwrap_or_else(refuse)
    }

    /// Registers a reason for which frames are dropped.
    ///
    /// # Panics
    ///
    /// As [`Self::counter`].
    pub fn drop_reason(&mut self, name: &str, help: &str) -> DropReason {
        self.metrics().drop_reason(name, help).unwrap_or_else(refuse)
    }

    /// Registers a reason whose name an operator chose.
    ///
    /// # Errors
    ///
    /// What is wrong with the name.
    pub fn drop_reason_named_by_operator(
        &mut self,
        name: &str,
        help: &str,
    ) -> Result<DropReason, NameError> {
        self.metrics().drop_reason(name, help)
    }
}

fn refuse<T>(error: NameError) -> T {
    panic!("{error}")
}
