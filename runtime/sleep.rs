//! How a shard's thread sleeps, and by what it is woken.
//!
//! ```text
//!   XSK of each port ─┐ (only while asleep)
//!   mail ─────────────┼─► epoll ─┬─► epoll_wait: the thread sleeps in the kernel
//!   wakers, drain ────┤          └─► the executor's own ring, where a service awaits I/O of its own
//!   next deadline ────┘ timerfd
//! ```
//!
//! One file descriptor, whatever the shard waits for. The thread waits for it itself: one call, and
//! a deadline is met within tens of microseconds. In the executor's ring the same takes seven to nine
//! calls, and the executor parks with the woken task still in its queue so often that one deadline in
//! ten was over a millisecond late, until the watchdog's beat (see there). Only where a service
//! awaits what the executor has to bring does the shard sleep there.
//!
//! The sockets are in the epoll set only during the sleep. Left in it, every packet that is sent or
//! received takes the set's lock to find that nobody waits: 165 ns a packet on a busy sender.
//!
//! The order that loses no wake-up: say that the shard sleeps, look once more at everything that
//! has no file descriptor, then wait. What has one is readable and ends the wait at once.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{error, fmt};

use glommio::io::PollableFd;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::mailbox::Mailbox;
use crate::shard::Shard;
use crate::wake::Unpark;

/// A deadline closer than this is waited for awake.
///
/// The kernel wakes the thread some tens of microseconds after its timer. Tried on a paced 1080p50
/// sender, groups 71 us apart, alone on its core: 45 us left 12 groups late in 8 s, 100 us, at which
/// it never sleeps within a frame, 25. Lower and groups go out late after each sleep; higher and a
/// paced sender keeps a core that it does not need.
pub(crate) const AWAKE_NS: u64 = 45_000;

/// A call that a sleeping shard needs, and that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepError {
    call: &'static str,
    errno: Errno,
}

impl fmt::Display for SleepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.call, self.errno.desc())?;
        if matches!(self.errno, Errno::EMFILE | Errno::ENFILE) {
            f.write_str("; raise the limit with `ulimit -n`")?;
        }
        Ok(())
    }
}

impl error::Error for SleepError {}

fn failed(call: &'static str) -> impl Fn(Errno) -> SleepError {
    move |errno| SleepError { call, errno }
}

/// Where to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In epoll_wait(2): nothing else runs on this thread.
    Kernel,
    /// In the executor's ring, whose own completions then wake it too.
    Executor,
}

/// What one shard sleeps on.
pub(crate) struct Sleeper {
    epoll: Epoll,
    /// The same set, as the executor's ring watches it.
    ring: PollableFd<OwnedFd>,
    /// The ports' sockets. Duplicates, so they are to be dropped before the shard's queues are
    /// expected to be free again.
    sockets: Vec<OwnedFd>,
    timer: TimerFd,
    unpark: Arc<Unpark>,
}

impl Sleeper {
    /// On the thread of the executor that will sleep.
    pub(crate) fn new<M>(
        shard: &Shard,
        mailbox: &Mailbox<M>,
        unpark: &Arc<Unpark>,
    ) -> Result<Self, SleepError> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(failed("timerfd_create"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll_create1"))?;
        let event = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
        let add = failed("epoll_ctl(EPOLL_CTL_ADD)");
        epoll.add(&timer, event()).map_err(&add)?;
        epoll.add(&*mailbox.eventfd(), event()).map_err(&add)?;
        if let Some(eventfd) = unpark.eventfd() {
            epoll.add(eventfd, event()).map_err(&add)?;
        }
        let mut sockets = Vec::new();
        let mut result = Ok(());
        shard.each_fd(|fd| match fd.try_clone_to_owned() {
            Ok(socket) => sockets.push(socket),
            Err(_) => result = Err(SleepError { call: "dup", errno: Errno::last() }),
        });
        result?;
        let reactor = SleepError { call: "the executor's reactor", errno: Errno::EINVAL };
        let watched = epoll.0.try_clone().map_err(|_| reactor)?;
        let ring = PollableFd::new(watched).map_err(|_| reactor)?;
        Ok(Self { epoll, ring, sockets, timer, unpark: Arc::clone(unpark) })
    }

    /// Sleeps until something happens or `deadline_ns` is near. `nothing_to_do` is asked once
    /// more after everyone has been told to wake us.
    pub(crate) async fn sleep<M>(
        &mut self,
        place: Place,
        mailbox: &mut Mailbox<M>,
        deadline_ns: u64,
        mut nothing_to_do: impl FnMut() -> bool,
    ) {
        self.set_timer(deadline_ns);
        self.unpark.prepare_sleep();
        if mailbox.arm(None) {
            // An error leaves the shard awake, which is safe if not thrifty.
            if nothing_to_do() && self.watch_sockets() {
                match place {
                    Place::Kernel => self.wait_here(),
                    Place::Executor => {
                        let _ = self.ring.readable().await;
                    }
                }
            }
            self.forget_sockets();
            mailbox.disarm();
        }
        self.unpark.awake();
    }

    /// The executor's preemption timer, armed before, interrupts the call once when it fires; gone
    /// back to, the executor would arm it again, and an idle shard wake every millisecond.
    fn wait_here(&self) {
        let mut events = [EpollEvent::empty()];
        while self.epoll.wait(&mut events, EpollTimeout::NONE) == Err(Errno::EINTR) {}
    }

    /// A socket that is readable already ends the wait at once: epoll asks it when it is added.
    fn watch_sockets(&self) -> bool {
        let event = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
        self.sockets.iter().all(|socket| self.epoll.add(socket, event()).is_ok())
    }

    fn forget_sockets(&self) {
        for socket in &self.sockets {
            // One that could not be added is not there to be removed.
            let _ = self.epoll.delete(socket);
        }
    }

    /// The timer goes off a little before the deadline: the rest is waited for awake.
    fn set_timer(&self, deadline_ns: u64) {
        const SECOND_NS: u64 = 1_000_000_000;
        // 0 would disarm it; 1 ns after boot is long past.
        let at_ns = deadline_ns.saturating_sub(AWAKE_NS).max(1);
        let seconds = i64::try_from(at_ns / SECOND_NS).unwrap_or(i64::MAX);
        let nanoseconds = i64::try_from(at_ns % SECOND_NS).expect("below a second");
        let at = Expiration::OneShot(TimeSpec::new(seconds, nanoseconds));
        // Setting it also takes back an expiration that nobody has read. It fails only for times
        // that are none.
        let _ = self.timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_call_failed_and_what_helps() {
        let error = failed("epoll_create1")(Errno::EMFILE);
        assert_eq!(
            error.to_string(),
            "epoll_create1 failed: Too many open files; raise the limit with `ulimit -n`"
        );
        let error = failed("timerfd_create")(Errno::ENOMEM);
        assert_eq!(error.to_string(), "timerfd_create failed: Out of memory");
    }
}
