//! The wheel against a sorted map, and each trap once.

use std::collections::BTreeMap;

use super::*;

const NONE_DUE: [u32; 0] = [];

/// Fires into a list.
fn advance(wheel: &mut Wheel, now_ns: u64) -> Vec<u32> {
    let mut fired = Vec::new();
    let count = wheel.advance(now_ns, &mut |token| fired.push(token));
    assert_eq!(count as usize, fired.len());
    fired
}

#[test]
fn fires_at_the_nanosecond_and_not_before() {
    let mut wheel = Wheel::new(4, 0);
    wheel.insert(1_500, 7).unwrap();
    assert_eq!(advance(&mut wheel, 1_499), NONE_DUE, "same tick, one nanosecond early");
    assert_eq!(advance(&mut wheel, 1_500), [7]);
    assert_eq!(advance(&mut wheel, 9_000), NONE_DUE, "once only");
    assert!(wheel.is_empty());
}

#[test]
fn fires_in_order_of_deadline_and_within_a_tick_of_insertion() {
    let mut wheel = Wheel::new(8, 0);
    for (token, deadline_ns) in [5_000_000, 90_000, 2_100, 2_060, 70_000_000_000].iter().enumerate()
    {
        wheel.insert(*deadline_ns, u32::try_from(token).unwrap()).unwrap();
    }
    assert_eq!(advance(&mut wheel, u64::MAX), [2, 3, 1, 0, 4]);
}

#[test]
fn a_deadline_already_past_is_due_at_once() {
    let mut wheel = Wheel::new(2, 1_000_000_000);
    wheel.insert(3, 1).unwrap();
    assert_eq!(wheel.next_deadline_ns(), Some(3));
    assert_eq!(advance(&mut wheel, 1_000_000_000), [1]);
}

#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let mut wheel = Wheel::new(2, 0);
    advance(&mut wheel, 1_000_000);
    wheel.insert(900_000, 1).unwrap();
    wheel.insert(1_000_001, 2).unwrap();
    assert_eq!(advance(&mut wheel, 500_000), [1], "time is still 1 ms");
    assert_eq!(advance(&mut wheel, 1_000_001), [2]);
}

#[test]
fn the_last_nanosecond_of_all_has_a_slot() {
    let mut wheel = Wheel::new(2, 0);
    wheel.insert(u64::MAX, 1).unwrap();
    assert_eq!(wheel.next_deadline_ns(), Some(u64::MAX));
    assert_eq!(advance(&mut wheel, u64::MAX - 1), NONE_DUE);
    assert_eq!(advance(&mut wheel, u64::MAX), [1]);
}

#[test]
fn a_full_wheel_says_so_and_takes_the_next_when_one_has_left() {
    let mut wheel = Wheel::new(2, 0);
    let first = wheel.insert(10, 1).unwrap();
    wheel.insert(20, 2).unwrap();
    let refusal = wheel.insert(30, 3).unwrap_err();
    assert_eq!(refusal, Full { capacity: 2 });
    assert_eq!(refusal.to_string(), "all 2 timers of this shard are in use");
    assert!(wheel.cancel(first));
    wheel.insert(30, 3).unwrap();
    assert_eq!(advance(&mut wheel, 100), [2, 3]);
}

#[test]
fn a_wheel_for_no_timers_is_full_and_idle() {
    let mut wheel = Wheel::new(0, 0);
    assert_eq!(wheel.insert(1, 1), Err(Full { capacity: 0 }));
    assert_eq!(wheel.next_deadline_ns(), None);
    assert_eq!(advance(&mut wheel, u64::MAX), NONE_DUE);
}

#[test]
fn an_id_of_a_fired_timer_cancels_nobody_else() {
    let mut wheel = Wheel::new(1, 0);
    let old = wheel.insert(10, 1).unwrap();
    assert_eq!(advance(&mut wheel, 10), [1]);
    let new = wheel.insert(20, 2).unwrap();
    assert_eq!(old.index, new.index, "the place is reused");
    assert!(!wheel.cancel(old));
    assert_eq!(advance(&mut wheel, 20), [2]);
    assert!(!wheel.cancel(new));
}

