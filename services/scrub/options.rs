//! What an operator may say to a scrubber.

use std::fmt;
use std::num::NonZeroU32;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tidegate_config::{PortRange, Prefix, Refusal};
use tidegate_dataplane::wire::protocol;
use tidegate_runtime::metrics::NAMED_MAX;
use tidegate_runtime::verdict;

use super::limiter::Limit;
use super::words::{FlagsMatch, LengthRange, Octets, Protocol, RuleName};

/// Rules of one scrubber, at most: each has a counter and a drop reason of its
/// own, and some names are taken.
pub const RULES_MAX: usize = 48;

const _: () = assert!(
    2 * RULES_MAX + super::OWN_REASONS.len() + 1 + verdict::OWN_REASONS.len() <= NAMED_MAX,
    "a scrubber with all its rules has a name for each"
);

/// The options table of a `scrub` service. Holding one proves that its rules
/// have names of their own and that each of them can match some packet.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Options {
    /// In the order in which they are tried; the first that matches decides.
    pub(super) rules: Vec<RuleOptions>,
    /// For packets that no rule matches.
    pub(super) default: Fallback,
}

/// The table as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    rules: Vec<Checked>,
    #[serde(default)]
    default: Fallback,
}

/// A rule that was looked at as a whole while serde still knew its place in the
/// file, so that a mistake is shown there.
#[derive(Debug)]
struct Checked(RuleOptions);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = Checked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with name, conditions and action")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Checked, A::Error> {
                let rule = RuleOptions::deserialize(MapAccessDeserializer::new(map))?;
                rule.check().map_err(A::Error::custom)?;
                Ok(Checked(rule))
            }
        }

        deserializer.deserialize_map(Table)
    }
}

/// One rule. A condition that is not given holds for every packet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleOptions {
    /// Names its counter and its drop reason.
    pub(super) name: RuleName,
    /// Network of the source address.
    pub(super) source: Option<Prefix>,
    /// Network of the destination address.
    pub(super) destination: Option<Prefix>,
    /// What is above IP.
    pub(super) protocol: Option<Protocol>,
    /// Source ports, of UDP and TCP.
    pub(super) source_ports: Option<PortRange>,
    /// Destination ports, of UDP and TCP.
    pub(super) destination_ports: Option<PortRange>,
    /// TCP flags.
    pub(super) flags: Option<FlagsMatch>,
    /// Octets of the IP packet, header included, Ethernet and its padding not.
    pub(super) length: Option<LengthRange>,
    /// Octets in the payload.
    pub(super) payload: Option<PayloadOptions>,
    /// `true`: only parts of a datagram; `false`: only whole ones. Ports, flags
    /// and payload are in the first part only, so a rule that asks for them
    /// never matches a later one.
    pub(super) fragment: Option<bool>,
    /// What happens to a packet that it matches.
    pub(super) action: Action,
}

/// Octets at a place in the payload: behind the UDP, TCP or ICMP header, for
/// other protocols behind the IP header.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayloadOptions {
    /// Where they start.
    #[serde(default)]
    pub(super) offset: u16,
    /// What they are.
    pub(super) octets: Octets,
}

impl PayloadOptions {
    /// Octets of payload up to the last one that is looked at.
    pub(super) fn reach(&self) -> usize {
        usize::from(self.offset) + self.octets.0.len()
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The packet ends here.
    Drop,
    /// It goes on into the kernel.
    Pass,
    /// It goes on while its source keeps to a rate, else it ends here.
    Limit(LimitOptions),
}

/// A rate for each source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOptions {
    /// In the long run.
    packets_per_second: NonZeroU32,
    /// At once, after a silence.
    burst: NonZeroU32,
    /// Sources that are remembered at once, 32 octets for each.
    #[serde(default = "sources")]
    sources: u32,
}

/// Sources remembered by default: 2 MiB. Fewer and a spoofed flood is sooner
/// at the point where new sources share what the table has left; more and the
/// table no longer fits a second-level cache.
const fn sources() -> u32 {
    65_536
}

/// Sources remembered at most, 128 MiB.
const SOURCES_MAX: u32 = 1 << 22;

/// What happens to a packet that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// It ends here.
    Drop,
    /// It goes on into the kernel.
    #[default]
    Pass,
}

impl LimitOptions {
    /// As the limiter takes it.
    pub(super) const fn limit(self) -> Limit {
        Limit {
            packets_per_second: self.packets_per_second.get(),
            burst_packets: self.burst.get(),
            sources: self.sources,
        }
    }
}

impl TryFrom<Written> for Options {
    type Error = Refusal;

    fn try_from(written: Written) -> Result<Self, Refusal> {
        let rules: Vec<_> = written.rules.into_iter().map(|Checked(rule)| rule).collect();
        if rules.len() > RULES_MAX {
            let found = format!("{} rules", rules.len());
            return Err(Refusal::new(found, format!("at most {RULES_MAX} rules")));
        }
        for (index, rule) in rules.iter().enumerate() {
            let name = &rule.name.0;
            let place = format!("rules[{index}] {name:?}");
            if is_taken(name) {
                let found = format!("{place}, a name that something else is counted under");
                return Err(Refusal::new(found, "another name"));
            }
            if let Some(first) = rules[..index].iter().position(|other| other.name == rule.name) {
                let found = format!("{place}, the name of rules[{first}] too");
                return Err(Refusal::new(found, "a name of its own for each rule"));
            }
        }
        Ok(Self { rules, default: written.default })
    }
}

/// Whether a rule of this name would share a counter with something else.
fn is_taken(name: &str) -> bool {
    // Each rule has a counter `rule_<name>` beside its drop reason.
    name.starts_with("rule_")
        || name == super::TAKEOVERS.0
        || super::OWN_REASONS.iter().any(|(own, _)| *own == name)
        || verdict::OWN_REASONS.contains(&name)
}

impl RuleOptions {
    /// Refuses what can match no packet at all.
    fn check(&self) -> Result<(), Refusal> {
        if let (Some(source), Some(destination)) = (self.source, self.destination)
            && source.is_ipv4() != destination.is_ipv4()
        {
            let found = format!("source {source} and destination {destination}");
            return Err(Refusal::new(found, "two addresses of the same kind of IP"));
        }
        let is = |number| self.protocol == Some(Protocol::Number(number));
        let (any, tcp, udp) = (self.protocol.is_none(), is(protocol::TCP), is(protocol::UDP));
        if self.flags.is_some() && !(any || tcp) {
            return Err(Refusal::new(
                "flags of another protocol",
                "protocol = \"tcp\" beside flags",
            ));
        }
        let ports = self.source_ports.or(self.destination_ports);
        if ports.is_some() && !(any || tcp || udp) {
            let allowed = "protocol = \"udp\" or \"tcp\" beside ports";
            return Err(Refusal::new("ports of another protocol", allowed));
        }
        if let Action::Limit(limit) = self.action
            && !(1..=SOURCES_MAX).contains(&limit.sources)
        {
            let found = format!("sources = {}", limit.sources);
            return Err(Refusal::new(found, format!("1 to {SOURCES_MAX} sources")));
        }
        Ok(())
    }
}
