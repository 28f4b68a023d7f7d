//! Buckets against exact arithmetic, floods of invented sources, and clocks that are set.

use std::collections::HashMap;
use std::net::IpAddr;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn limiter(per_second: u64, burst: u64, buckets: u32) -> Limiter {
    Limiter::new(Rate { per_second, burst }, buckets, Key::fixed(7))
}

fn source(address: u32) -> Owner {
    Owner::Source(IpAddr::V4(address.into()))
}

fn slots(limiter: &Limiter) -> u64 {
    (limiter.groups.len() * SLOTS) as u64
}

/// How many of `tries` packets of one source at one moment are admitted.
fn admitted(limiter: &mut Limiter, address: u32, tries: u32, now_ns: u64) -> u32 {
    let one = |_: &u32| limiter.admit(&source(address), 1, now_ns) == Admission::Admitted;
    u32::try_from((0..tries).filter(one).count()).unwrap()
}

#[test]
fn a_new_source_has_its_whole_burst_and_then_its_rate() {
    let mut limiter = limiter(10, 5, 64);
    assert_eq!(admitted(&mut limiter, 1, 9, 0), 5);
    // A tenth of a second is one token, and not one nanosecond earlier.
    assert_eq!(admitted(&mut limiter, 1, 9, SECOND / 10 - 1), 0);
    assert_eq!(admitted(&mut limiter, 1, 9, SECOND / 10), 1);
    assert_eq!(admitted(&mut limiter, 1, 9, SECOND), 5);
}

#[test]
fn asking_often_does_not_round_the_refill_away() {
    // One packet a second, asked about every 999,983 ns (a prime) for 100 s.
    let mut limiter = limiter(1, 1, 64);
    let mut count = 0;
    for now_ns in (0..=100 * SECOND).step_by(999_983) {
        count += admitted(&mut limiter, 1, 1, now_ns);
    }
    // The first one at once. A token is noticed up to one step late, but what is over stays.
    assert_eq!(count, 1 + 99);
}

#[test]
fn bits_of_a_fast_link_are_counted_to_the_bit() {
    // 100 Gbit/s and a burst of one second, in packets of 1,500 octets.
    let mut limiter = limiter(100_000_000_000, 100_000_000_000, 64);
    let (mut passed, packet) = (0_u64, 12_000);
    while limiter.admit(&source(1), packet, 0) == Admission::Admitted {
        passed += u64::from(packet);
    }
    assert_eq!(passed, 100_000_000_000 / 12_000 * 12_000);
    // 4,000 bits are left; 80 ns bring 8,000 more.
    assert_eq!(limiter.admit(&source(1), packet, 79), Admission::Over);
    assert_eq!(limiter.admit(&source(1), packet, 80), Admission::Admitted);
    assert_eq!(limiter.admit(&source(1), 1, 80), Admission::Over);
}

#[test]
fn a_packet_larger_than_the_burst_never_passes_and_spends_nothing() {
    let mut limiter = limiter(1000, 1000, 8);
    for second in 0..20 {
        assert_eq!(limiter.admit(&source(1), 1001, second * SECOND), Admission::TableFull);
    }
    assert_eq!(limiter.admit(&source(1), 1000, 20 * SECOND), Admission::Admitted);
}

#[test]
fn a_long_silence_fills_the_bucket_and_no_more() {
    for rate in [1, u64::MAX] {
        let mut limiter = limiter(rate, 3, 64);
        assert_eq!(admitted(&mut limiter, 1, 9, 0), 3);
        assert_eq!(admitted(&mut limiter, 1, 9, u64::MAX / 2), 3);
        assert_eq!(admitted(&mut limiter, 1, 9, u64::MAX), 3);
    }
}

#[test]
fn time_that_stands_still_or_is_shaken_brings_nothing() {
    let mut limiter = limiter(1000, 1, 64);
    assert_eq!(admitted(&mut limiter, 1, 2, SECOND), 1);
    // Back and forth within a second, a thousand times: no token came in.
    for _ in 0..1000 {
        assert_eq!(admitted(&mut limiter, 1, 2, 0), 0);
        assert_eq!(admitted(&mut limiter, 1, 2, SECOND), 0);
    }
}

#[test]
fn a_clock_that_was_set_back_or_forth_costs_nobody_more_than_a_burst() {
    let mut limiter = limiter(10, 5, 64);
    let (day, hour) = (86_400 * SECOND, 3600 * SECOND);
    assert_eq!(admitted(&mut limiter, 1, 9, day), 5);
    // Set back by an hour: nothing comes in at that moment, and then all goes on as before.
    assert_eq!(admitted(&mut limiter, 1, 9, day - hour), 0);
    assert_eq!(admitted(&mut limiter, 1, 9, day - hour + SECOND / 10), 1);
    // Set forth again: one burst.
    assert_eq!(admitted(&mut limiter, 1, 9, day), 5);
    assert_eq!(admitted(&mut limiter, 1, 9, day), 0);
    // To both ends of time.
    assert_eq!(admitted(&mut limiter, 1, 9, 0), 0);
    assert_eq!(admitted(&mut limiter, 1, 9, u64::MAX), 5);
    assert_eq!(admitted(&mut limiter, 1, 9, 0), 0);
}

