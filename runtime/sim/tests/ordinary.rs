//! What happens on an ordinary day.

use super::services::*;
use crate::plan::{Policy, ServicePlan};
use crate::sim::{Faults, Sim, SimPort, TURN_NS};
use crate::verdict::Verdict;

fn obedient() -> Sim {
    one_shard(vec![ServicePlan::of::<Obedient>("obedient", ())], Policy::default())
}

#[test]
fn a_frame_comes_back_in_the_turn_that_received_it() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    for octet in 0..5 {
        sim.deliver(0, 0, &packet(octet), 0);
    }
    sim.turn();
    let sent = sim.sent(0, 0);
    assert_eq!(sent, (0..5).map(|octet| packet(octet).to_vec()).collect::<Vec<_>>());
    assert_eq!(sim.report(0).services[0].counter("answers"), 5);
    assert_eq!(sim.kernel(0, 0).wakeups().0, 1, "one wake-up for all five");
    sim.check();
}

#[test]
fn every_verdict_leads_where_it_says_and_is_counted_once() {
    let mut sim = obedient();
    let verdicts = [TRANSMIT, REINJECT, REINJECT, CONSUME, CONSUME, CONSUME, DROP, DROP];
    for verdict in verdicts {
        sim.deliver(0, 0, &packet(verdict), 0);
    }
    sim.turn();
    assert_eq!(sim.sent(0, 0), [packet(TRANSMIT)]);
    assert_eq!(sim.reinjected(0, 0), [packet(REINJECT), packet(REINJECT)]);
    let service = &sim.report(0).services[0];
    let flow = service.stats();
    assert_eq!((flow.rx_frames, flow.rx_octets, flow.bursts), (8, 480, 1));
    assert_eq!((flow.settled_transmit, flow.settled_reinject, flow.settled_consumed), (1, 2, 3));
    assert_eq!((service.dropped("on_request"), service.stats().held_frames), (2, 0));
    sim.check();
}

#[test]
fn what_a_handler_leaves_in_the_burst_is_dropped_as_unsettled() {
    let mut sim = obedient();
    for verdict in [LEAVE, TRANSMIT, LEAVE] {
        sim.deliver(0, 0, &packet(verdict), 0);
    }
    sim.turn();
    let service = &sim.report(0).services[0];
    assert_eq!((service.dropped("unsettled"), service.stats().settled_transmit), (2, 1));
    sim.check();
}

#[test]
fn a_frame_that_is_nobodys_is_dropped_as_unclaimed() {
    let mut sim = obedient();
    sim.deliver(0, 0, &packet(TRANSMIT), 1);
    sim.deliver(0, 0, &packet(TRANSMIT), 9_999);
    sim.kernel(0, 0).deliver_bare(&packet(TRANSMIT));
    sim.turn();
    assert_eq!(sim.report(0).ports[0].stats.unclaimed_frames, 3);
    assert_eq!(sim.report(0).services[0].stats().rx_frames, 0);
    sim.check();
}

#[test]
fn two_services_on_one_shard_get_their_own_frames_only() {
    let echo = |name| ServicePlan::of::<Echo>(name, ());
    let mut sim = one_shard(vec![echo("one"), echo("other")], Policy::default());
    for octet in 0..30 {
        sim.deliver(0, 0, &packet(octet), u16::from(octet % 3 == 0));
    }
    sim.turn();
    let report = sim.report(0);
    let received = report.services.iter().map(|service| service.stats().rx_frames);
    assert_eq!(received.collect::<Vec<_>>(), [20, 10]);
    assert_eq!(sim.sent(0, 0).len(), 30);
    sim.check();
}

