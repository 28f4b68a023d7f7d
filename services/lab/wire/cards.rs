//! A wire of two network cards, on a machine that is a lab as a whole.
//!
//! An emulated guest whose cards are joined in the emulator is such a machine: drivers of real
//! hardware, and still nothing gets out. On any other machine there is no reason to call this.

use tidegate_dataplane::sys::ethtool::Ethtool;
use tidegate_dataplane::sys::netlink::{Link, Netlink};

use super::{End, LabError, Namespace, Options, Peer, Side, Wire};

impl Wire {
    /// Gives each of two cards of the calling thread's namespace, which something outside of this
    /// machine joins, to its namespace, with the number of queues and the addresses that
    /// [`Self::new`] would have given. Names, hardware addresses and the size of packets stay
    /// theirs, and so do offloads, which a card finishes itself.
    ///
    /// # Errors
    ///
    /// [`LabError::InUse`] where a card is switched on or has an address; where the kernel refuses
    /// a step, or a link does not come up.
    pub fn of_cards(
        near: &Namespace,
        far: &Namespace,
        cards: [&str; 2],
        options: &Options,
    ) -> Result<Self, LabError> {
        let mut netlink = Netlink::open()?;
        for (card, namespace) in cards.into_iter().zip([near, far]) {
            let link = netlink.link(card)?;
            if link.up || !netlink.addresses(link.index)?.is_empty() {
                return Err(LabError::InUse { interface: card.into() });
            }
            netlink.move_to_netns(link.index, namespace.descriptor())?;
        }
        let links = [(near, cards[0]), (far, cards[1])]
            .map(|(namespace, card)| Ok::<_, LabError>(namespace.netlink()?.link(card)?));
        let [near_link, far_link] = links;
        let (near_link, far_link) = (near_link?, far_link?);
        let number = options.number;
        let end = |side: Side, namespace: &Namespace, link: &Link| End {
            namespace: namespace.clone(),
            name: link.name.clone(),
            index: link.index,
            mac: link.mac,
            ipv4: side.ipv4(number),
            ipv6: side.ipv6(number),
            mtu: link.mtu,
            queues: options.queues,
            peer: Peer {
                namespace: namespace.clone(),
                index: link.index,
                mac: link.mac,
                ipv4: side.ipv4(number),
                ipv6: side.ipv6(number),
            },
            has_ipv6: options.ipv6,
        };
        let (mut near, mut far) =
            (end(Side::Near, near, &near_link), end(Side::Far, far, &far_link));
        std::mem::swap(&mut near.peer, &mut far.peer);
        let wire = Self { near, far };
        for end in [&wire.near, &wire.far] {
            end.use_queues()?;
            end.switch_on()?;
        }
        wire.near.await_running()?;
        Ok(wire)
    }
}

impl End {
    /// Has the card use the queues asked for, which may already be so.
    fn use_queues(&self) -> Result<(), LabError> {
        self.namespace.run(|| {
            let ethtool = Ethtool::open()?;
            if ethtool.channels(&self.name)?.combined != self.queues {
                ethtool.set_combined(&self.name, self.queues)?;
            }
            let got = ethtool.channels(&self.name)?.combined;
            if got != self.queues {
                return Err(LabError::Queues {
                    interface: self.name.clone(),
                    wanted: self.queues,
                    got: (got, got),
                });
            }
            Ok(())
        })?
    }
}
