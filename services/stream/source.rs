//! Where a sender's pictures come from: the pattern, a file played in a loop, or a pipe.
//!
//! ```text
//!   pattern ─────────────────────────────────────────────────┐
//!   short file ─► read and made pgroups before the start ────┼─► picture ─► packets
//!   long file, pipe ─► thread ─► a few frames of memory ─────┘
//!                        ▲             │
//!                        └── empty ◄───┘
//! ```
//!
//! A file that fits [`Options::clip_mib`](super::sender::Options::clip_mib) is held in memory as
//! pgroups: a picture costs nothing, and no disk can make a frame late. A longer one, and all that
//! comes through a pipe, is read ahead by a thread (`feed`), into a bounded set of buffers; where
//! it has planes, they become pgroups in the packets.
//!
//! Files are read, never mapped. A page of a mapping that is not in memory would be fetched from
//! the disk by the shard, in the midst of a group; and a mapped file that somebody cuts kills the
//! process by SIGBUS, where a read only comes back short. The copy is made by the thread.

use std::path::Path;

use super::video::convert::Planar;
use super::video::format::Format;
use super::video::pattern::Pattern;
use super::video::picture::{Picture, Pixels};

mod clip;
mod error;
mod feed;
mod file;
mod pipe;

pub use clip::Clip;
pub use error::{Error, Place};
pub use feed::{End, Feed, Ready, Step};

pub(in crate::stream) use pipe::PIPE_OCTETS;

use file::Reel;
use pipe::Pipe;

/// The name of the pattern.
pub const PATTERN: &str = "pattern";

/// The name of standard input.
pub const STANDARD_INPUT: &str = "-";

/// How a frame lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As it is sent.
    Pgroups,
    /// Plane after plane, as Y4M has it.
    Planes,
}

/// Pictures in their order.
#[derive(Debug)]
pub enum Source {
    /// Drawn from the frame number.
    Pattern(Pattern),
    /// A file in memory.
    Clip(Clip),
    /// Read ahead by a thread.
    Feed(Feed),
}

impl Source {
    /// The moving pattern.
    pub fn pattern(format: Format) -> Self {
        Self::Pattern(Pattern::new(format))
    }

    /// What `name` says: [`PATTERN`], [`STANDARD_INPUT`], or the path of a file or a FIFO. What is
    /// there is Y4M if it starts like it, else raw pgroups. Files of up to `clip_octets_max` are
    /// loaded here.
    ///
    /// # Errors
    ///
    /// When it cannot be read; of a file also when it holds other pictures, or ends within one.
    /// What is wrong with a pipe shows when something comes through it.
    pub fn open(name: &str, format: Format, clip_octets_max: u64) -> Result<Self, Error> {
        match name {
            PATTERN => Ok(Self::pattern(format)),
            STANDARD_INPUT => Feed::start(Pipe::standard_input()?, format).map(Self::Feed),
            path => Self::path(Path::new(path), format, clip_octets_max),
        }
    }

    fn path(path: &Path, format: Format, clip_octets_max: u64) -> Result<Self, Error> {
        let io = |source| Error::Io { place: Place::File(path.to_owned()), source };
        let kind = std::fs::metadata(path).map_err(io)?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Feed::start(Pipe::open(path)?, format).map(Self::Feed);
        }
        let reel = Reel::open(path, format)?;
        if reel.frames() * format.frame_octets() as u64 <= clip_octets_max {
            Clip::load(&reel, format).map(Self::Clip)
        } else {
            Feed::start(reel, format).map(Self::Feed)
        }
    }

    /// Nanoseconds before the first frame at which its number is to be named, by
    /// [`Self::ready`]: a thread has to find it on a disk.
    pub const fn start_ns(&self) -> u64 {
        match self {
            Self::Pattern(_) | Self::Clip(_) => 0,
            Self::Feed(feed) => feed.start_ns(),
        }
    }

    /// Whether there is a picture to begin with, at best that of frame `number`.
    pub fn ready(&mut self, number: u64) -> Ready {
        match self {
            Self::Pattern(_) | Self::Clip(_) => Ready::Yes,
            Self::Feed(feed) => feed.ready(number),
        }
    }

    /// Goes on to frame `number`; to be called once a frame, once it is ready to begin.
    ///
    /// A file has its first picture at the numbers that its length divides, so that two senders of
    /// the same file send the same. A pipe has them in the order in which they come.
    #[inline]
    pub fn advance(&mut self, number: u64) -> Step {
        match self {
            Self::Pattern(_) | Self::Clip(_) => Step::New,
            Self::Feed(feed) => feed.advance(number),
        }
    }

    /// The picture of frame `number`, which was the last that it went on to.
    ///
    /// # Panics
    ///
    /// When a thread was to bring it and [`Self::ready`] never said so.
    #[inline]
    pub fn picture(&mut self, number: u64) -> Shown<'_> {
        match self {
            Self::Pattern(pattern) => Shown::Pgroups(pattern.picture(number)),
            Self::Clip(clip) => Shown::Pgroups(clip.picture(number)),
            Self::Feed(feed) => feed.picture(),
        }
    }
}

/// A picture of whichever source.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// It lies as it is sent.
    Pgroups(Picture<'a>),
    /// It becomes pgroups on its way.
    Planes(Planar<'a>),
}

impl Pixels for Shown<'_> {
    #[inline]
    fn write(&self, row: usize, start: usize, into: &mut [u8]) {
        match self {
            Self::Pgroups(picture) => picture.write(row, start, into),
            Self::Planes(planes) => planes.write(row, start, into),
        }
    }
}

#[cfg(test)]
mod tests;
