//! What a shard did, in full: for the end of a run, and for tests at any quiet moment.

use std::{error, fmt};

use crate::metrics::snapshot::{PortSnapshot, ServiceSnapshot};
use crate::metrics::{ServiceStats, ShardStats};
use crate::shard::{Shard, State};
use crate::shared::ShardId;
use crate::task::Ended;

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Which one.
    pub shard: ShardId,
    /// What it did with its time.
    pub stats: ShardStats,
    /// Its ports, by number.
    pub ports: Vec<PortSnapshot>,
    /// Its services, in the order of the plan.
    pub services: Vec<ServiceReport>,
    /// Frames that are nowhere. Anything but 0 is a bug of ours.
    pub unaccounted: u64,
    /// Frames that services lost by their own doing (`mem::forget`).
    pub leaked: u64,
    /// The drain's deadline came before all was settled.
    pub drain_timed_out: bool,
    /// How long the drain took.
    pub drain_ns: u64,
    /// The first law of frames that does not hold. An error is a bug of ours.
    pub laws: Result<(), Imbalance>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReport {
    /// How it is.
    pub health: Health,
    /// What it counted.
    pub snapshot: ServiceSnapshot,
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

impl ServiceReport {
    /// What every service counts.
    pub const fn stats(&self) -> &ServiceStats {
        &self.snapshot.stats
    }

    /// Frames dropped for `reason`; 0 when there is no such reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.snapshot.drops.get(reason).copied().unwrap_or(0)
    }

    /// Value of one of the service's own counters; 0 when there is no such counter.
    pub fn counter(&self, name: &str) -> u64 {
        self.snapshot.counters.get(name).copied().unwrap_or(0)
    }

    /// Value of one of the service's own levels; `None` when there is no such level.
    pub fn level(&self, name: &str) -> Option<i64> {
        self.snapshot.levels.get(name).copied()
    }

    /// What the service says under this name; empty when it says nothing.
    pub fn word(&self, name: &str) -> &str {
        self.snapshot.words.get(name).map_or("", String::as_str)
    }

    /// Value of one of the service's own gauges; 0 when there is no such gauge.
    pub fn gauge(&self, name: &str) -> u64 {
        self.snapshot.gauges.get(name).copied().unwrap_or(0)
    }
}

/// A law of frames that does not hold: a bug of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Which law, of what.
    pub what: Box<str>,
    /// Its two sides.
    pub sides: (u64, u64),
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, sides: (left, right) } = self;
        write!(f, "frames are not conserved: {what}: {left} against {right}")
    }
}

impl error::Error for Imbalance {}

fn law(what: impl FnOnce() -> String, sides: (u64, u64)) -> Result<(), Imbalance> {
    if sides.0 == sides.1 { Ok(()) } else { Err(Imbalance { what: what().into(), sides }) }
}

impl Shard {
    /// Checks, between two turns, that no frame was lost or counted twice.
    ///
    /// # Errors
    ///
    /// The first law that does not hold.
    pub fn check_conservation(&mut self) -> Result<(), Imbalance> {
        self.report().laws
    }

    /// What the shard did until now. Allocates: not for every turn.
    pub fn report(&mut self) -> ShardReport {
        let now_ns = self.shared.now_ns.get();
        self.publish_all(now_ns);
        let snapshot = self.metrics.snapshot();
        let services = snapshot.services.into_iter().zip(&self.residents);
        let mut report = ShardReport {
            shard: self.shared.id,
            stats: snapshot.stats,
            ports: snapshot.ports,
            services: services
                .map(|(snapshot, resident)| ServiceReport {
                    health: Health::of(&resident.state),
                    snapshot,
                })
                .collect(),
            unaccounted: 0,
            leaked: 0,
            drain_timed_out: self.drain.is_some_and(|drain| drain.timed_out),
            drain_ns: self.drain.map_or(0, |drain| now_ns - drain.began_ns),
            laws: Ok(()),
        };
        let (with_shard, held) = report.hands();
        let nowhere: u64 = report.ports.iter().map(|port| port.stats.unaccounted()).sum();
        report.unaccounted = nowhere + with_shard.abs_diff(held);
        report.leaked = report.services.iter().map(|service| service.stats().leaked_frames).sum();
        report.laws = report.check_laws();
        report
    }
}

impl ShardReport {
    fn check_laws(&self) -> Result<(), Imbalance> {
        for ServiceReport { snapshot, .. } in &self.services {
            law(|| format!("{}: came and left", snapshot.name), snapshot.stats.flow())?;
        }
        for port in &self.ports {
            let name = &port.interface;
            law(|| format!("{name}: came and left"), port.stats.flow())?;
            law(|| format!("{name}: chunks nowhere"), (port.stats.unaccounted(), 0))?;
        }
        law(|| "frames released by ports, by services".into(), self.released())?;
        law(|| "chunks with the shard, frames held".into(), self.hands())
    }

    /// Frames that were released, as the UMEM counts them and as services account for them.
    fn released(&self) -> (u64, u64) {
        let by_ports = self.ports.iter().map(|port| {
            let stats = &port.stats;
            stats.settled_drop + stats.settled_consumed + stats.settled_reinject
        });
        let by_services = self.services.iter().map(|service| {
            let stats = service.stats();
            stats.settled_drop + stats.settled_consumed + stats.settled_reinject
        });
        (by_ports.sum(), by_services.sum())
    }

    /// Chunks that are with the shard as the UMEM sees it, and as services account for it.
    fn hands(&self) -> (u64, u64) {
        let with_shard = self.ports.iter().map(|port| port.stats.held_frames).sum();
        let services = self.services.iter().map(ServiceReport::stats);
        (with_shard, services.map(|stats| stats.held_frames + stats.leaked_frames).sum())
    }
}

impl Health {
    fn of(state: &State) -> Self {
        match state {
            State::Running => Self::Running,
            State::AwaitsRestart => Self::AwaitsRestart,
            State::Gone(Ended::Finished) => Self::Finished,
            State::Gone(Ended::Failed(cause)) => Self::Failed(cause.clone()),
            State::Gone(Ended::Panicked(message)) => Self::Panicked(message.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_that_does_not_hold_says_which_and_by_how_much() {
        assert_eq!(law(String::new, (3, 3)), Ok(()));
        let imbalance = law(|| "echo: came and left".into(), (3, 2)).unwrap_err();
        assert_eq!(
            imbalance.to_string(),
            "frames are not conserved: echo: came and left: 3 against 2"
        );
    }
}
