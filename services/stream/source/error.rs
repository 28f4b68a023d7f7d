//! What is wrong with a source, where, and what to do about it.

use std::path::PathBuf;
use std::{fmt, io};

use crate::stream::video::format::{Format, Sampling, Scan};

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// A FIFO, or a device that is read like one.
    Fifo(PathBuf),
    /// Standard input.
    StandardInput,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "video file {}", path.display()),
            Self::Fifo(path) => write!(f, "video pipe {}", path.display()),
            Self::StandardInput => f.write_str("video on standard input"),
        }
    }
}

/// Why a source gives no pictures.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Io {
        /// Which.
        place: Place,
        /// The system's answer.
        source: io::Error,
    },
    /// It is Y4M, of other pictures.
    Unsuited {
        /// Which.
        place: Place,
        /// What it has.
        found: Box<str>,
        /// What the stream is configured for.
        format: Format,
    },
    /// It ends within a frame, or holds none.
    Ragged {
        /// Which.
        place: Place,
        /// Its octets.
        octets: u64,
        /// Octets of a frame in it.
        frame_octets: usize,
        /// What the stream is configured for.
        format: Format,
    },
    /// A frame of Y4M does not begin with its word.
    NoFrame {
        /// Which.
        place: Place,
        /// Its number, from 0.
        frame: u64,
    },
    /// It became shorter after it was opened.
    Cut {
        /// Which.
        place: Place,
        /// The frame that is not whole any more, from 0.
        frame: u64,
        /// Frames that it had.
        frames: u64,
    },
    /// A pipe ended within its first frame.
    Short {
        /// Which.
        place: Place,
        /// Octets of a frame in it.
        frame_octets: usize,
    },
    /// Nothing came, and nothing will.
    Empty {
        /// Which.
        place: Place,
        /// What the stream is configured for.
        format: Format,
    },
    /// Standard input is a terminal.
    Terminal,
    /// Standard input is read already.
    Taken,
    /// There is no thread to be had.
    Thread(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { place, source } => write!(f, "{place}: {source}"),
            Self::Unsuited { place, found, format } => {
                write!(f, "{place} is {found}, the stream is {format}; ")?;
                match convert(place, format) {
                    Some(command) => write!(f, "convert it with `{command}`"),
                    None => f.write_str("Y4M has no RGB, give it as raw pgroups"),
                }
            }
            Self::Ragged { place, octets, frame_octets, format } => write!(
                f,
                "{place} has {octets} octets, which are not whole frames of {frame_octets} octets \
                 ({format}); set width, height, sampling and depth to what it holds",
            ),
            Self::NoFrame { place, frame } => write!(
                f,
                "{place}: where frame {frame} should begin is no FRAME; it is damaged, or of \
                 another size than its header says: write it again"
            ),
            Self::Cut { place, frame, frames } => write!(
                f,
                "{place} was cut while it was played: frame {frame} of {frames} is not whole any \
                 more; write a new file and rename it over the old one, which is then played to \
                 the end"
            ),
            Self::Short { place, frame_octets } => write!(
                f,
                "{place} ended within its first frame, of {frame_octets} octets; set width, \
                 height, sampling and depth to what it is, or have it write whole frames"
            ),
            Self::Empty { place, format } => write!(
                f,
                "{place} ended before its first frame; have it written by `{}`",
                convert(place, format).unwrap_or_else(|| "a program that writes pgroups".into())
            ),
            Self::Terminal => f.write_str(
                "source \"-\": standard input is a terminal; give it pictures, as in \
                 `ffmpeg -i IN -f yuv4mpegpipe - | tidegate run --config FILE`",
            ),
            Self::Taken => f.write_str(
                "source \"-\": standard input is read by another sender already; give one of them \
                 a FIFO (`mkfifo PATH`, source = \"PATH\")",
            ),
            Self::Thread(source) => write!(f, "no thread for the source: {source}"),
        }
    }
}

/// The command that makes what is wanted; Y4M has no RGB.
fn convert(place: &Place, format: &Format) -> Option<String> {
    if format.sampling() == Sampling::Rgb {
        return None;
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
    let (from, to) = match place {
        Place::File(path) => (path.display().to_string(), "out.y4m".into()),
        Place::Fifo(path) => ("IN".into(), format!("-f yuv4mpegpipe -y {}", path.display())),
        Place::StandardInput => ("IN".into(), "-f yuv4mpegpipe -".into()),
    };
    Some(format!(
        "ffmpeg -i {from} -vf scale={width}:{height} -r {} -pix_fmt yuv{sampling}p{depth}{fields} \
         {to}",
        format.rate(),
    ))
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Thread(source) => Some(source),
            _ => None,
        }
    }
}
