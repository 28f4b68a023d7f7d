//! A moving picture with the frame number in it, which a receiver can verify bit for bit.
//!
//! ```text
//!  ┌──────────────────────────────┐
//!  │▌█▌ ▌  64 cells: the number   │  for machines: a cell per bit, the top bit first
//!  │           1 7 0 3 9 4 2      │  for people
//!  │ ╱╱╱ colour bars that move ╱╱ │  each line another place of the bars, each frame as well
//!  └──────────────────────────────┘
//! ```
//!
//! Picture and number follow from format and frame number alone. No two frames are equal, no
//! line is that of the frame before, and no two lines of a frame are equal: a line that is stale,
//! misplaced or shifted shows. It costs nearly nothing: the bars are one small texture that fits
//! a second-level cache and is read from another column each frame; only the number is drawn.

use super::format::Format;
use super::pgroup::{Samples, pack, unpack};
use super::picture::Picture;

/// Pgroups after which the bars repeat sideways. A prime: whatever step the bars make, they come
/// back to the same place after 127 and not before.
const PERIOD: usize = 127;

/// Rows of texture. Fewer would make lines of a frame equal (8192 lines are then more than 127
/// rounds); more would push a 4K texture out of a second-level cache.
const ROWS: usize = 80;

/// Pgroups by which the bars move from frame to frame, and from one round of rows to the next.
const FRAME_STEP: usize = 2;
const ROUND_STEP: usize = 5;

const _: () = assert!((*super::format::HEIGHT.end() as usize).div_ceil(ROWS) <= PERIOD);

/// Cells of the number.
const BITS: usize = 64;

/// Lines of the cells, and of one dot of a digit. Together the band is 16 lines high, which every
/// format has.
const CELL_LINES: usize = 6;
const DOT_LINES: usize = 2;
const BAND_LINES: usize = CELL_LINES + 5 * DOT_LINES;

const _: () = assert!(BAND_LINES <= *super::format::HEIGHT.start() as usize);

/// Pgroups from one digit to the next: three dots and a space.
const DIGIT_PGROUPS: usize = 4;

/// The digits in 3 by 5 dots, a row in three bits, the top row first.
const DIGITS: [u16; 10] = [
    0b111_101_101_101_111,
    0b010_110_010_010_111,
    0b111_001_111_100_111,
    0b111_001_111_001_111,
    0b101_101_111_001_001,
    0b111_100_111_001_111,
    0b111_100_111_101_111,
    0b111_001_010_010_010,
    0b111_101_111_101_111,
    0b111_101_111_001_111,
];

/// Luma and chroma of the bars at 8 bits: white, yellow, cyan, green, magenta, red, blue, grey.
const BARS: [[u16; 3]; 8] = [
    [150, 128, 128],
    [140, 54, 134],
    [133, 154, 44],
    [112, 72, 58],
    [78, 184, 198],
    [65, 100, 212],
    [34, 212, 114],
    [100, 128, 128],
];

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is the pattern of this frame number, every bit.
    Frame(u64),
    /// It differs from the pattern of the frame number that it shows.
    Wrong {
        /// The number that it shows, or seems to.
        shows: u64,
    },
}

/// Draws the pattern for one format.
#[derive(Clone, Debug)]
pub struct Pattern {
    format: Format,
    texture: Vec<u8>,
    band: Vec<u8>,
    /// The frame whose number is in the band.
    drawn: Option<u64>,
}

impl Pattern {
    /// Takes the memory and draws the texture.
    pub fn new(format: Format) -> Self {
        let size = format.depth().pgroup_octets() as usize;
        let stride = format.line_pgroups() as usize + PERIOD;
        let mut texture = vec![0; ROWS * stride * size];
        for (at, group) in texture.chunks_exact_mut(size).enumerate() {
            let (row, column) = (at / stride, at % stride % PERIOD);
            pack(format.depth(), bar(row, column).map(|s| scaled(&format, s)), group);
        }
        let band = vec![0; BAND_LINES * format.line_octets() as usize];
        Self { format, texture, band, drawn: None }
    }

    /// The picture of frame `number`.
    pub fn picture(&mut self, number: u64) -> Picture<'_> {
        if self.drawn != Some(number) {
            self.draw_number(number);
            self.drawn = Some(number);
        }
        let size = self.format.depth().pgroup_octets() as usize;
        let stride = (self.format.line_pgroups() as usize + PERIOD) * size;
        let step = usize::try_from(number % PERIOD as u64).expect("below the period");
        let shift = step * FRAME_STEP % PERIOD;
        Picture::repeating(
            &self.texture,
            [stride, shift * size, ROUND_STEP * size, PERIOD * size],
            &self.band,
            self.format.line_octets() as usize,
        )
    }

    /// Reads the number in `picture`, a frame in pgroups, and compares everything.
    pub fn verify(&mut self, picture: &[u8]) -> Verified {
        let shows = self.read_number(picture);
        match self.picture(shows).is(picture) {
            true => Verified::Frame(shows),
            false => Verified::Wrong { shows },
        }
    }

    fn read_number(&self, picture: &[u8]) -> u64 {
        let depth = self.format.depth();
        let size = depth.pgroup_octets() as usize;
        let width = self.format.line_pgroups() as usize / BITS;
        (0..BITS).fold(0, |number, bit| {
            let group = &picture[(bit * width + width / 2) * size..][..size];
            number << 1 | u64::from(unpack(depth, group)[1] > scaled(&self.format, GREY))
        })
    }

    fn draw_number(&mut self, number: u64) {
        let line_octets = self.format.line_octets() as usize;
        let (cells, digits) = self.band.split_at_mut(CELL_LINES * line_octets);
        draw_cells(&self.format, number, &mut cells[..line_octets]);
        repeat_first_line(cells, line_octets);
        for (row, lines) in digits.chunks_exact_mut(DOT_LINES * line_octets).enumerate() {
            draw_digits(&self.format, number, row, &mut lines[..line_octets]);
            repeat_first_line(lines, line_octets);
        }
    }
}

