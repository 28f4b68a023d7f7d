//! Pictures as screens want them: red, green and blue, of all values.
//!
//! ```text
//!   pgroups ─► planes ─► Y' 0..1, Cb' Cr' ±0.5 ─► R' G' B' 0..1 ─► 8 or 16 bits
//! ```
//!
//! By the matrices of BT.601, BT.709 and BT.2020 (non-constant luminance, also of BT.2100). Where
//! several pixels share a chroma sample each has it as it is: nothing is interpolated, so that what
//! is seen is what came. The transfer characteristic stays as it is as well.

use super::convert;
use super::format::{Format, Sampling};
use crate::stream::sdp::video::{Colorimetry, Range};

/// How samples are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colours {
    /// Whose matrix.
    pub colorimetry: Colorimetry,
    /// Which values are used.
    pub range: Range,
}

impl Colours {
    /// What is said, or else what is usual for the size: BT.601 up to 576 lines, BT.709 above, with
    /// head and foot room.
    pub fn of(format: &Format, colorimetry: Option<Colorimetry>, range: Option<Range>) -> Self {
        let usual = if format.height() <= 576 { Colorimetry::Bt601 } else { Colorimetry::Bt709 };
        Self { colorimetry: colorimetry.unwrap_or(usual), range: range.unwrap_or(Range::Narrow) }
    }

    /// What red and blue contribute to luma; `None` where there is no such matrix.
    const fn weights(self) -> Option<(f32, f32)> {
        match self.colorimetry {
            Colorimetry::Bt601 => Some((0.299, 0.114)),
            Colorimetry::Bt709 => Some((0.2126, 0.0722)),
            Colorimetry::Bt2020 | Colorimetry::Bt2100 => Some((0.2627, 0.0593)),
            _ => None,
        }
    }
}

/// Makes RGB of frames of one format.
#[derive(Debug)]
pub struct Screen {
    format: Format,
    planes: Vec<u8>,
    /// Foot, and what divides luma (or each colour) and chroma.
    luma: (f32, f32),
    chroma: (f32, f32),
    /// Red of Cr, green of Cb and Cr, blue of Cb.
    matrix: [f32; 4],
    wide: bool,
}

impl Screen {
    /// Takes the memory for one frame. `None` where there is no matrix for these colours.
    pub fn new(format: Format, colours: Colours) -> Option<Self> {
        let (red, blue) = match format.sampling() {
            Sampling::Rgb => (0.0, 0.0),
            _ => colours.weights()?,
        };
        let green = 1.0 - red - blue;
        let matrix = [
            2.0 * (1.0 - red),
            -2.0 * blue * (1.0 - blue) / green,
            -2.0 * red * (1.0 - red) / green,
            2.0 * (1.0 - blue),
        ];
        let bits = format.depth().bits();
        let unit = f32::from(1_u16 << (bits - 8));
        let top = f32::from(u16::MAX >> (16 - bits));
        let (luma, chroma) = match colours.range {
            Range::Narrow => ((16.0 * unit, 219.0 * unit), (128.0 * unit, 224.0 * unit)),
            Range::Full | Range::FullProtect => ((0.0, top), (128.0 * unit, top)),
        };
        let planes = vec![0; convert::planar_octets(&format)];
        Some(Self { format, planes, luma, chroma, matrix, wide: bits > 8 })
    }

    /// Bits of a colour in what comes out: 8 of 8, 16 of more.
    pub const fn bits(&self) -> u8 {
        if self.wide { 16 } else { 8 }
    }

    /// Octets of a picture that comes out.
    pub const fn octets(&self) -> usize {
        let pixels = self.format.width() as usize * self.format.height() as usize;
        pixels * 3 * if self.wide { 2 } else { 1 }
    }

    /// Makes a picture of pgroups: pixel after pixel, 16 bits with the high octet first.
    ///
    /// # Panics
    ///
    /// When `pgroups` is no frame or `into` not [`Self::octets`] long.
    pub fn show(&mut self, pgroups: &[u8], into: &mut [u8]) {
        assert_eq!(into.len(), self.octets());
        convert::to_planes(&self.format, pgroups, &mut self.planes);
        let (width, height) = (self.format.width() as usize, self.format.height() as usize);
        let (across, down) = match self.format.sampling() {
            Sampling::YCbCr422 => (2, 1),
            Sampling::YCbCr420 => (2, 2),
            Sampling::YCbCr444 | Sampling::Rgb => (1, 1),
        };
        let size = if self.wide { 2 } else { 1 };
        let (first, others) = self.planes.split_at(width * height * size);
        let (second, third) = others.split_at(others.len() / 2);
        for (row, line) in into.chunks_exact_mut(width * 3 * size).enumerate() {
            let luma = &first[row * width * size..][..width * size];
            let chroma_width = width / across * size;
            let at = row / down * chroma_width;
            let (second, third) = (&second[at..][..chroma_width], &third[at..][..chroma_width]);
            for (column, pixel) in line.chunks_exact_mut(3 * size).enumerate() {
                let samples = [
                    self.sample(luma, column),
                    self.sample(second, column / across),
                    self.sample(third, column / across),
                ];
                for (colour, into) in
                    self.pixel(samples).into_iter().zip(pixel.chunks_exact_mut(size))
                {
                    self.write(colour, into);
                }
            }
        }
    }

