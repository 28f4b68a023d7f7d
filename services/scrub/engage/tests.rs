//! Floods, pauses and clocks, as counters and times.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn policy() -> Policy {
    let thresholds = Thresholds {
        packets_per_second: Some(1000),
        bits_per_second: None,
        new_flows_per_second: None,
        syn_per_second: Some(100),
        unanswered_syn_per_second: Some(50),
    };
    Policy { thresholds, below_thousandths: 500, after_ns: 10 * SECOND }
}

/// A destination that gets packets at rates, asked every 100 ms.
struct Run {
    engagement: Engagement,
    counts: Counts,
    now_ns: u64,
}

impl Run {
    fn new(policy: Policy) -> Self {
        let mut engagement = Engagement::new(policy);
        assert_eq!(engagement.tell(Counts::ZERO, 0), Advice::Keep);
        Self { engagement, counts: Counts::ZERO, now_ns: 0 }
    }

    /// `packets_per_second` for at most so long; ends with the first advice to change.
    fn packets(&mut self, packets_per_second: u64, for_ns: u64) -> (Advice, u64) {
        let begin = self.now_ns;
        while self.now_ns - begin < for_ns {
            self.now_ns += TELL_EVERY_NS;
            self.counts.packets += packets_per_second / 10;
            self.counts.octets += packets_per_second / 10 * 60;
            let advice = self.engagement.tell(self.counts, self.now_ns);
            if advice != Advice::Keep {
                return (advice, self.now_ns - begin);
            }
        }
        (Advice::Keep, for_ns)
    }
}

#[test]
fn engages_above_a_threshold_and_says_which() {
    let mut run = Run::new(policy());
    assert_eq!(run.packets(1000, 60 * SECOND).0, Advice::Keep, "at the threshold is not above it");
    assert!(!run.engagement.is_engaged());
    let (advice, after) = run.packets(2000, 5 * SECOND);
    let Advice::Engage(cause) = advice else { panic!("{advice:?}") };
    assert_eq!((cause.measure, cause.threshold), (Measure::Packets, 1000));
    assert_eq!(cause.to_string(), "1100 packets a second, above 1000");
    assert!(after <= SECOND, "{after} ns");
    assert!(run.engagement.is_engaged());
}

#[test]
fn ten_times_the_threshold_is_found_in_a_tenth_of_a_second() {
    let mut run = Run::new(policy());
    let (advice, after) = run.packets(20_000, SECOND);
    assert!(matches!(advice, Advice::Engage(_)));
    assert_eq!(after, TELL_EVERY_NS);
}

#[test]
fn a_burst_within_a_second_is_judged_by_the_second() {
    let mut run = Run::new(policy());
    run.packets(0, 2 * SECOND);
    // 90 SYNs at once are 90 a second, not 900.
    run.counts.syn += 90;
    run.now_ns += TELL_EVERY_NS;
    assert_eq!(run.engagement.tell(run.counts, run.now_ns), Advice::Keep);
    // 11 more within the same second are too many; a second later they would not be.
    run.counts.syn += 11;
    run.now_ns += 8 * TELL_EVERY_NS;
    let advice = run.engagement.tell(run.counts, run.now_ns);
    let Advice::Engage(cause) = advice else { panic!("{advice:?}") };
    assert_eq!((cause.measure, cause.rate), (Measure::Syn, 101));
}

#[test]
fn the_worst_measure_is_named() {
    let mut run = Run::new(policy());
    run.counts.syn += 1000;
    run.counts.unanswered_syn += 1000;
    run.counts.packets += 1100;
    run.now_ns += TELL_EVERY_NS;
    let advice = run.engagement.tell(run.counts, run.now_ns);
    let Advice::Engage(cause) = advice else { panic!("{advice:?}") };
    assert_eq!(cause.measure, Measure::UnansweredSyn);
}

#[test]
fn what_has_no_threshold_never_engages() {
    let none = Thresholds {
        packets_per_second: None,
        bits_per_second: None,
        new_flows_per_second: None,
        syn_per_second: None,
        unanswered_syn_per_second: None,
    };
    let mut run = Run::new(Policy { thresholds: none, ..policy() });
    assert_eq!(run.packets(u64::MAX / 1_000_000, 3 * SECOND).0, Advice::Keep);
}

#[test]
fn releases_only_after_calm_without_a_break() {
    let mut run = Run::new(policy());
    run.packets(20_000, SECOND);
    // Between calm and too much: neither.
    assert_eq!(run.packets(700, 60 * SECOND).0, Advice::Keep);
    assert_eq!(run.packets(400, 9 * SECOND).0, Advice::Keep);
    assert_eq!(run.packets(700, 2 * SECOND).0, Advice::Keep, "a break");
    let (advice, after) = run.packets(400, 60 * SECOND);
    assert_eq!(advice, Advice::Release);
    assert!((10 * SECOND..=12 * SECOND).contains(&after), "{after} ns");
    assert!(!run.engagement.is_engaged());
}

