//! A snapshot as a screen of 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate_runtime::metrics::snapshot::{
    HardwareSnapshot, PortSnapshot, RuleSnapshot, ServiceSnapshot, Snapshot, TableSnapshot,
};
use tidegate_runtime::metrics::{Help, Kind, PortStats, ServiceStats, ShardStats};

use super::units::{count, mean, percent, time, uptime};
use crate::cli::wrap::wrap;

mod streams;
mod tables;

/// Columns of the screen.
const WIDTH: usize = 80;

/// Widest name of a service or port that still leaves its numbers their room.
const NAME: usize = 20;

/// Flow rules of an interface that are shown one by one; `--json` has them all.
const RULES: usize = 12;

/// The screen. `span` says what the counters are counted over.
pub fn render(snapshot: &Snapshot, span: &str) -> String {
    let mut text = String::new();
    let Snapshot { instance, pid, uptime_ns, .. } = snapshot;
    let _ = writeln!(text, "{instance}, pid {pid}, up {}; {span}", uptime(*uptime_ns));
    let totals = snapshot.totals();
    text.push_str(&shards(snapshot, &totals.0));
    text.push_str(&ports(snapshot, &totals.1));
    text.push_str(&services(snapshot, &totals.2));
    text.push_str(&settled(snapshot, &totals.2));
    text.push_str(&tables::tables(snapshot));
    text.push_str(&streams::streams(snapshot));
    text.push_str(&streams::paths(snapshot));
    let mut notes = obtained(snapshot);
    notes.extend(streams::notes(snapshot));
    notes.extend(kernel(snapshot));
    notes.extend(hardware(snapshot));
    notes.extend(named(snapshot));
    notes.extend(trouble(snapshot));
    if !notes.is_empty() {
        text.push('\n');
    }
    text.push_str(&lines_of(notes));
    match snapshot.conservation.unaccounted {
        0 => text.push_str("\nevery frame is accounted for\n"),
        frames => {
            let _ = writeln!(text, "\nUNACCOUNTED FRAMES: {frames} (a bug of tidegate)");
        }
    }
    text
}