#[test]
fn a_frame_goes_out_of_the_port_that_it_came_from() {
    let mut sim = Sim::new(7);
    let echo = ServicePlan::of::<Echo>("echo", ()).selector(0, 4).selector(1, 2);
    sim.shard(&[SimPort::default(), SimPort::default()], vec![echo], Policy::default()).unwrap();
    sim.deliver(0, 0, &packet(10), 4);
    sim.deliver(0, 1, &packet(11), 2);
    sim.deliver(0, 1, &packet(12), 4);
    sim.turn();
    assert_eq!(sim.sent(0, 0), [packet(10)]);
    assert_eq!(sim.sent(0, 1), [packet(11)]);
    let report = sim.report(0);
    assert_eq!(report.services[0].stats().bursts, 1, "one burst over both ports");
    assert_eq!(report.ports[1].stats.unclaimed_frames, 1);
    sim.check();
}

#[test]
fn more_than_a_burst_takes_more_than_a_turn_and_none_is_lost() {
    let port =
        SimPort { umem_frames: 512, ring_entries: 256, fill_frames: 256, ..SimPort::default() };
    let mut sim = Sim::new(7);
    let echo = ServicePlan::of::<Echo>("echo", ()).selector(0, 0);
    sim.shard(&[port], vec![echo], Policy::default()).unwrap();
    for octet in 0..200 {
        sim.deliver(0, 0, &packet(octet), 0);
    }
    sim.turn();
    assert_eq!(sim.sent(0, 0).len(), 64);
    sim.run_for(3 * TURN_NS);
    assert_eq!(sim.sent(0, 0).len(), 136);
    assert_eq!(sim.report(0).services[0].stats().bursts, 4);
    sim.check();
}

#[test]
fn a_turn_with_traffic_allocates_nothing() {
    let services = vec![
        ServicePlan::of::<Obedient>("obedient", ()),
        ServicePlan::of::<Ticker>("ticker", 3 * TURN_NS),
    ];
    let mut sim = one_shard(services, Policy::default());
    // Once without counting: a service's first burst gets its vector.
    sim.deliver(0, 0, &packet(DROP), 0);
    for _ in 0..3 {
        sim.turn();
    }
    let mut turns = 0;
    for round in 0..50 {
        for octet in 0..32 {
            let verdict = [TRANSMIT, CONSUME, DROP, LEAVE][octet % 4];
            sim.deliver(0, 0, &packet(verdict), u16::from(octet == 31));
        }
        let counts = allocation_counter::measure(|| sim.turn_alone(0));
        assert_eq!(counts.count_total, 0, "in round {round}");
        sim.turn();
        turns += 1;
    }
    assert_eq!(sim.report(0).services[0].stats().rx_frames, 1 + turns * 31);
    assert!(sim.report(0).services[1].stats().tx_frames > 10);
    sim.check();
}

/// Two shards play ping-pong over a bad cable.
fn rally(seed: u64, faults: Faults) -> (u64, [u64; 2]) {
    let mut sim = Sim::new(seed);
    for _ in 0..2 {
        let echo = ServicePlan::of::<Echo>("echo", ()).selector(0, 0);
        sim.shard(&[SimPort::default()], vec![echo], Policy::default()).unwrap();
    }
    sim.link((0, 0), (1, 0), faults, |_| 0);
    for octet in 0..20 {
        sim.deliver(0, 0, &packet(octet), 0);
    }
    sim.run_for(400 * TURN_NS);
    sim.check();
    let received = [0, 1].map(|shard| sim.report(shard).services[0].stats().rx_frames);
    (sim.trace(), received)
}

#[test]
fn a_good_cable_keeps_the_rally_going() {
    let (_, received) = rally(1, Faults::default());
    assert!(received.iter().all(|&frames| frames > 1_000), "{received:?}");
}

#[test]
fn one_seed_is_one_run() {
    let faults = Faults {
        loss_per_mille: 2,
        duplicate_per_mille: 2,
        reorder_per_mille: 100,
        stall_per_mille: 5,
        stall_ns: 20 * TURN_NS,
        ..Faults::default()
    };
    let (first, received) = rally(1, faults);
    assert_eq!(rally(1, faults), (first, received));
    assert_ne!(rally(2, faults).0, first, "chance has a part in it");
    assert!(received.iter().all(|&frames| frames > 100), "{received:?}");
}

#[test]
fn a_verdict_fits_a_register() {
    assert!(size_of::<Verdict>() <= size_of::<usize>());
}
