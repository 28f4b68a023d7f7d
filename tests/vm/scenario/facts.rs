//! What comes back from guests, and the laws that hold for all of it.

use serde::{Deserialize, Serialize};
use tidegate::lab::End;
use tidegate::lab::flood::Sent;
use tidegate::lab::witness::Testimony;
use tidegate_dataplane::sys::netlink::LinkCounters;
use tidegate_runtime::metrics::PortStats;
use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

/// How a program left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    /// All that it said.
    pub(crate) log: String,
}

impl Left {
    /// In order, with every frame settled.
    #[track_caller]
    pub(super) fn in_order(&self) {
        assert_eq!(self.code, Some(0), "{}", self.log);
        assert!(self.log.contains("unaccounted=0"), "{}", self.log);
    }

    /// What it complained of at its end.
    #[track_caller]
    pub(super) fn complaint(&self) -> &str {
        assert_eq!(self.code, Some(1), "{}", self.log);
        self.log.lines().last().unwrap_or_default()
    }
}

/// What one who asked saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Questions.
    pub(crate) sent: u64,
    /// Right answers.
    pub(crate) answered: u64,
    /// Answers that came again, or were wrong.
    pub(crate) odd: u64,
}

impl From<Testimony> for Asked {
    fn from(it: Testimony) -> Self {
        Self { sent: it.sent, answered: it.delivered, odd: it.duplicate + it.wrong }
    }
}

/// What a flood sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flooded {
    /// Packets that the card took.
    pub(crate) taken: u64,
    /// Packets that it did not.
    pub(crate) refused: u64,
}

impl From<Sent> for Flooded {
    fn from(sent: Sent) -> Self {
        Self { taken: sent.taken(), refused: sent.refused }
    }
}

/// What a card counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    /// Packets received, and lost on receipt.
    pub(crate) rx: (u64, u64),
    /// Packets sent, and lost on sending.
    pub(crate) tx: (u64, u64),
}

impl Card {
    /// Its counts now.
    pub(crate) fn of(end: &End) -> Self {
        let LinkCounters { rx_packets, rx_dropped, tx_packets, tx_dropped, .. } =
            end.link().expect("it is there").counters;
        Self { rx: (rx_packets, rx_dropped), tx: (tx_packets, tx_dropped) }
    }
}

/// The ports of an interface, summed.
pub(super) fn ports(snapshot: &Snapshot) -> PortStats {
    let ports = snapshot.shards.iter().flat_map(|shard| &shard.ports);
    ports.fold(PortStats::default(), |sum, port| sum.combine(&port.stats))
}

/// A service by name.
#[track_caller]
pub(super) fn service<'a>(snapshot: &'a Snapshot, name: &str) -> &'a ServiceSnapshot {
    let mut services = snapshot.shards.iter().flat_map(|shard| &shard.services);
    services.find(|service| service.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// What steering counted under `name`.
pub(super) fn steered(snapshot: &Snapshot, name: &str) -> u64 {
    snapshot.steering[0].counters[name]
}

/// What was obtained on every port, under `key`.
pub(super) fn obtained<'a>(snapshot: &'a Snapshot, key: &str) -> Vec<&'a str> {
    let ports = snapshot.shards.iter().flat_map(|shard| &shard.ports);
    ports.map(|port| port.obtained.get(key).map_or("", |word| word)).collect()
}

/// No packet is nowhere: what XDP saw was passed, dropped or redirected, by its reason; what it
/// redirected was received or lost by a name that the kernel has for it; what was received was
/// settled. Of a program at quiet, with one interface.
#[track_caller]
pub(super) fn law(snapshot: &Snapshot) {
    assert_eq!(snapshot.conservation.unaccounted, 0, "{snapshot:#?}");
    for steering in &snapshot.steering {
        let counters = &steering.counters;
        let outcomes: u64 = counters.values().sum::<u64>() - counters["received"];
        assert_eq!(outcomes, counters["received"], "{counters:?}");
        let port = ports(snapshot);
        let came = port.rx_frames + port.bad_descriptors + port.kernel_losses();
        assert_eq!(counters["redirected"], came, "{counters:?} {port:#?}");
    }
    for port in snapshot.shards.iter().flat_map(|shard| &shard.ports) {
        let stats = &port.stats;
        assert_eq!((stats.bad_descriptors, stats.held_frames), (0, 0), "{port:#?}");
        let (came, left) = stats.flow();
        assert_eq!(came, left, "{port:#?}");
        // virtio_net gives the last few back when the next ones come.
        let sent = stats.completed_frames + stats.ring_tx_frames;
        assert_eq!(stats.tx_frames, sent, "{port:#?}");
    }
    for service in snapshot.shards.iter().flat_map(|shard| &shard.services) {
        let (came, left) = service.stats.flow();
        assert_eq!(came, left, "{service:#?}");
        assert_eq!(service.drops.values().sum::<u64>(), service.stats.settled_drop);
    }
}
