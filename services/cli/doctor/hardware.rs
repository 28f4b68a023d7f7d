//! What a network card can be told about its queues, and what it was told: `steering` of a config.

use std::path::Path;

use serde::Serialize;
use tidegate_dataplane::steer::hardware;
use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};
use tidegate_runtime::control;

use super::judge::{About, Severity};

/// What a card can, as its driver tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HardwareFacts {
    /// Queues that an RSS table or a flow rule may name; `None` where the driver has neither.
    pub rings: Option<u32>,
    /// Entries of the RSS table; `None` where the driver has none.
    pub table_entries: Option<usize>,
    /// Queues that the RSS table names, in ascending order.
    pub table_queues: Vec<u32>,
    /// Whether it obeys flow rules.
    pub rules: RuleFacts,
    /// What a process of tidegate has changed on it, as it wrote down before.
    pub record: Option<RecordFacts>,
}

/// Whether a card obeys flow rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleFacts {
    /// It has none.
    #[default]
    Missing,
    /// They are switched off, and may be switched on.
    Off,
    /// They are switched on.
    On {
        /// Rules that are there.
        count: usize,
        /// Rules that there is room for; 0 where the driver does not say.
        room: u32,
    },
}

/// What a process has changed on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordFacts {
    /// The process.
    pub pid: u32,
    /// Whether it lives.
    pub is_alive: bool,
    /// Queues that it keeps out of the RSS table.
    pub isolated_queues: Vec<u32>,
    /// Flow rules that it added.
    pub rules: usize,
}

/// Asks the driver, and looks for a record.
pub(super) fn facts(ethtool: &Ethtool, name: &str) -> HardwareFacts {
    let table = ethtool.table(name).ok().filter(|table| !table.is_empty());
    let mut table_queues = table.clone().unwrap_or_default();
    table_queues.sort_unstable();
    table_queues.dedup();
    let is_on = ethtool.offload(name, Offload::Ntuple).unwrap_or(false);
    let rules = match ethtool.rules(name) {
        Ok(rules) if is_on => RuleFacts::On { count: rules.locations.len(), room: rules.size },
        // Not every driver tells its rules while they are off.
        _ if ethtool.can_switch_rules(name).unwrap_or(false) => RuleFacts::Off,
        _ => RuleFacts::Missing,
    };
    HardwareFacts {
        rings: ethtool.rings(name).ok(),
        table_entries: table.map(|table| table.len()),
        table_queues,
        rules,
        record: record(name, &control::directory()),
    }
}

/// What this user's processes wrote down; of others nothing can be known.
fn record(name: &str, records: &Path) -> Option<RecordFacts> {
    if !records.exists() || control::private_directory(records).is_err() {
        return None;
    }
    let left = hardware::look(name, records).ok()??;
    let hardware::Left { pid, is_alive, isolated, rules } = left;
    Some(RecordFacts { pid, is_alive, isolated_queues: isolated, rules })
}

/// What follows for `steering` of a config.
pub(super) fn judge(name: &str, facts: &HardwareFacts, say: &mut About<'_>) {
    let table = match facts.table_entries {
        None => "no RSS table (rss)".to_owned(),
        Some(entries) => {
            format!("RSS table of {entries} entries, with queues {}", ranges(&facts.table_queues))
        }
    };
    let rules = match facts.rules {
        RuleFacts::Missing => "no flow rules (ntuple)".to_owned(),
        RuleFacts::Off => "flow rules, switched off".to_owned(),
        RuleFacts::On { count, room: 0 } => format!("flow rules, {count} in use"),
        RuleFacts::On { count, room } => format!("flow rules, {count} of {room} in use"),
    };
    let possible = match (facts.table_entries.is_some(), facts.rules) {
        (false, RuleFacts::Missing) => "xdp",
        (true, RuleFacts::Missing) => "xdp, rss",
        (true, _) => "xdp, rss, ntuple",
        (false, _) => "xdp, ntuple",
    };
    say.good(format!("steering {possible}: {table}; {rules}"));
    let Some(record) = &facts.record else { return };
    let RecordFacts { pid, is_alive, isolated_queues, rules } = record;
    let queues = match isolated_queues.as_slice() {
        [] => "an RSS table as it was".to_owned(),
        [one] => format!("queue {one} out of the RSS table"),
        many => format!("queues {} out of the RSS table", ranges(many)),
    };
    let rules = match rules {
        0 => String::new(),
        1 => " and 1 flow rule".to_owned(),
        count => format!(" and {count} flow rules"),
    };
    if *is_alive {
        say.good(format!("process {pid} of tidegate has {queues}{rules} here"));
    } else {
        say.add(
            Severity::Warning,
            format!(
                "process {pid} of tidegate was killed and left {queues}{rules} here; the next \
                 start on this interface puts it right, as does this"
            ),
            Some(format!("tidegate restore {name}")),
        );
    }
}

/// Numbers in ascending order as `0-3, 8`.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let word = |(first, last): (u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.into_iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_written_as_one() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3, 8");
        assert_eq!(ranges(&[1]), "1");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn the_loopback_can_nothing_of_it() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(facts(&ethtool, "lo"), HardwareFacts::default());
    }
}
