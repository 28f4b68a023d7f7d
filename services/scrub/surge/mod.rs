//! What floods, found by what it has in common.
//!
//! ```text
//!  packet that is neither known nor verified
//!    ├─ (destination, protocol, source port)                            reflection of any kind
//!    └─ (destination, protocol, port, length, first octets of payload)  copies with forged sources
//!         └─► slot ► packets and sources of this second and of the one before
//!               surging: more than `packets_per_second` from more than [`SOURCES`]
//! ```
//!
//! Rules know the floods that have a shape of their own. For the others there is this: a table of
//! fixed size of what is most frequent among the packets that nobody vouches for. A flood has little
//! to vary: reflectors answer from one port, and copies with forged sources are alike in length and
//! in their first octets. Users are few for one address, or they differ: what they send begins with
//! numbers of theirs (DNS, QUIC, WireGuard, Valve's channels), and their source ports are many. What
//! is sent from a port to the same one (NTP, IKE, SIP between servers) is not looked at by port.
//!
//! One source alone never surges, however much it sends: a call, a stream and a tunnel are one
//! source. Against one there are limits.
//!
//! The table keeps what is frequent: a slot is given to a newcomer only once it has been met less
//! often than others in its group (Misra and Gries, 1982), so a flood of things that all differ
//! washes nothing out. Sources are estimated in 128 bits by linear counting (Whang and others, 1990).

use std::net::IpAddr;

use super::facts::Facts;
use super::rules::field::{AddressField, NumberField, Scope};
use super::siphash::{self, Key};

/// Packets a second with one thing in common, above which they surge: a tenth of the packets at which
/// a destination is engaged, where nothing else is said ([`Surge::set_engaged_at`]). Lower, and a
/// popular server's questions are a flood; higher, and what is left of a flood in ten kinds passes.
const PACKETS_PER_SECOND: u32 = 10_000;

/// As few surge at least, however early a destination is engaged: a page of a few hundred parts
/// from as many servers is no flood.
const PACKETS_PER_SECOND_MIN: u32 = 200;

/// Sources a second that surge. Fewer can be limited one by one.
const SOURCES: u32 = 64;

/// How long a second is.
const WINDOW_NS: u64 = 1_000_000_000;

/// Slots in a group.
const SLOTS: usize = 8;

/// Slots in all: 512 KiB. A flood of more kinds than this has none that is frequent.
const TABLE: usize = 1 << 13;

/// Octets of the payload that count as its beginning. With more, what is meant to be alike differs
/// by a counter; with fewer, what differs is alike.
const BEGINNING: usize = 8;

/// What was met, how often, and from how many.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u64,
    /// Which second it counts.
    second: u64,
    packets: u32,
    /// One bit for each source, by its hash.
    sources: u128,
    /// What came of the second before.
    surged: bool,
}

impl Slot {
    /// What it says of `second`, as far as that can be said.
    const fn turn(&mut self, second: u64, most: u32) {
        if self.second == second {
            return;
        }
        // Only the second right before has a say, also where time was set back.
        self.surged = self.second.wrapping_add(1) == second && self.is_over(most);
        self.second = second;
        self.packets = 0;
        self.sources = 0;
    }

    const fn is_over(&self, most: u32) -> bool {
        self.packets > most && self.sources.count_ones() >= bits_of(SOURCES)
    }
}

/// Bits of 128 that are set by so many sources, on average: 128 × (1 − (1 − 1/128)^n).
const fn bits_of(sources: u32) -> u32 {
    // In 2^32nds, so that it is known while compiling.
    let (mut clear, mut n) = (1_u64 << 32, 0);
    while n < sources {
        clear -= clear / 128;
        n += 1;
    }
    let set = (1_u64 << 32) - clear;
    ((set * 128) >> 32) as u32
}

/// The table. All memory is taken by [`Surge::new`].
pub(crate) struct Surge {
    key: Key,
    groups: Box<[[Slot; SLOTS]]>,
    packets_per_second: u32,
}

impl Surge {
    /// Nothing met yet.
    pub(crate) fn new(key: Key) -> Self {
        let groups = vec![[Slot::default(); SLOTS]; TABLE / SLOTS].into();
        Self { key, groups, packets_per_second: PACKETS_PER_SECOND }
    }