fn repeat_first_line(lines: &mut [u8], line_octets: usize) {
    for line in 1..lines.len() / line_octets {
        lines.copy_within(..line_octets, line * line_octets);
    }
}

const BLACK: u16 = 16;
const GREY: u16 = 126;
const WHITE: u16 = 235;

/// A sample at 8 bits, in the format's depth.
const fn scaled(format: &Format, sample: u16) -> u16 {
    sample << (format.depth().bits() - 8)
}

/// One pgroup of texture at 8 bits. Luma rises within a bar and from row to row, so neighbours
/// differ; the bars are dark enough that it ends below white.
fn bar(row: usize, column: usize) -> Samples {
    let [luma, cb, cr] = BARS[column * BARS.len() / PERIOD];
    let rise = |by: usize| luma + u16::try_from(by).expect("under 80");
    [cb, rise(column % 16), cr, rise(row)]
}

fn flat(format: &Format, luma: u16, group: &mut [u8]) {
    let [grey, luma] = [128, luma].map(|sample| scaled(format, sample));
    pack(format.depth(), [grey, luma, grey, luma], group);
}

fn draw_cells(format: &Format, number: u64, line: &mut [u8]) {
    let size = format.depth().pgroup_octets() as usize;
    let width = format.line_pgroups() as usize / BITS;
    for (at, group) in line.chunks_exact_mut(size).enumerate() {
        let bit = at / width;
        let set = bit < BITS && number << bit >> (BITS - 1) == 1;
        flat(format, if set { WHITE } else { BLACK }, group);
    }
}

/// Draws row `row` of the digits' dots: as many of the last digits as fit, from the right.
fn draw_digits(format: &Format, mut number: u64, row: usize, line: &mut [u8]) {
    let size = format.depth().pgroup_octets() as usize;
    for group in line.chunks_exact_mut(size) {
        flat(format, BLACK, group);
    }
    for digit in line.rchunks_exact_mut(DIGIT_PGROUPS * size) {
        let dots = DIGITS[(number % 10) as usize] >> (3 * (4 - row));
        for (column, group) in digit.chunks_exact_mut(size).take(3).enumerate() {
            let set = dots >> (2 - column) & 1 == 1;
            flat(format, if set { WHITE } else { BLACK }, group);
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::stream::format::Depth;

    fn pattern(width: u32, height: u32, depth: Depth) -> Pattern {
        Pattern::new(Format::new(width, height, depth, "50".parse().unwrap()).unwrap())
    }

    fn rendered(pattern: &mut Pattern, number: u64) -> Vec<u8> {
        let line = pattern.format.line_octets() as usize;
        let height = pattern.format.height() as usize;
        let picture = pattern.picture(number);
        (0..height).flat_map(|at| picture.octets(at, 0, line)).copied().collect()
    }

    #[test]
    fn every_frame_verifies_under_its_own_number() {
        for depth in [Depth::Eight, Depth::Ten] {
            let mut sender = pattern(1280, 720, depth);
            let mut receiver = pattern(1280, 720, depth);
            for number in [0, 1, 127, 10_000_000_019, u64::MAX] {
                let frame = rendered(&mut sender, number);
                assert_eq!(receiver.verify(&frame), Verified::Frame(number));
            }
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_is_found() {
        let mut pattern = pattern(128, 32, Depth::Ten);
        let frame = rendered(&mut pattern, 7);
        for at in 0..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 1 << (at % 8);
            assert!(matches!(pattern.verify(&wrong), Verified::Wrong { .. }), "octet {at}");
        }
    }

    #[test]
    fn a_line_of_the_frame_before_is_found_wherever_it_is() {
        let mut pattern = pattern(128, 200, Depth::Ten);
        let line = pattern.format.line_octets() as usize;
        for number in [1, 126, 127, 128] {
            let before = rendered(&mut pattern, number - 1);
            let frame = rendered(&mut pattern, number);
            for at in (BAND_LINES * line..frame.len()).step_by(line) {
                assert_ne!(frame[at..at + line], before[at..at + line], "line {}", at / line);
            }
        }
    }

    #[test]
    fn no_two_lines_of_a_frame_are_equal_below_the_number() {
        let mut pattern = pattern(128, 8192, Depth::Eight);
        let line = pattern.format.line_octets() as usize;
        let frame = rendered(&mut pattern, 3);
        let below = &frame[BAND_LINES * line..];
        let distinct: HashSet<&[u8]> = below.chunks_exact(line).collect();
        assert_eq!(distinct.len(), 8192 - BAND_LINES);
    }

    #[test]
    fn shows_the_number_to_people() {
        let mut pattern = pattern(128, 16, Depth::Eight);
        let frame = rendered(&mut pattern, 42);
        let line = pattern.format.line_octets() as usize;
        // The middle row of dots of the last two digits: `4` has all three, `2` too.
        let middle = &frame[(CELL_LINES + 2 * DOT_LINES) * line..][..line];
        let dots: Vec<bool> = middle.chunks_exact(4).map(|g| g[1] > 128).collect();
        assert_eq!(dots[56..], [true, true, true, false, true, true, true, false]);
        assert!(dots[..56].iter().all(|&dot| !dot));
    }
}
