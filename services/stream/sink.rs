//! What becomes of complete frames: nothing, a check, a list of sums, or a file.
//!
//! ```text
//!   shard ──(2 frames at most)──► thread: verify | hash | write ──► counts
//!     ▲                              │
//!     └────── memory, to be used again
//! ```
//!
//! A frame of 1080p is 5 MB, a millisecond of memory alone and, on a disk, any time: so the work
//! is a thread's and the shard only moves a pointer. When the thread falls behind, frames are not
//! waited for but dropped whole, and counted. The memory goes around: it is taken at the start,
//! and there is never more than [`FRAMES`].

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread;

use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Deserialize;

use super::video::assembler::Delivered;
use super::video::convert;
use super::video::format::Format;
use super::video::pattern::{Pattern, Verified};
use super::y4m;

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
    /// Write the frames: as Y4M if the path ends in `.y4m`, else as raw pgroups.
    File,
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
            Self::Path { .. } => f.write_str("path is for the sinks \"hash\" and \"file\" only"),
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
            Self::Path { .. } | Self::Rgb { .. } => None,
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
    /// Frames that could not be written.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    verified: AtomicU64,
    wrong: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

/// The shard's end of the sink.
#[derive(Debug)]
pub struct Sink {
    frames: Option<SyncSender<Delivered>>,
    memory: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
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

impl Sink {
    /// Starts the thread, if `kind` needs one.
    ///
    /// # Errors
    ///
    /// When path and kind do not go together, or file or thread cannot be made.
    pub fn start(kind: Kind, path: Option<&Path>, format: Format) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let (give_back, memory) = mpsc::sync_channel(FRAMES);
        let Some(work) = Work::new(kind, path, format)? else {
            return Ok(Self { frames: None, memory, shared });
        };
        let (frames, queue) = mpsc::sync_channel(QUEUED);
        let counts = Arc::clone(&shared);
        thread::Builder::new()
            .name("stream-sink".into())
            .spawn(move || {
                leave_the_shards_cpu();
                work.run(&queue, &give_back, &counts);
            })
            .map_err(Error::Thread)?;
        Ok(Self { frames: Some(frames), memory, shared })
    }

    /// Hands a frame over.
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

/// A thread is born on the CPUs of the one that starts it, here a shard's only one: the two would
/// take turns there, and frames be dropped while another CPU is idle. So it goes to all those of
/// the process, which its first thread has.
pub(super) fn leave_the_shards_cpu() {
    let moved =
        sched_getaffinity(Pid::this()).and_then(|cpus| sched_setaffinity(Pid::from_raw(0), &cpus));
    if let Err(error) = moved {
        tracing::warn!(%error, "the sink shares its shard's CPU");
    }
}

/// The thread's work.
enum Work {
    Verify(Box<Pattern>, Format),
    Hash(File),
    Raw(File),
    Y4m { file: File, format: Format, planes: Vec<u8> },
}

impl Work {
    fn new(kind: Kind, path: Option<&Path>, format: Format) -> Result<Option<Self>, Error> {
        let create = |path: &Path| {
            File::create(path).map_err(|source| Error::Create { path: path.to_owned(), source })
        };
        Ok(match (kind, path) {
            (Kind::Nothing, None) => None,
            (Kind::Verify, None) => Some(Self::Verify(Box::new(Pattern::new(format)), format)),
            (Kind::Hash, Some(path)) => Some(Self::Hash(create(path)?)),
            (Kind::File, Some(path)) if path.extension().is_some_and(|end| end == "y4m") => {
                let header = y4m::Header::emit(&format);
                let header = header.ok_or_else(|| Error::Rgb { path: path.to_owned() })?;
                let mut file = create(path)?;
                file.write_all(header.as_bytes())
                    .map_err(|source| Error::Create { path: path.to_owned(), source })?;
                let planes = vec![0; convert::planar_octets(&format)];
                Some(Self::Y4m { file, format, planes })
            }
            (Kind::File, Some(path)) => Some(Self::Raw(create(path)?)),
            _ => return Err(Error::Path { kind }),
        })
    }

    fn run(mut self, queue: &Receiver<Delivered>, memory: &SyncSender<Vec<u8>>, shared: &Shared) {
        let mut last = None;
        while let Ok(frame) = queue.recv() {
            let Delivered { timestamp, missing_octets, octets } = frame;
            let note = match (&octets, missing_octets) {
                (_, 0) => Note::Whole,
                (None, missing) => Note::Repeated { missing },
                (Some(_), missing) => Note::Missing(missing),
            };
            if let Some(octets) = octets
                && let Some(before) = last.replace(octets)
            {
                // Never full: there is no more memory than the channel has places.
                let _ = memory.try_send(before);
            }
            let done = match &last {
                Some(octets) => self.take(timestamp, octets, note),
                // The one to repeat was dropped on its way here.
                None => Err(io::Error::other("no picture to repeat")),
            };
            let count = match done {
                Ok(Done::Right) => &shared.verified,
                Ok(Done::Wrong) => &shared.wrong,
                Ok(Done::Written) => &shared.written,
                Err(error) => {
                    if shared.failed.load(Ordering::Relaxed) == 0 {
                        tracing::error!(%error, "the sink cannot write; frames are lost");
                    }
                    &shared.failed
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&mut self, timestamp: u32, octets: &[u8], note: Note) -> io::Result<Done> {
        match self {
            Self::Verify(pattern, format) => Ok(match pattern.verify(octets) {
                // The number has to be that of the time, too: a stuck sender would repeat one.
                Verified::Frame(number) if format.field_timestamp(number, 0) == timestamp => {
                    Done::Right
                }
                Verified::Frame(_) | Verified::Wrong { .. } => Done::Wrong,
            }),
            Self::Hash(file) => {
                let sum = crc32fast::hash(octets);
                writeln!(file, "{timestamp} {sum:08x}{note}")?;
                Ok(Done::Written)
            }
            Self::Raw(file) => file.write_all(octets).map(|()| Done::Written),
            Self::Y4m { file, format, planes } => {
                convert::to_planes(format, octets, planes);
                file.write_all(b"FRAME\n")?;
                file.write_all(planes)?;
                Ok(Done::Written)
            }
        }
    }
}

/// What is to be said about a frame besides its sum.
#[derive(Clone, Copy, Debug)]
enum Note {
    Whole,
    Missing(usize),
    Repeated { missing: usize },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Missing(octets) => write!(f, " missing {octets}"),
            Self::Repeated { missing } => write!(f, " missing {missing} repeated"),
        }
    }
}

enum Done {
    Right,
    Wrong,
    Written,
}

#[cfg(test)]
mod tests;
