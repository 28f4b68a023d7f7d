//! What becomes of ANC packets: nothing, or a file of the form of [`super::file`].

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::file::Line;
use super::reader::Item;
use crate::stream::handoff::{Handoff, Work};

/// ANC packets that wait for the thread: half a kibioctet each. At ten a frame of 60 a second they
/// are half a second; a disk that pauses for longer costs some.
const QUEUED: usize = 256;

/// What to do with ANC packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing: they are counted.
    #[default]
    Nothing,
    /// Write a line for each.
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
            Self::Path { kind: Kind::File } => {
                f.write_str("ancillary: sink \"file\" needs path, the file for its lines")
            }
            Self::Path { kind: Kind::Nothing } => {
                f.write_str("ancillary: path is for the sink \"file\" only")
            }
            Self::Create { path, source } => {
                write!(f, "cannot make the ancillary sink's file {}: {source}", path.display())
            }
            Self::Thread(source) => write!(f, "no thread for the ancillary sink: {source}"),
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

/// What goes to the thread.
#[expect(clippy::large_enum_variant, reason = "all are packets but the last")]
enum Told {
    Packet(Item),
    /// So many frames there were, and it is the end.
    Frames(u64),
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    failed: AtomicU64,
}

/// The shard's end of the sink.
#[derive(Debug)]
pub struct Sink {
    handoff: Option<Handoff<Told>>,
    shared: Arc<Shared>,
    /// Packets that the thread was too far behind for.
    dropped: u64,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(item) => item.fmt(f),
            Self::Frames(count) => write!(f, "frames {count}"),
        }
    }
}

impl Sink {
    /// Starts the thread, if `kind` needs one.
    ///
    /// # Errors
    ///
    /// When path and kind do not go together, or file or thread cannot be made.
    pub fn start(kind: Kind, path: Option<&Path>) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let handoff = match (kind, path) {
            (Kind::Nothing, None) => None,
            (Kind::File, Some(path)) => {
                let create = |source| Error::Create { path: path.to_owned(), source };
                let file = BufWriter::new(File::create(path).map_err(create)?);
                let thread = Thread { file, last: None, counts: Arc::clone(&shared) };
                let handoff = Handoff::start("ancillary-sink", QUEUED, thread);
                Some(handoff.map_err(Error::Thread)?)
            }
            _ => return Err(Error::Path { kind }),
        };
        Ok(Self { handoff, shared, dropped: 0 })
    }

    /// Hands an ANC packet over.
    pub fn offer(&mut self, item: Item) {
        let Some(handoff) = &mut self.handoff else { return };
        while handoff.returned().is_some() {}
        if handoff.offer(Told::Packet(item)).is_err() {
            self.dropped += 1;
        }
    }

    /// Says how many frames there were, after the last packet.
    pub fn end(&mut self, frames: u64) {
        if let Some(handoff) = &mut self.handoff
            && handoff.offer(Told::Frames(frames)).is_err()
        {
            tracing::warn!("the ancillary sink is behind: its file ends without `frames`");
        }
    }

    /// Whether the thread has packets that it has not counted.
    pub fn works(&self) -> bool {
        self.handoff.as_ref().is_some_and(Handoff::works)
    }

    /// Takes no more, and says whether all is done. To be asked until it is; it never waits.
    pub fn finished(&mut self) -> bool {
        self.handoff.as_mut().is_none_or(Handoff::finished)
    }

    /// ANC packets that were written.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// ANC packets that were to be written and were not.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.shared.failed.load(Ordering::Relaxed)
    }
}

struct Thread {
    file: BufWriter<File>,
    /// Frame of the last packet.
    last: Option<u64>,
    counts: Arc<Shared>,
}

impl Thread {
    fn write(&mut self, told: &Told) -> io::Result<()> {
        match told {
            Told::Packet(Item { frame, field, anc }) => {
                // Whoever watches sees each frame when it is whole.
                if self.last.replace(*frame) != Some(*frame) {
                    self.file.flush()?;
                }
                let (head, words) = (&anc.head, anc.words());
                writeln!(self.file, "{}", Line { frame: *frame, field: *field, head, words })
            }
            Told::Frames(0) => Ok(()),
            Told::Frames(count) => writeln!(self.file, "frames {count}"),
        }
    }
}

impl Work<Told> for Thread {
    fn take(&mut self, told: &mut Told) {
        let done = self.write(told);
        let is_packet = matches!(told, Told::Packet(_));
        let count = match &done {
            Ok(()) => &self.counts.written,
            Err(error) => {
                if self.counts.failed.load(Ordering::Relaxed) == 0 {
                    tracing::error!(%error, "the ancillary sink cannot write; packets are lost");
                }
                &self.counts.failed
            }
        };
        count.fetch_add(u64::from(is_packet), Ordering::Relaxed);
    }

    fn end(&mut self) {
        if let Err(error) = self.file.flush() {
            tracing::error!(%error, "the ancillary sink cannot end its file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{Clip, Entry};
    use super::super::packetizer::{Packetizer, Part};
    use super::super::payload::Field;
    use super::super::reader::Reader;
    use super::*;

    #[test]
    fn what_was_sent_is_in_the_file() {
        let text = "0 p Y 9 0 - 60/60 01 02\n0 p C 2047 4095 5 61/01 3ff\n3 p Y 11 7 - 41/05\n\
                    frames 6\n";
        let clip = Clip::parse(text).unwrap();
        let path = std::env::temp_dir().join(format!("tidegate-anc-sink-{}", std::process::id()));
        let mut sink = Sink::start(Kind::File, Some(&path)).unwrap();
        let mut reader = Reader::new(100, "25".parse().unwrap());
        for frame in 0..6 {
            let entries: &[Entry] = clip.of(frame, Field::Whole);
            let part = Part::of(entries);
            let mut octets = vec![0; part.packet_octets()];
            let packetizer = Packetizer::new(100, 7);
            packetizer.write(&mut octets, &part, frame, frame * 3600, Field::Whole);
            reader.packet(&octets, |item| sink.offer(item));
        }
        sink.end(reader.frames());
        while !sink.finished() {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!((sink.written(), sink.dropped()), (3, 0));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn path_and_kind_go_together() {
        let refused = |kind, path: Option<&str>| {
            Sink::start(kind, path.map(Path::new)).unwrap_err().to_string()
        };
        assert_eq!(
            refused(Kind::File, None),
            "ancillary: sink \"file\" needs path, the file for its lines"
        );
        assert_eq!(
            refused(Kind::Nothing, Some("x")),
            "ancillary: path is for the sink \"file\" only"
        );
        assert!(
            refused(Kind::File, Some("/nonexistent/a"))
                .starts_with("cannot make the ancillary sink's file /nonexistent/a: No such file")
        );
    }
}
