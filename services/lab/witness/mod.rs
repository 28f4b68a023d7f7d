//! Witnesses: ordinary programs with ordinary kernel sockets, who say what the
//! kernel really delivered.
//!
//! Whatever the program under test reports of itself, a request that a kernel
//! socket answered has passed it, and one that no socket saw has not. Each
//! witness is a thread with a socket inside a namespace, and speaks at any time
//! through its [`Testimony`].

pub mod tcp;
pub mod udp;

use std::io;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{LabError, Namespace};

/// How often a witness that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// What a witness saw so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Messages sent: questions by one who asks, answers by one who serves.
    pub sent: u64,
    /// Messages that came and were as they should be.
    pub delivered: u64,
    /// Octets of those.
    pub delivered_octets: u64,
    /// Messages that came again.
    pub duplicate: u64,
    /// Messages that came and were nothing that this witness had asked for.
    pub wrong: u64,
    /// The longest wait for an answer, in nanoseconds.
    pub round_trip_ns_max: u64,
}

/// The same, written by the witness while others read.
#[derive(Debug, Default)]
struct Notes {
    sent: AtomicU64,
    delivered: AtomicU64,
    delivered_octets: AtomicU64,
    duplicate: AtomicU64,
    wrong: AtomicU64,
    round_trip_ns_max: AtomicU64,
}

impl Notes {
    fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn delivered(&self, octets: usize) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.delivered_octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    fn waited(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.round_trip_ns_max.fetch_max(ns, Ordering::Relaxed);
    }

    fn read(&self) -> Testimony {
        Testimony {
            sent: self.sent.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            delivered_octets: self.delivered_octets.load(Ordering::Relaxed),
            duplicate: self.duplicate.load(Ordering::Relaxed),
            wrong: self.wrong.load(Ordering::Relaxed),
            round_trip_ns_max: self.round_trip_ns_max.load(Ordering::Relaxed),
        }
    }
}

/// What a witness works with: where it writes, and whether to go on.
#[derive(Clone, Debug, Default)]
struct Post {
    notes: Arc<Notes>,
    stop: Arc<AtomicBool>,
}

impl Post {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A witness at work. Dropping it ends it.
#[derive(Debug)]
pub struct Witness {
    post: Post,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Witness {
    fn start(
        namespace: &Namespace,
        name: &str,
        work: impl FnOnce(&Post) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, LabError> {
        let post = Post::default();
        let own = post.clone();
        let thread = namespace.spawn_thread(name, move || work(&own))?;
        Ok(Self { post, thread: Some(thread) })
    }

    /// What it saw so far.
    pub fn testimony(&self) -> Testimony {
        self.post.notes.read()
    }

    /// Ends it and gives its last word.
    ///
    /// # Errors
    ///
    /// Where its socket failed.
    pub fn stop(self) -> Result<Testimony, LabError> {
        self.post.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until it has done what it was asked to, and gives its last word. A
    /// server does not end by itself. A panic of its thread goes on here.
    ///
    /// # Errors
    ///
    /// Where its socket failed.
    pub fn wait(mut self) -> Result<Testimony, LabError> {
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
            outcome.map_err(|source| LabError::os("hear a witness out", source))?;
        }
        Ok(self.testimony())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.post.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure or panic belongs to the one who drops it unheard.
            let _ = thread.join();
        }
    }
}

/// Whether a wait on a socket ended without anything.
fn nothing_came(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
