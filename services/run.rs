//! A running tidegate: attached, open, serving, and drained at the end.
//!
//! ```text
//!   Program::start ─► control socket ─► steering attached ─► ports open ─► links there ─► services
//!   stop           ─► gate closed (all packets stay with the kernel) ─► drained ─► Outcome
//! ```
//!
//! `tidegate run` is this with signals around it; the demo, the tests and the benchmarks are this
//! inside namespaces of the lab. It works in the network namespace of the thread that starts it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, io};

use tidegate_config::{Config, ConfigError};
use tidegate_dataplane::steer::{self, Steering};
use tidegate_runtime::clock::{Clock, TAI_MINUS_UTC_SECONDS, TaiOffset, monotonic_ns};
use tidegate_runtime::control::{self, ControlError, Handlers, Server};
use tidegate_runtime::metrics::registry::Registry as Metrics;
use tidegate_runtime::metrics::snapshot::Snapshot;
use tidegate_runtime::plan::{Admission, Plan};
use tidegate_runtime::runtime::{Report, Runtime, StartError, Stopper};
use tracing::warn;

use crate::compose::{Composed, compose};
use crate::links::{Following, Links};
use crate::registry::Registry;

/// Why tidegate could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// A kind or an option that the config got wrong.
    Config(ConfigError),
    /// An interface refused the steering program.
    Steer(steer::Error),
    /// The shards did not start.
    Start(StartError),
    /// The kernel does not tell of links, or gives no thread that listens.
    Links(io::Error),
    /// The control socket is taken or cannot be made.
    Control(ControlError),
    /// `runtime.control_socket` is no path for a socket.
    ControlPath {
        /// The path as configured.
        path: Box<Path>,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Steer(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Links(error) => write!(f, "following the links failed: {error}"),
            Self::Control(error) => error.fmt(f),
            Self::ControlPath { path } => write!(
                f,
                "runtime.control_socket is {}; allowed is a path such as /run/tidegate/main.sock, \
                 that ends in .sock",
                path.display()
            ),
        }
    }
}

impl error::Error for RunError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Steer(error) => error.source(),
            Self::Start(error) => error.source(),
            Self::Control(error) => error.source(),
            Self::Links(_) | Self::ControlPath { .. } => None,
        }
    }
}

macro_rules! from {
    ($($Cause:ty => $Variant:ident),+) => {
        $(impl From<$Cause> for RunError {
            fn from(cause: $Cause) -> Self {
                Self::$Variant(cause)
            }
        })+
    };
}

from!(ConfigError => Config, steer::Error => Steer, StartError => Start, ControlError => Control);

/// A tidegate at work.
pub struct Program {
    runtime: Runtime,
    metrics: Arc<Metrics>,
    steerings: Vec<Arc<Steering>>,
    control: Server,
    following: Following,
}

/// What a tidegate did, when it has left.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the shards say.
    pub report: Report,
    /// The last of the numbers.
    pub snapshot: Snapshot,
}

impl Program {
    /// Starts what `config` says with the services of `registry`, in the calling thread's network
    /// namespace. When this returns, packets are served.
    ///
    /// # Errors
    ///
    /// [`RunError`]; nothing is left behind.
    pub fn start(config: &Config, registry: &Registry) -> Result<Self, RunError> {
        let metrics = Metrics::new(&config.runtime.instance, monotonic_ns());
        // Before anything is touched: two of one name must not collide.
        let control = serve_control(config, Arc::clone(&metrics))?;
        let mut links =
            Links::open(config, monotonic_ns()).map_err(|it| RunError::Links(it.into()))?;
        let Composed { steerings, shards, policy } = compose(config, registry)?;
        for steering in &steerings {
            let (interface, read) = (steering.interface().to_owned(), Arc::clone(steering));
            metrics.add_steering(&interface, move || counters(&read));
        }
        let mut plan = Plan::new(shards, policy, Arc::clone(&metrics));
        plan.tai_correction_seconds = tai_correction();
        let gates = steerings.clone();
        plan.admit = Box::new(move |admission| admit(&gates, admission));
        let begin = |patience| links.settle(patience, monotonic_ns());
        let runtime = Runtime::start_when(plan, begin)?;
        let following = links.follow(monotonic_ns).map_err(RunError::Links)?;
        Ok(Self { runtime, metrics, steerings, control, following })
    }

    /// What asks it to leave, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.runtime.stopper()
    }

    /// The numbers as last published.
    pub fn snapshot(&self) -> Snapshot {
        self.metrics.snapshot(monotonic_ns())
    }

    /// The programs on the interfaces, in the config's order.
    pub fn steerings(&self) -> &[Arc<Steering>] {
        &self.steerings
    }

    /// Where `stats` finds it.
    pub fn control_socket(&self) -> &Path {
        self.control.path()
    }

    /// Waits until it is asked to leave, or a shard ends; then drains.
    pub fn wait(self) -> Outcome {
        let Self { runtime, metrics, steerings, control, following } = self;
        let report = runtime.wait();
        // What the end does to the links is no news.
        drop(following);
        let snapshot = metrics.snapshot(monotonic_ns());
        drop((steerings, control));
        Outcome { report, snapshot }
    }

    /// Drains now.
    pub fn stop(self) -> Outcome {
        self.stopper().stop();
        self.wait()
    }
}

fn serve_control(config: &Config, metrics: Arc<Metrics>) -> Result<Server, RunError> {
    let path = control_path(config)?;
    let named = path.extension().is_some_and(|it| it == "sock");
    let parts = path.parent().zip(path.file_stem().and_then(|it| it.to_str()));
    let Some((directory, stem)) = parts.filter(|_| named) else {
        return Err(RunError::ControlPath { path: path.into() });
    };
    let handlers = Handlers::new().on("stats", move |_| {
        serde_json::to_value(metrics.snapshot(monotonic_ns())).map_err(|error| error.to_string())
    });
    Ok(Server::start(directory, stem, handlers)?)
}

/// The socket that the config names, or the one of its instance.
fn control_path(config: &Config) -> Result<PathBuf, RunError> {
    match &config.runtime.control_socket {
        Some(path) => Ok(path.clone()),
        None => Ok(control::socket_path(&control::directory(), &config.runtime.instance)?),
    }
}

/// CLOCK_TAI is right only where something (ptp4l, chrony) told the kernel the leap seconds.
fn tai_correction() -> u32 {
    match Clock::machine().tai_offset() {
        TaiOffset::Known(_) => 0,
        TaiOffset::Unset => {
            warn!(
                "the kernel does not know TAI: its offset is 0. Taking 37 s; set it with ptp4l \
                 or chrony (leapsectz right/UTC)"
            );
            TAI_MINUS_UTC_SECONDS
        }
    }
}

fn admit(gates: &[Arc<Steering>], admission: Admission) {
    for steering in gates {
        if let Err(error) = steering.pass_all(admission == Admission::Closed) {
            warn!(interface = steering.interface(), %error, "the gate did not move");
        }
    }
}

fn counters(steering: &Steering) -> BTreeMap<String, u64> {
    let Ok(counters) = steering.counters() else { return BTreeMap::new() };
    let received = ("received".to_owned(), counters.received.packets);
    let outcomes = counters.named().map(|(name, _, tally)| (name.to_owned(), tally.packets));
    outcomes.chain([received]).collect()
}
