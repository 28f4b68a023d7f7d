//! Pictures, sound and ancillary data of one service, and each without the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_dataplane::wire::{Rfc4175, Rtp};

use super::*;
use crate::stream::ancillary::payload::Payload;
use crate::stream::ancillary::timecode::Counter;
use crate::stream::programme::alone::{self, EssenceSend};
use crate::stream::programme::listen::{self, EssenceReceive};
use crate::stream::programme::{options, receive};
use crate::stream::redundancy::split::Second;
use crate::stream::{ancillary, audio};

/// Frames of 20 ms: timecode knows no faster ones than 60 a second.
const FRAME_NS: u64 = 20_000_000;

fn sound(packet_time_us: u32) -> options::Audio {
    tidegate_config::Options::from_text(&format!(
        "destination = \"198.18.0.2:20010\"\ndestination_mac = \"02:00:00:00:00:02\"\nchannels = 4\n\
         packet_time_us = {packet_time_us}\nssrc = 8\n"
    ))
    .unwrap()
    .parse()
    .unwrap()
}

fn data(source: &str) -> options::Ancillary {
    tidegate_config::Options::from_text(&format!(
        "destination = \"198.18.0.2:20020\"\ndestination_mac = \"02:00:00:00:00:02\"\n\
         source = {source:?}\nssrc = 9\n"
    ))
    .unwrap()
    .parse()
    .unwrap()
}

fn programme(packet_time_us: u32) -> sender::Options {
    sender::Options {
        rate: "50".parse().unwrap(),
        audio: Some(sound(packet_time_us)),
        ancillary: Some(data("timecode")),
        ..sender()
    }
}

fn listens() -> receiver::Options {
    receiver::Options {
        rate: Some("50".parse().unwrap()),
        audio: Some(hears()),
        ancillary: Some(reads(None)),
        ..receiver()
    }
}

fn hears() -> receive::Audio {
    receive::Audio {
        port: Some(20010),
        channels: Some(4),
        sink: audio::sink::Kind::Verify,
        ..receive::Audio::default()
    }
}

fn reads(path: Option<PathBuf>) -> receive::Ancillary {
    receive::Ancillary {
        port: Some(20020),
        sink: match path {
            Some(_) => ancillary::sink::Kind::File,
            None => ancillary::sink::Kind::Nothing,
        },
        path,
        ..receive::Ancillary::default()
    }
}

fn pair(sending: sender::Options, receiving: receiver::Options, faults: Faults) -> Sim {
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    sim.shard(&port, vec![sends(sending)], Policy::default()).unwrap();
    sim.shard(&port, vec![receives(receiving)], Policy::default()).unwrap();
    sim.link((0, 0), (1, 0), faults, |_| 0);
    sim
}

/// Samples that the receiver's thread has told right or wrong, or had no time for.
fn judged(report: &ServiceReport) -> u64 {
    ["audio_samples_verified", "audio_samples_wrong", "audio_samples_dropped"]
        .map(|name| report.counter(name))
        .iter()
        .sum()
}

