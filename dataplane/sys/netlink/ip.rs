//! Addresses, neighbours and routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};

use super::{Error, Netlink};

/// How packets to some destination leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface that they leave by.
    pub interface_index: u32,
    /// The router they are handed to; `None` where the destination is next door.
    pub gateway: Option<IpAddr>,
    /// The address they come from, where the kernel prefers one.
    pub source: Option<IpAddr>,
    /// Whether the destination is this machine: they never leave it.
    pub local: bool,
}

/// Who answers for an address next door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Hardware address.
    pub mac: [u8; 6],
    /// Whether it was set by hand and never expires.
    pub permanent: bool,
    /// Whether it is permanent or was heard of lately. Else it may be another by now, and the
    /// kernel asks when it uses it.
    pub confirmed: bool,
}

impl Netlink {
    /// Gives an interface an address, with the route to its prefix, usable at
    /// once: an IPv6 address skips duplicate detection.
    ///
    /// # Errors
    ///
    /// `EEXIST` where it has the address already, `EPERM` without
    /// `CAP_NET_ADMIN`.
    pub fn add_address(&mut self, index: u32, address: IpAddr, len: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = len;
        message.header.scope = AddressScope::Universe;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Address(address),
            AddressAttribute::Local(address),
            AddressAttribute::Flags(AddressFlags::Nodad),
        ];
        let what = || format!("add the address {address}/{len} to interface number {index}");
        self.change(what, NLM_F_CREATE | NLM_F_EXCL, Message::NewAddress(message))
    }

    /// The addresses of an interface with their prefix lengths, the kernel's
    /// first choice first. An IPv6 address that the kernel is still making
    /// ready is not there yet.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list them.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<(IpAddr, u8)>, Error> {
        let what = || format!("list the addresses of interface number {index}");
        let answers = self.dump(what, Message::GetAddress(AddressMessage::default()))?;
        Ok(answers.iter().filter_map(|answer| read_address(answer, index)).collect())
    }

    /// Says who answers for `address` on an interface, for good: nobody will be
    /// asked.
    ///
    /// # Errors
    ///
    /// `ENODEV`, or `EPERM` without `CAP_NET_ADMIN`.
    pub fn add_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        let mut message = about_neighbour(index, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.into()));
        let what = || format!("fix the neighbour {address} on interface number {index}");
        self.change(what, NLM_F_CREATE | NLM_F_REPLACE, Message::NewNeighbour(message))
    }

    /// Who answers for `address` on an interface, if that is known now. Asks
    /// the kernel's table, not the wire.
    ///
    /// # Errors
    ///
    /// Where the kernel does not look it up; not knowing is no error.
    pub fn neighbour(&mut self, index: u32, address: IpAddr) -> Result<Option<Neighbour>, Error> {
        let message = Message::GetNeighbour(about_neighbour(index, address));
        let what = || format!("look up the neighbour {address} on interface number {index}");
        match self.ask(what, message) {
            Ok(answer) => Ok(answer.and_then(read_neighbour)),
            Err(refused) if refused.errno() == Some(nix::libc::ENOENT) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// Adds a route to `destination`/`len`, through `gateway` or next door.
    ///
    /// # Errors
    ///
    /// `EEXIST` where there is one, `ENETUNREACH` where the gateway is not next
    /// door, `ENETDOWN` while the interface is off, `EPERM` without
    /// `CAP_NET_ADMIN`.
    pub fn add_route(
        &mut self,
        destination: IpAddr,
        len: u8,
        gateway: Option<IpAddr>,
        index: u32,
    ) -> Result<(), Error> {
        let mut message = about_route(destination, len);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = match gateway {
            Some(_) => RouteScope::Universe,
            None => RouteScope::Link,
        };
        message.attributes.push(RouteAttribute::Oif(index));
        let gateway_attribute = gateway.map(|gateway| RouteAttribute::Gateway(gateway.into()));
        message.attributes.extend(gateway_attribute);
        let what = || format!("add the route to {destination}/{len} by interface number {index}");
        self.change(what, NLM_F_CREATE | NLM_F_EXCL, Message::NewRoute(message))
    }

    /// How the kernel would send to `destination` now.
    ///
    /// # Errors
    ///
    /// `ENETUNREACH` where it would not.
    pub fn route_to(&mut self, destination: IpAddr) -> Result<Route, Error> {
        let len = if destination.is_ipv4() { 32 } else { 128 };
        let what = || format!("find a route to {destination}");
        let answer = self.ask(what, Message::GetRoute(about_route(destination, len)))?;
        match answer {
            Some(Message::NewRoute(message)) => read_route(&message)
                .ok_or_else(|| Error::unreadable(what(), "the route has no interface")),
            _ => Err(Error::unreadable(what(), "the answer was no route")),
        }
    }

    /// The interface of the default route: IPv4's, else IPv6's, the one that
    /// the kernel prefers where there are several.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list the routes; having none is no error.
    pub fn default_route_interface(&mut self) -> Result<Option<u32>, Error> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let what = || "list the routes".to_owned();
            let answers = self.dump(what, Message::GetRoute(message))?;
            if let Some(index) = default_interface(&answers) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// All interfaces by which a default route leaves, of either IP, in every table, with all next
    /// hops. Routes to half of all addresses count too: that is how VPNs write a default route.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list the routes.
    pub fn default_route_interfaces(&mut self) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump(|| "list the routes".to_owned(), Message::GetRoute(message))?;
            found.extend(answers.iter().flat_map(widest_interfaces));
        }
        // What the lists do not tell (next hops that are objects of their own): addresses that are
        // nobody's (RFC 5737, RFC 3849), so that what is found is found for all.
        for nobody in ["192.0.2.1", "2001:db8:ffff::1"] {
            let nobody = nobody.parse().expect("an address");
            found.extend(self.route_to(nobody).ok().map(|route| route.interface_index));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// The interfaces of one route, if it is to all addresses or to half of them.
fn widest_interfaces(answer: &Message) -> Vec<u32> {
    let Message::NewRoute(message) = answer else { return Vec::new() };
    let header = &message.header;
    if header.destination_prefix_length > 1 || header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let of = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    };
    message.attributes.iter().flat_map(of).collect()
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(super) fn about_neighbour(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(address)));
    message
}

