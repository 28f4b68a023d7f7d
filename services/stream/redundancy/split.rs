//! The second path out: the same packets once more, on another interface or to another address.
//!
//! ```text
//!   picture ─► first frame  ─ header 1 │ RTP, pixels ─► port 1 ─► path 1
//!                                           │ copied while they are in the cache
//!              second frame ─ header 2 │ RTP, pixels ─► port 2 ─► path 2
//! ```
//!
//! From RTP on the packets of both paths are the same octets, for they are copied. Headers, ports,
//! memory and rings are each path's own, and so are its bad days: whoever cannot take a group when
//! it is due goes without it, its packets are lost on it and counted by its name, and the other path
//! does not notice. A path is left out when
//!
//! - its pool has no frame or its ring no room;
//! - the kernel refuses to send, the link being down or gone, and something waits on its ring: what
//!   would lie there until the link is back would then leave in a burst, long after its time;
//! - it is slow, having more in the driver's hands than two milliseconds' worth, while the other is
//!   not.
//!
//! Once the ring of a refusing path is empty, each group is a question whether the link is back.
//! Where both paths are slow the machine is, and both get their packets as one path alone would.

use std::net::SocketAddr;

use serde::Deserialize;
use tidegate_dataplane::frame::Frame;
use tidegate_runtime::burst::Frames;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::Counter;
use tidegate_runtime::service::Build;
use tidegate_runtime::verdict::{DropReason, Verdict};

use super::PATHS;
use super::export::NAMES;
use crate::stream::departure::Departure;
use crate::stream::header::{Header, Marks};
use crate::stream::route::{Counts, Mac, Route, Tag, Way};

/// What a path may have in the driver's hands before it is slow, in nanoseconds of the stream.
///
/// A driver completes in batches, and a card with launch times has a fifth of a millisecond lying
/// there. Much less would leave out paths that work, much more would send out of a ring that was
/// stuck what no receiver waits for.
const SLOW_NS: u64 = 2_000_000;

/// The same in packets, at the least: more than any driver takes at once.
const SLOW_PACKETS_MIN: u32 = 256;

/// What both paths are called, and where they lead.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Ports of the shard, and the interfaces that they are of.
    pub ports: [(usize, &'a str); PATHS],
    /// Where packets are sent to.
    pub destinations: [SocketAddr; PATHS],
    /// Packets of the stream in a second.
    pub packets_per_second: u64,
}

/// The second path of a sender, and how both are.
#[derive(Debug)]
pub struct Split {
    ports: [usize; PATHS],
    route: Route,
    header: Header,
    departure: Departure,
    /// Of the second path.
    group: Frames,
    /// Which paths take the group that is being built.
    takes: [bool; PATHS],
    slow_packets: u32,
    /// What the kernel had thrown away when it was last asked.
    thrown_away: [u64; PATHS],
    /// Of the group that is being built: packets that a path goes without.
    without: [u64; PATHS],
    sent: [Counter; PATHS],
    lost: [Counter; PATHS],
    unsent: Counter,
}

/// How a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Flows,
    Slow,
    Refuses,
}

impl Split {
    /// A second path that is ready.
    pub(in crate::stream) fn new(
        build: &mut Build<'_>,
        ends: &Ends<'_>,
        route: Route,
        header: Header,
        departure: Departure,
    ) -> Self {
        for ((name, (_, interface)), to) in NAMES.iter().zip(ends.ports).zip(ends.destinations) {
            let word = format!("{interface} {to}");
            build.word(&format!("{name}_path"), "What the path is told by", &[&word]);
        }
        let slow = ends.packets_per_second.saturating_mul(SLOW_NS) / 1_000_000_000;
        let mut counters = |what: &str, help: &str| {
            NAMES.map(|name| build.counter(&format!("{name}_{what}"), help))
        };
        Self {
            ports: ends.ports.map(|(port, _)| port),
            route,
            header,
            departure,
            group: Frames::new(),
            takes: [true; PATHS],
            slow_packets: u32::try_from(slow).unwrap_or(u32::MAX).max(SLOW_PACKETS_MIN),
            thrown_away: [0; PATHS],
            without: [0; PATHS],
            sent: counters("packets_sent", "Packets handed to the TX ring of the path"),
            lost: counters(
                "packets_lost",
                "Packets that the path could not take when they were due",
            ),
            unsent: build.counter("packets_unsent", "Packets that no path could take"),
        }
    }

    /// Sends the second path's packets to where its next hop is now.
    pub(in crate::stream) fn follow_the_route(&mut self) -> Counts {
        self.route.follow(&mut self.header)
    }

