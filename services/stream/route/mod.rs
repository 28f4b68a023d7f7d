//! Where a stream's packets go: addresses and marks, and the link address of the next hop.
//!
//! ```text
//!   options ─► Way ─► Route ─► Flow ─► header
//!                       │ destination_mac: as it says, for ever
//!                       │ a group: its own link address, for ever
//!                       └ a receiver: as the kernel's routes and neighbours say, followed
//! ```
//!
//! A receiver's link address is the kernel's to know. Its routes say who the next hop is, its
//! neighbour table has the address, and where it does not, the kernel is told to ask: then an
//! ordinary ARP request or neighbour solicitation leaves, and the answer goes into the table that
//! every other program of the machine uses. While the stream runs a thread watches both, so that a
//! receiver with another card, a router that was replaced, and a route that moved to another one are
//! followed from the next frame on. A neighbour that vanishes keeps its last address: that is
//! counted, and said once.
//!
//! Tagged packets go where the kernel's interface of that VLAN sends. Where it has none, only a group
//! or `destination_mac` tells their link address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use tidegate_config::Refusal;
use tidegate_dataplane::sys::netlink::Netlink;
use tidegate_runtime::port::PortFacts;

use super::header::{Flow, Header, Marks};
use crate::registry::Unfit;

mod follow;
pub mod mac;
pub mod mark;
mod next_hop;
pub mod room;

pub use follow::{Counts, Patience};
pub use mac::Mac;
pub use mark::{Dscp, Tag, Ttl};

use follow::Follower;

/// One way of a stream, as its options say.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The receiver's or the group's address and port.
    pub destination: SocketAddr,
    /// Our address and port.
    pub source: SocketAddr,
    /// The link address to send to, where the kernel is not to be asked.
    pub destination_mac: Option<Mac>,
    /// What networks are told.
    pub marks: Marks,
}

impl Way {
    /// Checks what no machine has to be asked for.
    ///
    /// # Errors
    ///
    /// The key that has to be changed: an address that nobody has, a port of 0, addresses of both
    /// kinds of IP.
    pub fn check(&self) -> Result<(), Unfit> {
        let Self { destination, source, .. } = *self;
        let refuse = |key, found: String, allowed: &str| {
            Err(Unfit { key, refusal: Refusal::new(found, allowed) })
        };
        let is_broadcast =
            |address| matches!(address, IpAddr::V4(address) if address.is_broadcast());
        if destination.ip().is_unspecified() || is_broadcast(destination.ip()) {
            let found = format!("{destination}, which is no receiver");
            return refuse("destination", found, "the address of a receiver or a group");
        }
        // ST 2110-10, 6.5: no media in the Local Network and Internetwork Control Blocks.
        if let IpAddr::V4(address) = destination.ip()
            && let [224, 0, 0 | 1, _] = address.octets()
        {
            let found = format!("{destination}, a group of routers and their like (RFC 5771)");
            return refuse("destination", found, "another group, as 239.1.2.1");
        }
        if source.ip().is_unspecified() || source.ip().is_multicast() || is_broadcast(source.ip()) {
            let found = format!("{source}, which nobody sends from");
            return refuse("source_address", found, "an address of the interface");
        }
        for (key, address) in [("destination", destination), ("source_address", source)] {
            if address.port() == 0 {
                return refuse(key, format!("{address}, without a port"), "a UDP port from 1");
            }
        }
        if source.is_ipv4() != destination.is_ipv4() {
            let kind = |address: SocketAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let found = format!("{source}, while destination is {destination}");
            return refuse(
                "source_address",
                found,
                &format!("an address of {}", kind(destination)),
            );
        }
        Ok(())
    }
}

