//! Frames that a thread reads ahead.
//!
//! ```text
//!   thread: wait, read ──(4 frames at most)──► shard: now, next
//!      ▲                                           │
//!      └──────────────── memory, used again ◄──────┘
//! ```
//!
//! The thread waits for disk or pipe and fills the memory, so that the shard never meets a page
//! that is not there. The shard only looks: where no new frame has come in time, the one before is
//! sent again. Memory is taken at the start and goes around.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};

use super::error::Error;
use super::{Layout, Shown};
use crate::stream::video::convert::Planar;
use crate::stream::video::format::Format;
use crate::stream::video::picture::Picture;
use crate::stream::worker;

/// Frames that wait for the shard. With one a disk has to answer within a frame; each costs its
/// memory, 33 MB for planes in 4K. Four are 80 ms at 50 frames a second.
const QUEUED: usize = 4;

/// Frames in memory: the queued ones, the one that is sent, and one in the thread's hands.
pub(super) const BUFFERS: usize = QUEUED + 2;

/// Where a thread reads from.
pub(super) trait Input: Send + 'static {
    /// Whether frames are found by their number, or come in the order in which they come.
    const NUMBERED: bool;

    /// How long before its time the first frame is asked for.
    const START_NS: u64;

    /// Learns how its frames lie in memory; `None` when it is no longer wanted.
    fn layout(&mut self, format: &Format, left: &AtomicBool) -> Result<Option<Layout>, Error>;

    /// Reads the next frame, where they are numbered one that is wanted. Returns its number; `None`
    /// at the end, and when it is no longer wanted.
    fn frame(&mut self, shared: &Shared, into: &mut [u8]) -> Result<Option<u64>, Error>;

    /// What the end was.
    fn end(&self) -> End;
}

/// How a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it was read.
    Over,
    /// It cannot be read any more; the log says why.
    Broken,
}

/// Whether a first picture is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It is.
    Yes,
    /// Not yet.
    NotYet,
    /// There will be none.
    Ended(End),
}

/// What the picture of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its own.
    New,
    /// That of the frame before: its own has not come yet.
    Again,
    /// There is none any more.
    Ended(End),
}

struct Frame {
    number: u64,
    layout: Layout,
    octets: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("number", &self.number).finish_non_exhaustive()
    }
}

enum Message {
    Frame(Frame),
    Ended(End),
}

/// What shard and thread both look at.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The frame that the shard is at.
    pub(super) wanted: AtomicU64,
    /// Nobody wants frames any more.
    pub(super) left: AtomicBool,
}

/// The shard's end.
pub struct Feed {
    format: Format,
    numbered: bool,
    start_ns: u64,
    filled: Receiver<Message>,
    empty: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
    now: Option<Frame>,
    next: Option<Frame>,
    end: Option<End>,
    /// The frame that it went on to.
    at: Option<u64>,
    /// Buffers that the thread was not given yet.
    unused: usize,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.left.store(true, Ordering::Relaxed);
    }
}

impl Feed {
    /// Starts the thread.
    pub(super) fn start<I: Input>(mut input: I, format: Format) -> Result<Self, Error> {
        // With room for the end as well, so that the thread never waits for the shard here.
        let (fill, filled) = mpsc::sync_channel(BUFFERS + 1);
        let (empty, emptied) = mpsc::sync_channel(BUFFERS);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        worker::start("stream-source", move || {
            let end = read_all(&mut input, &format, &fill, &emptied, &theirs);
            // Where the shard is gone nobody wants to know.
            let _ = fill.try_send(Message::Ended(end));
        })
        .map_err(Error::Thread)?;
        let (numbered, start_ns) = (I::NUMBERED, I::START_NS);
        let (now, next, end, at) = (None, None, None, None);
        Ok(Self {
            format,
            numbered,
            start_ns,
            filled,
            empty,
            shared,
            now,
            next,
            end,
            at,
            unused: BUFFERS,
        })
    }

    pub(super) const fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// What the thread holds as long as it lives.
    #[cfg(test)]
    pub(super) fn watched(&self) -> std::sync::Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    pub(super) fn ready(&mut self, number: u64) -> Ready {
        self.shared.wanted.store(number, Ordering::Relaxed);
        // The thread allocates; what goes to it is empty, and it reads nothing before it has it.
        for _ in 0..std::mem::take(&mut self.unused) {
            let _ = self.empty.try_send(Vec::new());
        }
        if self.next.is_none() {
            self.next = self.pull();
        }
        match (&self.next, self.end) {
            (Some(_), _) => Ready::Yes,
            (None, Some(end)) => Ready::Ended(end),
            (None, None) => Ready::NotYet,
        }
    }

    pub(super) fn advance(&mut self, number: u64) -> Step {
        if self.at == Some(number) {
            return Step::New;
        }
        self.shared.wanted.store(number, Ordering::Relaxed);
        loop {
            let Some(frame) = self.next.take().or_else(|| self.pull()) else {
                return self.end.map_or(Step::Again, Step::Ended);
            };
            let is_due = !self.numbered || frame.number == number;
            let is_ahead = (number..=number + BUFFERS as u64).contains(&frame.number);
            if !is_due && is_ahead && self.now.is_some() {
                self.next = Some(frame);
                return Step::Again;
            }
            if let Some(before) = self.now.replace(frame) {
                // Never full: there is no more memory than the channel has places.
                let _ = self.empty.try_send(before.octets);
            }
            if is_due {
                self.at = Some(number);
                return Step::New;
            }
        }
    }

    /// The next that the thread has read.
    fn pull(&mut self) -> Option<Frame> {
        if self.end.is_some() {
            return None;
        }
        match self.filled.try_recv() {
            Ok(Message::Frame(frame)) => return Some(frame),
            Ok(Message::Ended(end)) => self.end = Some(end),
            Err(TryRecvError::Empty) => {}
            // It panicked.
            Err(TryRecvError::Disconnected) => self.end = Some(End::Broken),
        }
        None
    }

    #[inline]
    pub(super) fn picture(&self) -> Shown<'_> {
        let frame = self.now.as_ref().expect("it was ready");
        match frame.layout {
            Layout::Planes => Shown::Planes(Planar::new(&self.format, &frame.octets)),
            Layout::Pgroups => {
                let row_octets = self.format.row_octets() as usize;
                Shown::Pgroups(Picture::whole(&frame.octets, row_octets))
            }
        }
    }
}

/// Reads until the end, or until nobody wants frames any more.
fn read_all(
    input: &mut impl Input,
    format: &Format,
    fill: &SyncSender<Message>,
    emptied: &Receiver<Vec<u8>>,
    shared: &Shared,
) -> End {
    let mut read = || -> Result<(), Error> {
        let Some(layout) = input.layout(format, &shared.left)? else { return Ok(()) };
        let frame_octets = layout.octets(format);
        while let Ok(mut octets) = emptied.recv() {
            octets.resize(frame_octets, 0);
            let Some(number) = input.frame(shared, &mut octets)? else { break };
            if fill.try_send(Message::Frame(Frame { number, layout, octets })).is_err() {
                break;
            }
        }
        Ok(())
    };
    match read() {
        Ok(()) => input.end(),
        Err(error) => {
            tracing::error!("{error}");
            End::Broken
        }
    }
}
