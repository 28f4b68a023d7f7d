//! A rule and a list of them, as read.

use std::num::NonZeroU32;

use tidegate_config::Refusal;

use super::expression::Expression;

/// Rules in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleSet {
    /// Each has a name of its own.
    pub(crate) rules: Vec<Rule>,
    /// For packets that no rule ended or passed.
    pub(crate) default: Fallback,
}

impl RuleSet {
    /// Why these rules need a protected destination, if one does.
    pub(crate) fn needs_protection(&self) -> Option<Refusal> {
        let rule = self.rules.iter().find(|rule| rule.promote.is_some())?;
        let found = format!(
            "rule {} says `for`, and the service protects no destination: the interface's program \
             keeps verdicts for those alone",
            rule.name
        );
        let allowed = "[[service.options.protect]] with engage = \"on\" in place of selectors, or the \
                       rule without `for`";
        Some(Refusal::new(found, allowed))
    }
}

/// What happens to a packet that no rule ended or passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// It ends here.
    Drop,
    /// It goes on into the kernel.
    #[default]
    Pass,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// 1 to 32 of a-z, 0-9, `_` and `-`, begun by a letter.
    pub(crate) name: Box<str>,
    /// What happens to a packet of which `when` holds.
    pub(crate) action: Action,
    /// Whether it is only counted, and the packet goes on to the next rule.
    pub(crate) dry_run: bool,
    /// Whether the verdict is put into the XDP cache: `drop for 10s per source when …`.
    pub(crate) promote: Option<Promote>,
    /// The condition.
    pub(crate) when: Expression,
    /// As it was written, without its name; for `list`, `--explain` and captures.
    pub(crate) text: Box<str>,
    /// The line of the file, from 1.
    pub(crate) line: u32,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The packet ends here.
    Drop,
    /// It goes on into the kernel.
    Pass,
    /// Over the rate it ends here; within it goes on to the next rule.
    Limit(Limit),
    /// A TCP SYN of an unverified source is answered by a challenge and ends here. Whatever else is
    /// met, and what comes from verified sources, goes on to the next rule.
    Challenge,
    /// One of so many is offered to who captures; all go on to the next rule.
    Sample(NonZeroU32),
}

/// `limit 1000 packets/s burst 2000 per source/24 of 65536`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limit {
    /// What is counted.
    pub(crate) unit: Unit,
    /// In the long run, a second.
    pub(crate) rate: u64,
    /// At once after a silence. Default: as much as in one second.
    pub(crate) burst: u64,
    /// What has a bucket of its own.
    pub(crate) per: Key,
    /// Buckets that are kept at once. Default: 65,536.
    pub(crate) buckets: u32,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    /// Packets.
    Packets,
    /// Bits of the IP packets.
    Bits,
}

/// What packets have in common that share a bucket, or a promoted verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// `all`: everything.
    All,
    /// `source`, or `source/24`, `source/24/56`: the leading bits of the source address, of IPv4 and
    /// of IPv6. Without the second IPv6 has /64.
    Source { ipv4: u8, ipv6: u8 },
    /// `destination`: the destination address.
    Destination,
    /// `flow`: both addresses, protocol and ports.
    Flow,
}

/// `for 10s per source`: the verdict is the kernel's for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Promote {
    /// What it holds for: a source, its network, or a flow.
    pub(crate) per: Key,
    /// How long.
    pub(crate) for_ms: u32,
}
