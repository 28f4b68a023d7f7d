//! Where a sender's pictures come from: the pattern, or a file played in a loop.
//!
//! A file is read and turned into pgroups once, when the service is built: afterwards a picture
//! costs nothing, and no disk can make a frame late. So a clip has to fit
//! [`CLIP_OCTETS_MAX`]; longer ones are refused with the number of frames that would fit.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::video::convert;
use super::video::format::{Format, Sampling, Scan};
use super::video::pattern::Pattern;
use super::video::picture::Picture;
use super::y4m;

/// Most octets of a clip in memory: a gibibyte, 8 s of 1080p25 at 10 bits. Less would not loop
/// anything recognisable in 4K; more would surprise a machine that also has packets to hold.
pub const CLIP_OCTETS_MAX: u64 = 1 << 30;

/// Why a file cannot be sent.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Io {
        /// The file as configured.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is a Y4M file of other pictures.
    Unsuited {
        /// The file as configured.
        path: PathBuf,
        /// What it has.
        found: Box<str>,
        /// What the stream is configured for.
        format: Format,
    },
    /// It ends within a frame, or holds none.
    Ragged {
        /// The file as configured.
        path: PathBuf,
        /// Its octets.
        octets: u64,
        /// Octets of a frame in it.
        frame_octets: usize,
        /// What the stream is configured for.
        format: Format,
    },
    /// It is longer than [`CLIP_OCTETS_MAX`].
    Long {
        /// The file as configured.
        path: PathBuf,
        /// Its octets.
        octets: u64,
        /// Frames that would fit.
        frames_max: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "video file {}: {source}", path.display()),
            Self::Unsuited { path, found, format } => {
                let path = path.display();
                write!(f, "video file {path} is {found}, the stream is {format}; ")?;
                if format.sampling() == Sampling::Rgb {
                    return f.write_str("Y4M has no RGB, give it as raw pgroups");
                }
                let (width, height) = (format.width(), format.height());
                let sampling = format.sampling().name().replace(|c: char| !c.is_ascii_digit(), "");
                let fields = match format.scan() {
                    Scan::Interlaced => " -field_order tt",
                    Scan::Progressive | Scan::Psf => "",
                };
                let depth = match format.depth().bits() {
                    8 => String::new(),
                    bits => format!("{bits}le -strict -1"),
                };
                write!(
                    f,
                    "convert it with `ffmpeg -i {path} -vf scale={width}:{height} -r {} -pix_fmt \
                     yuv{sampling}p{depth}{fields} out.y4m`",
                    format.rate(),
                )
            }
            Self::Ragged { path, octets, frame_octets, format } => write!(
                f,
                "video file {} has {octets} octets, which are not whole frames of {frame_octets} \
                 octets ({format}); set width, height, sampling and depth to what it holds",
                path.display(),
            ),
            Self::Long { path, octets, frames_max } => write!(
                f,
                "video file {} has {octets} octets, of which {CLIP_OCTETS_MAX} fit in memory; \
                 cut it to {frames_max} frames, as with `ffmpeg -frames:v {frames_max}`",
                path.display(),
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Pictures without end.
#[derive(Debug)]
pub enum Source {
    /// Drawn from the frame number.
    Pattern(Pattern),
    /// Frames of a file, one behind the other in pgroups.
    Clip {
        /// All of them.
        octets: Vec<u8>,
        /// What they are.
        format: Format,
    },
}

impl Source {
    /// The moving pattern.
    pub fn pattern(format: Format) -> Self {
        Self::Pattern(Pattern::new(format))
    }

    /// The file at `path`: Y4M if it starts like one, else raw pgroups.
    ///
    /// # Errors
    ///
    /// When it cannot be read, holds other pictures, ends within a frame, or is too long.
    pub fn file(path: &Path, format: Format) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let octets = fs::metadata(path).map_err(io)?.len();
        if octets > CLIP_OCTETS_MAX {
            let frames_max = CLIP_OCTETS_MAX / format.frame_octets() as u64;
            return Err(Error::Long { path: path.to_owned(), octets, frames_max });
        }
        let file = fs::read(path).map_err(io)?;
        let octets = if file.starts_with(y4m::MAGIC) {
            from_y4m(path, &file, &format)?
        } else {
            from_raw(path, file, &format)?
        };
        Ok(Self::Clip { octets, format })
    }

    /// The picture of frame `number`. A clip starts at the frames whose number its length
    /// divides, so that two senders with the same clip send the same.
    pub fn picture(&mut self, number: u64) -> Picture<'_> {
        match self {
            Self::Pattern(pattern) => pattern.picture(number),
            Self::Clip { octets, format } => {
                let size = format.frame_octets();
                let frames = octets.len() / size;
                let index = usize::try_from(number % frames as u64).expect("one of the frames");
                Picture::whole(&octets[index * size..][..size], format.row_octets() as usize)
            }
        }
    }
}

