//! What became of a capture, in numbers and words.

use std::collections::HashMap;
use std::fmt;

use super::super::rules::rule::RuleSet;
use super::watch::{Engaged, by_destination};

/// What became of a capture.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) packets: u64,
    pub(crate) passed: u64,
    /// Challenged ones among them.
    pub(crate) dropped: u64,
    pub(crate) challenged: u64,
    /// Dropped packets by the rule that ended them, or by a reason in brackets.
    pub(super) by: HashMap<String, u64>,
    /// When which destination was engaged; `None` where all were by request.
    pub(crate) engaged: Option<Vec<Engaged>>,
    /// Packets of links that are not read.
    pub(super) unread: u64,
    /// Packets of conversations that there was no room for.
    pub(super) forgotten: u64,
    /// Packets of destinations that there was no room for.
    pub(super) unwatched: u64,
    /// How the capture breaks off, where it does.
    pub(crate) broken: Option<String>,
    /// Names of the rules, in their order.
    order: Vec<String>,
}

impl Summary {
    pub(super) fn new(set: &RuleSet) -> Self {
        Self {
            packets: 0,
            passed: 0,
            dropped: 0,
            challenged: 0,
            by: HashMap::new(),
            engaged: None,
            unread: 0,
            forgotten: 0,
            unwatched: 0,
            broken: None,
            order: set.rules.iter().map(|rule| rule.name.to_string()).collect(),
        }
    }

    /// Dropped packets by who ended them, in the order of the rules.
    pub(crate) fn by(&self) -> Vec<(&str, u64)> {
        let place = |name: &str| self.order.iter().position(|rule| rule == name);
        let mut by: Vec<(&str, u64)> =
            self.by.iter().map(|(name, &packets)| (&**name, packets)).collect();
        by.sort_by_key(|&(name, _)| (place(name).unwrap_or(usize::MAX), name));
        by
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, passed, dropped, challenged, .. } = self;
        writeln!(
            f,
            "{packets} packets: {passed} passed, {dropped} dropped ({challenged} of them challenged)"
        )?;
        for (name, packets) in self.by() {
            writeln!(f, "{packets:>10}  {name}")?;
        }
        match &self.engaged {
            None => writeln!(f, "all destinations engaged, as asked")?,
            Some(times) if times.is_empty() => writeln!(f, "no destination was engaged")?,
            Some(times) => {
                for (destination, times) in by_destination(times) {
                    for engaged in times {
                        write!(f, "engaged {destination} at {} s", seconds(engaged.from_ns))?;
                        match engaged.to_ns {
                            Some(to_ns) => write!(f, " to {} s", seconds(to_ns))?,
                            None => write!(f, " to the end")?,
                        }
                        writeln!(f, ": {}", engaged.cause)?;
                    }
                }
            }
        }
        let remarks = [
            (
                self.unread,
                "packets passed unread: of a link that is not Ethernet, IP, Linux cooked, loopback or PPP",
            ),
            (
                self.forgotten,
                "packets of conversations behind the first million, which are not remembered",
            ),
            (
                self.unwatched,
                "packets of destinations behind the first million, which are never engaged",
            ),
        ];
        for (packets, remark) in remarks.into_iter().filter(|&(packets, _)| packets > 0) {
            writeln!(f, "{packets} {remark}")?;
        }
        Ok(())
    }
}

/// Nanoseconds as seconds with milliseconds.
fn seconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}
