//! Planes of samples, as files have them, to pgroups and back.
//!
//! ```text
//!   Y  y0 y1 y2 y3 …  ┐                      ┌ pgroups of the row
//!   Cb b0 b1 …        ├─► b0 y0 r0 y1 b1 … ─►┤ 10 bits: 4 samples in 5 octets
//!   Cr r0 r1 …        ┘   order of the wire  └ each with its top bit first
//! ```
//!
//! A row at a time: sixteen octets at once where the processor can shuffle them (`vector`), else
//! sample by sample, which is the same and slower (`pack_row`). In planes a sample is one octet
//! at 8 bits, else two, little end first.

use super::format::{Format, Sampling};
use super::pgroup::{self, Sample};
use super::picture::Pixels;

mod shuffle;
mod vector;

/// Octets of one sample in a plane.
const fn sample_octets(bits: u8) -> usize {
    if bits > 8 { 2 } else { 1 }
}

/// The lines that a row of pgroups is made of: the first of plane 0, in 4:2:0 also its second, and
/// one of each other plane.
const SOURCES: usize = 4;

/// Which of them a sample is in.
const fn source(sample: Sample) -> usize {
    if sample.plane == 0 { sample.y } else { sample.plane + 1 }
}

/// Samples of each of them in the smallest group of whole samples.
const fn source_samples(sampling: Sampling) -> [usize; SOURCES] {
    match sampling {
        Sampling::YCbCr422 => [2, 0, 1, 1],
        Sampling::YCbCr444 | Sampling::Rgb => [1, 0, 1, 1],
        Sampling::YCbCr420 => [2, 2, 1, 1],
    }
}

/// Octets of each of them in a whole row.
fn source_octets(format: &Format) -> [usize; SOURCES] {
    let units = (format.width() / format.sampling().layout_size().0) as usize;
    let size = sample_octets(format.depth().bits());
    source_samples(format.sampling()).map(|samples| samples * units * size)
}

/// Octets of a frame in planes, each line after line: Y, Cb, Cr or R, G, B.
pub fn planar_octets(format: &Format) -> usize {
    source_octets(format).iter().sum::<usize>() * format.rows() as usize
}

/// A frame in planes, whose pgroups are made where they are wanted: in a packet, so that no other
/// memory ever holds them. Bits above the depth are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Planar<'a> {
    format: Format,
    /// The first plane, and the two others.
    luma: &'a [u8],
    chroma: [&'a [u8]; 2],
    /// Octets of each source in a row, and in a pgroup of it.
    octets: [usize; SOURCES],
    each: [usize; SOURCES],
}

impl<'a> Planar<'a> {
    /// Looks at `planes`.
    ///
    /// # Panics
    ///
    /// When they are not [`planar_octets`] long.
    pub fn new(format: &Format, planes: &'a [u8]) -> Self {
        assert_eq!(planes.len(), planar_octets(format));
        let octets = source_octets(format);
        let rows = format.rows() as usize;
        let (luma, chroma) = planes.split_at((octets[0] + octets[1]) * rows);
        let (cb, cr) = chroma.split_at(octets[2] * rows);
        let each = octets.map(|octets| octets / format.row_pgroups() as usize);
        Self { format: *format, luma, chroma: [cb, cr], octets, each }
    }

    /// The sources of a row.
    fn row(&self, row: usize) -> [&'a [u8]; SOURCES] {
        let [first, second, third, fourth] = self.octets;
        let (upper, lower) = self.luma[row * (first + second)..][..first + second].split_at(first);
        let [cb, cr] = self.chroma;
        [upper, lower, &cb[row * third..][..third], &cr[row * fourth..][..fourth]]
    }
}

