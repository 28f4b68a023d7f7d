//! Leaving: nothing new, nothing lost.

use super::services::*;
use crate::plan::{Policy, ServicePlan};
use crate::report::Health;
use crate::sim::TURN_NS;

#[test]
fn a_drain_delivers_what_is_in_the_rings_and_sends_the_answers() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    for octet in 0..60 {
        sim.deliver(0, 0, &packet(octet), 0);
    }
    let last = sim.drain();
    assert_eq!(sim.sent(0, 0).len(), 60, "sent = received");
    let report = &last[0];
    assert_eq!(report.services[0].health, Health::Finished);
    assert_eq!((report.unaccounted, report.leaked, report.drain_timed_out), (0, 0, false));
    let port = report.ports[0].stats;
    let places =
        [port.held_frames, port.ring_tx_frames, port.ring_rx_frames, port.completion_frames];
    assert_eq!(places, [0; 4]);
}

#[test]
fn packets_that_were_on_their_way_are_still_received() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    sim.turn();
    // The drain begins in the middle of traffic that ceases a little later.
    sim.begin_drain();
    for octet in 0..20 {
        sim.deliver(0, 0, &packet(octet), 0);
        sim.run_for(50 * TURN_NS);
    }
    let last = sim.drain();
    assert_eq!(last[0].services[0].stats().settled_transmit, 20);
    assert_eq!(last[0].services[0].dropped("abandoned"), 0);
}

#[test]
fn a_sleeper_is_told_at_once() {
    let ticker = ServicePlan::of::<Ticker>("ticker", 3_600_000_000_000);
    let mut sim = one_shard(vec![ticker], Policy::default());
    sim.turn();
    let before_ns = sim.now_ns();
    let last = sim.drain();
    assert_eq!(last[0].services[0].health, Health::Finished);
    assert!(sim.now_ns() - before_ns < 3_000_000, "2 ms of quiet, not an hour");
}

#[test]
fn a_link_that_takes_nothing_ends_the_drain_by_its_deadline_and_is_told() {
    let policy = Policy { drain_timeout_ns: 10_000_000, ..Policy::default() };
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], policy);
    sim.stall(0, 0, true);
    sim.deliver(0, 0, &packet(1), 0);
    let last = sim.drain();
    assert!(last[0].drain_timed_out);
    assert_eq!(
        (last[0].ports[0].stats.ring_tx_frames, last[0].unaccounted),
        (1, 0),
        "we know where it is"
    );
}

#[test]
fn a_link_that_takes_nothing_is_given_up_before_the_deadline() {
    let services =
        vec![ServicePlan::of::<Echo>("echo", ()), ServicePlan::of::<Ticker>("ticker", TURN_NS)];
    let mut sim = one_shard(services, Policy::default());
    sim.stall(0, 0, true);
    sim.deliver(0, 0, &packet(1), 0);
    // Past this the ticker has filled the ring and waits for room.
    sim.run_for(200 * TURN_NS);
    let before_ns = sim.now_ns();
    let last = sim.drain();
    assert!(sim.now_ns() - before_ns < 300_000_000, "the drain may take 5 s");
    assert!(!last[0].drain_timed_out);
    let port = last[0].ports[0].stats;
    assert_eq!((port.unsent_frames, port.ring_tx_frames, last[0].unaccounted), (64, 64, 0));
    assert_eq!(last[0].services[1].health, Health::Finished, "it was told");
    assert_eq!(port.held_frames, 0);
}

#[test]
fn a_link_that_takes_little_by_little_is_not_given_up() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    sim.stall(0, 0, true);
    for octet in 0..3 {
        sim.deliver(0, 0, &packet(octet), 0);
    }
    sim.turn();
    sim.begin_drain();
    for _ in 0..3 {
        // Longer than that without any, and it would be.
        sim.pass(150_000_000);
        sim.turn();
        assert!(sim.kernel(0, 0).transmit().is_some());
        sim.kernel(0, 0).complete(1);
        sim.turn();
    }
    let last = sim.drain();
    let port = last[0].ports[0].stats;
    assert_eq!((port.unsent_frames, port.completed_frames), (0, 3));
    assert!(!last[0].drain_timed_out);
}

#[test]
fn a_service_that_awaits_its_restart_does_not_hold_up_the_drain() {
    let mut sim = one_shard(vec![ServicePlan::of::<Obedient>("obedient", ())], Policy::default());
    sim.deliver(0, 0, &packet(PANIC), 0);
    sim.turn();
    let last = sim.drain();
    assert!(!last[0].drain_timed_out);
    assert_eq!(
        last[0].services[0].health,
        Health::Failed("the drain came before its restart".into())
    );
}

#[test]
fn frames_that_a_service_kept_come_back_with_its_end() {
    let mut sim = one_shard(vec![ServicePlan::of::<Obedient>("obedient", ())], Policy::default());
    sim.deliver(0, 0, &packet(KEEP), 0);
    let last = sim.drain();
    assert_eq!((last[0].services[0].stats().reclaimed_frames, last[0].leaked), (1, 0));
    assert_eq!(last[0].ports[0].stats.held_frames, 0);
}