#[test]
fn a_programme_arrives_whole() {
    for packet_time_us in [1000, 125] {
        let sending = sender::Options { frames: Some(3), ..programme(packet_time_us) };
        let mut sim = pair(sending, listens(), Faults::default());
        sim.run_for(5 * FRAME_NS);
        let (sent, received) = ended(&mut sim);
        let packets = 3 * FRAME_NS / 1000 / u64::from(packet_time_us);
        assert_eq!(sent.counter("frames_sent"), 3);
        assert_eq!(sent.counter("packets_sent"), 3 * PACKETS, "of video alone");
        assert_eq!(sent.counter("audio_packets_sent"), packets, "as long as the pictures");
        assert_eq!(sent.counter("ancillary_packets_sent"), 3);
        assert_eq!(sent.counter("ancillary_fields_sent"), 3);
        assert_eq!(
            (sent.word("audio_level"), received.word("audio_level")),
            (if packet_time_us == 1000 { "A" } else { "B" }, "A",)
        );
        for zero in ["frames_late", "groups_late", "audio_packets_skipped", "frames_of_no_class"] {
            assert_eq!(sent.counter(zero), 0, "{zero}");
        }
        assert_eq!(received.counter("frames_received"), 3);
        assert_eq!(received.counter("packets_received"), 3 * PACKETS);
        assert_eq!(received.counter("audio_packets_received"), packets);
        assert_eq!(received.counter("audio_samples_received"), 3 * 960);
        assert_eq!(judged(&received), 3 * 960);
        assert_eq!(received.counter("ancillary_fields_received"), 3);
        assert_eq!(received.counter("anc_received"), 3);
        for zero in [
            "frames_wrong",
            "audio_samples_wrong",
            "audio_samples_silent",
            "audio_packets_lost",
            "ancillary_packets_lost",
            "anc_wrong_parity",
            "anc_wrong_checksum",
        ] {
            assert_eq!(received.counter(zero), 0, "{zero}");
        }
    }
}

/// What left: when, to which port, and its RTP.
struct Left {
    at_ns: u64,
    port: u16,
    sequence: u16,
    timestamp: u32,
    rtp_payload: Vec<u8>,
}

fn left(sim: &mut Sim, for_ns: u64) -> Vec<Left> {
    let mut all = Vec::new();
    let end_ns = sim.now_ns() + for_ns;
    while sim.now_ns() < end_ns {
        let at_ns = sim.now_ns();
        sim.turn();
        for octets in sim.sent(0, 0) {
            let packet = Packet::parse(&octets).unwrap();
            let Transport::Udp(udp) = packet.transport() else { panic!("{packet:?}") };
            let rtp = Rtp::parse(udp.payload()).unwrap();
            all.push(Left {
                at_ns,
                port: udp.destination(),
                sequence: rtp.sequence(),
                timestamp: rtp.timestamp(),
                rtp_payload: rtp.payload().to_vec(),
            });
        }
    }
    all
}

fn alone(options: sender::Options) -> Sim {
    let mut sim = Sim::new(1);
    sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
    sim
}

