//! Packets in several chunks: one frame each, whatever becomes of it.

use super::services::*;
use crate::burst::{Delivery, Frames};
use crate::context::ShardContext;
use crate::plan::{Policy, ServicePlan};
use crate::service::{Build, BuildError, Service, ServiceError};
use crate::sim::{Faults, Random, Sim, SimPort, TURN_NS};

/// Ethernet around an IP packet of 9,000 octets: six chunks of 1792 when it is received, five when
/// it is built.
const JUMBO: usize = 9014;

fn port() -> SimPort {
    SimPort { multi_buffer: true, ..SimPort::default() }
}

/// A packet of `octets` that a service knows by its first, in which no two places look alike.
fn long(first: u8, octets: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..octets).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
    packet[0] = first;
    packet
}

#[test]
fn a_long_packet_among_short_ones_keeps_its_place_and_goes_out_whole() {
    let plan = ServicePlan::of::<Obedient>("obedient", ());
    let mut sim = one_shard_on(port(), vec![plan], Policy::default());
    let packets =
        [long(TRANSMIT, 60), long(TRANSMIT, JUMBO), long(TRANSMIT, 1793), long(TRANSMIT, 60)];
    for packet in &packets {
        sim.deliver(0, 0, packet, 0);
    }
    sim.turn();
    assert_eq!(sim.sent(0, 0), packets);
    let report = sim.report(0);
    let (port, service) = (&report.ports[0].stats, report.services[0].stats());
    let octets: u64 = packets.iter().map(|packet| packet.len() as u64).sum();
    assert_eq!((service.rx_frames, service.rx_octets), (4, octets));
    assert_eq!((service.tx_frames, service.tx_octets, service.bursts), (4, octets, 1));
    assert_eq!((port.rx_frames, port.rx_parts, port.tx_frames, port.tx_parts), (4, 6, 4, 6));
    sim.turn();
    assert_eq!(sim.report(0).ports[0].stats.completed_frames, 10);
    sim.check();
}

#[test]
fn a_long_packet_goes_back_to_the_kernel_whole() {
    let plan = ServicePlan::of::<Obedient>("obedient", ());
    let mut sim = one_shard_on(port(), vec![plan], Policy::default());
    sim.deliver(0, 0, &long(REINJECT, JUMBO), 0);
    sim.turn();
    assert_eq!(sim.reinjected(0, 0), [long(REINJECT, JUMBO)]);
    sim.check();
}

#[test]
fn a_packet_that_is_too_long_for_the_way_back_is_dropped_by_that_name() {
    let plan = ServicePlan::of::<Obedient>("obedient", ());
    let port = SimPort { reinject_octets_max: 2040, ..port() };
    let mut sim = one_shard_on(port, vec![plan], Policy::default());
    for octets in [2040, 2041, JUMBO, 60] {
        sim.deliver(0, 0, &long(REINJECT, octets), 0);
    }
    sim.turn();
    let lengths: Vec<usize> = sim.reinjected(0, 0).iter().map(Vec::len).collect();
    assert_eq!(lengths, [2040, 60]);
    let service = &sim.report(0).services[0];
    assert_eq!((service.dropped("reinject_length"), service.stats().settled_reinject), (2, 2));
    sim.check();
}

#[test]
fn a_service_that_reads_one_chunk_is_shown_no_part_of_a_longer_packet() {
    let services =
        vec![ServicePlan::of::<Echo>("echo", ()), ServicePlan::of::<Obedient>("obedient", ())];
    let mut sim = one_shard_on(port(), services, Policy::default());
    for octets in [60, JUMBO, 60, 1793, 1792] {
        sim.deliver(0, 0, &long(TRANSMIT, octets), 0);
        sim.deliver(0, 0, &long(DROP, octets), 1);
    }
    sim.turn();
    let lengths: Vec<usize> = sim.sent(0, 0).iter().map(Vec::len).collect();
    assert_eq!(lengths, [60, 60, 1792]);
    let report = sim.report(0);
    let [echo, neighbour] = &report.services[..] else { panic!("two services") };
    assert_eq!((echo.stats().rx_frames, echo.dropped("in_parts")), (5, 2));
    assert_eq!((neighbour.dropped("on_request"), neighbour.dropped("in_parts")), (5, 0));
    sim.check();
}

#[test]
fn a_packet_of_more_chunks_than_a_frame_may_have_is_lost_by_name() {
    let plan = ServicePlan::of::<Obedient>("obedient", ());
    let mut sim = one_shard_on(port(), vec![plan], Policy::default());
    sim.deliver(0, 0, &long(DROP, 17 * 1792 + 1), 0);
    sim.deliver(0, 0, &long(DROP, 17 * 1792), 0);
    sim.turn();
    let port = &sim.report(0).ports[0].stats;
    assert_eq!((port.rx_frames, port.overlong_packets, port.lost_packets()), (1, 1, 1));
    assert_eq!((port.settled_drop, port.bad_descriptors), (1, 0));
    sim.check();
}