    fn sample(&self, line: &[u8], at: usize) -> f32 {
        match self.wide {
            true => f32::from(u16::from_le_bytes([line[2 * at], line[2 * at + 1]])),
            false => f32::from(line[at]),
        }
    }

    /// Red, green and blue from 0 to 1, of which noise may leave the range.
    fn pixel(&self, samples: [f32; 3]) -> [f32; 3] {
        let of = |(foot, span): (f32, f32), sample: f32| (sample - foot) / span;
        if self.format.sampling() == Sampling::Rgb {
            return samples.map(|sample| of(self.luma, sample));
        }
        let [y, cb, cr] = samples;
        let (y, cb, cr) = (of(self.luma, y), of(self.chroma, cb), of(self.chroma, cr));
        let [red_cr, green_cb, green_cr, blue_cb] = self.matrix;
        [y + red_cr * cr, y + green_cb * cb + green_cr * cr, y + blue_cb * cb]
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    fn write(&self, colour: f32, into: &mut [u8]) {
        let top = if self.wide { 65535.0 } else { 255.0 };
        let value = (colour * top).round().clamp(0.0, top) as u16;
        match into {
            [high, low] => [*high, *low] = value.to_be_bytes(),
            one => one[0] = value.to_le_bytes()[0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::video::format::{Depth, Spec};
    use crate::stream::video::pgroup;

    /// What one colour becomes, given in 8 bits whatever the depth is.
    fn shown(sampling: Sampling, depth: Depth, colours: Colours, samples: [u16; 3]) -> Vec<u8> {
        let rate = "25".parse().unwrap();
        let format = Spec { sampling, ..Spec::new(256, 16, depth, rate) }.check().unwrap();
        let layout = format.sampling().layout();
        let count = format.frame_octets() * 8 / usize::from(depth.bits());
        let all = layout.iter().cycle().take(count);
        let mut pgroups = vec![0; format.frame_octets()];
        let samples = all.map(|sample| samples[sample.plane] << (depth.bits() - 8));
        pgroup::pack(depth, samples, &mut pgroups);
        let mut screen = Screen::new(format, colours).unwrap();
        let mut picture = vec![0xa5; screen.octets()];
        screen.show(&pgroups, &mut picture);
        let pixel = picture[..picture.len() / 256 / 16].to_vec();
        assert!(picture.chunks(pixel.len()).all(|it| it == pixel));
        pixel
    }

    const NARROW_709: Colours = Colours { colorimetry: Colorimetry::Bt709, range: Range::Narrow };

    #[test]
    fn black_white_and_beyond_are_what_they_are_in_every_sampling_and_depth() {
        for sampling in [Sampling::YCbCr422, Sampling::YCbCr444, Sampling::YCbCr420] {
            for depth in Depth::ALL {
                let shown = |luma| shown(sampling, depth, NARROW_709, [luma, 128, 128]);
                let size = if depth == Depth::Eight { 3 } else { 6 };
                assert_eq!(shown(16), vec![0; size]);
                assert_eq!(shown(235), vec![255; size]);
                assert_eq!(shown(4), vec![0; size], "below black");
                assert_eq!(shown(250), vec![255; size], "above white");
            }
        }
        for depth in Depth::ALL {
            let red = shown(Sampling::Rgb, depth, NARROW_709, [235, 16, 16]);
            assert!(red[..red.len() / 3].iter().all(|&it| it == 255));
            assert!(red[red.len() / 3..].iter().all(|&it| it == 0));
        }
    }

    /// The bars of colour at 75 %, as BT.709 and SMPTE RP 219 have them in 8 bits.
    #[test]
    fn the_bars_of_the_standard_have_their_colours() {
        for (samples, colour) in [
            ([168, 44, 136], [191, 191, 0]),
            ([145, 147, 44], [0, 191, 191]),
            ([134, 63, 52], [0, 191, 0]),
            ([63, 193, 204], [191, 0, 191]),
            ([51, 109, 212], [191, 0, 0]),
            ([28, 212, 120], [0, 0, 191]),
        ] {
            let found = shown(Sampling::YCbCr444, Depth::Eight, NARROW_709, samples);
            let near =
                found.iter().zip(colour).all(|(&found, it): (&u8, u8)| found.abs_diff(it) <= 2);
            assert!(near, "{samples:?}: {found:?}");
        }
    }

    #[test]
    fn full_range_has_no_foot_room() {
        let full = Colours { range: Range::Full, ..NARROW_709 };
        for sampling in [Sampling::YCbCr444, Sampling::Rgb] {
            let grey = |value| {
                let other = if sampling == Sampling::Rgb { value } else { 128 };
                shown(sampling, Depth::Eight, full, [value, other, other])
            };
            assert_eq!((grey(0), grey(77), grey(255)), (vec![0; 3], vec![77; 3], vec![255; 3]));
        }
    }

    #[test]
    fn what_has_no_matrix_is_refused() {
        let format = Format::new(256, 16, Depth::Ten, "25".parse().unwrap()).unwrap();
        let colours = Colours { colorimetry: Colorimetry::Xyz, range: Range::Narrow };
        assert!(Screen::new(format, colours).is_none());
        assert_eq!(Colours::of(&format, None, None).colorimetry, Colorimetry::Bt601);
    }
}
