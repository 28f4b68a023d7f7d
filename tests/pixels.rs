//! Pixels in files, bit for bit as FFmpeg has them: its planes to our pgroups against its own
//! packed formats, and our files read by it again.
//!
//! The picture is FFmpeg's moving test pattern under noise, so that no bit of any sample is always
//! the same, in a size that is no multiple of anything that is done at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use tidegate::stream::sdp::video::Colorimetry;
use tidegate::stream::sink::{Kind, Offered, Sink};
use tidegate::stream::source::{Ready, Source, Step};
use tidegate::stream::video::assembler::Delivered;
use tidegate::stream::video::colour::{Colours, Screen};
use tidegate::stream::video::picture::Pixels as _;
use tidegate::stream::video::{Depth, Format, Packing, Sampling, Scan, Spec, convert, pgroup};

use crate::require;

const FRAMES: usize = 3;

/// A directory of its own for each test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-pixels-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Has FFmpeg turn its picture, or a file, into another file.
    fn ffmpeg(&self, from: &[&str], to: &[&str]) {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-y"]).args(from);
        // Without that it writes no Y4M of more than 8 bits.
        ffmpeg.args(["-strict", "-1"]).args(to).current_dir(&self.0).stdin(Stdio::null());
        assert!(ffmpeg.status().unwrap().success(), "{ffmpeg:?}");
    }

    /// The picture, painted in `pixels`, as a file of its octets.
    fn paint(&self, pixels: &str, file: &str) {
        let frames = FRAMES.to_string();
        self.ffmpeg(
            &["-f", "lavfi", "-i", "testsrc2=s=334x36:r=25,noise=alls=90:allf=t"],
            &["-frames:v", &frames, "-pix_fmt", pixels, "-f", "rawvideo", file],
        );
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// The frames of a file of pgroups.
    fn frames(&self, file: &str, format: &Format) -> Vec<Vec<u8>> {
        let octets = fs::read(self.path(file)).unwrap();
        assert_eq!(octets.len(), FRAMES * format.frame_octets(), "{file}: {format}");
        let frames: Vec<_> = octets.chunks(format.frame_octets()).map(<[u8]>::to_vec).collect();
        assert_eq!(frames.iter().collect::<BTreeSet<_>>().len(), FRAMES, "all different");
        frames
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn format(sampling: Sampling, depth: Depth, width: u32) -> Format {
    let spec = Spec::new(width, 36, depth, "25".parse().unwrap());
    Spec { sampling, packing: Packing::Gpm, ..spec }.check().unwrap()
}

/// Our pgroups of FFmpeg's planes are FFmpeg's packed samples, and back.
#[test]
fn planes_become_what_ffmpeg_packs() {
    if !require::program("ffmpeg") {
        return;
    }
    let scratch = Scratch::new("pack");
    let input = |pixels| ["-f", "rawvideo", "-s", "334x36", "-r", "25", "-pix_fmt", pixels, "-i"];
    let raw = ["-f", "rawvideo"];
    let table: [(Sampling, Depth, &str, &[&str]); 4] = [
        (Sampling::YCbCr422, Depth::Ten, "yuv422p10le", &["-c:v", "bitpacked"]),
        (Sampling::YCbCr422, Depth::Eight, "yuv422p", &["-pix_fmt", "uyvy422"]),
        (Sampling::Rgb, Depth::Eight, "gbrp", &["-pix_fmt", "rgb24"]),
        (Sampling::Rgb, Depth::Sixteen, "gbrp16le", &["-pix_fmt", "rgb48be"]),
    ];
    for (sampling, depth, pixels, packed) in table {
        let format = format(sampling, depth, 334);
        scratch.paint(pixels, "planes.raw");
        let from = [&input(pixels)[..], &["planes.raw"]].concat();
        scratch.ffmpeg(&from, &[packed, &raw, &["packed.raw"]].concat());
        let planes = fs::read(scratch.path("planes.raw")).unwrap();
        let frames = scratch.frames("packed.raw", &format);
        for (planes, packed) in planes.chunks(convert::planar_octets(&format)).zip(frames) {
            let mut planes = planes.to_vec();
            if sampling == Sampling::Rgb {
                // FFmpeg's are green, blue, red.
                let plane = planes.len() / 3;
                planes.rotate_right(plane);
            }
            let mut pgroups = vec![0xa5; packed.len()];
            convert::from_planes(&format, &planes, &mut pgroups);
            assert!(pgroups == packed, "{format}");
            let mut back = vec![0xa5; planes.len()];
            convert::to_planes(&format, &packed, &mut back);
            assert!(back == planes, "{format}");
        }
    }
}

/// 4:4:4 as FFmpeg's `v308` and `v410` have it: other orders, the same samples.
#[test]
fn samples_of_4_4_4_are_those_of_ffmpeg() {
    if !require::program("ffmpeg") {
        return;
    }
    let scratch = Scratch::new("v410");
    // Of whole pgroups at 10 bits as well.
    let size = ["-f", "rawvideo", "-s", "336x36", "-r", "25", "-pix_fmt"];
    for (depth, pixels, codec) in
        [(Depth::Eight, "yuv444p", "v308"), (Depth::Ten, "yuv444p10le", "v410")]
    {
        let format = format(Sampling::YCbCr444, depth, 336);
        scratch.ffmpeg(
            &["-f", "lavfi", "-i", "testsrc2=s=336x36:r=25,noise=alls=90:allf=t"],
            &["-frames:v", "1", "-pix_fmt", pixels, "-f", "rawvideo", "planes.raw"],
        );
        let from = [&size[..], &[pixels, "-i", "planes.raw"]].concat();
        scratch.ffmpeg(&from, &["-c:v", codec, "-f", "rawvideo", "packed.raw"]);
        let planes = fs::read(scratch.path("planes.raw")).unwrap();
        let packed = fs::read(scratch.path("packed.raw")).unwrap();
        // Cb, Y and Cr of each pixel.
        let expected: Vec<u16> = match depth {
            Depth::Eight => packed
                .chunks_exact(3)
                .flat_map(|pixel| [pixel[2], pixel[1], pixel[0]].map(u16::from))
                .collect(),
            _ => packed
                .chunks_exact(4)
                .map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()))
                .flat_map(|pixel| [2, 12, 22].map(|at| u16::try_from(pixel >> at & 0x3ff).unwrap()))
                .collect(),
        };
        let mut pgroups = vec![0xa5; format.frame_octets()];
        convert::from_planes(&format, &planes, &mut pgroups);
        let samples: Vec<u16> = pgroup::unpack(depth, &pgroups).collect();
        assert_eq!(samples.len(), 3 * 336 * 36);
        assert!(samples == expected, "{format}");
    }
}