impl Pixels for Planar<'_> {
    #[inline]
    fn write(&self, row: usize, start: usize, into: &mut [u8]) {
        let pgroup = self.format.pgroup().octets as usize;
        let all = self.format.row_pgroups() as usize;
        let (start, count) = (start / pgroup, into.len() / pgroup);
        assert!(start + count <= all, "pgroup {start} and {count} more of a row");
        let mut sources = self.row(row);
        for (source, each) in sources.iter_mut().zip(self.each) {
            *source = &source[start * each..][..count * each];
        }
        if !vector::pack_row(&self.format, sources, into) {
            pack_row(&self.format, sources, into);
        }
    }
}

/// Packs planes into pgroups. Bits above the depth are ignored.
///
/// # Panics
///
/// When `planes` is not [`planar_octets`] or `into` not [`Format::frame_octets`] long.
pub fn from_planes(format: &Format, planes: &[u8], into: &mut [u8]) {
    assert_eq!((planes.len(), into.len()), (planar_octets(format), format.frame_octets()));
    let planar = Planar::new(format, planes);
    for (row, into) in into.chunks_exact_mut(format.row_octets() as usize).enumerate() {
        planar.write(row, 0, into);
    }
}

/// Unpacks pgroups into planes.
///
/// # Panics
///
/// When `picture` is not [`Format::frame_octets`] or `into` not [`planar_octets`] long.
pub fn to_planes(format: &Format, picture: &[u8], into: &mut [u8]) {
    assert_eq!((into.len(), picture.len()), (planar_octets(format), format.frame_octets()));
    let [first, second, third, fourth] = source_octets(format);
    let rows = format.rows() as usize;
    let (luma, chroma) = into.split_at_mut((first + second) * rows);
    let (cb, cr) = chroma.split_at_mut(third * rows);
    let lines = luma
        .chunks_exact_mut(first + second)
        .zip(cb.chunks_exact_mut(third).zip(cr.chunks_exact_mut(fourth)))
        .zip(picture.chunks_exact(format.row_octets() as usize));
    for ((luma, (cb, cr)), row) in lines {
        let (upper, lower) = luma.split_at_mut(first);
        let mut targets = [upper, lower, cb, cr];
        if !vector::unpack_row(format, row, &mut targets) {
            unpack_row(format, row, &mut targets);
        }
    }
}

/// Where each sample of a row is, in the order of the wire: its source, and its place there.
fn places(format: &Format) -> impl Iterator<Item = (usize, usize)> {
    let counts = source_samples(format.sampling());
    let layout = format.sampling().layout();
    (0..).flat_map(move |unit| {
        layout.iter().map(move |&sample| {
            let source = source(sample);
            (source, unit * counts[source] + sample.x)
        })
    })
}

/// Packs one row, or a piece of it, sample by sample.
fn pack_row(format: &Format, sources: [&[u8]; SOURCES], row: &mut [u8]) {
    let size = sample_octets(format.depth().bits());
    let count = row.len() * 8 / usize::from(format.depth().bits());
    let samples = places(format).take(count).map(|(source, at)| {
        match &sources[source][at * size..][..size] {
            &[low, high] => u16::from_le_bytes([low, high]),
            sample => sample[0].into(),
        }
    });
    pgroup::pack(format.depth(), samples, row);
}

