//! What is protected, and when it leaves the kernel.

use std::fmt;
use std::num::NonZeroU64;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tidegate_config::{
    Fragments, Interval, PortRange, Prefix, Protection, Protocol, Refusal, Selector,
};
use tidegate_dataplane::wire::protocol;

use super::engage::{Policy, Thresholds};

/// One `[[service.options.protect]]`. Holding one proves that a packet can match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protect {
    /// Its packets.
    pub(crate) selector: Selector,
    /// Whether it leaves the kernel.
    pub(crate) engage: Engage,
    /// When, for [`Engage::Auto`].
    pub(crate) policy: Policy,
    /// What becomes of its packets while nobody judges.
    pub(crate) stalled: Stalled,
}

/// Whether a destination leaves the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Engage {
    /// Never; it is counted.
    Off,
    /// Always.
    On,
    /// While it is attacked.
    #[default]
    Auto,
}

/// What becomes of packets while the service does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stalled {
    /// They pass.
    #[default]
    Open,
    /// They end.
    Closed,
}

/// As written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    destination: Prefix,
    protocol: Option<Above>,
    ports: Option<PortRange>,
    #[serde(default)]
    engage: Engage,
    packets_per_second: Option<NonZeroU64>,
    bits_per_second: Option<NonZeroU64>,
    new_flows_per_second: Option<NonZeroU64>,
    syn_per_second: Option<NonZeroU64>,
    unanswered_syn_per_second: Option<NonZeroU64>,
    release: Option<Release>,
    #[serde(default)]
    stalled: Stalled,
}

/// When it goes back.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    below: Option<Share>,
    after: Option<Interval>,
}

impl<'de> Deserialize<'de> for Protect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.checked().map_err(D::Error::custom)
    }
}

impl Written {
    fn checked(self) -> Result<Protect, Refusal> {
        let destination = self.destination;
        let protocol = match self.protocol {
            None => Protocol::Any,
            Some(Above::Icmp) if destination.is_ipv4() => Protocol::Number(protocol::ICMP),
            Some(Above::Icmp) => Protocol::Number(protocol::ICMPV6),
            Some(Above::Number(number)) => Protocol::Number(number),
        };
        const SCTP: u8 = 132;
        let has_ports = matches!(
            protocol,
            Protocol::Any | Protocol::Number(protocol::UDP | protocol::TCP | SCTP)
        );
        if self.ports.is_some() && !has_ports {
            let allowed = "ports only beside protocol = \"udp\", \"tcp\", 132 (SCTP) or none";
            return Err(Refusal::new("ports of a protocol without ports", allowed));
        }
        let usual = Policy::default();
        let limit = |own: Option<NonZeroU64>, usual| own.map(NonZeroU64::get).or(usual);
        let thresholds = Thresholds {
            packets_per_second: limit(self.packets_per_second, usual.thresholds.packets_per_second),
            bits_per_second: limit(self.bits_per_second, usual.thresholds.bits_per_second),
            new_flows_per_second: limit(
                self.new_flows_per_second,
                usual.thresholds.new_flows_per_second,
            ),
            syn_per_second: limit(self.syn_per_second, usual.thresholds.syn_per_second),
            unanswered_syn_per_second: limit(
                self.unanswered_syn_per_second,
                usual.thresholds.unanswered_syn_per_second,
            ),
        };
        let release = self.release.unwrap_or(Release { below: None, after: None });
        let policy = Policy {
            thresholds,
            below_thousandths: release.below.map_or(usual.below_thousandths, |share| share.0),
            after_ns: release.after.map_or(usual.after_ns, Interval::as_ns),
        };
        let selector = Selector {
            destination,
            source: None,
            protocol,
            ports: self.ports,
            // A datagram has one verdict, so its later parts come along.
            fragments: Fragments::Take,
            protection: Some(Protection {
                engaged: self.engage == Engage::On,
                closed: self.stalled == Stalled::Closed,
            }),
        };
        Ok(Protect { selector, engage: self.engage, policy, stalled: self.stalled })
    }
}

/// What is above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp,
    /// The one with this number.
    Number(u8),
}

