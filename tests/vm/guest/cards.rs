//! The guest's two cards, each in a namespace of its own: a wire with real drivers at its ends.

use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::sys::ethtool::Ethtool;
use tidegate_dataplane::sys::netlink::Netlink;

use super::program::PATIENCE;
use crate::machine::MACS;

/// Descriptors of a card's receive ring. The emulated igb drops what finds none and counts it
/// nowhere (QEMU's `igb_receive`; the real one has a counter). With its 256 that happened when the
/// guest's processor was away for 0.1 s, as on a busy machine. The kernel takes as many frames out
/// of the fill ring, so that has to have more.
const RX_RING: u32 = 1024;

/// The wire, each card with so many queues.
pub(crate) fn wire(queues: u32) -> Wire {
    let links = Netlink::open().and_then(|mut netlink| netlink.links()).expect("there are links");
    let cards = MACS.map(|mac| {
        let card = links.iter().find(|link| link.mac == mac);
        &*card.unwrap_or_else(|| panic!("no card has {mac:x?}: {links:#?}")).name
    });
    let ethtool = Ethtool::open().unwrap();
    for card in cards {
        match ethtool.set_rx_ring(card, RX_RING) {
            // virtio_net's ring has what the emulator gave it, and packets wait there.
            Err(error) if [Some(libc::EOPNOTSUPP), Some(libc::EINVAL)].contains(&error.errno()) => {
            }
            other => other.unwrap(),
        }
    }
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    // IPv6 would join groups and tell so, at any time.
    let options = WireOptions { queues, ipv6: false, ..WireOptions::default() };
    Wire::of_cards(&near, &far, cards, &options).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Waits until both ends send and receive: a driver may take its link down when a program or a
/// socket comes, or goes.
pub(crate) fn await_links(wire: &Wire) {
    let running = |end: &End| end.link().unwrap().running;
    assert!(soon(|| running(&wire.near) && running(&wire.far)), "the links stay down");
}

/// Whether `true` comes within a time that only something broken needs.
pub(crate) fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}
