//! The link address to send to.
//!
//! A group's address has its link address in itself (RFC 1112, section 6.4). Another receiver's is
//! either configured or in the kernel's neighbour table, which the kernel fills when *it* talks to
//! that receiver. We only read it: a sender that asks by itself would need to answer, too.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Deserialize;

/// Where the kernel shows the table.
const TABLE: &str = "/proc/net/arp";

/// A link address, written as `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl std::str::FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Address { found: text.into() };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(octets)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// Why there is no link address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not written like one.
    Address {
        /// What was written.
        found: Box<str>,
    },
    /// The kernel does not know it.
    Unknown {
        /// The receiver.
        destination: Ipv4Addr,
        /// The interface that it should be on.
        interface: Box<str>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { found } => {
                write!(f, "link address {found:?}: allowed is the form \"02:00:00:00:00:01\"")
            }
            Self::Unknown { destination, interface } => write!(
                f,
                "the kernel does not know the link address of {destination} on {interface}; set \
                 destination_mac, or let the kernel learn it with `ping -c1 {destination}`, or \
                 tell it with `ip neigh replace {destination} lladdr 02:00:00:00:00:02 dev \
                 {interface}`"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The link address of `destination` on `interface`.
///
/// # Errors
///
/// When it is not a group's and the kernel's table does not have it.
pub fn resolve(destination: Ipv4Addr, interface: &str) -> Result<[u8; 6], Error> {
    if destination.is_multicast() {
        let [_, a, b, c] = destination.octets();
        return Ok([0x01, 0x00, 0x5e, a & 0x7f, b, c]);
    }
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    find(&table, destination, interface)
        .ok_or_else(|| Error::Unknown { destination, interface: interface.into() })
}

/// Columns: address, hardware type, flags, hardware address, mask, device.
fn find(table: &str, destination: Ipv4Addr, interface: &str) -> Option<[u8; 6]> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [address, _, flags, mac, _, device] = columns[..] else { return None };
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        // ATF_COM of linux/if_arp.h: the entry is complete.
        let known = flags & 0x02 != 0;
        let wanted = device == interface && address.parse() == Ok(destination);
        (known && wanted).then(|| mac.parse::<Mac>().ok()).flatten().map(|Mac(octets)| octets)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
198.18.0.2       0x1         0x0         00:00:00:00:00:00     *        veth0
198.18.0.2       0x1         0x2         02:00:00:00:00:0b     *        veth1
198.18.0.3       0x1         0x6         02:00:00:00:00:0c     *        veth0
";

    #[test]
    fn finds_complete_entries_on_the_right_interface() {
        let find = |last, interface| find(TABLE, Ipv4Addr::new(198, 18, 0, last), interface);
        assert_eq!(find(2, "veth1"), Some([2, 0, 0, 0, 0, 0x0b]));
        assert_eq!(find(3, "veth0"), Some([2, 0, 0, 0, 0, 0x0c]));
        assert_eq!(find(2, "veth0"), None, "not complete");
        assert_eq!(find(3, "veth1"), None, "elsewhere");
    }

    #[test]
    fn a_group_needs_no_table() {
        let group = Ipv4Addr::new(239, 129, 2, 1);
        assert_eq!(resolve(group, "none"), Ok([0x01, 0x00, 0x5e, 0x01, 2, 1]));
    }

    #[test]
    fn an_unknown_receiver_is_refused_with_the_command_that_helps() {
        let error = resolve(Ipv4Addr::new(198, 18, 0, 2), "tg-no-such").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel does not know the link address of 198.18.0.2 on tg-no-such; set \
             destination_mac, or let the kernel learn it with `ping -c1 198.18.0.2`, or tell it \
             with `ip neigh replace 198.18.0.2 lladdr 02:00:00:00:00:02 dev tg-no-such`"
        );
    }

    #[test]
    fn link_addresses_are_read_strictly() {
        assert_eq!("02:00:00:00:00:0A".parse(), Ok(Mac([2, 0, 0, 0, 0, 10])));
        for text in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "0g:00:00:00:00:00"]
        {
            assert_eq!(
                text.parse::<Mac>().unwrap_err().to_string(),
                format!("link address {text:?}: allowed is the form \"02:00:00:00:00:01\"")
            );
        }
    }
}