fn ragged(path: &Path, octets: usize, frame_octets: usize, format: &Format) -> Error {
    Error::Ragged { path: path.to_owned(), octets: octets as u64, frame_octets, format: *format }
}

fn from_raw(path: &Path, file: Vec<u8>, format: &Format) -> Result<Vec<u8>, Error> {
    if file.is_empty() || !file.len().is_multiple_of(format.frame_octets()) {
        return Err(ragged(path, file.len(), format.frame_octets(), format));
    }
    Ok(file)
}

fn from_y4m(path: &Path, file: &[u8], format: &Format) -> Result<Vec<u8>, Error> {
    let header = y4m::Header::parse(file);
    let found = |header: &y4m::Header| header.to_string().into();
    let (_, mut rest) = header.filter(|(header, _)| header.suits(format)).ok_or_else(|| {
        let found = y4m::Header::parse(file)
            .map_or_else(|| "a damaged Y4M file".into(), |(header, _)| found(&header));
        Error::Unsuited { path: path.to_owned(), found, format: *format }
    })?;
    let planes = convert::planar_octets(format);
    let mut octets = Vec::new();
    while !rest.is_empty() || octets.is_empty() {
        let Some((frame, behind)) = y4m::split_frame(rest, planes) else {
            return Err(ragged(path, file.len(), planes, format));
        };
        let start = octets.len();
        octets.resize(start + format.frame_octets(), 0);
        convert::from_planes(format, frame, &mut octets[start..]);
        rest = behind;
    }
    Ok(octets)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests {
    use super::*;
    use crate::stream::video::format::{Depth, Spec};

    fn format(depth: Depth) -> Format {
        Format::new(128, 16, depth, "25".parse().unwrap()).unwrap()
    }

    /// A file that goes away with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, octets: &[u8]) -> Self {
            let name = format!("tidegate-source-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, octets).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// The refusal, with the file's name cut to `FILE`.
    fn refusal(octets: &[u8], name: &str, format: Format) -> String {
        let file = Scratch::new(name, octets);
        let error = Source::file(&file.0, format).unwrap_err();
        error.to_string().replace(&file.0.display().to_string(), "FILE")
    }

    #[test]
    fn a_raw_file_loops() {
        let format = format(Depth::Ten);
        let octets: Vec<u8> = [1, 2, 3].iter().flat_map(|&n| vec![n; 5120]).collect();
        let file = Scratch::new("loop.raw", &octets);
        let mut source = Source::file(&file.0, format).unwrap();
        let seen: Vec<u8> = (0..7).map(|n| source.picture(n).octets(15, 319, 1)[0]).collect();
        assert_eq!(seen, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_y4m_file_becomes_pgroups() {
        let format = format(Depth::Ten);
        let mut file = y4m::Header::emit(&format).unwrap().into_bytes();
        let mut samples = 0..;
        let mut planes = Vec::new();
        for _ in 0..2 {
            file.extend(b"FRAME\n");
            let frame: Vec<u8> = samples
                .by_ref()
                .take(128 * 16 * 2)
                .flat_map(|at: u32| (at as u16 & 0x3ff).to_le_bytes())
                .collect();
            file.extend(&frame);
            planes.push(frame);
        }
        let file = Scratch::new("two.y4m", &file);
        let mut source = Source::file(&file.0, format).unwrap();
        for (number, planes) in planes.iter().enumerate() {
            let mut expected = vec![0; format.frame_octets()];
            convert::from_planes(&format, planes, &mut expected);
            assert!(source.picture(number as u64).is(&expected), "frame {number}");
        }
    }

    #[test]
    fn a_file_of_other_pictures_is_refused_with_the_way_to_convert_it() {
        let text = b"YUV4MPEG2 W1280 H720 F50:1 Ip C420jpeg\nFRAME\n";
        assert_eq!(
            refusal(text, "other.y4m", format(Depth::Ten)),
            "video file FILE is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, \
             4:2:2 10 bit; convert it with `ffmpeg -i FILE -vf scale=128:16 -r 25 \
             -pix_fmt yuv422p10le -strict -1 out.y4m`"
        );
        assert_eq!(
            refusal(
                text,
                "fields.y4m",
                Spec {
                    scan: Scan::Interlaced,
                    sampling: Sampling::YCbCr444,
                    ..format(Depth::Eight).spec()
                }
                .check()
                .unwrap()
            ),
            "video file FILE is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, \
             interlaced, 4:4:4 8 bit; convert it with `ffmpeg -i FILE -vf scale=128:16 -r 25 \
             -pix_fmt yuv444p -field_order tt out.y4m`"
        );
        let rgb = Spec { sampling: Sampling::Rgb, ..format(Depth::Eight).spec() };
        assert_eq!(
            refusal(text, "rgb.y4m", rgb.check().unwrap()),
            "video file FILE is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, \
             RGB 8 bit; Y4M has no RGB, give it as raw pgroups"
        );
        assert_eq!(
            refusal(b"YUV4MPEG2 Wide\n", "odd.y4m", format(Depth::Eight)),
            "video file FILE is a damaged Y4M file, the stream is 128x16 at 25, 4:2:2 8 bit; \
             convert it with `ffmpeg -i FILE -vf scale=128:16 -r 25 -pix_fmt yuv422p out.y4m`"
        );
    }

    #[test]
    fn a_file_that_ends_within_a_frame_is_refused() {
        for octets in [0, 1, 5119, 5121] {
            assert_eq!(
                refusal(&vec![0; octets], "ragged.raw", format(Depth::Ten)),
                format!(
                    "video file FILE has {octets} octets, which are not whole frames of 5120 \
                     octets (128x16 at 25, 4:2:2 10 bit); set width, height, sampling and depth \
                     to what it holds"
                )
            );
        }
        let mut file = y4m::Header::emit(&format(Depth::Eight)).unwrap().into_bytes();
        assert!(refusal(&file, "none.y4m", format(Depth::Eight)).contains("not whole frames"));
        file.extend(b"FRAME\nabc");
        assert!(refusal(&file, "part.y4m", format(Depth::Eight)).contains("not whole frames"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Source::file(Path::new("/no/such.y4m"), format(Depth::Eight)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "video file /no/such.y4m: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_clip_too_long_is_refused_with_what_would_fit() {
        let file = Scratch::new("long.raw", &[]);
        let sparse = fs::OpenOptions::new().write(true).open(&file.0).unwrap();
        sparse.set_len(CLIP_OCTETS_MAX + 1).unwrap();
        let error = Source::file(&file.0, format(Depth::Ten)).unwrap_err().to_string();
        assert!(error.ends_with("`ffmpeg -frames:v 209715`"), "{error}");
    }
}