#[test]
fn a_random_walk_agrees_with_exact_arithmetic() {
    // Few sources in a large table: nobody is pushed out, so a map is the oracle.
    let (rate, burst) = (333_000, 7000);
    let mut limiter = limiter(rate, burst, 4096);
    let mut oracle: HashMap<u32, (u128, u64)> = HashMap::new();
    let nano = u128::from(SECOND);
    let full = u128::from(burst) * nano;
    let (mut now_ns, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    for step in 0..50_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        now_ns += random >> 44;
        let address = u32::try_from(random >> 33 & 15).unwrap();
        let cost = 1 + u32::try_from(random >> 20 & 0x7ff).unwrap();
        let (tokens, filled_at_ns) = oracle.entry(address).or_insert((full, now_ns));
        let came_in = u128::from(now_ns - *filled_at_ns) * u128::from(rate);
        (*tokens, *filled_at_ns) = ((*tokens + came_in).min(full), now_ns);
        let expected = *tokens >= u128::from(cost) * nano;
        *tokens -= if expected { u128::from(cost) * nano } else { 0 };
        let got = limiter.admit(&source(address), cost, now_ns) == Admission::Admitted;
        assert_eq!(got, expected, "step {step}");
    }
}

#[test]
fn no_number_of_invented_sources_gets_more_than_the_table_holds() {
    let mut limiter = limiter(2, 3, 64);
    let slots = slots(&limiter);
    let (mut passed, mut full) = (0_u64, 0_u64);
    // 100,000 sources, one packet each, within ten seconds.
    for address in 0..100_000_u32 {
        match limiter.admit(&source(address), 1, u64::from(address) * 100_000) {
            Admission::Admitted => passed += 1,
            Admission::TableFull => full += 1,
            Admission::Over => unreachable!("every source is new"),
        }
    }
    assert!(passed <= slots * (3 + 2 * 10), "{passed} passed");
    assert!(passed >= slots * 2 * 9, "{passed} passed: tokens were lost");
    assert_eq!(passed + full, 100_000);
    assert!(limiter.takeovers() > 0);
}

#[test]
fn a_source_over_its_limit_is_not_washed_out_by_others() {
    // One group only. The source spends all; then 7 others fill the group.
    let mut limiter = limiter(1, 4, 8);
    assert_eq!(slots(&limiter), 8);
    assert_eq!(admitted(&mut limiter, 1, 9, 0), 4);
    for other in 100..107 {
        assert_eq!(admitted(&mut limiter, other, 1, 0), 1);
    }
    assert_eq!(limiter.takeovers(), 0, "there was room");
    // 21 tokens are left among the 7, so 21 newcomers take over, and the 22nd finds nothing.
    for newcomer in 200..221 {
        assert_eq!(limiter.admit(&source(newcomer), 1, 0), Admission::Admitted);
    }
    assert_eq!(limiter.takeovers(), 21);
    assert_eq!(limiter.admit(&source(221), 1, 0), Admission::TableFull);
    assert_eq!(limiter.admit(&source(1), 1, 0), Admission::Over, "still remembered");
}

#[test]
fn an_idle_bucket_is_taken_without_loss_and_starts_full() {
    let mut limiter = limiter(1, 2, 8);
    for old in 0..8 {
        assert_eq!(admitted(&mut limiter, old, 9, 0), 2);
    }
    assert_eq!(limiter.admit(&source(50), 1, 0), Admission::TableFull);
    // Two seconds later all are full again.
    assert_eq!(admitted(&mut limiter, 50, 9, 2 * SECOND), 2);
    assert_eq!(limiter.takeovers(), 0);
}

#[test]
fn addresses_that_collide_under_one_key_are_spread_under_another() {
    let group = |key: Key, address: u32| source(address).tag(key) & 255;
    let (known, secret) = (Key::fixed(1), Key::fixed(2));
    // 1,000 addresses that all fall into group 0 for whoever knows the key.
    let chosen: Vec<u32> = (0..).filter(|&a| group(known, a) == 0).take(1000).collect();
    let mut groups = [0_u32; 256];
    for &address in &chosen {
        groups[usize::try_from(group(secret, address)).unwrap()] += 1;
    }
    // 3.9 are expected in each; 20 would be a sign of a structure that survives.
    assert!(groups.iter().all(|&count| count < 20), "{groups:?}");
}

#[test]
fn a_million_sources_are_told_apart_in_less_than_128_mib() {
    const MILLION: u32 = 1_000_000;
    let buckets = 2 * MILLION;
    let octets = Limiter::memory_octets(buckets);
    assert!(octets <= 128 << 20, "{octets} octets");
    let mut limiter = limiter(1, 2, buckets);
    assert_eq!(size_of_val(&*limiter.groups), octets);
    let invented = |n: u32| source(n.wrapping_mul(0x9e37_79b9));
    for round in 0..2 {
        let admitted = (0..MILLION)
            .filter(|&n| limiter.admit(&invented(n), 1, 0) == Admission::Admitted)
            .count();
        // A group that is asked for more than its 8 makes some of them share.
        assert!(admitted >= 980_000, "round {round}: {admitted} of a million");
    }
    assert!(limiter.takeovers() < 50_000, "{} shared", limiter.takeovers());
    // All have spent what they had, but for those of groups that nobody shared out.
    let third =
        (0..MILLION).filter(|&n| limiter.admit(&invented(n), 1, 0) == Admission::Admitted).count();
    assert!(third < 30_000, "{third} had a third one");
}
