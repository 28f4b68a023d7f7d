//! Every format in every packing, fields, and what becomes of frames with holes.

use super::super::*;
use super::identity;
use crate::stream::video::format::{Depth, Sampling, Spec};
use crate::stream::video::packetizer::{Field, Packetizer};
use crate::stream::video::packing::Packing;
use crate::stream::video::pattern::{Pattern, Verified};

fn spec(width: u32, height: u32) -> Spec {
    Spec::new(width, height, Depth::Ten, "30000/1001".parse().unwrap())
}

/// A sender of the pattern in one format.
struct Sender {
    format: Format,
    packetizer: Packetizer,
    pattern: Pattern,
    sequence: u32,
}

impl Sender {
    fn new(spec: Spec, first: u32) -> Self {
        let format = spec.check().unwrap();
        let packetizer = Packetizer::new(&identity(1), &format);
        Self { format, packetizer, pattern: Pattern::new(format), sequence: first }
    }

    /// All packets of field `index` of frame `number`, with this timestamp.
    fn field(&mut self, number: u64, index: u32, timestamp: u32) -> Vec<Vec<u8>> {
        let picture = self.pattern.picture(number);
        let write = |packet| {
            let mut octets = vec![0; self.packetizer.payload_octets(&packet)];
            let field = Field { index, timestamp };
            self.packetizer.write(&mut octets, &packet, self.sequence, field, &picture);
            self.sequence = self.sequence.wrapping_add(1);
            octets
        };
        self.format.packets().map(write).collect()
    }

    /// All packets of frame `number`.
    fn frame(&mut self, number: u64) -> Vec<Vec<u8>> {
        let fields = 0..self.format.fields();
        let timestamp = |index| self.format.field_timestamp(number, index);
        let timestamps: Vec<_> = fields.map(timestamp).collect();
        let fields = (0..).zip(timestamps);
        fields.flat_map(|(index, at)| self.field(number, index, at)).collect()
    }
}

/// A receiver, which is told all but the packing.
fn receiver(spec: Spec, incomplete: Incomplete) -> Assembler {
    let format = Spec { packing: Packing::Gpm, ..spec }.check().unwrap();
    Assembler::new(format, 96, incomplete, 4)
}

/// What a delivered frame is to `pattern`.
fn shown(assembler: &mut Assembler, pattern: &mut Pattern) -> Vec<(u32, usize, Option<Verified>)> {
    let mut frames = Vec::new();
    while let Some(frame) = assembler.take_delivered() {
        let verified = frame.octets.as_ref().map(|octets| pattern.verify(octets));
        frames.push((frame.timestamp, frame.missing_octets, verified));
        if let Some(octets) = frame.octets {
            assembler.give_back(octets);
        }
    }
    frames
}

#[test]
fn every_format_arrives_in_every_packing() {
    let mut tried = 0;
    for sampling in Sampling::ALL {
        for depth in Depth::ALL {
            for scan in [Scan::Progressive, Scan::Interlaced, Scan::Psf] {
                for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
                    let spec = Spec { sampling, depth, scan, packing, ..spec(736, 20) };
                    if spec.check().is_err() {
                        continue;
                    }
                    tried += 1;
                    // Two frames, the first number shortly before the wrap.
                    let mut sender = Sender::new(spec, u32::MAX - 5);
                    let mut assembler = receiver(spec, Incomplete::Drop);
                    for number in [100, 101] {
                        let mut seen = Vec::new();
                        for packet in sender.frame(number) {
                            assert_eq!(assembler.packet(&packet), Outcome::Taken, "{spec:?}");
                            seen.extend(shown(&mut assembler, &mut sender.pattern));
                        }
                        let timestamp = sender.format.field_timestamp(number, 0);
                        let expected = (timestamp, 0, Some(Verified::Frame(number)));
                        assert_eq!(seen, [expected], "{spec:?}");
                    }
                }
            }
        }
    }
    assert!(tried > 90, "{tried}");
}

#[test]
fn fields_are_woven_whatever_their_timestamps_are_rounded_to() {
    let spec = Spec { scan: Scan::Interlaced, ..spec(128, 16) };
    // Half a frame is 1501.5 ticks. Some senders give both fields one timestamp.
    for later in [1501, 1502, 0] {
        let mut sender = Sender::new(spec, 0);
        let mut assembler = receiver(spec, Incomplete::Drop);
        let mut seen = Vec::new();
        for number in 0..4 {
            // The second frame is behind the wrap of 32 bits.
            let at = (u32::MAX - 2000).wrapping_add(3003 * u32::try_from(number).unwrap());
            for (index, at) in [(0, at), (1, at.wrapping_add(later))] {
                for packet in sender.field(number, index, at) {
                    assert_eq!(assembler.packet(&packet), Outcome::Taken);
                    seen.extend(shown(&mut assembler, &mut sender.pattern));
                }
            }
            assert_eq!(seen.pop(), Some((at, 0, Some(Verified::Frame(number)))), "{later}");
        }
    }
}

