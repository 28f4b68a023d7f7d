//! Hardware steering: which packets come to which queue, decided by the network card.
//!
//! ```text
//!              ┌─ flow rules ──────────► queue of the service          (ntuple)
//!   packet ──► card
//!              └─ hash ─► RSS table ──► queues that are not taken      (rss and ntuple)
//!                                            │
//!   on every queue the XDP program looks at the selectors, as always
//! ```
//!
//! With [`Mode::Rss`] the taken queues are kept out of the RSS table: ordinary packets never come
//! there, and the kernel's queues go on undisturbed whatever happens on ours. What comes to the
//! taken ones then was sent there by flow rules, of the operator or, with [`Mode::Ntuple`], of this
//! program: one or several for each selector.
//!
//! All of it is put back at the end, and after a `kill -9` by the next that takes the card: what is
//! changed is told in a record before it is changed (`record`), and only what is still ours is
//! touched (`undo`). The XDP program must be on the interface before: it is what keeps two
//! processes from one interface, and attaching it makes some drivers start anew.
//!
//! What it refuses to do: change the hash, its key or its fields; remove or replace rules of
//! others; make RSS contexts, so all packets of one rule come to one queue.

mod error;
mod nic;
pub mod ntuple;
mod record;
pub mod rss;
mod setup;
#[cfg(test)]
mod testing;
mod undo;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use error::Error;
pub use undo::Undone;

use super::Selector;
use crate::sys::ethtool::Ethtool;
use crate::sys::netlink::Netlink;
use nic::{Card, Nic, is_unsupported};
use record::{Journal, Place, Record};

/// Who decides which packets come to a taken queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Whatever the card was set to before; nothing is changed on it.
    #[default]
    Xdp,
    /// The same, but the RSS table names no taken queue.
    Rss,
    /// A flow rule for each selector; and as `Rss` where the driver has a table.
    Ntuple,
}

impl Mode {
    /// The word that a config has for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Rss => "rss",
            Self::Ntuple => "ntuple",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A selector and the queue that its packets are to come to.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The packets.
    pub selector: Selector,
    /// The queue.
    pub queue: u32,
}

/// What to set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the interface, in this thread's network namespace.
    pub interface: Box<str>,
    /// Who decides.
    pub mode: Mode,
    /// The queues that sockets are bound to.
    pub taken: Vec<u32>,
    /// The selectors, in the order in which they are asked; for [`Mode::Ntuple`].
    pub aims: Vec<Aim>,
    /// Directory of the records, its owner's alone.
    pub records: PathBuf,
}

/// A card that was told where packets go. Dropping it puts back what was there before.
#[derive(Debug)]
pub struct Hardware {
    interface: Box<str>,
    mode: Mode,
    taken: Vec<u32>,
    /// The number of selectors before each rule of the record, for what is shown.
    selectors: Vec<usize>,
    remarks: Vec<Box<str>>,
    /// `None` once it was put back.
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    nic: Box<dyn Nic>,
    /// `None` where nothing had to be changed.
    journal: Option<Journal>,
    record: Record,
}

/// What is in place at this moment, as the card shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Taken queues that the RSS table does not name.
    pub isolated: Vec<u32>,
    /// The table.
    pub table: Table,
    /// The rules that were added.
    pub rules: Vec<SeenRule>,
    /// What could not be had, in words.
    pub remarks: Vec<Box<str>>,
}

/// An RSS table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The driver has none.
    #[default]
    Missing,
    /// It is as it was found.
    AsFound,
    /// It is the one that was set.
    Ours,
    /// Somebody has changed it since.
    Changed,
}

impl Table {
    /// In a word or two.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "none",
            Self::AsFound => "as found",
            Self::Ours => "ours",
            Self::Changed => "changed by somebody else",
        }
    }
}

/// A flow rule that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRule {
    /// Where it is in the card's table.
    pub location: u32,
    /// The selector that it is of, counting from 0.
    pub selector: usize,
    /// The queue that it sends to.
    pub queue: u32,
    /// The packets, in the words of `ethtool -N`.
    pub flow: Box<str>,
    /// Whether there still is a rule at that location.
    pub in_place: bool,
}

impl Hardware {
    /// Puts back what a killed process left on the interface, then sets up what `options` say.
    /// `None` for [`Mode::Xdp`], which has nothing to put back.
    ///
    /// # Errors
    ///
    /// Every [`Error`]; then the card is as it was found, or as it was before the killed process.
    pub fn take(options: &Options) -> Result<Option<Self>, Error> {
        // So that who asks for nothing is not refused for what it takes to change something.
        if options.mode == Mode::Xdp && !record::are_any(&options.records) {
            return Ok(None);
        }
        let (nic, place) = open(&options.interface)?;
        Self::take_card(Box::new(nic), &place, options)
    }

