//! Selectors: which packets leave the kernel's path and come to a service.

use toml::de::DeValue;

use crate::nearest::hint;
use crate::prefix::{PortRange, Prefix};
use crate::reader::{Field, Read, Reader, Wrong};
use crate::value::{integer, text, words};

/// Keys of one selector.
pub(crate) const KEYS: &[&str] = &["destination", "source", "protocol", "ports", "fragments"];

/// What a packet must be to come to a service. All that is given must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Network of the destination address.
    pub destination: Prefix,
    /// Network of the source address; `None`: any.
    pub source: Option<Prefix>,
    /// Protocol above IP.
    pub protocol: Protocol,
    /// Destination ports, of UDP, TCP and SCTP; `None`: any, and packets without ports too.
    pub ports: Option<PortRange>,
    /// What happens to the later fragments of a matching packet.
    pub fragments: Fragments,
    /// Whether its packets come only while it is engaged. Not written here: a service that protects
    /// destinations derives it.
    pub protection: Option<Protection>,
}

/// How a destination is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Whether its packets come from the start.
    pub engaged: bool,
    /// Whether they end while nobody judges them; else they stay with the kernel.
    pub closed: bool,
}

/// Protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Any.
    Any,
    /// The one with this number, of IANA's list.
    Number(u8),
}

const UDP: u8 = 17;
const TCP: u8 = 6;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

words! {
    /// What a selector with ports does with later fragments, which carry no ports. A selector
    /// without ports treats them as any packet.
    pub enum Fragments {
        /// They stay with the kernel.
        Pass = "pass",
        /// They come to the service too, if all but the ports matches.
        Take = "take",
    }
}

/// A protocol as written; which ICMP is meant depends on the address.
enum Written {
    Any,
    Icmp,
    Number(u8),
}

const PROTOCOLS: &[&str] = &["any", "udp", "tcp", "icmp"];

impl Read for Written {
    const ALLOWED: &'static str = "\"any\", \"udp\", \"tcp\", \"icmp\" or a number from 0 to 255";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if let Some(number) = integer(value) {
            return u8::try_from(number).map(Self::Number).map_err(|_| Wrong::kind());
        }
        match text(value).ok_or_else(Wrong::kind)? {
            "any" => Ok(Self::Any),
            "udp" => Ok(Self::Number(UDP)),
            "tcp" => Ok(Self::Number(TCP)),
            "icmp" => Ok(Self::Icmp),
            other => other.parse().map(Self::Number).map_err(|_| {
                Wrong::new(format!("{other:?}{}", hint(other, PROTOCOLS)), Self::ALLOWED)
            }),
        }
    }
}

/// Reads one selector of a list.
pub(crate) fn read(reader: &mut Reader, field: &Field<'_>) -> Option<Selector> {
    let allowed = "a table such as { destination = \"198.18.0.1\", protocol = \"udp\" }";
    let section = field.section(reader, KEYS, allowed)?;
    let source: Option<Prefix> = section.read(reader, "source");
    let written = section.read(reader, "protocol").unwrap_or(Written::Any);
    let ports: Option<PortRange> = section.read(reader, "ports");
    let fragments = section.read(reader, "fragments").unwrap_or(Fragments::Pass);
    let destination: Prefix = section.require(reader, "destination")?;
    if let Some(source) = source.filter(|source| source.is_ipv4() != destination.is_ipv4()) {
        let found = format!("{source}, while the destination is {destination}");
        reader.mistake(&section.place_of("source"), found, "two addresses of the same kind of IP");
    }
    let protocol = match written {
        Written::Any => Protocol::Any,
        Written::Number(number) => Protocol::Number(number),
        Written::Icmp if destination.is_ipv4() => Protocol::Number(ICMP),
        Written::Icmp => Protocol::Number(ICMPV6),
    };
    let has_ports = matches!(protocol, Protocol::Any | Protocol::Number(UDP | TCP | SCTP));
    if ports.is_some() && !has_ports {
        let allowed = "ports only beside protocol = \"udp\", \"tcp\", 132 (SCTP) or \"any\"";
        reader.mistake(&section.place_of("ports"), "ports of a protocol without ports", allowed);
    }
    Some(Selector { destination, source, protocol, ports, fragments, protection: None })
}

impl Selector {
    /// Whether every packet that `other` matches is matched by this one as well.
    pub fn covers(&self, other: &Self) -> bool {
        // Nothing narrows: what this one leaves open is open, what it names contains the other's.
        let source = self.source.is_none_or(|own| other.source.is_some_and(|its| own.covers(its)));
        let ports = self.ports.is_none_or(|own| other.ports.is_some_and(|its| own.covers(its)));
        let protocol = self.protocol == Protocol::Any || self.protocol == other.protocol;
        let fragments = self.ports.is_none()
            || self.fragments == Fragments::Take
            || other.fragments == Fragments::Pass;
        self.destination.covers(other.destination) && source && ports && protocol && fragments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(destination: &str, protocol: Protocol, ports: Option<&str>) -> Selector {
        Selector {
            destination: destination.parse().unwrap(),
            source: None,
            protocol,
            ports: ports.map(|ports| ports.parse().unwrap()),
            fragments: Fragments::Pass,
            protection: None,
        }
    }

    #[test]
    fn covers_where_nothing_narrows() {
        let udp = Protocol::Number(UDP);
        let wide = selector("198.18.0.0/15", Protocol::Any, None);
        let narrow = selector("198.18.0.1", udp, Some("53"));
        assert!(wide.covers(&narrow) && wide.covers(&wide) && !narrow.covers(&wide));

        let from = Selector { source: Some("198.19.0.0/16".parse().unwrap()), ..wide.clone() };
        assert!(wide.covers(&from) && !from.covers(&narrow));

        let taking = Selector { fragments: Fragments::Take, ..narrow.clone() };
        assert!(!narrow.covers(&taking) && taking.covers(&narrow) && wide.covers(&taking));
        assert!(!selector("::/0", Protocol::Any, None).covers(&wide));
    }
}
