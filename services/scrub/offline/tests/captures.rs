//! Captures that nobody here made, with the shipped presets alone.

use std::path::{Path, PathBuf};

use super::craft::judge;
use crate::scrub::corpus::corpus;

/// The captures of one kind.
fn files(corpus: &Path, kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(corpus.join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "pcap" || it == "pcapng"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no captures in {kind}");
    files
}

/// Thousandths.
fn share(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of as f64
}

#[test]
fn of_each_flood_99_percent_do_not_pass_when_engaged() {
    let Some(corpus) = corpus() else { return };
    for file in files(&corpus, "attack") {
        let summary = judge(file.clone(), true);
        eprintln!(
            "{}: {:.2} % do not pass\n{summary}",
            file.display(),
            share(summary.dropped, summary.packets)
        );
        assert!(summary.dropped * 100 >= summary.packets * 99, "{}: {summary}", file.display());
    }
}

#[test]
fn of_each_users_capture_999_thousandths_pass_in_peace() {
    let Some(corpus) = corpus() else { return };
    for file in files(&corpus, "legit") {
        let summary = judge(file.clone(), false);
        assert!(summary.passed * 1000 >= summary.packets * 999, "{}: {summary}", file.display());
        assert_eq!(summary.engaged.as_deref(), Some(&[][..]), "{}: {summary}", file.display());
    }
}

#[test]
fn of_each_users_capture_99_percent_pass_when_engaged() {
    let Some(corpus) = corpus() else { return };
    for file in files(&corpus, "legit") {
        let summary = judge(file.clone(), true);
        eprintln!(
            "{}: {:.2} % pass\n{summary}",
            file.display(),
            share(summary.passed, summary.packets)
        );
        assert!(summary.passed * 100 >= summary.packets * 99, "{}: {summary}", file.display());
    }
}

#[test]
fn garbage_is_counted_and_breaks_nothing() {
    let Some(corpus) = corpus() else { return };
    for file in files(&corpus, "odd") {
        for engaged in [false, true] {
            let summary = judge(file.clone(), engaged);
            assert_eq!(summary.passed + summary.dropped, summary.packets);
        }
    }
}
