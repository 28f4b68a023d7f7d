//! Putting back what was changed on a card, at the end or after a kill.
//!
//! Only what is still ours is touched: a table is put back where it is entry for entry the one that
//! was set, a rule is removed where the driver still shows the one that was added. What somebody
//! else has changed since is theirs. So doing it twice, or after half of it was done, is harmless.

use std::{fmt, io};

use super::nic::{Nic, is_unsupported};
use super::record::{Record, RuleChange, TableChange};
use super::rss;
use crate::sys::ethtool::steering::RuleTable;

/// What became of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The table is the kernel's default again, and counts as not set by hand.
    TableReset,
    /// The table is as before, entry by entry. For the kernel it counts as set by hand.
    TableRestored,
    /// Somebody has changed the table since; it was left alone.
    TableLeft,
    /// So many rules were removed.
    RulesRemoved(usize),
    /// There is another rule at this location now; it was left alone.
    RuleLeft {
        /// The location.
        location: u32,
    },
    /// Rules are switched off again.
    NtupleOff,
    /// Rules stay switched on, as somebody else has some now.
    NtupleLeft,
    /// There is no such interface any more.
    Gone,
}

impl Undone {
    /// Whether something could not be put back, because somebody else has changed it.
    pub const fn is_left(&self) -> bool {
        matches!(self, Self::TableLeft | Self::RuleLeft { .. } | Self::NtupleLeft | Self::Gone)
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableReset => f.write_str("the RSS table is the default again"),
            Self::TableRestored => f.write_str(
                "the RSS table is as it was, entry by entry; the kernel takes it as set by hand \
                 and refuses fewer queues than it names, until `ethtool -X <interface> default`",
            ),
            Self::TableLeft => {
                f.write_str("somebody has changed the RSS table since; it was left alone")
            }
            Self::RulesRemoved(1) => f.write_str("1 flow rule was removed"),
            Self::RulesRemoved(count) => write!(f, "{count} flow rules were removed"),
            Self::RuleLeft { location } => write!(
                f,
                "somebody has put another flow rule at location {location} since; it was left alone",
            ),
            Self::NtupleOff => f.write_str("flow rules (ntuple) are switched off again"),
            Self::NtupleLeft => f.write_str(
                "flow rules (ntuple) stay switched on: there are rules of somebody else, which \
                 some drivers would remove",
            ),
            Self::Gone => f.write_str("the interface is gone from this network namespace"),
        }
    }
}

/// Puts everything back that `record` tells of, and says what became of it. Goes on where something
/// is refused, and ends with the first refusal.
pub(super) fn undo(nic: &dyn Nic, record: &Record) -> (Vec<Undone>, io::Result<()>) {
    let mut undone = Vec::new();
    // Rules first: with the table as before, the others have packets of theirs again.
    let rules = rules(nic, record, &mut undone);
    let switch = match (record.switched_rules_on, &rules) {
        (true, Ok(())) => switch(nic, &mut undone),
        _ => Ok(()),
    };
    let table = match &record.table {
        Some(change) => table(nic, change, &mut undone),
        None => Ok(()),
    };
    let is_gone = |result: &io::Result<()>| {
        result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
    };
    if [&rules, &switch, &table].into_iter().any(is_gone) {
        return (vec![Undone::Gone], Ok(()));
    }
    (undone, rules.and(switch).and(table))
}

fn table(nic: &dyn Nic, change: &TableChange, undone: &mut Vec<Undone>) -> io::Result<()> {
    let TableChange { before, ours, rings, .. } = change;
    let present = nic.table()?;
    if present == *before {
        return Ok(()); // Killed before it was set, or put back already.
    }
    if present != *ours {
        undone.push(Undone::TableLeft);
        return Ok(());
    }
    // Whether a table was set by hand cannot be asked (`netif_is_rxfh_configured`). One that is
    // equal to the kernel's default is taken as not set, so that it follows when queues are added
    // or removed: a wrong guess changes no packet's way. One that is not, as igb's and ixgbe's own,
    // is set entry by entry, for its packets must come to the same queues as before; then it
    // counts as set by hand.
    if rss::is_default(before, *rings) && nic.rings()? == *rings {
        nic.reset_table()?;
        undone.push(Undone::TableReset);
    } else {
        nic.set_table(before)?;
        undone.push(Undone::TableRestored);
    }
    Ok(())
}

fn rules(nic: &dyn Nic, record: &Record, undone: &mut Vec<Undone>) -> io::Result<()> {
    if record.rules.is_empty() {
        return Ok(());
    }
    let RuleTable { locations, .. } = match nic.rules() {
        // Without any, there are none of ours.
        Err(error) if is_unsupported(&error) => return Ok(()),
        rules => rules?,
    };
    let (mut removed, mut first_refusal) = (0, Ok(()));
    for change in &record.rules {
        match rule(nic, record, change, &locations) {
            Ok(Fate::Removed) => removed += 1,
            Ok(Fate::Missing) => {}
            Ok(Fate::Left(location)) => undone.push(Undone::RuleLeft { location }),
            Err(error) => first_refusal = first_refusal.and(Err(error)),
        }
    }
    if removed > 0 {
        undone.push(Undone::RulesRemoved(removed));
    }
    first_refusal
}

enum Fate {
    Removed,
    Missing,
    Left(u32),
}

fn rule(
    nic: &dyn Nic,
    record: &Record,
    change: &RuleChange,
    locations: &[u32],
) -> io::Result<Fate> {
    let is_ours = |location: u32| -> io::Result<bool> {
        let present = nic.rule(location)?;
        Ok(match &change.shown {
            Some(shown) => present == *shown,
            // Killed before it was shown: then it must say what it was told to.
            None => present.rule() == Some(change.rule),
        })
    };
    if let Some(location) = change.location {
        if !locations.contains(&location) {
            return Ok(Fate::Missing);
        }
        if !is_ours(location)? {
            return Ok(Fate::Left(location));
        }
        nic.delete(location)?;
        return Ok(Fate::Removed);
    }
    // Killed before it was known where the driver put it: at none of the places that had rules
    // before, or that rules of ours had already.
    let known = |location: &u32| {
        record.occupied.contains(location)
            || record.rules.iter().any(|other| other.location == Some(*location))
    };
    let mut unknown = locations.iter().filter(|location| !known(location));
    // One that cannot be read is none that was added by now.
    match unknown.find(|location| matches!(is_ours(**location), Ok(true))) {
        None => Ok(Fate::Missing),
        Some(&location) => {
            nic.delete(location)?;
            Ok(Fate::Removed)
        }
    }
}

fn switch(nic: &dyn Nic, undone: &mut Vec<Undone>) -> io::Result<()> {
    if !nic.ntuple()? {
        return Ok(()); // Somebody did it before.
    }
    // Many drivers forget all rules when they are switched off.
    if nic.rules().is_ok_and(|rules| !rules.locations.is_empty()) {
        undone.push(Undone::NtupleLeft);
        return Ok(());
    }
    nic.set_ntuple(false)?;
    undone.push(Undone::NtupleOff);
    Ok(())
}
