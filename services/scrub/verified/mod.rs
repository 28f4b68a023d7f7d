//! Sources that have answered a challenge not long ago.
//!
//! A table of fixed size, keyed hash, groups of eight. Only who received what was sent to its
//! address gets in, so filling it takes real addresses; who comes when its group is full takes the
//! place of the one that was verified first. Forgetting costs a user one more challenge.
//!
//! A source is an address of IPv4, or the /64 of an address of IPv6: that is what one host is given.
//!
//! A shard has its own. A connection from another port may come to another shard, and be challenged
//! there once more.

use std::net::IpAddr;

use super::siphash::Key;

/// Slots in a group: 8 of 16 octets are two cache lines.
const SLOTS: usize = 8;

/// Sources in a table: 65,536 in 1 MiB. Fewer and a busy service challenges its users again before
/// their time; more and the table leaves the second-level cache.
const SOURCES: usize = 1 << 16;

/// How long an answer counts. Shorter and users are challenged again during one visit; longer and
/// whoever spoofs an address that he saw being verified has more of it.
const VALID_NS: u64 = 300_000_000_000;

/// How far in the future an answer may lie: see `SHAKEN_NS` of the buckets. Further and the clock
/// was set back.
const SHAKEN_NS: u64 = 1_000_000_000;

/// One source.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// 64 bits of the keyed hash of the source.
    tag: u64,
    /// When it answered, plus 1; 0: nobody yet.
    at: u64,
}

impl Slot {
    fn counts(self, now_ns: u64) -> bool {
        let Some(at_ns) = self.at.checked_sub(1) else { return false };
        match now_ns.checked_sub(at_ns) {
            Some(age_ns) => age_ns < VALID_NS,
            None => at_ns - now_ns <= SHAKEN_NS,
        }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Group([Slot; SLOTS]);

const _: () = assert!(size_of::<Group>() == 128, "two cache lines, no padding");

/// Who was verified. All memory is taken by [`Verified::new`].
pub(crate) struct Verified {
    key: Key,
    groups: Box<[Group]>,
}

impl Verified {
    /// Nobody.
    pub(crate) fn new(key: Key) -> Self {
        let group = Group([Slot { tag: 0, at: 0 }; SLOTS]);
        Self { key, groups: vec![group; SOURCES / SLOTS].into() }
    }

    /// Whether `source` has answered not long ago.
    #[inline]
    pub(crate) fn contains(&self, source: IpAddr, now_ns: u64) -> bool {
        let tag = self.tag(source);
        let Group(slots) = &self.groups[self.index(tag)];
        slots.iter().any(|slot| slot.tag == tag && slot.counts(now_ns))
    }

    /// `source` has answered.
    pub(crate) fn insert(&mut self, source: IpAddr, now_ns: u64) {
        let tag = self.tag(source);
        let index = self.index(tag);
        let Group(slots) = &mut self.groups[index];
        // Its own place; else one that does not count; else the oldest.
        let rank = |slot: &Slot| (slot.tag != tag, slot.counts(now_ns), slot.at);
        if let Some(slot) = slots.iter_mut().min_by_key(|slot| rank(slot)) {
            *slot = Slot { tag, at: now_ns.saturating_add(1) };
        }
    }

    fn tag(&self, source: IpAddr) -> u64 {
        match source {
            IpAddr::V4(address) => self.key.hash_words([address.to_bits().into(), 4]),
            IpAddr::V6(address) => {
                let [_, network] = super::siphash::halves(address.to_bits());
                self.key.hash_words([network, 6])
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than the table's length")]
    fn index(&self, tag: u64) -> usize {
        tag as usize & (self.groups.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1 << 50;

    fn table() -> Verified {
        Verified::new(Key::fixed(3))
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn who_answered_counts_for_a_while_and_nobody_else() {
        let mut table = table();
        for now_ns in [0, 1, START, u64::MAX] {
            assert!(!table.contains(v4(0), now_ns));
        }
        table.insert(v4(1), START);
        assert!(table.contains(v4(1), START + VALID_NS - 1));
        assert!(!table.contains(v4(1), START + VALID_NS));
        assert!(!table.contains(v4(2), START));
        assert!(!table.contains("::1".parse().unwrap(), START));
        // Again, and it counts from there.
        table.insert(v4(1), START + VALID_NS);
        assert!(table.contains(v4(1), START + VALID_NS + 1));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut table = table();
        table.insert("2001:db8:0:1::1".parse().unwrap(), START);
        assert!(table.contains("2001:db8:0:1:ffff::".parse().unwrap(), START));
        assert!(!table.contains("2001:db8:0:2::1".parse().unwrap(), START));
    }

    #[test]
    fn a_clock_that_is_set_keeps_nobody_for_longer() {
        let mut table = table();
        table.insert(v4(1), START);
        assert!(table.contains(v4(1), START - SHAKEN_NS), "a shaken order is no set clock");
        assert!(!table.contains(v4(1), START - SHAKEN_NS - 1));
        assert!(!table.contains(v4(1), u64::MAX));
        // The place of one from the future is free.
        for n in 0..8 {
            table.insert(v4(n), 0);
            assert!(table.contains(v4(n), 0));
        }
        table.insert(v4(9), u64::MAX);
        assert!(table.contains(v4(9), u64::MAX));
    }

    #[test]
    fn a_full_table_forgets_the_oldest_of_a_group_and_nobody_else() {
        let mut table = table();
        let many = u32::try_from(4 * SOURCES).unwrap();
        for n in 0..many {
            table.insert(v4(n), START + u64::from(n));
        }
        let now_ns = START + u64::from(many);
        let kept =
            |from: u32, to: u32| (from..to).filter(|&n| table.contains(v4(n), now_ns)).count();
        assert_eq!(kept(0, many), SOURCES, "every place is in use");
        // The last quarter as large as the table: nearly all that fit are of the last half.
        assert!(kept(many - many / 4, many) > SOURCES * 8 / 10);
        assert_eq!(kept(0, many / 8), 0);
    }

    #[test]
    fn sources_that_meet_under_a_known_key_do_not_under_ours() {
        let known = Verified::new(Key::fixed(1));
        let first = known.index(known.tag(v4(0)));
        let meet = |&n: &u32| known.index(known.tag(v4(n))) == first;
        let chosen: Vec<u32> = (0..).filter(meet).take(64).collect();
        let mut table = table();
        for &n in &chosen {
            table.insert(v4(n), START);
        }
        assert!(chosen.iter().all(|&n| table.contains(v4(n), START)));
    }
}
