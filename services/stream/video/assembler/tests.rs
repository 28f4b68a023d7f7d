//! The assembler against packets made by hand, and against a model of a bad network.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use tidegate_dataplane::wire::{rfc4175, rtp};
use tidegate_runtime::sim::Random;

use super::*;
use crate::stream::video::format::Depth;
use crate::stream::video::packetizer::{Field, Identity, Packetizer};
use crate::stream::video::pattern::{Pattern, Verified};

mod formats;
mod paths;

/// 16 lines of one packet each.
fn format() -> Format {
    Format::new(128, 16, Depth::Ten, "50".parse().unwrap()).unwrap()
}

const PACKETS: u32 = 16;

thread_local! {
    /// Drawn once: the texture is most of a small frame's cost.
    static PATTERN: RefCell<Pattern> = RefCell::new(Pattern::new(format()));
}

fn assembler() -> Assembler {
    Assembler::new(format(), 96, Incomplete::Drop, 4)
}

const fn identity(ssrc: u32) -> Identity {
    Identity { payload_type: 96, ssrc }
}

fn datagram(ssrc: u32, frame: u64, packet: u32, sequence: u32) -> Vec<u8> {
    let packetizer = Packetizer::new(&identity(ssrc), &format());
    let packet = format().packets().nth(packet as usize).unwrap();
    let mut octets = vec![0; packetizer.payload_octets(&packet)];
    let field = Field { index: 0, timestamp: format().rate().timestamp(frame) };
    PATTERN.with_borrow_mut(|pattern| {
        packetizer.write(&mut octets, &packet, sequence, field, &pattern.picture(frame));
    });
    octets
}

/// Packet `index` of a stream that starts with frame 100 and this number.
fn stream(index: u32, first: u32) -> Vec<u8> {
    let frame = 100 + u64::from(index / PACKETS);
    datagram(1, frame, index % PACKETS, first.wrapping_add(index))
}

/// Feeds and returns the number of the frame that became complete.
fn feed(assembler: &mut Assembler, datagram: &[u8]) -> (Outcome, Option<Verified>) {
    let outcome = assembler.packet(datagram);
    let complete = assembler.take_delivered().map(|frame| {
        assert_eq!(frame.missing_octets, 0);
        let octets = frame.octets.unwrap();
        let verified = PATTERN.with_borrow_mut(|pattern| pattern.verify(&octets));
        assembler.give_back(octets);
        verified
    });
    (outcome, complete)
}

#[test]
fn frames_come_out_with_their_last_packet() {
    for first in [0, 0xfff0, 0xffff_fff0, 0xffff_ffff] {
        let mut assembler = assembler();
        for index in 0..5 * PACKETS {
            let (outcome, complete) = feed(&mut assembler, &stream(index, first));
            assert_eq!(outcome, Outcome::Taken);
            let last = index % PACKETS == PACKETS - 1;
            let number = 100 + u64::from(index / PACKETS);
            assert_eq!(complete, last.then_some(Verified::Frame(number)));
        }
        assembler.finish();
        let expected = Stats { packets: 80, frames: 5, ..Stats::default() };
        assert_eq!(assembler.stats(), expected, "from {first:#x}");
    }
}

#[test]
fn timestamps_wrap_between_frames() {
    // 1800 ticks a frame: the wrap of 32 bits lies within this frame.
    let frame = (1_u64 << 32) / 1800;
    let mut assembler = assembler();
    for index in 0..3 * PACKETS {
        let number = frame - 1 + u64::from(index / PACKETS);
        feed(&mut assembler, &datagram(1, number, index % PACKETS, index));
    }
    assert_eq!(assembler.stats(), Stats { packets: 48, frames: 3, ..Stats::default() });
}

/// The same stream from a sender that leaves the extended half as it is.
fn short(index: u32, first: u32) -> Vec<u8> {
    let mut datagram = stream(index, first);
    datagram[12..14].copy_from_slice(&[0, 0]);
    datagram
}