#[test]
fn what_a_service_forgets_keeps_or_loses_is_counted_in_packets() {
    let plan = ServicePlan::of::<Obedient>("obedient", ()).held_frames_max(3);
    let mut sim = one_shard_on(port(), vec![plan], Policy::default());
    for first in [LOSE, KEEP, FORGET] {
        sim.deliver(0, 0, &long(first, JUMBO), 0);
        sim.turn();
        sim.check();
    }
    let report = sim.report(0);
    let (port, service) = (&report.ports[0].stats, report.services[0].stats());
    assert_eq!((service.reclaimed_frames, service.held_frames), (1, 2));
    assert_eq!((port.reclaimed_frames, port.held_frames, port.held_parts), (1, 2, 10));
    // One more fits the budget, the next does not; both are gone with their chunks.
    sim.deliver(0, 0, &long(LEAVE, JUMBO), 0);
    sim.deliver(0, 0, &long(DROP, JUMBO), 0);
    sim.turn();
    sim.deliver(0, 0, &long(PANIC, JUMBO), 0);
    sim.turn();
    let last = sim.drain();
    let service = &last[0].services[0];
    assert_eq!((service.dropped("unsettled"), service.dropped("over_budget")), (1, 1));
    assert_eq!((service.stats().reclaimed_frames, service.stats().leaked_frames), (3, 1));
    assert_eq!((last[0].ports[0].stats.held_frames, last[0].ports[0].stats.held_parts), (1, 5));
    assert_eq!((last[0].unaccounted, last[0].leaked), (0, 1));
}

/// Sends a long packet at each of its times, its number in every part.
struct Long {
    period_ns: u64,
}

impl Service for Long {
    const KIND: &'static str = "long";
    type Options = u64;

    fn build(period_ns: &u64, _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { period_ns: *period_ns })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let (mut group, mut number) = (Frames::new(), 0);
        let mut next_ns = cx.now_ns() + self.period_ns;
        assert!(JUMBO <= cx.ports()[0].packet_capacity_octets);
        while cx.sleep_until(next_ns).await == Delivery::TimedOut {
            next_ns += self.period_ns;
            let Some(mut frame) = cx.take_packet(0, JUMBO) else { continue };
            frame.parts_mut().for_each(|part| part.fill(number));
            number = number.wrapping_add(1);
            group.push(frame);
            if cx.send_all(0, &mut group).await != Delivery::Received {
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn a_sender_waits_until_there_is_room_for_the_whole_packet() {
    let plan = ServicePlan::of::<Long>("long", TURN_NS);
    let mut sim = one_shard_on(port(), vec![plan], Policy::default());
    sim.stall(0, 0, true);
    sim.run_for(100 * TURN_NS);
    let report = sim.report(0);
    let (port, service) = (&report.ports[0].stats, report.services[0].stats());
    // Twelve times five of 64; there is room for four, which is not enough.
    assert_eq!((service.tx_frames, service.held_frames, port.ring_tx_frames), (12, 1, 60));
    let polls = service.polls;
    sim.run_for(100 * TURN_NS);
    assert_eq!(sim.report(0).services[0].stats().polls, polls, "not asked while there is no room");
    sim.stall(0, 0, false);
    sim.run_for(10 * TURN_NS);
    let sent = sim.sent(0, 0);
    assert!(sent.len() > 20, "{} packets", sent.len());
    for (number, packet) in (0..=u8::MAX).zip(sent) {
        assert_eq!(packet, vec![number; JUMBO]);
    }
    sim.check();
}

#[test]
fn packets_of_any_length_survive_a_bad_cable_or_are_lost_whole() {
    let mut sim = Sim::new(7);
    let long_sender = ServicePlan::of::<Long>("long", 3 * TURN_NS);
    let receiver = ServicePlan::of::<Obedient>("obedient", ()).selector(0, 0);
    sim.shard(&[port()], vec![long_sender], Policy::default()).unwrap();
    sim.shard(&[port()], vec![receiver], Policy::default()).unwrap();
    let faults = Faults {
        loss_per_mille: 50,
        duplicate_per_mille: 50,
        reorder_per_mille: 100,
        stall_per_mille: 5,
        ..Faults::default()
    };
    sim.link((0, 0), (1, 0), faults, |_| 0);
    sim.run_for(2_000 * TURN_NS);
    sim.check();
    let port = sim.report(1).ports[0].stats;
    assert!(port.rx_frames > 100, "{port:?}");
    assert_eq!(port.rx_octets, port.rx_frames * JUMBO as u64);
    assert_eq!(port.rx_parts, port.rx_frames * 5);
    assert_eq!(sim.drain().iter().map(|report| report.unaccounted).sum::<u64>(), 0);
}

/// As its namesake in `bad_days`, with packets of any length.
#[test]
fn the_laws_hold_in_any_order_of_long_and_short_things() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let services = vec![
        ServicePlan::of::<Obedient>("obedient", ()).held_frames_max(12),
        ServicePlan::of::<Echo>("echo", ()),
        ServicePlan::of::<Long>("long", 7 * TURN_NS).held_frames_max(8),
    ];
    let mut sim = one_shard_on(port(), services, Policy::default());
    for _ in 0..3_000 {
        for _ in 0..random.below(8) {
            let first = [TRANSMIT, REINJECT, CONSUME, DROP, LEAVE, LOSE, KEEP, PANIC, FAIL];
            let first = first[usize::try_from(random.below(9)).unwrap()];
            let rare = first >= KEEP && !random.chance(20);
            let selector = u16::try_from(random.below(4)).unwrap();
            let below = [100, JUMBO as u64, 33_000][usize::try_from(random.below(3)).unwrap()];
            let octets = 1 + usize::try_from(random.below(below)).unwrap();
            sim.deliver(0, 0, &long(if rare { DROP } else { first }, octets), selector);
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
    let [obedient, echo, _] = &last[0].services[..] else { panic!("three services") };
    assert!(obedient.stats().panics > 0, "{obedient:?}");
    assert!(echo.dropped("in_parts") > 100 && last[0].ports[0].stats.overlong_packets > 10);
}