/// One table: a head, rows, and a last row of totals where there are several.
pub(in crate::cli) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(in crate::cli) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&word| word.to_owned()).collect()] }
    }

    pub(in crate::cli) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines with totals; the first `left` columns are flush left. Empty without rows.
    pub(in crate::cli) fn lines(
        mut self,
        left: usize,
        totals: impl IntoIterator<Item = String>,
    ) -> String {
        match self.rows.len() {
            1 => return String::new(),
            2 => {}
            _ => self.row(totals),
        }
        self.set(left)
    }

    /// The lines; the first `left` columns are flush left, the others right.
    pub(in crate::cli) fn set(self, left: usize) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = "\n".to_owned();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let _ = match column < left {
                    true => write!(line, "{gap}{cell:<width$}"),
                    false => write!(line, "{gap}{cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn shards(snapshot: &Snapshot, total: &ShardStats) -> String {
    let head =
        ["shard", "cpu", "busy", "asleep", "turns", "longest", "wake-ups", "sleeps", "stalls"];
    let cells = |stats: &ShardStats| {
        [
            percent(stats.busy_ns, stats.total_ns),
            percent(stats.asleep_ns, stats.total_ns),
            count(stats.turns),
            time(stats.longest_turn_ns),
            count(stats.wakeups),
            count(stats.sleeps),
            count(stats.stalls),
        ]
    };
    let mut table = Table::new(&head);
    for shard in &snapshot.shards {
        let cpu = shard.cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
        table.row([shard.id.to_string(), cpu].into_iter().chain(cells(&shard.stats)));
    }
    table.lines(2, ["all".to_owned(), String::new()].into_iter().chain(cells(total)))
}

fn ports(snapshot: &Snapshot, total: &PortStats) -> String {
    let mut table =
        Table::new(&["port", "shard", "in", "octets", "out", "octets", "held", "lost", "wakes"]);
    let cells = |stats: &PortStats| {
        [
            count(stats.rx_frames),
            count(stats.rx_octets),
            count(stats.tx_frames),
            count(stats.tx_octets),
            count(stats.held_frames),
            count(stats.lost_packets()),
            count(stats.tx_wakes + stats.rx_wakes),
        ]
    };
    for shard in &snapshot.shards {
        for port in &shard.ports {
            let first = [short(&name_of(port)), shard.id.to_string()];
            table.row(first.into_iter().chain(cells(&port.stats)));
        }
    }
    table.lines(1, ["all".to_owned(), String::new()].into_iter().chain(cells(total)))
}

fn services(snapshot: &Snapshot, total: &ServiceStats) -> String {
    let mut table = Table::new(&[
        "service", "shard", "in", "octets", "out", "octets", "held", "bursts", "mean",
    ]);
    let cells = |stats: &ServiceStats| {
        [
            count(stats.rx_frames),
            count(stats.rx_octets),
            count(stats.tx_frames),
            count(stats.tx_octets),
            count(stats.held_frames),
            count(stats.bursts),
            mean(stats.rx_frames, stats.bursts),
        ]
    };
    for (shard, service) in all_services(snapshot) {
        table.row([short(&service.name), shard].into_iter().chain(cells(&service.stats)));
    }
    table.lines(1, ["all".to_owned(), String::new()].into_iter().chain(cells(total)))
}

fn settled(snapshot: &Snapshot, total: &ServiceStats) -> String {
    let mut table =
        Table::new(&["settled", "shard", "transmit", "reinject", "consumed", "drop", "reclaimed"]);
    let cells = |stats: &ServiceStats| {
        [
            count(stats.settled_transmit),
            count(stats.settled_reinject),
            count(stats.settled_consumed),
            count(stats.settled_drop),
            count(stats.reclaimed_frames),
        ]
    };
    for (shard, service) in all_services(snapshot) {
        table.row([short(&service.name), shard].into_iter().chain(cells(&service.stats)));
    }
    table.lines(1, ["all".to_owned(), String::new()].into_iter().chain(cells(total)))
}

fn all_services(snapshot: &Snapshot) -> impl Iterator<Item = (String, &ServiceSnapshot)> {
    let of = |shard| move |service| (shard, service);
    (snapshot.shards.iter())
        .flat_map(move |shard| shard.services.iter().map(of(shard.id)))
        .map(|(shard, service): (u32, &ServiceSnapshot)| (shard.to_string(), service))
}

fn name_of(port: &PortSnapshot) -> String {
    format!("{}:{}", port.interface, port.queue)
}

/// A name that fits its column; `~` stands for what was cut.
fn short(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME - 1).chain(['~']).collect(),
    }
}

type Note = (String, String);

/// Notes as lines, each begun at the margin and gone on within it.
fn lines_of(notes: Vec<Note>) -> String {
    let mut text = String::new();
    for (title, body) in notes {
        for (index, line) in wrap(&format!("{title}: {body}"), WIDTH - 4).iter().enumerate() {
            let _ = writeln!(text, "{}{line}", if index == 0 { "" } else { "    " });
        }
    }
    text
}

/// What the kernel granted, lost and counted, as lines.
pub(in crate::cli) fn of_the_kernel(snapshot: &Snapshot) -> String {
    let mut notes = obtained(snapshot);
    notes.extend(kernel(snapshot));
    lines_of(notes)
}

/// What the kernel granted to the ports, those that got the same together.
fn obtained(snapshot: &Snapshot) -> Vec<Note> {
    let mut notes: Vec<(&BTreeMap<String, String>, Vec<String>)> = Vec::new();
    for port in snapshot.shards.iter().flat_map(|shard| &shard.ports) {
        match notes.iter_mut().find(|(words, _)| *words == &port.obtained) {
            Some((_, ports)) => ports.push(name_of(port)),
            None if port.obtained.is_empty() => {}
            None => notes.push((&port.obtained, vec![name_of(port)])),
        }
    }
    let told = |words: &BTreeMap<String, String>| {
        let words: Vec<_> = words.iter().map(|(name, value)| format!("{name} {value}")).collect();
        words.join(", ")
    };
    (notes.into_iter())
        .map(|(words, ports)| (format!("obtained by {}", ports.join(" ")), told(words)))
        .collect()
}

