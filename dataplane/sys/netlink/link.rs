//! Links: what is known of one, and the making of veth pairs.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp,
    Stats64, XdpAttached as Attached,
};

use super::{Error, Netlink};

/// What the kernel said about one interface at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The number by which the kernel knows it, unique in its namespace.
    pub index: u32,
    /// The name by which people know it.
    pub name: Box<str>,
    /// Hardware address; zeros where the interface has none.
    pub mac: [u8; 6],
    /// Largest packet, in octets, without the Ethernet header.
    pub mtu: u32,
    /// Whether an operator has switched it on.
    pub up: bool,
    /// Whether the other side is there.
    pub carrier: bool,
    /// Whether it sends and receives. The kernel starts the queues of an
    /// interface that got its carrier a moment after it tells of the carrier;
    /// what is sent in between is lost.
    pub running: bool,
    /// Receive queues that it was made with; fewer may be in use.
    pub rx_queues: u32,
    /// Transmit queues that it was made with; fewer may be in use.
    pub tx_queues: u32,
    /// The XDP program on it, if there is one.
    pub xdp: Option<XdpAttached>,
    /// The software kind, as `veth` or `tun`; hardware has none.
    pub kind: Option<Box<str>>,
    /// The interface that it is a part of, as of a bond or a bridge.
    pub master: Option<u32>,
    /// The interface that it stands on, as a VLAN does; none where that is in another namespace,
    /// as the other end of a veth often is.
    pub below: Option<u32>,
    /// What passed through it.
    pub counters: LinkCounters,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before an skb exists.
    Native,
    /// In the stack, on an skb.
    Generic,
    /// On the card.
    Offload,
    /// In more than one of these places at once.
    Several,
}

/// An XDP program found on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttached {
    /// Where it runs.
    pub mode: XdpMode,
    /// The kernel's number for it, as `bpftool prog` lists it; 0 where the
    /// kernel names none, as for several.
    pub prog_id: u32,
}

/// The interface's own counts, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Packets lost on receipt.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets lost on sending.
    pub tx_dropped: u64,
}

/// One end of a veth pair that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Name in its namespace, at most 15 octets.
    pub name: &'a str,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Octets of the largest packet.
    pub mtu: u32,
    /// Receive queues. Native XDP wants at least as many as the other end has
    /// transmit queues.
    pub rx_queues: u32,
    /// Transmit queues.
    pub tx_queues: u32,
    /// The namespace in which it is born; `None` is the socket's own.
    pub namespace: Option<BorrowedFd<'a>>,
}

