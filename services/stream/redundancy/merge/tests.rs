//! The account against packets by hand, and against a model of two bad networks.

use std::collections::HashSet;

use tidegate_runtime::sim::Random;

use super::super::SkewClass;
use super::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

fn one(first: u32) -> Merge {
    let mut merge = Merge::new(Memory::ONE_PATH);
    merge.begin(0, first, 0);
    merge
}

/// Two paths of 100,000 packets a second.
fn two(class: SkewClass, first: u32) -> Merge {
    let mut merge = Merge::new(Memory::two_paths(class.skew(), 100_000));
    merge.begin(0, first, 0);
    merge
}

#[test]
fn counts_through_the_wrap_of_32_bits() {
    let mut merge = one(u32::MAX - 1);
    assert_eq!(merge.arrive(0, u32::MAX, 0), Arrival::Newest((1 << 33) - 1));
    assert_eq!(merge.arrive(0, 1, 0), Arrival::Newest((1 << 33) + 1));
    assert_eq!(merge.arrive(0, 0, 0), Arrival::Older(1 << 33));
    assert_eq!(merge.arrive(0, u32::MAX, 0), Arrival::Duplicate);
    assert_eq!(merge.finish().lost, 0);
}

#[test]
fn counts_through_the_wrap_of_16_bits() {
    let mut merge = two(SkewClass::A, 65_534);
    for sequence in [65_535, 0, 1, 2_u16] {
        assert!(matches!(merge.arrive_short(0, sequence, 0), Arrival::Newest(_)), "{sequence}");
    }
    for sequence in [65_534, 65_535, 0, 2_u16] {
        assert_eq!(merge.arrive_short(1, sequence, 0), Arrival::Copy, "{sequence}");
    }
    let counts = merge.finish();
    assert_eq!((counts.received, counts.lost), (5, 0));
    assert_eq!([counts.paths[0].lost, counts.paths[1].lost], [0, 1]);
}

#[test]
fn what_came_before_the_first_is_too_late_and_not_lost() {
    let mut merge = one(100);
    assert_eq!(merge.arrive(0, 99, 0), Arrival::TooLate);
    assert_eq!(merge.arrive(0, 100, 0), Arrival::Duplicate);
    let counts = merge.finish();
    assert_eq!((counts.received, counts.lost, counts.paths[0].late), (1, 0, 0));
}

#[test]
fn what_the_slower_path_brings_of_before_the_first_belongs_to_the_run() {
    let mut merge = two(SkewClass::A, 100);
    merge.arrive(0, 101, 0);
    merge.tick(0);
    assert_eq!(merge.arrive(1, 97, MS), Arrival::Older((1 << 32) + 97));
    assert_eq!(merge.arrive(1, 100, MS), Arrival::Copy);
    merge.tick(11 * MS);
    assert_eq!(merge.arrive(1, 96, 12 * MS), Arrival::TooLate, "when the first is judged");
    let counts = merge.finish();
    assert_eq!((counts.received, counts.lost), (3, 2));
    assert_eq!(counts.paths.map(|path| path.lost), [3, 3]);
}

#[test]
fn on_one_path_a_gap_is_lost_when_8192_later_ones_have_come() {
    let mut merge = one(0);
    merge.arrive(0, 3, 0);
    for number in 4..8192 {
        merge.arrive(0, number, 0);
        merge.tick(u64::from(number) * MS);
    }
    assert_eq!(merge.counts().lost, 0, "1 and 2 may still come");
    assert_eq!(merge.arrive(0, 2, 0), Arrival::Older((1 << 32) + 2));
    for number in 8192..8192 + 128 {
        merge.arrive(0, number, 0);
    }
    assert_eq!(merge.counts().lost, 1);
    assert_eq!(merge.arrive(0, 1, 0), Arrival::TooLate);
    assert_eq!(merge.arrive(0, 1, 0), Arrival::Duplicate);
    let counts = merge.finish();
    assert_eq!((counts.lost, counts.paths[0].late, counts.paths[0].duplicates), (1, 1, 1));
}

#[test]
fn a_jump_over_the_memory_loses_everything_between() {
    for merge in [&mut one(0), &mut two(SkewClass::D, 0)] {
        merge.arrive(0, 100_001, 0);
        assert_eq!(merge.finish().lost, 100_000);
        assert_eq!(merge.finish().lost, 100_000, "once");
        assert_eq!(merge.counts().paths[0].lost, 100_000);
        assert_eq!(merge.arrive(0, 100_001, 0), Arrival::Duplicate);
    }
}

