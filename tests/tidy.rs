//! Tidy is a test: the rules of the house that no compiler keeps.
//!
//! Each rule is a pure function from a path and its text to what is wrong with
//! it, in `rules.rs`, and has a test with a bad sample beside it, so that every
//! rule can fail. Here they meet the tree. `source.rs` tells code from comments,
//! strings and tests.

mod rules;
mod source;

use std::path::Path;

use rules::{Complaint, UNSAFE_FILES};
use source::Source;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources that a rule may apply to, read once for each test.
fn tree() -> Vec<Source> {
    let sources = source::tree(root());
    // A walk that finds nothing would keep every rule.
    for room in
        ["config/lib.rs", "dataplane/lib.rs", "runtime/lib.rs", "services/lib.rs", "README.md"]
    {
        assert!(sources.iter().any(|source| source.path == room), "{room} was not found");
    }
    sources
}

fn hold(rule: impl Fn(&Source) -> Vec<Complaint>) {
    let complaints: Vec<String> = tree()
        .iter()
        .flat_map(|source| rule(source).into_iter().map(|it| format!("{}:{it}", source.path)))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn unsafe_is_where_the_list_says_and_each_such_file_says_why() {
    hold(|source| rules::unsafe_places(source, &UNSAFE_FILES));
    for file in UNSAFE_FILES {
        assert!(root().join(file).is_file(), "{file} is on the list of unsafe files and not there");
    }
}

#[test]
fn rooms_import_only_downwards() {
    hold(rules::imports);
    hold(rules::dependencies);
}

#[test]
fn only_the_clock_asks_what_time_it_is() {
    hold(rules::time);
}

#[test]
fn no_banned_words_and_calls() {
    hold(rules::banned);
}

#[test]
fn every_source_begins_by_saying_what_it_is_for() {
    hold(rules::begins_with_its_page);
}

#[test]
fn no_source_is_too_long() {
    hold(rules::length);
}

#[test]
fn text_is_clean() {
    hold(rules::whitespace);
}

#[test]
fn every_counter_says_what_it_counts() {
    hold(rules::counters);
}

#[test]
fn no_path_of_one_machine() {
    hold(rules::machine_paths);
}
