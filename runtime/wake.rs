//! How anyone, on any thread, gets a sleeping shard or a waiting service going again.
//!
//! ```text
//!   Waker of a service ──► woken = true ──► Unpark ──(only if the shard sleeps)──► eventfd ──► epoll
//!   mail, drain        ────────────────────────┘
//! ```
//!
//! What the shard itself brings about (a burst, a timer, room in the TX ring) does not pass here:
//! it sets a plain flag in the shard's own memory. This file is for what comes from outside, and
//! a shard that is busy pays one relaxed load per service and turn for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Wake;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes one shard. Shared by all who may want to.
///
/// The race between "nothing to do, sleep" and "here is something" is closed by order: the
/// sleeper says so and then looks again; the waker leaves its message and then asks whether
/// someone sleeps. With a fence between the two steps on either side, at least one sees the other.
#[derive(Debug)]
pub struct Unpark {
    sleeping: AtomicBool,
    /// Absent where nobody ever sleeps: a shard on `sim` is turned by hand.
    eventfd: Option<EventFd>,
}

impl Unpark {
    /// For a shard that sleeps on [`Unpark::eventfd`].
    ///
    /// # Errors
    ///
    /// The process has no file descriptor left.
    pub fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self { sleeping: AtomicBool::new(false), eventfd: Some(eventfd) })
    }

    /// For a shard that never sleeps.
    pub const fn never_asleep() -> Self {
        Self { sleeping: AtomicBool::new(false), eventfd: None }
    }

    /// What the shard sleeps on. Readable once it was woken.
    pub const fn eventfd(&self) -> Option<&EventFd> {
        self.eventfd.as_ref()
    }

    /// Says that the shard is about to sleep. It looks for work once more after this call.
    pub fn prepare_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake`: either it sees `sleeping`, or the sleeper's next look
        // sees what was left for it before.
        fence(Ordering::SeqCst);
    }

    /// Says that the shard is awake, and takes back what woke it.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        if let Some(eventfd) = &self.eventfd {
            // EAGAIN: something else woke it. Nothing else can go wrong with a counter we own.
            let _ = eventfd.read();
        }
    }

    /// Wakes the shard if it sleeps. Call after the message was left where it looks.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed)
            && let Some(eventfd) = &self.eventfd
        {
            // EAGAIN: 2^64 - 2 wakes are pending, so it will wake.
            let _ = eventfd.write(1);
        }
    }
}

/// The waker of one service.
#[derive(Debug)]
pub(crate) struct ServiceWaker {
    woken: AtomicBool,
    unpark: Arc<Unpark>,
}

impl ServiceWaker {
    pub(crate) fn new(unpark: Arc<Unpark>) -> Arc<Self> {
        Arc::new(Self { woken: AtomicBool::new(false), unpark })
    }

    /// Whether the service was woken since the last call.
    ///
    /// A load where nothing happened, so that a turn pays no read-modify-write for it.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }

    /// Whether the service was woken, leaving it so.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }
}

impl Wake for ServiceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what the waker prepared is visible to the service that is polled for it.
        self.woken.store(true, Ordering::Release);
        self.unpark.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_busy_shard_is_not_bothered_by_a_system_call() {
        let unpark = Unpark::new().unwrap();
        unpark.wake();
        assert_eq!(unpark.eventfd().unwrap().read(), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_sleeping_shard_is_woken_once_it_said_so() {
        let unpark = Unpark::new().unwrap();
        unpark.prepare_sleep();
        unpark.wake();
        assert_eq!(unpark.eventfd().unwrap().read(), Ok(1));
        unpark.wake();
        unpark.awake();
        assert_eq!(unpark.eventfd().unwrap().read(), Err(Errno::EAGAIN), "taken back");
    }

    #[test]
    fn waking_a_service_marks_it_and_unparks_its_shard() {
        let unpark = Arc::new(Unpark::new().unwrap());
        let woken = ServiceWaker::new(Arc::clone(&unpark));
        unpark.prepare_sleep();
        let waker = Waker::from(Arc::clone(&woken));
        assert!(!woken.take());
        std::thread::spawn(move || waker.wake()).join().unwrap();
        assert!(woken.take());
        assert!(!woken.take(), "taken once");
        assert_eq!(unpark.eventfd().unwrap().read(), Ok(1));
    }
}