#[test]
fn numbers_of_16_bits_wrap_as_well_and_nothing_is_lost_by_it() {
    // Within a frame, between two, and with the first packets of the turn in another order.
    for (first, swapped) in [(65_536 - 40, None), (65_536 - 48, None), (65_536 - 40, Some(39))] {
        let mut assembler = assembler();
        let mut order: Vec<u32> = (0..8 * PACKETS).collect();
        if let Some(at) = swapped {
            order.swap(at, at + 1);
        }
        let completed: Vec<_> = order
            .iter()
            .filter_map(|&index| feed(&mut assembler, &short(index, first)).1)
            .collect();
        assert_eq!(completed, (100..108).map(Verified::Frame).collect::<Vec<_>>(), "from {first}");
        assembler.finish();
        let Stats { packets, lost, restarts, frames_cut, .. } = assembler.stats();
        assert_eq!((packets, lost, restarts, frames_cut), (8 * 16, 0, 0, 0));
    }
}

#[test]
fn numbers_of_16_bits_wrap_again_and_again() {
    let mut assembler = assembler();
    let mut completed = 0;
    for index in 0..200_000 / PACKETS * PACKETS {
        completed += u32::from(feed(&mut assembler, &short(index, 65_000)).1.is_some());
    }
    assert_eq!(completed, 200_000 / PACKETS);
    assert_eq!(assembler.stats().lost, 0);
}

#[test]
fn losses_over_a_wrap_of_16_bits_are_counted_to_the_packet() {
    let mut assembler = assembler();
    for index in (0..8 * PACKETS).filter(|index| !(38..45).contains(index)) {
        feed(&mut assembler, &short(index, 65_536 - 40));
    }
    assembler.finish();
    let Stats { packets, lost, restarts, .. } = assembler.stats();
    assert_eq!((packets, lost, restarts), (8 * 16 - 7, 7, 0));
}

#[test]
fn one_missing_packet_is_one_loss_and_one_incomplete_frame() {
    let mut assembler = assembler();
    for index in (0..4 * PACKETS).filter(|&index| index != 20) {
        feed(&mut assembler, &stream(index, 0));
    }
    assembler.finish();
    let expected = Stats {
        packets: 63,
        lost: 1,
        frames: 3,
        frames_incomplete: 1,
        octets_missing: 320,
        ..Stats::default()
    };
    assert_eq!(assembler.stats(), expected);
}