pub(super) fn about_route(destination: IpAddr, len: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = len;
    if len > 0 {
        message.attributes.push(RouteAttribute::Destination(destination.into()));
    }
    message
}

fn read_address(answer: &Message, index: u32) -> Option<(IpAddr, u8)> {
    let Message::NewAddress(message) = answer else { return None };
    if message.header.index != index {
        return None;
    }
    // `linux/if_addr.h`: on a point-to-point link IFA_ADDRESS is the other
    // side's and IFA_LOCAL is ours; IPv6 usually sends only the former.
    let mut found = None;
    // RFC 4862, 5.4: nothing is received for a tentative address.
    if message.header.flags.contains(AddressHeaderFlags::Tentative) {
        return None;
    }
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some((found?, message.header.prefix_len))
}

fn read_neighbour(answer: Message) -> Option<Neighbour> {
    let Message::NewNeighbour(message) = answer else { return None };
    let state = message.header.state;
    // An address that is being asked for, or did not answer, is not known.
    if matches!(state, NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None) {
        return None;
    }
    message.attributes.into_iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => {
            let permanent = state == NeighbourState::Permanent;
            let confirmed =
                permanent || matches!(state, NeighbourState::Reachable | NeighbourState::Noarp);
            Some(Neighbour { mac: mac.try_into().ok()?, permanent, confirmed })
        }
        _ => None,
    })
}

pub(super) fn read_route(message: &RouteMessage) -> Option<Route> {
    let mut interface_index = None;
    let mut gateway = None;
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface_index = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            // RFC 5549: a router known by the other kind of IP.
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    let local = message.header.kind == RouteType::Local;
    Some(Route { interface_index: interface_index?, gateway, source, local })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The interface of the default route with the lowest metric in the main table.
fn default_interface(answers: &[Message]) -> Option<u32> {
    let defaults = answers.iter().filter_map(|answer| match answer {
        Message::NewRoute(message) => Some(message),
        _ => None,
    });
    defaults
        .filter(|message| {
            let header = &message.header;
            header.destination_prefix_length == 0
                && header.table == RouteHeader::RT_TABLE_MAIN
                && header.kind == RouteType::Unicast
        })
        .filter_map(|message| Some((metric(message), read_route(message)?.interface_index)))
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, index)| index)
}

