//! docs/rules.md says what is: its tables are those of the code, its examples can be read.

use super::super::field::{AddressField, Layer, NumberField};
use super::super::words;
use super::*;

const MANUAL: &str = include_str!("../../../../docs/rules.md");

/// Whether the table with these rows stands in the manual.
fn stands(head: &str, rows: impl Iterator<Item = String>) {
    let rule = "|---".repeat(head.matches('|').count() - 1);
    let table = format!("{head}\n{rule}|\n{}\n", rows.collect::<Vec<_>>().join("\n"));
    assert!(MANUAL.contains(&table), "docs/rules.md has not this table:\n{table}");
}

#[test]
fn every_field_stands_in_the_manual_with_what_it_is() {
    let numbers = NumberField::ALL.iter();
    let row = |it: &NumberField| format!("| `{it}` | {} | {} |", it.bits(), it.help().trim());
    stands("| field | bits | what it is |", numbers.map(row));
    let addresses = AddressField::ALL.iter();
    stands(
        "| word | what it is |",
        addresses.map(|it| format!("| `{it}` | {} |", it.help().trim())),
    );
    let layers = Layer::ALL.iter();
    stands("| word | what it is |", layers.map(|it| format!("| `{it}` | {} |", it.help().trim())));
}

#[test]
fn every_word_for_a_number_stands_in_the_manual() {
    let fields = NumberField::ALL.iter().filter(|&&field| !words::of(field).is_empty());
    let rows = fields.map(|&field| {
        let words = words::of(field).iter().map(|(name, number)| format!("{name} {number}"));
        format!("| `{field}` | {} |", words.collect::<Vec<_>>().join(", "))
    });
    stands("| field | words |", rows);
}

#[test]
fn every_example_of_the_manual_can_be_read() {
    let examples: Vec<&str> = MANUAL
        .split("```rules\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end of the example"))
        .collect();
    let counts: Vec<usize> = examples.iter().map(|text| rules(text).rules.len()).collect();
    assert_eq!(counts, [9, 4, 12]);
}

#[test]
fn every_test_of_the_manual_can_be_read() {
    let table = MANUAL.split("| test | is met when |\n|---|---|\n").nth(1).expect("the table");
    let mut read = 0;
    for row in table.lines().take_while(|row| row.starts_with('|')) {
        let cell = row.split(" | ").next().unwrap().trim_start_matches("| ");
        for text in cell.split('`').skip(1).step_by(2) {
            // What has a place for something, and fields alone.
            let text = text.replace("$games", "{1}").replace('A', "1").replace('N', "5");
            let text = match text.as_str() {
                "host 1" => "host ::1".into(),
                "net P" => "net ::/0".into(),
                "portrange 1-B" => "portrange 1-2".into(),
                "ip.addr" => "ip.addr == ::1".into(),
                "port" | "tcp.port" | "udp.port" => format!("{text} != 1"),
                _ => text,
            };
            condition(&text);
            read += 1;
        }
    }
    assert_eq!(read, 29);
}

#[test]
fn the_mistake_that_the_manual_shows_is_the_one_that_is_told() {
    let text = "\n\nweb: drop when tcp.dstport == 70000";
    let shown =
        with_files(text, &[]).unwrap_err()[0].to_string().replace("test.rules", "shield.rules");
    assert!(MANUAL.contains(&shown), "{shown}");
    for impossible in
        ["tcp and udp", "ip.ttl < 5 and ip.ttl > 9", "ip.frag_offset > 0 and udp.srcport == 53"]
    {
        assert!(MANUAL.contains(impossible));
        assert!(with_files(&format!("a: drop when {impossible}"), &[]).is_err());
    }
}
