//! What becomes of sound: nothing, a check, a list of sums, or a WAV file.
//!
//! The work is a thread's ([`Handoff`]); the shard moves a block now and then. In a file, what did
//! not come is silence, and so is a pause of up to a minute: sound stays in step with its picture.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::format::{Depth, Format};
use super::reader::{BLOCK_SAMPLES, Block};
use super::tone;
use crate::stream::handoff::{Handoff, Work};

/// Blocks that wait for the thread: a third of a second. A disk that pauses for longer costs sound;
/// each is some 50 KB of 16 channels.
const QUEUED: usize = 16;

/// Blocks in memory altogether: three open or just delivered, the queued ones, one in the thread's
/// hands and one on its way back.
pub const BLOCKS: usize = 3 + QUEUED + 2;

/// Longest pause that is written as silence, in seconds.
const PAUSE_SECONDS_MAX: u64 = 60;

/// How many samples go into a file before its header is written anew, so that a program that is
/// killed leaves a file that can be played.
const FLUSH_SAMPLES: u64 = 96_000;

/// Octets of sound that a WAV file holds: its lengths have 32 bits, its headers less than 100.
const WAV_OCTETS_MAX: u64 = u32::MAX as u64 - 100;

/// What to do with sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing: it is counted.
    #[default]
    Nothing,
    /// Compare each sample with the tone.
    Verify,
    /// Write a line for each 1024 samples: RTP timestamp, samples, and CRC-32 of them as they came.
    Hash,
    /// Write a WAV file.
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
                f.write_str("audio: sink \"hash\" needs path, the file for its lines")
            }
            Self::Path { kind: Kind::File } => {
                f.write_str("audio: sink \"file\" needs path, of a WAV file")
            }
            Self::Path { .. } => {
                f.write_str("audio: path is for the sinks \"hash\" and \"file\" only")
            }
            Self::Create { path, source } => {
                write!(f, "cannot make the audio sink's file {}: {source}", path.display())
            }
            Self::Thread(source) => write!(f, "no thread for the audio sink: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create { source, .. } | Self::Thread(source) => Some(source),
            Self::Path { .. } => None,
        }
    }
}

/// What the thread did, in samples of each channel.
#[derive(Debug, Default)]
struct Shared {
    verified: AtomicU64,
    wrong: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

/// What the thread did, in samples of each channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples that are the tone, every bit of every channel.
    pub verified: u64,
    /// Samples that are not.
    pub wrong: u64,
    /// Samples hashed or written, silence included.
    pub written: u64,
    /// Samples that could not be written.
    pub failed: u64,
}

/// What became of a block that was offered.
#[derive(Debug)]
pub enum Offered {
    /// The thread has it.
    Taken,
    /// There is nothing to do with it.
    Unused(Block),
    /// The thread is behind.
    Behind(Block),
}

/// The shard's end of the sink.
#[derive(Debug)]
pub struct Sink {
    handoff: Option<Handoff<Block>>,
    shared: Arc<Shared>,
}

impl Sink {
    /// Starts the thread, if `kind` needs one.
    ///
    /// # Errors
    ///
    /// When path and kind do not go together, or file or thread cannot be made.
    pub fn start(kind: Kind, path: Option<&Path>, format: Format) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let task = match (kind, path) {
            (Kind::Nothing, None) => None,
            (Kind::Verify, None) => Some(Task::Verify),
            (Kind::Hash, Some(path)) => {
                let file = File::create(path);
                let file =
                    file.map_err(|source| Error::Create { path: path.to_owned(), source })?;
                Some(Task::Hash(BufWriter::new(file)))
            }
            (Kind::File, Some(path)) => Some(Task::Wav(Wav::create(path, format)?)),
            _ => return Err(Error::Path { kind }),
        };
        let start = |task| {
            let counts = Arc::clone(&shared);
            Handoff::start("audio-sink", QUEUED, Thread { format, task, counts })
        };
        let handoff = task.map(start).transpose().map_err(Error::Thread)?;
        Ok(Self { handoff, shared })
    }

    /// Hands a block over. Its memory comes back by [`Self::returned`], or at once.
    pub fn offer(&mut self, block: Block) -> Offered {
        let Some(handoff) = &mut self.handoff else { return Offered::Unused(block) };
        match handoff.offer(block) {
            Ok(()) => Offered::Taken,
            Err(block) => Offered::Behind(block),
        }
    }

    /// A block that the thread has done with.
    pub fn returned(&self) -> Option<Block> {
        self.handoff.as_ref()?.returned()
    }

    /// Whether the thread has blocks that it has not counted.
    pub fn works(&self) -> bool {
        self.handoff.as_ref().is_some_and(Handoff::works)
    }

    /// Takes no more, and says whether all is done. To be asked until it is; it never waits.
    pub fn finished(&mut self) -> bool {
        self.handoff.as_mut().is_none_or(Handoff::finished)
    }

    /// What the thread did so far.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { verified, wrong, written, failed } = &*self.shared;
        Counts {
            verified: get(verified),
            wrong: get(wrong),
            written: get(written),
            failed: get(failed),
        }
    }
}

struct Thread {
    format: Format,
    task: Task,
    counts: Arc<Shared>,
}

