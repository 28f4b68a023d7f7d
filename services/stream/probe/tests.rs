//! Our own sender's packets, from the simulator, of every format: it is found again.

use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::sim::{Sim, SimPort, TURN_NS};

use super::*;
use crate::stream::sender::{self, StreamSend};
use crate::stream::video::{Depth, Packing, Sampling, Scan};

/// What a probe sees of so many frames of a sender.
fn probed(options: sender::Options, frames: u64, alter: impl Fn(u64) -> bool) -> Probe {
    let rate = options.rate;
    let mut sim = Sim::new(1);
    let plan = ServicePlan::of::<StreamSend>("camera", options);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    let mut probe = Probe::default();
    let mut number = 0;
    for _ in 0..rate.frame_start_ns(frames + 2) / TURN_NS {
        let at_ns = 1_700_000_000_000_000_000 + sim.now_ns();
        sim.turn();
        for octets in sim.sent(0, 0) {
            if alter(number) {
                probe.packet(at_ns, &octets);
            }
            number += 1;
        }
    }
    probe
}

fn video(probe: &Probe) -> Video {
    let mut findings = probe.findings();
    assert_eq!(findings.len(), 1);
    match findings.remove(0).essence {
        Essence::Video(video) => *video,
        other => panic!("{other:?}"),
    }
}

fn options() -> sender::Options {
    sender::Options {
        width: 1280,
        height: 36,
        frames: Some(4),
        rate: "25".parse().unwrap(),
        ..crate::stream::tests::sender()
    }
}

