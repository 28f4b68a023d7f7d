//! The shard: everything that one core owns, and the turn that moves it.
//!
//! ```text
//!   turn(now):  reap ─► receive ─► deliver ─► timers ─► poll who is ready ─► end of turn
//!               completion  RX ring   inboxes   wheel     services             fill, one wake-up, reinject
//! ```
//!
//! A plain synchronous value. It asks nobody the time and waits for nothing; whoever drives it
//! (the executor's one task, `sim`, a test) gives it the time and decides what to do when a turn
//! brought nothing. So what is proved on `sim` is what runs.
//!
//! Kept in four files: this one (what it is, how it is made), `turn` (one pass), `drain` (how it
//! leaves), `report` (what it did).

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::{error, fmt};

use tidegate_dataplane::frame::Frame;

use crate::burst::Frames;
use crate::clock::Clock;
use crate::context::ShardContext;
use crate::demux::Claims;
use crate::drain::Drain;
use crate::metrics::registry::ShardMetrics;
use crate::plan::{Policy, Restart, ServicePlan};
use crate::port::{Opened, Port, PortFacts};
use crate::service::Build;
use crate::service::BuildError;
use crate::shared::{Account, MAIL_MAX, ServiceCell, Several, Shared, Waiting, inbox_capacity};
use crate::task::{Ended, Factory, Task};
use crate::verdict::OwnReasons;
use crate::wake::Unpark;
use crate::watchdog::{Progress, TaskIndex, Watched};
use crate::wheel::{TimerId, Wheel};

pub use crate::shared::{Mail, ShardId};

/// One core's ports, services and time.
pub struct Shard {
    pub(crate) shared: Rc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) policy: Policy,
    pub(crate) residents: Box<[Resident]>,
    /// One per port.
    pub(crate) claims: Box<[Claims]>,
    /// Frames received in this turn, one per service. Empty between turns.
    pub(crate) staged: Box<[Vec<Frame>]>,
    pub(crate) unclaimed: Frames,
    pub(crate) wheel: Wheel,
    /// Frames that came back without a verdict, as far as attributed to a service.
    pub(crate) reclaimed_seen: u64,
    pub(crate) tai_refresh_at_ns: u64,
    pub(crate) drain: Option<Drain>,
    pub(crate) metrics: ShardMetrics,
    pub(crate) progress: Arc<Progress>,
    pub(crate) kernel_statistics_at_ns: u64,
    pub(crate) last_turn: LastTurn,
}

/// What a shard is given besides its ports and services.
pub struct Equipment<'a> {
    /// Where time comes from.
    pub clock: Clock,
    /// What wakes its thread.
    pub unpark: &'a Arc<Unpark>,
    /// Where it counts.
    pub metrics: ShardMetrics,
    /// Who watches it, if anyone does.
    pub watched: Option<&'a Watched>,
}

/// The turn before, whose length is known only when the next one begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastTurn {
    pub(crate) began_ns: u64,
    pub(crate) progress: bool,
}

/// One service of the shard: who makes it, what runs, what to do when it ends.
pub(crate) struct Resident {
    pub(crate) factory: Factory,
    pub(crate) task: Task,
    pub(crate) state: State,
    pub(crate) failures: Failures,
    /// What the watchdog calls it.
    pub(crate) watched_as: TaskIndex,
    /// The one timer of the service, and when it fires. May be earlier than needed: a deadline
    /// that moves on with every burst costs a comparison, not a cancellation.
    pub(crate) armed: Option<(u64, TimerId)>,
}

/// Where a service is in its life.
#[derive(Debug)]
pub(crate) enum State {
    Running,
    /// Built anew when its timer fires.
    AwaitsRestart,
    /// Not built anew.
    Gone(Ended),
}

/// Failures of the current minute, for [`Restart::PerMinute`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failures {
    since_ns: u64,
    count: u32,
}

