//! Which octet goes where, when sixteen move at once.
//!
//! A *step* takes sixteen octets of each chroma line and as many samples of luma as belong to
//! them: three, four or six *registers* of sixteen octets. On the other side are as many *lanes*
//! of sixteen octets, the same samples in the order of the wire. Each lane collects its octets
//! from the registers, and each register from the lanes; the tables say from which place.

use super::super::format::Sampling;
use super::{SOURCES, sample_octets, source, source_samples};

/// Registers, and lanes, of a step at most: 4:2:0, with two of each luma line.
pub(super) const PARTS: usize = 6;

/// Octets of a register.
pub(super) const OCTETS: usize = 16;

/// In a table: from nowhere. The instruction then puts 0.
const NOWHERE: u8 = 0x80;

/// For each part on one side and each on the other: for each octet of the first, its place in the
/// second, or [`NOWHERE`].
pub(super) type Table = [[[u8; OCTETS]; PARTS]; PARTS];

/// How a sampling's samples of one size move.
pub(super) struct Moves {
    /// Registers of a step, and lanes.
    pub(super) parts: usize,
    /// For each register: of which line, and its first octet in this step.
    pub(super) registers: [(usize, usize); PARTS],
    /// Octets of each line in a step.
    pub(super) spans: [usize; SOURCES],
    /// From registers to lanes.
    pub(super) gather: Table,
    /// From lanes to registers.
    pub(super) scatter: Table,
}

impl Moves {
    /// Of samples of `bits`. 16 bits have their top octet first on the wire; other depths are
    /// packed further and stay as they are.
    pub(super) const fn of(sampling: Sampling, bits: u8) -> Self {
        let (layout, counts) = (sampling.layout(), source_samples(sampling));
        let size = sample_octets(bits);
        let mut moves = Self {
            parts: layout.len(),
            registers: [(0, 0); PARTS],
            spans: [0; SOURCES],
            gather: [[[NOWHERE; OCTETS]; PARTS]; PARTS],
            scatter: [[[NOWHERE; OCTETS]; PARTS]; PARTS],
        };
        let mut first = [0; SOURCES];
        let (mut line, mut register) = (0, 0);
        while line < SOURCES {
            first[line] = register;
            // A line of chroma has one register.
            moves.spans[line] = counts[line] * OCTETS;
            let mut at = 0;
            while at < moves.spans[line] {
                moves.registers[register] = (line, at);
                (register, at) = (register + 1, at + OCTETS);
            }
            line += 1;
        }
        assert!(register == layout.len(), "as many octets on one side as on the other");
        let mut octet = 0;
        while octet < moves.parts * OCTETS {
            let (number, within) = (octet / size, octet % size);
            let (unit, sample) = (number / layout.len(), layout[number % layout.len()]);
            let line = source(sample);
            let within = if bits == 16 { size - 1 - within } else { within };
            let at = (unit * counts[line] + sample.x) * size + within;
            let (lane, in_lane) = (octet / OCTETS, octet % OCTETS);
            let (register, in_register) = (first[line] + at / OCTETS, at % OCTETS);
            moves.gather[lane][register][in_lane] = low(in_register);
            moves.scatter[register][lane][in_register] = low(in_lane);
            octet += 1;
        }
        moves
    }
}

/// A place within a register.
const fn low(at: usize) -> u8 {
    at.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_moves_once_and_back() {
        for sampling in Sampling::ALL {
            for bits in [8, 10, 12, 16] {
                let moves = Moves::of(sampling, bits);
                let octets = moves.parts * OCTETS;
                assert_eq!(moves.spans.iter().sum::<usize>(), octets);
                let apply = |table: &Table, from: &[u8]| -> Vec<u8> {
                    let lane = |to: usize| {
                        (0..OCTETS).map(move |at| {
                            let places = (0..moves.parts).map(|part| (part, table[to][part][at]));
                            let mut places = places.filter(|&(_, place)| place != NOWHERE);
                            let (part, place) = places.next().expect("from somewhere");
                            assert!(places.next().is_none(), "from one place");
                            from[part * OCTETS + usize::from(place)]
                        })
                    };
                    (0..moves.parts).flat_map(lane).collect()
                };
                let before: Vec<u8> = (0..octets).map(low).collect();
                let moved = apply(&moves.gather, &before);
                assert_ne!(moved, before);
                assert_eq!(apply(&moves.scatter, &moved), before, "{sampling} {bits}");
            }
        }
    }
}
