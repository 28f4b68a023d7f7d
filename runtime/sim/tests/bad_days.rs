//! Rings that are full, pools that are empty, services that wait for both.

use super::services::*;
use crate::plan::{Policy, ServicePlan};
use crate::sim::{Sim, SimPort, TURN_NS};

#[test]
fn what_finds_no_room_in_the_tx_ring_is_dropped_and_counted() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    sim.stall(0, 0, true);
    for _ in 0..3 {
        for octet in 0..40 {
            sim.deliver(0, 0, &packet(octet), 0);
        }
        sim.turn();
    }
    let service = &sim.report(0).services[0];
    assert_eq!((service.stats().settled_transmit, service.dropped("tx_full")), (64, 56));
    sim.check();
    sim.stall(0, 0, false);
    sim.run_for(2 * TURN_NS);
    assert_eq!(sim.sent(0, 0).len(), 64, "those that had room are not lost");
    sim.deliver(0, 0, &packet(1), 0);
    sim.run_for(2 * TURN_NS);
    assert_eq!(sim.sent(0, 0).len(), 1, "and life goes on");
    sim.check();
}

#[test]
fn send_all_waits_for_room_and_loses_nothing() {
    let ticker = ServicePlan::of::<Ticker>("ticker", TURN_NS);
    let mut sim = one_shard(vec![ticker], Policy::default());
    sim.stall(0, 0, true);
    sim.run_for(100 * TURN_NS);
    let service = &sim.report(0).services[0];
    assert_eq!(
        (service.stats().tx_frames, service.stats().held_frames),
        (64, 1),
        "one waits for room"
    );
    let within_ns = sim.inside(0).next_deadline_ns().unwrap() - sim.now_ns();
    assert!(within_ns <= 1_000_000, "no file descriptor tells of room: it looks again");
    sim.stall(0, 0, false);
    sim.run_for(5 * TURN_NS);
    let sent = sim.sent(0, 0).len() as u64;
    assert_eq!(sent, sim.report(0).services[0].stats().tx_frames);
    assert!(sent > 64);
    sim.check();
}

#[test]
fn an_empty_pool_gives_no_blank_frame_and_recovers() {
    let port = SimPort { umem_frames: 64, ring_entries: 64, fill_frames: 64, ..SimPort::default() };
    let mut sim = Sim::new(7);
    let services = vec![
        ServicePlan::of::<Ticker>("ticker", TURN_NS),
        ServicePlan::of::<Obedient>("obedient", ()).selector(0, 0),
    ];
    sim.shard(&[port], services, Policy::default()).unwrap();
    sim.run_for(5 * TURN_NS);
    assert_eq!(sim.report(0).services[0].stats().taken_frames, 0, "the fill ring has every chunk");
    for _ in 0..20 {
        sim.deliver(0, 0, &packet(TRANSMIT), 0);
    }
    sim.run_for(50 * TURN_NS);
    let services = sim.report(0).services;
    assert_eq!((services[1].stats().settled_transmit, services[1].dropped("tx_full")), (20, 0));
    assert!(services[0].stats().tx_frames > 0, "chunks went round to it");
    sim.check();
}

#[test]
fn the_kernels_losses_are_the_kernels() {
    let mut sim = one_shard(vec![ServicePlan::of::<Echo>("echo", ())], Policy::default());
    let accepted = (0..100)
        .filter(|&octet| {
            use tidegate_dataplane::xsk::testing::Delivery;
            sim.deliver(0, 0, &packet(octet), 0) == Delivery::Delivered
        })
        .count();
    assert_eq!(accepted, 64);
    sim.run_for(5 * TURN_NS);
    assert_eq!(sim.report(0).services[0].stats().rx_frames, 64);
    sim.check();
}

/// Everything at random, for long: the laws hold after every turn.
#[test]
fn the_laws_hold_in_any_order_of_things() {
    use crate::sim::Random;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let services = vec![
        ServicePlan::of::<Obedient>("obedient", ()).held_frames_max(20),
        ServicePlan::of::<Echo>("echo", ()),
        // Gets frames that it never receives.
        ServicePlan::of::<Ticker>("ticker", 7 * TURN_NS).held_frames_max(8),
    ];
    let mut sim = one_shard(services, Policy::default());
    for _ in 0..3_000 {
        for _ in 0..random.below(20) {
            // No FORGET: leaked chunks are gone for good, and in the end there would be none.
            let first = [TRANSMIT, REINJECT, CONSUME, DROP, LEAVE, LOSE, KEEP, PANIC, FAIL];
            let first = first[usize::try_from(random.below(9)).unwrap()];
            let rare = first >= KEEP && !random.chance(20);
            let selector = u16::try_from(random.below(4)).unwrap();
            sim.deliver(0, 0, &packet(if rare { DROP } else { first }), selector);
        }
        if random.chance(30) {
            let stalled = random.chance(500);
            sim.stall(0, 0, stalled);
        }
        if random.chance(10) {
            sim.pass(200_000_000);
        }
        sim.turn();
        sim.check();
    }
    sim.stall(0, 0, false);
    let last = sim.drain();
    assert_eq!((last[0].unaccounted, last[0].leaked), (0, 0));
    assert!(last[0].services[0].stats().panics > 5, "{:?}", last[0].services[0]);
}
