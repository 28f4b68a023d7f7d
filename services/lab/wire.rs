//! Links between two namespaces of a lab.

mod cards;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};
use tidegate_dataplane::sys::netlink::{Link, VethEnd};

use super::{LabError, Namespace};

/// A veth pair is there within microseconds of both ends being up; the kernel
/// tells of changes of carrier at most once a second, and on a busy machine the
/// work that says so waits for a processor: more than two seconds were seen
/// where links went down and up under load.
const PATIENCE: Duration = Duration::from_secs(10);

/// The offloads that leave a packet unfinished on a veth, or merge several.
const UNFINISHED: [Offload; 4] = [Offload::TxChecksum, Offload::Tso, Offload::Gso, Offload::Gro];

/// What a wire is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Distinguishes the wires of one lab: it is in their names and addresses.
    pub number: u8,
    /// Receive and transmit queues, at both ends.
    pub queues: u32,
    /// Largest packet, in octets.
    pub mtu: u32,
    /// Whether the ends have IPv6 addresses too.
    pub ipv6: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { number: 1, queues: 1, mtu: 1500, ipv6: true }
    }
}

/// A link between two namespaces, up, with addresses, ready.
///
/// Holding one proves that both ends have carrier and the queues asked for,
/// know each other's hardware address for good, send finished packets, and
/// nothing that nobody asked for: address resolution is off (and with it the
/// reports of groups joined for it, which would come at any time within a
/// second).
#[derive(Clone, Debug)]
pub struct Wire {
    /// Where the program under test is: `tide1`, 198.18.1.1, 2001:db8:0:1::1.
    pub near: End,
    /// Where the world is: `sea1`, 198.18.1.2, 2001:db8:0:1::2.
    pub far: End,
}

/// One end of a [`Wire`].
#[derive(Clone, Debug)]
pub struct End {
    /// The namespace it is in.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Box<str>,
    /// Its number there.
    pub index: u32,
    /// Its hardware address, locally administered.
    pub mac: [u8; 6],
    /// Its IPv4 address; the wire's prefix has 24 bits.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address; the wire's prefix has 64 bits.
    pub ipv6: Ipv6Addr,
    /// Largest packet, in octets.
    pub mtu: u32,
    /// Receive queues, and transmit queues.
    pub queues: u32,
    /// What is at the other end.
    pub peer: Peer,
    has_ipv6: bool,
}

/// What an end knows of the other.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its number there.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// Which end: the last part of addresses, and the first of names.
#[derive(Clone, Copy, Debug)]
enum Side {
    Near,
    Far,
}

impl Side {
    fn name(self, number: u8) -> Box<str> {
        match self {
            Self::Near => format!("tide{number}").into(),
            Self::Far => format!("sea{number}").into(),
        }
    }

    const fn host(self) -> u8 {
        match self {
            Self::Near => 1,
            Self::Far => 2,
        }
    }

    /// Bit 1 of the first octet: locally administered (IEEE 802, 8.2.2).
    const fn mac(self, number: u8) -> [u8; 6] {
        [0x02, 0x74, 0x67, 0x00, number, self.host()]
    }

    const fn ipv4(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, number, self.host())
    }

    fn ipv6(self, number: u8) -> Ipv6Addr {
        let host = u16::from(self.host());
        Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(number), 0, 0, 0, host)
    }
}

impl Wire {
    /// Joins two namespaces, which may be the same.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses a step, or a link comes out other than asked.
    pub fn new(near: &Namespace, far: &Namespace, options: &Options) -> Result<Self, LabError> {
        let names = [Side::Near, Side::Far].map(|side| side.name(options.number));
        let veth = |side: Side, name, namespace| VethEnd {
            name,
            mac: side.mac(options.number),
            mtu: options.mtu,
            rx_queues: options.queues,
            tx_queues: options.queues,
            namespace: Some(namespace),
        };
        near.netlink()?.create_veth(
            &veth(Side::Near, &names[0], near.descriptor()),
            &veth(Side::Far, &names[1], far.descriptor()),
        )?;
        let [near_index, far_index] = [(near, &names[0]), (far, &names[1])]
            .map(|(namespace, name)| Ok::<_, LabError>(namespace.netlink()?.link(name)?.index));
        let (near_index, far_index) = (near_index?, far_index?);
        let end = |side: Side, (namespace, index), other: Side, (peer, peer_index)| End {
            namespace: Namespace::clone(namespace),
            name: side.name(options.number),
            index,
            mac: side.mac(options.number),
            ipv4: side.ipv4(options.number),
            ipv6: side.ipv6(options.number),
            mtu: options.mtu,
            queues: options.queues,
            peer: Peer {
                namespace: Namespace::clone(peer),
                index: peer_index,
                mac: other.mac(options.number),
                ipv4: other.ipv4(options.number),
                ipv6: other.ipv6(options.number),
            },
            has_ipv6: options.ipv6,
        };
        let wire = Self {
            near: end(Side::Near, (near, near_index), Side::Far, (far, far_index)),
            far: end(Side::Far, (far, far_index), Side::Near, (near, near_index)),
        };
        for end in [&wire.near, &wire.far] {
            end.finish_packets()?;
            end.configure()?;
        }
        wire.near.await_running()?;
        Ok(wire)
    }
}

