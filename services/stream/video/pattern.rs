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
//! misplaced or shifted shows. In interlaced formats the bars move between the fields as well. It
//! costs nearly nothing: the bars are one small texture that fits a second-level cache and is
//! read from another column each frame; only the number is drawn.

use super::format::{Format, HEIGHT, ROW_PGROUPS_MIN, Sampling, Scan};
use super::pgroup::{pack, unpack};
use super::picture::{Picture, Place};

/// Pgroups after which the bars repeat sideways. A prime: whatever step the bars make, they come
/// back to the same place after 127 and not before.
const PERIOD: usize = 127;

/// Rows of texture. Fewer would make lines of a frame equal (8192 lines are then more than 127
/// rounds); more would push a 4K texture out of a second-level cache.
const ROWS: usize = 80;

/// Pgroups by which the bars move from frame to frame, from field to field, and from one round of
/// rows to the next.
const FRAME_STEP: usize = 2;
const FIELD_STEP: usize = 1;
const ROUND_STEP: usize = 5;

const _: () = assert!((*HEIGHT.end() as usize).div_ceil(ROWS) <= PERIOD);

/// Cells of the number.
const BITS: usize = 64;

const _: () = assert!(BITS <= ROW_PGROUPS_MIN as usize);

/// Lines of the cells, and of one dot of a digit, in the smallest picture. Together the band is
/// then 16 lines high, which every format has. Larger pictures have larger digits.
const CELL_LINES: usize = 6;
const DOT_LINES: usize = 2;
const DOT_ROWS: usize = 5;
const BAND_LINES: usize = CELL_LINES + DOT_ROWS * DOT_LINES;

const _: () = assert!(BAND_LINES <= *HEIGHT.start() as usize);

/// Height in lines for which the band is once as high again: a sixteenth of the picture.
const LINES_PER_SIZE: usize = 16 * BAND_LINES;

/// Dots from one digit to the next: three of them and a space; and digits of the largest number.
const DIGIT_DOTS: usize = 4;
const DIGITS_MAX: usize = 20;

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

/// The same as red, green and blue.
const BARS_RGB: [[u16; 3]; 8] = [
    [150, 150, 150],
    [150, 150, 16],
    [16, 150, 150],
    [16, 150, 16],
    [150, 16, 150],
    [150, 16, 16],
    [16, 16, 150],
    [100, 100, 100],
];

/// Steps by which luma rises within a bar; with those of the rows, it stays below white.
const COLUMN_STEPS: usize = 6;

const _: () = assert!(150 + ROWS + COLUMN_STEPS <= 237);

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
    /// Where each row of the picture is in the texture.
    places: Vec<Place>,
    /// A row of cells, and one for each row of the digits' dots.
    band: Vec<u8>,
    /// Which of them each of the picture's first rows is.
    banded: Vec<u8>,
    black: Vec<u8>,
    white: Vec<u8>,
    /// Pgroups of a dot.
    dot_pgroups: usize,
    /// The frame whose number is in the band.
    drawn: Option<u64>,
}

impl Pattern {
    /// Takes the memory and draws the texture.
    pub fn new(format: Format) -> Self {
        let size = format.pgroup().octets as usize;
        let stride = format.row_pgroups() as usize + PERIOD;
        let mut texture = vec![0; ROWS * stride * size];
        for (at, group) in texture.chunks_exact_mut(size).enumerate() {
            draw_bar(&format, at / stride, at % stride % PERIOD, group);
        }
        let octets = |count: usize| u32::try_from(count * size).expect("a texture is a few MB");
        let place = |row| Place {
            start: octets(row % ROWS * stride),
            shift: octets(row / ROWS * ROUND_STEP % PERIOD),
        };
        let lines = format.pgroup().lines as usize;
        let scale = (format.height() as usize / LINES_PER_SIZE).max(1);
        let banded = (0..BAND_LINES * scale / lines)
            .map(|row| band_row(row * lines / scale))
            .collect::<Vec<_>>();
        let (black, white) = (flat(&format, BLACK), flat(&format, WHITE));
        Self {
            texture,
            places: (0..format.rows() as usize).map(place).collect(),
            band: black.repeat((1 + DOT_ROWS) * format.row_pgroups() as usize),
            banded,
            black,
            white,
            dot_pgroups: (DOT_LINES * scale / format.pgroup().pixels as usize).max(1),
            drawn: None,
            format,
        }
    }