#[test]
fn the_same_loss_on_both_paths_is_counted_as_exactly_that_when_the_skew_has_passed() {
    let mut merge = two(SkewClass::A, 0);
    for number in 1..1000_u32 {
        let now_ns = u64::from(number) * 10 * US;
        if ![300, 301, 302, 500].contains(&number) {
            merge.arrive(0, number, now_ns);
        }
        // 1 ms behind.
        if let Some(number) =
            number.checked_sub(100).filter(|it| ![300, 301, 302, 700].contains(it))
        {
            merge.arrive(1, number, now_ns);
        }
        merge.tick(now_ns);
        let lost = merge.counts().lost;
        // 300 was overtaken at 3.01 ms, and is judged 10 ms later.
        assert_eq!(lost, 0, "{number}");
    }
    let tick = |merge: &mut Merge, us: u64| {
        merge.tick(us * US);
        merge.counts().lost
    };
    assert_eq!(tick(&mut merge, 13_000), 0, "it may still come");
    assert_eq!(tick(&mut merge, 13_200), 3);
    assert_eq!(merge.arrive(1, 301, 13_300 * US), Arrival::TooLate);
    let counts = merge.finish();
    assert_eq!((counts.received, counts.lost), (997, 3));
    assert_eq!((counts.paths[0].lost, counts.paths[0].late), (4, 0));
    assert_eq!((counts.paths[1].lost, counts.paths[1].late), (3 + 1 + 100, 1));
    assert_eq!((counts.paths[1].behind_ns, counts.paths[0].behind_ns_max), (MS, 0));
}

#[test]
fn a_path_that_never_speaks_has_lost_everything_and_is_not_waited_for() {
    let mut merge = two(SkewClass::A, 7);
    for number in 8..10_000 {
        let now_ns = u64::from(number) * 10 * US;
        merge.arrive(0, number, now_ns);
        merge.tick(now_ns);
        assert_eq!(merge.is_alone(now_ns), now_ns > 30 * MS, "{number}");
    }
    let counts = merge.finish();
    assert_eq!((counts.received, counts.lost), (9_993, 0));
    assert_eq!((counts.paths[1].received, counts.paths[1].lost), (0, 9_993));
}

#[test]
fn a_path_that_comes_back_is_waited_for_again_whichever_is_the_faster_now() {
    let mut merge = two(SkewClass::A, 0);
    let (mut leads, mut copies) = (0, 0);
    for number in 1..50_000_u32 {
        let now_ns = u64::from(number) * 10 * US;
        // The first is gone from 100 to 300 ms, and comes back 2 ms behind the second.
        if !(10_000..30_000).contains(&number) {
            let behind = if number < 10_000 { 0 } else { 200 };
            let arrival = merge.arrive(0, number - behind, now_ns);
            copies += u64::from(arrival == Arrival::Copy && number >= 30_000);
        }
        let arrival = merge.arrive(1, number, now_ns);
        leads += u64::from(matches!(arrival, Arrival::Newest(_)));
        merge.tick(now_ns);
        match number {
            9_999 | 12_000 | 31_000 => assert!(!merge.is_alone(now_ns), "{number}"),
            14_000 | 29_999 => assert!(merge.is_alone(now_ns), "{number}"),
            _ => {}
        }
    }
    assert_eq!((leads, copies), (40_000, 20_000 - 200 + 200));
    let counts = merge.finish();
    assert_eq!((counts.lost, counts.paths[1].behind_ns), (0, 0));
    assert_eq!(counts.paths[0].behind_ns, 2 * MS);
    assert_eq!(counts.paths[0].lost, 20_000 - 200 + 200);
}

#[test]
fn a_packet_behind_by_more_than_the_skew_is_late_and_lost_on_its_path_alone() {
    let mut merge = two(SkewClass::D, 0);
    for number in 1..2_000_u32 {
        let now_ns = u64::from(number) * 10 * US;
        merge.arrive(0, number, now_ns);
        // 300 us behind, of 150.
        if number > 30 {
            assert_eq!(merge.arrive(1, number - 30, now_ns), Arrival::TooLate, "{number}");
        }
        merge.tick(now_ns);
    }
    let counts = merge.finish();
    assert_eq!((counts.received, counts.lost), (2_000, 0));
    assert_eq!((counts.paths[1].lost, counts.paths[1].late), (2_000, 1_969));
}

#[test]
fn what_a_class_remembers_is_bits_and_not_much() {
    let octets = |class: SkewClass, rate| {
        let merge = Merge::new(Memory::two_paths(class.skew(), rate));
        merge.words.len() * size_of_val(&merge.words[0])
    };
    assert_eq!(octets(SkewClass::C, 864_000), 128 << 10);
    assert_eq!(octets(SkewClass::A, 216_000), 4 << 10);
}

