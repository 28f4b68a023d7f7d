//! What came is checked, summed and written, and what did not come is seen in each.

use super::super::format::Spec;
use super::super::reader::Reader;
use super::super::{Packetizer, Source};
use super::*;

fn format(depth: Depth) -> Format {
    Spec { depth, sample_rate: 48_000, channels: 2, packet_time_us: 1000 }.check().unwrap()
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-audio-sink-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Sends the packets `which` of the tone through a reader into the sink; `spoil` alters each.
fn run(
    sink: &mut Sink,
    format: Format,
    which: impl Iterator<Item = u64>,
    spoil: impl Fn(u64, &mut [u8]),
) {
    let packetizer = Packetizer::new(format, 97, 1);
    let (source, mut reader) = (Source::tone(format), Reader::new(format, 97, BLOCKS));
    let mut octets = vec![0; packetizer.octets()];
    let mut hand_over = |reader: &mut Reader| {
        while let Some(block) = reader.take_delivered() {
            let mut offered = sink.offer(block);
            while let Offered::Behind(block) = offered {
                std::thread::yield_now();
                offered = sink.offer(block);
            }
            while let Some(block) = sink.returned() {
                reader.give_back(block.octets);
            }
        }
    };
    for index in which {
        let number = u16::try_from(index).unwrap();
        packetizer.write(&mut octets, index, number, &source);
        spoil(index, &mut octets);
        reader.packet(&octets);
        hand_over(&mut reader);
    }
    reader.finish();
    hand_over(&mut reader);
    while !sink.finished() {
        std::thread::yield_now();
    }
}

#[test]
fn the_tone_is_known_to_the_bit_and_to_its_time() {
    for depth in [Depth::Sixteen, Depth::TwentyFour] {
        let format = format(depth);
        let mut sink = Sink::start(Kind::Verify, None, format).unwrap();
        run(&mut sink, format, 1000..1200, |_, _| {});
        assert_eq!(sink.counts(), Counts { verified: 200 * 48, ..Counts::default() });
        // One bit of one sample, and a packet in another's place.
        let mut sink = Sink::start(Kind::Verify, None, format).unwrap();
        run(
            &mut sink,
            format,
            (1000..1100).filter(|it| *it != 1020),
            |index, octets| match index {
                1007 => octets[100] ^= 1,
                1050 => octets[4..8].copy_from_slice(&(1020 * 48_u32).to_be_bytes()),
                _ => {}
            },
        );
        let counts = sink.counts();
        assert_eq!(counts.verified + counts.wrong, 99 * 48);
        // 30 ms apart, tones of whole hundreds of hertz would be the same.
        assert_eq!(counts.wrong, 1 + 48, "{counts:?}");
    }
}

#[test]
fn a_file_has_silence_for_what_did_not_come_and_can_be_sent_again() {
    let format = format(Depth::TwentyFour);
    let scratch = Scratch::new("wav");
    let mut sink = Sink::start(Kind::File, Some(&scratch.0), format).unwrap();
    // Packets 40 and 41 are lost, and half a second.
    let which = (0..1000).filter(|it| ![40, 41].contains(it) && !(200..700).contains(it));
    run(&mut sink, format, which, |_, _| {});
    assert_eq!(sink.counts(), Counts { written: 48_000, ..Counts::default() });
    let file = Source::file(&scratch.0, format).unwrap();
    let (mut found, mut expected) = (vec![0; 48_000 * 6], vec![0; 48_000 * 6]);
    file.write(0, &mut found);
    Source::tone(format).write(0, &mut expected);
    for packet in [40..42, 200..700] {
        expected[packet.start * 288..packet.end * 288].fill(0);
    }
    assert!(found == expected);
}

#[test]
fn sums_are_of_what_came_and_say_what_did_not() {
    let format = format(Depth::Sixteen);
    let scratch = Scratch::new("hash");
    let mut sink = Sink::start(Kind::Hash, Some(&scratch.0), format).unwrap();
    run(&mut sink, format, (20..100).filter(|it| *it != 30), |_, _| {});
    let mut expected = String::new();
    for (from, to, missing) in [(960, 1024, 0), (1024, 2048, 48), (2048, 3072, 0), (3072, 4096, 0)]
    {
        let mut octets = vec![0; (to - from) * 4];
        tone::write(&format, u32::try_from(from).unwrap(), &mut octets);
        if missing > 0 {
            octets[(1440 - from) * 4..(1488 - from) * 4].fill(0);
        }
        let sum = crc32fast::hash(&octets);
        let note = if missing > 0 { format!(" missing {missing}") } else { String::new() };
        expected += &format!("{from} {} {sum:08x}{note}\n", to - from);
    }
    let lines = std::fs::read_to_string(&scratch.0).unwrap();
    assert!(lines.starts_with(&expected), "{lines}{expected}");
    assert_eq!(lines.lines().count(), 5);
    assert_eq!(sink.counts().written, 80 * 48);
}

#[test]
fn path_and_kind_go_together() {
    let refused = |kind, path: Option<&str>| {
        let path = path.map(Path::new);
        Sink::start(kind, path, format(Depth::Sixteen)).unwrap_err().to_string()
    };
    assert_eq!(
        refused(Kind::Hash, None),
        "audio: sink \"hash\" needs path, the file for its lines"
    );
    assert_eq!(refused(Kind::File, None), "audio: sink \"file\" needs path, of a WAV file");
    assert_eq!(
        refused(Kind::Verify, Some("x")),
        "audio: path is for the sinks \"hash\" and \"file\" only"
    );
    assert!(
        refused(Kind::File, Some("/nonexistent/a.wav"))
            .starts_with("cannot make the audio sink's file /nonexistent/a.wav: No such file")
    );
}
