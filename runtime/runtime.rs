//! All shards together: started as one, left as one.
//!
//! ```text
//!   start ─► a thread per shard: executor, ports ─► all open ─► begin ─► services ─► admit(Open)
//!   ask to stop ─► admit(Closed) ─► every shard drains ─► threads joined ─► Report
//! ```
//!
//! Ports are opened on the shard's own thread, so their memory is the CPU's own. One shard that
//! cannot start stops all: an operator gets what was configured, or an error that says why not.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{error, fmt};

use tracing::{info, warn};

use crate::clock::Clock;
use crate::cpus::{self, NotAllowed, Seat};
use crate::executor::{self, Drive, drive};
use crate::mailbox::Mailbox;
use crate::metrics::registry::Registry;
use crate::plan::{Admission, Beginning, IDLE_WHERE_SHARED, Idle, Plan, Policy, ShardPlan};
use crate::report::ShardReport;
use crate::shard::{self, Equipment, Shard, ShardId};
use crate::shards::{Message, Shards};
use crate::sleep::{SleepError, Sleeper};
use crate::task::message;
use crate::wake::Unpark;
use crate::watchdog::{self, Watchdog, Watched};

/// Messages that may wait for a shard.
///
/// Control messages are few and short-lived. Lower refuses honest bursts of questions, higher only
/// hides a shard that does not answer.
const MAILBOX_MESSAGES: u32 = 64;

/// How long the start waits for what is to come before it looks whether it is to stop.
///
/// Lower asks more often for nothing; higher and a stop during the start takes as much longer.
const BEGINNING_LOOK: Duration = Duration::from_millis(100);

/// Why the runtime did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The plan has no shard.
    NoShards,
    /// A shard asks for a CPU that the process may not use.
    Cpu {
        /// Which shard.
        shard: ShardId,
        /// What it asked for.
        source: NotAllowed,
    },
    /// The executor could not be made.
    Executor {
        /// Which shard.
        shard: ShardId,
        /// Why.
        source: executor::Error,
    },
    /// A port could not be opened.
    Port {
        /// Which shard.
        shard: ShardId,
        /// Name of the port in the plan.
        port: Box<str>,
        /// Why.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// The shard could not be put together: a service, a selector.
    Shard {
        /// Which shard.
        shard: ShardId,
        /// Why.
        source: shard::Error,
    },
    /// A shard could not have what it would sleep on.
    Sleep {
        /// Which shard.
        shard: ShardId,
        /// Why.
        source: SleepError,
    },
    /// A shard's thread panicked while it started: a bug of ours or of a port's opener.
    Panicked {
        /// Which shard.
        shard: ShardId,
        /// What it said.
        message: Box<str>,
    },
    /// The system granted no thread, no eventfd, no affinity.
    Os {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShards => f.write_str("there is nothing to run: the plan has no shard"),
            Self::Cpu { shard, source } => write!(f, "{shard}: {source}"),
            Self::Executor { shard, source } => write!(f, "{shard}: {source}"),
            Self::Port { shard, port, source } => write!(f, "{shard}, {port}: {source}"),
            Self::Shard { shard, source } => write!(f, "{shard}: {source}"),
            Self::Sleep { shard, source } => write!(f, "{shard}: {source}"),
            Self::Panicked { shard, message } => {
                write!(f, "{shard} panicked while it started: {message}")
            }
            Self::Os { what, source } => write!(f, "{what} failed: {source}"),
        }
    }
}

impl error::Error for StartError {
    /// What the message does not say yet: it has the words of its source, not of that one's.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Port { source, .. } => source.source(),
            Self::Shard { source, .. } => source.source(),
            _ => None,
        }
    }
}

/// What all shards did, from start to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Shards that left in order.
    pub shards: Vec<ShardReport>,
    /// Shards whose thread panicked, and what it said: bugs of ours.
    pub crashed: Vec<(ShardId, Box<str>)>,
}

impl Report {
    /// Frames that are nowhere, over all shards. Anything but 0 is a bug of ours.
    pub fn unaccounted(&self) -> u64 {
        self.shards.iter().map(|shard| shard.unaccounted).sum()
    }

