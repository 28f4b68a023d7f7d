//! Where a sender's ancillary data come from: timecode, or a file played in a loop.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::anc::Head;
use super::file::{Clip, Entry, Wrong};
use super::payload::Field;
use super::timecode::{Counter, KIND, NoTimecode};
use crate::stream::timing::Rate;
use crate::stream::video::format::Scan;

/// Octets of a file at most: more than an hour of captions. A larger one is a mistake.
const OCTETS_MAX: u64 = 64 << 20;

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
    /// It is longer than `OCTETS_MAX`.
    Long(PathBuf),
    /// A line is not as it should be.
    Line {
        /// The file as configured.
        path: PathBuf,
        /// The line, and what is wrong with it.
        wrong: Wrong,
    },
    /// It has packets of fields, and the stream has none, or the other way round.
    Fields {
        /// The file as configured.
        path: PathBuf,
        /// What the stream has.
        scan: Scan,
    },
    /// Timecode has no such rate.
    Timecode(NoTimecode),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "ancillary file {}: {source}", path.display()),
            Self::Long(path) => write!(
                f,
                "ancillary file {} is longer than {OCTETS_MAX} octets; cut it",
                path.display()
            ),
            Self::Line { path, wrong } => write!(f, "ancillary file {}: {wrong}", path.display()),
            Self::Fields { path, scan: Scan::Progressive } => write!(
                f,
                "ancillary file {} has packets of fields 1 and 2, the stream is progressive; its \
                 field is p",
                path.display()
            ),
            Self::Fields { path, scan } => write!(
                f,
                "ancillary file {} has packets of field p, the stream is {}; its fields are 1 \
                 and 2",
                path.display(),
                scan
            ),
            Self::Timecode(error) => error.fmt(f),
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

/// ANC packets without end.
#[derive(Debug)]
pub enum Source {
    /// One of each field, which says what time it is.
    Timecode {
        /// Counts the frames.
        counter: Counter,
        /// The packet, written anew for each field.
        packet: Entry,
    },
    /// Those of a file.
    Clip(Clip),
}

/// Lines of timecode: ST 12-2, 7, recommends 9 for that of the first field, 571 for the second's.
const LINES: (u16, u16) = (9, 571);

impl Source {
    /// Timecode of frames at `rate`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn timecode(rate: Rate) -> Result<Self, Error> {
        let counter = Counter::new(rate).map_err(Error::Timecode)?;
        let (did, sdid) = KIND;
        let head = Head { is_colour: false, line: LINES.0, offset: 0, stream: None, did, sdid };
        let words = Box::new(counter.words(0, false));
        Ok(Self::Timecode { counter, packet: Entry { frame: 0, field: Field::Whole, head, words } })
    }

    /// The file at `path`, for pictures of `scan`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not of the form of [`super::file`], or has other fields.
    pub fn file(path: &Path, scan: Scan) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.len() > OCTETS_MAX {
            return Err(Error::Long(path.to_owned()));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let clip =
            Clip::parse(&text).map_err(|wrong| Error::Line { path: path.to_owned(), wrong })?;
        let has_fields = scan != Scan::Progressive;
        if clip.entries.iter().any(|entry| (entry.field != Field::Whole) != has_fields) {
            return Err(Error::Fields { path: path.to_owned(), scan });
        }
        Ok(Self::Clip(clip))
    }

    /// The packets of a field of frame `number` since the epoch. A file begins at the frames whose
    /// number its length divides, as those of pictures do.
    pub fn packets(&mut self, number: u64, field: Field) -> &[Entry] {
        match self {
            Self::Timecode { counter, packet } => {
                let second = field == Field::Second;
                packet.words.copy_from_slice(&counter.words(number, second));
                packet.head.line = if second { LINES.1 } else { LINES.0 };
                std::slice::from_ref(packet)
            }
            Self::Clip(clip) => {
                let frame = number % u64::from(clip.frames);
                clip.of(u32::try_from(frame).expect("one of them"), field)
            }
        }
    }

    /// Which kinds of packets it has, by DID and SDID, for an SDP.
    pub fn kinds(&self) -> Vec<(u8, u8)> {
        match self {
            Self::Timecode { .. } => vec![KIND],
            Self::Clip(clip) => {
                let mut kinds: Vec<_> =
                    clip.entries.iter().map(|it| (it.head.did, it.head.sdid)).collect();
                kinds.sort_unstable();
                kinds.dedup();
                kinds
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("tidegate-anc-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_is_repeated_from_where_the_epoch_has_it() {
        let file = File::new("loop", "0 p Y 9 0 - 60/60 01\n2 p Y 9 0 - 61/01 02\nframes 5\n");
        let mut source = Source::file(&file.0, Scan::Progressive).unwrap();
        let had: Vec<usize> =
            (1_000..1_010).map(|frame| source.packets(frame, Field::Whole).len()).collect();
        assert_eq!(had, [1, 0, 1, 0, 0, 1, 0, 1, 0, 0]);
        assert_eq!(source.kinds(), [(0x60, 0x60), (0x61, 1)]);
    }

    #[test]
    fn timecode_is_of_its_frame_and_field() {
        let mut source = Source::timecode("25".parse().unwrap()).unwrap();
        // Frame 0 is 37 s before midnight of 1970-01-01 UTC, which is not counted.
        let second = source.packets(25 * 38, Field::Second);
        assert_eq!((second.len(), second[0].head.line), (1, 571));
        let words: Vec<u16> = source.packets(25 * 38, Field::First)[0].words.to_vec();
        assert_eq!(words[4] & 0xf0, 0x10, "a second");
        let mut source = Source::timecode("25".parse().unwrap()).unwrap();
        let counts = allocation_counter::measure(|| {
            for frame in 0..100 {
                source.packets(frame, Field::Whole);
            }
        });
        assert_eq!(counts.count_total, 0);
    }

    #[test]
    fn files_that_do_not_suit_are_refused() {
        let refused = |path: &Path, scan| Source::file(path, scan).unwrap_err().to_string();
        let file = File::new("fields", "0 1 Y 9 0 - 60/60\n");
        let path = file.0.display();
        assert_eq!(
            refused(&file.0, Scan::Progressive),
            format!(
                "ancillary file {path} has packets of fields 1 and 2, the stream is progressive; \
                 its field is p"
            )
        );
        let file = File::new("whole", "0 p Y 9 0 - 60/60\n");
        assert!(
            refused(&file.0, Scan::Interlaced).ends_with("is interlaced; its fields are 1 and 2")
        );
        let file = File::new("wrong", "0 p Y 9 0 - 60\n");
        assert!(refused(&file.0, Scan::Progressive).contains("line 1: \"60\""));
        assert!(refused(Path::new("/nonexistent"), Scan::Progressive).contains("No such file"));
        assert!(Source::timecode("120".parse().unwrap()).is_err());
    }
}
