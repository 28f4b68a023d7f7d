//! Planes of samples to pgroups and back.

use super::format::Format;
use super::pgroup::{SAMPLES_MAX, pack, unpack};

/// Octets of one sample in a plane: one at 8 bits, else two, little end first.
const fn sample_octets(format: &Format) -> usize {
    if format.depth().bits() > 8 { 2 } else { 1 }
}

/// Samples of a line, and lines, of each plane.
fn plane_sizes(format: &Format) -> [(usize, usize); 3] {
    let (width, lines) = format.sampling().layout_size();
    let layout = format.sampling().layout();
    [0, 1, 2].map(|plane| {
        let of_plane = layout.iter().filter(|sample| sample.plane == plane);
        let (x, y) = of_plane.fold((0, 0), |(x, y), s| (x.max(s.x + 1), y.max(s.y + 1)));
        let across = format.width() as usize / width as usize * x;
        (across, format.height() as usize / lines as usize * y)
    })
}

/// Octets of a frame in planes, each line after line: Y, Cb, Cr or R, G, B.
pub fn planar_octets(format: &Format) -> usize {
    plane_sizes(format).iter().map(|(width, height)| width * height * sample_octets(format)).sum()
}

/// Calls `each` with every pgroup's octets in the picture and the octets of its samples in planes.
fn for_each_pgroup(format: &Format, mut each: impl FnMut(usize, &[usize])) {
    let sizes = plane_sizes(format);
    let size = sample_octets(format);
    let starts = [0, 1, 2].map(|plane| {
        sizes[..plane].iter().map(|(width, height)| width * height * size).sum::<usize>()
    });
    let (layout, (unit_width, _)) = (format.sampling().layout(), format.sampling().layout_size());
    let units = (format.pgroup().pixels / unit_width) as usize;
    let mut places = [0; SAMPLES_MAX];
    let mut at = 0;
    for row in 0..format.rows() as usize {
        for group in 0..format.row_pgroups() as usize {
            for unit in 0..units {
                for (index, sample) in layout.iter().enumerate() {
                    let (width, height) = sizes[sample.plane];
                    let across = width / (format.width() / unit_width) as usize;
                    let down = height / format.rows() as usize;
                    let x = (group * units + unit) * across + sample.x;
                    let y = row * down + sample.y;
                    places[unit * layout.len() + index] =
                        starts[sample.plane] + (y * width + x) * size;
                }
            }
            each(at, &places[..units * layout.len()]);
            at += format.pgroup().octets as usize;
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
    let octets = format.pgroup().octets as usize;
    let read = |at: usize| match sample_octets(format) {
        1 => u16::from(planes[at]),
        _ => u16::from_le_bytes([planes[at], planes[at + 1]]),
    };
    for_each_pgroup(format, |at, places| {
        pack(format.depth(), places.iter().map(|&place| read(place)), &mut into[at..at + octets]);
    });
}

/// Unpacks pgroups into planes.
///
/// # Panics
///
/// When `picture` is not [`Format::frame_octets`] or `into` not [`planar_octets`] long.
pub fn to_planes(format: &Format, picture: &[u8], into: &mut [u8]) {
    assert_eq!((into.len(), picture.len()), (planar_octets(format), format.frame_octets()));
    let (octets, size) = (format.pgroup().octets as usize, sample_octets(format));
    for_each_pgroup(format, |at, places| {
        let samples = unpack(format.depth(), &picture[at..at + octets]);
        for (sample, &place) in samples.zip(places) {
            into[place..place + size].copy_from_slice(&sample.to_le_bytes()[..size]);
        }
    });
}