    /// The picture of frame `number`.
    pub fn picture(&mut self, number: u64) -> Picture<'_> {
        if self.drawn != Some(number) {
            self.draw_number(number);
            self.drawn = Some(number);
        }
        let size = self.format.pgroup().octets;
        let step = usize::try_from(number % PERIOD as u64).expect("below the period");
        let later = if self.format.scan() == Scan::Interlaced { FIELD_STEP } else { 0 };
        let shift = |by: usize| u32::try_from(by % PERIOD).expect("below the period") * size;
        Picture::repeating(
            &self.texture,
            &self.places,
            [shift(step * FRAME_STEP), shift(step * FRAME_STEP + later)],
            shift(PERIOD - 1) + size,
            self.format.row_octets() as usize,
        )
        .under(&self.band, &self.banded)
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
        let format = &self.format;
        let size = format.pgroup().octets as usize;
        let width = self.cell_pgroups();
        let luma = format.sampling().layout().iter().position(|sample| sample.plane == 0);
        let luma = luma.expect("luma, or red, is in every pgroup");
        (0..BITS).fold(0, |number, bit| {
            let group = &picture[(bit * width + width / 2) * size..][..size];
            let level = unpack(format.depth(), group).nth(luma).expect("as laid out");
            number << 1 | u64::from(level > scaled(format, GREY))
        })
    }

    fn cell_pgroups(&self) -> usize {
        self.format.row_pgroups() as usize / BITS
    }

    fn draw_number(&mut self, number: u64) {
        let size = self.format.pgroup().octets as usize;
        let width = self.cell_pgroups();
        let row_octets = self.format.row_octets() as usize;
        let (cells, digits) = self.band.split_at_mut(row_octets);
        for (bit, cell) in cells.chunks_exact_mut(width * size).take(BITS).enumerate() {
            let set = number << bit >> (BITS - 1) == 1;
            fill(cell, if set { &self.white } else { &self.black });
        }
        for (row, line) in digits.chunks_exact_mut(row_octets).enumerate() {
            let mut rest = Some(number);
            // As many of the last digits as fit, from the right.
            let dot_octets = self.dot_pgroups * size;
            for digit in line.rchunks_exact_mut(DIGIT_DOTS * dot_octets).take(DIGITS_MAX) {
                let dots = rest.map_or(0, |rest| DIGITS[(rest % 10) as usize]);
                let dots = dots >> (3 * (DOT_ROWS - 1 - row));
                for (column, dot) in digit.chunks_exact_mut(dot_octets).take(3).enumerate() {
                    let set = dots >> (2 - column) & 1 == 1;
                    fill(dot, if set { &self.white } else { &self.black });
                }
                rest = rest.map(|rest| rest / 10).filter(|&rest| rest > 0);
            }
        }
    }
}

/// Which row of the band a line of the smallest picture is: the cells or a row of dots.
fn band_row(line: usize) -> u8 {
    let row = line.checked_sub(CELL_LINES).map_or(0, |line| 1 + line / DOT_LINES);
    u8::try_from(row).expect("one of six")
}

fn fill(octets: &mut [u8], group: &[u8]) {
    for place in octets.chunks_exact_mut(group.len()) {
        place.copy_from_slice(group);
    }
}

const BLACK: u16 = 16;
const GREY: u16 = 126;
const WHITE: u16 = 235;

/// A sample at 8 bits, in the format's depth: its own bits repeat below, so that none is always 0.
const fn scaled(format: &Format, sample: u16) -> u16 {
    (sample << 8 | sample) >> (16 - format.depth().bits())
}

/// One pgroup of texture. Luma rises within a bar and from row to row, so neighbours differ.
fn draw_bar(format: &Format, row: usize, column: usize, group: &mut [u8]) {
    let sampling = format.sampling();
    let index = column * BARS.len() / PERIOD;
    let (layout, (width, _)) = (sampling.layout(), sampling.layout_size());
    let samples = (0..format.pgroup().pixels).step_by(width as usize).flat_map(|unit| {
        layout.iter().map(move |sample| {
            let x = column * format.pgroup().pixels as usize + unit as usize + sample.x;
            let rise = row + (x + COLUMN_STEPS / 2 * sample.y) % COLUMN_STEPS;
            let rise = u16::try_from(rise).expect("under 86");
            let level = match (sampling, sample.plane) {
                (Sampling::Rgb, plane) => BARS_RGB[index][plane] + rise,
                (_, 0) => BARS[index][0] + rise,
                (_, plane) => BARS[index][plane],
            };
            scaled(format, level)
        })
    });
    pack(format.depth(), samples, group);
}

