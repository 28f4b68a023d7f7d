//! Answers that go on: one thread each, until an end.

use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Answers that go on at the same time, at most. Each is a thread and what its handler keeps for it;
/// fewer, and two operators are in each other's way.
pub const STREAMS_MAX: usize = 4;

/// How long a client may leave what was written unread, before it is taken for gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What follows a first answer.
pub(super) type Stream = Box<dyn FnOnce(Connection) + Send>;

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client hung up.
    Client,
    /// The process leaves.
    Process,
}

/// A client that waits for more.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Connection {
    /// Writes all of `octets`, and waits for a client that reads slowly, but not for ever.
    ///
    /// # Errors
    ///
    /// Where the client has gone, or reads nothing.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)
    }

    /// Waits for so long, or until there is nobody to write for.
    pub fn pause(&self, time: Duration) -> Option<Ended> {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
        if self.stop.load(Ordering::Relaxed) {
            return Some(Ended::Process);
        }
        // The client has shut its own direction after the request; this is both.
        let gone = fds[0].revents().is_some_and(|it| it.contains(PollFlags::POLLHUP));
        gone.then_some(Ended::Client)
    }
}

/// The threads.
#[derive(Default)]
pub(super) struct Streams {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("threads", &self.threads.len()).finish()
    }
}

impl Streams {
    /// Whether one more may begin.
    pub(super) fn has_room(&mut self) -> bool {
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.len() < STREAMS_MAX
    }

    /// Begins one, with this client.
    pub(super) fn begin(&mut self, stream: UnixStream, more: Stream) -> io::Result<()> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let connection = Connection { stream, stop: Arc::clone(&self.stop) };
        let serve = move || {
            if catch_unwind(AssertUnwindSafe(|| more(connection))).is_err() {
                tracing::error!("a control client was being served and that panicked");
            }
        };
        self.threads.push(thread::Builder::new().name("control-stream".into()).spawn(serve)?);
        Ok(())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
