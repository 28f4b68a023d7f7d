//! What becomes of complete frames: nothing, a check, a list of sums, a file, a pipe, or pictures.
//!
//! ```text
//!   shard ──(2 frames at most)──► thread: verify | hash | write | PNG ──► counts
//!     ▲                              │
//!     └────── memory, to be used again
//! ```
//!
//! A frame of 1080p is 5 MB, a millisecond of memory alone and, on a disk, any time: so the work
//! is a thread's and the shard only moves a pointer. When the thread falls behind, frames are not
//! waited for but dropped whole, and counted. The memory goes around: it is taken at the start,
//! and there is never more than [`FRAMES`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};

use serde::Deserialize;

use super::sdp::video::Colorimetry;
use super::video::assembler::Delivered;
use super::video::format::Format;
use super::worker;

mod output;
mod pictures;
mod work;

pub use output::STANDARD_OUTPUT;
pub use pictures::{Pictures, write as write_picture};

use work::Work;

/// Frames that wait for the thread. One would make every hiccup of the scheduler a dropped frame;
/// each costs its memory, 21 MB in 4K.
const QUEUED: usize = 2;

/// Frames in memory altogether: two open, the queued ones, and in the thread's hands the one that
/// it works at and the last, which may be asked for again.
pub const FRAMES: usize = 2 + QUEUED + 2;

/// What to do with frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing: they are counted.
    #[default]
    Nothing,
    /// Compare each with the pattern of the number that it shows.
    Verify,
    /// Write a line per frame: RTP timestamp and CRC-32 of its pgroups.
    Hash,
    /// Write the frames, into a file or a pipe: as Y4M if the path ends in `.y4m` or is `-`,
    /// standard output, else as raw pgroups.
    File,
    /// Write frames as PNG.
    Png,
}

/// Why there is no sink.
#[derive(Debug)]
pub enum Error {
    /// The kind needs a path, or has no use for one.
    Path {
        /// The kind.
        kind: Kind,
    },
    /// Y4M has no such pictures.
    Rgb {
        /// The path as configured.
        path: PathBuf,
    },
    /// The file cannot be made.
    Create {
        /// The path as configured.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Standard output takes frames of Y4M and nothing else.
    Standard {
        /// The kind.
        kind: Kind,
    },
    /// There is no matrix for these colours.
    Colours {
        /// As configured.
        colorimetry: Option<Colorimetry>,
    },
    /// The keys for pictures stand with another kind.
    Pictures,
    /// There is no thread to be had.
    Thread(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { kind: Kind::Hash } => {
                f.write_str("sink \"hash\" needs path, the file for its lines")
            }
            Self::Path { kind: Kind::File } => {
                f.write_str("sink \"file\" needs path, ending in .y4m for Y4M")
            }
            Self::Path { kind: Kind::Png } => {
                f.write_str("sink \"png\" needs path, ending in .png")
            }
            Self::Path { .. } => {
                f.write_str("path is for the sinks \"hash\", \"file\" and \"png\" only")
            }
            Self::Standard { .. } => {
                f.write_str("path \"-\", standard output, is for sink \"file\" only")
            }
            Self::Colours { colorimetry } => write!(
                f,
                "pictures of colorimetry {}: allowed are BT601, BT709, BT2020 and BT2100",
                colorimetry.map_or("unknown", Colorimetry::word)
            ),
            Self::Pictures => f.write_str("pictures is for the sink \"png\" only"),
            Self::Rgb { path } => write!(
                f,
                "cannot write RGB to {}: Y4M has none; use another ending, as in .raw, for pgroups",
                path.display()
            ),
            Self::Create { path, source } => {
                write!(f, "cannot make the sink's file {}: {source}", path.display())
            }
            Self::Thread(source) => write!(f, "no thread for the sink: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create { source, .. } | Self::Thread(source) => Some(source),
            _ => None,
        }
    }
}

/// What the thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that are the pattern, every bit.
    pub verified: u64,
    /// Frames that are not, or whose number is not that of their time.
    pub wrong: u64,
    /// Frames hashed or written.
    pub written: u64,
    /// Frames that were not to become pictures.
    pub unwanted: u64,
    /// Frames that could not be written.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    verified: AtomicU64,
    wrong: AtomicU64,
    written: AtomicU64,
    unwanted: AtomicU64,
    failed: AtomicU64,
    /// Nobody waits any more for what is not written.
    left: Arc<AtomicBool>,
}

/// The shard's end of the sink.
#[derive(Debug)]
pub struct Sink {
    frames: Option<SyncSender<Delivered>>,
    memory: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.left.store(true, Ordering::Relaxed);
    }
}

/// What became of a frame that was offered, with its memory if it comes back at once.
#[derive(Debug)]
pub enum Offered {
    /// The thread has it.
    Taken,
    /// There is nothing to do with it.
    Unused(Option<Vec<u8>>),
    /// The thread is behind: the frame is dropped.
    Behind(Option<Vec<u8>>),
}

impl Counts {
    /// Frames that the thread has done with.
    pub const fn total(&self) -> u64 {
        let Self { verified, wrong, written, unwanted, failed } = *self;
        verified + wrong + written + unwanted + failed
    }
}

impl Sink {
    /// Starts the thread, if `kind` needs one.
    ///
    /// # Errors
    ///
    /// When the keys do not go together, or file or thread cannot be made.
    pub fn start(
        kind: Kind,
        path: Option<&Path>,
        pictures: Option<Pictures>,
        format: Format,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let (give_back, memory) = mpsc::sync_channel(FRAMES);
        let Some(work) = Work::new(kind, path, pictures, format, &shared.left)? else {
            return Ok(Self { frames: None, memory, shared });
        };
        let (frames, queue) = mpsc::sync_channel(QUEUED);
        let counts = Arc::clone(&shared);
        worker::start("stream-sink", move || work.run(&queue, &give_back, &counts))
            .map_err(Error::Thread)?;
        Ok(Self { frames: Some(frames), memory, shared })
    }

    /// Hands a frame over. Whoever reads a pipe may be slow: that is the thread's concern.
    pub fn offer(&self, frame: Delivered) -> Offered {
        let Some(frames) = &self.frames else { return Offered::Unused(frame.octets) };
        match frames.try_send(frame) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(frame) | TrySendError::Disconnected(frame)) => {
                Offered::Behind(frame.octets)
            }
        }
    }

    /// Memory that the thread has done with.
    pub fn returned(&self) -> Option<Vec<u8>> {
        self.memory.try_recv().ok()
    }

    /// What the thread did so far.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            verified: get(&self.shared.verified),
            wrong: get(&self.shared.wrong),
            written: get(&self.shared.written),
            unwanted: get(&self.shared.unwanted),
            failed: get(&self.shared.failed),
        }
    }

    /// Takes no more frames, and says whether the thread has finished those that it has. To be
    /// asked until it has; it never waits.
    pub fn finished(&mut self) -> bool {
        self.frames = None;
        loop {
            // The thread's end of this channel goes away with the thread.
            match self.memory.try_recv() {
                Ok(_) => {}
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
