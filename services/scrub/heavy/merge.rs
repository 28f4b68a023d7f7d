//! The tables of all shards as one list.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::table::Set;
use super::{By, Windows};

/// One of those that are seen most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hitter {
    /// What was seen.
    pub(crate) key: u128,
    /// How many packets, within these bounds.
    pub(crate) packets: RangeInclusive<u64>,
}

impl Hitter {
    /// The address that the key stands for.
    pub(crate) fn address(&self) -> IpAddr {
        Ipv6Addr::from_bits(self.key).to_canonical()
    }

    /// The protocol and port that the key stands for.
    #[expect(clippy::cast_possible_truncation, reason = "as it was put together")]
    pub(crate) const fn port(&self) -> (u8, u16) {
        ((self.key >> 16) as u8, self.key as u16)
    }
}

/// What all shards have seen together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The most frequent first, at most as many as asked for.
    pub(crate) hitters: Vec<Hitter>,
    /// What a key that is on no shard's list was seen at most.
    pub(crate) others_max: u64,
    /// Since when all of them are counted.
    pub(crate) since_ns: u64,
}

/// The `count` that were seen most in both windows of all shards. The bounds of each hold for certain:
/// they add up what each table says of it, and where one has no counter for it, the most that this
/// table can have missed.
pub(crate) fn merged(shards: &[Box<Windows>], by: By, count: usize) -> Merged {
    let tables: Vec<_> = (shards.iter())
        .flat_map(|windows| [&windows.now, &windows.before])
        .map(|window| window.table(by))
        .collect();
    let since_ns = shards.iter().map(|windows| windows.before_ns).min().unwrap_or(0);
    let Some(first) = tables.first() else { return Merged::default() };
    let mut merged = Merged { since_ns, ..Merged::default() };
    for at in 0..first.sets().len() {
        // The same hash on all shards: a key is in this set of each, or in none.
        let sets: Vec<&Set> = tables.iter().map(|table| &table.sets()[at]).collect();
        let mut keys: Vec<u128> =
            sets.iter().flat_map(|set| set.entries().map(|entry| entry.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        merged.hitters.extend(keys.into_iter().map(|key| hitter(key, &sets)));
        let missed = sets.iter().map(|set| u64::from(set.least())).sum();
        merged.others_max = merged.others_max.max(missed);
    }
    // By what is certain: a key that inherited its count has not been seen so often.
    merged.hitters.sort_unstable_by_key(|hitter| {
        std::cmp::Reverse((*hitter.packets.start(), *hitter.packets.end(), hitter.key))
    });
    merged.hitters.truncate(count);
    merged
}

fn hitter(key: u128, sets: &[&Set]) -> Hitter {
    let (mut at_least, mut at_most) = (0, 0);
    for set in sets {
        match set.of(key) {
            Some(entry) => {
                at_least += u64::from(entry.count - entry.error);
                at_most += u64::from(entry.count);
            }
            None => at_most += u64::from(set.least()),
        }
    }
    Hitter { key, packets: at_least..=at_most }
}