/// Each frame of an MD5 list that FFmpeg makes of a file.
fn sums(scratch: &Scratch, from: &[&str]) -> Vec<String> {
    scratch.ffmpeg(from, &["-f", "framemd5", "sums.txt"]);
    let list = fs::read_to_string(scratch.path("sums.txt")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').next_back().unwrap().trim().to_owned()).collect()
}

#[test]
fn y4m_files_go_from_ffmpeg_through_us_to_ffmpeg() {
    if !require::program("ffmpeg") {
        return;
    }
    let scratch = Scratch::new("y4m");
    for (sampling, name) in [
        (Sampling::YCbCr422, "yuv422p"),
        (Sampling::YCbCr444, "yuv444p"),
        (Sampling::YCbCr420, "yuv420p"),
    ] {
        for (depth, end) in Depth::ALL.into_iter().zip(["", "10le", "12le", "16le"]) {
            for scan in [Scan::Progressive, Scan::Interlaced] {
                let width = if sampling == Sampling::YCbCr422 { 334 } else { 336 };
                let spec = Spec { scan, ..format(sampling, depth, width).spec() };
                let Ok(format) = spec.check() else { continue };
                through(&scratch, &format, &format!("{name}{end}"));
            }
        }
    }
}

fn through(scratch: &Scratch, format: &Format, pixels: &str) {
    let fields = match format.scan() {
        Scan::Interlaced => "tt",
        _ => "progressive",
    };
    let width = format.width();
    let picture = format!("testsrc2=s={width}x36:r=25,noise=alls=90:allf=t");
    let frames = FRAMES.to_string();
    scratch.ffmpeg(
        &["-f", "lavfi", "-i", &picture],
        &["-frames:v", &frames, "-pix_fmt", pixels, "-field_order", fields, "in.y4m"],
    );
    // As it is held in memory; then as it is read ahead, whose planes go straight into packets.
    for held in [1 << 30, 0] {
        in_and_out(scratch, format, pixels, held);
    }
}

fn in_and_out(scratch: &Scratch, format: &Format, pixels: &str, held: u64) {
    let mut source = Source::open(scratch.path("in.y4m").to_str().unwrap(), *format, held)
        .unwrap_or_else(|error| panic!("{pixels}: {error}"));
    let mut sink = Sink::start(Kind::File, Some(&scratch.path("out.y4m")), None, *format).unwrap();
    for number in 0..FRAMES as u64 {
        while source.ready(number) == Ready::NotYet || source.advance(number) != Step::New {
            thread::yield_now();
        }
        let picture = source.picture(number);
        let mut octets = vec![0xa5; format.frame_octets()];
        for (row, into) in octets.chunks_exact_mut(format.row_octets() as usize).enumerate() {
            picture.write(row, 0, into);
        }
        let timestamp = format.field_timestamp(number, 0);
        let mut waiting = Some(octets);
        while let Some(octets) = waiting.take() {
            let octets = Some(octets);
            match sink.offer(Delivered { timestamp, missing_octets: 0, octets }) {
                Offered::Behind(octets) => waiting = octets,
                Offered::Taken | Offered::Unused(_) => {}
            }
            while sink.returned().is_some() {}
            thread::yield_now();
        }
    }
    while !sink.finished() {
        thread::yield_now();
    }
    assert_eq!(sink.counts().written, FRAMES as u64);
    let (sent, received) = (sums(scratch, &["-i", "in.y4m"]), sums(scratch, &["-i", "out.y4m"]));
    assert_eq!(sent, received, "{pixels}");
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), FRAMES, "all different");
    // FFmpeg may write more about the file, but what it says of the picture is the same.
    let line = |file: &str| {
        let octets = fs::read(scratch.path(file)).unwrap();
        let end = octets.iter().position(|&octet| octet == b'\n').unwrap();
        let line = String::from_utf8(octets[..end].to_vec()).unwrap();
        let words = line.split(' ').filter(|word| !word.starts_with(['A', 'X'])).map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    assert_eq!(line("in.y4m"), line("out.y4m"));
}