#[test]
fn an_attack_that_alternates_is_held_longer_each_time_and_not_for_ever() {
    let mut run = Run::new(policy());
    let mut waits = Vec::new();
    for _ in 0..10 {
        let (advice, _) = run.packets(20_000, SECOND);
        assert!(matches!(advice, Advice::Engage(_)), "{advice:?}");
        let (advice, after) = run.packets(0, 3600 * SECOND);
        assert_eq!(advice, Advice::Release);
        waits.push((after - SECOND).div_ceil(SECOND));
    }
    assert_eq!(waits[..4], [10, 20, 40, 80]);
    assert_eq!(waits[9], 640, "bounded: {waits:?}");
    // One that stays away is forgotten.
    run.packets(0, 640 * 5 * SECOND);
    run.packets(20_000, SECOND);
    assert_eq!(run.engagement.wait_ns(), 10 * SECOND);
}

#[test]
fn an_attack_that_alternates_faster_than_patience_never_flaps() {
    let mut run = Run::new(policy());
    let mut changes = 0;
    for _ in 0..100 {
        changes += u32::from(run.packets(20_000, SECOND).0 != Advice::Keep);
        changes += u32::from(run.packets(0, 8 * SECOND).0 != Advice::Keep);
    }
    assert_eq!(changes, 1, "engaged once, and held");
}

#[test]
fn a_clock_set_back_concludes_nothing_and_goes_on_from_there() {
    let mut run = Run::new(policy());
    run.packets(900, 3 * SECOND);
    run.now_ns = SECOND;
    run.counts.packets += 100_000;
    assert_eq!(run.engagement.tell(run.counts, run.now_ns), Advice::Keep);
    assert_eq!(run.packets(900, 20 * SECOND).0, Advice::Keep);
    assert!(matches!(run.packets(20_000, SECOND).0, Advice::Engage(_)));
    // Engaged, and set back in the midst of calm: calm begins anew.
    run.packets(0, 9 * SECOND);
    run.now_ns = 0;
    assert_eq!(run.engagement.tell(run.counts, 0), Advice::Keep);
    assert_eq!(run.packets(0, 9 * SECOND).0, Advice::Keep);
    assert_eq!(run.packets(0, 3 * SECOND).0, Advice::Release);
}

#[test]
fn a_clock_set_forward_or_a_silence_is_no_flood() {
    let mut run = Run::new(policy());
    run.packets(900, 3 * SECOND);
    // An hour in which 100,000 packets came is 28 a second.
    run.counts.packets += 100_000;
    run.now_ns += 3600 * SECOND;
    assert_eq!(run.engagement.tell(run.counts, run.now_ns), Advice::Keep);
    run.now_ns = u64::MAX - SECOND;
    assert_eq!(run.engagement.tell(run.counts, run.now_ns), Advice::Keep);
    assert_eq!(run.engagement.tell(run.counts, u64::MAX), Advice::Keep);
}

#[test]
fn counters_that_begin_anew_conclude_nothing() {
    let mut run = Run::new(policy());
    run.packets(900, 3 * SECOND);
    run.counts = Counts::ZERO;
    assert_eq!(run.packets(900, 3 * SECOND).0, Advice::Keep);
    assert!(matches!(run.packets(20_000, SECOND).0, Advice::Engage(_)));
}

#[test]
fn answered_late_a_syn_is_taken_back() {
    let mut run = Run::new(policy());
    run.counts.unanswered_syn = 40;
    run.packets(0, 3 * SECOND);
    run.counts.unanswered_syn = 10;
    assert_eq!(run.packets(0, SECOND).0, Advice::Keep);
}

#[test]
fn asked_at_any_pace_the_last_second_is_what_counts() {
    for pace in [1_000, 7_000_000, 99_999_999, 100_000_001, 333_333_333, 2 * SECOND] {
        let mut engagement = Engagement::new(policy());
        let (mut now_ns, mut advice) = (0, Advice::Keep);
        let end = (3 * SECOND).max(pace * 4).min(pace.saturating_mul(2_000_000));
        while now_ns < end && advice == Advice::Keep {
            let counts = Counts { packets: now_ns * 990 / SECOND, ..Counts::ZERO };
            advice = engagement.tell(counts, now_ns);
            now_ns += pace;
        }
        assert_eq!(advice, Advice::Keep, "asked every {pace} ns");
        let base = now_ns * 990 / SECOND;
        let begin = now_ns;
        while advice == Advice::Keep {
            assert!(now_ns - begin <= 5 * SECOND, "asked every {pace} ns");
            let packets = base + (now_ns - begin) * 3000 / SECOND;
            advice = engagement.tell(Counts { packets, ..Counts::ZERO }, now_ns);
            now_ns += pace;
        }
    }
}