    fn take_card(
        nic: Box<dyn Nic>,
        place: &Place,
        options: &Options,
    ) -> Result<Option<Self>, Error> {
        let interface = &*options.interface;
        let make = options.mode != Mode::Xdp;
        let Some((mut journal, left)) = Journal::open(&options.records, place, make)? else {
            return Ok(None);
        };
        if let Some(record) = left {
            put_back_left(&*nic, interface, &record)?;
        }
        if options.mode == Mode::Xdp {
            return journal.remove().map(|()| None);
        }
        let mut record = Record::new(place.clone());
        let mut changes = setup::Changes::new(&*nic, &mut journal, &mut record, options);
        let done = changes.make();
        let (selectors, remarks) = changes.told();
        let journal = match done {
            Ok(()) if record.is_empty() => {
                journal.remove()?;
                None
            }
            Ok(()) => Some(journal),
            Err(error) => {
                let (undone, result) = undo::undo(&*nic, &record);
                log(interface, &undone);
                match result {
                    Ok(()) => journal.remove()?,
                    // The record stays for the next who takes the card.
                    Err(source) => tracing::error!(interface, %source, "the card stays changed"),
                }
                return Err(error);
            }
        };
        for remark in &remarks {
            tracing::warn!(interface, "{remark}");
        }
        let hardware = Self {
            interface: interface.into(),
            mode: options.mode,
            taken: options.taken.clone(),
            selectors,
            remarks,
            state: Mutex::new(Some(State { nic, journal, record })),
        };
        let seen = hardware.seen();
        tracing::info!(
            interface,
            isolated = %error::list(&seen.isolated),
            rules = seen.rules.len(),
            "hardware steering set up"
        );
        Ok(Some(hardware))
    }

    /// The interface's name.
    pub const fn interface(&self) -> &str {
        &self.interface
    }

    /// What was asked for.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What is in place now. Asks the card; nothing once it was put back.
    pub fn seen(&self) -> Seen {
        let state = self.state();
        let Some(State { nic, record, .. }) = &*state else { return Seen::default() };
        let table = nic.table().unwrap_or_default();
        let standing = match &record.table {
            _ if table.is_empty() => Table::Missing,
            None => Table::AsFound,
            Some(change) if change.ours == table => Table::Ours,
            Some(_) => Table::Changed,
        };
        let isolated = match standing {
            Table::Missing => Vec::new(),
            _ => rss::kept_out(&table, &self.taken),
        };
        let locations = match record.rules.as_slice() {
            [] => Vec::new(),
            _ => nic.rules().map(|rules| rules.locations).unwrap_or_default(),
        };
        let rules = record.rules.iter().zip(&self.selectors).filter_map(|(change, &selector)| {
            let location = change.location?;
            Some(SeenRule {
                location,
                selector,
                queue: change.rule.queue,
                flow: change.rule.flow.to_string().into(),
                in_place: locations.contains(&location),
            })
        });
        Seen { isolated, table: standing, rules: rules.collect(), remarks: self.remarks.clone() }
    }

    /// Puts back what was there before, now; what became of it is logged. Once is enough.
    ///
    /// # Errors
    ///
    /// The driver's refusal. Then the record stays, and the next who takes the card tries again.
    pub fn put_back(&self) -> io::Result<()> {
        let Some(State { nic, journal, record }) = self.state().take() else { return Ok(()) };
        let Some(journal) = journal else { return Ok(()) };
        let (undone, result) = undo::undo(&*nic, &record);
        log(&self.interface, &undone);
        result?;
        journal.remove().map_err(io::Error::other)
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        // It is only looked at and taken as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            let interface = &*self.interface;
            tracing::error!(interface, %error, "the card could not be put back as it was");
        }
    }
}

/// What a process changed on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The process.
    pub pid: u32,
    /// Whether it lives.
    pub is_alive: bool,
    /// Taken queues that it keeps out of the RSS table.
    pub isolated: Vec<u32>,
    /// Rules that it added.
    pub rules: usize,
}

/// What a process, living or killed, has changed on `interface`, as the records in `records` tell.
/// Changes nothing.
///
/// # Errors
///
/// Where the interface or the record cannot be looked at.
pub fn look(interface: &str, records: &Path) -> Result<Option<Left>, Error> {
    let (_, place) = open(interface)?;
    let found = record::look(records, &place)
        .map_err(|source| Error::Record { path: records.into(), source })?;
    Ok(found.map(|(record, is_alive)| Left {
        pid: record.pid,
        is_alive,
        isolated: record.table.map(|change| change.taken).unwrap_or_default(),
        rules: record.rules.len(),
    }))
}

/// Puts back what a killed process left on `interface`; `None` where none left anything.
///
/// # Errors
///
/// [`Error::Held`] where the process lives, [`Error::Leftover`] where the driver refuses.
pub fn put_back(interface: &str, records: &Path) -> Result<Option<Vec<Undone>>, Error> {
    let (nic, place) = open(interface)?;
    let Some((journal, left)) = Journal::open(records, &place, false)? else { return Ok(None) };
    let undone = match left {
        Some(record) => Some(put_back_left(&nic, interface, &record)?),
        None => None,
    };
    journal.remove()?;
    Ok(undone)
}

fn put_back_left(nic: &dyn Nic, interface: &str, record: &Record) -> Result<Vec<Undone>, Error> {
    let pid = record.pid;
    tracing::info!(interface, pid, "a killed process has left its steering on the card");
    let (undone, result) = undo::undo(nic, record);
    log(interface, &undone);
    match result {
        Ok(()) => Ok(undone),
        Err(source) => Err(Error::Leftover { interface: interface.into(), pid, source }),
    }
}

fn open(interface: &str) -> Result<(Card, Place), Error> {
    let ethtool = Ethtool::open()
        .map_err(|error| Error::os(interface, "open a socket", error.into_answer()))?;
    let mut netlink = Netlink::open()
        .map_err(|error| Error::os(interface, "open a socket", io::Error::other(error)))?;
    let place = Place::of(interface, &ethtool, &mut netlink)?;
    Ok((Card::new(ethtool, netlink, place.ifindex), place))
}

fn log(interface: &str, undone: &[Undone]) {
    for it in undone {
        if it.is_left() {
            tracing::warn!(interface, "{it}");
        } else {
            tracing::info!(interface, "{it}");
        }
    }
}

#[cfg(test)]
mod tests;
