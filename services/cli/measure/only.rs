//! Which packets are measured, as written on the command line.

use std::fmt;
use std::str::FromStr;

use tidegate_config::{PortRange, Prefix, Refusal};

/// `DESTINATION[,PROTOCOL[,PORTS]]`, as `198.18.0.0/24,udp,53`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    destination: Prefix,
    protocol: Option<Protocol>,
    ports: Option<PortRange>,
}

/// A protocol, by its word or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Udp,
    Tcp,
    Icmp,
    Number(u8),
}

const ALLOWED: &str = "DESTINATION[,PROTOCOL[,PORTS]], such as 198.18.0.0/24 or \
                       2001:db8::1,udp,1000-2000";

impl FromStr for Only {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut parts = text.split(',');
        let destination = parts.next().unwrap_or_default().parse()?;
        let protocol = match parts.next() {
            None => None,
            Some("udp") => Some(Protocol::Udp),
            Some("tcp") => Some(Protocol::Tcp),
            Some("icmp") => Some(Protocol::Icmp),
            Some(number) => Some(Protocol::Number(number.parse().map_err(|_| {
                Refusal::new(format!("the protocol {number:?}"), "udp, tcp, icmp or a number")
            })?)),
        };
        let ports: Option<PortRange> = parts.next().map(str::parse).transpose()?;
        if parts.next().is_some() {
            return Err(Refusal::new(format!("{text:?}"), ALLOWED));
        }
        let has_ports = matches!(protocol, Some(Protocol::Udp | Protocol::Tcp));
        if ports.is_some() && !has_ports {
            return Err(Refusal::new(format!("{text:?}"), "ports behind udp or tcp"));
        }
        Ok(Self { destination, protocol, ports })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp => f.write_str("udp"),
            Self::Tcp => f.write_str("tcp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(f)?;
        if let Some(protocol) = self.protocol {
            write!(f, ",{protocol}")?;
        }
        match self.ports {
            Some(ports) => write!(f, ",{ports}"),
            None => Ok(()),
        }
    }
}

impl Only {
    /// The same as a selector of a config.
    pub(super) fn selector(&self) -> String {
        let mut selector = format!("destination = \"{}\"", self.destination);
        if let Some(protocol) = self.protocol {
            selector.push_str(&format!(", protocol = \"{protocol}\""));
        }
        if let Some(ports) = self.ports {
            selector.push_str(&format!(", ports = \"{ports}\""));
        }
        format!("{{ {selector} }}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_as_it_was_written() {
        for text in [
            "198.18.0.0/24",
            "198.18.0.1/32,udp,53",
            "2001:db8::/32,tcp,1000-2000",
            "::/0,icmp",
            "0.0.0.0/0,132",
        ] {
            assert_eq!(text.parse::<Only>().unwrap().to_string(), text);
        }
        let only: Only = "198.18.0.1,udp,53".parse().unwrap();
        let selector = "{ destination = \"198.18.0.1/32\", protocol = \"udp\", ports = \"53\" }";
        assert_eq!(only.selector(), selector);
    }

    #[test]
    fn mistakes_are_named_with_what_is_allowed() {
        for (text, said) in [
            ("198.18.0.1/24", "bits set behind the prefix"),
            ("everything", "an IPv4 or IPv6 address or network"),
            ("198.18.0.1,sctp", "the protocol \"sctp\"; allowed: udp, tcp, icmp or a number"),
            ("198.18.0.1,udp,70000", "port numbers from 0 to 65535"),
            ("198.18.0.1,icmp,53", "ports behind udp or tcp"),
            ("198.18.0.1,udp,53,fast", "DESTINATION[,PROTOCOL[,PORTS]]"),
        ] {
            let refusal = text.parse::<Only>().unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