impl Failures {
    /// Whether the policy allows one more beginning after a failure now.
    pub(crate) fn allow(&mut self, restart: Restart, now_ns: u64) -> bool {
        const MINUTE_NS: u64 = 60_000_000_000;
        if self.count == 0 || now_ns - self.since_ns >= MINUTE_NS {
            *self = Self { since_ns: now_ns, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        match restart {
            Restart::Never => false,
            Restart::Always => true,
            Restart::PerMinute(max) => self.count <= max,
        }
    }
}

/// Why a shard could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A service refused its options.
    Build {
        /// Its name in the configuration.
        service: Box<str>,
        /// Its answer.
        source: BuildError,
    },
    /// Two services want the same packets.
    Claimed {
        /// The interface.
        interface: Box<str>,
        /// Index of the selector.
        selector: u16,
    },
    /// A service is to have packets of a port that the shard has not got.
    NoPort {
        /// Its name in the configuration.
        service: Box<str>,
        /// Number of the port.
        port: usize,
        /// Ports that the shard has.
        ports: usize,
    },
    /// A service may hold nothing.
    NoBudget {
        /// Its name in the configuration.
        service: Box<str>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build { service, source } => write!(f, "service {service:?}: {source}"),
            Self::Claimed { interface, selector } => write!(
                f,
                "selector {selector} of {interface} is claimed by two services; \
                 a packet goes to one"
            ),
            Self::NoPort { service, port, ports } => write!(
                f,
                "service {service:?} wants packets of port {port} of a shard that has {ports}"
            ),
            Self::NoBudget { service } => {
                write!(f, "service {service:?} may hold no frame; held_frames_max is at least 1")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Build { source, .. } => source.source(),
            _ => None,
        }
    }
}

impl Shard {
    /// Puts ports and services together and builds the services.
    ///
    /// # Errors
    ///
    /// What in the plan cannot be: see [`Error`].
    ///
    /// # Panics
    ///
    /// When there are 65536 ports or services.
    pub fn new(
        id: ShardId,
        ports: Vec<Opened>,
        services: Vec<ServicePlan>,
        policy: Policy,
        equipment: Equipment<'_>,
    ) -> Result<Self, Error> {
        let Equipment { clock, unpark, mut metrics, watched } = equipment;
        let now_ns = clock.now_ns();
        let claims = claims(&ports, &services)?;
        let facts: Box<[PortFacts]> = ports.iter().map(|(_, _, facts)| facts.clone()).collect();
        let number = |at: usize| u16::try_from(at).expect("far fewer than 65536 ports");
        let ports: Box<[Port]> = ports
            .into_iter()
            .enumerate()
            .map(|(at, (queue, reinject, facts))| {
                let obtained = facts.obtained(queue.obtained());
                let counters = metrics.add_port(&facts.interface, facts.queue, obtained);
                Port::new(queue, reinject, counters, number(at))
            })
            .collect();
        let chains = ports.iter().any(|port| port.queue.borrow().obtained().packet_chunks_max > 1);
        let mut cell = |plan: &ServicePlan| {
            let several = match plan.factory.reads_parts() {
                _ if !chains => Several::Never,
                true => Several::Read,
                false => Several::Refused,
            };
            let metrics = metrics.add_service(&plan.name, plan.factory.kind());
            let reasons = OwnReasons::register(&metrics).expect("they come first");
            let account = Account { metrics, reasons };
            let (name, held_max) = (plan.name.clone(), plan.held_frames_max);
            ServiceCell::new(name, held_max, several, ports.len(), account)
        };
        let cells: Box<[Rc<ServiceCell>]> = services.iter().map(&mut cell).map(Rc::new).collect();
        let room = |plan: &ServicePlan| {
            Vec::with_capacity(inbox_capacity(plan.held_frames_max, ports.len()))
        };
        let staged = services.iter().map(room).collect();
        let timers = u32::try_from(services.len()).expect("far fewer than 2^32 services");
        let shared = Rc::new(Shared {
            id,
            clock: clock.clone(),
            now_ns: now_ns.into(),
            tai_offset_ns: 0.into(),
            draining: false.into(),
            rx_closed: false.into(),
            ports,
            facts,
            services: cells,
        });
        let resident = |plan: ServicePlan| Resident {
            watched_as: watched.map_or(TaskIndex::NONE, |watched| watched.name_task(&plan.name)),
            factory: plan.factory,
            task: Task::new(Arc::clone(unpark)),
            state: State::AwaitsRestart,
            failures: Failures::default(),
            armed: None,
        };
        let progress = watched.map_or_else(Arc::default, |watched| Arc::clone(watched.progress()));
        let mut shard = Self {
            shared,
            clock,
            policy,
            residents: services.into_iter().map(resident).collect(),
            claims,
            staged,
            unclaimed: Frames::new(),
            wheel: Wheel::new(timers, now_ns),
            reclaimed_seen: 0,
            tai_refresh_at_ns: 0,
            drain: None,
            metrics,
            progress,
            kernel_statistics_at_ns: 0,
            last_turn: LastTurn { began_ns: now_ns, progress: false },
        };
        shard.refresh_tai(now_ns);
        for index in 0..shard.residents.len() {
            shard.begin(index).map_err(|source| Error::Build {
                service: shard.shared.services[index].name.clone(),
                source,
            })?;
        }
        shard.publish(now_ns);
        Ok(shard)
    }

