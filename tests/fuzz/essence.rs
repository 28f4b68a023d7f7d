//! Sound and ancillary data whose lengths, counts and checksums lie, against readers of their own:
//! each packet is taken or refused as RFC 3550 and RFC 8331 say, and nothing is made up.

use tidegate::stream::ancillary::anc::{self, Head, WORDS_MAX};
use tidegate::stream::ancillary::file::{Clip, Entry};
use tidegate::stream::ancillary::packetizer::{Packetizer, Part};
use tidegate::stream::ancillary::payload::Field;
use tidegate::stream::ancillary::reader::Reader as DataReader;
use tidegate::stream::audio::reader::Reader;
use tidegate::stream::audio::{self, Depth, Source, Spec};
use tidegate::stream::outcome::Outcome;
use tidegate_runtime::sim::Random;

use super::{Suspect, run};

const RTP: usize = 12;

fn small(random: &mut Random, below: u64) -> u16 {
    u16::try_from(random.below(below)).unwrap()
}

fn entries(random: &mut Random) -> Vec<Entry> {
    (0..random.below(5))
        .map(|_| {
            let head = Head {
                is_colour: random.below(2) == 1,
                line: small(random, 0x800),
                offset: small(random, 0x1000),
                stream: (random.below(2) == 1).then(|| u8::try_from(random.below(128)).unwrap()),
                did: u8::try_from(random.below(256)).unwrap(),
                sdid: u8::try_from(random.below(256)).unwrap(),
            };
            let count = if random.chance(100) { random.below(256) } else { random.below(20) };
            let words = (0..count).map(|_| small(random, 0x400)).collect();
            Entry { frame: 0, field: Field::Whole, head, words }
        })
        .collect()
}

/// Something else behind RTP's header, or its length.
fn damage(random: &mut Random, packet: &mut Vec<u8>) {
    match random.below(6) {
        0 => packet.truncate(usize::try_from(random.below(packet.len() as u64 + 1)).unwrap()),
        1 => packet.resize(packet.len() + usize::try_from(random.below(9)).unwrap(), 0x77),
        // Length, count, field.
        2 if packet.len() > RTP + 5 => {
            let at = RTP + 2 + usize::try_from(random.below(4)).unwrap();
            packet[at] = u8::try_from(random.below(256)).unwrap();
        }
        _ if packet.len() > RTP => {
            let at = RTP + usize::try_from(random.below((packet.len() - RTP) as u64)).unwrap();
            packet[at] ^= 1 << random.below(8);
        }
        _ => {}
    }
}

/// Bits of a payload as a number, one by one.
fn bits(octets: &[u8], from: usize, count: usize) -> Option<u32> {
    (from..from + count).try_fold(0, |value, bit| {
        let octet = octets.get(bit / 8)?;
        Some(value << 1 | u32::from(octet >> (7 - bit % 8) & 1))
    })
}

/// What the model makes of an RTP payload: the user data words of the packets that are right, and
/// how many are wrong; nothing where it is malformed.
fn model(payload: &[u8]) -> Option<(Vec<Vec<u32>>, usize)> {
    let length = bits(payload, 16, 16)? as usize;
    let (count, field) = (bits(payload, 32, 8)?, bits(payload, 40, 2)?);
    if payload.len() < 8 || field == 1 || payload.len() - 8 != length {
        return None;
    }
    let (mut at, mut right, mut wrong) = (64, Vec::new(), 0);
    for _ in 0..count {
        let word = |index: usize| bits(payload, at + 32 + index * 10, 10);
        let words = (word(2)? & 0xff) as usize;
        let sum: u32 = (0..3 + words).map(|it| word(it).map_or(0, |word| word & 0x1ff)).sum();
        let sum = sum & 0x1ff;
        let sum = sum | (!sum << 1 & 0x200);
        let parity = |word: u32| {
            (word & 0x1ff).count_ones().is_multiple_of(2) && (word >> 9 & 1) != (word >> 8 & 1)
        };
        let end = at + 32 + (4 + words) * 10;
        let end = end.div_ceil(32) * 32;
        if end > payload.len() * 8 {
            return None;
        }
        let is_right = (0..3).all(|it| word(it).is_some_and(parity)) && word(3 + words)? == sum;
        match is_right {
            true => right.push((0..words).map(|it| word(3 + it).unwrap()).collect()),
            false => wrong += 1,
        }
        at = end;
    }
    (at == payload.len() * 8).then_some((right, wrong))
}