    /// Whether every shard left in order, in time, and with every frame accounted for.
    pub fn is_clean(&self) -> bool {
        let clean = |shard: &ShardReport| {
            shard.unaccounted == 0 && shard.laws.is_ok() && !shard.drain_timed_out
        };
        self.crashed.is_empty() && self.shards.iter().all(clean)
    }
}

/// What threads tell the one that waits for them.
#[derive(Debug)]
pub(crate) enum Event {
    /// A shard's ports are open.
    Opened,
    /// A shard's services are built.
    Ready,
    /// A shard's thread ended, in whatever way.
    Ended,
    Stop,
}

/// Asks the runtime to drain and leave. Works from the moment the plan exists, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Event>);

impl Stopper {
    /// The channel between stoppers and whoever waits.
    pub(crate) fn pair() -> (Self, Receiver<Event>) {
        let (sender, receiver) = channel();
        (Self(sender), receiver)
    }

    /// Asks. More than once is the same as once.
    pub fn stop(&self) {
        // The runtime has left already.
        let _ = self.0.send(Event::Stop);
    }
}

/// Runs a plan from start to end.
#[derive(Debug)]
pub struct Runtime {
    threads: Vec<(ShardId, JoinHandle<Result<ShardReport, StartError>>)>,
    leave: Vec<(Arc<AtomicBool>, Arc<Unpark>)>,
    events: Receiver<Event>,
    stopper: Stopper,
    shards: Shards<Shard>,
    admit: Admit,
    /// One for each shard that waits with its ports open. Gone, and it goes on.
    hold: Vec<Sender<()>>,
    asked_to_stop: bool,
    /// Dropped last: it watches the others leave.
    _watchdog: Watchdog,
}

/// Tells steering to admit packets or not.
struct Admit(Box<dyn FnMut(Admission) + Send>);

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admit")
    }
}

impl Runtime {
    /// Starts the plan, waits until it is asked to stop, drains, and says what was done.
    ///
    /// # Errors
    ///
    /// As [`Runtime::start`].
    pub fn run(plan: Plan) -> Result<Report, StartError> {
        Ok(Self::start(plan)?.wait())
    }

    /// Starts every shard. When this returns all ports are open, all services built and packets
    /// admitted.
    ///
    /// # Errors
    ///
    /// The first reason why one shard could not start; the others have left again.
    pub fn start(plan: Plan) -> Result<Self, StartError> {
        Self::start_when(plan, |_| Beginning::Now)
    }