enum Task {
    Verify,
    Hash(BufWriter<File>),
    Wav(Wav),
}

impl Work<Block> for Thread {
    fn take(&mut self, block: &mut Block) {
        let (format, size) = (&self.format, self.format.frame_octets());
        let add = |count: &AtomicU64, by: u64| count.fetch_add(by, Ordering::Relaxed);
        let done = match &mut self.task {
            Task::Verify => {
                let (right, wrong) = compare(format, block);
                add(&self.counts.wrong, wrong);
                add(&self.counts.verified, right);
                return;
            }
            Task::Hash(file) => hash(file, block, size).map(|()| block.len() as u64),
            Task::Wav(wav) => wav.block(block, size),
        };
        match done {
            Ok(samples) => add(&self.counts.written, samples),
            Err(error) => {
                if self.counts.failed.load(Ordering::Relaxed) == 0 {
                    tracing::error!(%error, "the audio sink cannot write; sound is lost");
                }
                add(&self.counts.failed, block.len() as u64)
            }
        };
    }

    fn end(&mut self) {
        let done = match &mut self.task {
            Task::Verify => Ok(()),
            Task::Hash(file) => file.flush(),
            Task::Wav(wav) => wav.flush(),
        };
        if let Err(error) = done {
            tracing::error!(%error, "the audio sink cannot end its file");
        }
    }
}

/// Samples that came and are the tone, and that are not.
fn compare(format: &Format, block: &Block) -> (u64, u64) {
    let size = format.frame_octets();
    let mut expected = [0; super::format::PAYLOAD_OCTETS_MAX];
    let (mut right, mut wrong) = (0, 0);
    for place in block.of_run.0..block.of_run.1 {
        if !block.has(place) {
            continue;
        }
        let expected = &mut expected[..size];
        let number = block.number + place as u64;
        tone::write_frame(format, super::format::timestamp(number), expected);
        match block.octets[place * size..][..size] == *expected {
            true => right += 1,
            false => wrong += 1,
        }
    }
    (right, wrong)
}

fn hash(file: &mut BufWriter<File>, block: &Block, size: usize) -> io::Result<()> {
    let sum = crc32fast::hash(block.samples(size));
    write!(file, "{} {} {sum:08x}", block.timestamp(), block.len())?;
    match block.missing() {
        0 => writeln!(file)?,
        missing => writeln!(file, " missing {missing}")?,
    }
    // A line is worth a call, twenty times a second: whoever watches sees it now.
    file.flush()
}

/// A WAV file that grows.
struct Wav {
    writer: hound::WavWriter<BufWriter<File>>,
    depth: Depth,
    sample_rate: u64,
    octets: u64,
    /// Samples since its header was written.
    unflushed: u64,
    /// Number of the sample that comes next, once there was one.
    next: Option<u64>,
}

impl Wav {
    fn create(path: &Path, format: Format) -> Result<Self, Error> {
        let spec = format.spec();
        let header = hound::WavSpec {
            channels: spec.channels,
            sample_rate: spec.sample_rate,
            bits_per_sample: spec.depth.bits().into(),
            sample_format: hound::SampleFormat::Int,
        };
        let writer = hound::WavWriter::create(path, header)
            .map_err(|error| Error::Create { path: path.to_owned(), source: told(error) })?;
        Ok(Self {
            writer,
            depth: spec.depth,
            sample_rate: spec.sample_rate.into(),
            octets: 0,
            unflushed: 0,
            next: None,
        })
    }

    /// Writes a block, behind the silence that is missing before it; returns the samples of both.
    fn block(&mut self, block: &Block, size: usize) -> io::Result<u64> {
        let start = block.number + block.of_run.0 as u64;
        let pause = self.next.and_then(|next| start.checked_sub(next)).unwrap_or(0);
        let pause = if pause <= PAUSE_SECONDS_MAX * self.sample_rate { pause } else { 0 };
        let samples = pause + block.len() as u64;
        self.octets += samples * size as u64;
        if self.octets > WAV_OCTETS_MAX {
            return Err(io::Error::other("a WAV file holds 4 GiB and is full"));
        }
        let silence = [0; BLOCK_SAMPLES];
        let mut rest = pause * (size / self.depth.octets()) as u64;
        while rest > 0 {
            let now = rest.min(BLOCK_SAMPLES as u64);
            for &sample in &silence[..usize::try_from(now).expect("a block")] {
                self.writer.write_sample::<i32>(sample).map_err(told)?;
            }
            rest -= now;
        }
        for octets in block.samples(size).chunks_exact(self.depth.octets()) {
            let sample = match *octets {
                [high, low] => i32::from(i16::from_be_bytes([high, low])),
                [high, middle, low] => i32::from_be_bytes([high, middle, low, 0]) >> 8,
                _ => unreachable!("two or three octets"),
            };
            self.writer.write_sample(sample).map_err(told)?;
        }
        self.next = Some(block.number + block.of_run.1 as u64);
        self.unflushed += samples;
        if self.unflushed >= FLUSH_SAMPLES {
            self.flush()?;
        }
        Ok(samples)
    }

    /// Puts what there is into the file, and its length into the header.
    fn flush(&mut self) -> io::Result<()> {
        self.unflushed = 0;
        self.writer.flush().map_err(told)
    }
}

fn told(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
