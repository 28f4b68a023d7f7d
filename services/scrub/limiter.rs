//! Token buckets, one per source address, in a table of fixed size.
//!
//! ```text
//! address ──SipHash, secret key──► group ► [ slot slot slot slot slot slot slot slot ]
//!                                              address, tokens, filled at
//! ```
//!
//! A slot that nobody took yet is a full bucket of nobody. A source that is
//! not in its group takes over the group's **fullest** bucket, *with the tokens
//! that are in it*. That one rule does everything:
//!
//! - While there is room, the fullest bucket is an idle one that filled up
//!   again: nothing is lost by taking it, and a new source starts full.
//! - A source over its limit has the emptiest bucket, so it is the last one to
//!   be forgotten: more sources do not wash it out.
//! - A take-over makes no tokens. However many addresses a flood invents, no
//!   more than `slots × (burst + rate × time)` packets get through, and a group
//!   without a token left admits nobody new ([`Admission::TableFull`]).
//!
//! The price: under a flood of more sources than slots, a new honest source
//! may start with less than its whole burst, or wait. Both are counted.

use super::siphash::Key;

/// Slots in a group: how far a source may lie from where its hash points.
///
/// 8 slots of 32 octets are four cache lines, read in order. In a table half
/// full, 1 group of 47 is asked for more sources than it has slots; with 4 slots
/// it would be 1 of 19, and with 16 a new source would cost eight cache lines.
const SLOTS: usize = 8;

/// Billionths of a token in a token. Tokens are kept in billionths, so that a
/// refill of `elapsed_ns × packets_per_second` is exact and never rounds away.
const NANO: u64 = 1_000_000_000;

/// What a limit allows to each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Packets per second in the long run, at least 1.
    pub(crate) packets_per_second: u32,
    /// Packets at once after a silence, at least 1.
    pub(crate) burst_packets: u32,
    /// Sources remembered at once. Rounded up to a power of two.
    pub(crate) sources: u32,
}

impl Limit {
    /// What a full bucket holds, in billionths. Below 2^62.
    const fn full(&self) -> u64 {
        self.burst_packets as u64 * NANO
    }
}

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There was a token.
    Admitted,
    /// The source has spent its tokens.
    Over,
    /// The source is new and no bucket of its group has a token for it.
    TableFull,
}

/// One source's bucket.
#[derive(Clone, Copy, Debug)]
struct Slot {
    source: u128,
    /// Tokens at `filled_at_ns`, in billionths.
    nano_tokens: u64,
    filled_at_ns: u64,
}

impl Slot {
    /// Adds what came in since the last time. `now_ns` does not run backwards;
    /// if it did, nothing would come in.
    fn refill(&mut self, limit: &Limit, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.filled_at_ns);
        let came_in = elapsed_ns.saturating_mul(u64::from(limit.packets_per_second));
        self.nano_tokens = self.nano_tokens.saturating_add(came_in).min(limit.full());
        self.filled_at_ns = self.filled_at_ns.max(now_ns);
    }

    /// Takes one token, if there is one.
    const fn spend(&mut self) -> bool {
        let enough = self.nano_tokens >= NANO;
        if enough {
            self.nano_tokens -= NANO;
        }
        enough
    }
}

/// The slots among which one source can be.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Group([Slot; SLOTS]);

const _: () = assert!(size_of::<Group>() == 256, "four cache lines, no padding");

/// The buckets of one limit. All memory is taken by [`Limiter::new`].
pub(crate) struct Limiter {
    limit: Limit,
    key: Key,
    groups: Box<[Group]>,
    /// Number of groups less one, all bits set.
    mask: u64,
    /// Put above an IPv4 address to make it 128 bits long. Secret, so that
    /// nobody can send IPv6 packets that spend the tokens of an IPv4 source.
    ipv4_prefix: u128,
    takeovers: u64,
}

impl Limiter {
    /// A table of full buckets.
    ///
    /// # Panics
    ///
    /// When a number in `limit` is zero: a bucket that can never be filled.
    pub(crate) fn new(limit: Limit, key: Key) -> Self {
        assert!(limit.packets_per_second > 0 && limit.burst_packets > 0 && limit.sources > 0);
        let count = (limit.sources as usize).div_ceil(SLOTS).next_power_of_two();
        let mask = count as u64 - 1;
        let ipv4_prefix = (u128::from(key.hash(0)) << 64) | u128::from(key.hash(1) >> 32 << 32);
        let nobody = Slot { source: !ipv4_prefix, nano_tokens: limit.full(), filled_at_ns: 0 };
        let groups = vec![Group([nobody; SLOTS]); count].into_boxed_slice();
        Self { limit, key, groups, mask, ipv4_prefix, takeovers: 0 }
    }

    /// Takes a token of the IPv4 source `address` if there is one.
    pub(crate) fn admit_ipv4(&mut self, address: u32, now_ns: u64) -> Admission {
        self.admit(self.ipv4_prefix | u128::from(address), now_ns)
    }

