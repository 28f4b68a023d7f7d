//! Membership in the groups that a receiver takes: asked for by an ordinary socket of the kernel.
//!
//! ```text
//!   receiver ─► socket, bound to nothing ─► kernel: IGMPv2, IGMPv3 or MLD as the network does ─► switch
//!   packets of the group ─► XDP ─► receiver                  the socket hears none of them
//! ```
//!
//! So the switch sees what it sees of every program; queries are answered while we are busy with
//! pictures, `force_igmp_version` is obeyed, and the card lets the group's link address in. The
//! kernel leaves when the socket is closed: at the end, and also where the process died.
//!
//! A group with its sources is joined for these alone (RFC 4607). One without is joined for whoever
//! sends to it, which is said: two senders would be one stream to a receiver.
//!
//! Refused: to leave and join again while it runs. An interface that went away took the memberships
//! with it, and the port too.

use std::fmt;
use std::net::IpAddr;

use nix::libc;
use serde::Deserialize;
use tidegate_dataplane::sys::multicast::Member;
use tidegate_dataplane::sys::netlink::Netlink;
use tidegate_runtime::port::PortFacts;

use super::redundancy::Tell;

/// Whether a receiver joins its groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// It does.
    #[default]
    Join,
    /// Somebody else does, or the switch sends them unasked.
    None,
}

/// A group that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its address; what is no group needs no membership.
    pub address: IpAddr,
    /// Who may send to it; empty: anybody.
    pub sources: Vec<IpAddr>,
    /// Where it is wanted; the only interface where it is missing.
    pub interface: Option<Box<str>>,
    /// The VLAN that it is in.
    pub vlan: Option<u16>,
}

/// Why a group is not joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not known where.
    Interface {
        /// The group.
        group: IpAddr,
        /// The interfaces that there are.
        found: Box<[Box<str>]>,
    },
    /// The kernel has no interface for the VLAN.
    NoVlan {
        /// The group.
        group: IpAddr,
        /// The interface.
        interface: Box<str>,
        /// The VLAN.
        vlan: u16,
    },
    /// The kernel refuses.
    Refused {
        /// The group.
        group: IpAddr,
        /// How many sources.
        sources: usize,
        /// The interface.
        interface: Box<str>,
        /// Its error number.
        errno: i32,
        /// What it says.
        cause: Box<str>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { group, found } => write!(
                f,
                "the group {group} would have to be joined on one of several interfaces; set \
                 interface to one of {found:?}, or membership = \"none\""
            ),
            Self::NoVlan { group, interface, vlan } => write!(
                f,
                "the kernel has no interface of VLAN {vlan} on {interface} to join {group} on; \
                 make one with `ip link add link {interface} name {interface}.{vlan} type vlan id \
                 {vlan}` and switch it on, or set membership = \"none\""
            ),
            Self::Refused { group, sources, interface, errno, cause } => {
                write!(f, "the kernel did not join {group} on {interface}: {cause}")?;
                match *errno {
                    libc::ENOBUFS if group.is_ipv4() => write!(
                        f,
                        "; raise `sysctl net.ipv4.igmp_max_msf` to its {sources} sources or more"
                    ),
                    libc::ENOBUFS => write!(
                        f,
                        "; raise `sysctl net.ipv6.mld_max_msf` to its {sources} sources or more"
                    ),
                    _ => {
                        f.write_str("; set membership = \"none\" where the switch sends it unasked")
                    }
                }
            }
        }
    }
}

impl std::error::Error for Error {}

/// Groups that are joined. Dropped, they are left.
#[derive(Debug, Default)]
pub struct Membership {
    members: Vec<Member>,
}

impl Membership {
    /// Joins the groups that these paths come to, if that is wished for.
    ///
    /// # Errors
    ///
    /// As [`Self::join`].
    pub fn of(wish: Wish, tells: Vec<Tell>, ports: &[PortFacts]) -> Result<Self, Error> {
        match wish {
            Wish::Join => Self::join(Group::of(tells), ports),
            Wish::None => Ok(Self::default()),
        }
    }

    /// Joins `groups`, each once on its interface. Addresses that are no groups are passed over.
    ///
    /// # Errors
    ///
    /// Where one cannot be joined; then those before it are left again.
    pub fn join(groups: Vec<Group>, ports: &[PortFacts]) -> Result<Self, Error> {
        let mut joined = Self::default();
        let mut groups: Vec<Group> =
            groups.into_iter().filter(|group| group.address.is_multicast()).collect();
        // Two ports of one group are two streams to us and one group to the switch.
        let mut kept = 0;
        while kept < groups.len() {
            let (before, rest) = groups.split_at_mut(kept);
            let same = |it: &&mut Group| {
                (it.address, &it.interface, it.vlan)
                    == (rest[0].address, &rest[0].interface, rest[0].vlan)
            };
            let Some(first) = before.iter_mut().find(same) else {
                kept += 1;
                continue;
            };
            first.unite(&rest[0].sources);
            groups.remove(kept);
        }
        for group in groups {
            joined.members.push(group.join(ports)?);
        }
        Ok(joined)
    }

    /// How many groups are joined.
    pub const fn count(&self) -> usize {
        self.members.len()
    }
}