/// The moment of TAI that timestamps say, which all have the same: that is lip-sync.
#[test]
fn a_frame_its_sound_and_its_timecode_are_of_one_moment() {
    let options = programme(1000);
    let rate = options.rate;
    let mut sim = alone(options);
    // What `sim` counts TAI from.
    let tai_at_zero_ns = 1_710_000_000_000_000_000;
    let began_ns = sim.now_ns();
    let all = left(&mut sim, 6 * FRAME_NS);
    let first = rate.next_frame(tai_at_zero_ns + began_ns);
    let counter = Counter::new(rate).unwrap();
    let of = |port: u16| all.iter().filter(move |left| left.port == port);
    let mut compared = 0;
    for frame in first + 1..first + 5 {
        let tai_ns = rate.frame_start_ns(frame);
        let ticks = |clock: u64| {
            u32::try_from(u128::from(tai_ns) * u128::from(clock) / 1_000_000_000 % (1 << 32))
        };
        let (video_ticks, sound_ticks) = (ticks(90_000).unwrap(), ticks(48_000).unwrap());
        let of_frame: Vec<_> = of(20000).filter(|it| it.timestamp == video_ticks).collect();
        assert_eq!(of_frame.len() as u64, PACKETS, "frame {frame}");
        assert!(Rfc4175::parse(&of_frame[0].rtp_payload).is_ok());
        let words: Vec<_> = of(20020).filter(|it| it.timestamp == video_ticks).collect();
        let [timecode] = words[..] else { panic!("{} timecodes", words.len()) };
        let read = Payload::parse(&timecode.rtp_payload).unwrap();
        let found = read.packets().next().unwrap();
        assert_eq!(found.anc.words(), counter.words(frame, false), "{}", counter.of(frame));
        // The packet of sound in which the frame's first sample is, and the sample itself.
        let packet = of(20010).find(|it| sound_ticks.wrapping_sub(it.timestamp) < 48).unwrap();
        let place = sound_ticks.wrapping_sub(packet.timestamp) as usize * 12;
        let sample = &packet.rtp_payload[place..place + 3];
        let expected = audio::tone::sample(sound_ticks, 0).to_be_bytes();
        assert_eq!(sample, &expected[1..], "frame {frame}");
        // And they leave at that moment: the data and the sound when it comes, the first group
        // within the vertical blanking behind it.
        let due_ns = tai_ns - tai_at_zero_ns;
        for it in [timecode, packet] {
            assert!((due_ns..due_ns + 60_000).contains(&it.at_ns), "{due_ns}: {}", it.at_ns);
        }
        assert!((due_ns..due_ns + FRAME_NS / 20).contains(&of_frame[0].at_ns));
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn sound_neither_delays_groups_nor_comes_in_bursts() {
    use crate::stream::timing::Class;
    let times = |options: sender::Options| {
        let mut sim = alone(options);
        let all = left(&mut sim, 4 * FRAME_NS);
        let report = sim.report(0).services.remove(0);
        (all, report)
    };
    let class = Class::Narrow;
    let (with, report) = times(sender::Options { class, ..programme(125) });
    let without = sender::Options { class, audio: None, ancillary: None, ..programme(125) };
    let (without, plain) = times(without);
    // Each packet of video leaves in the turn in which it leaves without sound.
    let video: Vec<_> = with.iter().filter(|it| it.port == 20000).map(|it| it.at_ns).collect();
    let plain_video: Vec<_> = without.iter().map(|it| it.at_ns).collect();
    assert_eq!(video, plain_video);
    assert_eq!(report.word("class_held"), plain.word("class_held"));
    assert_eq!(report.counter("groups_late"), 0);
    // Sound is never early, never late by more than it may wait, and never twice at once.
    let sound: Vec<_> = with.iter().filter(|it| it.port == 20010).collect();
    assert!(sound.len() > 4 * 150, "{}", sound.len());
    for pair in sound.windows(2) {
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 6);
        assert!(pair[1].at_ns - pair[0].at_ns >= 125_000 / 2 - TURN_NS);
    }
    for it in &sound {
        // `sim` counts TAI from a whole second.
        assert!(it.at_ns % 125_000 <= 50_000 + 2 * TURN_NS, "at {}", it.at_ns);
    }
    // Some went with a group, and some alone where there was none.
    let groups: std::collections::BTreeSet<_> = video.into_iter().collect();
    let joined = sound.iter().filter(|it| groups.contains(&it.at_ns)).count();
    assert!(joined > 10 && joined < sound.len() - 10, "{joined} of {}", sound.len());
}

#[test]
fn what_the_cable_does_to_each_stream_is_counted_by_its_name() {
    let faults = Faults {
        loss_per_mille: 20,
        duplicate_per_mille: 20,
        reorder_per_mille: 30,
        delay_ns: 2_000,
        ..Faults::default()
    };
    let sending = sender::Options { frames: Some(8), ..programme(125) };
    let mut sim = pair(sending, listens(), faults);
    sim.run_for(10 * FRAME_NS);
    let (sent, received) = ended(&mut sim);
    let count = |name: &str| received.counter(name);
    let packets = sent.counter("audio_packets_sent");
    assert_eq!(packets, 8 * 160);
    let unseen = packets - count("audio_packets_received") - count("audio_packets_lost");
    assert!(unseen <= 3, "a first or last one: {unseen}");
    assert!(count("audio_packets_lost") > 5 && count("audio_packets_duplicate") > 5);
    assert_eq!(count("audio_samples_received"), 6 * count("audio_packets_received"));
    assert_eq!(count("audio_samples_silent"), 6 * count("audio_packets_lost"));
    assert_eq!(judged(&received), count("audio_samples_received"));
    assert_eq!(count("audio_samples_wrong"), 0);
    assert!(count("ancillary_packets_received") >= 6);
    assert_eq!(count("audio_restarts") + count("ancillary_restarts") + count("restarts"), 0);
}

#[test]
fn after_a_stall_sound_goes_on_where_the_pictures_do() {
    let mut sim = alone(programme(1000));
    let before = left(&mut sim, 2 * FRAME_NS + FRAME_NS / 3);
    sim.pass(5 * FRAME_NS);
    let after = left(&mut sim, 2 * FRAME_NS);
    let report = sim.report(0).services.remove(0);
    assert!(report.counter("frames_skipped") > 0);
    assert!((90..=105).contains(&report.counter("audio_packets_skipped")), "{report:?}");
    assert!((4..=6).contains(&report.counter("ancillary_fields_skipped")), "{report:?}");
    for port in [20010, 20020] {
        let times = |all: &[Left]| -> Vec<u64> {
            all.iter().filter(|it| it.port == port).map(|it| it.at_ns).collect()
        };
        let (before, after) = (times(&before), times(&after));
        assert!(!before.is_empty() && !after.is_empty());
        let closest = after.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        assert!(closest >= 500_000 - TURN_NS, "{port}: {closest}");
    }
    // What was left out has no numbers, and is no loss on the way.
    let numbers: Vec<u16> =
        before.iter().chain(&after).filter(|it| it.port == 20010).map(|it| it.sequence).collect();
    assert!(numbers.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == 1), "{numbers:?}");
}

