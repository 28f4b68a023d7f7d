//! A file of frames, each found by its number.
//!
//! ```text
//!   header line │ FRAME line │ planes │ FRAME line │ planes │ …      Y4M
//!   pgroups │ pgroups │ …                                            raw
//! ```
//!
//! All frames are equally far apart, so that any of them is read by its place alone. The file stays
//! open: one that is removed or replaced by another of its name is played on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{Error, Place};
use super::feed::{BUFFERS, Input, Shared};
use super::{End, Layout};
use crate::stream::video::convert;
use crate::stream::video::format::Format;
use crate::stream::y4m;

/// Octets at the start in which a Y4M file has its header and the line of its first frame.
const START_OCTETS: usize = 4096;

/// Ahead of the first frame: the disk's head, or the network of a file system, has to move.
const START_NS: u64 = 100_000_000;

/// An open file of whole frames.
#[derive(Debug)]
pub(super) struct Reel {
    file: File,
    place: Place,
    layout: Layout,
    /// Where the first frame begins, with its line.
    start: u64,
    line_octets: usize,
    frame_octets: usize,
    frames: u64,
    /// The frame that was read last, counted as the stream does.
    last: Option<u64>,
}

impl Reel {
    /// Opens the file and finds its frames.
    pub(super) fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let place = Place::File(path.to_owned());
        let io = |source| Error::Io { place: place.clone(), source };
        let file = File::open(path).map_err(io)?;
        let octets = file.metadata().map_err(io)?.len();
        let mut start = vec![0; START_OCTETS];
        let read = read_some(&file, &mut start).map_err(io)?;
        let start = &start[..read];
        let (layout, header_octets, line_octets) = if start.starts_with(y4m::MAGIC) {
            let (header_octets, rest) = suited(start, &place, &format)?;
            // Where there is no frame at all, that is what is said below.
            let line = y4m::frame_line(rest).unwrap_or(y4m::FRAME.len() + 1);
            (Layout::Planes, header_octets, line)
        } else {
            (Layout::Pgroups, 0, 0)
        };
        let frame_octets = layout.octets(&format);
        let (header, each) = (header_octets as u64, (line_octets + frame_octets) as u64);
        let frames = octets.saturating_sub(header) / each;
        if frames == 0 || octets != header + frames * each {
            return Err(Error::Ragged { place, octets, frame_octets, format });
        }
        Ok(Self {
            file,
            place,
            layout,
            start: header,
            line_octets,
            frame_octets,
            frames,
            last: None,
        })
    }

    /// Frames in it.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Its name.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// How its frames lie in memory.
    pub(super) const fn layout(&self) -> Layout {
        self.layout
    }

    /// Reads the frame with this number in the file.
    pub(super) fn read(&self, frame: u64, into: &mut [u8]) -> Result<(), Error> {
        let at = self.start + frame * (self.line_octets + self.frame_octets) as u64;
        let mut line = [0; START_OCTETS];
        let line = &mut line[..self.line_octets];
        let read = self
            .file
            .read_exact_at(line, at)
            .and_then(|()| self.file.read_exact_at(into, at + self.line_octets as u64));
        read.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::Cut { place: self.place.clone(), frame, frames: self.frames }
            }
            _ => Error::Io { place: self.place.clone(), source },
        })?;
        if self.layout == Layout::Planes && y4m::frame_line(line) != Some(line.len()) {
            return Err(Error::NoFrame { place: self.place.clone(), frame });
        }
        Ok(())
    }
}

impl Input for Reel {
    const NUMBERED: bool = true;
    const START_NS: u64 = START_NS;

    fn frame(&mut self, shared: &Shared, into: &mut [u8]) -> Result<Option<u64>, Error> {
        let wanted = shared.wanted.load(Ordering::Relaxed);
        let ahead = BUFFERS as u64;
        let next = self.last.map_or(wanted, |last| last + 1);
        // Behind after a stall of the disk, or far ahead after the clock was set back.
        let number = if (wanted..=wanted + ahead).contains(&next) { next } else { wanted };
        self.read(number % self.frames, into)?;
        self.last = Some(number);
        Ok(Some(number))
    }

    fn layout(&mut self, _: &Format, _: &AtomicBool) -> Result<Option<Layout>, Error> {
        Ok(Some(self.layout))
    }

    fn end(&self) -> End {
        End::Over
    }
}

impl Layout {
    /// Octets of a frame.
    pub(super) fn octets(self, format: &Format) -> usize {
        match self {
            Self::Pgroups => format.frame_octets(),
            Self::Planes => convert::planar_octets(format),
        }
    }
}

/// Checks a Y4M header: its octets, and what follows it.
pub(super) fn suited<'a>(
    start: &'a [u8],
    place: &Place,
    format: &Format,
) -> Result<(usize, &'a [u8]), Error> {
    let unsuited = |found| Error::Unsuited { place: place.clone(), found, format: *format };
    let (header, rest) = y4m::Header::parse(start).ok_or_else(|| unsuited("damaged Y4M".into()))?;
    if header.suits(format) {
        Ok((start.len() - rest.len(), rest))
    } else {
        Err(unsuited(header.to_string().into()))
    }
}

/// Reads from the start until `into` is full or the file ends.
fn read_some(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < into.len() {
        match file.read_at(&mut into[have..], have as u64) {
            Ok(0) => break,
            Ok(octets) => have += octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
