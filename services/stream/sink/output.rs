//! Where frames are written: a file, or a pipe to another program.
//!
//! A frame is written whole or not at all. Of a file on a full disk the piece that found room is
//! cut off again; into a pipe nothing is begun while nobody reads it, and one who reads too slowly
//! is waited for, by the sink's thread alone, while the shard drops what comes meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::stream::source::PIPE_OCTETS;
use crate::stream::worker::LOOK_MS;

/// The name of standard output.
pub const STANDARD_OUTPUT: &str = "-";

/// Octets that a pipe takes without waiting when it says that it has room: a page, POSIX's PIPE_BUF
/// on Linux. Standard output belongs to others as well, whose writes must not fail for want of room.
const SURE_OCTETS: usize = 4096;

/// A destination of whole frames.
#[derive(Debug)]
pub(super) enum Output {
    /// A file, and how long it is with whole frames.
    File { file: File, octets: u64 },
    /// A pipe.
    Pipe(Pipe),
}

/// A pipe, open while somebody reads it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// The FIFO; `None` for standard output.
    path: Option<PathBuf>,
    file: Option<File>,
    header: Vec<u8>,
    /// Whether who reads has the header.
    begun: bool,
    /// Standard output was closed: nobody can open it again.
    over: bool,
    left: Arc<AtomicBool>,
}

impl Output {
    /// Makes the file, with `header` in front, or finds the pipe. What waits looks at `left`.
    pub(super) fn open(path: &Path, header: &[u8], left: &Arc<AtomicBool>) -> io::Result<Self> {
        let pipe = |path, file| {
            let (header, left) = (header.to_vec(), Arc::clone(left));
            Self::Pipe(Pipe { path, file, header, begun: false, over: false, left })
        };
        if path == Path::new(STANDARD_OUTPUT) {
            let output = io::stdout();
            if output.is_terminal() {
                let why = "standard output is a terminal; pipe it into a program, as in \
                           `tidegate run --config FILE | ffplay -`";
                return Err(io::Error::other(why));
            }
            let file = File::from(output.as_fd().try_clone_to_owned()?);
            // What is no pipe, or belongs to somebody who has many, keeps what it has.
            let _ = fcntl(&file, FcntlArg::F_SETPIPE_SZ(PIPE_OCTETS));
            return Ok(pipe(None, Some(file)));
        }
        let kind = std::fs::metadata(path).map(|it| it.file_type());
        if kind.is_ok_and(|kind| kind.is_fifo()) {
            return Ok(pipe(Some(path.to_owned()), None));
        }
        let mut file = File::create(path)?;
        file.write_all(header)?;
        Ok(Self::File { file, octets: header.len() as u64 })
    }

    /// Writes one frame, which is in pieces.
    pub(super) fn frame(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        match self {
            Self::File { file, octets } => {
                let written = pieces.iter().try_for_each(|piece| file.write_all(piece));
                match written {
                    Ok(()) => *octets += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>(),
                    // What is no file has no length, and keeps no half frame either.
                    Err(_) => {
                        let _ = file.set_len(*octets);
                        let _ = file.seek(SeekFrom::Start(*octets));
                    }
                }
                written
            }
            Self::Pipe(pipe) => pipe.frame(pieces),
        }
    }
}

impl Pipe {
    fn frame(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        if self.over {
            return Err(io::Error::other("nobody reads standard output any more"));
        }
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().expect("just opened");
        let each = if self.path.is_some() { usize::MAX } else { SURE_OCTETS };
        let header: &[u8] = if self.begun { &[] } else { &self.header };
        self.begun = true;
        let mut pieces = [header].into_iter().chain(pieces.iter().copied());
        let written = pieces.try_for_each(|piece| write(file, piece, each, &self.left));
        if let Err(error) = &written
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            (self.file, self.begun) = (None, false);
            self.over = self.path.is_none();
        }
        written
    }

    /// Opens the FIFO, if somebody reads it.
    fn open(&mut self) -> io::Result<()> {
        let path = self.path.as_ref().expect("standard output is open or over");
        let flags = OFlag::O_NONBLOCK.bits();
        let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENXIO) => io::Error::other(format!("nobody reads {}", path.display())),
            _ => error,
        })?;
        let _ = fcntl(&file, FcntlArg::F_SETPIPE_SZ(PIPE_OCTETS));
        self.file = Some(file);
        Ok(())
    }
}

/// Writes all of it, in pieces of at most `each` octets; waits where there is no room, until nobody
/// wants it written any more.
fn write(file: &mut File, octets: &[u8], each: usize, left: &AtomicBool) -> io::Result<()> {
    let mut rest = octets;
    while !rest.is_empty() {
        if left.load(Ordering::Relaxed) {
            return Err(io::Error::other("given up: who reads the pipe does not go on"));
        }
        let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut polled, PollTimeout::from(LOOK_MS))? == 0 {
            continue;
        }
        match file.write(&rest[..rest.len().min(each)]) {
            Ok(octets) => rest = &rest[octets..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