#[test]
fn without_pictures_sound_and_data_go_alone() {
    let path = std::env::temp_dir().join(format!("tidegate-essence-{}.txt", std::process::id()));
    let back = path.with_extension("back");
    let text = "0 p Y 9 0 - 60/60 01 02\n1 p C 2047 4095 5 61/01 3ff\n3 p Y 11 7 - 41/05\n\
                frames 5\n";
    std::fs::write(&path, text).unwrap();
    let options = alone::Options {
        source_address: "198.18.0.1:20000".parse().unwrap(),
        interface: None,
        vlan: None,
        dscp: Default::default(),
        ttl: Default::default(),
        sdp: Default::default(),
        checksum: Default::default(),
        launch_time: Default::default(),
        audio: Some(sound(1000)),
        ancillary: Some(options::Ancillary {
            rate: Some("50".parse().unwrap()),
            ..data(path.to_str().unwrap())
        }),
    };
    let listening = listen::Options {
        audio: Some(hears()),
        ancillary: Some(receive::Ancillary {
            rate: Some("50".parse().unwrap()),
            ..reads(Some(back.clone()))
        }),
        ..listen::Options::default()
    };
    let listening = ServicePlan::of::<EssenceReceive>("in", listening).selector(0, 0);
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    sim.shard(&port, vec![ServicePlan::of::<EssenceSend>("out", options)], Policy::default())
        .unwrap();
    sim.shard(&port, vec![listening], Policy::default()).unwrap();
    sim.link((0, 0), (1, 0), Faults::default(), |_| 0);
    sim.run_for(12 * FRAME_NS - FRAME_NS / 2);
    let (sent, received) = ended(&mut sim);
    assert!((228..=240).contains(&sent.counter("audio_packets_sent")), "{sent:?}");
    assert!((11..=12).contains(&sent.counter("ancillary_fields_sent")));
    assert_eq!(received.counter("audio_samples_wrong"), 0);
    assert_eq!(judged(&received), received.counter("audio_samples_received"));
    assert!(received.counter("audio_samples_received") >= 225 * 48);
    // The file has come round twice and more: what arrived is the same from its first frame on.
    let (sent, came) = (by_frame(text), by_frame(&std::fs::read_to_string(&back).unwrap()));
    assert!(came.frames >= 11, "{came:?}");
    let start = (0..5).find(|start| {
        (0..came.frames)
            .all(|frame| came.packets.get(&frame) == sent.packets.get(&((frame + start) % 5)))
    });
    assert!(start.is_some(), "{came:?}");
    for file in [path, back] {
        let _ = std::fs::remove_file(file);
    }
}

