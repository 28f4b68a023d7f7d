//! What operators see of two paths.

use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::{Counter, Level};
use tidegate_runtime::service::Build;

use super::{Counts, PATHS, PathCounts};

/// What paths are called in the names of counters.
pub const NAMES: [&str; PATHS] = ["first", "second"];

/// Names and help texts, in the order of [`values`].
const COUNTERS: [(&str, &str); 5] = [
    ("packets_received", "Packets that the path brought in time, each number once"),
    ("packets_lost", "Packets that the path did not bring, or not in time"),
    ("packets_duplicate", "Packets that the path brought again"),
    ("packets_reordered", "Packets that the path brought after later ones"),
    ("packets_late", "Packets that the path brought when they had been given up"),
];

/// Likewise.
const LEVELS: [(&str, &str); 2] = [
    ("behind_us", "How far the path was behind the other when last seen, in microseconds"),
    ("behind_us_max", "The most that the path was behind the other, in microseconds"),
];

fn values(counts: &PathCounts) -> [u64; COUNTERS.len()] {
    let PathCounts { received, lost, duplicates, reordered, late, .. } = *counts;
    [received, lost, duplicates, reordered, late]
}

/// The counters of both paths.
#[derive(Debug)]
pub struct Export {
    counters: [[Counter; COUNTERS.len()]; PATHS],
    /// What they have.
    counted: [[u64; COUNTERS.len()]; PATHS],
    levels: [[Level; LEVELS.len()]; PATHS],
    shown: [[i64; LEVELS.len()]; PATHS],
}

impl Export {
    /// Registers everything; `words` say which path is which.
    pub fn register(build: &mut Build<'_>, words: impl IntoIterator<Item = String>) -> Self {
        for (name, word) in NAMES.iter().zip(words) {
            let help = "What the path is told by";
            build.word(&format!("{name}_path"), help, &[&word]);
        }
        let levels = NAMES
            .map(|path| LEVELS.map(|(name, help)| build.level(&format!("{path}_{name}"), help)));
        let counters = NAMES.map(|path| {
            COUNTERS.map(|(name, help)| build.counter(&format!("{path}_{name}"), help))
        });
        let (counted, shown) = Default::default();
        Self { counters, counted, levels, shown }
    }

    /// Shows what was counted.
    pub fn publish(&mut self, cx: &mut ShardContext, counts: &Counts) {
        for (path, counts) in counts.paths.iter().enumerate() {
            let own = self.counters[path].iter().zip(&mut self.counted[path]);
            for ((&counter, counted), value) in own.zip(values(counts)) {
                if value != *counted {
                    cx.count(counter, value - *counted);
                    *counted = value;
                }
            }
            let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
            let now = [us(counts.behind_ns), us(counts.behind_ns_max)];
            for ((&level, shown), value) in
                self.levels[path].iter().zip(&mut self.shown[path]).zip(now)
            {
                if value != *shown {
                    cx.set_level(level, value);
                    *shown = value;
                }
            }
        }
    }
}
