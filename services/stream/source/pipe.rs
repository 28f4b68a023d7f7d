//! Frames from a pipe: standard input, or a FIFO.
//!
//! It says what it is as a file does, by its first octets. It ends where its writer closes it, at
//! the last whole frame. A FIFO that nobody has opened for writing is waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Error, Place};
use super::feed::{Input, Shared};
use super::file::suited;
use super::{End, Layout};
use crate::stream::video::format::Format;
use crate::stream::worker::LOOK_MS;
use crate::stream::y4m;

/// What the kernel is asked to hold of a pipe: as much as an ordinary user may have. With its usual
/// 64 KiB a frame of 4K would cost writer and reader 500 turns each.
pub(in crate::stream) const PIPE_OCTETS: i32 = 1 << 20;

/// Octets that are read where the end of a line is looked for.
const LOOK_OCTETS: usize = 512;

/// Whether somebody reads standard input.
static STANDARD_INPUT_TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard input, for one sender.
#[derive(Debug)]
struct Taken;

impl Taken {
    fn take() -> Option<Self> {
        (!STANDARD_INPUT_TAKEN.swap(true, Ordering::Relaxed)).then_some(Self)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        STANDARD_INPUT_TAKEN.store(false, Ordering::Relaxed);
    }
}

/// A pipe that is read.
#[derive(Debug)]
pub(super) struct Pipe {
    file: File,
    place: Place,
    /// What was read and not yet used, from `at` on.
    pending: Vec<u8>,
    at: usize,
    layout: Option<Layout>,
    frames: u64,
    _taken: Option<Taken>,
}

/// How a piece was read.
enum Filled {
    /// All of it.
    Whole,
    /// So many octets; then it ended.
    Part(usize),
    /// Nobody wants it any more.
    Left,
}

impl Pipe {
    /// Standard input.
    pub(super) fn standard_input() -> Result<Self, Error> {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(Error::Terminal);
        }
        let taken = Some(Taken::take().ok_or(Error::Taken)?);
        let place = Place::StandardInput;
        match input.as_fd().try_clone_to_owned() {
            Ok(file) => Ok(Self::new(file.into(), place, taken)),
            Err(source) => Err(Error::Io { place, source }),
        }
    }

    /// The FIFO at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // Not to wait for a writer here: it may come later.
        let flags = OFlag::O_NONBLOCK.bits();
        let place = Place::Fifo(path.to_owned());
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => Ok(Self::new(file, place, None)),
            Err(source) => Err(Error::Io { place, source }),
        }
    }

    fn new(file: File, place: Place, taken: Option<Taken>) -> Self {
        // What is no pipe, or belongs to somebody who has many, keeps what it has.
        let _ = fcntl(&file, FcntlArg::F_SETPIPE_SZ(PIPE_OCTETS));
        Self { file, place, pending: Vec::new(), at: 0, layout: None, frames: 0, _taken: taken }
    }

    /// Waits for octets; `None` when they are no longer wanted.
    fn read(&mut self, into: &mut [u8], left: &AtomicBool) -> Result<Option<usize>, Error> {
        loop {
            if left.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            // A FIFO says that it is over only where it had a writer.
            let read = match poll(&mut polled, PollTimeout::from(LOOK_MS)) {
                Ok(0) => continue,
                Ok(_) => self.file.read(into),
                Err(error) => Err(error.into()),
            };
            match read {
                Ok(octets) => return Ok(Some(octets)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                    _ => return Err(Error::Io { place: self.place.clone(), source: error }),
                },
            }
        }
    }

    /// Fills `into`, from what is pending first.
    fn fill(&mut self, into: &mut [u8], left: &AtomicBool) -> Result<Filled, Error> {
        let pending = &self.pending[self.at..];
        let mut have = pending.len().min(into.len());
        into[..have].copy_from_slice(&pending[..have]);
        self.at += have;
        while have < into.len() {
            match self.read(&mut into[have..], left)? {
                None => return Ok(Filled::Left),
                Some(0) => return Ok(Filled::Part(have)),
                Some(octets) => have += octets,
            }
        }
        Ok(Filled::Whole)
    }

    /// Has at least `octets` pending, if so many come before the end.
    fn look(&mut self, octets: usize, left: &AtomicBool) -> Result<Filled, Error> {
        self.pending.drain(..self.at);
        self.at = 0;
        while self.pending.len() < octets {
            let mut more = [0; LOOK_OCTETS];
            match self.read(&mut more, left)? {
                None => return Ok(Filled::Left),
                Some(0) => return Ok(Filled::Part(self.pending.len())),
                Some(octets) => self.pending.extend(&more[..octets]),
            }
        }
        Ok(Filled::Whole)
    }

    /// Has a whole line pending; `Whole` also where it is longer than a line may be.
    fn look_line(&mut self, left: &AtomicBool) -> Result<Filled, Error> {
        loop {
            let pending = &self.pending[self.at..];
            if pending.contains(&b'\n') || pending.len() >= y4m::LINE_OCTETS_MAX {
                return Ok(Filled::Whole);
            }
            match self.look(pending.len() + 1, left)? {
                Filled::Whole => {}
                other => return Ok(other),
            }
        }
    }

    /// The end, before the next frame or, with `begun`, within it.
    fn over(&self, begun: bool, format_octets: usize) -> Result<Option<u64>, Error> {
        let (place, frames) = (&self.place, self.frames);
        if begun && frames == 0 {
            let (place, octets) = (place.clone(), format_octets);
            return Err(Error::Short { place, frame_octets: octets });
        }
        if begun {
            tracing::warn!("{place} ended within frame {frames}, which is not sent");
        }
        tracing::info!("{place} ended after {frames} frames");
        Ok(None)
    }
}

impl Input for Pipe {
    const NUMBERED: bool = false;
    const START_NS: u64 = 0;

    fn layout(&mut self, format: &Format, left: &AtomicBool) -> Result<Option<Layout>, Error> {
        match self.look(y4m::MAGIC.len(), left)? {
            Filled::Left => return Ok(None),
            Filled::Part(0) => {
                return Err(Error::Empty { place: self.place.clone(), format: *format });
            }
            Filled::Whole | Filled::Part(_) => {}
        }
        let mut layout = Layout::Pgroups;
        if self.pending.starts_with(y4m::MAGIC) {
            if let Filled::Left = self.look_line(left)? {
                return Ok(None);
            }
            (self.at, _) = suited(&self.pending, &self.place, format)?;
            layout = Layout::Planes;
        }
        self.layout = Some(layout);
        Ok(Some(layout))
    }

    fn frame(&mut self, shared: &Shared, into: &mut [u8]) -> Result<Option<u64>, Error> {
        let left = &shared.left;
        if self.layout == Some(Layout::Planes) {
            match self.look_line(left)? {
                Filled::Left => return Ok(None),
                Filled::Part(octets) => return self.over(octets > 0, into.len()),
                Filled::Whole => {}
            }
            let Some(line) = y4m::frame_line(&self.pending[self.at..]) else {
                return Err(Error::NoFrame { place: self.place.clone(), frame: self.frames });
            };
            self.at += line;
        }
        match self.fill(into, left)? {
            Filled::Left => Ok(None),
            // Of planes, the line in front was there.
            Filled::Part(octets) => {
                self.over(octets > 0 || self.layout == Some(Layout::Planes), into.len())
            }
            Filled::Whole => {
                self.frames += 1;
                Ok(Some(self.frames))
            }
        }
    }

    fn end(&self) -> End {
        End::Over
    }
}