    /// How both paths are now, for the group that is to be built.
    pub(in crate::stream) fn look(&mut self, cx: &mut ShardContext) {
        let states = self.ports.map(|port| cx.tx_state(port));
        for ((state, seen), lost) in states.iter().zip(&mut self.thrown_away).zip(self.lost) {
            if state.thrown_away != *seen {
                cx.count(lost, state.thrown_away - *seen);
                *seen = state.thrown_away;
            }
        }
        let health = states.map(|state| {
            if state.refuses && state.waiting > 0 {
                Health::Refuses
            } else if state.outstanding > self.slow_packets {
                Health::Slow
            } else {
                Health::Flows
            }
        });
        self.takes = takes(health);
    }

    /// Blank frames for one packet, of the paths that take it. `None` where all of them have to
    /// wait for one.
    #[inline]
    pub(in crate::stream) fn take(
        &mut self,
        cx: &mut ShardContext,
    ) -> Option<[Option<Frame>; PATHS]> {
        let [first, second] = self.ports;
        let frames = [
            if self.takes[0] { cx.take(first) } else { None },
            if self.takes[1] { cx.take(second) } else { None },
        ];
        if frames.iter().all(Option::is_none) && self.takes != [false; PATHS] {
            return None;
        }
        for (without, frame) in self.without.iter_mut().zip(&frames) {
            *without += u64::from(frame.is_none());
        }
        Some(frames)
    }

    /// Writes the packet of the second path: `write` writes its payload, of so many octets.
    #[inline]
    pub(in crate::stream) fn build(
        &mut self,
        mut frame: Frame,
        payload_octets: usize,
        tai_ns: Option<u64>,
        write: impl FnOnce(&mut [u8]),
    ) {
        frame.set_len(self.header.octets() + payload_octets);
        write(self.header.write(frame.bytes_mut()));
        self.departure.ask(&mut frame, tai_ns);
        self.group.push(frame);
    }

    /// Puts what was built on both rings; what finds no room is dropped, for `late`. Returns how
    /// many packets at least one path has.
    pub(in crate::stream) fn send(
        &mut self,
        cx: &mut ShardContext,
        first: &mut Frames,
        packets: u64,
        late: DropReason,
    ) -> u64 {
        let mut most = 0;
        let [first_port, second_port] = self.ports;
        for (path, port, group) in [(0, first_port, first), (1, second_port, &mut self.group)] {
            let built = group.len() as u64;
            cx.send(port, group);
            if !group.is_empty() {
                // Copy mode makes room by the wake-up.
                cx.flush(port);
                cx.send(port, group);
            }
            let left = group.len() as u64;
            for frame in group.drain(..) {
                cx.settle(frame, Verdict::Drop(late));
            }
            cx.count(self.sent[path], built - left);
            cx.count(self.lost[path], left + std::mem::take(&mut self.without[path]));
            // Each path lacks packets at the end of the group, or all of them.
            most = most.max(built - left);
        }
        cx.count(self.unsent, packets - most);
        most
    }

    /// Hands over what was put on both rings, by one wake-up each.
    pub(in crate::stream) fn flush(&self, cx: &mut ShardContext) {
        for port in self.ports {
            cx.flush(port);
        }
    }
}

/// Which paths take a group, as they are.
const fn takes(health: [Health; PATHS]) -> [bool; PATHS] {
    use Health::{Flows, Refuses, Slow};
    match health {
        [Flows, Flows] | [Slow, Slow] => [true, true],
        [Flows, Slow | Refuses] | [Slow, Refuses] => [true, false],
        [Slow | Refuses, Flows] | [Refuses, Slow] => [false, true],
        [Refuses, Refuses] => [false, false],
    }
}

/// The second path's options table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Where to: address and UDP port of a receiver or a group.
    pub destination: SocketAddr,
    /// From where: our address on the interface, and a UDP port.
    pub source_address: SocketAddr,
    /// The interface to send on; the first path's where it is missing.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// Link address of the next hop; as the kernel knows it where it is missing.
    #[serde(default)]
    pub destination_mac: Option<Mac>,
    /// VLAN that packets are tagged with.
    #[serde(default)]
    pub vlan: Option<Tag>,
}

impl Second {
    /// The way that they ask for; but for the VLAN, networks are told what they are on the first.
    pub(in crate::stream) fn way(&self, first: Marks) -> Way {
        Way {
            destination: self.destination,
            source: self.source_address,
            destination_mac: self.destination_mac,
            marks: Marks { vlan: self.vlan.map(|Tag(vlan)| vlan), ..first },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_works_takes_its_group_whatever_the_other_does() {
        use Health::{Flows, Refuses, Slow};
        for other in [Flows, Slow, Refuses] {
            assert!(takes([Flows, other])[0], "{other:?}");
            assert!(takes([other, Flows])[1], "{other:?}");
            assert!(takes([Slow, other])[0] != (other == Flows), "{other:?}");
            assert!(!takes([Refuses, other])[0], "{other:?}");
        }
    }
}