impl End {
    /// What the kernel says of it now.
    ///
    /// # Errors
    ///
    /// Where it is gone.
    pub fn link(&self) -> Result<Link, LabError> {
        Ok(self.namespace.netlink()?.link_by_index(self.index)?)
    }

    /// Switches it off; the other end loses its carrier.
    ///
    /// # Errors
    ///
    /// Where it is gone.
    pub fn set_down(&self) -> Result<(), LabError> {
        Ok(self.namespace.netlink()?.set_down(self.index)?)
    }

    /// Switches it on again, with the neighbours that the kernel forgot when it
    /// went down, and waits for its carrier.
    ///
    /// # Errors
    ///
    /// Where it is gone, or the other end is off.
    pub fn set_up(&self) -> Result<(), LabError> {
        self.namespace.netlink()?.set_up(self.index)?;
        self.know_the_peer()?;
        self.await_running()
    }

    /// Removes the wire: both ends go.
    ///
    /// # Errors
    ///
    /// Where it is gone already.
    pub fn remove(&self) -> Result<(), LabError> {
        Ok(self.namespace.netlink()?.delete_link(self.index)?)
    }

    /// This end's address of the family of `like`.
    pub fn address(&self, like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => self.ipv4.into(),
            IpAddr::V6(_) => self.ipv6.into(),
        }
    }

    fn finish_packets(&self) -> Result<(), LabError> {
        self.namespace.run(|| {
            let ethtool = Ethtool::open()?;
            for offload in UNFINISHED {
                ethtool.set_offload(&self.name, offload, false)?;
            }
            for offload in UNFINISHED {
                if ethtool.offload(&self.name, offload)? {
                    let interface = self.name.clone();
                    return Err(LabError::OffloadStays { interface, offload: offload.word() });
                }
            }
            Ok(())
        })?
    }

    fn configure(&self) -> Result<(), LabError> {
        let link = self.link()?;
        let got = (link.rx_queues, link.tx_queues);
        if got != (self.queues, self.queues) {
            return Err(LabError::Queues {
                interface: self.name.clone(),
                wanted: self.queues,
                got,
            });
        }
        self.switch_on()
    }

    fn switch_on(&self) -> Result<(), LabError> {
        let mut netlink = self.namespace.netlink()?;
        netlink.set_arp(self.index, false)?;
        netlink.add_address(self.index, self.ipv4.into(), 24)?;
        if self.has_ipv6 {
            netlink.add_address(self.index, self.ipv6.into(), 64)?;
        } else {
            // May be absent with all of IPv6; then it is off already.
            let setting = format!("net/ipv6/conf/{}/disable_ipv6", self.name);
            let _ = self.namespace.set(&setting, "1");
        }
        netlink.set_up(self.index)?;
        self.know_the_peer()
    }

    fn know_the_peer(&self) -> Result<(), LabError> {
        let mut netlink = self.namespace.netlink()?;
        netlink.add_neighbour(self.index, self.peer.ipv4.into(), self.peer.mac)?;
        if self.has_ipv6 {
            netlink.add_neighbour(self.index, self.peer.ipv6.into(), self.peer.mac)?;
        }
        Ok(())
    }

    /// Waits until both ends run and receive for their addresses: the other one
    /// lost its carrier with this one. An IPv6 address stands in the list a
    /// moment before it stands in the table that decides what is received.
    fn await_running(&self) -> Result<(), LabError> {
        let deadline = Instant::now() + PATIENCE;
        let peer = &self.peer;
        for (namespace, index, ipv6) in
            [(&self.namespace, self.index, self.ipv6), (&peer.namespace, peer.index, peer.ipv6)]
        {
            let mut netlink = namespace.netlink()?;
            loop {
                let link = netlink.link_by_index(index)?;
                let mut receives = || netlink.route_to(ipv6.into()).is_ok_and(|route| route.local);
                if link.running && (!self.has_ipv6 || receives()) {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(LabError::NotReady { interface: link.name, waited: PATIENCE });
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_stay_in_what_is_set_aside_for_every_number() {
        for number in 0..=u8::MAX {
            for side in [Side::Near, Side::Far] {
                assert!(side.name(number).len() <= 15, "the kernel's limit");
                assert_eq!(side.mac(number)[0] & 0b11, 0b10, "local, for one receiver");
                assert_eq!(side.ipv4(number).octets()[..2], [198, 18]);
                assert_eq!(side.ipv6(number).segments()[..2], [0x2001, 0xdb8]);
            }
            assert_ne!(Side::Near.mac(number), Side::Far.mac(number));
        }
    }
}