    /// What it looks after is engaged at so many packets a second: a tenth of them surge. `None`: by
    /// something else than packets.
    pub(crate) fn set_engaged_at(&mut self, packets_per_second: Option<u64>) {
        let tenth = |packets: u64| u32::try_from(packets / 10).unwrap_or(u32::MAX);
        let tenth = packets_per_second.map_or(PACKETS_PER_SECOND, tenth);
        self.packets_per_second = tenth.max(PACKETS_PER_SECOND_MIN);
    }

    /// Takes in a packet that is neither known nor verified; whether it is of a surge. TCP never is:
    /// it can be challenged.
    #[inline]
    pub(crate) fn meet(&mut self, facts: &Facts<'_>, now_ns: u64) -> bool {
        let Some(common) = Common::of(facts) else { return false };
        let second = now_ns / WINDOW_NS;
        let destination = halves(common.destination);
        let kind = u64::from(common.protocol) << 32;
        let [a, b] = halves(common.source);
        let source = self.key.hash_words([a, b]) >> 57;
        let ports = common.ports;
        let is_reflected = ports.is_some_and(|(from, to)| from != to) && {
            let from = ports.map_or(0, |(from, _)| u64::from(from));
            self.count(
                self.key.hash_words([destination[0], destination[1], kind | from]),
                source,
                second,
            )
        };
        let to = ports.map_or(0, |(_, to)| u64::from(to)) << 16 | common.octets;
        let alike = [destination[0], destination[1], kind << 16 | to, common.beginning, 1];
        let is_copied = self.count(self.key.hash_words(alike), source, second);
        is_reflected || is_copied
    }

    /// Counts one packet of `tag`; whether it surges.
    fn count(&mut self, tag: u64, source: u64, second: u64) -> bool {
        let (mask, most) = (self.groups.len() - 1, self.packets_per_second);
        #[expect(clippy::cast_possible_truncation, reason = "less than the table's length")]
        let group = &mut self.groups[tag as usize & mask];
        for slot in group.iter_mut() {
            slot.turn(second, most);
        }
        if let Some(slot) = group.iter_mut().find(|slot| slot.tag == tag) {
            slot.packets = slot.packets.saturating_add(1);
            slot.sources |= 1 << source;
            return slot.surged || slot.is_over(most);
        }
        // Who surged is not forgotten for who comes first in the next second.
        if let Some(slot) = group.iter_mut().filter(|slot| !slot.surged).min_by_key(|it| it.packets)
        {
            if slot.packets == 0 {
                *slot = Slot { tag, second, packets: 1, sources: 1 << source, surged: false };
            } else {
                slot.packets -= 1;
            }
        }
        false
    }
}

/// What a packet can have in common with others.
struct Common {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
    /// Of the payload, or of the packet where there is none.
    octets: u64,
    beginning: u64,
}

impl Common {
    fn of(facts: &Facts<'_>) -> Option<Self> {
        let number = |field| facts.number(Scope::Outer, field);
        let protocol = u8::try_from(number(NumberField::IpProtocol)?).ok()?;
        if protocol == tidegate_dataplane::wire::protocol::TCP {
            return None;
        }
        let port = |field| number(field).and_then(|port| u16::try_from(port).ok());
        let ports = port(NumberField::SourcePort).zip(port(NumberField::DestinationPort));
        let payload = facts.payload(Scope::Outer);
        let mut beginning = [0; BEGINNING];
        let kept = payload.len().min(BEGINNING);
        beginning[..kept].copy_from_slice(&payload[..kept]);
        Some(Self {
            source: facts.address(Scope::Outer, AddressField::Source)?,
            destination: facts.address(Scope::Outer, AddressField::Destination)?,
            protocol,
            ports,
            octets: number(NumberField::IpLength)? & 0xffff,
            beginning: u64::from_be_bytes(beginning),
        })
    }
}

fn halves(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u64::from(address.to_bits()), 4],
        IpAddr::V6(address) => siphash::halves(address.to_bits()),
    }
}

#[cfg(test)]
mod tests;
