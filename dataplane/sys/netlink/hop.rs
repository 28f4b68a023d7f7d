//! The next hop of a stream: where the kernel would hand it over, and when that changes.
//!
//! What leaves by AF_XDP does not pass the kernel's neighbour table, so nothing there is kept fresh
//! by it: an entry grows stale, and a neighbour that got another card is not noticed. Whoever sends
//! says that the entry is used ([`Netlink::solicit`]); the kernel then asks the wire by itself, and
//! [`HopWatch`] tells that something is different.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::NeighbourFlags;
use netlink_packet_route::route::RouteAttribute;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::ip::{about_neighbour, about_route, read_route};
use super::line::ANSWER_OCTETS;
use super::{Error, Netlink, Route};

/// Groups of `linux/rtnetlink.h`: `RTNLGRP_LINK`, `_NEIGH`, `_IPV4_ROUTE`, `_IPV4_RULE`,
/// `_IPV6_ROUTE`, `_IPV6_RULE`. Links, because IPv4 routes that go with one are not told.
const GROUPS: [u32; 6] = [1, 3, 7, 8, 11, 19];

/// Datagrams read at once. A machine where changes come faster looks again in the next round.
const DATAGRAMS_MAX: usize = 256;

impl Netlink {
    /// How the kernel would send to `destination` by interface number `index` now, whatever other
    /// ways it has.
    ///
    /// # Errors
    ///
    /// `ENETUNREACH` or `EHOSTUNREACH` where it would not. IPv4 takes a destination that no route
    /// of the interface leads to for one next door.
    pub fn route_by(&mut self, destination: IpAddr, index: u32) -> Result<Route, Error> {
        let len = if destination.is_ipv4() { 32 } else { 128 };
        let mut message = about_route(destination, len);
        message.attributes.push(RouteAttribute::Oif(index));
        let what = || format!("find a route to {destination} by interface number {index}");
        match self.ask(what, Message::GetRoute(message))? {
            Some(Message::NewRoute(message)) => read_route(&message)
                .ok_or_else(|| Error::unreadable(what(), "the route has no interface")),
            _ => Err(Error::unreadable(what(), "the answer was no route")),
        }
    }

    /// Says that the neighbour is used: the kernel asks the wire for one that it does not know or
    /// has not heard of for long, as for its own packets.
    ///
    /// Not for a permanent one, which would be one no more (`__neigh_update` in
    /// net/core/neighbour.c takes the bit away).
    ///
    /// # Errors
    ///
    /// `ENODEV`, `ENETDOWN`, or `EPERM` without `CAP_NET_ADMIN`.
    pub fn solicit(&mut self, index: u32, address: IpAddr) -> Result<(), Error> {
        let mut message = about_neighbour(index, address);
        message.header.flags = NeighbourFlags::Use;
        let what = || format!("ask for the neighbour {address} on interface number {index}");
        self.change(what, NLM_F_CREATE, Message::NewNeighbour(message))
    }

    /// The interface of VLAN `id` that stands on interface number `index`.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list the interfaces; having none is no error.
    pub fn vlan_on(&mut self, index: u32, id: u16) -> Result<Option<u32>, Error> {
        let what = || "list the interfaces".to_owned();
        let answers = self.dump(what, Message::GetLink(LinkMessage::default()))?;
        Ok(answers.iter().find_map(|answer| match answer {
            Message::NewLink(link) => is_vlan_on(link, index, id).then_some(link.header.index),
            _ => None,
        }))
    }
}

fn is_vlan_on(link: &LinkMessage, index: u32, id: u16) -> bool {
    let stands_on_it = link.attributes.contains(&LinkAttribute::Link(index));
    let is_elsewhere = |it: &LinkAttribute| matches!(it, LinkAttribute::LinkNetNsId(_));
    let has_id = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| match info {
            LinkInfo::Data(InfoData::Vlan(facts)) => facts.contains(&InfoVlan::Id(id)),
            _ => false,
        }),
        _ => false,
    });
    stands_on_it && has_id && !link.attributes.iter().any(is_elsewhere)
}

/// Tells that neighbours, routes, rules or links of one network namespace changed, from its opening
/// on. What changed is to be asked.
#[derive(Debug)]
pub struct HopWatch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl HopWatch {
    /// Listens to the network namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// As [`Netlink::open`].
    pub fn open() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::new("listen to changes of routes", source))?;
        Ok(Self { socket, buffer: Vec::with_capacity(ANSWER_OCTETS) })
    }

    /// Whether anything changed since the last call. It never waits.
    ///
    /// # Errors
    ///
    /// What recv(2) says.
    pub fn changed(&mut self) -> Result<bool, Error> {
        let mut changed = false;
        for _ in 0..DATAGRAMS_MAX {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, nix::libc::MSG_DONTWAIT) {
                Ok(_) => changed = true,
                Err(error) => match (error.kind(), error.raw_os_error()) {
                    (io::ErrorKind::WouldBlock, _) => break,
                    // Some are lost: then something changed.
                    (_, Some(nix::libc::ENOBUFS)) => changed = true,
                    (io::ErrorKind::Interrupted, _) => {}
                    _ => return Err(Error::new("tell of a change of routes", error)),
                },
            }
        }
        Ok(changed)
    }
}

impl AsFd for HopWatch {
    /// Readable when something changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_known_by_its_number_and_what_it_stands_on() {
        let mut link = LinkMessage::default();
        let data = vec![LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100)]))];
        link.attributes = vec![LinkAttribute::Link(7), LinkAttribute::LinkInfo(data)];
        assert!(is_vlan_on(&link, 7, 100));
        assert!(!is_vlan_on(&link, 7, 101));
        assert!(!is_vlan_on(&link, 8, 100));
        link.attributes.push(LinkAttribute::LinkNetNsId(1));
        assert!(!is_vlan_on(&link, 7, 100), "it stands on another namespace's number 7");
    }

    #[test]
    fn loopback_has_no_vlan_and_leads_to_itself() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.vlan_on(1, 100).unwrap(), None);
        let route = netlink.route_by([127, 0, 0, 1].into(), 1).unwrap();
        assert_eq!((route.interface_index, route.local), (1, true));
    }

    #[test]
    fn a_watch_that_hears_nothing_does_not_wait() {
        let mut watch = HopWatch::open().unwrap();
        // Other tests of this machine may change links meanwhile.
        assert!((0..1000).any(|_| !watch.changed().unwrap()), "changes without end");
    }
}
