//! The shipped rules are right, and documented.

use std::collections::BTreeSet;

use super::*;
use crate::scrub::load::{Origin, Rules};
use crate::scrub::rules;

#[test]
fn the_shipped_presets_have_no_mistake() {
    let all = Rules::load(&Origin::Shipped).unwrap_or_else(|error| panic!("{error}"));
    let set = all.set();
    assert!(set.rules.len() > 50, "{}", set.rules.len());
    let mut none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    for &Preset { name, text } in SHIPPED {
        let alone = rules::read(text, name, &mut none, &[])
            .unwrap_or_else(|mistakes| panic!("{name}: {}", mistakes[0]));
        assert!(!alone.rules.is_empty(), "{name}");
        assert!(text.starts_with("# "), "{name} begins with what it is about");
    }
}

#[test]
fn every_file_of_rules_is_shipped() {
    let room = concat!(env!("CARGO_MANIFEST_DIR"), "/services/scrub/presets");
    let files: BTreeSet<String> = std::fs::read_dir(room)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".rules").map(str::to_owned))
        .collect();
    let shipped = SHIPPED.iter().map(|it| it.name.to_owned()).collect();
    assert_eq!(files, shipped);
}

/// docs/presets.md has a heading for each preset, and a row for each of its rules; and no other.
#[test]
fn every_rule_has_a_row_in_the_documentation() {
    let text = include_str!("../../../docs/presets.md");
    let rows: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name)
        .collect();
    let all = Rules::load(&Origin::Shipped).unwrap();
    let set = all.set();
    let names: BTreeSet<&str> = set.rules.iter().map(|rule| &*rule.name).collect();
    let missing: Vec<_> = names.difference(&rows).collect();
    let extra: Vec<_> = rows.difference(&names).collect();
    assert!(missing.is_empty() && extra.is_empty(), "no row: {missing:?}; no rule: {extra:?}");
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## `")).collect();
    let expected: Vec<String> = SHIPPED.iter().map(|it| format!("{}`", it.name)).collect();
    assert_eq!(headings, expected);
}