impl Above {
    const ALLOWED: &'static str = "\"udp\", \"tcp\", \"icmp\" or a number from 0 to 255";
}

impl<'de> Deserialize<'de> for Above {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Above;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Above::ALLOWED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Above, E> {
                match text {
                    "udp" => Ok(Above::Number(protocol::UDP)),
                    "tcp" => Ok(Above::Number(protocol::TCP)),
                    "icmp" => Ok(Above::Icmp),
                    number => number
                        .parse()
                        .map(Above::Number)
                        .map_err(|_| E::custom(Refusal::new(format!("{text:?}"), Above::ALLOWED))),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Above, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Above, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// A share of a threshold, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share(u32);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if !(0.001..=1.0).contains(&share) {
            let found = format!("{share} of a threshold");
            return Err(D::Error::custom(Refusal::new(found, "0.001 to 1.0")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 1000")]
        let thousandths = (share * 1000.0).round() as u32;
        Ok(Self(thousandths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Protect, String> {
        let options = tidegate_config::Options::from_text(text).unwrap();
        options.parse().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let protect = read("destination = \"198.18.0.0/24\"").unwrap();
        assert_eq!(protect.policy, Policy::default());
        assert_eq!((protect.engage, protect.stalled), (Engage::Auto, Stalled::Open));
        assert_eq!(protect.selector.protocol, Protocol::Any);
        assert_eq!(protect.selector.fragments, Fragments::Take);
    }

    #[test]
    fn each_key_is_read() {
        let protect = read(
            "destination = \"2001:db8::/64\"\nprotocol = \"tcp\"\nports = \"80-443\"\n\
             engage = \"on\"\npackets_per_second = 1\nbits_per_second = 2\n\
             new_flows_per_second = 3\nsyn_per_second = 4\nunanswered_syn_per_second = 5\n\
             release = { below = 0.25, after = \"3s\" }\nstalled = \"closed\"\n",
        );
        let protect = protect.unwrap();
        let thresholds = Thresholds {
            packets_per_second: Some(1),
            bits_per_second: Some(2),
            new_flows_per_second: Some(3),
            syn_per_second: Some(4),
            unanswered_syn_per_second: Some(5),
        };
        let policy = Policy { thresholds, below_thousandths: 250, after_ns: 3_000_000_000 };
        assert_eq!(protect.policy, policy);
        assert_eq!((protect.engage, protect.stalled), (Engage::On, Stalled::Closed));
        assert_eq!(protect.selector.ports, Some("80-443".parse().unwrap()));
        assert_eq!(protect.selector.protocol, Protocol::Number(6));
        for (word, v4, v6) in [("\"icmp\"", 1, 58), ("\"udp\"", 17, 17), ("47", 47, 47)] {
            for (destination, number) in [("198.18.0.1", v4), ("2001:db8::1", v6)] {
                let text = format!("destination = \"{destination}\"\nprotocol = {word}");
                assert_eq!(read(&text).unwrap().selector.protocol, Protocol::Number(number));
            }
        }
    }

    #[test]
    fn mistakes_say_what_is_allowed() {
        let said = |more: &str| read(&format!("destination = \"198.18.0.1\"\n{more}")).unwrap_err();
        for (more, found, allowed) in [
            ("engage = \"ever\"", "\"ever\"", "off, on, auto"),
            ("protocol = \"dup\"", "\"dup\"", Above::ALLOWED),
            ("protocol = 1\nports = 80", "ports of a protocol without ports", "ports only beside"),
            ("release = { below = 1.5 }", "1.5 of a threshold", "0.001 to 1.0"),
            ("release = { below = 0.0 }", "0 of a threshold", "0.001 to 1.0"),
            ("stalled = \"ajar\"", "\"ajar\"", "open, closed"),
        ] {
            let error = said(more);
            assert!(error.contains(&format!("found: {found}")), "{more}: {error}");
            assert!(error.contains(&format!("allowed: {allowed}")), "{more}: {error}");
        }
        assert!(said("packets_per_second = 0").contains("packets_per_second"));
    }
}
