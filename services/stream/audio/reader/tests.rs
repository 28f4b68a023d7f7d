//! Every sample is where its timestamp puts it, whatever the network does.

use tidegate_dataplane::wire::rtp;
use tidegate_runtime::sim::Random;

use super::super::format::{Depth, Spec};
use super::super::tone;
use super::*;

fn format() -> Format {
    Spec { depth: Depth::TwentyFour, sample_rate: 48_000, channels: 3, packet_time_us: 1000 }
        .check()
        .unwrap()
}

/// A packet of `samples` whose first has this timestamp.
fn packet(ssrc: u32, sequence: u16, timestamp: u32, samples: usize) -> Vec<u8> {
    let header = rtp::Header { marker: false, payload_type: 97, sequence, timestamp, ssrc };
    let mut octets = header.emit().to_vec();
    octets.resize(12 + samples * 9, 0);
    tone::write(&format(), timestamp, &mut octets[12..]);
    octets
}

fn reader() -> Reader {
    Reader::new(format(), 97, 8)
}

/// What was delivered: each sample's number, and its octets where it came.
fn delivered(reader: &mut Reader) -> Vec<(u32, Option<Vec<u8>>)> {
    let mut samples = Vec::new();
    while let Some(block) = reader.take_delivered() {
        assert_eq!(block.number % 1024, 0);
        let first = block.timestamp();
        for (at, octets) in (0..).zip(block.samples(9).chunks(9)) {
            let came = block.has(block.of_run.0 + at as usize);
            assert!(came || octets.iter().all(|&octet| octet == 0), "silence");
            samples.push((first.wrapping_add(at), came.then(|| octets.to_vec())));
        }
        reader.give_back(block.octets);
    }
    samples
}

/// Whatever the network does, each sample is where its timestamp puts it, or silent and counted.
#[test]
fn agrees_with_a_model_that_keeps_every_sample() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for seed in seed..seed + 20 {
        eprintln!("SEED={seed}");
        let mut random = Random::new(seed);
        let samples = [6, 12, 48, 96][usize::try_from(random.below(4)).unwrap()];
        // Before the wraps of both clock and number.
        let (first, first_number) = (u32::MAX - 20_000, 65_000_u16);
        let mut arrivals = Vec::new();
        for index in 0..2000_u32 {
            let copies = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2][usize::try_from(random.below(10)).unwrap()];
            for copy in 0..copies {
                let late =
                    if random.chance(100) { random.below(1024 / u64::from(samples)) } else { 0 };
                arrivals.push((u64::from(index) + late + copy, index));
            }
        }
        arrivals.sort_by_key(|&(at, _)| at);
        let mut reader = reader();
        let (mut model, mut all) = (std::collections::BTreeSet::new(), Vec::new());
        let origin = arrivals[0].1;
        let (mut taken, mut twice) = (0, 0);
        for &(_, index) in &arrivals {
            let timestamp = first.wrapping_add(index * samples);
            #[expect(clippy::cast_possible_truncation, reason = "numbers wrap")]
            let number = first_number.wrapping_add(index as u16);
            let octets = packet(7, number, timestamp, samples as usize);
            let expected = match (index < origin, model.contains(&index)) {
                (true, _) => Outcome::TooLate,
                (_, true) => Outcome::Duplicate,
                _ => Outcome::Taken,
            };
            assert_eq!(reader.packet(&octets), expected, "packet {index}");
            taken += u64::from(expected == Outcome::Taken);
            twice += u64::from(expected == Outcome::Duplicate);
            if expected == Outcome::Taken {
                model.insert(index);
            }
            all.extend(delivered(&mut reader));
        }
        reader.finish();
        all.extend(delivered(&mut reader));
        let last = *model.last().unwrap();
        assert_eq!(all.len() as u64, u64::from((last + 1 - origin) * samples));
        for (at, (number, octets)) in (origin * samples..).zip(&all) {
            assert_eq!(*number, first.wrapping_add(at));
            let came = model.contains(&(at / samples));
            let mut expected = vec![0; 9];
            tone::write_frame(&format(), *number, &mut expected);
            assert_eq!(octets.as_deref(), came.then_some(&expected[..]), "sample {at}");
        }
        let Stats { packets, samples: came, samples_silent, samples_unstored } = reader.stats();
        assert_eq!((packets.packets, packets.duplicates), (taken, twice));
        assert_eq!(packets.lost, u64::from(last + 1 - origin) - taken);
        assert_eq!(came, taken * u64::from(samples));
        assert_eq!(samples_silent, packets.lost * u64::from(samples));
        assert_eq!((samples_unstored, packets.restarts), (0, 0));
    }
}