/// Sound and data by two paths, each of which loses its own packets, and with no faults the same.
#[test]
fn what_one_path_of_sound_and_data_loses_the_other_brings() {
    let second = |port: u16| {
        Some(Second {
            destination: format!("198.18.0.2:{port}").parse().unwrap(),
            source_address: "198.18.0.1:20000".parse().unwrap(),
            interface: None,
            destination_mac: Some("02:00:00:00:00:02".parse().unwrap()),
            vlan: None,
        })
    };
    let path =
        |port: u16| Some(receiver::Second { port: Some(port), ..receiver::Second::default() });
    for loss_per_mille in [0, 50] {
        let options = programme(125);
        let sending = sender::Options {
            frames: Some(10),
            audio: options.audio.clone().map(|it| options::Audio { second: second(20012), ..it }),
            ancillary: (options.ancillary.clone())
                .map(|it| options::Ancillary { second: second(20022), ..it }),
            ..options
        };
        let receiving = receiver::Options {
            audio: Some(receive::Audio { second: path(20012), ..hears() }),
            ancillary: Some(receive::Ancillary { second: path(20022), ..reads(None) }),
            ..listens()
        };
        let faults = Faults { loss_per_mille, ..Faults::default() };
        let mut sim = pair(sending, receiving, faults);
        sim.run_for(12 * FRAME_NS);
        let (sent, received) = ended(&mut sim);
        let count = |name: &str| received.counter(name);
        assert_eq!(sent.counter("audio_packets_sent"), 10 * 160, "each counts once");
        assert_eq!(sent.counter("ancillary_packets_sent"), 10);
        let missing = 10 * 160 - count("audio_packets_received");
        let copies = received.dropped("copy");
        if loss_per_mille == 0 {
            assert_eq!((missing, copies), (0, 10 * 161));
            assert_eq!(count("anc_received"), 10);
        } else {
            // A twentieth of a twentieth, not a twentieth, which were 80.
            assert!((1..20).contains(&missing), "{missing}");
            assert!(copies > 1300, "{copies}");
        }
        assert_eq!(judged(&received), count("audio_samples_received"));
        assert_eq!(count("audio_samples_wrong") + count("audio_packets_duplicate"), 0);
    }
}

/// The lines of a file, by their frame and without it.
#[derive(Debug)]
struct ByFrame {
    packets: BTreeMap<u64, Vec<String>>,
    frames: u64,
}

fn by_frame(text: &str) -> ByFrame {
    let mut all = ByFrame { packets: BTreeMap::new(), frames: 0 };
    for line in text.lines() {
        let (first, rest) = line.split_once(' ').unwrap();
        match first {
            "frames" => all.frames = rest.parse().unwrap(),
            frame => {
                all.packets.entry(frame.parse().unwrap()).or_default().push(rest.to_owned());
            }
        }
    }
    all
}

#[test]
fn turns_of_a_programme_allocate_nothing() {
    let receiving = receiver::Options {
        sink: sink::Kind::Nothing,
        audio: Some(receive::Audio { sink: audio::sink::Kind::Nothing, ..hears() }),
        ..listens()
    };
    let mut sim = pair(programme(125), receiving, Faults::default());
    sim.run_for(3 * FRAME_NS);
    for turn in 0..FRAME_NS / TURN_NS {
        for shard in 0..2 {
            let counts = allocation_counter::measure(|| sim.turn_alone(shard));
            assert_eq!(counts.count_total, 0, "shard {shard}, turn {turn}");
        }
        sim.turn();
    }
}