#[test]
fn a_frame_that_began_with_its_second_field_is_cut() {
    let spec = Spec { scan: Scan::Interlaced, ..spec(128, 16) };
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Mark);
    let packets: Vec<_> = (7..10).flat_map(|number| sender.frame(number)).collect();
    let mut seen = Vec::new();
    for packet in &packets[8..] {
        assembler.packet(packet);
        seen.extend(shown(&mut assembler, &mut sender.pattern));
    }
    let verified: Vec<_> = seen.iter().map(|frame| frame.2.unwrap()).collect();
    assert_eq!(verified, [Verified::Frame(8), Verified::Frame(9)]);
    let Stats { frames, frames_cut, frames_incomplete, .. } = assembler.stats();
    assert_eq!((frames, frames_cut, frames_incomplete), (2, 1, 0));
}

#[test]
fn a_lost_first_field_leaves_its_frame_where_it_was() {
    let spec = Spec { scan: Scan::Interlaced, ..spec(128, 16) };
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Mark);
    let mut seen = Vec::new();
    for number in 0..4 {
        let packets = sender.frame(number);
        let lost = if number == 1 { 8 } else { 0 };
        for packet in &packets[lost..] {
            assembler.packet(packet);
            seen.extend(shown(&mut assembler, &mut sender.pattern));
        }
    }
    let missing: Vec<_> = seen.iter().map(|frame| frame.1).collect();
    assert_eq!(missing, [0, 8 * 320, 0, 0]);
    // Half a frame is not whole ticks: the first field's timestamp was lost with it.
    let expected = sender.format.field_timestamp(1, 0);
    assert!(seen[1].0.abs_diff(expected) <= 1, "{} for {expected}", seen[1].0);
}

/// Frames 0 to 3 without packet 5 of frame 1 and packets 3 and 4 of frame 2.
fn with_holes(incomplete: Incomplete) -> (Vec<Delivered>, Stats) {
    let spec = spec(128, 16);
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, incomplete);
    let mut seen = Vec::new();
    for number in 0..4 {
        for (at, packet) in sender.frame(number).iter().enumerate() {
            if matches!((number, at), (1, 5) | (2, 3 | 4)) {
                continue;
            }
            assert_eq!(assembler.packet(packet), Outcome::Taken);
            while let Some(frame) = assembler.take_delivered() {
                // What the memory held before must not show: it is given back full of ones.
                let octets = frame.octets.clone();
                if let Some(octets) = frame.octets {
                    assembler.give_back(vec![0xff; octets.len()]);
                }
                seen.push(Delivered { octets, ..frame });
            }
        }
    }
    (seen, assembler.stats())
}

#[test]
fn incomplete_frames_are_dropped_or_marked_or_repeated() {
    let mut pattern = Pattern::new(spec(128, 16).check().unwrap());
    let mut whole = |number| {
        let picture = pattern.picture(number);
        (0..16).flat_map(|row| picture.octets(row, 0, 320)).copied().collect::<Vec<_>>()
    };
    let of = |seen: &[Delivered]| -> Vec<(u32, usize)> {
        seen.iter().map(|frame| (frame.timestamp, frame.missing_octets)).collect()
    };
    for policy in [Incomplete::Drop, Incomplete::Mark, Incomplete::Repeat] {
        let (seen, stats) = with_holes(policy);
        let expected = Stats {
            packets: 61,
            frames: 2,
            frames_incomplete: 2,
            octets_missing: 960,
            ..Stats::default()
        };
        assert_eq!(stats, expected, "{policy:?}");
        let octets = |at: usize| seen[at].octets.as_ref();
        match policy {
            Incomplete::Drop => {
                assert_eq!(of(&seen), [(0, 0), (9009, 0)]);
                assert_eq!((octets(0), octets(1)), (Some(&whole(0)), Some(&whole(3))));
                continue;
            }
            Incomplete::Mark => {
                let mut holes = [whole(1), whole(2)];
                holes[0][5 * 320..6 * 320].fill(0);
                holes[1][3 * 320..5 * 320].fill(0);
                assert_eq!((octets(1), octets(2)), (Some(&holes[0]), Some(&holes[1])));
            }
            Incomplete::Repeat => assert_eq!((octets(1), octets(2)), (None, None)),
        }
        assert_eq!(of(&seen), [(0, 0), (3003, 320), (6006, 640), (9009, 0)]);
        assert_eq!((octets(0), octets(3)), (Some(&whole(0)), Some(&whole(3))));
    }
}

#[test]
fn without_a_frame_before_there_is_nothing_to_repeat() {
    let spec = spec(128, 16);
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Repeat);
    for number in 0..3 {
        for packet in &sender.frame(number)[..15] {
            assembler.packet(packet);
            assert!(assembler.take_delivered().is_none());
        }
    }
    assert_eq!(assembler.stats().frames_incomplete, 1);
}

