//! How other programs ask this process something: a unix socket.
//!
//! ```text
//!   tidegate stats ──{"command":"stats"}\n──► /run/tidegate/NAME.sock ──► handler
//!                  ◄──{"ok":{...}}\n─────────
//! ```
//!
//! One line of JSON each way, then the connection ends. The answer is
//! `{"ok": value}` or `{"error": "text"}`.
//!
//! **Who may ask.** The directory is 0700, the socket 0600, and each peer's user
//! is checked (SO_PEERCRED): the owner of this process, and root.
//!
//! **One process per name.** The right to a name is a lock on `NAME.lock`, held
//! while the process lives; the kernel gives it back however the process ends.
//! Who holds the lock may remove a socket that is left from before, so
//! `kill -9` needs no cleaning up, and two processes that start at once cannot
//! both win.
//!
//! One thread serves one client at a time; more wait in the socket's backlog. A
//! client has a second to say what it wants and one to take the answer; what the
//! handler does in between is its own affair. Nothing here touches a shard:
//! handlers read what shards published, or send them messages.
//!
//! **What goes on.** A handler may answer and keep the connection
//! ([`Handlers::on_stream`]): then it has a thread of its own, of which there are
//! [`STREAMS_MAX`], until it ends, the client hangs up or the process leaves.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{env, error, fmt};

use nix::unistd::geteuid;

mod client;
mod server;
mod stream;

pub use client::{request, request_stream, request_with};
pub use server::{Handlers, Server};
pub use stream::{Connection, Ended, STREAMS_MAX};

/// Octets in the longest request line: what a service is told may be large, as a list of 100,000
/// prefixes is. One is in memory at a time.
const REQUEST_MAX: usize = 16 << 20;
/// Octets in the longest answer: 128 shards with many services stay far below.
const ANSWER_MAX: usize = 16 << 20;
/// Octets in the longest name of an instance. `sun_path` has 108 in all.
const INSTANCE_MAX: usize = 32;

/// What can go wrong on either end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// The instance's name cannot be a file name.
    BadName {
        /// The name.
        instance: Box<str>,
    },
    /// The directory is not ours alone, so others could play the socket.
    Exposed {
        /// The directory.
        path: Box<Path>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A living process has this name.
    Running {
        /// The name.
        instance: Box<str>,
        /// The process, where it had the time to say.
        pid: Option<u32>,
    },
    /// No living process has this name.
    NotRunning {
        /// The name.
        instance: Box<str>,
        /// Where its socket would be.
        path: Box<Path>,
    },
    /// The process belongs to somebody else.
    Denied {
        /// The name.
        instance: Box<str>,
    },
    /// The process understood and said no.
    Remote {
        /// In its words.
        message: Box<str>,
    },
    /// The answer is none.
    Garbled {
        /// What is wrong with it.
        why: Box<str>,
    },
    /// A system call failed.
    Os {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: Box<Path>,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { instance } => write!(
                f,
                "{instance:?} cannot name an instance; \
                 allowed are 1 to {INSTANCE_MAX} of a-z, A-Z, 0-9, - and _"
            ),
            Self::Exposed { path, why } => write!(
                f,
                "{} {why}, so others could answer in this program's place; \
                 remove it and start again",
                path.display()
            ),
            Self::Running { instance, pid: Some(pid) } => write!(
                f,
                "instance {instance:?} runs already, as process {pid}; \
                 stop that one or choose another name"
            ),
            Self::Running { instance, pid: None } => write!(
                f,
                "instance {instance:?} is being started by another process; \
                 stop that one or choose another name"
            ),
            Self::NotRunning { instance, path } => write!(
                f,
                "no tidegate runs as instance {instance:?} (nobody answers at {}); \
                 start it with `tidegate run --config FILE`",
                path.display()
            ),
            Self::Denied { instance } => {
                write!(f, "instance {instance:?} belongs to another user; ask as that user or root")
            }
            Self::Remote { message } => f.write_str(message),
            Self::Garbled { why } => write!(f, "the answer cannot be read: {why}"),
            Self::Os { what, path, .. } => write!(f, "{what} {} failed", path.display()),
        }
    }
}

