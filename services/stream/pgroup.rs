//! Pixel groups: two pixels of 4:2:2 as RFC 4175 packs them, to and from planes.
//!
//! ```text
//!  8 bits:   Cb        Y0        Cr        Y1
//! 10 bits:   cccccccc  ccyyyyyy  yyyyrrrr  rrrrrryy  yyyyyyyy     (Cb Y0 Cr Y1, top bit first)
//! ```
//!
//! The order at 10 bits is GStreamer's `UYVP` and FFmpeg's `bitpacked`: a file of pgroups is a
//! `.raw` that both read.

use super::format::{Depth, Format};

/// The samples of one pgroup: Cb, Y0, Cr, Y1.
pub type Samples = [u16; 4];

/// Packs one pgroup.
///
/// # Panics
///
/// When `into` is not [`Depth::pgroup_octets`] long.
#[expect(clippy::cast_possible_truncation, reason = "octets are cut out of samples")]
pub fn pack(depth: Depth, [cb, y0, cr, y1]: Samples, into: &mut [u8]) {
    match depth {
        Depth::Eight => into.copy_from_slice(&[cb as u8, y0 as u8, cr as u8, y1 as u8]),
        Depth::Ten => into.copy_from_slice(&[
            (cb >> 2) as u8,
            (cb << 6 | y0 >> 4) as u8,
            (y0 << 4 | cr >> 6) as u8,
            (cr << 2 | y1 >> 8) as u8,
            y1 as u8,
        ]),
    }
}

/// Unpacks one pgroup.
///
/// # Panics
///
/// When `from` is shorter than [`Depth::pgroup_octets`].
pub fn unpack(depth: Depth, from: &[u8]) -> Samples {
    let octet = |at: usize| u16::from(from[at]);
    match depth {
        Depth::Eight => [octet(0), octet(1), octet(2), octet(3)],
        Depth::Ten => [
            octet(0) << 2 | octet(1) >> 6,
            (octet(1) & 0x3f) << 4 | octet(2) >> 4,
            (octet(2) & 0x0f) << 6 | octet(3) >> 2,
            (octet(3) & 0x03) << 8 | octet(4),
        ],
    }
}

/// Octets of one sample in a plane: one at 8 bits, two (little end first) at 10.
const fn sample_octets(depth: Depth) -> usize {
    match depth {
        Depth::Eight => 1,
        Depth::Ten => 2,
    }
}

/// Octets of a frame in planes: Y, then Cb, then Cr, each line after line.
pub const fn planar_octets(format: &Format) -> usize {
    format.width() as usize * format.height() as usize * 2 * sample_octets(format.depth())
}

/// Packs planes into pgroups. Bits above the depth are ignored.
///
/// # Panics
///
/// When `planes` is not [`planar_octets`] or `into` not [`Format::frame_octets`] long.
pub fn from_planes(format: &Format, planes: &[u8], into: &mut [u8]) {
    let depth = format.depth();
    let size = sample_octets(depth);
    assert_eq!((planes.len(), into.len()), (planar_octets(format), format.frame_octets()));
    let (luma, chroma) = planes.split_at(planes.len() / 2);
    let (cb, cr) = chroma.split_at(chroma.len() / 2);
    let read = |sample: &[u8]| match depth {
        Depth::Eight => u16::from(sample[0]),
        Depth::Ten => u16::from_le_bytes([sample[0], sample[1]]) & 0x3ff,
    };
    let groups = into.chunks_exact_mut(depth.pgroup_octets() as usize);
    let pairs = luma.chunks_exact(2 * size);
    let chromas = cb.chunks_exact(size).zip(cr.chunks_exact(size));
    for ((group, pair), (cb, cr)) in groups.zip(pairs).zip(chromas) {
        pack(depth, [read(cb), read(pair), read(cr), read(&pair[size..])], group);
    }
}

/// Unpacks pgroups into planes.
///
/// # Panics
///
/// When `picture` is not [`Format::frame_octets`] or `into` not [`planar_octets`] long.
pub fn to_planes(format: &Format, picture: &[u8], into: &mut [u8]) {
    let depth = format.depth();
    let size = sample_octets(depth);
    assert_eq!((into.len(), picture.len()), (planar_octets(format), format.frame_octets()));
    let (luma, chroma) = into.split_at_mut(picture_half(format));
    let (cb, cr) = chroma.split_at_mut(chroma.len() / 2);
    let write = |sample: &mut [u8], value: u16| {
        sample[..size].copy_from_slice(&value.to_le_bytes()[..size]);
    };
    let groups = picture.chunks_exact(depth.pgroup_octets() as usize);
    let pairs = luma.chunks_exact_mut(2 * size);
    let chromas = cb.chunks_exact_mut(size).zip(cr.chunks_exact_mut(size));
    for ((group, pair), (cb, cr)) in groups.zip(pairs).zip(chromas) {
        let samples = unpack(depth, group);
        write(cb, samples[0]);
        write(pair, samples[1]);
        write(cr, samples[2]);
        write(&mut pair[size..], samples[3]);
    }
}

/// Octets of the luma plane: half of the whole in 4:2:2.
const fn picture_half(format: &Format) -> usize {
    planar_octets(format) / 2
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests {
    use super::*;

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
            assert_eq!(unpack(Depth::Ten, &group), samples);
        }
    }

    #[test]
    fn packs_eight_bits_in_the_same_order() {
        let mut group = [0xa5; 4];
        pack(Depth::Eight, [1, 2, 3, 4], &mut group);
        assert_eq!(group, [1, 2, 3, 4]);
        assert_eq!(unpack(Depth::Eight, &group), [1, 2, 3, 4]);
    }

    #[test]
    fn planes_go_to_pgroups_and_back() {
        for depth in [Depth::Eight, Depth::Ten] {
            let format = Format::new(128, 16, depth, "25".parse().unwrap()).unwrap();
            let mut planes = vec![0; planar_octets(&format)];
            for (at, sample) in planes.chunks_exact_mut(sample_octets(depth)).enumerate() {
                let value = (at * 7 % 1024) as u16;
                sample.copy_from_slice(&value.to_le_bytes()[..sample.len()]);
            }
            let mut picture = vec![0xa5; format.frame_octets()];
            from_planes(&format, &planes, &mut picture);
            let mut back = vec![0xa5; planes.len()];
            to_planes(&format, &picture, &mut back);
            assert_eq!(back, planes);
        }
    }

    #[test]
    fn the_first_pgroup_takes_two_of_luma_and_one_of_each_chroma() {
        let format = Format::new(128, 16, Depth::Eight, "25".parse().unwrap()).unwrap();
        let mut planes = vec![0; planar_octets(&format)];
        planes[..2].copy_from_slice(&[0x10, 0x11]); // Y
        planes[128 * 16] = 0x20; // Cb
        planes[128 * 16 * 3 / 2] = 0x30; // Cr
        let mut picture = vec![0xa5; format.frame_octets()];
        from_planes(&format, &planes, &mut picture);
        assert_eq!(picture[..4], [0x20, 0x10, 0x30, 0x11]);
    }
}
