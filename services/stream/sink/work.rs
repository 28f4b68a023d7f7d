//! What the sink's thread does with each frame.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::{fmt, io};

use super::output::{Output, STANDARD_OUTPUT};
use super::pictures::{Album, Pictures};
use super::{Error, Kind, Shared};
use crate::stream::video::assembler::Delivered;
use crate::stream::video::convert;
use crate::stream::video::format::Format;
use crate::stream::video::pattern::{Pattern, Verified};
use crate::stream::y4m;

/// The line of a frame of Y4M.
const Y4M_FRAME: &[u8] = b"FRAME\n";

/// The thread's work.
pub(super) enum Work {
    Verify(Box<Pattern>, Format),
    Hash(Output),
    Raw(Output),
    Y4m { output: Output, format: Format, planes: Vec<u8> },
    Png(Box<Album>),
}

impl Work {
    /// Opens what it writes to.
    pub(super) fn new(
        kind: Kind,
        path: Option<&Path>,
        pictures: Option<Pictures>,
        format: Format,
        left: &Arc<AtomicBool>,
    ) -> Result<Option<Self>, Error> {
        let create = |path: &Path, header: &[u8]| {
            Output::open(path, header, left)
                .map_err(|source| Error::Create { path: path.to_owned(), source })
        };
        if pictures.is_some() && kind != Kind::Png {
            return Err(Error::Pictures);
        }
        let standard = path.is_some_and(|path| path == Path::new(STANDARD_OUTPUT));
        if standard && kind != Kind::File {
            return Err(Error::Standard { kind });
        }
        let ends_in = |path: &Path, end: &str| path.extension().is_some_and(|it| it == end);
        Ok(match (kind, path) {
            (Kind::Nothing, None) => None,
            (Kind::Verify, None) => Some(Self::Verify(Box::new(Pattern::new(format)), format)),
            (Kind::Hash, Some(path)) => Some(Self::Hash(create(path, &[])?)),
            (Kind::File, Some(path)) if standard || ends_in(path, "y4m") => {
                let header = y4m::Header::emit(&format);
                let header = header.ok_or_else(|| Error::Rgb { path: path.to_owned() })?;
                let output = create(path, header.as_bytes())?;
                let planes = vec![0; convert::planar_octets(&format)];
                Some(Self::Y4m { output, format, planes })
            }
            (Kind::File, Some(path)) => Some(Self::Raw(create(path, &[])?)),
            (Kind::Png, Some(path)) if ends_in(path, "png") => {
                let pictures = Pictures::of(kind, pictures, None).expect("of this kind");
                let album = Album::new(path, pictures, format);
                let colorimetry = pictures.colorimetry;
                Some(Self::Png(Box::new(album.ok_or(Error::Colours { colorimetry })?)))
            }
            _ => return Err(Error::Path { kind }),
        })
    }

    /// Works until there is nothing more to come.
    pub(super) fn run(
        mut self,
        queue: &Receiver<Delivered>,
        memory: &SyncSender<Vec<u8>>,
        shared: &Shared,
    ) {
        let mut last = None;
        let mut failing = false;
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
            // Once for as long as it lasts.
            match (&done, std::mem::replace(&mut failing, done.is_err())) {
                (Err(error), false) => {
                    tracing::error!(%error, "the sink cannot write; frames are lost");
                }
                (Ok(_), true) => tracing::info!("the sink writes again"),
                _ => {}
            }
            let count = match done {
                Ok(Done::Right) => &shared.verified,
                Ok(Done::Wrong) => &shared.wrong,
                Ok(Done::Written) => &shared.written,
                Ok(Done::Unwanted) => &shared.unwanted,
                Err(_) => &shared.failed,
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
            Self::Hash(output) => {
                let sum = crc32fast::hash(octets);
                output.frame(&[format!("{timestamp} {sum:08x}{note}\n").as_bytes()])?;
                Ok(Done::Written)
            }
            Self::Raw(output) => output.frame(&[octets]).map(|()| Done::Written),
            Self::Y4m { output, format, planes } => {
                convert::to_planes(format, octets, planes);
                output.frame(&[Y4M_FRAME, planes]).map(|()| Done::Written)
            }
            Self::Png(album) => Ok(match album.frame(octets)? {
                true => Done::Written,
                false => Done::Unwanted,
            }),
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
    Unwanted,
}