    /// Takes a token of the IPv6 source `address` if there is one.
    pub(crate) fn admit_ipv6(&mut self, address: u128, now_ns: u64) -> Admission {
        self.admit(address, now_ns)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask is less than a table's length")]
    fn admit(&mut self, source: u128, now_ns: u64) -> Admission {
        let limit = self.limit;
        let index = (self.key.hash(source) & self.mask) as usize;
        let Group(slots) = &mut self.groups[index];
        if let Some(slot) = slots.iter_mut().find(|slot| slot.source == source) {
            slot.refill(&limit, now_ns);
            return if slot.spend() { Admission::Admitted } else { Admission::Over };
        }
        let mut fullest = 0;
        for slot in 0..SLOTS {
            slots[slot].refill(&limit, now_ns);
            if slots[slot].nano_tokens > slots[fullest].nano_tokens {
                fullest = slot;
            }
        }
        let taken = &mut slots[fullest];
        let in_use = taken.nano_tokens < limit.full();
        if !taken.spend() {
            return Admission::TableFull;
        }
        taken.source = source;
        self.takeovers += u64::from(in_use);
        Admission::Admitted
    }

    /// How often a source took over a bucket that was still in use.
    pub(crate) const fn takeovers(&self) -> u64 {
        self.takeovers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const SECOND: u64 = NANO;

    fn limiter(packets_per_second: u32, burst_packets: u32, sources: u32) -> Limiter {
        Limiter::new(Limit { packets_per_second, burst_packets, sources }, Key::fixed(7))
    }

    fn slots(limiter: &Limiter) -> u64 {
        (limiter.groups.len() * SLOTS) as u64
    }

    /// How many of `tries` packets of one source at one moment are admitted.
    fn admitted(limiter: &mut Limiter, address: u32, tries: u32, now_ns: u64) -> u32 {
        let one = |_: &u32| limiter.admit_ipv4(address, now_ns) == Admission::Admitted;
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
    fn a_long_silence_fills_the_bucket_and_no_more() {
        let mut limiter = limiter(u32::MAX, 3, 64);
        assert_eq!(admitted(&mut limiter, 1, 9, 0), 3);
        assert_eq!(admitted(&mut limiter, 1, 9, u64::MAX / 2), 3);
        assert_eq!(admitted(&mut limiter, 1, 9, u64::MAX), 3);
    }

    #[test]
    fn time_that_stands_still_or_runs_back_brings_nothing() {
        let mut limiter = limiter(1000, 1, 64);
        assert_eq!(admitted(&mut limiter, 1, 2, SECOND), 1);
        assert_eq!(admitted(&mut limiter, 1, 2, 0), 0);
        assert_eq!(admitted(&mut limiter, 1, 2, SECOND), 0);
    }

    #[test]
    fn sources_are_apart_and_so_are_the_families() {
        let mut limiter = limiter(1, 1, 64);
        assert_eq!(limiter.admit_ipv4(0, 0), Admission::Admitted);
        assert_eq!(limiter.admit_ipv4(0, 0), Admission::Over);
        assert_eq!(limiter.admit_ipv4(1, 0), Admission::Admitted);
        // The same digits as IPv6: unspecified, compatible and mapped forms.
        for address in [0, 1, 0xffff_0000_0000, 0xffff_0000_0001] {
            assert_eq!(limiter.admit_ipv6(address, 0), Admission::Admitted, "{address:#x}");
        }
    }

    #[test]
    fn a_random_walk_agrees_with_exact_arithmetic() {
        // Few sources in a large table: nobody is pushed out, so a map is the oracle.
        let (rate, burst) = (333, 7);
        let mut limiter = limiter(rate, burst, 4096);
        let mut oracle: HashMap<u32, (u128, u64)> = HashMap::new();
        let full = u128::from(burst) * u128::from(NANO);
        let (mut now_ns, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
        for step in 0..50_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now_ns += random >> 44;
            let address = u32::try_from(random >> 33 & 15).unwrap();
            let (tokens, filled_at_ns) = oracle.entry(address).or_insert((full, now_ns));
            let came_in = u128::from(now_ns - *filled_at_ns) * u128::from(rate);
            (*tokens, *filled_at_ns) = ((*tokens + came_in).min(full), now_ns);
            let expected = *tokens >= u128::from(NANO);
            *tokens -= if expected { u128::from(NANO) } else { 0 };
            let got = limiter.admit_ipv4(address, now_ns) == Admission::Admitted;
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
            match limiter.admit_ipv4(address, u64::from(address) * 100_000) {
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
            assert_eq!(limiter.admit_ipv4(newcomer, 0), Admission::Admitted);
        }
        assert_eq!(limiter.takeovers(), 21);
        assert_eq!(limiter.admit_ipv4(221, 0), Admission::TableFull);
        assert_eq!(limiter.admit_ipv4(1, 0), Admission::Over, "still remembered");
    }

    #[test]
    fn an_idle_bucket_is_taken_without_loss_and_starts_full() {
        let mut limiter = limiter(1, 2, 8);
        for old in 0..8 {
            assert_eq!(admitted(&mut limiter, old, 9, 0), 2);
        }
        assert_eq!(limiter.admit_ipv4(50, 0), Admission::TableFull);
        // Two seconds later all are full again.
        assert_eq!(admitted(&mut limiter, 50, 9, 2 * SECOND), 2);
        assert_eq!(limiter.takeovers(), 0);
    }

    #[test]
    fn addresses_that_collide_under_one_key_are_spread_under_another() {
        let group = |key: Key, address: u32| key.hash(u128::from(address)) & 255;
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
}