/// RFC 3549, 3.1.1: no priority is the highest, 0.
fn metric(message: &RouteMessage) -> u32 {
    let priority = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    priority.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));

    fn default_route(index: u32, metric: u32) -> RouteMessage {
        let mut message = about_route(HERE, 0);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(index), RouteAttribute::Priority(metric)];
        message
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_wins_and_others_do_not_count() {
        let mut narrow = default_route(2, 0);
        narrow.header.destination_prefix_length = 24;
        let mut local = default_route(3, 0);
        local.header.table = nix::libc::RT_TABLE_LOCAL;
        let mut hole = default_route(4, 0);
        hole.header.kind = RouteType::BlackHole;
        let routes = [narrow, local, hole, default_route(5, 200), default_route(6, 100)];
        let answers = routes.map(Message::NewRoute);
        assert_eq!(default_interface(&answers), Some(6));
        assert_eq!(default_interface(&answers[..3]), None);
    }

    #[test]
    fn every_way_out_is_found_whatever_its_table_metric_and_width() {
        let mut elsewhere = default_route(5, 200);
        elsewhere.header.table = 100;
        let mut half = default_route(6, 0);
        half.header.destination_prefix_length = 1;
        let mut hops = default_route(7, 0);
        let hop = |interface_index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = interface_index;
            hop
        };
        hops.attributes = vec![RouteAttribute::MultiPath(vec![hop(8), hop(9)])];
        let mut narrow = default_route(2, 0);
        narrow.header.destination_prefix_length = 8;
        let mut hole = default_route(4, 0);
        hole.header.kind = RouteType::BlackHole;
        let found = [elsewhere, half, hops, narrow, hole].map(Message::NewRoute);
        let found: Vec<u32> = found.iter().flat_map(widest_interfaces).collect();
        assert_eq!(found, [5, 6, 8, 9]);
    }

    #[test]
    fn a_neighbour_that_is_still_asked_for_is_not_known() {
        let mut message = about_neighbour(1, HERE);
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2; 6]));
        for (state, known) in [
            (NeighbourState::Incomplete, None),
            (NeighbourState::Failed, None),
            (NeighbourState::Stale, Some((false, false))),
            (NeighbourState::Probe, Some((false, false))),
            (NeighbourState::Reachable, Some((false, true))),
            (NeighbourState::Permanent, Some((true, true))),
        ] {
            message.header.state = state;
            let expected =
                known.map(|(permanent, confirmed)| Neighbour { mac: [2; 6], permanent, confirmed });
            assert_eq!(read_neighbour(Message::NewNeighbour(message.clone())), expected);
        }
    }

    #[test]
    fn our_own_address_is_the_local_one_and_not_one_that_is_still_tentative() {
        let mut message = AddressMessage::default();
        message.header.index = 3;
        message.header.prefix_len = 24;
        message.attributes = vec![AddressAttribute::Local(HERE), AddressAttribute::Address(THERE)];
        let mut tentative = message.clone();
        tentative.header.flags = AddressHeaderFlags::Tentative;
        assert_eq!(read_address(&Message::NewAddress(tentative), 3), None);
        let answer = Message::NewAddress(message);
        assert_eq!(read_address(&answer, 3), Some((HERE, 24)));
        assert_eq!(read_address(&answer, 4), None);
    }

    #[test]
    fn loopback_is_routed_to_loopback_without_privilege() {
        let mut netlink = Netlink::open().unwrap();
        let route = netlink.route_to(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        assert_eq!((route.interface_index, route.gateway, route.local), (1, None, true));
        let none = netlink.neighbour(1, HERE).unwrap();
        assert_eq!(none, None);
    }
}
