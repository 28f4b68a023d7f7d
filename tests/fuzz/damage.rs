//! What happens to a packet on a bad day.

use tidegate_runtime::sim::Random;

use super::generator::Made;

/// Octets that types, versions and lengths trip over.
const TRIPWIRES: [u8; 16] = [0, 1, 4, 6, 7, 8, 17, 43, 44, 51, 60, 0x45, 0x60, 0x7f, 0x80, 0xff];

/// Longer than any packet of an Ethernet with jumbo frames.
const OVERSIZED: u64 = 20_000;

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound.max(1) as u64)).unwrap()
}

/// Damages `made` in one to three ways; splices it with `other`.
pub(super) fn damaged(random: &mut Random, made: &Made, other: &[u8]) -> Vec<u8> {
    let mut octets = made.octets.clone();
    for _ in 0..=random.below(3) {
        match random.below(8) {
            0 | 1 => flip(random, &mut octets),
            2 => octets.truncate(below(random, octets.len() + 1)),
            3 | 4 => lie(random, made, &mut octets),
            5 => octets = spliced(random, &octets, other),
            6 => trip(random, &mut octets),
            _ => grow(random, &mut octets),
        }
    }
    octets
}

fn flip(random: &mut Random, octets: &mut [u8]) {
    for _ in 0..=random.below(8) {
        let at = below(random, octets.len());
        if let Some(octet) = octets.get_mut(at) {
            *octet ^= 1 << random.below(8);
        }
    }
}

fn trip(random: &mut Random, octets: &mut [u8]) {
    let at = below(random, octets.len());
    if let Some(octet) = octets.get_mut(at) {
        *octet = TRIPWIRES[below(random, TRIPWIRES.len())];
    }
}

/// Writes another number where a length was, most often one that is nearly right.
fn lie(random: &mut Random, made: &Made, octets: &mut [u8]) {
    let places: Vec<_> = made.lengths().collect();
    if places.is_empty() {
        return;
    }
    let (at, width) = places[below(random, places.len())];
    let Some(field) = octets.get_mut(at..at + width) else { return };
    let truth = field.iter().fold(0u64, |number, &octet| number << 8 | u64::from(octet));
    let told = match random.below(6) {
        0 => truth.wrapping_add(1),
        1 => truth.wrapping_sub(1),
        2 => 0,
        3 => u64::MAX,
        4 => random.below(64),
        _ => random.next(),
    };
    field.copy_from_slice(&told.to_be_bytes()[8 - width..]);
}

/// The head of one and the tail of the other.
fn spliced(random: &mut Random, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let (end, start) = (below(random, head.len() + 1), below(random, tail.len() + 1));
    [&head[..end], &tail[start..]].concat()
}

fn grow(random: &mut Random, octets: &mut Vec<u8>) {
    let more = if random.chance(100) { random.below(OVERSIZED) } else { random.below(100) };
    octets.resize(octets.len() + usize::try_from(more).unwrap(), TRIPWIRES[below(random, 16)]);
}

/// Damages text: octets, words and lines. What is left may be no text any more.
pub(super) fn damaged_text(random: &mut Random, text: &str) -> String {
    const WORDS: [&str; 14] = [
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        "0",
        "-1",
        "18446744073709551616",
        "nan",
        "\u{00e9}",
        "\n",
        "a.b",
    ];
    let mut octets = text.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = below(random, octets.len());
        match random.below(5) {
            0 => octets[at] ^= 1 << random.below(7),
            1 => drop(octets.splice(at..at, WORDS[below(random, WORDS.len())].bytes())),
            2 => {
                let end = (at + below(random, 200)).min(octets.len());
                octets.drain(at..end);
            }
            3 => {
                let end = (at + below(random, 200)).min(octets.len());
                let again = octets[at..end].to_vec();
                let to = below(random, octets.len());
                drop(octets.splice(to..to, again));
            }
            _ => octets.truncate(at.max(1)),
        }
        if octets.is_empty() {
            octets.push(b'\n');
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}