#[test]
fn two_copies_of_a_line_are_not_two_lines() {
    let spec = spec(128, 16);
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Mark);
    for number in 0..3 {
        let mut packets = sender.frame(number);
        if number == 0 {
            // Line 6 says that it is line 7: as many packets and octets as ever.
            packets[6][17] = 7;
        }
        for packet in &packets {
            assert_eq!(assembler.packet(packet), Outcome::Taken);
        }
    }
    let first = assembler.take_delivered().unwrap();
    assert_eq!((first.timestamp, first.missing_octets), (0, 320));
    assert_eq!(assembler.stats().frames, 2);
}

#[test]
fn header_extensions_and_contributing_sources_are_skipped() {
    let spec = Spec { packing: Packing::Gpm, ..spec(640, 16) };
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Drop);
    let mut seen = Vec::new();
    for (at, mut packet) in sender.frame(9).into_iter().enumerate() {
        let mut between = vec![0xc1; 4 * (at % 3)];
        packet[0] |= (at % 3).to_le_bytes()[0];
        if at % 2 == 0 {
            // RFC 8285's one-octet form, with two words.
            packet[0] |= 0x10;
            between.extend([0xbe, 0xde, 0, 2, 0x51, 1, 2, 0x61, 3, 4, 0, 0]);
        }
        packet.splice(12..12, between);
        assert_eq!(assembler.packet(&packet), Outcome::Taken);
        seen.extend(shown(&mut assembler, &mut sender.pattern));
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].2, Some(Verified::Frame(9)));
}

/// ST 2110-20, 6.2.1: a length of 0 is a packet without pixels; and what is behind the rows' pixels,
/// as blocks of a short last packet have it, is nobody's.
#[test]
fn a_row_without_pixels_and_octets_behind_the_last_row_are_borne() {
    let spec = Spec { packing: Packing::Bpm, ..spec(640, 16) };
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Drop);
    let mut packets = sender.frame(9);
    let last = packets.last_mut().unwrap();
    last.resize(12 + 2 + 6 + 1260, 0);
    // The number before the first one's: a length, line and offset of 0.
    let mut empty = packets[0][..20].to_vec();
    empty[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
    empty[12..20].copy_from_slice(&[0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    let mut seen = Vec::new();
    for packet in [empty].iter().chain(&packets) {
        assert_eq!(assembler.packet(packet), Outcome::Taken);
        seen.extend(shown(&mut assembler, &mut sender.pattern));
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].2, Some(Verified::Frame(9)));
    assert_eq!(assembler.stats().lost, 0);
}

/// ST 2110-10, 6.2: receivers tolerate RTCP, here a sender report on the port of the pixels.
#[test]
fn rtcp_on_the_port_is_counted_and_disturbs_nothing() {
    let spec = spec(640, 16);
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Drop);
    let mut report = vec![0x80, 200, 0, 6];
    report.extend([0; 24]);
    let mut seen = Vec::new();
    for packet in sender.frame(9) {
        assert_ne!(assembler.packet(&report), Outcome::Taken);
        assert_eq!(assembler.packet(&packet), Outcome::Taken);
        seen.extend(shown(&mut assembler, &mut sender.pattern));
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].2, Some(Verified::Frame(9)));
    let stats = assembler.stats();
    assert_eq!((stats.lost, stats.restarts), (0, 0));
    assert_eq!(stats.malformed + stats.wrong_format, stats.packets);
}

#[test]
fn rows_of_4_2_0_are_counted_in_lines() {
    let spec = Spec { sampling: Sampling::YCbCr420, ..spec(256, 16) };
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Drop);
    let packets = sender.frame(0);
    let lines: Vec<u8> = packets.iter().map(|packet| packet[17]).collect();
    assert_eq!(lines, [0, 2, 4, 6, 8, 10, 12, 14]);
    // A pgroup has two lines: it cannot begin in the second one.
    let mut odd = packets[0].clone();
    odd[17] = 1;
    assert_eq!(assembler.packet(&odd), Outcome::WrongFormat);
}

#[test]
fn taking_packets_allocates_nothing() {
    let spec = Spec { packing: Packing::Gpm, ..spec(1280, 720) };
    let mut sender = Sender::new(spec, 0);
    let mut assembler = receiver(spec, Incomplete::Mark);
    let frames: Vec<Vec<Vec<u8>>> = (0..6).map(|number| sender.frame(number)).collect();
    let mut feed = |frame: &[Vec<u8>]| {
        for (at, packet) in frame.iter().enumerate() {
            // Now and then one is lost.
            if at % 1000 == 999 {
                continue;
            }
            assembler.packet(packet);
            while let Some(frame) = assembler.take_delivered() {
                frame.octets.into_iter().for_each(|octets| assembler.give_back(octets));
            }
        }
    };
    // The first takes memory for the run.
    feed(&frames[0]);
    let counts = allocation_counter::measure(|| frames[1..].iter().for_each(|frame| feed(frame)));
    assert_eq!(counts.count_total, 0);
    assert!(assembler.stats().frames_incomplete >= 3);
}
