//! What is written is read, and what lies is refused.

use tidegate_runtime::sim::Random;

use super::*;

const TIMECODE: Head =
    Head { is_colour: false, line: 9, offset: 0, stream: None, did: 0x60, sdid: 0x60 };

/// The payload of these packets, over octets that are something else.
fn payload(field: Field, packets: &[(Head, Vec<u16>)]) -> Vec<u8> {
    let octets: usize = packets.iter().map(|(_, words)| packet_octets(words.len())).sum();
    let mut payload = vec![0xa5; HEADER_LEN + octets];
    let (front, mut rest) = payload.split_at_mut(HEADER_LEN);
    front.copy_from_slice(&header(0x1234, octets, packets.len(), field));
    for (head, words) in packets {
        rest = write(rest, head, words);
    }
    assert!(rest.is_empty());
    payload
}

/// As a reader of RFC 8331, 2, draws it, bit by bit.
#[test]
fn a_packet_is_as_drawn() {
    let words = [0x200, 0x101];
    let head = Head { is_colour: true, line: 0x401, offset: 0xffe, stream: Some(0x15), ..TIMECODE };
    let octets = payload(Field::Second, &[(head, words.to_vec())]);
    assert_eq!(octets[..8], [0x12, 0x34, 0, 12, 1, 0b1100_0000, 0, 0]);
    let bits: String = octets[8..].iter().map(|octet| format!("{octet:08b}")).collect();
    // 260h + 260h + 102h + 200h + 101h, of 9 bits each: 060 + 060 + 102 + 000 + 101 = 0c3 of 512.
    let drawn = [
        "1",
        "10000000001",
        "111111111110",
        "1",
        "0010101",
        "1001100000",
        "1001100000",
        "0100000010",
        "1000000000",
        "0100000001",
        "1011000011",
        "0000",
    ];
    assert_eq!(bits, drawn.concat());
}

#[test]
fn a_field_without_data_says_so() {
    let octets = payload(Field::Whole, &[]);
    assert_eq!(octets, [0x12, 0x34, 0, 0, 0, 0, 0, 0]);
    let read = Payload::parse(&octets).unwrap();
    assert_eq!((read.count(), read.packets().count(), read.sequence_high()), (0, 0, 0x1234));
}

fn random_packets(random: &mut Random) -> Vec<(Head, Vec<u16>)> {
    let mut some = |bound: u64| u16::try_from(random.below(bound)).unwrap();
    (0..some(6))
        .map(|_| {
            let head = Head {
                is_colour: some(2) == 1,
                line: some(0x800),
                offset: some(0x1000),
                stream: (some(2) == 1).then(|| u8::try_from(some(128)).unwrap()),
                did: u8::try_from(some(256)).unwrap(),
                sdid: u8::try_from(some(256)).unwrap(),
            };
            let count = [some(4), some(256)][usize::from(some(2))];
            (head, (0..count).map(|_| some(0x400)).collect())
        })
        .collect()
}

#[test]
fn what_is_written_is_read() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for seed in seed..seed + 500 {
        eprintln!("SEED={seed}");
        let packets = random_packets(&mut Random::new(seed));
        let octets = payload(Field::First, &packets);
        let read = Payload::parse(&octets).unwrap();
        assert_eq!((read.field(), usize::from(read.count())), (Field::First, packets.len()));
        let found: Vec<Found> = read.packets().collect();
        for (found, (head, words)) in found.iter().zip(&packets) {
            assert!(found.parity_is_right && found.checksum_is_right, "{found:?}");
            assert_eq!((found.anc.head, found.anc.words()), (*head, &words[..]));
        }
        assert_eq!(found.len(), packets.len());
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let good = payload(Field::Whole, &[(TIMECODE, vec![0x200; 16]), (TIMECODE, vec![0x200; 3])]);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = good.clone();
        change(&mut octets);
        Payload::parse(&octets).unwrap_err()
    };
    assert!(Payload::parse(&good).is_ok());
    for cut in 0..8 {
        assert_eq!(refused(&|it| it.truncate(cut)), Malformed::Header);
    }
    assert_eq!(refused(&|it| it.truncate(12)), Malformed::Length);
    assert_eq!(refused(&|it| it.push(0)), Malformed::Length);
    assert_eq!(refused(&|it| it[3] += 4), Malformed::Length);
    assert_eq!(refused(&|it| it[5] = 0x40), Malformed::Field);
    // One packet more or less than there are.
    for count in [1, 3, 255] {
        assert_eq!(refused(&|it| it[4] = count), Malformed::Packets, "{count}");
    }
    // Data counts that lie: the third word, bits 20 to 29 behind the place.
    for (octet, bits) in [(14, 0x01), (15, 0x80), (15, 0xfc)] {
        assert_eq!(refused(&|it| it[octet] ^= bits), Malformed::Packets, "{octet} {bits}");
    }
    // The reserved bits mean nothing.
    let mut octets = good.clone();
    octets[5..8].copy_from_slice(&[0x3f, 0xff, 0xff]);
    assert_eq!(Payload::parse(&octets).unwrap().packets().count(), 2);
}

#[test]
fn each_bit_of_a_packet_is_guarded() {
    let good = payload(Field::Whole, &[(TIMECODE, (0..16).map(with_parity).collect())]);
    for bit in 96..96 + 20 * 10 {
        let mut octets = good.clone();
        octets[bit / 8] ^= 0x80 >> (bit % 8);
        let Ok(read) = Payload::parse(&octets) else { continue };
        let found = read.packets().next().unwrap();
        // The checksum is of 9 bits: the tenth of user data is its ninth's complement, where they
        // have parity.
        let is_tenth = (126..286).contains(&bit) && (bit - 96) % 10 == 0;
        let without = found.anc.words().iter().filter(|&&word| octet(word).is_none()).count();
        let seen = !found.checksum_is_right || !found.parity_is_right;
        assert!(if is_tenth { without == 1 } else { seen }, "bit {bit}");
        if (96..126).contains(&bit) {
            assert!(!found.parity_is_right, "bit {bit}");
        }
    }
}
