//! The answering end.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::stream::{Connection, STREAMS_MAX, Stream, Streams};
use super::{ControlError, Lock, REQUEST_MAX, os, private_directory, socket_path};
use crate::clock::monotonic_ns;

/// How long one client may take to ask, and again to take the answer. The next one waits that long
/// for a client that says nothing.
const CLIENT_NS: u64 = 1_000_000_000;

/// Octets read at once: as much as a unix socket mostly has.
const CHUNK_OCTETS: usize = 64 << 10;

/// Pause after the kernel refused a connection (too many open files), so that
/// the thread does not spin on it.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

type Handler = Box<dyn Fn(&Value) -> Result<Answer, String> + Send>;

/// What a handler made of a request.
enum Answer {
    /// This, and no more.
    Once(Value),
    /// This, and then more on the same connection.
    Stream(Value, Stream),
}

/// What can be asked, by name.
#[derive(Default)]
pub struct Handlers {
    by_command: BTreeMap<Box<str>, Handler>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_command.keys()).finish()
    }
}

impl Handlers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `command` with what `handler` makes of the whole request. It runs
    /// on the control thread, where the next client waits for it.
    ///
    /// # Panics
    ///
    /// When the command has a handler already.
    #[must_use]
    pub fn on(
        self,
        command: &str,
        handler: impl Fn(&Value) -> Result<Value, String> + Send + 'static,
    ) -> Self {
        self.insert(command, Box::new(move |request| handler(request).map(Answer::Once)))
    }

    /// As [`Self::on`], for an answer that goes on: what comes with it is called on a thread of its
    /// own, with the connection.
    ///
    /// # Panics
    ///
    /// As [`Self::on`].
    #[must_use]
    pub fn on_stream<S>(
        self,
        command: &str,
        handler: impl Fn(&Value) -> Result<(Value, S), String> + Send + 'static,
    ) -> Self
    where
        S: FnOnce(Connection) + Send + 'static,
    {
        self.insert(
            command,
            Box::new(move |request| {
                let (value, stream) = handler(request)?;
                Ok(Answer::Stream(value, Box::new(stream)))
            }),
        )
    }

    fn insert(mut self, command: &str, handler: Handler) -> Self {
        let earlier = self.by_command.insert(command.into(), handler);
        assert!(earlier.is_none(), "two handlers for {command:?}");
        self
    }

    /// The answer to one request line.
    fn answer(&self, line: &str) -> Result<Answer, String> {
        let request: Value = serde_json::from_str(line)
            .map_err(|error| format!("the request is not one line of JSON: {error}"))?;
        let Some(Value::String(command)) = request.get("command") else {
            return Err("the request has no \"command\"".into());
        };
        let Some(handler) = self.by_command.get(command.as_str()) else {
            let known: Vec<_> = self.by_command.keys().map(|name| &**name).collect();
            return Err(format!("no command {command:?}; there are: {}", known.join(", ")));
        };
        // A mistake in a handler must not end the thread, nor the process.
        catch_unwind(AssertUnwindSafe(|| handler(&request)))
            .unwrap_or_else(|_| Err(format!("{command:?} failed; the log says why")))
    }
}

/// The socket and its thread. Dropping it ends the thread and removes the
/// socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    /// Last, so that the name is free only when the socket is gone.
    _lock: Lock,
}

