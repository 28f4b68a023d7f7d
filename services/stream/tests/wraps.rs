//! Numbers that begin anew: nobody notices.

use tidegate_dataplane::wire::Rtp;
use tidegate_runtime::sim::TAI_AT_ZERO_NS;

use super::*;

/// Seconds of TAI at which `sim` begins.
const BEGIN_SECONDS: u64 = TAI_AT_ZERO_NS / 1_000_000_000;

/// Sends and receives frames around the moment `tai_ns`; returns both counts, and timestamp and
/// sequence number of each packet's RTP header.
fn around(tai_ns: u64) -> (ServiceReport, ServiceReport, Vec<(u32, u16)>) {
    let mut sim = Sim::new(1);
    // Before anything runs: from the beginning on it is that time.
    let until_ns = tai_ns - TAI_AT_ZERO_NS - sim.now_ns();
    sim.step_tai(i64::try_from(until_ns - 8 * PERIOD_NS).unwrap());
    let port = [SimPort::default()];
    let frames = Some(12);
    sim.shard(&port, vec![sends(sender::Options { frames, ..sender() })], Policy::default())
        .unwrap();
    sim.shard(&port, vec![receives(receiver())], Policy::default()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..16 * PERIOD_NS / TURN_NS {
        sim.turn();
        for packet in sim.sent(0, 0) {
            let rtp = Rtp::parse(&packet[42..]).unwrap();
            seen.push((rtp.timestamp(), rtp.sequence()));
            sim.deliver(1, 0, &packet, 0);
        }
    }
    let (sent, received) = ended(&mut sim);
    (sent, received, seen)
}

fn is_whole(sent: &ServiceReport, received: &ServiceReport) {
    assert_eq!(sent.counter("frames_sent"), 12);
    assert_eq!(sent.counter("clock_steps"), 0);
    assert_eq!(received.counter("packets_received"), 12 * PACKETS);
    assert_eq!(received.counter("frames_received"), 12);
    for zero in ["packets_lost", "packets_duplicate", "frames_cut", "restarts", "frames_wrong"] {
        assert_eq!(received.counter(zero), 0, "{zero}");
    }
}

#[test]
fn timestamps_begin_anew_within_a_stream() {
    // 2^32 ticks of 90 kHz are 47,721.858844… s; the 35,853rd time, in March 2024.
    let wraps = BEGIN_SECONDS * 90_000 / (1 << 32) + 2;
    let tai_ns = u64::try_from(u128::from(wraps << 32) * 100_000 / 9).unwrap();
    let (sent, received, seen) = around(tai_ns);
    is_whole(&sent, &received);
    let falls = seen.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
    assert_eq!(falls, 1, "one wrap");
}

#[test]
fn sequence_numbers_begin_anew_after_32_bits_within_a_stream() {
    // The first packet of frame k has the number k * 128.
    let turns = BEGIN_SECONDS * 500 * PACKETS / (1 << 32) + 1;
    let frame = (turns << 32) / PACKETS;
    let (sent, received, seen) = around(frame * PERIOD_NS);
    is_whole(&sent, &received);
    assert!(seen.iter().any(|(_, sequence)| *sequence == u16::MAX));
    let falls = seen.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    assert_eq!(falls, 1, "the lower half as well");
}
