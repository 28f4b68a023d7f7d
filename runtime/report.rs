//! What a shard did, in full: for the end of a run, and for tests at any quiet moment.

use std::error;
use std::fmt;

use tidegate_dataplane::xsk::{Census, QueueStats};

use crate::shard::{Shard, ShardCounts, State};
use crate::shared::ShardId;
use crate::tally::Flow;
use crate::task::Ended;

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Which one.
    pub shard: ShardId,
    /// What it did with its time.
    pub counts: ShardCounts,
    /// Its ports, by number.
    pub ports: Vec<PortReport>,
    /// Its services, in the order of the plan.
    pub services: Vec<ServiceReport>,
    /// Frames that are nowhere. Anything but 0 is a bug of ours.
    pub unaccounted: u32,
    /// Frames that services lost by their own doing (`mem::forget`).
    pub leaked: u64,
    /// The drain's deadline came before all was settled.
    pub drain_timed_out: bool,
    /// How long the drain took.
    pub drain_ns: u64,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// Name of its interface.
    pub interface: Box<str>,
    /// Its queue.
    pub queue: u32,
    /// What passed the rings.
    pub stats: QueueStats,
    /// Where its chunks are.
    pub census: Census,
    /// Frames handed to services.
    pub delivered_frames: u64,
    /// Frames dropped because no service has their selector.
    pub unclaimed_frames: u64,
    /// Packets that the kernel refused to take back.
    pub reinject_refused_packets: u64,
    /// Frames dropped without a verdict, that came back by themselves.
    pub reclaimed_frames: u64,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReport {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// How it is.
    pub health: Health,
    /// What became of its frames.
    pub flow: FlowReport,
    /// Frames that it has and has not settled.
    pub held_frames: u32,
    /// Frames dropped, by reason.
    pub drops: Vec<(Box<str>, u64)>,
    /// Its own counters.
    pub counters: Vec<(Box<str>, u64)>,
    /// Its own gauges.
    pub gauges: Vec<(Box<str>, u64)>,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// At work.
    Running,
    /// It failed and will be built anew.
    AwaitsRestart,
    /// It returned.
    Finished,
    /// It returned this error, or could not be built, and stays away.
    Failed(Box<str>),
    /// It panicked with this message and stays away.
    Panicked(Box<str>),
}

macro_rules! flow_report {
    ($(#[doc = $help:literal] $field:ident,)+) => {
        /// What became of a service's frames.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct FlowReport { $(#[doc = $help] pub $field: u64,)+ }

        impl FlowReport {
            /// Name and help text of every number, in the order of declaration.
            pub const HELP: &[(&str, &str)] = &[$((stringify!($field), $help)),+];

            fn of(flow: &Flow) -> Self {
                Self { $($field: flow.$field.get()),+ }
            }

            /// The numbers in the order of [`Self::HELP`].
            pub const fn values(&self) -> [u64; Self::HELP.len()] {
                [$(self.$field),+]
            }
        }
    };
}

flow_report! {
    #[doc = "Frames delivered from RX rings, those over budget included"]
    received,
    #[doc = "Octets in them, Ethernet header included"]
    received_octets,
    #[doc = "Blank frames taken from the pool"]
    taken,
    #[doc = "Frames sent back out of the port that they came from"]
    transmitted,
    #[doc = "Packets given back to the kernel stack"]
    reinjected,
    #[doc = "Frames used up by the service"]
    consumed,
    #[doc = "Frames sent that the service built"]
    sent,
    #[doc = "Octets in frames transmitted and sent"]
    sent_octets,
    #[doc = "Frames dropped without a verdict, that came back by themselves"]
    reclaimed,
    #[doc = "Frames lost by the service until the shard ends"]
    leaked,
    #[doc = "Bursts received"]
    bursts,
    #[doc = "Times that the service was polled"]
    polls,
    #[doc = "Times that it panicked"]
    panics,
    #[doc = "Times that it returned an error or could not be built"]
    failures,
    #[doc = "Times that it was built anew"]
    restarts,
}

/// A law of frames that does not hold: a bug of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Which law, of what, and its two sides.
    pub what: Box<str>,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frames are not conserved: {}", self.what)
    }
}

impl error::Error for Imbalance {}