impl Netlink {
    /// Facts about the interface called `name`.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is none of that name in this namespace.
    pub fn link(&mut self, name: &str) -> Result<Link, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        self.ask_link(|| format!("describe interface {name:?}"), message)
    }

    /// Facts about interface number `index`.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is none of that number in this namespace.
    pub fn link_by_index(&mut self, index: u32) -> Result<Link, Error> {
        self.ask_link(|| format!("describe interface number {index}"), header(index))
    }

    /// All interfaces of this namespace.
    ///
    /// # Errors
    ///
    /// Where the kernel does not list them.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let what = || "list the interfaces".to_owned();
        let answers = self.dump(what, Message::GetLink(LinkMessage::default()))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Message::NewLink(message) => Some(read(message)),
                _ => None,
            })
            .collect())
    }

    /// Makes a veth pair, each end in its own namespace from birth.
    ///
    /// # Errors
    ///
    /// `EEXIST` where a name is taken, `EPERM` without `CAP_NET_ADMIN`,
    /// `EOPNOTSUPP` in a kernel without veth.
    pub fn create_veth(&mut self, one: &VethEnd<'_>, other: &VethEnd<'_>) -> Result<(), Error> {
        let mut message = end(one);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(other)))),
        ]));
        let what = || format!("make the veth pair {:?} and {:?}", one.name, other.name);
        self.change(what, NLM_F_CREATE | NLM_F_EXCL, Message::NewLink(message))
    }

    /// Switches an interface on.
    ///
    /// # Errors
    ///
    /// `ENODEV`, or `EPERM` without `CAP_NET_ADMIN`.
    pub fn set_up(&mut self, index: u32) -> Result<(), Error> {
        self.set_state(index, LinkFlags::Up, "on")
    }

    /// Switches an interface off.
    ///
    /// # Errors
    ///
    /// As [`Self::set_up`].
    pub fn set_down(&mut self, index: u32) -> Result<(), Error> {
        self.set_state(index, LinkFlags::empty(), "off")
    }

    /// Switches address resolution on or off: ARP, and neighbour discovery with
    /// the groups that an interface joins for it. Off, only known neighbours
    /// are reached.
    ///
    /// # Errors
    ///
    /// As [`Self::set_up`].
    pub fn set_arp(&mut self, index: u32, on: bool) -> Result<(), Error> {
        let off = if on { LinkFlags::empty() } else { LinkFlags::Noarp };
        let what = || format!("switch the address resolution of interface number {index}");
        self.set_flags(what, index, off, LinkFlags::Noarp)
    }

    /// Gives an interface to another namespace. It arrives there switched off
    /// and without addresses.
    ///
    /// # Errors
    ///
    /// `EEXIST` where its name is taken there; else as [`Self::set_up`].
    pub fn move_to_netns(&mut self, index: u32, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let mut message = header(index);
        message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let what = || format!("move interface number {index} to another namespace");
        self.change(what, 0, Message::SetLink(message))
    }

    /// Removes an interface; a veth's other end goes with it.
    ///
    /// # Errors
    ///
    /// As [`Self::set_up`], and `EOPNOTSUPP` for hardware.
    pub fn delete_link(&mut self, index: u32) -> Result<(), Error> {
        let what = || format!("remove interface number {index}");
        self.change(what, 0, Message::DelLink(header(index)))
    }

    fn set_state(&mut self, index: u32, state: LinkFlags, word: &str) -> Result<(), Error> {
        let what = || format!("switch interface number {index} {word}");
        self.set_flags(what, index, state, LinkFlags::Up)
    }

    /// Gives those flags that are in `mask` the values that they have in `flags`.
    fn set_flags(
        &mut self,
        what: impl Fn() -> String,
        index: u32,
        flags: LinkFlags,
        mask: LinkFlags,
    ) -> Result<(), Error> {
        let mut message = header(index);
        message.header.flags = flags;
        message.header.change_mask = mask;
        self.change(what, 0, Message::SetLink(message))
    }

    fn ask_link(&mut self, what: impl Fn() -> String, message: LinkMessage) -> Result<Link, Error> {
        match self.ask(&what, Message::GetLink(message))? {
            Some(Message::NewLink(message)) => Ok(read(message)),
            _ => Err(Error::unreadable(what(), "the answer was no link")),
        }
    }
}

fn header(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn end(end: &VethEnd<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.extend([
        LinkAttribute::IfName(end.name.into()),
        LinkAttribute::Address(end.mac.into()),
        LinkAttribute::Mtu(end.mtu),
        LinkAttribute::NumRxQueues(end.rx_queues),
        LinkAttribute::NumTxQueues(end.tx_queues),
    ]);
    let namespace = end.namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    message.attributes.extend(namespace);
    message
}

/// Attributes that an older kernel does not send keep the values of an
/// interface with one queue and nothing special about it.
pub(super) fn read(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: "".into(),
        mac: [0; 6],
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        running: message.header.flags.contains(LinkFlags::Running),
        rx_queues: 1,
        tx_queues: 1,
        xdp: None,
        kind: None,
        master: None,
        below: None,
        counters: LinkCounters::default(),
    };
    let mut elsewhere = false;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.into(),
            // InfiniBand has 20 octets, tunnels 4: for us they have none.
            LinkAttribute::Address(mac) => link.mac = mac.try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::NumRxQueues(count) => link.rx_queues = count,
            LinkAttribute::NumTxQueues(count) => link.tx_queues = count,
            LinkAttribute::Carrier(carrier) => link.carrier = carrier != 0,
            LinkAttribute::Xdp(facts) => link.xdp = xdp(&facts),
            LinkAttribute::LinkInfo(infos) => link.kind = kind(&infos),
            LinkAttribute::Controller(index) => link.master = (index != 0).then_some(index),
            LinkAttribute::Link(index) => link.below = (index != 0).then_some(index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::Stats64(stats) => link.counters = counters(&stats),
            _ => {}
        }
    }
    link.below = link.below.filter(|_| !elsewhere);
    link
}

/// Interface number `index` and those that carry what it sends: the parts of a bond or a bridge,
/// what a VLAN stands on, and so on down.
pub fn carriers(links: &[Link], index: u32) -> Vec<u32> {
    let mut found = vec![index];
    let mut seen = 0;
    while let Some(&upper) = found.get(seen) {
        seen += 1;
        let parts = links.iter().filter(|link| link.master == Some(upper)).map(|link| link.index);
        let own = links.iter().find(|link| link.index == upper).and_then(|link| link.below);
        for lower in parts.chain(own) {
            if !found.contains(&lower) {
                found.push(lower);
            }
        }
    }
    found
}