#[test]
fn duplicates_are_counted_and_change_nothing() {
    let mut assembler = assembler();
    for index in 0..2 * PACKETS {
        feed(&mut assembler, &stream(index, 0));
        assert_eq!(feed(&mut assembler, &stream(index, 0)), (Outcome::Duplicate, None));
    }
    let expected = Stats { packets: 32, duplicates: 32, frames: 2, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

#[test]
fn reordering_across_a_frames_boundary_is_forgiven() {
    let mut assembler = assembler();
    let mut order: Vec<u32> = (0..3 * PACKETS).collect();
    order.swap(14, 17); // The last but one of the first frame comes within the second.
    for index in order {
        feed(&mut assembler, &stream(index, 0));
    }
    let expected = Stats { packets: 48, reordered: 3, frames: 3, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

#[test]
fn a_frame_that_had_begun_is_cut_and_not_incomplete() {
    let mut assembler = assembler();
    for index in 5..2 * PACKETS + 3 {
        feed(&mut assembler, &stream(index, 0));
    }
    assembler.finish();
    let expected = Stats { packets: 30, frames: 1, frames_cut: 2, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

#[test]
fn a_restart_with_the_same_source_is_noticed_at_once() {
    let mut assembler = assembler();
    for index in 0..2 * PACKETS + 4 {
        feed(&mut assembler, &stream(index, 1000));
    }
    // The same source again, ten frames later, from the first number on.
    for packet in 0..PACKETS {
        feed(&mut assembler, &datagram(1, 112, packet, 1000 + packet));
    }
    let expected = Stats { packets: 52, frames: 3, frames_cut: 1, restarts: 1, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

#[test]
fn a_restart_at_an_earlier_time_is_noticed() {
    let mut assembler = assembler();
    for index in 0..PACKETS {
        feed(&mut assembler, &stream(index, 0));
    }
    for packet in 0..PACKETS {
        feed(&mut assembler, &datagram(1, 3, packet, 50_000 + packet));
    }
    let expected = Stats { packets: 32, frames: 2, restarts: 1, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

#[test]
fn another_source_is_taken_when_it_persists_and_not_before() {
    let mut assembler = assembler();
    let stranger = |index: u32| datagram(2, 500 + u64::from(index / 16), index % 16, index);
    for index in 0..PACKETS {
        feed(&mut assembler, &stream(index, 0));
        assert_eq!(feed(&mut assembler, &stranger(index)).0, Outcome::Stranger);
    }
    assert_eq!(assembler.stats().frames, 1);
    for index in 0..63 {
        assert_eq!(feed(&mut assembler, &stranger(index)).0, Outcome::Stranger, "{index}");
        if index == 30 {
            // One packet of ours, and the stranger has to begin anew.
            feed(&mut assembler, &stream(PACKETS, 0));
            for index in 0..32 {
                assert_eq!(feed(&mut assembler, &stranger(index)).0, Outcome::Stranger);
            }
        }
        if index == 61 {
            break;
        }
    }
    assert_eq!(feed(&mut assembler, &stranger(64)).0, Outcome::Taken);
    assert_eq!(assembler.stats().restarts, 1);
}

#[test]
fn an_outage_is_counted_to_the_packet() {
    let mut assembler = assembler();
    for index in (0..PACKETS).chain(2000 * PACKETS..2001 * PACKETS) {
        feed(&mut assembler, &stream(index, 7));
    }
    assembler.finish();
    let expected =
        Stats { packets: 32, lost: u64::from(1999 * PACKETS), frames: 2, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

/// A packet with these rows and `octets` of data in each.
fn rows(payload_type: u8, rows: &[(u16, u16, u16)]) -> Vec<u8> {
    let header = rtp::Header { marker: false, payload_type, sequence: 0, timestamp: 0, ssrc: 1 };
    let mut octets = header.emit().to_vec();
    octets.extend([0, 0]);
    for (at, &(line, offset, length)) in rows.iter().enumerate() {
        let header = rfc4175::Header {
            extended_sequence: 0,
            data_octets: length,
            line,
            offset_pixels: offset,
        };
        let mut row = header.emit()[2..].to_vec();
        row[4] |= u8::from(at + 1 < rows.len()) << 7;
        octets.extend(row);
    }
    octets.extend(vec![0; rows.iter().map(|row| usize::from(row.2)).sum()]);
    octets
}

#[test]
fn packets_of_another_format_are_refused_whole() {
    let mut assembler = assembler();
    let table: [(&str, Vec<u8>); 7] = [
        ("payload type", rows(97, &[(0, 0, 320)])),
        ("line behind the last", rows(96, &[(16, 0, 320)])),
        ("past the line's end", rows(96, &[(0, 2, 320)])),
        ("odd offset", rows(96, &[(0, 1, 5)])),
        ("half a pgroup", rows(96, &[(0, 0, 4)])),
        ("second of two rows", rows(96, &[(0, 0, 320), (99, 0, 320)])),
        ("second field", {
            let mut octets = rows(96, &[(0, 0, 320)]);
            octets[16] |= 0x80;
            octets
        }),
    ];
    for (what, octets) in &table {
        assert_eq!(assembler.packet(octets), Outcome::WrongFormat, "{what}");
    }
    assert_eq!(assembler.stats(), Stats { wrong_format: 7, ..Stats::default() });
}

#[test]
fn what_is_no_video_is_malformed() {
    let mut assembler = assembler();
    let good = stream(0, 0);
    for end in 0..good.len() {
        assert_eq!(assembler.packet(&good[..end]), Outcome::Malformed, "{end} octets");
    }
}

/// Lines that cross packets and packets with two rows: another sender's packing.
#[test]
fn understands_packings_that_are_not_ours() {
    let mut pattern = Pattern::new(format());
    let picture = pattern.picture(100);
    let octets: Vec<u8> = (0..16).flat_map(|line| picture.octets(line, 0, 320)).copied().collect();
    let mut assembler = assembler();
    let mut complete = None;
    let size = 450; // 90 pgroups; a line has 64.
    for (number, chunk) in octets.chunks(size).enumerate() {
        let (mut headers, mut at) = (Vec::new(), number * size);
        let end = at + chunk.len();
        while at < end {
            let (line, within) = (at / 320, at % 320);
            let length = (320 - within).min(end - at);
            headers.push((line as u16, (within / 5 * 2) as u16, length as u16));
            at += length;
        }
        let mut packet = rows(96, &headers);
        let data = packet.len() - chunk.len();
        packet[data..].copy_from_slice(chunk);
        packet[1] |= u8::from(end == octets.len()) << 7;
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        let (outcome, verified) = feed(&mut assembler, &packet);
        assert_eq!(outcome, Outcome::Taken);
        complete = complete.or(verified);
    }
    assert_eq!(complete, Some(Verified::Frame(100)));
}

#[test]
fn without_memory_frames_are_counted_but_not_kept() {
    let mut assembler = Assembler::new(format(), 96, Incomplete::Drop, 1);
    for index in 0..3 * PACKETS {
        assembler.packet(&stream(index, 0));
        let _ = assembler.take_delivered(); // And never given back.
    }
    let expected = Stats { packets: 48, frames: 3, frames_unstored: 2, ..Stats::default() };
    assert_eq!(assembler.stats(), expected);
}

/// Loss, duplicates and delays by chance; the oracle knows what was sent and what arrived.
#[test]
fn agrees_with_a_model_of_a_bad_network() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let packets: Vec<Vec<u8>> = (0..30 * PACKETS).map(|index| stream(index, 0xffff_ff00)).collect();
    for seed in seed..seed + 30 {
        eprintln!("SEED={seed}");
        let mut random = Random::new(seed);
        let mut arrivals: Vec<(u64, usize)> = Vec::new();
        for at in 0..packets.len() {
            let copies = if random.chance(5) { 0 } else { 1 + u64::from(random.chance(20)) };
            // The first and the last always arrive, so that both sides agree on the run.
            for _ in 0..if at == 0 || at + 1 == packets.len() { 1 } else { copies } {
                let delay = if at > 0 && random.chance(50) { random.below(8) } else { 0 };
                arrivals.push((at as u64 * 2 + delay, at));
            }
        }
        arrivals.sort_by_key(|&(time, _)| time);
        let mut assembler = assembler();
        let mut complete = Vec::new();
        let (mut seen, mut newest, mut expected) = (HashSet::new(), 0, Stats::default());
        let mut per_frame = HashMap::<u64, u32>::new();
        for &(_, at) in &arrivals {
            let (_, verified) = feed(&mut assembler, &packets[at]);
            complete.extend(verified);
            if !seen.insert(at) {
                expected.duplicates += 1;
                continue;
            }
            expected.packets += 1;
            expected.reordered += u64::from(at < newest);
            newest = newest.max(at);
            *per_frame.entry(at as u64 / 16).or_default() += 1;
        }
        assembler.finish();
        expected.lost = packets.len() as u64 - expected.packets;
        let whole: Vec<u64> =
            (0..30).filter(|frame| per_frame.get(frame) == Some(&PACKETS)).collect();
        expected.frames = whole.len() as u64;
        let stats = assembler.stats();
        // An incomplete last frame is cut by the end and not given up.
        assert_eq!(stats.frames_incomplete + stats.frames_cut, 30 - expected.frames);
        expected.frames_incomplete = stats.frames_incomplete;
        expected.frames_cut = stats.frames_cut;
        expected.octets_missing = stats.octets_missing;
        assert_eq!(stats, expected);
        let whole: Vec<_> = whole.iter().map(|frame| Verified::Frame(100 + frame)).collect();
        assert_eq!(complete, whole);
    }
}
