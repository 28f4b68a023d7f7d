//! A network card as steering sees it: its table and its rules.

use std::sync::{Mutex, PoisonError};
use std::{fmt, io};

use crate::sys::ethtool::rule::{Rule, Shown};
use crate::sys::ethtool::steering::{Location, RuleTable};
use crate::sys::ethtool::{self, Ethtool, Offload};
use crate::sys::netlink::Netlink;

/// What is asked of a card. Every error carries the kernel's number: `EOPNOTSUPP` where the driver
/// has no such thing, `ENODEV` where the interface is gone.
pub(super) trait Nic: fmt::Debug + Send + Sync {
    /// Queues that a table or a rule may name.
    fn rings(&self) -> io::Result<u32>;
    /// The RSS table.
    fn table(&self) -> io::Result<Vec<u32>>;
    /// Sets it; it then counts as set by hand.
    fn set_table(&self, table: &[u32]) -> io::Result<()>;
    /// Makes it the kernel's default, which counts as not set.
    fn reset_table(&self) -> io::Result<()>;
    /// Whether rules are switched on.
    fn ntuple(&self) -> io::Result<bool>;
    /// Switches them.
    fn set_ntuple(&self, on: bool) -> io::Result<()>;
    /// The rules that there are, and the room.
    fn rules(&self) -> io::Result<RuleTable>;
    /// One of them.
    fn rule(&self, location: u32) -> io::Result<Shown>;
    /// Adds one; returns where it is.
    fn insert(&self, rule: &Rule, location: Location) -> io::Result<u32>;
    /// Removes one.
    fn delete(&self, location: u32) -> io::Result<()>;
}

/// A card of this machine, in the network namespace that the opening thread was in.
///
/// It is known by the interface's number: an interface that was given another name is the same, and
/// another one that has the name now is another.
#[derive(Debug)]
pub(super) struct Card {
    ethtool: Ethtool,
    netlink: Mutex<Netlink>,
    ifindex: u32,
}

impl Card {
    pub(super) const fn new(ethtool: Ethtool, netlink: Netlink, ifindex: u32) -> Self {
        Self { ethtool, netlink: Mutex::new(netlink), ifindex }
    }

    fn ask<T>(
        &self,
        what: impl FnOnce(&Ethtool, &str) -> Result<T, ethtool::Error>,
    ) -> io::Result<T> {
        // A request is over before another begins, whoever panicked meanwhile.
        let mut netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        let link = netlink.link_by_index(self.ifindex).map_err(|error| match error.errno() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error),
        })?;
        what(&self.ethtool, &link.name).map_err(ethtool::Error::into_answer)
    }
}

impl Nic for Card {
    fn rings(&self) -> io::Result<u32> {
        self.ask(|ethtool, name| ethtool.rings(name))
    }

    fn table(&self) -> io::Result<Vec<u32>> {
        self.ask(|ethtool, name| ethtool.table(name))
    }

    fn set_table(&self, table: &[u32]) -> io::Result<()> {
        self.ask(|ethtool, name| ethtool.set_table(name, table))
    }

    fn reset_table(&self) -> io::Result<()> {
        self.ask(|ethtool, name| ethtool.reset_table(name))
    }

    fn ntuple(&self) -> io::Result<bool> {
        self.ask(|ethtool, name| ethtool.offload(name, Offload::Ntuple))
    }

    fn set_ntuple(&self, on: bool) -> io::Result<()> {
        self.ask(|ethtool, name| ethtool.set_offload(name, Offload::Ntuple, on))
    }

    fn rules(&self) -> io::Result<RuleTable> {
        self.ask(|ethtool, name| ethtool.rules(name))
    }

    fn rule(&self, location: u32) -> io::Result<Shown> {
        self.ask(|ethtool, name| ethtool.rule(name, location))
    }

    fn insert(&self, rule: &Rule, location: Location) -> io::Result<u32> {
        self.ask(|ethtool, name| ethtool.insert_rule(name, rule, location))
    }

    fn delete(&self, location: u32) -> io::Result<()> {
        self.ask(|ethtool, name| ethtool.delete_rule(name, location))
    }
}

/// Whether this is the answer of a driver that has no such thing.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}
