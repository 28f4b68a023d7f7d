//! One verdict for a datagram that comes in parts.
//!
//! ```text
//!  first part ──► judged ──► remembered by (source, destination, protocol, id), for a while
//!  later part ──► remembered? ─┬─ yes: what became of the first
//!                              └─ not yet: waits a moment, then judged by what is in it alone
//! ```
//!
//! Only the first part has ports. What is remembered lies in a table of fixed size with a keyed
//! hash, groups of eight; when a group is full, who came first is forgotten.
//!
//! Parts that no honest sender makes end here, whatever the rules say (RFC 1858, RFC 5722): such as
//! would write over the header of TCP or over the first part, and more octets than a datagram has.
//! A first part without the whole transport header is malformed, and does not come so far. Two first
//! parts of one datagram are judged each for itself, and later parts follow the last one: what the
//! kernel puts together was judged in all cases.
//!
//! Not done here: reassembly. The kernel does it, and drops what overlaps.

use std::net::IpAddr;

use tidegate_dataplane::wire::packet::Network;
use tidegate_dataplane::wire::{Fragment, protocol, tcp};

use super::siphash::{self, Key};

pub(crate) mod waiting;

/// Slots in a group.
const SLOTS: usize = 8;

/// Datagrams that are remembered: 16,384 in under 1 MiB. Parts of one datagram mostly come back to
/// back, so at a million datagrams a second each is still there for 16 ms.
const DATAGRAMS: usize = 1 << 14;

/// How long a first part speaks for the others. Linux waits for them for 30 s; but they come within
/// milliseconds, and after 2 s a sender of 30,000 datagrams a second uses the same id again.
const SPEAKS_NS: u64 = 2_000_000_000;

/// Octets that a datagram has at most.
const OCTETS_MAX: u32 = 65_535;

/// One part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
    /// Where it starts; 0 is the first.
    offset_octets: u16,
    /// Octets of the datagram's payload in it.
    octets: u16,
}

/// What is to be done with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<V> {
    /// It is the first: judge it, and say what came out by [`Fragments::remember`].
    Judge,
    /// What became of the first.
    Follow(V),
    /// No honest sender makes it.
    Refuse,
    /// It came before its first.
    Early,
}

#[derive(Clone, Copy, Debug)]
struct Slot<V> {
    /// 64 bits of the keyed hash of who sent what to whom.
    tag: u64,
    /// When its first part came, plus 1; 0: nobody's.
    at: u64,
    /// Octets of all parts so far.
    octets: u32,
    /// Where the first part ends.
    first_octets: u16,
    verdict: V,
}

impl<V> Slot<V> {
    /// Whether it counts still. Time that was set back makes it wait no longer than any other.
    const fn counts(&self, now_ns: u64) -> bool {
        let Some(at_ns) = self.at.checked_sub(1) else { return false };
        now_ns.abs_diff(at_ns) < SPEAKS_NS
    }
}

/// What became of the first parts. All memory is taken by [`Fragments::new`].
pub(crate) struct Fragments<V> {
    key: Key,
    groups: Box<[[Slot<V>; SLOTS]]>,
}

impl Part {
    /// The part that a packet is, or `None` for a whole datagram.
    pub(crate) fn of(network: Network<'_>) -> Option<Self> {
        let (fragment, protocol, octets) = match network {
            Network::V4(ip) => (ip.fragment(), ip.protocol(), ip.payload_octets()),
            Network::V6(ip) => (ip.fragment(), ip.protocol(), ip.payload_octets()),
        };
        let (id, offset_octets) = match fragment {
            Fragment::Whole => return None,
            Fragment::First { id } => (id, 0),
            Fragment::Later { id, offset_octets, .. } => (id, offset_octets),
        };
        let (source, destination) = match network {
            Network::V4(ip) => (ip.source().into(), ip.destination().into()),
            Network::V6(ip) => (ip.source().into(), ip.destination().into()),
        };
        let octets = u16::try_from(octets).unwrap_or(u16::MAX);
        Some(Self { source, destination, protocol, id, offset_octets, octets })
    }

    /// Whether it could write over the header of TCP: RFC 1858, section 3.2.2. The header of UDP is
    /// shorter than any first part.
    fn is_in_the_header(&self) -> bool {
        self.protocol == protocol::TCP
            && self.offset_octets > 0
            && usize::from(self.offset_octets) < tcp::HEADER_LEN
    }

    fn tag(&self, key: Key) -> u64 {
        let rest = u64::from(self.id) << 16 | u64::from(self.protocol) << 8;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let both = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
                key.hash_words([both, rest | 4])
            }
            (source, destination) => {
                let bits = |address| match address {
                    IpAddr::V4(v4) => u128::from(v4.to_bits()),
                    IpAddr::V6(v6) => v6.to_bits(),
                };
                let [a, b] = siphash::halves(bits(source));
                let [c, d] = siphash::halves(bits(destination));
                key.hash_words([a, b, c, d, rest | 6])
            }
        }
    }
}

impl<V: Copy> Fragments<V> {
    /// Nothing remembered; `nothing` fills the table.
    pub(crate) fn new(key: Key, nothing: V) -> Self {
        let slot = Slot { tag: 0, at: 0, octets: 0, first_octets: 0, verdict: nothing };
        Self { key, groups: vec![[slot; SLOTS]; DATAGRAMS / SLOTS].into() }
    }

    /// What is to be done with `part`.
    pub(crate) fn ask(&mut self, part: &Part, now_ns: u64) -> Step<V> {
        if part.is_in_the_header() {
            return Step::Refuse;
        }
        if part.offset_octets == 0 {
            return Step::Judge;
        }
        let tag = part.tag(self.key);
        let is_it = |slot: &&mut Slot<V>| slot.tag == tag && slot.counts(now_ns);
        let Some(slot) = self.group(tag).iter_mut().find(is_it) else { return Step::Early };
        slot.octets += u32::from(part.octets);
        if slot.octets > OCTETS_MAX || part.offset_octets < slot.first_octets {
            // It stays so: whoever goes on sending octets does not come round to 0.
            slot.octets = slot.octets.min(2 * OCTETS_MAX);
            return Step::Refuse;
        }
        Step::Follow(slot.verdict)
    }

    /// What became of a first part, for the others to follow.
    pub(crate) fn remember(&mut self, first: &Part, verdict: V, now_ns: u64) {
        let tag = first.tag(self.key);
        let rank = |slot: &Slot<V>| (slot.tag != tag, slot.counts(now_ns), slot.at);
        if let Some(slot) = self.group(tag).iter_mut().min_by_key(|slot| rank(slot)) {
            let at = now_ns.saturating_add(1);
            let octets = u32::from(first.octets);
            *slot = Slot { tag, at, octets, first_octets: first.octets, verdict };
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than the table's length")]
    fn group(&mut self, tag: u64) -> &mut [Slot<V>; SLOTS] {
        let index = tag as usize & (self.groups.len() - 1);
        &mut self.groups[index]
    }
}

#[cfg(test)]
mod tests;
