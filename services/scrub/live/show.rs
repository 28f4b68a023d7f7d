//! What is shown of rules and destinations.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_runtime::metrics::snapshot::{RowSnapshot, TableSnapshot};

use super::generation::Generation;
use super::guard::{Guard, Standing};
use super::keeper::Hits;
use super::ledger::Settled;
use super::promote;
use crate::scrub::judge::{Reason, Tally};
use crate::scrub::rules::rule::Rule;

/// Rules in `stats`: those that decided most. `rules hits` has all.
const RULES_SHOWN: usize = 100;

/// What every rule did, by shard too where it did something.
pub(super) fn hits(generation: &Generation, hits: &[Hits]) -> Value {
    let rule = |(rule, hits): (&Rule, &Hits)| {
        let core = |(shard, tally): &(u32, Tally)| {
            json!({
                "shard": shard,
                "packets": tally.ended,
                "octets": tally.octets,
                "dry_run": tally.would,
                "met": tally.met,
            })
        };
        json!({
            "name": rule.name,
            "text": rule.text,
            "packets": hits.all.ended,
            "octets": hits.all.octets,
            "dry_run": hits.all.would,
            "met": hits.all.met,
            "promoted": hits.promoted.packets,
            "promoted_octets": hits.promoted.octets,
            "cores": hits.by_shard.iter().map(core).collect::<Vec<_>>(),
        })
    };
    let rules: Vec<Value> = generation.rules.set().rules.iter().zip(hits).map(rule).collect();
    json!({ "generation": generation.number, "rules": rules })
}

/// Rules that did something, those that decided most first.
fn busiest<'a>(
    generation: &'a Generation,
    hits: &'a [Hits],
    count: usize,
) -> Vec<(&'a Rule, &'a Hits)> {
    let mut busy: Vec<_> = (generation.rules.set().rules.iter().zip(hits))
        .filter(|(_, hits)| hits.all != Tally::default() || hits.promoted.packets > 0)
        .collect();
    busy.sort_by_key(|(_, hits)| std::cmp::Reverse(decided(hits)));
    busy.truncate(count);
    busy
}

const fn decided(hits: &Hits) -> u64 {
    hits.all.ended + hits.all.would + hits.promoted.packets
}

/// The `count` rules that decided most.
pub(super) fn top_rules(generation: &Generation, hits: &[Hits], count: usize) -> Value {
    let row = |(rule, hits): (&Rule, &Hits)| {
        json!({
            "name": rule.name,
            "packets": hits.all.ended,
            "octets": hits.all.octets,
            "dry_run": hits.all.would,
        })
    };
    let rows: Vec<Value> = busiest(generation, hits, count).into_iter().map(row).collect();
    json!({ "generation": generation.number, "top": rows })
}

fn map<T>(pairs: impl IntoIterator<Item = (&'static str, T)>) -> BTreeMap<String, T> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Rules in `stats`.
pub(super) fn rules(
    service: &str,
    generation: &Generation,
    hits: &[Hits],
) -> Option<TableSnapshot> {
    let row = |(rule, hits): (&Rule, &Hits)| RowSnapshot {
        name: rule.name.to_string(),
        counters: map([
            ("packets", hits.all.ended),
            ("octets", hits.all.octets),
            ("dry_run", hits.all.would),
            ("promoted", hits.promoted.packets),
        ]),
        ..RowSnapshot::default()
    };
    let rows: Vec<_> = busiest(generation, hits, RULES_SHOWN).into_iter().map(row).collect();
    let table = |rows| TableSnapshot { service: service.to_owned(), name: "rule".to_owned(), rows };
    (!rows.is_empty()).then(|| table(rows))
}

/// What became of the operator's command, in `stats`.
pub(super) fn hooks(service: &str, guard: &Guard) -> Option<TableSnapshot> {
    let counts = guard.hooks()?;
    let row = RowSnapshot {
        name: "hook".to_owned(),
        counters: map([("done", counts.done), ("failed", counts.failed)]),
        ..RowSnapshot::default()
    };
    let (service, name) = (service.to_owned(), "command".to_owned());
    Some(TableSnapshot { service, name, rows: vec![row] })
}

/// What became of verdicts that the steering programs were to have, in `stats`.
pub(super) fn promotions(service: &str, counts: Option<promote::Counts>) -> Option<TableSnapshot> {
    let promote::Counts { promoted, refused } = counts?;
    let row = RowSnapshot {
        name: "cache".to_owned(),
        counters: map([("promoted", promoted), ("refused", refused)]),
        ..RowSnapshot::default()
    };
    let (service, name) = (service.to_owned(), "verdicts".to_owned());
    Some(TableSnapshot { service, name, rows: vec![row] })
}

/// Destinations in `stats`.
pub(super) fn destinations(service: &str, guard: &Guard, now_ns: u64) -> Option<TableSnapshot> {
    let row = |standing: Standing<'_>| {
        let state = if standing.engaged { "engaged" } else { "peace" };
        RowSnapshot {
            name: standing.name.to_owned(),
            words: map([("mode", standing.mode.to_owned()), ("state", state.to_owned())]),
            counters: map([
                ("packets", standing.counts.packets),
                ("engagements", standing.engagements),
                ("releases", standing.releases),
            ]),
            gauges: map([
                ("packets_per_second", standing.rates.packets),
                ("bits_per_second", standing.rates.bits),
                ("after_packets_per_second", standing.rates.after_packets),
                ("after_bits_per_second", standing.rates.after_bits),
                ("dropped_per_second", standing.rates.dropped_packets),
            ]),
        }
    };
    let rows: Vec<_> = guard.standings(now_ns).map(row).collect();
    let service = service.to_owned();
    (!rows.is_empty()).then(|| TableSnapshot { service, name: "destination".to_owned(), rows })
}

/// What became of what came for each destination, in `stats`.
pub(super) fn fates(service: &str, guard: &Guard) -> Option<TableSnapshot> {
    let row = |standing: Standing<'_>| {
        let Standing { name, fate, .. } = standing;
        let Settled { reinjected, challenged, dropped: _, reasons } = fate.settled;
        let mut counters = map([
            ("after", fate.after().packets),
            ("after_octets", fate.after().octets),
            ("passed", fate.early.passed.packets),
            ("reinjected", reinjected.packets),
            ("redirected", fate.early.redirected.packets),
            ("challenged", challenged),
            ("dropped_in_xdp", fate.early.dropped.packets),
        ]);
        // Most destinations never have any of these.
        let reasons = Reason::ALL.iter().zip(reasons);
        let reasons = reasons.map(|((_, name, _), packets)| (format!("dropped_{name}"), packets));
        counters.extend(reasons.filter(|(_, packets)| *packets > 0));
        RowSnapshot { name: name.to_owned(), counters, ..RowSnapshot::default() }
    };
    let rows: Vec<_> = guard.standings(0).map(row).collect();
    let (service, name) = (service.to_owned(), "fate".to_owned());
    (!rows.is_empty()).then_some(TableSnapshot { service, name, rows })
}
