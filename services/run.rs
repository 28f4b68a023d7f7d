//! A running tidegate: attached, open, serving, and drained at the end.
//!
//! ```text
//!   Program::start ─► control socket ─► steering attached, cards told ─► ports open ─► links there
//!                  ─► services
//!   stop           ─► gate closed (all packets stay with the kernel) ─► drained
//!                  ─► cards as they were before ─► Outcome
//! ```
//!
//! `tidegate run` is this with signals around it; the demo, the tests and the benchmarks are this
//! inside namespaces of the lab. It works in the network namespace of the thread that starts it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, io};

use tidegate_config::{Config, ConfigError};
use tidegate_dataplane::steer::hardware::{self, Hardware, Table};
use tidegate_dataplane::steer::{self, Steering};
use tidegate_runtime::clock::{Clock, TAI_MINUS_UTC_SECONDS, TaiOffset, monotonic_ns};
use tidegate_runtime::control::{self, ControlError, Handlers, Server};
use tidegate_runtime::instances::Instances;
use tidegate_runtime::metrics::registry::Registry as Metrics;
use tidegate_runtime::metrics::snapshot::{Snapshot, SteeringSnapshot};
use tidegate_runtime::plan::{Admission, Plan};
use tidegate_runtime::runtime::{Report, Runtime, StartError, Stopper};
use tracing::warn;

use crate::compose::{Composed, Manned, compose, hardware_snapshot};
use crate::links::{Following, Links};
use crate::operator::{Desk, Ground, Ticker};
use crate::registry::Registry;

/// Why tidegate could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// A kind or an option that the config got wrong.
    Config(ConfigError),
    /// An interface refused the steering program.
    Steer(steer::Error),
    /// A network card refused what it was told about its queues.
    Hardware(hardware::Error),
    /// The shards did not start.
    Start(StartError),
    /// The kernel does not tell of links, or gives no thread that listens.
    Links(io::Error),
    /// No thread for those who answer for services.
    Operators(io::Error),
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
            Self::Hardware(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Links(error) => write!(f, "following the links failed: {error}"),
            Self::Operators(error) => {
                write!(f, "starting the thread of the services' operators failed: {error}")
            }
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
            Self::Hardware(error) => error.source(),
            Self::Start(error) => error.source(),
            Self::Control(error) => error.source(),
            Self::Links(_) | Self::Operators(_) | Self::ControlPath { .. } => None,
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

from!(ConfigError => Config, steer::Error => Steer, hardware::Error => Hardware, StartError => Start, ControlError => Control);

/// A tidegate at work.
pub struct Program {
    runtime: Runtime,
    metrics: Arc<Metrics>,
    steerings: Vec<Arc<Steering>>,
    hardware: Vec<Arc<Hardware>>,
    control: Server,
    following: Following,
    desk: Arc<Desk>,
    ticker: Ticker,
}

/// What a tidegate did, when it has left.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the shards say.
    pub report: Report,
    /// The last of the numbers.
    pub snapshot: Snapshot,
    /// Whether the network cards are as they were found, but for what others changed meanwhile.
    pub put_back: bool,
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
        let desk = Arc::new(Desk::default());
        let control = serve_control(config, registry, Arc::clone(&metrics), &desk)?;
        let mut links =
            Links::open(config, monotonic_ns()).map_err(|it| RunError::Links(it.into()))?;
        let Composed { steerings, hardware, shards, policy, operators } =
            compose(config, registry)?;
        for (steering, hardware) in steerings.iter().zip(&hardware) {
            let (steering, hardware) = (Arc::clone(steering), hardware.clone());
            metrics.add_steering(move || steering_snapshot(&steering, hardware.as_deref()));
        }
        let hardware: Vec<_> = hardware.into_iter().flatten().collect();
        let mut plan = Plan::new(shards, policy, Arc::clone(&metrics));
        let (seconds, remark) = tai_correction(Clock::machine().tai_offset());
        if let Some(remark) = remark {
            warn!("{remark}");
        }
        plan.tai_correction_seconds = seconds;
        let gates = steerings.clone();
        plan.admit = Box::new(move |admission| admit(&gates, admission));
        let begin = |patience| links.settle(patience, monotonic_ns());
        let runtime = match Runtime::start_when(plan, begin) {
            Ok(runtime) => runtime,
            Err(error) => {
                // The registry, which others have too, has a hand on the cards.
                put_back(&hardware);
                return Err(error.into());
            }
        };
        let following = links.follow(monotonic_ns).map_err(RunError::Links)?;
        open_desk(&desk, operators, &runtime);
        let ticker = Ticker::start(Arc::clone(&desk)).map_err(RunError::Operators)?;
        // Some drivers start anew when a queue is bound.
        for hardware in hardware.iter().filter(|it| it.seen().table == Table::Changed) {
            let interface = hardware.interface();
            warn!(interface, "its RSS table is another since the queues were taken");
        }
        Ok(Self { runtime, metrics, steerings, hardware, control, following, desk, ticker })
    }

    /// What asks it to leave, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.runtime.stopper()
    }

    /// What reads the numbers as last published, from any thread.
    pub fn numbers(&self) -> impl Fn() -> Snapshot + Send + use<> {
        let metrics = Arc::clone(&self.metrics);
        move || metrics.snapshot(monotonic_ns())
    }

    /// The numbers as last published.
    pub fn snapshot(&self) -> Snapshot {
        self.metrics.snapshot(monotonic_ns())
    }

    /// The programs on the interfaces, in the config's order.
    pub fn steerings(&self) -> &[Arc<Steering>] {
        &self.steerings
    }

    /// Those who answer for its services.
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// Where `stats` finds it.
    pub fn control_socket(&self) -> &Path {
        self.control.path()
    }

    /// Waits until it is asked to leave, or a shard ends; then drains.
    pub fn wait(self) -> Outcome {
        let Self { runtime, metrics, steerings, hardware, control, following, ticker, .. } = self;
        let report = runtime.wait();
        drop(ticker);
        // What the end does to the links is no news.
        drop(following);
        let snapshot = metrics.snapshot(monotonic_ns());
        // While the program is still on the interface: nobody else can take the card meanwhile.
        let put_back = put_back(&hardware);
        drop((steerings, control));
        Outcome { report, snapshot, put_back }
    }

    /// Drains now.
    pub fn stop(self) -> Outcome {
        self.stopper().stop();
        self.wait()
    }
}