impl error::Error for ControlError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Where sockets are: `/run/tidegate` for root, else `$XDG_RUNTIME_DIR/tidegate`,
/// else `/tmp/tidegate-UID`.
pub fn directory() -> PathBuf {
    let user = geteuid();
    if user.is_root() {
        return "/run/tidegate".into();
    }
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !directory.is_empty() => Path::new(&directory).join("tidegate"),
        _ => format!("/tmp/tidegate-{user}").into(),
    }
}

/// The socket of `instance` in `directory`.
///
/// # Errors
///
/// [`ControlError::BadName`].
pub fn socket_path(directory: &Path, instance: &str) -> Result<PathBuf, ControlError> {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    if (1..=INSTANCE_MAX).contains(&instance.len()) && instance.bytes().all(allowed) {
        Ok(directory.join(format!("{instance}.sock")))
    } else {
        Err(ControlError::BadName { instance: instance.into() })
    }
}

/// The instance whose socket this is.
fn instance_of(path: &Path) -> Box<str> {
    path.file_stem().map_or_else(|| "?".into(), |stem| stem.to_string_lossy().into())
}

/// Makes an error of a system call on `path`.
fn os(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ControlError {
    move |source| ControlError::Os { what, path: path.into(), source }
}

/// Makes the directory, or checks that it is ours alone.
///
/// # Errors
///
/// [`ControlError::Exposed`] where it is not, [`ControlError::Os`] where it cannot be had.
pub fn private_directory(path: &Path) -> Result<(), ControlError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
        Err(error) => return Err(os("making the directory", path)(error)),
    }
    let exposed = |why| Err(ControlError::Exposed { path: path.into(), why });
    // Not following a link: somebody else could have put it there.
    let found = fs::symlink_metadata(path).map_err(os("looking at", path))?;
    if !found.is_dir() {
        exposed("is not a directory")
    } else if found.uid() != geteuid().as_raw() {
        exposed("belongs to another user")
    } else if found.mode() & 0o077 != 0 {
        exposed("is open to other users")
    } else {
        Ok(())
    }
}

/// The right to a name, while it lives.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    /// Locked.
    _file: File,
}

/// Times that a lock file may vanish between being opened and being locked,
/// because the process that had it is just leaving.
const LOCK_ATTEMPTS: u32 = 10;

impl Lock {
    fn take(directory: &Path, instance: &str) -> Result<Self, ControlError> {
        let path = directory.join(format!("{instance}.lock"));
        let options =
            || File::options().read(true).write(true).create(true).truncate(false).to_owned();
        for _ in 0..LOCK_ATTEMPTS {
            let mut file = options().open(&path).map_err(os("opening", &path))?;
            match file.try_lock() {
                Ok(()) => (),
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let _ = file.read_to_string(&mut text);
                    let pid = text.trim().parse().ok();
                    return Err(ControlError::Running { instance: instance.into(), pid });
                }
                Err(TryLockError::Error(error)) => return Err(os("locking", &path)(error)),
            }
            // The file may have been removed before it was locked; then the lock
            // says nothing, for others lock the file that is there now.
            let locked = file.metadata().map_err(os("looking at", &path))?;
            if fs::metadata(&path).is_ok_and(|there| there.ino() == locked.ino()) {
                let pid = format!("{}\n", std::process::id());
                file.set_len(0).map_err(os("writing", &path))?;
                file.write_all(pid.as_bytes()).map_err(os("writing", &path))?;
                return Ok(Self { path, _file: file });
            }
        }
        Err(ControlError::Running { instance: instance.into(), pid: None })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so it is ours that is removed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
