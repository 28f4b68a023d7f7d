//! The picture in one format: as pgroups, and as the other programs have it.
//!
//! Pgroups are made here from FFmpeg's samples, without the code that is tried.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use tidegate::stream::video::{Depth, Format, Sampling, Scan, Spec};

use super::Scene;

/// File of the clip in pgroups, and as the others have it.
pub(super) const WIRE: &str = "clip.raw";
pub(super) const THEIRS: &str = "theirs.raw";

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// Frames of a clip, all different.
const FRAMES: usize = 6;

pub(super) struct Clip {
    pub(super) format: Format,
    /// FFmpeg's name for the samples that the others have.
    pub(super) pixels: &'static str,
    /// GStreamer's name for them.
    pub(super) caps: &'static str,
    /// Frames in pgroups.
    pub(super) wire: Vec<Vec<u8>>,
    /// The same frames, as the others have them.
    pub(super) theirs: Vec<Vec<u8>>,
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.format.fmt(f)
    }
}

/// From samples as FFmpeg paints them: pgroups, and what the others have.
type Pack = fn(&[u8]) -> (Vec<u8>, Vec<u8>);

impl Clip {
    /// Has FFmpeg paint it, into the files [`WIRE`] and [`THEIRS`].
    pub(super) fn paint(scene: &Scene, sampling: Sampling, depth: Depth, scan: Scan) -> Self {
        let (pixels, caps, pack): (_, _, Pack) = match (sampling, depth) {
            (Sampling::YCbCr422, Depth::Ten) => ("yuv422p10le", "UYVP", the_same),
            (Sampling::YCbCr422, Depth::Eight) => ("uyvy422", "UYVY", the_same),
            (Sampling::Rgb, Depth::Eight) => ("rgb24", "RGB", the_same),
            (Sampling::YCbCr444, Depth::Eight) => ("yuv444p", "AYUV", cb_y_cr),
            (Sampling::YCbCr420, Depth::Eight) => ("yuv420p", "I420", pairs_of_lines),
            other => panic!("nobody has {other:?}"),
        };
        let spec = Spec::new(320, 180, depth, "10".parse().unwrap());
        let format = Spec { sampling, scan, ..spec }.check().unwrap();
        let mut ffmpeg = scene.ffmpeg();
        ffmpeg.args(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=10", "-frames:v"]);
        ffmpeg.arg(FRAMES.to_string()).args(["-pix_fmt", pixels]);
        if pixels == "yuv422p10le" {
            ffmpeg.args(["-c:v", "bitpacked"]);
        }
        assert!(ffmpeg.args(["-f", "rawvideo", THEIRS]).status().unwrap().success());
        let painted = fs::read(scene.path(THEIRS)).unwrap();
        let frames = painted.chunks(painted.len() / FRAMES).map(pack);
        let (wire, theirs): (Vec<_>, Vec<_>) = frames.unzip();
        assert_eq!(wire.iter().collect::<BTreeSet<_>>().len(), FRAMES, "all different");
        assert!(wire.iter().all(|frame| frame.len() == format.frame_octets()));
        fs::write(scene.path(WIRE), wire.concat()).unwrap();
        fs::write(scene.path(THEIRS), theirs.concat()).unwrap();
        Self { format, pixels, caps, wire, theirs }
    }

    /// What our services are told of it.
    pub(super) fn options(&self) -> String {
        let spec = self.format.spec();
        format!(
            "width = {}\nheight = {}\nrate = \"{}\"\nsampling = \"{}\"\ndepth = {}\nscan = \"{}\"",
            spec.width,
            spec.height,
            spec.rate,
            spec.sampling,
            spec.depth.bits(),
            spec.scan
        )
    }

    /// Asserts that `got`, a file of another program, is the clip, repeated, from any frame on.
    #[track_caller]
    pub(super) fn is_repeated_in(&self, got: &[u8]) {
        let frame_octets = self.theirs[0].len();
        assert_eq!(got.len() % frame_octets, 0, "{self:?}: ends within a frame");
        let first = &got[..frame_octets];
        let start = self.theirs.iter().position(|frame| frame == first);
        let start = start.unwrap_or_else(|| panic!("{self:?}: the first is no frame of the clip"));
        for (index, frame) in got.chunks(frame_octets).enumerate() {
            let expected = &self.theirs[(start + index) % FRAMES];
            assert!(frame == expected, "{self:?}: frame {index} has other pixels");
        }
    }
}

/// FFmpeg's samples are pgroups as they are.
fn the_same(samples: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (samples.to_vec(), samples.to_vec())
}

/// Planes of 4:4:4, of which GStreamer makes A, Y, U, V; it writes A as 0.
fn cb_y_cr(samples: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let plane = WIDTH * HEIGHT;
    let pixel = |at: usize| [0, plane, 2 * plane].map(|start| samples[start + at]);
    let pixels = (0..plane).map(pixel);
    (
        pixels.clone().flat_map(|[y, cb, cr]| [cb, y, cr]).collect(),
        pixels.flat_map(|[y, cb, cr]| [0, y, cb, cr]).collect(),
    )
}

/// Planes of 4:2:0. RFC 4175, section 4.3: Y00 Y01 Y10 Y11 Cb00 Cr00.
fn pairs_of_lines(samples: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (cb, cr) = (WIDTH * HEIGHT, WIDTH * HEIGHT * 5 / 4);
    let groups = (0..HEIGHT / 2).flat_map(|row| (0..WIDTH / 2).map(move |column| (row, column)));
    let wire = groups.flat_map(|(row, column)| {
        let luma = 2 * row * WIDTH + 2 * column;
        let chroma = row * WIDTH / 2 + column;
        [luma, luma + 1, luma + WIDTH, luma + WIDTH + 1, cb + chroma, cr + chroma]
            .map(|at| samples[at])
    });
    (wire.collect(), samples.to_vec())
}