#[test]
fn ancillary_data_are_taken_or_refused_as_the_rfc_says() {
    let mut seen = [0_u64; 3];
    run(3000, |random, case| {
        let mut reader = DataReader::new(100, "50".parse().unwrap());
        let (mut taken, mut anc, mut wrong, mut refused) = (0, 0, 0, 0);
        for number in 0..20_u32 {
            let entries = entries(random);
            let part = Part::of(&entries);
            let mut packet = vec![0; part.packet_octets()];
            let timestamp = number * 1800;
            Packetizer::new(100, 7).write(&mut packet, &part, number, timestamp, Field::Whole);
            if random.chance(600) {
                damage(random, &mut packet);
            }
            // The number is nobody's concern here.
            if packet.len() >= RTP + 2 {
                packet[RTP..RTP + 2].copy_from_slice(&[0, 0]);
            }
            let _suspect = Suspect(case, &packet);
            let mut found: Vec<Vec<u32>> = Vec::new();
            let outcome = reader.packet(&packet, |item| {
                assert!(item.anc.words().len() <= WORDS_MAX);
                found.push(item.anc.words().iter().copied().map(u32::from).collect());
            });
            match packet.get(RTP..).and_then(model) {
                Some((right, bad)) => {
                    assert_eq!((outcome, &found), (Outcome::Taken, &right));
                    (taken, anc, wrong) = (taken + 1, anc + right.len() as u64, wrong + bad as u64);
                }
                None => {
                    assert_eq!((outcome, found.len()), (Outcome::Malformed, 0));
                    refused += 1;
                }
            }
        }
        reader.finish();
        let stats = reader.stats();
        assert_eq!((stats.packets.packets, stats.anc), (taken, anc));
        assert!(stats.wrong_checksum + stats.wrong_parity >= wrong);
        // What was refused at the end is missed by nobody.
        assert!(stats.packets.lost <= refused);
        for (all, own) in seen.iter_mut().zip([taken, refused, wrong]) {
            *all += own;
        }
    });
    if std::env::var_os("ITERATIONS").is_none() {
        assert!(seen.iter().all(|&count| count > 3000), "taken, refused, wrong: {seen:?}");
    }
}

/// Text that is nearly a file: read, or refused with a line that there is.
#[test]
fn files_of_anc_packets_are_read_or_refused() {
    const FILE: &str = "0 p Y 9 0 - 60/60 08 00 10\n2 p C 2047 4095 3 61/01 201\nframes 5\n";
    run(20_000, |random, case| {
        let mut text = FILE.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = usize::try_from(random.below(text.len() as u64)).unwrap();
            match random.below(3) {
                0 => text[at] = b" \n-/0129aApYCx#f\t\xc3"[usize::from(small(random, 18))],
                1 => {
                    text.remove(at);
                }
                _ => text.insert(at, b"0f \n"[usize::from(small(random, 4))]),
            }
        }
        let _suspect = Suspect(case, &text);
        let text = String::from_utf8_lossy(&text);
        match Clip::parse(&text) {
            Ok(clip) => {
                let frames = clip.frames;
                assert!(frames > 0 && clip.entries.iter().all(|entry| entry.frame < frames));
                let words = clip.entries.iter().flat_map(|entry| &entry.words);
                assert!(words.into_iter().all(|&word| word <= anc::WORD_MAX));
            }
            Err(wrong) => assert!((1..=text.lines().count().max(1)).contains(&wrong.line)),
        }
    });
}

/// Sound of any length: whole samples of the format are taken, and each is where it belongs.
#[test]
fn sound_is_taken_or_refused_by_its_length() {
    run(3000, |random, case| {
        let spec = Spec {
            depth: if random.below(2) == 0 { Depth::Sixteen } else { Depth::TwentyFour },
            sample_rate: 48_000,
            channels: 1 + small(random, 8),
            packet_time_us: 1000,
        };
        let format = spec.check().unwrap();
        let packetizer = audio::Packetizer::new(format, 97, 1);
        let source = Source::tone(format);
        let mut reader = Reader::new(format, 97, 8);
        let (mut samples, mut delivered) = (0, 0);
        for index in 0..30_u16 {
            let mut packet = vec![0; packetizer.octets()];
            packetizer.write(&mut packet, index.into(), index, &source);
            if random.chance(400) {
                // The tail, of which the length alone is judged.
                let len = usize::try_from(random.below(packet.len() as u64 + 40)).unwrap();
                packet.resize(len, 0x77);
            }
            let _suspect = Suspect(case, &packet);
            let sound = packet.len().checked_sub(RTP);
            let expected = match sound {
                None => Outcome::Malformed,
                Some(octets) if octets > 0 && octets % format.frame_octets() == 0 => Outcome::Taken,
                Some(_) => Outcome::WrongFormat,
            };
            assert_eq!(reader.packet(&packet), expected, "packet {index}: {sound:?}");
            samples += u64::from(expected == Outcome::Taken) * sound.unwrap_or(0) as u64;
            while let Some(block) = reader.take_delivered() {
                delivered += (block.len() - block.missing()) as u64;
                reader.give_back(block.octets);
            }
        }
        reader.finish();
        while let Some(block) = reader.take_delivered() {
            delivered += (block.len() - block.missing()) as u64;
        }
        let stats = reader.stats();
        assert_eq!(stats.samples, delivered);
        // Packets that are too long overlap with the next: their samples count once.
        assert!(stats.samples <= samples / format.frame_octets() as u64);
    });
}