/// Tells the operators what they work on.
fn open_desk(desk: &Desk, operators: Vec<Manned>, runtime: &Runtime) {
    let begun = operators.into_iter().map(|Manned { attended, shards, selectors }| {
        let instances = Instances::new(runtime.shards(), &attended.service, shards);
        attended.operator.begin(Ground { instances, selectors });
        attended
    });
    desk.open(begun.collect());
}

fn serve_control(
    config: &Config,
    registry: &Registry,
    metrics: Arc<Metrics>,
    desk: &Arc<Desk>,
) -> Result<Server, RunError> {
    let path = control_path(config)?;
    let named = path.extension().is_some_and(|it| it == "sock");
    let parts = path.parent().zip(path.file_stem().and_then(|it| it.to_str()));
    let Some((directory, stem)) = parts.filter(|_| named) else {
        return Err(RunError::ControlPath { path: path.into() });
    };
    let shown = Arc::clone(desk);
    let handlers = Handlers::new().on("stats", move |_| {
        let mut snapshot = metrics.snapshot(monotonic_ns());
        snapshot.tables = shown.tables();
        serde_json::to_value(snapshot).map_err(|error| error.to_string())
    });
    let handlers = desk.serve(&registry.commands(), handlers);
    Ok(Server::start(directory, stem, handlers)?)
}

/// The socket that the config names, or the one of its instance.
pub(crate) fn control_path(config: &Config) -> Result<PathBuf, RunError> {
    match &config.runtime.control_socket {
        Some(path) => Ok(path.clone()),
        None => Ok(control::socket_path(&control::directory(), &config.runtime.instance)?),
    }
}

/// Seconds to add to CLOCK_TAI, which is right only where something (ptp4l, chrony) told the
/// kernel the leap seconds; and what to say about it, once.
fn tai_correction(offset: TaiOffset) -> (u32, Option<String>) {
    const RIGHT: u32 = TAI_MINUS_UTC_SECONDS;
    match offset {
        TaiOffset::Known(RIGHT) => (0, None),
        TaiOffset::Known(seconds) => (
            0,
            Some(format!(
                "the kernel was told that TAI is {seconds} s ahead of UTC; it has been {RIGHT} s \
                 since 2017. Taking {seconds} s; give ptp4l or chrony a new list of leap seconds"
            )),
        ),
        TaiOffset::Unset => (
            RIGHT,
            Some(format!(
                "the kernel does not know TAI: its offset is 0. Taking UTC and {RIGHT} s until it \
                 does; set it with ptp4l or chrony (leapsectz right/UTC)"
            )),
        ),
    }
}

fn admit(gates: &[Arc<Steering>], admission: Admission) {
    for steering in gates {
        steering.pass_all(admission == Admission::Closed);
    }
}

/// Puts the cards back as they were; whether all could be.
fn put_back(hardware: &[Arc<Hardware>]) -> bool {
    let mut all = true;
    for hardware in hardware {
        if let Err(error) = hardware.put_back() {
            let interface = hardware.interface();
            tracing::error!(interface, %error, "the card could not be put back as it was");
            all = false;
        }
    }
    all
}

fn steering_snapshot(steering: &Steering, hardware: Option<&Hardware>) -> SteeringSnapshot {
    SteeringSnapshot {
        interface: steering.interface().to_owned(),
        counters: counters(steering),
        hardware: hardware.map(hardware_snapshot),
    }
}

fn counters(steering: &Steering) -> BTreeMap<String, u64> {
    let Ok(counters) = steering.counters() else { return BTreeMap::new() };
    let received = ("received".to_owned(), counters.received.packets);
    let outcomes = counters.named().map(|(name, _, tally)| (name.to_owned(), tally.packets));
    outcomes.chain([received]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_know_tai_or_has_it_wrong_is_said_to() {
        assert_eq!(tai_correction(TaiOffset::Known(37)), (0, None));
        let (seconds, remark) = tai_correction(TaiOffset::Unset);
        assert_eq!(
            (seconds, remark.as_deref()),
            (
                37,
                Some(
                    "the kernel does not know TAI: its offset is 0. Taking UTC and 37 s until it \
                     does; set it with ptp4l or chrony (leapsectz right/UTC)"
                )
            )
        );
        let (seconds, remark) = tai_correction(TaiOffset::Known(10));
        assert_eq!(
            (seconds, remark.as_deref()),
            (
                0,
                Some(
                    "the kernel was told that TAI is 10 s ahead of UTC; it has been 37 s since \
                     2017. Taking 10 s; give ptp4l or chrony a new list of leap seconds"
                )
            )
        );
    }
}
