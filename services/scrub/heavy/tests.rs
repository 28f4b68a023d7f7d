//! Against exact counts: of traffic as it is, and of traffic made to deceive.

#![allow(clippy::cast_possible_truncation)] // Random numbers, of which any bits will do.

use std::collections::BTreeMap;

use super::merge::Merged;
use super::*;

/// Numbers that repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Counts on some shards, and exactly.
struct Both {
    shards: Vec<Heavy>,
    exact: BTreeMap<u128, u64>,
    packets: u64,
}

impl Both {
    fn new(shards: usize, secret: Secret) -> Self {
        let shards = (0..shards).map(|_| Heavy::new(secret, 0)).collect();
        Self { shards, exact: BTreeMap::new(), packets: 0 }
    }

    fn see(&mut self, shard: usize, source: u128) {
        self.shards[shard].note(Seen { source, destination: 1, port: Some((17, 53)) });
        *self.exact.entry(source).or_default() += 1;
        self.packets += 1;
    }

    /// The list, of which every bound was compared with the truth.
    fn check(&mut self, count: usize) -> Merged {
        let copy = |heavy: &mut Heavy| {
            let mut windows = Box::new(Windows::new(0));
            heavy.copy_to(&mut windows, 0);
            windows
        };
        let copies: Vec<_> = self.shards.iter_mut().map(copy).collect();
        let all = merge::merged(&copies, By::Source, usize::MAX);
        let listed: BTreeMap<u128, &Hitter> =
            all.hitters.iter().map(|hitter| (hitter.key, hitter)).collect();
        for (key, &packets) in &self.exact {
            match listed.get(key) {
                Some(hitter) => {
                    assert!(hitter.packets.contains(&packets), "{key:#x}: {packets}, {hitter:?}");
                }
                None => assert!(packets <= all.others_max, "{key:#x}: {packets} and not listed"),
            }
        }
        merge::merged(&copies, By::Source, count)
    }