#[test]
fn a_pause_is_silence_that_nobody_writes() {
    let mut reader = reader();
    for index in [0_u16, 1, 1000, 1001] {
        assert_eq!(reader.packet(&packet(7, index, u32::from(index) * 48, 48)), Outcome::Taken);
    }
    reader.finish();
    let came = delivered(&mut reader);
    assert_eq!(came.first().unwrap().0, 0);
    assert_eq!(came.last().unwrap().0, 1002 * 48 - 1);
    assert!(came.len() < 3 * 1024, "the blocks between are not delivered");
    let stats = reader.stats();
    assert_eq!((stats.samples, stats.samples_silent), (4 * 48, 998 * 48));
    assert_eq!(stats.packets.lost, 998);
}

#[test]
fn a_sender_that_begins_anew_begins_a_run() {
    let mut reader = reader();
    for index in 0..30_u16 {
        reader.packet(&packet(7, index, u32::from(index) * 48, 48));
    }
    for index in 0..30_u16 {
        reader.packet(&packet(7, index + 5, 7_000_000 + u32::from(index) * 48, 48));
    }
    reader.finish();
    let came = delivered(&mut reader);
    assert_eq!(came.len(), 60 * 48);
    assert!(came.iter().all(|(_, octets)| octets.is_some()));
    let Stats { packets, samples_silent, .. } = reader.stats();
    assert_eq!((packets.restarts, packets.lost, samples_silent), (1, 0, 0));
}

#[test]
fn what_is_of_another_format_changes_nothing() {
    let mut reader = reader();
    let good = packet(7, 0, 0, 48);
    assert_eq!(reader.packet(&good), Outcome::Taken);
    assert_eq!(reader.packet(&good[..11]), Outcome::Malformed);
    // Not whole samples, none at all, and another payload type.
    assert_eq!(reader.packet(&packet(7, 1, 48, 48)[..12 + 431]), Outcome::WrongFormat);
    assert_eq!(reader.packet(&packet(7, 1, 48, 0)), Outcome::WrongFormat);
    let mut other = packet(7, 1, 48, 48);
    other[1] = 98;
    assert_eq!(reader.packet(&other), Outcome::WrongFormat);
    assert_eq!(reader.packet(&packet(8, 1, 48, 48)), Outcome::Stranger);
    assert_eq!(reader.packet(&packet(7, 1, 48, 1025)), Outcome::WrongFormat);
    assert_eq!(reader.packet(&packet(7, 1, 48, 48)), Outcome::Taken);
    assert_eq!(reader.stats().samples, 96);
}

#[test]
fn without_memory_samples_are_counted_and_gone() {
    let mut reader = Reader::new(format(), 97, 1);
    for index in 0..100_u16 {
        assert_eq!(reader.packet(&packet(7, index, u32::from(index) * 48, 48)), Outcome::Taken);
    }
    reader.finish();
    // The first block has the only memory, which nobody gives back.
    let blocks: Vec<Block> = std::iter::from_fn(|| reader.take_delivered()).collect();
    assert_eq!(blocks.iter().map(Block::len).collect::<Vec<_>>(), [1024]);
    let stats = reader.stats();
    assert_eq!((stats.samples, stats.samples_unstored), (4800, 4800 - 1024));
    assert_eq!(stats.samples_silent, 0);
}

#[test]
fn taking_packets_allocates_nothing() {
    let mut reader = reader();
    let packets: Vec<_> =
        (0..200_u16).map(|index| packet(7, index, u32::from(index) * 48, 48)).collect();
    reader.packet(&packets[0]);
    let counts = allocation_counter::measure(|| {
        for octets in &packets[1..] {
            assert_eq!(reader.packet(octets), Outcome::Taken);
            while let Some(block) = reader.take_delivered() {
                reader.give_back(block.octets);
            }
        }
    });
    assert_eq!(counts.count_total, 0);
}