    /// The same, but builds no service before `begin` says so.
    ///
    /// It is asked, again and again, when all ports of all shards are open, so that what opening a
    /// port does to its link is over before anyone sends. It waits at most about as long as it is
    /// told: a stop is noticed in between.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_when(
        plan: Plan,
        begin: impl FnMut(Duration) -> Beginning,
    ) -> Result<Self, StartError> {
        let Plan {
            shards: plans,
            policy,
            registry,
            tai_correction_seconds,
            admit,
            stopper,
            events,
        } = plan;
        if plans.is_empty() {
            return Err(StartError::NoShards);
        }
        let seats = seats(&plans)?;
        let os = |what| move |source| StartError::Os { what, source };
        let options = watchdog::Options {
            stall_budget: Duration::from_nanos(policy.stall_budget_ns),
            ..watchdog::Options::default()
        };
        let watchdog = Watchdog::start(options).map_err(os("starting the watchdog's thread"))?;
        let count = u32::try_from(plans.len()).expect("far fewer than 2^32 shards");
        let (shards, mailboxes) =
            Shards::new(count, MAILBOX_MESSAGES).map_err(os("making mailboxes"))?;
        let mut runtime = Self {
            threads: Vec::new(),
            leave: Vec::new(),
            events,
            stopper,
            shards,
            admit: Admit(admit),
            hold: Vec::new(),
            asked_to_stop: false,
            _watchdog: watchdog,
        };
        for (number, ((plan, seat), mailbox)) in
            plans.into_iter().zip(seats).zip(mailboxes).enumerate()
        {
            let id = ShardId(u16::try_from(number).expect("far fewer than 65536 shards"));
            let unpark = Unpark::new().map_err(|errno| os("making an eventfd")(errno.into()))?;
            let (leave, unpark) = (Arc::default(), Arc::new(unpark));
            runtime.leave.push((Arc::clone(&leave), Arc::clone(&unpark)));
            let (hold, held) = channel();
            runtime.hold.push(hold);
            let birth = Birth {
                id,
                seat,
                plan,
                policy,
                mailbox,
                unpark,
                leave,
                registry: Arc::clone(&registry),
                tai_correction_seconds,
                watchdog: runtime._watchdog.handle(),
                events: runtime.stopper.0.clone(),
                held,
            };
            let thread = thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(move || birth.live())
                .map_err(os("starting a shard's thread"));
            match thread {
                Ok(thread) => runtime.threads.push((id, thread)),
                Err(error) => {
                    runtime.leave_all();
                    return Err(error);
                }
            }
        }
        runtime.await_all(|event| matches!(event, Event::Opened))?;
        runtime.await_beginning(begin)?;
        runtime.hold.clear();
        runtime.await_all(|event| matches!(event, Event::Ready))?;
        (runtime.admit.0)(Admission::Open);
        Ok(runtime)
    }

    /// What asks this runtime to drain and leave.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The way to every shard's own data.
    pub fn shards(&self) -> Shards<Shard> {
        self.shards.clone()
    }

    /// Waits until asked to stop, or until a shard ends by itself, which none should; then drains
    /// all and says what was done.
    pub fn wait(mut self) -> Report {
        while !self.asked_to_stop {
            match self.events.recv().expect("we hold a sender ourselves") {
                Event::Stop | Event::Ended => self.asked_to_stop = true,
                Event::Opened | Event::Ready => {}
            }
        }
        info!("draining");
        (self.admit.0)(Admission::Closed);
        let mut report = Report::default();
        for (shard, ended) in self.leave_all() {
            match ended {
                Ok(Ok(done)) => report.shards.push(done),
                Ok(Err(error)) => report.crashed.push((shard, error.to_string().into())),
                Err(panic) => report.crashed.push((shard, message(&*panic))),
            }
        }
        report
    }

    /// Waits until every shard has said so.
    fn await_all(&mut self, said: fn(&Event) -> bool) -> Result<(), StartError> {
        let mut count = 0;
        while count < self.threads.len() {
            let event = self.events.recv().expect("we hold a sender ourselves");
            count += usize::from(said(&event));
            self.note(&event)?;
        }
        Ok(())
    }

    /// Waits until services may begin, or a stop makes that pointless.
    fn await_beginning(
        &mut self,
        mut begin: impl FnMut(Duration) -> Beginning,
    ) -> Result<(), StartError> {
        while !self.asked_to_stop && begin(BEGINNING_LOOK) == Beginning::Later {
            while let Ok(event) = self.events.try_recv() {
                self.note(&event)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Result<(), StartError> {
        match event {
            Event::Opened | Event::Ready => Ok(()),
            Event::Stop => {
                self.asked_to_stop = true;
                Ok(())
            }
            Event::Ended => Err(self.first_error()),
        }
    }

    /// Why the first shard that did not start did not.
    fn first_error(&mut self) -> StartError {
        let ended = self.leave_all();
        let errors = ended.into_iter().filter_map(|(shard, ended)| match ended {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(panic) => Some(StartError::Panicked { shard, message: message(&*panic) }),
        });
        errors.take(1).next().expect("one has ended without being asked to")
    }

    /// Has every shard drain, and waits for their threads.
    fn leave_all(&mut self) -> Vec<(ShardId, thread::Result<Result<ShardReport, StartError>>)> {
        self.hold.clear();
        for (leave, unpark) in &self.leave {
            leave.store(true, Ordering::Relaxed);
            unpark.wake();
        }
        self.threads.drain(..).map(|(shard, thread)| (shard, thread.join())).collect()
    }
}

/// Everything that a shard's thread is born with.
struct Birth {
    id: ShardId,
    seat: Seat,
    plan: ShardPlan,
    policy: Policy,
    mailbox: Mailbox<Message<Shard>>,
    unpark: Arc<Unpark>,
    leave: Arc<AtomicBool>,
    registry: Arc<Registry>,
    tai_correction_seconds: u32,
    watchdog: watchdog::Handle,
    events: Sender<Event>,
    held: Receiver<()>,
}

/// Says at the end of a thread, however it ends, that it has.
struct SaysEnded(Sender<Event>);

impl Drop for SaysEnded {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Ended);
    }
}

