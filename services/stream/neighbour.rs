//! The link address to send to.
//!
//! A group's address has its link address in itself (RFC 1112, section 6.4). Another receiver's is
//! either configured or in the kernel's neighbour table, which the kernel fills when *it* talks to
//! that receiver. We only read it: a sender that asks by itself would need to answer, too.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Deserialize;
use tidegate_dataplane::sys::netlink::Netlink;

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
    known(destination, interface)
        .ok_or_else(|| Error::Unknown { destination, interface: interface.into() })
}

/// Asks the kernel for the neighbour: the receiver, or the router on the way to it.
fn known(destination: Ipv4Addr, interface: &str) -> Option<[u8; 6]> {
    let mut netlink = Netlink::open().ok()?;
    let index = netlink.link(interface).ok()?.index;
    let route = netlink.route_to(destination.into()).ok();
    let router = route.filter(|it| it.interface_index == index).and_then(|it| it.gateway);
    let next = router.unwrap_or(destination.into());
    netlink.neighbour(index, next).ok()?.map(|neighbour| neighbour.mac)
}

#[cfg(test)]
mod tests {
    use super::*;

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
