//! A network card in memory, for tests: with and without abilities, refusing, and killing whoever
//! uses it.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use super::nic::Nic;
use super::rss;
use crate::sys::ethtool::rule::{Rule, Shown};
use crate::sys::ethtool::steering::{Location, RuleTable};

/// Marsaglia's xorshift64; `SEED=n` replays a run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded() -> Self {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
        eprintln!("SEED={seed}");
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 16 & 0xffff_ffff).unwrap() % limit
    }
}

/// What a card is set to: all that an operator could see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) table: Vec<u32>,
    /// `netif_is_rxfh_configured`, which only the kernel knows.
    pub(super) is_table_by_hand: bool,
    pub(super) ntuple: bool,
    pub(super) rules: BTreeMap<u32, Rule>,
}

/// What a driver can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Answers `EOPNOTSUPP` to everything.
    Unknown,
    /// As igb's 82576: tells of a table, and takes no rule.
    Never,
    /// Takes rules where it is told to, when they are switched on.
    Switched,
    /// Takes them always and chooses the location.
    Chooses,
}

/// What happens at a call that changes the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The driver refuses, with this number.
    Refuse(i32),
    /// The process is killed before the change is made.
    KillBefore,
    /// The process is killed when it is made.
    KillAfter,
}

/// Thrown by [`Fault::KillBefore`] and [`Fault::KillAfter`].
pub(super) struct Killed;

struct Inner {
    settings: Settings,
    rings: u32,
    rules: Rules,
    rule_room: u32,
    /// Calls that change something, so far.
    changes: u32,
    fault: Option<(u32, Fault)>,
    /// The driver shows rules with a bit that it was not given, and never this one bit of a table.
    is_odd: bool,
}

/// The card. A clone is the same one.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<Inner>>);

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    /// With `rings` queues, a table of 16 entries as the kernel makes it, and room for 8 rules.
    pub(super) fn new(rings: u32, rules: Rules) -> Self {
        let settings = Settings {
            table: (0..rings).cycle().take(16).collect(),
            is_table_by_hand: false,
            ntuple: rules == Rules::Chooses,
            rules: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(Inner {
            settings,
            rings,
            rules,
            rule_room: 8,
            changes: 0,
            fault: None,
            is_odd: false,
        })))
    }

    /// As igb has it: queues in blocks, which is not the kernel's default; no rules.
    pub(super) fn igb(rings: u32) -> Self {
        let card = Self::new(rings, Rules::Never);
        card.operator(|it| it.table = (0..16).map(|entry| entry * rings / 16).collect());
        card
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> Settings {
        self.inner().settings.clone()
    }

    /// Somebody else changes the card.
    pub(super) fn operator(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.inner().settings);
    }

    /// Lets the call that is the `at`-th from now on to change something end so.
    pub(super) fn fault(&self, at: u32, fault: Fault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.changes + at, fault));
    }

    pub(super) fn no_fault(&self) {
        self.inner().fault = None;
    }

    /// Calls so far that changed something.
    pub(super) fn changes(&self) -> u32 {
        self.inner().changes
    }

    pub(super) fn odd(self) -> Self {
        self.inner().is_odd = true;
        self
    }

    fn change<T>(&self, make: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner();
        let due = inner.fault.filter(|(at, _)| *at == inner.changes).map(|(_, fault)| fault);
        inner.changes += 1;
        match due {
            Some(Fault::Refuse(errno)) => return os(errno),
            Some(Fault::KillBefore) => kill(),
            Some(Fault::KillAfter) | None => {}
        }
        let made = make(&mut inner);
        if due.is_some() {
            kill();
        }
        made
    }
}

/// Not a panic: nobody is told.
fn kill() -> ! {
    resume_unwind(Box::new(Killed))
}

fn os<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

impl Nic for Fake {
    fn rings(&self) -> io::Result<u32> {
        Ok(self.inner().rings)
    }

    fn table(&self) -> io::Result<Vec<u32>> {
        let inner = self.inner();
        if inner.settings.table.is_empty() {
            os(libc::EOPNOTSUPP)
        } else {
            Ok(inner.settings.table.clone())
        }
    }

    fn set_table(&self, table: &[u32]) -> io::Result<()> {
        self.change(|inner| {
            let fits = table.len() == inner.settings.table.len();
            if !fits || table.iter().any(|entry| *entry >= inner.rings) {
                return os(libc::EINVAL);
            }
            inner.settings.table = table.to_vec();
            inner.settings.is_table_by_hand = true;
            if inner.is_odd {
                inner.settings.table[0] = inner.rings - 1;
            }
            Ok(())
        })
    }

    fn reset_table(&self) -> io::Result<()> {
        self.change(|inner| {
            let entries = inner.settings.table.len();
            inner.settings.table = (0..inner.rings).cycle().take(entries).collect();
            inner.settings.is_table_by_hand = false;
            assert!(rss::is_default(&inner.settings.table, inner.rings));
            Ok(())
        })
    }

    fn ntuple(&self) -> io::Result<bool> {
        Ok(self.inner().settings.ntuple)
    }

    fn set_ntuple(&self, on: bool) -> io::Result<()> {
        self.change(|inner| {
            if inner.rules != Rules::Switched {
                return os(libc::EOPNOTSUPP);
            }
            inner.settings.ntuple = on;
            if !on {
                inner.settings.rules.clear();
            }
            Ok(())
        })
    }

    fn rules(&self) -> io::Result<RuleTable> {
        let inner = self.inner();
        if inner.rules == Rules::Unknown {
            return os(libc::EOPNOTSUPP);
        }
        let locations = inner.settings.rules.keys().copied().collect();
        Ok(RuleTable { size: inner.rule_room, chooses: inner.rules == Rules::Chooses, locations })
    }

    fn rule(&self, location: u32) -> io::Result<Shown> {
        let inner = self.inner();
        let Some(rule) = inner.settings.rules.get(&location) else { return os(libc::ENOENT) };
        if !inner.is_odd {
            return Ok(Shown::unchanged(rule));
        }
        // As a driver that shows a mask for the type of service.
        let mut words = serde_json::to_value(Shown::unchanged(rule)).unwrap();
        words[22] = 0xff.into();
        Ok(serde_json::from_value(words).unwrap())
    }

    fn insert(&self, rule: &Rule, location: Location) -> io::Result<u32> {
        self.change(|inner| {
            if matches!(inner.rules, Rules::Unknown | Rules::Never) || !inner.settings.ntuple {
                return os(libc::EOPNOTSUPP);
            }
            let rules = &mut inner.settings.rules;
            let location = match location {
                Location::At(location) if location < inner.rule_room => location,
                Location::At(_) => return os(libc::EINVAL),
                Location::Any if inner.rules != Rules::Chooses => return os(libc::EINVAL),
                // Not the lowest, so that nothing rests on that.
                Location::Any => {
                    match (0..inner.rule_room).rev().find(|it| !rules.contains_key(it)) {
                        None => return os(libc::ENOSPC),
                        Some(location) => location,
                    }
                }
            };
            rules.insert(location, *rule);
            Ok(location)
        })
    }

    fn delete(&self, location: u32) -> io::Result<()> {
        self.change(|inner| match inner.settings.rules.remove(&location) {
            None => os(libc::ENOENT),
            Some(_) => Ok(()),
        })
    }
}