impl Birth {
    /// The life of a shard's thread.
    fn live(self) -> Result<ShardReport, StartError> {
        let _says_ended = SaysEnded(self.events.clone());
        let shard = self.id;
        let executor = executor::make(self.seat.cpu)
            .map_err(|source| StartError::Executor { shard, source })?;
        let watched = self.watchdog.watch(u32::from(shard.0));
        executor::run(&executor, watched.heartbeat(), self.live_on_executor(watched))
    }

    async fn live_on_executor(self, watched: Watched) -> Result<ShardReport, StartError> {
        let Self { id, seat, plan, policy, mailbox, unpark, leave, .. } = self;
        let clock = Clock::machine().with_tai_correction(self.tai_correction_seconds);
        let mut opened = Vec::new();
        for port in plan.ports {
            let refused = |source| StartError::Port { shard: id, port: port.name, source };
            opened.push((port.opener)().map_err(refused)?);
        }
        // Nobody waits any more only where the start has failed elsewhere; then `leave` is set.
        let _ = self.events.send(Event::Opened);
        // Comes back when the sender is gone. The thread has nothing else to do.
        let _ = self.held.recv();
        let cpu = u32::try_from(seat.cpu).ok();
        let equipment = Equipment {
            clock: clock.clone(),
            unpark: &unpark,
            metrics: self.registry.add_shard(u32::from(id.0), cpu),
            watched: Some(&watched),
        };
        let mut shard = Shard::new(id, opened, plan.services, policy, equipment)
            .map_err(|source| StartError::Shard { shard: id, source })?;
        let sleeper = Sleeper::new(&shard, &mailbox, &unpark)
            .map_err(|source| StartError::Sleep { shard: id, source })?;
        let idle = match policy.idle {
            Idle::Spin if seat.shared => IDLE_WHERE_SHARED,
            idle => idle,
        };
        info!(shard = %id, cpu = seat.cpu, "ready");
        let _ = self.events.send(Event::Ready);
        drive(&mut shard, Drive { clock, mailbox, sleeper, idle, leave }).await;
        let report = shard.report();
        // Not watched while the kernel tears the sockets down, which takes it tens of milliseconds.
        drop(watched);
        Ok(report)
    }
}

/// A CPU for every shard; says where they share.
fn seats(plans: &[ShardPlan]) -> Result<Vec<Seat>, StartError> {
    let allowed = cpus::allowed().map_err(|errno| StartError::Os {
        what: "asking for the CPUs of this process",
        source: errno.into(),
    })?;
    let asked: Vec<_> = plans.iter().map(|plan| plan.cpu).collect();
    let seats = cpus::assign(&asked, &allowed).map_err(|source| {
        let number = asked.iter().position(|cpu| *cpu == Some(source.cpu)).unwrap_or(0);
        let shard = ShardId(u16::try_from(number).unwrap_or(u16::MAX));
        StartError::Cpu { shard, source }
    })?;
    let mut sharing = BTreeMap::<usize, u32>::new();
    for seat in seats.iter().filter(|seat| seat.shared) {
        *sharing.entry(seat.cpu).or_default() += 1;
    }
    for (cpu, shards) in sharing {
        warn!(
            cpu,
            shards, "shards share this CPU: slower, and idle ones sleep instead of spinning"
        );
    }
    Ok(seats)
}

#[cfg(test)]
mod tests;