impl Server {
    /// Takes the name `instance` in `directory` and answers there.
    ///
    /// # Errors
    ///
    /// When a living process has the name, the directory is open to others, or
    /// the system refuses a file, socket or thread.
    pub fn start(
        directory: &Path,
        instance: &str,
        handlers: Handlers,
    ) -> Result<Self, ControlError> {
        let path = socket_path(directory, instance)?;
        private_directory(directory)?;
        let lock = Lock::take(directory, instance)?;
        // The name is ours: a socket found here is left from a dead process.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(os("removing the old socket", &path)(error));
            }
            _ => (),
        }
        let listener = UnixListener::bind(&path).map_err(os("listening at", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(os("protecting", &path))?;
        listener.set_nonblocking(true).map_err(os("listening at", &path))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)
            .map_err(|errno| os("making an eventfd for", &path)(errno.into()))?;
        let stop = Arc::new(stop);
        let thread = thread::Builder::new().name("control".into()).spawn({
            let stop = Arc::clone(&stop);
            move || serve(&listener, &stop, &handlers)
        });
        let thread = thread.map_err(os("starting the thread for", &path))?;
        Ok(Self { path, stop, thread: Some(thread), _lock: lock })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Removed first: who asks now finds nobody instead of waiting in vain.
        let _ = fs::remove_file(&self.path);
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's loop: wait for a client or the end, serve the client.
fn serve(listener: &UnixListener, stop: &EventFd, handlers: &Handlers) {
    // Told to end and waited for when this returns.
    let mut streams = Streams::default();
    loop {
        let mut fds = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        // Interrupted by a signal: look again.
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[1].any().unwrap_or(true) {
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = serve_one(stream, handlers, &mut streams) {
                    tracing::debug!(%error, "a control client went away");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => {
                tracing::warn!(%error, "a control client could not be accepted");
                thread::sleep(REFUSED_PAUSE);
            }
        }
    }
}

/// One request, one answer, and what follows it.
fn serve_one(mut stream: UnixStream, handlers: &Handlers, streams: &mut Streams) -> io::Result<()> {
    let deadline_ns = monotonic_ns() + CLIENT_NS;
    stream.set_nonblocking(false)?;
    let answer = if allowed(&stream)? {
        let line = read_line(&mut stream, deadline_ns)?;
        line.map_err(str::to_owned).and_then(|line| handlers.answer(&line))
    } else {
        Err("only the owner of this process and root may ask".into())
    };
    // The handler may have taken longer than a client may.
    stream.set_write_timeout(Some(Duration::from_nanos(CLIENT_NS)))?;
    let (answer, more) = match answer.and_then(|answer| streams.admit(answer)) {
        Ok((value, more)) => (json!({ "ok": value }), more),
        Err(message) => (json!({ "error": message }), None),
    };
    stream.write_all(format!("{answer}\n").as_bytes())?;
    match more {
        Some(more) => streams.begin(stream, more),
        None => Ok(()),
    }
}

impl Streams {
    /// What is to be said, and what is to follow, where there is room for it.
    fn admit(&mut self, answer: Answer) -> Result<(Value, Option<Stream>), String> {
        match answer {
            Answer::Once(value) => Ok((value, None)),
            Answer::Stream(value, more) => match self.has_room() {
                true => Ok((value, Some(more))),
                false => Err(format!(
                    "{STREAMS_MAX} clients are being served such answers; end one of them first"
                )),
            },
        }
    }
}

/// Whether the peer may ask.
fn allowed(stream: &UnixStream) -> io::Result<bool> {
    let peer = getsockopt(stream, PeerCredentials)?.uid();
    Ok(may_ask(peer, geteuid().as_raw()))
}

/// Our own user may, and root.
const fn may_ask(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Reads up to the line's end, or the stream's. The inner error is the client's
/// mistake.
fn read_line(
    stream: &mut UnixStream,
    deadline_ns: u64,
) -> io::Result<Result<String, &'static str>> {
    let mut line = Vec::new();
    let mut chunk = vec![0; CHUNK_OCTETS];
    loop {
        stream.set_read_timeout(Some(remaining(deadline_ns)?))?;
        let read = stream.read(&mut chunk)?;
        line.extend_from_slice(&chunk[..read]);
        if line.len() > REQUEST_MAX {
            return Ok(Err("the request is too long"));
        }
        if read == 0 || chunk[..read].contains(&b'\n') {
            break;
        }
    }
    Ok(String::from_utf8(line).map_err(|_| "the request is not UTF-8"))
}

/// The time that a client has left; an error when there is none.
fn remaining(deadline_ns: u64) -> io::Result<Duration> {
    match deadline_ns.saturating_sub(monotonic_ns()) {
        0 => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left_ns => Ok(Duration::from_nanos(left_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_and_root_may_ask_and_nobody_else() {
        assert!(may_ask(1_000, 1_000));
        assert!(may_ask(0, 1_000));
        assert!(!may_ask(1_001, 1_000));
        assert!(!may_ask(1_000, 0));
    }

    #[test]
    #[should_panic(expected = "two handlers for \"stats\"")]
    fn a_command_has_one_handler() {
        let _ = Handlers::new().on("stats", |_| Ok(Value::Null)).on("stats", |_| Ok(Value::Null));
    }
}