/// A pgroup without colour.
fn flat(format: &Format, luma: u16) -> Vec<u8> {
    let sampling = format.sampling();
    let mut group = vec![0; format.pgroup().octets as usize];
    let count = group.len() * 8 / usize::from(format.depth().bits());
    let levels = sampling.layout().iter().cycle().take(count).map(|sample| {
        let is_light = sampling == Sampling::Rgb || sample.plane == 0;
        scaled(format, if is_light { luma } else { 128 })
    });
    pack(format.depth(), levels, &mut group);
    group
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::stream::video::format::{Depth, Spec};

    fn pattern(width: u32, height: u32, depth: Depth) -> Pattern {
        Pattern::new(Format::new(width, height, depth, "50".parse().unwrap()).unwrap())
    }

    /// Every sampling and depth, and one with fields.
    fn formats(width: u32, height: u32) -> Vec<Format> {
        let spec = Spec::new(width, height, Depth::Ten, "50".parse().unwrap());
        let all = Sampling::ALL.into_iter().flat_map(|sampling| {
            Depth::ALL.map(|depth| Spec { sampling, depth, ..spec }.check().unwrap())
        });
        all.chain([Spec { scan: Scan::Interlaced, ..spec }.check().unwrap()]).collect()
    }

    fn rendered(pattern: &mut Pattern, number: u64) -> Vec<u8> {
        let octets = pattern.format.row_octets() as usize;
        let rows = pattern.format.rows() as usize;
        let picture = pattern.picture(number);
        (0..rows).flat_map(|at| picture.octets(at, 0, octets)).copied().collect()
    }

    #[test]
    fn every_frame_verifies_under_its_own_number() {
        for format in formats(640, 360) {
            let (mut sender, mut receiver) = (Pattern::new(format), Pattern::new(format));
            for number in [0, 127, 10_000_000_019, u64::MAX] {
                let frame = rendered(&mut sender, number);
                assert_eq!(receiver.verify(&frame), Verified::Frame(number), "{format}");
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
        for format in formats(256, 200) {
            let mut pattern = Pattern::new(format);
            let octets = format.row_octets() as usize;
            for number in [1, 126, 127, 128] {
                let before = rendered(&mut pattern, number - 1);
                let frame = rendered(&mut pattern, number);
                for at in (pattern.banded.len() * octets..frame.len()).step_by(octets) {
                    let same = frame[at..at + octets] == before[at..at + octets];
                    assert!(!same, "{format}: row {}", at / octets);
                }
            }
        }
    }

    #[test]
    fn no_two_lines_of_a_frame_are_equal_below_the_number() {
        // All lines there can be in one format, a round of the texture and more in the others.
        let tallest = Format::new(128, 8192, Depth::Eight, "50".parse().unwrap()).unwrap();
        for format in formats(256, 256).into_iter().chain([tallest]) {
            let mut pattern = Pattern::new(format);
            let octets = format.row_octets() as usize;
            let frame = rendered(&mut pattern, 3);
            let below = &frame[pattern.banded.len() * octets..];
            let distinct: HashSet<&[u8]> = below.chunks_exact(octets).collect();
            assert_eq!(distinct.len(), format.rows() as usize - pattern.banded.len(), "{format}");
        }
    }

    #[test]
    fn every_bit_of_every_sample_is_used() {
        for format in formats(256, 128) {
            let frame = rendered(&mut Pattern::new(format), 1);
            let (any, all) = frame
                .chunks_exact(format.pgroup().octets as usize)
                .flat_map(|group| unpack(format.depth(), group))
                .fold((0, u16::MAX), |(any, all), sample| (any | sample, all & sample));
            assert_eq!((any, all), (u16::MAX >> (16 - format.depth().bits()), 0), "{format}");
        }
    }

    #[test]
    fn the_fields_of_an_interlaced_frame_are_of_two_moments() {
        let spec = Spec::new(256, 128, Depth::Eight, "50".parse().unwrap());
        let mut interlaced = Pattern::new(Spec { scan: Scan::Interlaced, ..spec }.check().unwrap());
        let mut progressive = Pattern::new(spec.check().unwrap());
        let (fields, whole) = (rendered(&mut interlaced, 5), rendered(&mut progressive, 5));
        let octets = progressive.format.row_octets() as usize;
        for row in progressive.banded.len()..128 {
            let piece = |frame: &[u8]| frame[row * octets..][..octets].to_vec();
            assert_eq!(piece(&fields) == piece(&whole), row % 2 == 0, "row {row}");
        }
    }

    #[test]
    fn shows_the_number_to_people() {
        for (height, scale) in [(16, 1), (512, 2)] {
            let mut pattern = pattern(256, height, Depth::Eight);
            let frame = rendered(&mut pattern, 42);
            let octets = pattern.format.row_octets() as usize;
            // The middle row of dots of the last two digits: `4` has all three, `2` too.
            let middle = &frame[(CELL_LINES + 2 * DOT_LINES) * scale * octets..][..octets];
            let dots: Vec<bool> =
                middle.chunks_exact(4).step_by(scale).map(|g| g[1] > 128).collect();
            let (before, last) = dots.split_at(dots.len() - 8);
            assert_eq!(last, [true, true, true, false, true, true, true, false]);
            assert!(before.iter().all(|&dot| !dot));
        }
    }

    #[test]
    fn a_shorter_number_leaves_nothing_of_a_longer_one() {
        let mut pattern = pattern(1280, 720, Depth::Ten);
        let alone = rendered(&mut pattern.clone(), 5);
        rendered(&mut pattern, u64::MAX);
        assert!(rendered(&mut pattern, 5) == alone);
    }
}