    /// The truth.
    fn top(&self, count: usize) -> Vec<u128> {
        let mut all: Vec<_> = self.exact.iter().map(|(&key, &packets)| (packets, key)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.into_iter().take(count).map(|(_, key)| key).collect()
    }
}

fn keys(merged: &Merged) -> Vec<u128> {
    merged.hitters.iter().map(|hitter| hitter.key).collect()
}

#[test]
fn finds_the_heaviest_of_traffic_as_it_is() {
    // Zipf with the exponent 1 over 100,000 sources, by the inverse of its sum.
    const SOURCES: usize = 100_000;
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut sums = Vec::with_capacity(SOURCES);
    let mut sum = 0.0;
    for rank in 1..=SOURCES {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let mut both = Both::new(3, Secret::fixed(7));
    for packet in 0..600_000 {
        let at = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        let rank = sums.partition_point(|&sum| sum < at) as u128;
        both.see(packet % 3, (rank + 1) << 20);
    }
    let merged = both.check(20);
    assert_eq!(keys(&merged)[..10], both.top(10));
    // The bound in words: the least of a set is at most an eighth of it, and sets are even.
    let even = both.packets / (SOURCE_SETS * table::WAYS) as u64;
    assert!(merged.others_max < 4 * even, "{} of {even}", merged.others_max);
}

#[test]
fn a_flood_of_sources_that_come_once_hides_nobody_above_the_bound() {
    let mut random = Random(99);
    let mut both = Both::new(2, Secret::fixed(3));
    let heavy: Vec<u128> = (1..=5).collect();
    for packet in 0..500_000_u64 {
        let source = match packet % 100 {
            at @ 0..5 => heavy[at as usize],
            _ => u128::from(random.next()) << 32,
        };
        both.see((random.next() % 2) as usize, source);
    }
    let mut found = keys(&both.check(5));
    found.sort_unstable();
    assert_eq!(found, heavy, "one packet in a hundred each");
}

#[test]
fn what_comes_in_the_worst_order_keeps_the_bounds() {
    let secret = Secret::fixed(11);
    let mut both = Both::new(1, secret);
    // Somebody who knows the secret fills one set, in turn, so that each takes the other's counter.
    let one_set: Vec<u128> =
        (1..200_000).filter(|&key| secret.hash(key) as usize % SOURCE_SETS == 9).take(64).collect();
    for round in 0..2_000 {
        both.see(0, one_set[round % one_set.len()]);
        both.see(0, one_set[(round * 7) % 9]);
    }
    both.check(10);
    // All others are as exact as before.
    let other = (1..).find(|&key| secret.hash(key) as usize % SOURCE_SETS == 10).unwrap();
    (0..300).for_each(|_| both.see(0, other));
    let merged = both.check(usize::MAX);
    let found = merged.hitters.iter().find(|hitter| hitter.key == other).unwrap();
    assert_eq!(found.packets, 300..=300);
}

#[test]
fn random_keys_of_a_small_world_keep_the_bounds() {
    let mut random = Random(5);
    for round in 0..20 {
        let mut both = Both::new(1 + round % 3, Secret::fixed(round as u64));
        let world = 1 + random.next() % 5_000;
        for _ in 0..20_000 {
            let shard = random.next() as usize % both.shards.len();
            let key = u128::from(random.next() % world) << (random.next() % 2 * 64);
            both.see(shard, key);
        }
        both.check(1);
    }
}

#[test]
fn another_secret_chooses_other_sets() {
    let of = |secret: Secret| (0..64).map(|key| secret.hash(key) % 256).collect::<Vec<_>>();
    assert_ne!(of(Secret::fixed(1)), of(Secret::fixed(2)));
    assert_ne!(of(Secret::random()), of(Secret::random()));
    // Even over the sets, for the addresses of one network too.
    let secret = Secret::random();
    let mut sets = [0_u32; 256];
    for host in 0..65_536 {
        sets[(secret.hash(0xffff_c612_0000 + host) % 256) as usize] += 1;
    }
    assert!(sets.iter().all(|&count| (128..512).contains(&count)), "{sets:?}");
}

#[test]
fn windows_follow_each_other_and_the_last_but_one_is_forgotten() {
    let mut heavy = Heavy::new(Secret::fixed(1), 0);
    let see = |heavy: &mut Heavy, source| heavy.note(Seen { source, destination: 0, port: None });
    let found = |heavy: &mut Heavy, now_ns| {
        let mut windows = Box::new(Windows::new(0));
        heavy.copy_to(&mut windows, now_ns);
        let merged = merge::merged(&[windows], By::Source, 9);
        let hitters = merged.hitters.iter().map(|it| (it.key, *it.packets.end()));
        (hitters.collect::<Vec<_>>(), merged.since_ns)
    };
    see(&mut heavy, 1);
    heavy.burst(WINDOW_NS - 1);
    see(&mut heavy, 1);
    heavy.burst(WINDOW_NS);
    see(&mut heavy, 2);
    assert_eq!(found(&mut heavy, WINDOW_NS), (vec![(1, 2), (2, 1)], 0));
    let later_ns = 2 * WINDOW_NS + 5;
    assert_eq!(found(&mut heavy, later_ns), (vec![(2, 1)], WINDOW_NS));
    see(&mut heavy, 3);
    let much_later_ns = 9 * WINDOW_NS;
    let nothing = (vec![], much_later_ns);
    assert_eq!(found(&mut heavy, much_later_ns), nothing, "after a silence nothing is there");
    // A clock that was read earlier on another core.
    heavy.burst(0);
}

#[test]
fn keys_are_read_back_as_what_they_were() {
    let mut heavy = Heavy::new(Secret::fixed(1), 0);
    let [source, destination] = ["198.18.0.7", "2001:db8::7"].map(|text| text.parse().unwrap());
    heavy.note(Seen::new(source, destination, Some((6, 443))));
    let mut windows = Box::new(Windows::new(0));
    heavy.copy_to(&mut windows, 0);
    let only = |by| merge::merged(std::slice::from_ref(&windows), by, 9).hitters.remove(0);
    assert_eq!(only(By::Source).address(), source);
    assert_eq!(only(By::Destination).address(), destination);
    assert_eq!(only(By::Port).port(), (6, 443));
}

#[test]
fn counting_and_copying_asks_for_no_memory() {
    let mut heavy = Heavy::new(Secret::fixed(1), 0);
    let mut windows = Box::new(Windows::new(0));
    let counts = allocation_counter::measure(|| {
        for packet in 0..10_000_u64 {
            heavy.burst(packet * 10_000_000);
            let source = u128::from(packet);
            heavy.note(Seen { source, destination: source / 7, port: Some((17, 9)) });
        }
        heavy.copy_to(&mut windows, 0);
    });
    assert_eq!(counts.count_total, 0);
}
