//! Pixel groups: the smallest number of pixels that is a whole number of octets.
//!
//! ```text
//!  4:2:2           Cb   Y0   Cr   Y1                    two pixels of a line
//!  4:4:4           Cb   Y    Cr                         a pixel
//!  RGB             R    G    B                          a pixel
//!  4:2:0           Y00  Y01  Y10  Y11  Cb   Cr          two pixels of two lines
//!
//!  10 bits:   cccccccc  ccyyyyyy  yyyyrrrr  rrrrrryy  yyyyyyyy     top bit first
//! ```
//!
//! RFC 4175, section 4.3, and ST 2110-20, section 6.2.5: samples lie one behind the other without
//! a gap, each with its top bit first, and the order above repeats until octets and samples end
//! together. At 10 bits, 4:2:2 is GStreamer's `UYVP` and FFmpeg's `bitpacked`: a file of pgroups
//! is a `.raw` that both read.

use super::format::{Depth, Sampling};

/// Where one sample of a pgroup belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its plane: Y, Cb, Cr, or R, G, B.
    pub plane: usize,
    /// Its column within the part of the plane that the smallest group covers.
    pub x: usize,
    /// Its line there.
    pub y: usize,
}

const fn sample(plane: usize, x: usize, y: usize) -> Sample {
    Sample { plane, x, y }
}

const LAYOUT_422: [Sample; 4] =
    [sample(1, 0, 0), sample(0, 0, 0), sample(2, 0, 0), sample(0, 1, 0)];
const LAYOUT_444: [Sample; 3] = [sample(1, 0, 0), sample(0, 0, 0), sample(2, 0, 0)];
const LAYOUT_RGB: [Sample; 3] = [sample(0, 0, 0), sample(1, 0, 0), sample(2, 0, 0)];
const LAYOUT_420: [Sample; 6] = [
    sample(0, 0, 0),
    sample(0, 1, 0),
    sample(0, 0, 1),
    sample(0, 1, 1),
    sample(1, 0, 0),
    sample(2, 0, 0),
];

impl Sampling {
    /// The samples of the smallest group of whole samples, in the order of the wire.
    pub const fn layout(self) -> &'static [Sample] {
        match self {
            Self::YCbCr422 => &LAYOUT_422,
            Self::YCbCr444 => &LAYOUT_444,
            Self::YCbCr420 => &LAYOUT_420,
            Self::Rgb => &LAYOUT_RGB,
        }
    }

    /// Its number of samples.
    const fn layout_samples(self) -> u32 {
        match self {
            Self::YCbCr422 => 4,
            Self::YCbCr444 | Self::Rgb => 3,
            Self::YCbCr420 => 6,
        }
    }

    /// Pixels and lines that this group covers.
    pub const fn layout_size(self) -> (u32, u32) {
        match self {
            Self::YCbCr422 => (2, 1),
            Self::YCbCr444 | Self::Rgb => (1, 1),
            Self::YCbCr420 => (2, 2),
        }
    }
}

/// What a pgroup of a format is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pgroup {
    /// Its octets.
    pub octets: u32,
    /// Its pixels in each line; a power of two.
    pub pixels: u32,
    /// Its lines.
    pub lines: u32,
}

impl Pgroup {
    /// The pgroup of ST 2110-20's tables.
    pub const fn of(sampling: Sampling, depth: Depth) -> Self {
        let (width, lines) = sampling.layout_size();
        let bits = sampling.layout_samples() * depth.bits() as u32;
        // The fewest repetitions whose bits are whole octets.
        let times = 8 >> if bits.trailing_zeros() > 3 { 3 } else { bits.trailing_zeros() };
        Self { octets: bits * times / 8, pixels: width * times, lines }
    }

    /// 2^32 by the octets of a pgroup, rounded up: what [`Self::count_by`] multiplies by.
    pub const fn reciprocal(self) -> u64 {
        (u32::MAX / self.octets + 1) as u64
    }

    /// How many pgroups `octets` are, if they are a whole number of them: by a multiplication,
    /// because it is asked for each packet.
    #[inline]
    pub fn count_by(reciprocal: u64, pgroup_octets: u32, octets: u16) -> Option<u32> {
        let count = ((u64::from(octets) * reciprocal) >> 32) as u32;
        (count * pgroup_octets == u32::from(octets)).then_some(count)
    }
}

/// Samples of a pgroup at most: 4:4:4 and 4:2:0 at 10 bits.
pub const SAMPLES_MAX: usize = 12;

