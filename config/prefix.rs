//! Networks and ranges of ports, as selectors and rules name them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Refusal;
use crate::value::{integer, read_from_str, text};

/// An IPv4 or IPv6 network. Holding one proves that all bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The network of `len` leading bits of `address`; the bits behind are cleared.
    ///
    /// # Panics
    ///
    /// When `len` is more than the address has bits.
    pub fn network(address: IpAddr, len: u8) -> Self {
        assert!(len <= bits(address), "/{len} of {address}");
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self { address, len }
    }

    /// First address of the network.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Leading bits that count.
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// Whether it is an IPv4 network.
    pub const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether every address of `other` is one of this network.
    pub fn covers(self, other: Self) -> bool {
        self.is_ipv4() == other.is_ipv4()
            && self.len <= other.len
            && Self::network(other.address, self.len) == self
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Prefix {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::new(format!("{text:?}"), <Self as crate::reader::Read>::ALLOWED);
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let Some(len) = len else { return Ok(Self { address, len: bits(address) }) };
        let plain = !len.is_empty() && len.bytes().all(|digit| digit.is_ascii_digit());
        let len: u8 = len.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        if len > bits(address) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let allowed = format!("/0 to /{} for {family}", bits(address));
            return Err(Refusal::new(format!("{text:?}, whose prefix is too long"), allowed));
        }
        let network = Self::network(address, len);
        if network.address == address {
            return Ok(network);
        }
        let host = Self { address, len: bits(address) };
        let found = format!("{text:?}, which has bits set behind the prefix");
        Err(Refusal::new(found, format!("the network \"{network}\" or the address \"{host}\"")))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

read_from_str!(
    Prefix,
    "an IPv4 or IPv6 address or network, such as \"198.18.0.0/15\" or \"2001:db8::/32\""
);

/// A range of UDP or TCP port numbers, both ends included. Written `"20000"` or `"1000-2000"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// This port alone.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Lowest port number.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Highest port number.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether every port of `other` is in this range.
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

const PORTS: &str = "port numbers from 0 to 65535, such as \"20000\" or \"1000-2000\"";

impl FromStr for PortRange {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let port = |port: &str| {
            port.trim().parse::<u16>().map_err(|_| Refusal::new(format!("{text:?}"), PORTS))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            let found = format!("{text:?}, which runs backwards");
            return Err(Refusal::new(found, format!("\"{last}-{first}\"")));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// A single port may also be given as a plain number.
impl crate::reader::Read for PortRange {
    const ALLOWED: &'static str = PORTS;

    fn read(value: &toml::de::DeValue<'_>) -> Result<Self, crate::reader::Wrong> {
        if let Some(port) = integer(value).and_then(|port| u16::try_from(port).ok()) {
            return Ok(Self::one(port));
        }
        let text = text(value).ok_or_else(crate::reader::Wrong::kind)?;
        text.parse().map_err(|r: Refusal| crate::reader::Wrong::new(r.found, r.allowed))
    }
}

impl<'de> serde::Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ports;

        impl serde::de::Visitor<'_> for Ports {
            type Value = PortRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PORTS)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PortRange, E> {
                text.parse().map_err(E::custom::<Refusal>)
            }

            fn visit_i64<E: serde::de::Error>(self, port: i64) -> Result<PortRange, E> {
                let one = PortRange::one;
                let found = format!("the integer {port}");
                u16::try_from(port).map(one).map_err(|_| E::custom(Refusal::new(found, PORTS)))
            }
        }

        deserializer.deserialize_any(Ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn reads_networks_and_lone_addresses() {
        for (text, shown) in [
            ("198.18.0.0/15", "198.18.0.0/15"),
            ("198.18.0.1", "198.18.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(prefix(text).to_string(), shown);
        }
    }

    #[test]
    fn refuses_host_bits_and_says_which_network_was_meant() {
        let refusal = "198.19.0.1/15".parse::<Prefix>().unwrap_err();
        assert_eq!(refusal.found, "\"198.19.0.1/15\", which has bits set behind the prefix");
        assert_eq!(
            refusal.allowed,
            "the network \"198.18.0.0/15\" or the address \"198.19.0.1/32\""
        );
        let refusal = "2001:db8::1/64".parse::<Prefix>().unwrap_err();
        assert_eq!(
            refusal.allowed,
            "the network \"2001:db8::/64\" or the address \"2001:db8::1/128\""
        );
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in
            ["", "198.18.0.0/", "198.18.0.0/+15", "198.18.0", "eth0", "::/129", "1.2.3.4/33"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let refusal = "198.18.0.0/33".parse::<Prefix>().unwrap_err();
        assert_eq!(refusal.allowed, "/0 to /32 for IPv4");
    }

    #[test]
    fn covers_is_containment() {
        assert!(prefix("198.18.0.0/15").covers(prefix("198.19.3.0/24")));
        assert!(prefix("0.0.0.0/0").covers(prefix("198.18.0.1")));
        assert!(!prefix("198.18.0.0/16").covers(prefix("198.18.0.0/15")));
        assert!(!prefix("0.0.0.0/0").covers(prefix("::/0")));
        let range = |text: &str| text.parse::<PortRange>().unwrap();
        assert!(range("1-10").covers(range("10")));
        assert!(!range("1-10").covers(range("10-11")));
    }

    #[test]
    fn ports_are_ranges_that_run_forwards() {
        assert_eq!("20000".parse::<PortRange>().unwrap().to_string(), "20000");
        assert_eq!("1000-2000".parse::<PortRange>().unwrap().to_string(), "1000-2000");
        assert_eq!("9-1".parse::<PortRange>().unwrap_err().allowed, "\"1-9\"");
        for text in ["", "65536", "1-", "-1", "a"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