/// What FFmpeg shows of the same samples, each chroma sample as it is for all of its pixels.
#[test]
fn pictures_have_the_colours_that_ffmpeg_gives_them() {
    if !require::program("ffmpeg") {
        return;
    }
    let scratch = Scratch::new("colours");
    let matrices = [
        (Colorimetry::Bt601, "bt601"),
        (Colorimetry::Bt709, "bt709"),
        (Colorimetry::Bt2020, "bt2020"),
    ];
    for (sampling, name) in [
        (Sampling::YCbCr422, "yuv422p"),
        (Sampling::YCbCr444, "yuv444p"),
        (Sampling::YCbCr420, "yuv420p"),
    ] {
        for (depth, end, pixels) in [
            (Depth::Eight, "", "rgb24"),
            (Depth::Ten, "10le", "rgb48be"),
            (Depth::Twelve, "12le", "rgb48be"),
        ] {
            for (colorimetry, matrix) in matrices {
                let rate = "25".parse().unwrap();
                let packing = Packing::Gpm;
                let spec = Spec { sampling, packing, ..Spec::new(256, 144, depth, rate) };
                let format = spec.check().unwrap();
                colours(&scratch, &format, &format!("{name}{end}"), pixels, colorimetry, matrix);
            }
        }
    }
}

fn colours(
    scratch: &Scratch,
    format: &Format,
    samples: &str,
    pixels: &str,
    colorimetry: Colorimetry,
    matrix: &str,
) {
    scratch.ffmpeg(
        &["-f", "lavfi", "-i", "testsrc2=s=256x144:r=25"],
        &["-frames:v", "1", "-pix_fmt", samples, "in.y4m"],
    );
    let scale = format!(
        "scale=in_color_matrix={matrix}:in_range=tv:out_range=pc:flags=neighbor+accurate_rnd+\
         full_chroma_int+full_chroma_inp+bitexact"
    );
    scratch.ffmpeg(
        &["-i", "in.y4m"],
        &["-vf", &scale, "-pix_fmt", pixels, "-f", "rawvideo", "theirs.rgb"],
    );
    let mut source = Source::open(scratch.path("in.y4m").to_str().unwrap(), *format, 1 << 30)
        .unwrap_or_else(|error| panic!("{samples}: {error}"));
    let mut pgroups = vec![0; format.frame_octets()];
    let picture = source.picture(0);
    for (row, into) in pgroups.chunks_exact_mut(format.row_octets() as usize).enumerate() {
        picture.write(row, 0, into);
    }
    let colours = Colours::of(format, Some(colorimetry), None);
    let mut screen = Screen::new(*format, colours).unwrap();
    let mut ours = vec![0; screen.octets()];
    screen.show(&pgroups, &mut ours);
    let theirs = fs::read(scratch.path("theirs.rgb")).unwrap();
    assert_eq!(ours.len(), theirs.len(), "{samples}");
    // FFmpeg computes with fewer bits than 16: what it has of them is compared.
    let size = usize::from(screen.bits()) / 8;
    let value =
        |octets: &[u8]| octets.iter().fold(0_i32, |all, &octet| all << 8 | i32::from(octet));
    let off = ours.chunks(size).zip(theirs.chunks(size));
    let most = off.map(|(ours, theirs)| (value(ours) - value(theirs)).abs()).max().unwrap();
    let unit = if size == 1 { 1 } else { 257 };
    assert!(most <= 2 * unit, "{samples} by {matrix}: off by {most}");
    let distinct: BTreeSet<&[u8]> = ours.chunks(3 * size).collect();
    assert!(distinct.len() > 20, "a picture of colours");
}
