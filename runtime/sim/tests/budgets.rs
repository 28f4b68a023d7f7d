//! What a service may hold, and how long it may go on.

use super::services::*;
use crate::burst::{Delivery, Frames};
use crate::context::ShardContext;
use crate::plan::{Policy, ServicePlan};
use crate::service::{Build, BuildError, Service, ServiceError};
use crate::sim::TURN_NS;

#[test]
fn frames_over_the_budget_are_dropped_and_neighbours_do_not_notice() {
    let services = vec![
        ServicePlan::of::<Obedient>("hoarder", ()).held_frames_max(10),
        ServicePlan::of::<Echo>("echo", ()),
    ];
    let mut sim = one_shard(services, Policy::default());
    for _ in 0..5 {
        for _ in 0..8 {
            sim.deliver(0, 0, &packet(KEEP), 0);
        }
        sim.deliver(0, 0, &packet(1), 1);
        sim.turn();
    }
    let report = sim.report(0);
    let [hoarder, neighbour] = &report.services[..] else { panic!("two services") };
    assert_eq!((hoarder.stats().held_frames, hoarder.dropped("over_budget")), (10, 30));
    assert_eq!(neighbour.stats().settled_transmit, 5);
    sim.check();
}

/// Takes as many blank frames as it gets, and keeps them.
struct Greedy(Frames);

impl Service for Greedy {
    const KIND: &'static str = "greedy";
    type Options = ();

    fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self(Frames::new()))
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        while let Some(frame) = cx.take(0) {
            self.0.push(frame);
        }
        while cx.sleep_until(u64::MAX).await != Delivery::Drained {}
        Ok(())
    }
}

#[test]
fn blank_frames_count_against_the_budget_too() {
    let greedy = ServicePlan::of::<Greedy>("greedy", ()).held_frames_max(10);
    let mut sim = one_shard(vec![greedy], Policy::default());
    sim.turn();
    let service = &sim.report(0).services[0];
    assert_eq!((service.stats().held_frames, service.stats().taken_frames), (10, 10));
    sim.check();
    let last = sim.drain();
    assert_eq!(
        last[0].services[0].stats().reclaimed_frames,
        10,
        "they came back with their owner's end"
    );
    assert_eq!(last[0].leaked, 0);
}

/// Never waits for anything that is not there already.
struct Restless;

impl Service for Restless {
    const KIND: &'static str = "restless";
    type Options = ();

    fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        loop {
            // Also when the shard drains: it does not listen.
            let _ = cx.sleep_until(0).await;
        }
    }
}

#[test]
fn a_service_that_never_waits_leaves_its_neighbours_their_turns() {
    let services =
        vec![ServicePlan::of::<Restless>("restless", ()), ServicePlan::of::<Echo>("echo", ())];
    let mut sim = one_shard(services, Policy::default());
    sim.deliver(0, 0, &packet(1), 1);
    sim.run_for(3 * TURN_NS);
    assert_eq!(sim.sent(0, 0).len(), 1);
    assert!(!sim.inside(0).may_sleep(), "it wants to go on at once");
}

#[test]
fn a_service_that_does_not_listen_is_dropped_at_the_end_of_the_drain() {
    let policy = Policy { drain_timeout_ns: 5_000_000, ..Policy::default() };
    let services =
        vec![ServicePlan::of::<Restless>("restless", ()), ServicePlan::of::<Echo>("echo", ())];
    let mut sim = one_shard(services, policy);
    sim.turn();
    let last = sim.drain();
    assert!(last[0].drain_timed_out);
    assert_eq!(last[0].unaccounted, 0);
}
