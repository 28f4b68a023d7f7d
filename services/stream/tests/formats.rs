//! Every scan and packing through the services, and what that costs.

use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_dataplane::wire::{Rfc4175, Rtp};

use super::*;
use crate::stream::video::format::{Sampling, Scan};
use crate::stream::video::packing::Packing;

/// Sender and receiver of another format, joined by a good cable.
fn pair(alter: impl Fn(&mut sender::Options, &mut receiver::Options)) -> Sim {
    let (mut sending, mut receiving) = (sender(), receiver());
    alter(&mut sending, &mut receiving);
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    sim.shard(&port, vec![sends(sending)], Policy::default()).unwrap();
    sim.shard(&port, vec![receives(receiving)], Policy::default()).unwrap();
    sim.link((0, 0), (1, 0), Faults::default(), |_| 0);
    sim
}

#[test]
fn every_scan_sampling_and_packing_arrives_bit_for_bit() {
    let mut tried = 0;
    for scan in [Scan::Progressive, Scan::Interlaced, Scan::Psf] {
        for (sampling, depth) in Sampling::ALL.into_iter().zip(Depth::ALL) {
            for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
                let spec = sender::Options { scan, sampling, depth, packing, ..sender() }.spec();
                if spec.check().is_err() {
                    assert!(scan != Scan::Progressive && sampling == Sampling::YCbCr420);
                    continue;
                }
                tried += 1;
                let mut sim = pair(|sending, receiving| {
                    (sending.scan, receiving.scan) = (scan, Some(scan));
                    (sending.sampling, receiving.sampling) = (sampling, Some(sampling));
                    (sending.depth, receiving.depth) = (depth, Some(depth));
                    sending.packing = packing;
                    sending.frames = Some(3);
                });
                run_frames(&mut sim, 3);
                let (sent, received) = ended(&mut sim);
                let packets = u64::from(spec.check().unwrap().packets_per_frame());
                assert_eq!(sent.counter("frames_sent"), 3, "{spec:?}");
                assert_eq!(sent.counter("packets_sent"), 3 * packets, "{spec:?}");
                assert_eq!(received.counter("packets_received"), 3 * packets, "{spec:?}");
                assert_eq!(received.counter("frames_received"), 3, "{spec:?}");
                let seen = received.counter("frames_verified") + received.counter("frames_dropped");
                assert_eq!((seen, received.counter("frames_wrong")), (3, 0), "{spec:?}");
            }
        }
    }
    assert_eq!(tried, 30);
}

/// When each field's first packet left, its timestamp, and whether it was the second.
fn fields(sim: &mut Sim, for_ns: u64) -> Vec<(u64, u32, bool)> {
    let mut fields = Vec::new();
    let mut before = None;
    let end_ns = sim.now_ns() + for_ns;
    while sim.now_ns() < end_ns {
        let now_ns = sim.now_ns();
        sim.turn();
        for octets in sim.sent(0, 0) {
            let packet = Packet::parse(&octets).unwrap();
            let Transport::Udp(udp) = packet.transport() else { panic!("{packet:?}") };
            let rtp = Rtp::parse(udp.payload()).unwrap();
            let row = Rfc4175::parse(rtp.payload()).unwrap().rows().next().unwrap();
            let field = (rtp.timestamp(), row.second_field);
            if before.replace(field) != Some(field) {
                fields.push((now_ns, field.0, field.1));
            }
        }
    }
    fields
}

fn alone(scan: Scan) -> Sim {
    let mut sim = Sim::new(1);
    let options = sender::Options { scan, ..sender() };
    sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
    sim
}

#[test]
fn the_second_field_leaves_half_a_frame_later() {
    for scan in [Scan::Interlaced, Scan::Psf] {
        let fields = fields(&mut alone(scan), 4 * PERIOD_NS);
        assert!(fields.len() >= 6, "{fields:?}");
        for pair in fields.windows(2) {
            let ((at, timestamp, second), (later, next, is_second)) = (pair[0], pair[1]);
            let half_ns = PERIOD_NS / 2;
            assert!((later - at).abs_diff(half_ns) <= 2 * TURN_NS, "{scan}: {fields:?}");
            assert_ne!(second, is_second);
            // 180 ticks a frame. Both segments are of one moment.
            let ticks = match (scan, second) {
                (Scan::Psf, false) => 0,
                (Scan::Psf, true) => 180,
                _ => 90,
            };
            assert_eq!(next.wrapping_sub(timestamp), ticks, "{scan}: {fields:?}");
        }
        assert!(!fields[0].2, "a stream begins with a first field");
    }
}

#[test]
fn after_a_stall_no_frame_begins_with_its_second_field() {
    // Stalls that end at every place within a frame.
    for stall in 0..8 {
        let mut sim = alone(Scan::Interlaced);
        let mut all = fields(&mut sim, 2 * PERIOD_NS);
        sim.pass(3 * PERIOD_NS + stall * PERIOD_NS / 8);
        all.extend(fields(&mut sim, 3 * PERIOD_NS));
        // 180 ticks a frame, counted from the first one.
        let first = all[0].1;
        let mut frames = std::collections::BTreeMap::<u32, Vec<bool>>::new();
        for (_, timestamp, second) in all {
            frames.entry(timestamp.wrapping_sub(first) / 180).or_default().push(second);
        }
        for (frame, fields) in &frames {
            assert!(!fields[0], "{stall}: frame {frame} has {fields:?}");
        }
        let report = sim.report(0).services.remove(0);
        assert!(report.counter("frames_skipped") > 0, "{stall}");
    }
}

#[test]
fn packets_of_every_length_have_their_checksum() {
    for packing in [Packing::Gpm, Packing::Bpm] {
        let options = sender::Options {
            packing,
            checksum: Checksum::Full,
            frames: Some(1),
            width: 642,
            ..sender()
        };
        let mut sim = Sim::new(1);
        sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
        sim.run_for(3 * PERIOD_NS);
        let sent = sim.sent(0, 0);
        let lengths: std::collections::BTreeSet<_> = sent.iter().map(Vec::len).collect();
        assert!(lengths.len() > 2, "{lengths:?}");
        for packet in sent {
            let place = TransportChecksum::of(&packet).unwrap();
            let mut summed = packet.clone();
            place.finish(&mut summed);
            assert_eq!(packet, summed);
        }
    }
}

#[test]
fn turns_of_sender_and_receiver_allocate_nothing() {
    for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
        let mut sim = pair(|sending, receiving| {
            sending.packing = packing;
            (sending.scan, receiving.scan) = (Scan::Interlaced, Some(Scan::Interlaced));
            receiving.sink = sink::Kind::Nothing;
        });
        // First turns take vectors for bursts, and the receiver what a run needs.
        sim.run_for(3 * PERIOD_NS);
        let before = sim.report(1).services[0].counter("frames_received");
        for turn in 0..3 * PERIOD_NS / TURN_NS {
            for shard in 0..2 {
                let counts = allocation_counter::measure(|| sim.turn_alone(shard));
                assert_eq!(counts.count_total, 0, "{packing:?}: shard {shard}, turn {turn}");
            }
            sim.turn();
        }
        let frames = sim.report(1).services[0].counter("frames_received") - before;
        assert!(frames >= 2, "{packing:?}: {frames} frames");
    }
}