#[test]
fn every_format_of_ours_is_found_again_among_those_that_look_alike() {
    let mut tried = 0;
    for scan in [Scan::Progressive, Scan::Interlaced, Scan::Psf] {
        for sampling in Sampling::ALL {
            for depth in Depth::ALL {
                for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
                    // Many frames in little time: the simulator has turns of a microsecond.
                    let rate = "500".parse().unwrap();
                    let options =
                        sender::Options { scan, sampling, depth, packing, rate, ..options() };
                    let spec = options.spec();
                    // Small ones of BPM would need more lines in a packet than there may be.
                    let Ok(format) = spec.check() else { continue };
                    tried += 1;
                    let video = video(&probed(options, 4, |_| true));
                    let is = Candidate { sampling, depth, width: 1280 };
                    let what = format!("{spec:?}: {video:?}");
                    assert!(video.candidates.contains(&is), "{what}");
                    let pgroup = format.pgroup();
                    for other in &video.candidates {
                        let found =
                            crate::stream::video::pgroup::Pgroup::of(other.sampling, other.depth);
                        let ratio =
                            |it: crate::stream::video::pgroup::Pgroup| it.octets * pgroup.pixels;
                        assert_eq!(ratio(found), pgroup.octets * found.pixels, "{what}");
                        assert_eq!(other.width, 1280, "{what}");
                    }
                    // 4:4:4, RGB and, at 8 bits unless a piece is odd, 4:2:2 at 12; 12 bits of
                    // 4:4:4 are nobody else's.
                    let alike = match (sampling, depth) {
                        (Sampling::YCbCr422, Depth::Twelve) => 3..=3,
                        (Sampling::YCbCr422 | Sampling::YCbCr420, _) => 1..=1,
                        (_, Depth::Eight) => 2..=3,
                        (_, _) => 2..=2,
                    };
                    assert!(alike.contains(&video.candidates.len()), "{what}");
                    assert_eq!((video.height, video.scan), (36, scan), "{what}");
                    assert_eq!(video.rate.unwrap().to_string(), "500", "{what}");
                    assert_eq!(video.packets_per_image, Some(format.packets_per_field()), "{what}");
                    let fits = video.cut.packing() == packing;
                    // A line may end with a packet by itself.
                    let by_itself = packing == Packing::Gpm && video.rows_max == 1;
                    assert!(fits || by_itself, "{what}");
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn rates_classes_and_addresses_are_found() {
    use crate::stream::timing::Class;
    for (rate, class, gapped) in [
        ("60000/1001", Class::Wide, true),
        ("50", Class::Narrow, true),
        ("24000/1001", Class::NarrowLinear, false),
    ] {
        let options = sender::Options {
            rate: rate.parse().unwrap(),
            class,
            frames: Some(8),
            height: 72,
            ..options()
        };
        let probe = probed(options, 8, |_| true);
        let video = video(&probe);
        assert_eq!(video.rate.unwrap().to_string(), rate);
        assert_eq!((video.gapped, video.images), (Some(gapped), 7), "{rate}");
        let finding = probe.findings().remove(0);
        let Flow { source, destination, port, ssrc, payload_type, .. } = finding.flow;
        assert_eq!(
            (source.to_string(), destination.to_string()),
            ("198.18.0.1".into(), "198.18.0.2".into())
        );
        assert_eq!((port, ssrc, payload_type), (20000, 7, 96));
        assert_eq!(finding.losses, Losses::default());
        assert_eq!(finding.packets, 8 * 72 * 4);
    }
}

#[test]
fn what_is_lost_is_counted_and_the_format_found_all_the_same() {
    let lost = |number: u64| number % 50 == 7;
    let probe = probed(sender::Options { frames: Some(10), ..options() }, 10, |it| !lost(it));
    let packets = 10 * 36 * 4;
    let finding = probe.findings().remove(0);
    assert_eq!(finding.losses.lost, (0..packets).filter(|&it| lost(it)).count() as u64);
    let video = video(&probe);
    assert_eq!((video.candidates[0].width, video.height), (1280, 36));
    assert_eq!(video.rate.unwrap().to_string(), "25");
}

/// A packet of RTP over UDP over IPv4.
fn datagram(port: u16, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(payload.len() + more).unwrap().to_be_bytes();
    let mut octets = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    octets.extend(length(40));
    octets.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
    octets.extend(port.to_be_bytes());
    octets.extend(port.to_be_bytes());
    octets.extend(length(20));
    octets.extend([0, 0, 0x80, 97]);
    octets.extend(sequence.to_be_bytes());
    octets.extend(timestamp.to_be_bytes());
    octets.extend([0, 0, 0, 9]);
    octets.extend(payload);
    octets
}

#[test]
fn sound_is_known_by_its_clock_and_says_what_it_may_be() {
    for (samples, channels, rate, octets_each, candidates) in [
        (48, 2, 48_000, 3, vec![(24, 2), (16, 3)]),
        (6, 8, 48_000, 3, vec![(24, 8), (16, 12)]),
        (96, 4, 96_000, 2, vec![(16, 4)]),
    ] {
        let mut probe = Probe::default();
        let mut random = tidegate_runtime::sim::Random::new(7);
        for packet in 0..200_u32 {
            let payload: Vec<u8> = (0..samples * channels * octets_each)
                .map(|_| random.below(256).to_le_bytes()[0])
                .collect();
            let at_ns = u64::from(packet) * u64::from(samples) * 1_000_000_000 / rate;
            let sequence = u16::try_from(packet).unwrap().wrapping_add(65_500);
            let timestamp = (packet * samples).wrapping_add(u32::MAX - 999);
            probe.packet(at_ns, &datagram(5004, sequence, timestamp, &payload));
        }
        let finding = probe.findings().remove(0);
        let Essence::Audio(audio) = finding.essence else { panic!("{finding:?}") };
        assert_eq!((audio.samples, u64::from(audio.sample_rate)), (samples, rate));
        assert_eq!(audio.candidates, candidates);
        assert_eq!(finding.losses, Losses::default());
        assert_eq!(u64::from(audio.packet_time_us()), u64::from(samples) * 1_000_000 / rate);
    }
}

#[test]
fn ancillary_data_is_known_though_video_has_its_length_in_the_same_place() {
    let mut probe = Probe::default();
    for packet in 0..20_u16 {
        let (count, data): (u8, &[u8]) = if packet % 3 == 0 { (0, &[]) } else { (1, &[0x55; 16]) };
        let length = u8::try_from(data.len()).unwrap();
        let field = [0x80, 0xc0][usize::from(packet % 2)];
        let payload = [&[0, 0, 0, length, count, field, 0, 0], data].concat();
        let at_ns = u64::from(packet) * 20_000_000;
        probe.packet(at_ns, &datagram(5006, packet, u32::from(packet) * 1800, &payload));
    }
    let finding = probe.findings().remove(0);
    let Essence::Ancillary(ancillary) = finding.essence else { panic!("{finding:?}") };
    assert_eq!(ancillary.rate.unwrap().to_string(), "50");
}

#[test]
fn noise_is_no_stream_and_a_flood_of_streams_is_bounded() {
    let mut probe = Probe::default();
    let mut random = tidegate_runtime::sim::Random::new(3);
    for packet in 0..4000_u32 {
        let payload: Vec<u8> =
            (0..random.below(100)).map(|_| random.below(256).to_le_bytes()[0]).collect();
        let port = u16::try_from(10_000 + packet % 1000).unwrap();
        let timestamp = u32::try_from(random.below(1 << 32)).unwrap();
        probe.packet(packet.into(), &datagram(port, 0, timestamp, &payload));
        probe.packet(packet.into(), &payload);
    }
    assert_eq!((probe.streams.len(), probe.findings().len()), (STREAMS_MAX, 0));
    assert_eq!((probe.crowded, probe.others), (744 * 4, 4000));
    let mut random_stream = Probe::default();
    for packet in 0..500_u16 {
        let payload: Vec<u8> =
            (0..1 + random.below(100)).map(|_| random.below(256).to_le_bytes()[0]).collect();
        random_stream.packet(packet.into(), &datagram(5004, packet, 0, &payload));
    }
    let finding = random_stream.findings().remove(0);
    assert!(matches!(finding.essence, Essence::Unknown), "{finding:?}");
}

/// Packets that look like video, and say anything: nothing overflows, and all of it is said.
#[test]
fn whatever_packets_say_nothing_panics() {
    use tidegate_runtime::sim::Random;

    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut probe = Probe::default();
        let few = 1 + random.below(4);
        for packet in 0..40_u16 {
            let mut below = |most: u64| u16::try_from(random.below(most)).unwrap();
            let count = 1 + u64::from(below(few));
            let lengths: Vec<u16> = (0..count).map(|_| below(40) * below(3)).collect();
            let mut payload = below(1 << 16).to_be_bytes().to_vec();
            for (index, length) in (1..).zip(&lengths) {
                let more = u16::from(index < count) << 15;
                payload.extend(length.to_be_bytes());
                payload.extend((below(1 << 16) & below(1 << 16)).to_be_bytes());
                payload.extend((below(1 << 15) & below(1 << 15) | more).to_be_bytes());
            }
            payload.extend(std::iter::repeat_n(7, lengths.iter().copied().map(usize::from).sum()));
            let (high, low) = (u32::from(below(1 << 16)), u32::from(below(1 << 16)));
            let sequence = if below(20) == 0 { below(1 << 16) } else { packet };
            // Times that go back as well.
            let at_ns = u64::from(high) << 47 | u64::from(low);
            let mut datagram = datagram(5004, sequence, high << 16 | low, &payload);
            datagram[43] |= (u8::from(below(4) == 0)) << 7;
            probe.packet(at_ns, &datagram);
        }
        let findings = probe.findings();
        assert_eq!(findings.iter().map(|it| it.packets).sum::<u64>(), 40, "seed {seed}");
        for finding in &findings {
            let _ = finding.packets_per_second();
            if let Essence::Video(video) = &finding.essence {
                assert!(!video.candidates.is_empty(), "seed {seed}");
                let _ = video.spec();
            }
        }
    }
}