/// Why a stream has no way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No route of the interface leads to the receiver.
    NoRoute {
        /// The receiver.
        destination: IpAddr,
        /// The interface.
        interface: Box<str>,
    },
    /// The receiver is this machine.
    Local {
        /// The receiver.
        destination: IpAddr,
    },
    /// Nobody knows the link address of the next hop.
    Unresolved {
        /// The receiver.
        destination: IpAddr,
        /// The receiver or the router.
        next_hop: IpAddr,
        /// The interface.
        interface: Box<str>,
        /// Why the kernel does not ask for it, if so.
        refusal: Option<Box<str>>,
    },
    /// The kernel has no interface for the VLAN.
    NoVlan {
        /// The receiver.
        destination: IpAddr,
        /// The interface.
        interface: Box<str>,
        /// The VLAN.
        vlan: u16,
    },
    /// The kernel does not answer as it does.
    System {
        /// What it says.
        cause: Box<str>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute { destination, interface } => write!(
                f,
                "no route leads to {destination} by {interface}; add one, as with `ip route add \
                 {destination} via ROUTER dev {interface}`, or set destination_mac"
            ),
            Self::Local { destination } => write!(
                f,
                "destination {destination} is this machine itself: packets leave by the card all \
                 the same with destination_mac, the link address of whoever is to take them"
            ),
            Self::Unresolved { destination, next_hop, interface, refusal } => {
                write!(f, "the link address of {next_hop} on {interface} is not known")?;
                if next_hop != destination {
                    write!(f, " (the router to {destination})")?;
                }
                match refusal {
                    Some(refusal) => write!(f, ", and {refusal}")?,
                    None => f.write_str(", and nobody answered the kernel that asked for it")?,
                }
                write!(
                    f,
                    "; is it on, and in the network of {interface}? Else set destination_mac, or \
                     tell the kernel with `ip neigh replace {next_hop} lladdr 02:00:00:00:00:02 \
                     dev {interface}`"
                )
            }
            Self::NoVlan { destination, interface, vlan } => write!(
                f,
                "the kernel has no interface of VLAN {vlan} on {interface} to ask for \
                 {destination}; make one with `ip link add link {interface} name \
                 {interface}.{vlan} type vlan id {vlan}`, or set destination_mac"
            ),
            Self::System { cause } => {
                write!(f, "the way of the stream cannot be asked for: {cause}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// The way of a stream, found.
#[derive(Debug)]
pub struct Route {
    flow: Flow,
    follower: Option<Follower>,
    told: Counts,
}

impl Route {
    /// Finds the way, and follows it from now on where the kernel may change it.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn open(way: &Way, facts: &PortFacts, patience: Patience) -> Result<Self, Error> {
        let Way { destination, source, destination_mac, marks } = *way;
        let fixed = destination_mac.or_else(|| Mac::of_group(destination.ip()));
        let (mac, follower) = match fixed {
            Some(Mac(mac)) => (mac, None),
            None => {
                let index = interface_index(&facts.interface, way)?;
                let follower =
                    Follower::start(destination.ip(), &facts.interface, index, patience)?;
                (follower.mac(), Some(follower))
            }
        };
        let flow = Flow { source_mac: facts.mac, destination_mac: mac, source, destination, marks };
        Ok(Self { flow, follower, told: Counts::default() })
    }

    /// What headers are made of.
    pub const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Puts the next hop's link address into `header`, if it is another than before, and returns
    /// what became of it since the last call. It asks nobody: it is called for each frame.
    #[inline]
    pub fn follow(&mut self, header: &mut Header) -> Counts {
        let Some(follower) = &self.follower else { return Counts::default() };
        let mac = follower.mac();
        if mac != self.flow.destination_mac {
            self.flow.destination_mac = mac;
            header.set_destination_mac(mac);
        }
        let now = follower.counts();
        let before = std::mem::replace(&mut self.told, now);
        Counts { changes: now.changes - before.changes, losses: now.losses - before.losses }
    }
}

/// The kernel's number of the interface that packets of this way leave by: that of its VLAN, where
/// they have one.
fn interface_index(interface: &str, way: &Way) -> Result<u32, Error> {
    let system = |error| Error::System { cause: std::io::Error::from(error).to_string().into() };
    let mut netlink = Netlink::open().map_err(system)?;
    let index = netlink.link(interface).map_err(system)?.index;
    let Some(tag) = way.marks.vlan else { return Ok(index) };
    let (destination, vlan) = (way.destination.ip(), tag.id());
    let of_vlan = netlink.vlan_on(index, vlan).map_err(system)?;
    of_vlan.ok_or_else(|| Error::NoVlan { destination, interface: interface.into(), vlan })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(destination: &str, source: &str) -> Way {
        Way {
            destination: destination.parse().unwrap(),
            source: source.parse().unwrap(),
            destination_mac: None,
            marks: Marks::default(),
        }
    }

    #[test]
    fn addresses_that_do_not_go_together_are_refused_at_their_key() {
        let refused = |destination, source| {
            let Unfit { key, refusal } = way(destination, source).check().unwrap_err();
            (key, refusal.found)
        };
        let ours = "198.18.0.1:20000";
        assert_eq!(
            refused("[2001:db8::2]:20000", ours),
            ("source_address", "198.18.0.1:20000, while destination is [2001:db8::2]:20000".into())
        );
        assert_eq!(refused("0.0.0.0:20000", ours).0, "destination");
        assert_eq!(refused("255.255.255.255:20000", ours).0, "destination");
        assert_eq!(refused("198.18.0.2:0", ours).0, "destination");
        for control in ["224.0.0.251:20000", "224.0.1.129:20000"] {
            let said = format!("{control}, a group of routers and their like (RFC 5771)");
            assert_eq!(refused(control, ours), ("destination", said));
        }
        assert_eq!(refused("198.18.0.2:20000", "0.0.0.0:20000").0, "source_address");
        assert_eq!(refused("198.18.0.2:20000", "239.1.1.1:20000").0, "source_address");
        assert_eq!(refused("198.18.0.2:20000", "198.18.0.1:0").0, "source_address");
        for destination in ["198.18.0.2:20000", "239.1.1.1:20000", "224.0.2.1:20000"] {
            assert!(way(destination, ours).check().is_ok());
        }
        assert!(way("[ff3e::1]:20000", "[2001:db8::1]:20000").check().is_ok());
    }

    #[test]
    fn what_is_fixed_asks_nobody() {
        let facts = PortFacts { interface: "tg-no-such".into(), ..PortFacts::default() };
        let open = |way: &Way| Route::open(way, &facts, Patience::None);
        let group = open(&way("239.129.2.1:20000", "198.18.0.1:20000")).unwrap();
        assert_eq!(group.flow().destination_mac, [0x01, 0x00, 0x5e, 0x01, 2, 1]);
        let mac = Some(Mac([2, 0, 0, 0, 0, 9]));
        let way = way("198.18.0.2:20000", "198.18.0.1:20000");
        let told = open(&Way { destination_mac: mac, ..way }).unwrap();
        assert_eq!(told.flow().destination_mac, [2, 0, 0, 0, 0, 9]);
        assert!(open(&way).unwrap_err().to_string().contains("tg-no-such"));
    }

    #[test]
    fn a_missing_vlan_is_told_with_the_command_that_makes_it() {
        let facts = PortFacts { interface: "lo".into(), ..PortFacts::default() };
        let vlan = tidegate_dataplane::wire::ethernet::Vlan::new(100, 0);
        let way = Way {
            marks: Marks { vlan, ..Marks::default() },
            ..way("198.18.0.2:20000", "198.18.0.1:20000")
        };
        let refused = Route::open(&way, &facts, Patience::None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the kernel has no interface of VLAN 100 on lo to ask for 198.18.0.2; make one with \
             `ip link add link lo name lo.100 type vlan id 100`, or set destination_mac"
        );
    }

    #[test]
    fn messages_are_exact() {
        let destination: IpAddr = [198, 18, 9, 2].into();
        let unresolved = |refusal: Option<&str>| Error::Unresolved {
            destination,
            next_hop: [198, 18, 0, 254].into(),
            interface: "eth1".into(),
            refusal: refusal.map(Into::into),
        };
        let rest = "; is it on, and in the network of eth1? Else set destination_mac, or tell the \
                    kernel with `ip neigh replace 198.18.0.254 lladdr 02:00:00:00:00:02 dev eth1`";
        let first = "the link address of 198.18.0.254 on eth1 is not known (the router to \
                     198.18.9.2), and ";
        assert_eq!(
            unresolved(None).to_string(),
            format!("{first}nobody answered the kernel that asked for it{rest}")
        );
        let refusal = "the kernel did not ask";
        assert_eq!(unresolved(Some(refusal)).to_string(), format!("{first}{refusal}{rest}"));
        assert_eq!(
            Error::NoRoute { destination, interface: "eth1".into() }.to_string(),
            "no route leads to 198.18.9.2 by eth1; add one, as with `ip route add 198.18.9.2 via \
             ROUTER dev eth1`, or set destination_mac"
        );
    }
}