/// What a model that forgets nothing says, of paths that lose, duplicate, reorder and are late.
struct Model {
    first: u32,
    newest: u64,
    /// In time, by path.
    came: [HashSet<u64>; PATHS],
    /// Not in time.
    late: [HashSet<u64>; PATHS],
    path_newest: [u64; PATHS],
    counts: [PathCounts; PATHS],
}

impl Model {
    fn judge(&mut self, path: usize, number: u64, in_time: bool) -> Arrival {
        let counts = &mut self.counts[path];
        if self.came[path].contains(&number) || self.late[path].contains(&number) {
            counts.duplicates += 1;
            return Arrival::Duplicate;
        }
        if !in_time {
            counts.late += 1;
            self.late[path].insert(number);
            return Arrival::TooLate;
        }
        self.came[path].insert(number);
        counts.reordered += u64::from(number < self.path_newest[path]);
        self.path_newest[path] = self.path_newest[path].max(number);
        let continued = (1 << 32) + u64::from(self.first) + number;
        let other = self.came[1 - path].contains(&number);
        match number > self.newest {
            true => {
                self.newest = number;
                Arrival::Newest(continued)
            }
            false if other => Arrival::Copy,
            false => Arrival::Older(continued),
        }
    }
}

/// Delivery loses, duplicates, reorders and delays on either path by itself; some packets are lost
/// on both, some are so late that they must not count.
#[test]
fn agrees_with_a_model_that_forgets_nothing() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for seed in seed..seed + 30 {
        eprintln!("SEED={seed}");
        let mut random = Random::new(seed);
        let class = [SkewClass::A, SkewClass::B, SkewClass::D][random.below(3) as usize];
        let skew_ns = class.skew().ns();
        // The wrap of 32 bits, or of 16, is on the way.
        let first = [u32::MAX - 10_000, 60_000][random.below(2) as usize];
        let step_ns = skew_ns / (15 + random.below(1000));
        let lag_ns = [random.below(skew_ns / 2), random.below(skew_ns / 2)];
        let dead = [random.below(30_000), random.below(30_000)];
        let mut deliveries: Vec<(u64, usize, u64, bool)> = Vec::new();
        for number in 1..40_000 {
            let lost_on_both = random.chance(5);
            for path in 0..PATHS {
                let gone = (dead[path]..dead[path] + 5_000).contains(&number) && path == 0;
                if lost_on_both || gone || random.chance(20) {
                    continue;
                }
                let late = random.chance(3);
                for copy in 0..=u64::from(random.chance(10)) {
                    let jitter = if random.chance(100) { random.below(skew_ns / 4) } else { 0 };
                    // Beyond the granularity of marks and ticks, both far from the skew.
                    let by = if late { skew_ns * 3 / 2 } else { jitter };
                    let at_ns = MS + number * step_ns + lag_ns[path] + by + copy;
                    deliveries.push((at_ns, path, number, late));
                }
            }
        }
        deliveries.sort_unstable();
        let mut merge = Merge::new(Memory::two_paths(class.skew(), 1_000_000_000 / step_ns));
        merge.begin(0, first, 0);
        let mut model = Model {
            first,
            newest: 0,
            came: [HashSet::from([0]), HashSet::new()],
            late: Default::default(),
            path_newest: [0; PATHS],
            counts: Default::default(),
        };
        for &(now_ns, path, number, late) in &deliveries {
            // At the end packets are rare, and time passes between them.
            merge.tick(now_ns);
            let arrival = match random.chance(500) && first < u32::MAX / 2 {
                true => {
                    merge.arrive_short(path, (first as u16).wrapping_add(number as u16), now_ns)
                }
                false => merge.arrive(path, first.wrapping_add(number as u32), now_ns),
            };
            // A late packet is too late only where the head has gone on without it.
            let in_time = !late || number > model.newest;
            assert_eq!(arrival, model.judge(path, number, in_time), "{number} by {path}");
        }
        let counts = merge.finish();
        let all = model.newest + 1;
        let by_any = model.came[0].union(&model.came[1]).count() as u64;
        assert_eq!((counts.received, counts.lost), (by_any, all - by_any));
        for (path, (counts, expected)) in counts.paths.iter().zip(&model.counts).enumerate() {
            assert_eq!(counts.received, model.came[path].len() as u64);
            assert_eq!(counts.received + counts.lost, all, "path {path}");
            let words = |it: &PathCounts| (it.duplicates, it.reordered, it.late);
            assert_eq!(words(counts), words(expected), "path {path}");
            assert!(counts.behind_ns_max <= skew_ns, "{}", counts.behind_ns_max);
        }
        assert!(counts.lost > 100 && counts.paths[0].late > 10 && counts.paths[1].reordered > 100);
    }
}