/// Unpacks one row, sample by sample.
fn unpack_row(format: &Format, row: &[u8], targets: &mut [&mut [u8]; SOURCES]) {
    let size = sample_octets(format.depth().bits());
    for (sample, (target, at)) in pgroup::unpack(format.depth(), row).zip(places(format)) {
        targets[target][at * size..][..size].copy_from_slice(&sample.to_le_bytes()[..size]);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_runtime::sim::Random;

    use super::*;
    use crate::stream::video::format::{Depth, Spec};

    fn formats(width: u32) -> impl Iterator<Item = Format> {
        let rate = "25".parse().unwrap();
        Sampling::ALL.into_iter().flat_map(move |sampling| {
            Depth::ALL.into_iter().filter_map(move |depth| {
                let packing = crate::stream::video::Packing::Gpm;
                let spec = Spec { sampling, packing, ..Spec::new(width, 16, depth, rate) };
                spec.check().ok()
            })
        })
    }

    fn noise(seed: u64, octets: usize) -> Vec<u8> {
        let mut random = Random::new(seed);
        (0..octets).map(|_| random.below(256).to_le_bytes()[0]).collect()
    }

    /// Octets of planes of `format`, with nothing above the depth.
    fn planes(format: &Format, seed: u64) -> Vec<u8> {
        let mut planes = noise(seed, planar_octets(format));
        let bits = format.depth().bits();
        if bits > 8 {
            planes.iter_mut().skip(1).step_by(2).for_each(|high| *high &= 0xff >> (16 - bits));
        }
        planes
    }

    /// Widths around every step of the vectors, so that rows end everywhere within one.
    #[test]
    fn sixteen_octets_at_once_are_what_one_sample_after_the_other_is() {
        for width in (128..=256).step_by(2) {
            for format in formats(width) {
                let octets = source_octets(&format);
                let lines = octets.map(|octets| noise(u64::from(width), octets));
                let sources = lines.each_ref().map(Vec::as_slice);
                let mut expected = vec![0xa5; format.row_octets() as usize];
                pack_row(&format, sources, &mut expected);
                let mut row = vec![0x5a; expected.len()];
                if !vector::pack_row(&format, sources, &mut row) {
                    eprintln!("this processor cannot shuffle octets");
                    return;
                }
                assert!(row == expected, "{format}");
                let unpacked = |unpack: &dyn Fn(&mut [&mut [u8]; SOURCES])| {
                    let mut lines = octets.map(|octets| vec![0xa5; octets]);
                    unpack(&mut lines.each_mut().map(Vec::as_mut_slice));
                    lines
                };
                let expected = unpacked(&|targets| unpack_row(&format, &row, targets));
                let lines =
                    unpacked(&|targets| assert!(vector::unpack_row(&format, &row, targets)));
                assert!(lines == expected, "{format}");
            }
        }
    }

    #[test]
    fn planes_go_to_pgroups_and_back() {
        for format in formats(720) {
            let planes = planes(&format, 7);
            let mut picture = vec![0xa5; format.frame_octets()];
            from_planes(&format, &planes, &mut picture);
            let mut back = vec![0xa5; planes.len()];
            to_planes(&format, &picture, &mut back);
            assert!(back == planes, "{format}");
        }
    }

    /// One sample is all ones, and what comes out are its bits where the standard's order of samples
    /// has them.
    #[test]
    fn each_sample_is_where_the_standard_has_it() {
        for format in formats(256) {
            let bits = usize::from(format.depth().bits());
            let size = sample_octets(format.depth().bits());
            let (layout, (_, lines)) =
                (format.sampling().layout(), format.sampling().layout_size());
            let [first, second, third, _] = source_octets(&format);
            let rows = format.rows() as usize;
            for (index, &sample) in layout.iter().enumerate() {
                let start = [0, first + second, first + second + third][sample.plane] * rows;
                let line = source_octets(&format)[source(sample)];
                let lines = if sample.plane == 0 { lines as usize } else { 1 };
                // Of the second group of the second row.
                let across = source_samples(format.sampling())[source(sample)] + sample.x;
                let place = start + (lines + sample.y) * line + across * size;
                let mut planes = vec![0; planar_octets(&format)];
                planes[place..][..size].fill(0xff);
                let mut picture = vec![0xa5; format.frame_octets()];
                from_planes(&format, &planes, &mut picture);
                let set = |bit: usize| picture[bit / 8] >> (7 - bit % 8) & 1 == 1;
                let start = format.row_octets() as usize * 8 + (layout.len() + index) * bits;
                for bit in 0..picture.len() * 8 {
                    let expected = (start..start + bits).contains(&bit);
                    assert_eq!(set(bit), expected, "{format}: sample {index}, bit {bit}");
                }
            }
        }
    }
}