/// Packs samples, each with its top bit first. Bits above the depth are ignored.
///
/// # Panics
///
/// When `into` does not hold exactly these samples.
pub fn pack(depth: Depth, samples: impl IntoIterator<Item = u16>, into: &mut [u8]) {
    let width = u32::from(depth.bits());
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut octets = into.iter_mut();
    for sample in samples {
        // Never more than 7 bits are left over from the sample before.
        held = held << width | u32::from(sample) & ((1 << width) - 1);
        bits += width;
        while bits >= 8 {
            bits -= 8;
            let octet = octets.next().expect("room for the samples");
            *octet = (held >> bits & 0xff).to_le_bytes()[0];
        }
    }
    assert!(bits == 0 && octets.next().is_none(), "octets and samples end together");
}

/// The samples that `from` holds, a whole number of pgroups.
pub fn unpack(depth: Depth, from: &[u8]) -> impl Iterator<Item = u16> {
    let width = u32::from(depth.bits());
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut octets = from.iter();
    std::iter::from_fn(move || {
        while bits < width {
            held = held << 8 | u32::from(*octets.next()?);
            bits += 8;
        }
        bits -= width;
        let [low, high, ..] = (held >> bits & ((1 << width) - 1)).to_le_bytes();
        Some(u16::from_le_bytes([low, high]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgroups_are_those_of_the_standard() {
        // Octets and pixels (in all lines) at 8, 10, 12 and 16 bits.
        let table = [
            (Sampling::YCbCr422, [(4, 2), (5, 2), (6, 2), (8, 2)]),
            (Sampling::YCbCr444, [(3, 1), (15, 4), (9, 2), (6, 1)]),
            (Sampling::Rgb, [(3, 1), (15, 4), (9, 2), (6, 1)]),
            (Sampling::YCbCr420, [(6, 4), (15, 8), (9, 4), (12, 4)]),
        ];
        for (sampling, expected) in table {
            assert_eq!(sampling.layout().len(), sampling.layout_samples() as usize);
            for (depth, expected) in Depth::ALL.into_iter().zip(expected) {
                let Pgroup { octets, pixels, lines } = Pgroup::of(sampling, depth);
                assert_eq!((octets, pixels * lines), expected, "{sampling} {depth:?}");
                assert_eq!(lines, if sampling == Sampling::YCbCr420 { 2 } else { 1 });
                assert!(pixels.is_power_of_two());
                assert!((octets * 8 / u32::from(depth.bits())) as usize <= SAMPLES_MAX);
            }
        }
    }

    #[test]
    fn counts_as_a_division_would() {
        for sampling in Sampling::ALL {
            for pgroup in Depth::ALL.map(|depth| Pgroup::of(sampling, depth)) {
                for octets in 0..=u16::MAX {
                    let (count, rest) =
                        (u32::from(octets) / pgroup.octets, u32::from(octets) % pgroup.octets);
                    let found = Pgroup::count_by(pgroup.reciprocal(), pgroup.octets, octets);
                    assert_eq!(found, (rest == 0).then_some(count), "{octets}");
                }
            }
        }
    }

    #[test]
    fn packs_ten_bits_as_drawn() {
        let mut group = [0xa5; 5];
        // Cb all ones, then each of the others alone.
        let table = [
            ([0x3ff, 0, 0, 0], [0xff, 0xc0, 0, 0, 0]),
            ([0, 0x3ff, 0, 0], [0, 0x3f, 0xf0, 0, 0]),
            ([0, 0, 0x3ff, 0], [0, 0, 0x0f, 0xfc, 0]),
            ([0, 0, 0, 0x3ff], [0, 0, 0, 0x03, 0xff]),
            ([0x201, 0x102, 0x3f0, 0x00f], [0x80, 0x50, 0x2f, 0xc0, 0x0f]),
        ];
        for (samples, octets) in table {
            pack(Depth::Ten, samples, &mut group);
            assert_eq!(group, octets, "{samples:x?}");
            assert_eq!(unpack(Depth::Ten, &group).collect::<Vec<_>>(), samples);
        }
    }

    #[test]
    fn packs_the_other_depths_top_bit_first() {
        let mut group = [0xa5; 4];
        pack(Depth::Eight, [1, 2, 3, 0x104], &mut group);
        assert_eq!(group, [1, 2, 3, 4], "bits above the depth are ignored");
        let mut group = [0xa5; 3];
        pack(Depth::Twelve, [0xabc, 0xdef], &mut group);
        assert_eq!(group, [0xab, 0xcd, 0xef]);
        let mut group = [0xa5; 4];
        pack(Depth::Sixteen, [0x1234, 0xfedc], &mut group);
        assert_eq!(group, [0x12, 0x34, 0xfe, 0xdc]);
        for depth in Depth::ALL {
            let samples: Vec<u16> = (0..12).map(|at| (at * 4099) >> (16 - depth.bits())).collect();
            let mut octets = vec![0xa5; 12 * usize::from(depth.bits()) / 8];
            pack(depth, samples.iter().copied(), &mut octets);
            assert!(unpack(depth, &octets).eq(samples.iter().copied()), "{depth:?}");
        }
    }
}