impl Shard {
    /// Checks, between two turns, that no frame was lost or counted twice.
    ///
    /// # Errors
    ///
    /// The first law that does not hold.
    pub fn check_conservation(&self) -> Result<(), Imbalance> {
        let report = self.report();
        let law = |what: String, left: u64, right: u64| {
            let what = || format!("{what}: {left} against {right}").into();
            if left == right { Ok(()) } else { Err(Imbalance { what: what() }) }
        };
        let mut held = 0;
        for service in &report.services {
            let flow = service.flow;
            let dropped: u64 = service.drops.iter().map(|(_, count)| count).sum();
            let settled = dropped + flow.transmitted + flow.reinjected + flow.consumed + flow.sent;
            let gone = settled + flow.reclaimed + flow.leaked;
            held += u64::from(service.held_frames) + flow.leaked;
            law(
                format!("{}: received and taken, settled and held", service.name),
                flow.received + flow.taken,
                gone + u64::from(service.held_frames),
            )?;
        }
        let mut with_shard = 0;
        for port in &report.ports {
            with_shard += u64::from(port.census.held);
            law(
                format!("{}: received, delivered and unclaimed", port.interface),
                port.stats.rx_frames,
                port.delivered_frames + port.unclaimed_frames,
            )?;
            law(
                format!("{}: chunks that are nowhere", port.interface),
                u64::from(port.census.unaccounted()),
                0,
            )?;
        }
        law("chunks with the shard, frames held and leaked".into(), with_shard, held)
    }

    /// What the shard did until now. Allocates: not for every turn.
    pub fn report(&self) -> ShardReport {
        let ports: Vec<_> = (0..self.shared.ports.len()).map(|at| self.port_report(at)).collect();
        let services: Vec<_> =
            (0..self.shared.services.len()).map(|index| self.service_report(index)).collect();
        let leaked: u64 = services.iter().map(|service| service.flow.leaked).sum();
        let claimed: u64 =
            services.iter().map(|service| u64::from(service.held_frames)).sum::<u64>() + leaked;
        let with_shard: u64 = ports.iter().map(|port| u64::from(port.census.held)).sum();
        let nowhere: u32 = ports.iter().map(|port| port.census.unaccounted()).sum();
        let astray = u32::try_from(with_shard.abs_diff(claimed)).unwrap_or(u32::MAX);
        let drain_ns = |drain: crate::drain::Drain| self.shared.now_ns.get() - drain.began_ns;
        ShardReport {
            shard: self.shared.id,
            counts: self.counts,
            ports,
            services,
            unaccounted: nowhere.saturating_add(astray),
            leaked,
            drain_timed_out: self.drain.is_some_and(|drain| drain.timed_out),
            drain_ns: self.drain.map_or(0, drain_ns),
        }
    }

    fn port_report(&self, at: usize) -> PortReport {
        let (port, facts) = (&self.shared.ports[at], &self.shared.facts[at]);
        let queue = port.queue.borrow();
        PortReport {
            interface: facts.interface.clone(),
            queue: facts.queue,
            stats: *queue.stats(),
            census: queue.census(),
            delivered_frames: port.counts.delivered.get(),
            unclaimed_frames: port.counts.unclaimed.get(),
            reinject_refused_packets: port.counts.reinject_refused.get(),
            reclaimed_frames: queue.reclaimed_frames(),
        }
    }

    fn service_report(&self, index: usize) -> ServiceReport {
        let (cell, resident) = (&self.shared.services[index], &self.residents[index]);
        let [drops, counters, gauges] = cell.tally.named();
        ServiceReport {
            name: cell.name.clone(),
            health: match &resident.state {
                State::Running => Health::Running,
                State::AwaitsRestart => Health::AwaitsRestart,
                State::Gone(Ended::Finished) => Health::Finished,
                State::Gone(Ended::Failed(cause)) => Health::Failed(cause.clone()),
                State::Gone(Ended::Panicked(message)) => Health::Panicked(message.clone()),
            },
            flow: FlowReport::of(&cell.tally.flow),
            held_frames: cell.held.get(),
            drops,
            counters,
            gauges,
        }
    }
}

impl ServiceReport {
    /// Frames dropped for `reason`; 0 when there is no such reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.drops.iter().find(|(name, _)| **name == *reason).map_or(0, |(_, count)| *count)
    }

    /// Value of one of the service's own counters; 0 when there is no such counter.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| **known == *name).map_or(0, |(_, count)| *count)
    }
}