/// What the kernel counted: losses of each port by reason, and the steering program's numbers.
fn kernel(snapshot: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    for port in snapshot.shards.iter().flat_map(|shard| &shard.ports) {
        let kernel = |help: &Help| help.name.strip_prefix("kernel_");
        let reasons = (PortStats::HELP.iter().zip(port.stats.values()))
            .filter_map(|(help, value)| Some((kernel(help)?, value)));
        notes.extend(list(format!("kernel at {}", name_of(port)), reasons));
    }
    for steering in &snapshot.steering {
        let counters = steering.counters.iter().map(|(name, value)| (name.as_str(), *value));
        notes.extend(list(format!("steering of {}", steering.interface), counters));
    }
    notes
}

/// What the cards were told about their queues, as they show it now.
fn hardware(snapshot: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    for steering in &snapshot.steering {
        let (name, Some(hardware)) = (&steering.interface, &steering.hardware) else { continue };
        let queues: Vec<String> = hardware.isolated_queues.iter().map(u32::to_string).collect();
        let isolated = match queues.as_slice() {
            [] => "no queue isolated".to_owned(),
            [one] => format!("queue {one} isolated"),
            many => format!("queues {} isolated", many.join(", ")),
        };
        let HardwareSnapshot { asked, table, rules, remarks, .. } = hardware;
        notes.push((
            format!("hardware of {name}"),
            format!("{asked}, {isolated}, RSS table {table}"),
        ));
        let rule = |rule: &RuleSnapshot| {
            let gone = if rule.in_place { "" } else { " (GONE)" };
            format!("{} -> queue {}{gone}", rule.location, rule.queue)
        };
        let shown: Vec<String> = rules.iter().take(RULES).map(rule).collect();
        if !shown.is_empty() {
            let more = match rules.len() - shown.len() {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            let title = format!("{} flow rules of {name}, by location", rules.len());
            notes.push((title, shown.join(", ") + &more));
        }
        notes.extend(remarks.iter().map(|it| (format!("REMARK on {name}"), it.clone())));
    }
    notes
}

/// What the services counted: drops by reason, and their own counters; over all shards.
fn named(snapshot: &Snapshot) -> Vec<Note> {
    let mut drops: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut own: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (_, service) in all_services(snapshot) {
        for (name, value) in &service.drops {
            *drops.entry(&service.name).or_default().entry(name).or_default() += value;
        }
        for (name, value) in service.counters.iter().chain(&service.gauges) {
            *own.entry(&service.name).or_default().entry(name).or_default() += value;
        }
    }
    let mut notes = Vec::new();
    for (service, reasons) in drops {
        notes.extend(list(format!("dropped by {service}"), reasons));
    }
    for (service, counters) in own {
        notes.extend(list(format!("counted by {service}"), counters));
    }
    notes
}

/// What should never happen, where it did.
fn trouble(snapshot: &Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    for (shard, service) in all_services(snapshot) {
        let ServiceStats { panics, restarts, over_budget, stalls, .. } = service.stats;
        let numbers = [
            ("panics", panics),
            ("restarts", restarts),
            ("over_budget", over_budget),
            ("stalls", stalls),
        ];
        notes.extend(list(format!("TROUBLE with {} on shard {shard}", service.name), numbers));
    }
    for port in snapshot.shards.iter().flat_map(|shard| &shard.ports) {
        let PortStats { bad_descriptors, wake_errors_netdown, wake_errors_other, .. } = port.stats;
        let numbers = [
            ("bad_descriptors", bad_descriptors),
            ("wake_errors_netdown", wake_errors_netdown),
            ("wake_errors_other", wake_errors_other),
        ];
        notes.extend(list(format!("TROUBLE at {}", name_of(port)), numbers));
    }
    for shard in snapshot.shards.iter().filter(|shard| shard.torn) {
        let what = "its numbers were read while they changed".to_owned();
        notes.push((format!("shard {}", shard.id), what));
    }
    notes
}

/// The numbers that are not zero, the largest first; `None` without any.
fn list<'a>(title: String, numbers: impl IntoIterator<Item = (&'a str, u64)>) -> Option<Note> {
    let mut numbers: Vec<(&str, u64)> =
        numbers.into_iter().filter(|&(_, value)| value > 0).collect();
    numbers.sort_by_key(|&(_, value)| std::cmp::Reverse(value));
    let words: Vec<String> =
        numbers.iter().map(|&(name, value)| format!("{name} {}", count(value))).collect();
    (!words.is_empty()).then(|| (title, words.join(", ")))
}

