//! Video whose row headers lie, against a reader of its own: each packet is taken or refused as
//! RFC 4175 says, and the frames have exactly what was taken.

use std::collections::BTreeMap;
use std::env;

use tidegate::stream::outcome::Outcome;
use tidegate::stream::redundancy::SkewClass;
use tidegate::stream::video::assembler::{Assembler, Incomplete};
use tidegate::stream::video::packetizer::{Field, Identity, Packetizer};
use tidegate::stream::video::picture::Picture;
use tidegate::stream::video::{Depth, Format, Packing, Sampling, Scan, Spec};
use tidegate_runtime::sim::Random;

use super::{Suspect, run};

const RTP: usize = 12;

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap()]
}

/// Some format that can be sent.
fn format(random: &mut Random) -> Format {
    loop {
        let width = u32::try_from(128 + random.below(300) * 2).unwrap();
        let spec = Spec {
            sampling: pick(random, &Sampling::ALL),
            depth: pick(random, &Depth::ALL),
            // Interlaced fields are told apart by their timestamps as well, which nobody damages
            // here.
            scan: pick(random, &[Scan::Progressive, Scan::Psf]),
            packing: pick(random, &[Packing::GpmLine, Packing::Gpm, Packing::Bpm]),
            ..Spec::new(width, 16, Depth::Ten, "25".parse().unwrap())
        };
        if let Ok(format) = spec.check() {
            return format;
        }
    }
}

/// Writes something else into the part behind RTP's header, but for the sequence number.
fn damage(random: &mut Random, packet: &mut Vec<u8>) {
    let word = |random: &mut Random| u16::try_from(random.below(1 << 16)).unwrap().to_be_bytes();
    let header = RTP + 2 + 6 * usize::try_from(random.below(3)).unwrap();
    match random.below(8) {
        // Length, line, offset: anything, or nearly right; and what goes with them, F and C.
        0 => packet[header..header + 2].copy_from_slice(&word(random)),
        1 => packet[header + 2..header + 4].copy_from_slice(&word(random)),
        2 => packet[header + 4..header + 6].copy_from_slice(&word(random)),
        3 => {
            let at = header + pick(random, &[1, 3, 5]);
            packet[at] = packet[at].wrapping_add(pick(random, &[1, 2, 255, 254]));
        }
        4 => packet[header + pick(random, &[2, 4])] ^= 0x80,
        5 => {
            let len = usize::try_from(random.below(packet.len() as u64 + 1)).unwrap();
            packet.truncate(len);
        }
        6 => {
            let more = usize::try_from(random.below(64)).unwrap();
            packet.resize(packet.len() + more, 0x77);
        }
        _ => {
            let at = RTP + 2 + usize::try_from(random.below(packet.len() as u64 - 14)).unwrap();
            packet[at] ^= 1 << random.below(8);
        }
    }
}