fn xdp(facts: &[LinkXdp]) -> Option<XdpAttached> {
    let attached = facts.iter().find_map(|fact| match fact {
        LinkXdp::Attached(attached) => Some(*attached),
        _ => None,
    })?;
    let mode = match attached {
        Attached::None => return None,
        Attached::Driver => XdpMode::Native,
        Attached::SocketBuffer => XdpMode::Generic,
        Attached::Hardware => XdpMode::Offload,
        _ => XdpMode::Several,
    };
    let prog_id = facts.iter().find_map(|fact| match fact {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some(XdpAttached { mode, prog_id: prog_id.unwrap_or(0) })
}

fn kind(infos: &[LinkInfo]) -> Option<Box<str>> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string().into()),
        _ => None,
    })
}

fn counters(stats: &Stats64) -> LinkCounters {
    LinkCounters {
        rx_packets: stats.rx_packets,
        rx_octets: stats.rx_bytes,
        rx_dropped: stats.rx_dropped,
        tx_packets: stats.tx_packets,
        tx_octets: stats.tx_bytes,
        tx_dropped: stats.tx_dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_attributes_and_tells_up_from_carrier() {
        let mut message = header(7);
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
        message.attributes = vec![
            LinkAttribute::IfName("tide0".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
            LinkAttribute::Mtu(1500),
            LinkAttribute::NumRxQueues(4),
            LinkAttribute::NumTxQueues(2),
            LinkAttribute::Carrier(0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        let link = read(message);
        assert_eq!((link.index, &*link.name, link.mtu), (7, "tide0", 1500));
        assert_eq!(link.mac, [2, 0, 0, 0, 0, 9]);
        assert_eq!((link.rx_queues, link.tx_queues), (4, 2));
        assert_eq!((link.up, link.carrier, link.running), (true, false, true));
        assert_eq!(link.xdp, None);
        assert_eq!(link.kind.as_deref(), Some("veth"));
    }

    #[test]
    fn what_an_interface_stands_on_in_another_namespace_is_none_of_ours() {
        let mut message = header(7);
        message.attributes = vec![LinkAttribute::Link(3), LinkAttribute::Controller(9)];
        let link = read(message.clone());
        assert_eq!((link.below, link.master), (Some(3), Some(9)));
        message.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(read(message).below, None);
    }

    #[test]
    fn carriers_are_found_below_vlans_bonds_and_bridges() {
        let link = |index, master, below| Link { master, below, ..read(header(index)) };
        let links = [
            link(1, None, None),
            // A VLAN on a bond of two; a bridge with one part; a pair of veths on each other.
            link(2, Some(4), None),
            link(3, Some(4), None),
            link(4, None, None),
            link(5, None, Some(4)),
            link(6, Some(7), None),
            link(7, None, None),
            link(8, None, Some(9)),
            link(9, None, Some(8)),
        ];
        assert_eq!(carriers(&links, 5), [5, 4, 2, 3]);
        assert_eq!(carriers(&links, 7), [7, 6]);
        assert_eq!(carriers(&links, 6), [6], "not upwards");
        assert_eq!(carriers(&links, 8), [8, 9]);
    }

    #[test]
    fn an_address_that_is_not_of_ethernet_counts_as_none() {
        let mut message = header(1);
        message.attributes.push(LinkAttribute::Address(vec![0xa5; 20]));
        assert_eq!(read(message).mac, [0; 6]);
    }

    #[test]
    fn tells_where_xdp_runs_and_that_none_is_none() {
        let facts = |attached| vec![LinkXdp::Attached(attached), LinkXdp::ProgId(42)];
        let native = Some(XdpAttached { mode: XdpMode::Native, prog_id: 42 });
        assert_eq!(xdp(&facts(Attached::Driver)), native);
        assert_eq!(xdp(&facts(Attached::SocketBuffer)).unwrap().mode, XdpMode::Generic);
        assert_eq!(xdp(&facts(Attached::Hardware)).unwrap().mode, XdpMode::Offload);
        assert_eq!(xdp(&facts(Attached::None)), None);
        let several = xdp(&[LinkXdp::Attached(Attached::Multiple)]).unwrap();
        assert_eq!(several, XdpAttached { mode: XdpMode::Several, prog_id: 0 });
    }
}