impl Group {
    /// Those that these paths come to.
    pub fn of(tells: Vec<Tell>) -> Vec<Self> {
        let group = |Tell { interface, destination, sources, vlan, .. }| {
            Some(Self { address: destination?, sources, interface, vlan })
        };
        tells.into_iter().filter_map(group).collect()
    }

    /// Takes these sources too. No source is any source.
    fn unite(&mut self, sources: &[IpAddr]) {
        if self.sources.is_empty() || sources.is_empty() {
            self.sources.clear();
            return;
        }
        for source in sources {
            if !self.sources.contains(source) {
                self.sources.push(*source);
            }
        }
    }

    fn join(&self, ports: &[PortFacts]) -> Result<Member, Error> {
        let Self { address: group, sources, vlan, .. } = self;
        let interface = self.interface_of(ports)?;
        let refused = |error: std::io::Error| Error::Refused {
            group: *group,
            sources: sources.len(),
            interface: interface.into(),
            errno: error.raw_os_error().unwrap_or(0),
            cause: error.to_string().into(),
        };
        let asked = |error| refused(std::io::Error::from(error));
        let mut netlink = Netlink::open().map_err(asked)?;
        let index = netlink.link(interface).map_err(asked)?.index;
        let index = match *vlan {
            None => index,
            Some(vlan) => netlink.vlan_on(index, vlan).map_err(asked)?.ok_or_else(|| {
                Error::NoVlan { group: *group, interface: interface.into(), vlan }
            })?,
        };
        let member = Member::join(*group, sources, index).map_err(refused)?;
        if sources.is_empty() {
            tracing::warn!(
                %group, interface,
                "joined for any source: whoever sends to the group is received; name its source"
            );
        } else {
            tracing::info!(%group, ?sources, interface, "joined");
        }
        Ok(member)
    }

    fn interface_of<'a>(&'a self, ports: &'a [PortFacts]) -> Result<&'a str, Error> {
        if let Some(interface) = &self.interface {
            return Ok(interface);
        }
        let mut found: Vec<Box<str>> = ports.iter().map(|port| port.interface.clone()).collect();
        found.sort_unstable();
        found.dedup();
        match ports {
            [first, ..] if found.len() == 1 => Ok(&first.interface),
            _ => Err(Error::Interface { group: self.address, found: found.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(address: &str, sources: &[&str], interface: Option<&str>) -> Group {
        Group {
            address: address.parse().unwrap(),
            sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
            interface: interface.map(Into::into),
            vlan: None,
        }
    }

    fn port(interface: &str) -> PortFacts {
        PortFacts { interface: interface.into(), ..PortFacts::default() }
    }

    /// What the kernel says of groups on loopback with these digits.
    fn kernel_knows(table: &str, digits: &str) -> bool {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        text.lines().any(|line| line.to_lowercase().contains(digits))
    }

    #[test]
    fn a_group_of_two_ports_is_joined_once_with_the_sources_of_both() {
        let groups = vec![
            group("232.18.7.1", &["198.18.0.1"], None),
            group("198.18.0.9", &[], None),
            group("232.18.7.1", &["198.18.0.2", "198.18.0.1"], None),
            group("ff3e::8000:71", &["2001:db8::1"], Some("lo")),
        ];
        let membership = Membership::join(groups, &[port("lo"), port("lo")]).unwrap();
        assert_eq!(membership.count(), 2);
        let knows = || {
            [
                kernel_knows("mcfilter", "0xe8120701 0xc6120001"),
                kernel_knows("mcfilter", "0xe8120701 0xc6120002"),
                kernel_knows("mcfilter6", "ff3e0000000000000000000080000071"),
            ]
        };
        assert_eq!(knows(), [true; 3]);
        drop(membership);
        assert_eq!(knows(), [false; 3]);
    }

    #[test]
    fn one_that_anybody_may_send_to_is_joined_without_a_filter() {
        let groups =
            vec![group("239.18.7.2", &["198.18.0.1"], None), group("239.18.7.2", &[], None)];
        let membership = Membership::join(groups, &[port("lo")]).unwrap();
        // In the order of the machine, as igmp.c prints it.
        assert!(kernel_knows("igmp", "020712ef"));
        assert!(!kernel_knows("mcfilter", "0xef120702"));
        drop(membership);
        assert!(!kernel_knows("igmp", "020712ef"));
    }

    #[test]
    fn what_cannot_be_joined_is_told_with_the_remedy() {
        let refused = |group, ports: &[PortFacts]| {
            Membership::join(vec![group], ports).unwrap_err().to_string()
        };
        assert_eq!(
            refused(group("239.18.7.3", &[], None), &[port("eth2"), port("eth1")]),
            "the group 239.18.7.3 would have to be joined on one of several interfaces; set \
             interface to one of [\"eth1\", \"eth2\"], or membership = \"none\""
        );
        let of_vlan = Group { vlan: Some(7), ..group("239.18.7.3", &[], None) };
        assert!(refused(of_vlan, &[port("lo")]).starts_with(
            "the kernel has no interface of VLAN 7 on lo to join 239.18.7.3 on; make one with"
        ));
        let many: Vec<String> = (0..=64).map(|it| format!("198.18.0.{it}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let said = refused(group("232.18.7.4", &many, None), &[port("lo")]);
        assert!(said.ends_with("; raise `sysctl net.ipv4.igmp_max_msf` to its 65 sources or more"));
        assert!(refused(group("239.18.7.3", &[], Some("tg-none")), &[]).contains("tg-none"));
    }
}
