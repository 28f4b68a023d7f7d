//! What a shard did with the packets of each selector.
//!
//! A packet comes with the selector that it matched, so to count by destination is an index and two
//! additions. Whoever adds up over shards takes the rows out, and a shard goes on from zero: nothing
//! is counted twice when an instance is built anew, and what one had not given away is lost with it.

use std::iter::zip;
use std::sync::Arc;

use tidegate_dataplane::steer::{SELECTORS_MAX, Tally};

use crate::scrub::judge::Reason;

/// What became of the packets of one selector, from the ring on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Given back to the kernel, those unjudged among them that came for their place in a flow.
    pub(crate) reinjected: Tally,
    /// SYNs that became challenges.
    pub(crate) challenged: u64,
    /// Dropped, for whatever reason.
    pub(crate) dropped: Tally,
    /// Packets of these, by [`Reason`].
    pub(crate) reasons: [u64; Reason::ALL.len()],
}

/// `tally` and one packet more.
const fn count(tally: &mut Tally, octets: usize) {
    tally.packets += 1;
    tally.octets += octets as u64;
}

/// Adds `more` to `tally`.
pub(crate) const fn add(tally: &mut Tally, more: Tally) {
    tally.packets += more.packets;
    tally.octets += more.octets;
}

impl Settled {
    const ZERO: Self = Self {
        reinjected: Tally { packets: 0, octets: 0 },
        challenged: 0,
        dropped: Tally { packets: 0, octets: 0 },
        reasons: [0; Reason::ALL.len()],
    };

    /// Adds what another shard did, or the same one later.
    pub(crate) fn add(&mut self, other: &Self) {
        add(&mut self.reinjected, other.reinjected);
        self.challenged += other.challenged;
        add(&mut self.dropped, other.dropped);
        zip(&mut self.reasons, other.reasons).for_each(|(mine, more)| *mine += more);
    }
}

/// The end of a packet in the scrubber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reinjected,
    Challenged,
    Dropped(Reason),
}

/// The rows of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whose program it was: by its place in the names of [`Ledger::interfaces`].
    pub(crate) port: usize,
    /// By the program's index.
    pub(crate) selector: u16,
    /// What became of its packets.
    pub(crate) settled: Settled,
}

/// All rows of one shard. Takes its memory when it is made.
pub(crate) struct Ledger {
    interfaces: Arc<[Box<str>]>,
    ports: Box<[[Settled; SELECTORS_MAX]]>,
}

impl Ledger {
    /// Of a shard with a port at each of these interfaces, nothing counted.
    pub(crate) fn new(interfaces: impl IntoIterator<Item = Box<str>>) -> Self {
        let interfaces: Arc<[Box<str>]> = interfaces.into_iter().collect();
        let ports = vec![[Settled::ZERO; SELECTORS_MAX]; interfaces.len()].into();
        Self { interfaces, ports }
    }

    /// The interface of each port.
    pub(crate) const fn interfaces(&self) -> &Arc<[Box<str>]> {
        &self.interfaces
    }

    /// Counts a packet. One that no selector was found for is nobody's.
    #[inline]
    pub(crate) fn count(&mut self, port: u16, selector: u16, octets: usize, end: End) {
        let rows = self.ports.get_mut(usize::from(port));
        let Some(row) = rows.and_then(|rows| rows.get_mut(usize::from(selector))) else { return };
        match end {
            End::Reinjected => count(&mut row.reinjected, octets),
            End::Challenged => row.challenged += 1,
            End::Dropped(reason) => {
                count(&mut row.dropped, octets);
                row.reasons[reason as usize] += 1;
            }
        }
    }

    /// Moves rows in which something is counted into `room`, as many as it has room for. The others
    /// are for the next time.
    pub(crate) fn take(&mut self, room: &mut Vec<Row>) {
        room.clear();
        for (port, rows) in self.ports.iter_mut().enumerate() {
            for (selector, row) in (0..).zip(rows) {
                if room.len() < room.capacity() && *row != Settled::ZERO {
                    room.push(Row { port, selector, settled: std::mem::take(row) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["one", "two"];

    #[test]
    fn counts_by_port_and_selector_and_gives_away_each_packet_once() {
        let mut ledger = Ledger::new(NAMES.map(Into::into));
        ledger.count(0, 3, 60, End::Reinjected);
        ledger.count(1, 3, 100, End::Dropped(Reason::Limit));
        ledger.count(1, 3, 40, End::Dropped(Reason::Rule));
        ledger.count(1, 63, 60, End::Challenged);
        // Of a port or a selector that there is none of.
        ledger.count(2, 0, 60, End::Reinjected);
        ledger.count(0, 64, 60, End::Reinjected);

        // Room for two of three.
        let mut room = Vec::with_capacity(2);
        ledger.take(&mut room);
        let first = Settled { reinjected: Tally { packets: 1, octets: 60 }, ..Settled::ZERO };
        let mut second = Settled { dropped: Tally { packets: 2, octets: 140 }, ..Settled::ZERO };
        second.reasons[Reason::Limit as usize] = 1;
        second.reasons[Reason::Rule as usize] = 1;
        let row = |port, selector, settled| Row { port, selector, settled };
        assert_eq!(room, [row(0, 3, first), row(1, 3, second)]);
        ledger.take(&mut room);
        assert_eq!(room, [row(1, 63, Settled { challenged: 1, ..Settled::ZERO })]);
        ledger.take(&mut room);
        assert!(room.is_empty());
        assert_eq!(ledger.interfaces().as_ref(), NAMES.map(Box::from));
    }
}
