//! Texts of rules: what is read of them, and what is said of mistakes.

mod manual;
mod mistakes;
mod random;
mod reads;
mod sets;

use std::io;

use super::expression::Expression;
use super::reader::{Preset, read};
use super::rule::RuleSet;
use super::*;

const PRESETS: [Preset; 2] = [
    Preset {
        name: "dns",
        text: "set s = {53}\ndns-big: drop when srcport in $s and ip.len > 1000",
    },
    Preset { name: "ntp", text: "ntp: drop when udp.srcport == 123" },
];

/// Files by their names.
fn with_files(text: &str, files: &[(&str, &str)]) -> Result<RuleSet, Vec<Mistake>> {
    let mut open = |path: &str| {
        let found = files.iter().find(|(name, _)| *name == path);
        found
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    read(text, "test.rules", &mut open, &PRESETS)
}

fn rules(text: &str) -> RuleSet {
    with_files(text, &[]).unwrap_or_else(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", all.join("\n"))
    })
}

fn condition(text: &str) -> Expression {
    rules(&format!("a: drop when {text}")).rules.remove(0).when
}

/// The canonical form of a condition.
fn canonical(text: &str) -> String {
    condition(text).to_string()
}
