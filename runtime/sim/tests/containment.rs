//! A service that breaks harms nobody else.

use super::services::*;
use crate::plan::{Policy, RESTART_DELAY_NS, Restart, ServicePlan};
use crate::report::Health;
use crate::sim::{Sim, SimPort, TURN_NS};

/// `obedient` breaks on demand, `echo` is its neighbour.
fn neighbours(restart: Restart) -> Sim {
    let services =
        vec![ServicePlan::of::<Obedient>("obedient", ()), ServicePlan::of::<Echo>("echo", ())];
    one_shard(services, Policy { restart, ..Policy::default() })
}

#[test]
fn a_panic_costs_its_own_burst_and_nobody_elses() {
    let mut sim = neighbours(Restart::Always);
    for verdict in [TRANSMIT, KEEP, PANIC, TRANSMIT] {
        sim.deliver(0, 0, &packet(verdict), 0);
    }
    sim.deliver(0, 0, &packet(77), 1);
    sim.turn();
    let report = sim.report(0);
    let [broken, neighbour] = &report.services[..] else { panic!("two services") };
    assert_eq!(broken.health, Health::AwaitsRestart);
    assert_eq!(
        (broken.stats().panics, broken.stats().settled_transmit, broken.stats().reclaimed_frames),
        (1, 1, 3)
    );
    assert_eq!((broken.stats().held_frames, broken.stats().leaked_frames), (0, 0));
    assert_eq!((neighbour.stats().settled_transmit, neighbour.stats().panics), (1, 0));
    assert_eq!(sim.sent(0, 0), [packet(TRANSMIT), packet(77)]);
    sim.check();
}

#[test]
fn a_service_that_panicked_is_built_anew_after_the_delay_with_its_counters() {
    let mut sim = neighbours(Restart::Always);
    sim.deliver(0, 0, &packet(DROP), 0);
    sim.deliver(0, 0, &packet(PANIC), 0);
    sim.turn();
    sim.deliver(0, 0, &packet(DROP), 0);
    sim.turn();
    assert_eq!(sim.report(0).services[0].dropped("abandoned"), 1, "nobody is there");
    sim.pass(RESTART_DELAY_NS);
    sim.run_for(2 * TURN_NS);
    sim.deliver(0, 0, &packet(DROP), 0);
    sim.turn();
    let service = &sim.report(0).services[0];
    assert_eq!((&service.health, service.stats().restarts), (&Health::Running, 1));
    assert_eq!(service.dropped("on_request"), 2, "one before, one after");
    sim.check();
}

#[test]
fn a_service_that_fails_is_treated_alike() {
    let mut sim = neighbours(Restart::Never);
    sim.deliver(0, 0, &packet(FAIL), 0);
    sim.turn();
    let service = &sim.report(0).services[0];
    assert_eq!(service.health, Health::Failed("it said so".into()));
    assert_eq!((service.stats().failures, service.stats().restarts), (1, 0));
    sim.pass(10 * RESTART_DELAY_NS);
    sim.run_for(3 * TURN_NS);
    assert!(matches!(sim.report(0).services[0].health, Health::Failed(_)), "it stays away");
    sim.check();
}

#[test]
fn the_policy_bounds_restarts_per_minute() {
    let mut sim = neighbours(Restart::PerMinute(2));
    for _ in 0..5 {
        sim.deliver(0, 0, &packet(PANIC), 0);
        sim.turn();
        sim.pass(RESTART_DELAY_NS);
        sim.run_for(2 * TURN_NS);
    }
    let service = &sim.report(0).services[0];
    assert_eq!((service.stats().panics, service.stats().restarts), (3, 2));
    assert_eq!(service.health, Health::Panicked("it said so".into()));
    sim.check();
}

#[test]
fn a_frame_that_is_dropped_without_a_verdict_is_counted_and_comes_back() {
    let mut sim = neighbours(Restart::Never);
    for verdict in [LOSE, LOSE, TRANSMIT] {
        sim.deliver(0, 0, &packet(verdict), 0);
    }
    sim.turn();
    let report = sim.report(0);
    assert_eq!(report.services[0].stats().reclaimed_frames, 2);
    assert_eq!(report.services[1].stats().reclaimed_frames, 0);
    assert_eq!(report.ports[0].stats.reclaimed_frames, 2);
    sim.check();
}

#[test]
fn a_frame_that_is_forgotten_is_missed_as_soon_as_its_service_is_gone() {
    let mut sim = neighbours(Restart::Always);
    sim.deliver(0, 0, &packet(FORGET), 0);
    sim.turn();
    assert_eq!(sim.report(0).services[0].stats().held_frames, 1, "for all we know it still has it");
    sim.deliver(0, 0, &packet(PANIC), 0);
    sim.turn();
    let report = sim.report(0);
    assert_eq!((report.services[0].stats().leaked_frames, report.leaked), (1, 1));
    assert_eq!(report.unaccounted, 0, "lost, but we know by whom");
    sim.check();
    let last = sim.drain();
    assert_eq!((last[0].leaked, last[0].unaccounted), (1, 0));
}

#[test]
fn options_that_a_service_refuses_stop_the_start() {
    let mut sim = Sim::new(7);
    let ticker = ServicePlan::of::<Ticker>("ticker", 0);
    let error = sim.shard(&[SimPort::default()], vec![ticker], Policy::default()).unwrap_err();
    assert_eq!(error.to_string(), "service \"ticker\": period 0 ns; allowed is 1 and more");
}