#[test]
fn a_panic_in_one_callback_loses_no_other_timer() {
    let mut wheel = Wheel::new(4, 0);
    for token in 0..4 {
        wheel.insert(100, token).unwrap();
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wheel.advance(100, &mut |token| assert_ne!(token, 1));
    }));
    assert!(result.is_err());
    assert_eq!(wheel.len(), 2);
    assert_eq!(advance(&mut wheel, 100), [2, 3]);
}

#[test]
fn allocates_nothing_after_it_was_made() {
    let mut wheel = Wheel::new(64, 0);
    let counts = allocation_counter::measure(|| {
        let mut now_ns = 0;
        for round in 0..1_000_u64 {
            let kept = wheel.insert(now_ns + round * round, 1).unwrap();
            wheel.insert(now_ns + 7, 2).unwrap();
            now_ns += round * 77;
            wheel.advance(now_ns, &mut |_| ());
            wheel.cancel(kept);
        }
    });
    assert_eq!(counts.count_total, 0);
}

/// Xorshift; enough for choosing operations.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A span of any size: every number of bits up to `bits` is as likely.
    fn span(&mut self, bits: u64) -> u64 {
        let size = self.below(bits) + 1;
        self.below(1 << size)
    }
}

/// What the wheel should do: timers by (tick counted, insertion).
#[derive(Default)]
struct Model {
    timers: BTreeMap<(u64, u64), (u32, u64, TimerId)>,
    inserted: u64,
}

impl Model {
    fn insert(&mut self, now_ns: u64, deadline_ns: u64, token: u32, id: TimerId) {
        let tick = (deadline_ns >> TICK_BITS).max(now_ns >> TICK_BITS);
        self.timers.insert((tick, self.inserted), (token, deadline_ns, id));
        self.inserted += 1;
    }

    fn fire(&mut self, now_ns: u64) -> Vec<u32> {
        let due = |(_, deadline_ns, _): &(u32, u64, TimerId)| *deadline_ns <= now_ns;
        let fired = self.timers.values().filter(|timer| due(timer)).map(|timer| timer.0).collect();
        self.timers.retain(|_, timer| !due(timer));
        fired
    }
}

#[test]
fn does_what_a_sorted_map_does_for_random_operations() {
    let seed = std::env::var("SEED").map_or(7_000, |seed| seed.parse().expect("a number"));
    for round in 0..40 {
        let seed = seed + round;
        println!("SEED={seed}"); // Shown only when the test fails.
        walk(seed);
    }
}

fn walk(seed: u64) {
    const CAPACITY: u32 = 200;
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut now_ns = random.span(62);
    let mut wheel = Wheel::new(CAPACITY, now_ns);
    let mut model = Model::default();
    let mut gone: Vec<TimerId> = Vec::new();
    for token in 0..3_000 {
        match random.below(10) {
            0..=4 => {
                // Mostly ahead by anything from nanoseconds to centuries, some past.
                let ahead_ns = random.span(58);
                let deadline_ns = match random.below(8) {
                    0 => now_ns.saturating_sub(ahead_ns),
                    _ => now_ns.saturating_add(ahead_ns),
                };
                match wheel.insert(deadline_ns, token) {
                    Ok(id) => model.insert(now_ns, deadline_ns, token, id),
                    Err(full) => {
                        assert_eq!(full, Full { capacity: CAPACITY });
                        assert_eq!(model.timers.len(), CAPACITY as usize);
                    }
                }
            }
            5 => {
                let skip = random.below(model.timers.len() as u64 + 1);
                let key = model.timers.keys().nth(usize::try_from(skip).unwrap()).copied();
                if let Some((_, _, id)) = key.and_then(|key| model.timers.remove(&key)) {
                    assert!(wheel.cancel(id));
                    gone.push(id);
                }
            }
            6 => assert!(gone.iter().all(|&id| !wheel.cancel(id))),
            choice => {
                // Nanoseconds to days: 2^50 ns is 13 days.
                let bits = if choice == 7 { 50 } else { 22 };
                now_ns = now_ns.saturating_add(random.span(bits));
                assert_eq!(advance(&mut wheel, now_ns), model.fire(now_ns));
            }
        }
        assert_eq!(wheel.len() as usize, model.timers.len());
        let earliest_ns = model.timers.values().map(|timer| timer.1).min();
        assert_eq!(wheel.next_deadline_ns(), earliest_ns);
    }
    assert_eq!(advance(&mut wheel, u64::MAX), model.fire(u64::MAX));
    assert!(wheel.is_empty());
}
