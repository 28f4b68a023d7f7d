//! Deadlines, sleeps and clocks.

use super::services::*;
use crate::burst::{Burst, Delivery};
use crate::context::ShardContext;
use crate::metrics::{Counter, Gauge};
use crate::plan::{Policy, ServicePlan};
use crate::service::{Build, BuildError, Service, ServiceError};
use crate::sim::TURN_NS;
use crate::verdict::Verdict;

#[test]
fn a_sleeper_is_woken_in_the_first_turn_at_or_after_its_time() {
    let ticker = ServicePlan::of::<Ticker>("ticker", 2_500);
    let mut sim = one_shard(vec![ticker], Policy::default());
    let start_ns = sim.now_ns();
    sim.run_for(20 * TURN_NS);
    let stamps: Vec<u64> = sim
        .sent(0, 0)
        .iter()
        .map(|packet| u64::from_be_bytes(packet[..8].try_into().unwrap()) - start_ns)
        .collect();
    assert_eq!(stamps, [3_000, 5_000, 8_000, 10_000, 13_000, 15_000, 18_000]);
}

/// Counts what its waits end with.
struct Patient {
    received: Counter,
    timed_out: Counter,
    tai_ns: Gauge,
    tai_at_zero_ns: Gauge,
}

const PATIENCE_NS: u64 = 10 * TURN_NS;

impl Service for Patient {
    const KIND: &'static str = "patient";
    type Options = ();

    fn build(_: &(), build: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self {
            received: build.counter("received", "Waits that ended with frames"),
            timed_out: build.counter("timed_out", "Waits that ended without"),
            tai_ns: build.gauge("tai_ns", "The time"),
            tai_at_zero_ns: build.gauge("tai_at_zero_ns", "TAI when the clock shows 0"),
        })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut burst = Burst::default();
        loop {
            let deadline_ns = cx.now_ns() + PATIENCE_NS;
            match cx.recv_until(&mut burst, deadline_ns).await {
                Delivery::Received => cx.count(self.received, 1),
                Delivery::TimedOut => cx.count(self.timed_out, 1),
                Delivery::Drained => return Ok(()),
            }
            cx.set(self.tai_ns, cx.tai_ns());
            cx.set(self.tai_at_zero_ns, cx.tai_at_zero_ns());
            assert_eq!(cx.moment_ns(), cx.now_ns(), "on `sim` a turn takes no time");
            for frame in burst.frames.drain(..) {
                cx.settle(frame, Verdict::Consumed);
            }
        }
    }
}

#[test]
fn a_deadline_that_moves_on_with_every_burst_fires_only_after_silence() {
    let mut sim = one_shard(vec![ServicePlan::of::<Patient>("patient", ())], Policy::default());
    for _ in 0..100 {
        sim.deliver(0, 0, &packet(0), 0);
        sim.run_for(9 * TURN_NS);
    }
    let service = &sim.report(0).services[0];
    assert_eq!((service.counter("received"), service.counter("timed_out")), (100, 0));
    sim.run_for(35 * TURN_NS);
    let service = &sim.report(0).services[0];
    assert_eq!((service.counter("received"), service.counter("timed_out")), (100, 4));
}

#[test]
fn a_wait_that_found_its_frames_leaves_no_timer_that_polls_for_nothing() {
    let mut sim = one_shard(vec![ServicePlan::of::<Patient>("patient", ())], Policy::default());
    sim.run_for(2 * TURN_NS);
    let polls = sim.report(0).services[0].stats().polls;
    sim.deliver(0, 0, &packet(0), 0);
    sim.run_for(9 * TURN_NS);
    assert_eq!(sim.report(0).services[0].stats().polls, polls + 1);
}

#[test]
fn tai_and_now_are_the_same_moment() {
    let mut sim = one_shard(vec![ServicePlan::of::<Patient>("patient", ())], Policy::default());
    sim.run_for(200 * TURN_NS);
    let tai_ns = sim.report(0).services[0].gauge("tai_ns");
    let ahead_ns = crate::sim::TAI_AT_ZERO_NS;
    assert!((1_000_000_000..=sim.now_ns()).contains(&(tai_ns - ahead_ns)));
    assert_eq!((tai_ns - ahead_ns) % TURN_NS, 0, "the time of a turn");
}

#[test]
fn a_step_of_tai_is_noticed_within_a_hundredth_of_a_second() {
    let mut sim = one_shard(vec![ServicePlan::of::<Patient>("patient", ())], Policy::default());
    sim.run_for(200 * TURN_NS);
    let at_zero = crate::sim::TAI_AT_ZERO_NS;
    let mut seen = |step_ns| {
        sim.step_tai(step_ns);
        sim.run_for(10_000_000 + PATIENCE_NS);
        sim.report(0).services[0].gauge("tai_at_zero_ns")
    };
    assert_eq!(seen(0), at_zero);
    assert_eq!(seen(-3_000_000_000), at_zero - 3_000_000_000);
    assert_eq!(seen(1), at_zero - 2_999_999_999);
}

#[test]
fn the_next_deadline_is_known_before_a_sleep() {
    let ticker = ServicePlan::of::<Ticker>("ticker", 1_000_000);
    let mut sim = one_shard(vec![ticker], Policy::default());
    let start_ns = sim.now_ns();
    sim.turn();
    sim.turn();
    assert!(sim.inside(0).may_sleep());
    assert_eq!(sim.inside(0).next_deadline_ns(), Some(start_ns + 1_000_000));
}

#[test]
fn busy_and_idle_time_add_up() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    sim.run_for(10 * TURN_NS);
    let before = sim.report(0).stats;
    for _ in 0..10 {
        sim.deliver(0, 0, &packet(1), 0);
        sim.turn();
        sim.run_for(4 * TURN_NS);
    }
    let after = sim.report(0).stats;
    assert_eq!(after.turns - before.turns, 50);
    // The completion that comes back makes a turn busy as well.
    assert_eq!(after.busy_turns - before.busy_turns, 20);
    assert_eq!(after.busy_ns - before.busy_ns, 20 * TURN_NS);
    assert_eq!((after.longest_turn_ns, after.long_turns), (TURN_NS, 0));
    assert_eq!(after.total_ns, (after.turns - 1) * TURN_NS);
}