/// Puts sources, an extension and padding around the payload, as RTP allows.
fn dress(random: &mut Random, packet: &mut Vec<u8>) {
    let mut between = Vec::new();
    if random.chance(100) {
        packet[0] |= 2;
        between.extend([0xee; 8]);
    }
    if random.chance(100) {
        packet[0] |= 0x10;
        between.extend([0xbe, 0xde, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    }
    packet.splice(RTP..RTP, between);
    if random.chance(100) {
        packet[0] |= 0x20;
        packet.extend([0, 0, 3]);
    }
}

/// What the model makes of a packet that is not dressed: pieces with their first octet in the
/// picture, or what is wrong.
fn read(format: &Format, packet: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, Outcome> {
    let mut headers = Vec::new();
    let mut at = RTP + 2;
    loop {
        let header = packet.get(at..at + 6).ok_or(Outcome::Malformed)?;
        headers.push(header);
        at += 6;
        if header[4] < 0x80 {
            break;
        }
        if headers.len() == 8 {
            return Err(Outcome::Malformed);
        }
    }
    let mut pieces = Vec::new();
    let mut wrong = false;
    for header in headers {
        let word = |at: usize| u32::from(header[at]) << 8 | u32::from(header[at + 1]);
        let (length, line, offset) = (word(0), word(2) & 0x7fff, word(4) & 0x7fff);
        let field = word(2) >> 15;
        let data = packet.get(at..at + length as usize).ok_or(Outcome::Malformed)?;
        at += length as usize;
        let group = format.pgroup();
        let rows = line / group.lines * format.fields() + field;
        let within = offset / group.pixels * group.octets;
        wrong |= line % group.lines != 0
            || offset % group.pixels != 0
            || length % group.octets != 0
            || field >= format.fields()
            || line >= format.height() / format.fields()
            || within + length > format.row_octets();
        pieces.push(((rows * format.row_octets() + within) as usize, data.to_vec()));
    }
    if wrong { Err(Outcome::WrongFormat) } else { Ok(pieces) }
}

/// A frame of the model: each octet that has come.
type Model = BTreeMap<u64, Vec<Option<u8>>>;

/// Frames by their timestamps, with the octets that each misses.
type Delivered = BTreeMap<u32, (usize, Vec<u8>)>;

fn deliver(assembler: &mut Assembler, delivered: &mut Delivered) {
    while let Some(frame) = assembler.take_delivered() {
        let octets = frame.octets.unwrap();
        let copy = octets.clone();
        assembler.give_back(octets);
        let seen = (frame.missing_octets, copy);
        assert!(delivered.insert(frame.timestamp, seen).is_none(), "twice");
    }
}

#[test]
fn frames_have_what_was_taken_and_nothing_else() {
    let (mut taken, mut malformed, mut wrong) = (0, 0, 0);
    run(250, |random, case| {
        let format = format(random);
        let packetizer = Packetizer::new(&Identity { payload_type: 96, ssrc: 1 }, &format);
        // By one path or by both, of which either may be the first.
        let two_paths = random.chance(500);
        let skew = SkewClass::D.skew();
        let mut now_ns = 1_000_000_000;
        let mut assembler = match two_paths {
            true => Assembler::of_two_paths(format, 96, Incomplete::Mark, 5, skew),
            false => Assembler::new(format, 96, Incomplete::Mark, 4),
        };
        let (mut model, mut delivered) = (Model::new(), BTreeMap::new());
        let mut sequence = u32::MAX - 20;
        for number in 0..6 {
            let pixels: Vec<u8> =
                (0..format.frame_octets()).map(|_| random.next().to_le_bytes()[0]).collect();
            let picture = Picture::whole(&pixels, format.row_octets() as usize);
            let frame = model.entry(number).or_insert_with(|| vec![None; format.frame_octets()]);
            for index in 0..format.fields() {
                let field = Field { index, timestamp: format.field_timestamp(number, index) };
                for packet in format.packets() {
                    let mut octets = vec![0; packetizer.payload_octets(&packet)];
                    packetizer.write(&mut octets, &packet, sequence, field, &picture);
                    // The first says where the run begins.
                    if sequence != u32::MAX - 20 && random.chance(100) {
                        damage(random, &mut octets);
                    }
                    sequence = sequence.wrapping_add(1);
                    let expected = if octets.len() < RTP {
                        Err(Outcome::Malformed)
                    } else {
                        read(&format, &octets)
                    };
                    if octets.len() > RTP {
                        dress(random, &mut octets);
                    }
                    let _suspect = Suspect(case, &octets);
                    now_ns += 10_000;
                    let path = usize::from(two_paths && random.chance(500));
                    let outcome = assembler.packet_by(path, &octets, now_ns);
                    assert_eq!(outcome, *expected.as_ref().err().unwrap_or(&Outcome::Taken));
                    if two_paths {
                        let copy = assembler.packet_by(1 - path, &octets, now_ns);
                        let copied =
                            if outcome == Outcome::Taken { Outcome::Copy } else { outcome };
                        assert_eq!(copy, copied);
                        assembler.tick(now_ns);
                    }
                    match outcome {
                        Outcome::Taken => taken += 1,
                        Outcome::Malformed => malformed += 1,
                        _ => wrong += 1,
                    }
                    // What comes when nothing is missing any more is not needed.
                    if let Ok(pieces) = expected
                        && frame.iter().any(Option::is_none)
                    {
                        for (start, piece) in pieces {
                            for (place, octet) in frame[start..].iter_mut().zip(piece) {
                                *place = Some(octet);
                            }
                        }
                    }
                    deliver(&mut assembler, &mut delivered);
                }
            }
        }
        // By two paths, what is missing is waited for.
        for later_ns in [skew.ns(), 3 * skew.ns()] {
            assembler.tick(now_ns + later_ns);
            deliver(&mut assembler, &mut delivered);
        }
        // The last two may still be open.
        assert!(delivered.len() >= 4, "{} delivered", delivered.len());
        for (number, frame) in model {
            let timestamp = format.field_timestamp(number, 0);
            let Some((missing, octets)) = delivered.remove(&timestamp) else {
                assert!(number >= 4, "frame {number} is not there");
                continue;
            };
            let holes = frame.iter().filter(|octet| octet.is_none()).count();
            assert_eq!(missing, holes, "{format}: frame {number}");
            let expected: Vec<u8> = frame.iter().map(|octet| octet.unwrap_or(0)).collect();
            assert!(octets == expected, "{format}: frame {number}");
        }
        assert!(delivered.is_empty(), "{delivered:?}");
    });
    if env::var_os("ITERATIONS").is_none() {
        assert!(malformed > 300 && wrong > 300, "{taken}, {malformed}, {wrong}");
    }
}
