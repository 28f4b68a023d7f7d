//! Threads beside the shards: they wait for disks and pipes, so that no shard does.

use std::io;
use std::thread::{self, JoinHandle};

use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Milliseconds after which a thread that waits for a pipe looks whether it is still wanted. Longer
/// and it outlives its service for as long; shorter and it wakes up for nothing.
pub(super) const LOOK_MS: u16 = 50;

/// Starts a thread that is not bound to the CPU of the shard that starts it.
///
/// # Errors
///
/// When there is no thread to be had.
pub(super) fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.into());
    thread.spawn(move || {
        leave_the_shards_cpu();
        work();
    })
}

/// A thread is born on the CPUs of the one that starts it, here a shard's only one: the two would
/// take turns there, and frames be dropped while another CPU is idle. So it goes to all those of
/// the process, which its first thread has.
pub(super) fn leave_the_shards_cpu() {
    let moved =
        sched_getaffinity(Pid::this()).and_then(|cpus| sched_setaffinity(Pid::from_raw(0), &cpus));
    if let Err(error) = moved {
        tracing::warn!(%error, "a thread of the stream shares its shard's CPU");
    }
}
