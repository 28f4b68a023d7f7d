//! The three files: the capture, and where its packets go.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{error, fmt};

use tidegate_dataplane::pcap::{self, AnnotatedWriter, Reader, Record};

/// What stands in the way.
#[derive(Debug)]
pub(crate) enum FileError {
    /// A capture could not be read or written.
    Capture(pcap::Error),
    /// Two of the three are one.
    Same {
        /// What one is.
        one: &'static str,
        /// What the other is.
        other: &'static str,
        path: PathBuf,
    },
    /// The capture is a pipe or the like.
    Once { path: PathBuf },
}

impl From<pcap::Error> for FileError {
    fn from(error: pcap::Error) -> Self {
        Self::Capture(error)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(error) => error.fmt(f),
            Self::Same { one, other, path } => {
                let path = path.display();
                write!(f, "{one} and {other} are the same file, {path}: name another")
            }
            Self::Once { path } => {
                let path = path.display();
                write!(f, "capture {path}: no regular file, but it is read twice: ")?;
                f.write_str("write it to a file first")
            }
        }
    }
}

impl error::Error for FileError {}

/// The capture to read, which can be read again.
pub(super) fn open(path: &Path) -> Result<Reader<BufReader<File>>, FileError> {
    let io = |source| pcap::Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let kind = file.metadata().map_err(io)?;
    if kind.is_dir() {
        return Err(io(io::ErrorKind::IsADirectory.into()).into());
    }
    if !kind.is_file() {
        return Err(FileError::Once { path: path.to_owned() });
    }
    Ok(Reader::new(path, BufReader::new(file))?)
}

/// Where packets go.
pub(super) struct Outputs {
    passed: Output,
    dropped: Output,
}

type Output = AnnotatedWriter<BufWriter<File>>;

impl Outputs {
    /// Creates both files, or empties them. None of the three may be another.
    pub(super) fn create(read: &Path, passed: &Path, dropped: &Path) -> Result<Self, FileError> {
        let differ = |one, other, left: &Path, right: &Path| match is_same(left, right) {
            true => Err(FileError::Same { one, other, path: right.to_owned() }),
            false => Ok(()),
        };
        differ("--read", "--passed", read, passed)?;
        differ("--read", "--dropped", read, dropped)?;
        differ("--passed", "--dropped", passed, dropped)?;
        let create = |path: &Path| -> Result<Output, FileError> {
            let file = File::create(path)
                .map_err(|source| pcap::Error::Io { path: path.to_owned(), source })?;
            Ok(AnnotatedWriter::new(path, BufWriter::new(file))?)
        };
        let outputs = Self { passed: create(passed)?, dropped: create(dropped)? };
        // One that did not exist before may be another by now, through a link.
        differ("--passed", "--dropped", passed, dropped)?;
        Ok(outputs)
    }

    pub(super) fn pass(&mut self, record: &Record) -> Result<(), FileError> {
        Ok(self.passed.write(record, "")?)
    }

    pub(super) fn drop(&mut self, record: &Record, why: &str) -> Result<(), FileError> {
        Ok(self.dropped.write(record, why)?)
    }

    /// Writes what is still held back.
    pub(super) fn finish(self, passed: &Path, dropped: &Path) -> Result<(), FileError> {
        for (output, path) in [(self.passed, passed), (self.dropped, dropped)] {
            output
                .into_stream()
                .flush()
                .map_err(|source| pcap::Error::Io { path: path.to_owned(), source })?;
        }
        Ok(())
    }
}

/// Whether both names lead to one regular file. `/dev/null` may be named twice.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        // What is not there yet is known by its name alone.
        _ => one == other,
    }
}