/// `now` with every counter as its growth per second since `before`. What is no counter stays.
pub fn rates(now: &Snapshot, before: &Snapshot) -> Snapshot {
    let elapsed = now.uptime_ns.saturating_sub(before.uptime_ns).max(1);
    let rate = |now: u64, before: u64| {
        // A process that was started anew counts from zero: no rate rather than a huge one.
        let per_second = u128::from(now.saturating_sub(before)) * 1_000_000_000;
        u64::try_from(per_second / u128::from(elapsed)).unwrap_or(u64::MAX)
    };
    let by_kind = |help: &Help, now: u64, before: u64| match help.kind {
        Kind::Counter => rate(now, before),
        Kind::Gauge | Kind::Peak => now,
    };
    let named = |now: &mut BTreeMap<String, u64>, before: Option<&BTreeMap<String, u64>>| {
        for (name, value) in now {
            *value = rate(*value, before.and_then(|it| it.get(name)).copied().unwrap_or(0));
        }
    };
    let mut rates = now.clone();
    for shard in &mut rates.shards {
        let old = before.shards.iter().find(|old| old.id == shard.id);
        let stats = old.map(|old| old.stats).unwrap_or_default();
        shard.stats = ShardStats::from_values(zip(
            ShardStats::HELP,
            shard.stats.values(),
            stats.values(),
            by_kind,
        ));
        for port in &mut shard.ports {
            let same =
                |it: &&PortSnapshot| it.interface == port.interface && it.queue == port.queue;
            let stats = old.and_then(|old| old.ports.iter().find(same)).map(|it| it.stats);
            let stats = stats.unwrap_or_default();
            port.stats = PortStats::from_values(zip(
                PortStats::HELP,
                port.stats.values(),
                stats.values(),
                by_kind,
            ));
        }
        for service in &mut shard.services {
            let old = old.and_then(|old| old.services.iter().find(|it| it.name == service.name));
            let stats = old.map(|old| old.stats).unwrap_or_default();
            service.stats = ServiceStats::from_values(zip(
                ServiceStats::HELP,
                service.stats.values(),
                stats.values(),
                by_kind,
            ));
            named(&mut service.drops, old.map(|it| &it.drops));
            named(&mut service.counters, old.map(|it| &it.counters));
        }
    }
    for steering in &mut rates.steering {
        let old = before.steering.iter().find(|old| old.interface == steering.interface);
        named(&mut steering.counters, old.map(|it| &it.counters));
    }
    for table in &mut rates.tables {
        let same = |it: &&TableSnapshot| it.service == table.service && it.name == table.name;
        let old = before.tables.iter().find(same);
        for row in &mut table.rows {
            let old = old.and_then(|old| old.rows.iter().find(|it| it.name == row.name));
            named(&mut row.counters, old.map(|it| &it.counters));
        }
    }
    rates
}

fn zip<const N: usize>(
    help: &[Help],
    mut now: [u64; N],
    before: [u64; N],
    rate: impl Fn(&Help, u64, u64) -> u64,
) -> [u64; N] {
    for ((value, before), help) in now.iter_mut().zip(before).zip(help) {
        *value = rate(help, *value, before);
    }
    now
}

#[cfg(test)]
mod tests;
