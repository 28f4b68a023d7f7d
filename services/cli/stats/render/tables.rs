//! The tables that services show: columns as they come.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tidegate_runtime::metrics::snapshot::{RowSnapshot, Snapshot, TableSnapshot};

use super::{Table, count, short};

/// Rows of a table that are shown; `--json` has all.
const ROWS: usize = 12;

pub(super) fn tables(snapshot: &Snapshot) -> String {
    snapshot.tables.iter().map(one).collect()
}

/// One table, with a column for everything that some row has.
fn one(table: &TableSnapshot) -> String {
    let TableSnapshot { service, name, rows } = table;
    if rows.is_empty() {
        return String::new();
    }
    let all = |names: fn(&RowSnapshot) -> Vec<&String>| -> BTreeSet<&str> {
        rows.iter().flat_map(names).map(String::as_str).collect()
    };
    let words = all(|row| row.words.keys().collect());
    let counters = all(|row| row.counters.keys().collect());
    let gauges = all(|row| row.gauges.keys().collect());
    let title = format!("{} {name}", short(service));
    let columns = words.iter().chain(&counters).chain(&gauges).copied();
    let mut screen = Table::new(&[title.as_str()].into_iter().chain(columns).collect::<Vec<_>>());
    for row in rows.iter().take(ROWS) {
        let said = words.iter().map(|&it| row.words.get(it).cloned().unwrap_or_default());
        let counted = counters.iter().map(|&it| (it, &row.counters));
        let stands = gauges.iter().map(|&it| (it, &row.gauges));
        let numbers = counted.chain(stands).map(|(name, values)| match values.get(name) {
            Some(&value) => count(value),
            None => String::new(),
        });
        screen.row([row.name.clone()].into_iter().chain(said).chain(numbers));
    }
    let mut text = screen.set(1 + words.len());
    if rows.len() > ROWS {
        let _ = writeln!(text, "({} more; --json has all)", rows.len() - ROWS);
    }
    text
}
