//! What the runtime is to do, decided by whoever composes the program.
//!
//! A plan names no configuration file and no kind of service: `main` fills it from the
//! configuration and the registry. It crosses to the shards' threads and is opened there.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::metrics::registry::Registry;
use crate::port::Opener;
use crate::runtime::{Event, Stopper};
use crate::service::Service;
use crate::task::Factory;

/// What a shard does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on. Lowest latency, a whole core. Not obeyed where shards share a CPU: there it is
    /// taken as [`IDLE_WHERE_SHARED`], so that one does not starve the other.
    Spin,
    /// Polls on for so many nanoseconds, then sleeps until something happens.
    After(u64),
}

/// Idle time of shards that share a CPU and were told to spin.
///
/// The other shard waits for at most this long, beyond what the scheduler gives anyway. Lower
/// means more sleeps, each of which costs about 20 us of system calls.
pub const IDLE_WHERE_SHARED: Idle = Idle::After(20_000);

/// Whether a service that failed or panicked is built anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// It stays away; its frames are dropped as unclaimed.
    Never,
    /// Always, [`RESTART_DELAY_NS`] later.
    #[default]
    Always,
    /// As `Always`, but so many times in any minute at most; once more and it stays away.
    PerMinute(u32),
}

/// Time between a service's failure and its next beginning.
///
/// Lower and a service that fails at once fills the log and takes its neighbours' time by being
/// built; higher and a single failure costs more packets.
pub const RESTART_DELAY_NS: u64 = 100_000_000;

/// Whether the steering programs hand packets to the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// All shards are ready: what the selectors want is theirs.
    Open,
    /// The shards drain: everything stays with the kernel.
    Closed,
}

/// Whether services may begin, once all ports are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// There is nothing left to wait for.
    Now,
    /// Not yet; ask again.
    Later,
}

/// Everything that a [`Runtime`](crate::runtime::Runtime) is to run.
pub struct Plan {
    /// The shards; their order numbers them.
    pub shards: Vec<ShardPlan>,
    /// What they share.
    pub policy: Policy,
    /// Where they count.
    pub registry: Arc<Registry>,
    /// Added to the machine's TAI; see
    /// [`Clock::with_tai_correction`](crate::clock::Clock::with_tai_correction).
    pub tai_correction_seconds: u32,
    /// Called when all shards are ready and when they are to drain, on the thread that started
    /// them.
    pub admit: Box<dyn FnMut(Admission) + Send>,
    pub(crate) stopper: Stopper,
    pub(crate) events: Receiver<Event>,
}

impl Plan {
    /// A plan for these shards that counts in `registry` and admits packets by itself.
    pub fn new(shards: Vec<ShardPlan>, policy: Policy, registry: Arc<Registry>) -> Self {
        let (stopper, events) = Stopper::pair();
        Self {
            shards,
            policy,
            registry,
            tai_correction_seconds: 0,
            admit: Box::new(|_| ()),
            stopper,
            events,
        }
    }

    /// What asks the runtime to leave, before there is one: a signal may come while it starts.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// One service on one shard.
#[derive(Debug)]
pub struct ServicePlan {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// Makes it.
    pub factory: Factory,
    /// Selectors whose frames it gets, as pairs of port (of its shard) and selector index.
    pub selectors: Vec<(usize, u16)>,
    /// Frames that it may hold at a time, those waiting for it included. At least 1.
    pub held_frames_max: u32,
}

impl ServicePlan {
    /// A plan for `S` that gets no packets yet and may hold [`HELD_FRAMES_MAX`].
    pub fn of<S: Service>(name: &str, options: S::Options) -> Self {
        Self {
            name: name.into(),
            factory: Factory::of::<S>(options),
            selectors: Vec::new(),
            held_frames_max: HELD_FRAMES_MAX,
        }
    }

    /// The same, with the packets of one more selector of a port.
    #[must_use]
    pub fn selector(mut self, port: usize, selector: u16) -> Self {
        self.selectors.push((port, selector));
        self
    }

    /// The same, allowed to hold so many frames.
    #[must_use]
    pub fn held_frames_max(self, held_frames_max: u32) -> Self {
        Self { held_frames_max, ..self }
    }
}

/// Frames that a service may hold where nothing else is said.
///
/// A quarter of the default UMEM: a service that stops settling costs its neighbours no frames.
/// Lower and a burst of the network is dropped as over budget; higher and the fill ring runs dry
/// first, which the kernel counts and no service is named for it.
pub const HELD_FRAMES_MAX: u32 = 1024;

/// One port of a shard.
pub struct PortPlan {
    /// For messages, as in `eth0 queue 1`.
    pub name: Box<str>,
    /// Opens it.
    pub opener: Opener,
}

impl fmt::Debug for PortPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortPlan").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One shard.
#[derive(Debug, Default)]
pub struct ShardPlan {
    /// The CPU to run on. `None` leaves the choice to the runtime.
    pub cpu: Option<usize>,
    /// Its ports; their order numbers them.
    pub ports: Vec<PortPlan>,
    /// Its services; their order is the order in which they are polled.
    pub services: Vec<ServicePlan>,
}

/// Times and policies that all shards share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// See [`Idle`].
    pub idle: Idle,
    /// See [`Restart`].
    pub restart: Restart,
    /// A turn that takes longer is reported as a stall.
    pub stall_budget_ns: u64,
    /// After so long a drain ends, settled or not.
    pub drain_timeout_ns: u64,
}

impl Default for Policy {
    /// Sleep after 50 us, restart always, stalls from 10 ms, 5 s to drain.
    fn default() -> Self {
        Self {
            idle: Idle::After(50_000),
            restart: Restart::Always,
            stall_budget_ns: 10_000_000,
            drain_timeout_ns: 5_000_000_000,
        }
    }
}