    /// Its number.
    pub fn id(&self) -> ShardId {
        self.shared.id
    }

    /// Shows every file descriptor that becomes readable when a packet arrives.
    pub(crate) fn each_fd(&self, mut show: impl FnMut(BorrowedFd<'_>)) {
        for port in &self.shared.ports {
            if let Some(fd) = port.queue.borrow().fd() {
                show(fd);
            }
        }
    }

    /// Counts a message that was handled between turns.
    pub(crate) fn count_message(&self) {
        self.metrics.counters().messages.increment();
    }

    /// Leaves a message for a service, by its name. The message comes back where no service has
    /// the name, or too many wait for it.
    ///
    /// # Errors
    ///
    /// The message itself.
    pub fn post(&mut self, service: &str, mail: Mail) -> Result<(), Mail> {
        let cells = &self.shared.services;
        let Some(cell) = cells.iter().find(|cell| *cell.name == *service) else {
            return Err(mail);
        };
        let mut waiting = cell.mail.borrow_mut();
        if waiting.len() == MAIL_MAX {
            return Err(mail);
        }
        waiting.push_back(mail);
        if matches!(cell.waiting.get(), Waiting::Mail | Waiting::FramesOrMail) {
            cell.ready.set(true);
        }
        Ok(())
    }

    /// Builds a service and puts it to work; it is polled in the next turn.
    pub(crate) fn begin(&mut self, index: usize) -> Result<(), BuildError> {
        let resident = &mut self.residents[index];
        let cell = &self.shared.services[index];
        let cx = ShardContext::new(Rc::clone(&self.shared), index);
        let future = resident.factory.make(&mut Build::new(&self.shared, index), cx)?;
        resident.task.start(future);
        resident.state = State::Running;
        cell.waiting.set(Waiting::Elsewhere);
        cell.running.set(true);
        cell.ready.set(true);
        Ok(())
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

/// The table of selectors of each port.
fn claims(ports: &[Opened], services: &[ServicePlan]) -> Result<Box<[Claims]>, Error> {
    for plan in services {
        let service = || plan.name.clone();
        if plan.held_frames_max == 0 {
            return Err(Error::NoBudget { service: service() });
        }
        let beyond = plan.selectors.iter().find(|(port, _)| *port >= ports.len());
        if let Some(&(port, _)) = beyond {
            return Err(Error::NoPort { service: service(), port, ports: ports.len() });
        }
    }
    let of_port = |(at, (_, _, facts)): (usize, &Opened)| {
        let of_service = |(index, plan): (usize, &ServicePlan)| {
            let index = u16::try_from(index).expect("far fewer than 65536 services");
            let mine = plan.selectors.iter().filter(|(port, _)| *port == at);
            mine.map(|&(_, selector)| (selector, index)).collect::<Vec<_>>()
        };
        Claims::new(services.iter().enumerate().flat_map(of_service))
            .map_err(|selector| Error::Claimed { interface: facts.interface.clone(), selector })
    };
    ports.iter().enumerate().map(of_port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_cannot_be_and_what_would() {
        let build = Error::Build { service: "video".into(), source: BuildError::new("no file") };
        assert_eq!(build.to_string(), "service \"video\": no file");
        let claimed = Error::Claimed { interface: "eth0".into(), selector: 3 };
        assert_eq!(
            claimed.to_string(),
            "selector 3 of eth0 is claimed by two services; a packet goes to one"
        );
        let port = Error::NoPort { service: "video".into(), port: 2, ports: 1 };
        assert_eq!(
            port.to_string(),
            "service \"video\" wants packets of port 2 of a shard that has 1"
        );
        assert_eq!(
            Error::NoBudget { service: "video".into() }.to_string(),
            "service \"video\" may hold no frame; held_frames_max is at least 1"
        );
    }

    #[test]
    fn a_minutes_failures_are_counted_from_its_first() {
        let mut failures = Failures::default();
        let twice = Restart::PerMinute(2);
        assert!(failures.allow(twice, 1_000));
        assert!(failures.allow(twice, 2_000));
        assert!(!failures.allow(twice, 3_000));
        assert!(failures.allow(twice, 1_000 + 60_000_000_000), "a new minute");
        assert!(!Failures::default().allow(Restart::Never, 0));
        assert!((0..1_000).all(|_| failures.allow(Restart::Always, 2_000_000_000_000)));
    }
}
