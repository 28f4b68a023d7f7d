//! Against p0f itself: what it prints of a packet is a signature that the packet has, and that no
//! packet has of which it prints another one.

use std::collections::BTreeMap;
use std::process::Command;

use super::tests::Segment;
use super::{Shape, Signature};
use crate::scrub::corpus::skip;

/// Packets of one run; more than p0f keeps connections by default.
const PACKETS: u16 = 4_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = usize::try_from(self.below(choices.len() as u64)).unwrap();
        choices[index]
    }

    fn octet(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}

/// Whole options, options of a wrong length, and noise.
fn options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..random.below(7) {
        match random.below(12) {
            0 | 1 => options.push(1),
            2 | 3 => {
                let mss = random.one_of(&[1460_u16, 1400, 1000, 536, 99, 0, 65_500]);
                options.extend([2, 4]);
                options.extend(mss.to_be_bytes());
            }
            4 => options.extend([3, 3, random.one_of(&[0, 7, 14, 15, 255])]),
            5 => options.extend([4, 2]),
            6 | 7 => {
                let own = random.one_of(&[0_u8, 5]);
                options.extend([8, 10, 0, 0, 1, own, 0, 0, 0, random.one_of(&[0, 1])]);
                if own == 0 {
                    let at = options.len() - 6;
                    options[at - 2..at].fill(0);
                }
            }
            8 => options.extend([77, 3, 0]),
            9 => options.push(0),
            10 => options.extend([5, 10, 0, 0, 0, 0, 0, 0, 0, 0]),
            _ => options.extend([random.octet(), random.octet()]),
        }
    }
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), random.one_of(&[0, 1, 1, 9]));
    options
}

fn segment(random: &mut Random, source_port: u16) -> Segment {
    Segment {
        version: random.one_of(&[4, 4, 6]),
        ttl: random.one_of(&[1, 30, 55, 64, 100, 128, 200, 255]),
        traffic_class: random.one_of(&[0, 0, 0, 1, 8]),
        fragment: random.one_of(&[0, 0x4000, 0x4000, 0x8000, 0x2000, 0x0010]),
        id: random.one_of(&[0, 1, 256]),
        ip_options: vec![1; usize::try_from(random.one_of(&[0, 0, 0, 4, 40])).unwrap()],
        flow: random.one_of(&[0, 0, 1, 0xf_0000]),
        source_port,
        sequence: random.one_of(&[0, 1, 256]),
        // Of an acknowledgement without its flag, p0f 3.09 looks at the lowest bit only.
        acknowledgement: random.one_of(&[0, 0, 0, 0x0100_0000]),
        flags: random.one_of(&[2, 2, 2, 2, 2, 2, 0x0a, 0x22, 0x42, 0xc2, 0x06, 0x03]),
        reserved: random.one_of(&[0, 0, 0, 0, 1]),
        window: random.one_of(&[0, 1024, 2000, 2880, 3000, 4344, 5840, 14_480, 29_200, 65_535]),
        urgent: random.one_of(&[0, 0, 0, 1]),
        options: options(random),
        payload: vec![0x55; usize::try_from(random.one_of(&[0, 0, 0, 5])).unwrap()],
    }
}

/// A capture of packets without a link layer (LINKTYPE_RAW).
fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    for field in [0_u32, 0, 262_144, 101] {
        file.extend(field.to_le_bytes());
    }
    for packet in packets {
        let octets = u32::try_from(packet.len()).unwrap();
        for field in [1_u32, 0, octets, octets] {
            file.extend(field.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

#[test]
fn p0f_prints_the_signature_that_a_packet_has() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
    eprintln!("SEED={seed}");
    let mut random = Random(seed | 1);
    let segments: Vec<_> = (0..PACKETS).map(|port| segment(&mut random, 1024 + port)).collect();
    let packets: Vec<_> = segments.iter().map(Segment::octets).collect();
    let place = std::env::temp_dir().join(format!("tidegate-p0f-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let (input, log) = (place.join("in.pcap"), place.join("log"));
    std::fs::write(&input, capture(&packets)).unwrap();
    let output = Command::new("p0f").arg("-r").arg(&input).arg("-o").arg(&log).output();
    let Ok(output) = output else {
        std::fs::remove_dir_all(&place).unwrap();
        return skip("no p0f");
    };
    let log = std::fs::read_to_string(&log);
    std::fs::remove_dir_all(&place).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut printed = BTreeMap::new();
    for line in log.unwrap().lines().filter(|line| line.contains("mod=syn|")) {
        let value = |key: &str| line.split('|').find_map(|part| part.strip_prefix(key)).unwrap();
        let port: u16 = value("cli=").rsplit_once('/').unwrap().1.parse().unwrap();
        // Where it knows no initial TTL so near, p0f prints what it does not read.
        let text = value("raw_sig=").to_owned();
        let text = match text.split_once("+?") {
            Some((_, rest)) => format!("{}255-{rest}", &text[..2]),
            None => text,
        };
        let signature: Signature = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
        assert!(printed.insert(port, (text, signature)).is_none(), "two of {port}");
    }
    for (index, packet) in packets.iter().enumerate() {
        let port = segments[index].source_port;
        let shape = Shape::of(packet);
        assert_eq!(shape.is_some(), printed.contains_key(&port), "{packet:02x?}");
        let Some((text, signature)) = printed.get(&port) else { continue };
        assert!(signature.matches_packet(packet), "{text}: {packet:02x?}");
        // The others are those of the packets around it.
        for (other, (theirs, signature)) in printed.range(port..).skip(1).take(40) {
            if signature.matches_packet(packet) {
                let behind = |text: &str| text.split_once(':').unwrap().1.to_owned();
                let same = behind(&behind(text)) == behind(&behind(theirs));
                assert!(same, "{port} has {text}, and also {theirs} of {other}");
            }
        }
    }
    assert!(printed.len() > 1_000 && printed.len() < packets.len(), "{}", printed.len());
}

#[test]
fn all_signatures_that_come_with_p0f_are_read() {
    let Ok(file) = std::fs::read_to_string("/etc/p0f/p0f.fp") else {
        return skip("no /etc/p0f/p0f.fp");
    };
    let mut section = "";
    let mut count = 0;
    for line in file.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if let Some(text) = line.strip_prefix("sig").filter(|_| section.starts_with("[tcp:")) {
            let text = text.trim_start_matches([' ', '=']);
            text.parse::<Signature>().unwrap_or_else(|why| panic!("{text}: {why}"));
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}
