//! Messages into a shard, from any thread.
//!
//! ```text
//!   Sender ──try_send──► bounded queue ──take──► shard, once per turn
//!      └── if the shard is asleep: eventfd (and its waker)
//! ```
//!
//! For control only; packets never cross shards. A sender never waits: a full
//! queue and a shard that left are errors at once. The shard looks at the queue
//! in each turn, and before it sleeps it *arms* the mailbox and looks once more;
//! a sender that finds the mailbox armed writes the eventfd. So a busy shard
//! costs its senders no system call.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::{error, fmt, io};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// The shard's end.
pub struct Mailbox<M> {
    queue: Receiver<M>,
    /// Found by the look after arming; the first to be taken.
    early: Option<M>,
    bell: Arc<Bell>,
}

/// Everybody else's end.
pub struct Sender<M> {
    queue: SyncSender<M>,
    bell: Arc<Bell>,
    capacity: u32,
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        let (queue, bell) = (self.queue.clone(), Arc::clone(&self.bell));
        Self { queue, bell, capacity: self.capacity }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("bell", &self.bell).finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// How a sleeping shard is woken.
#[derive(Debug)]
struct Bell {
    armed: AtomicBool,
    eventfd: Arc<EventFd>,
    waker: Mutex<Option<Waker>>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many messages wait as the mailbox holds.
    Full {
        /// Messages that the mailbox holds.
        capacity: u32,
    },
    /// The shard has left.
    Gone,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => {
                write!(f, "the mailbox is full: {capacity} messages wait to be read")
            }
            Self::Gone => f.write_str("the shard has left"),
        }
    }
}

impl error::Error for Refused {}

/// Both ends of a mailbox for `capacity` messages.
///
/// # Errors
///
/// When the system grants no eventfd (too many open files).
///
/// # Panics
///
/// When `capacity` is 0: such a queue would make senders wait.
pub fn mailbox<M>(capacity: u32) -> io::Result<(Sender<M>, Mailbox<M>)> {
    assert!(capacity > 0, "a mailbox for no messages");
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let eventfd = Arc::new(EventFd::from_flags(flags)?);
    let bell = Arc::new(Bell { armed: AtomicBool::new(false), eventfd, waker: Mutex::default() });
    let (sender, receiver) = sync_channel(capacity as usize);
    let sender = Sender { queue: sender, bell: Arc::clone(&bell), capacity };
    Ok((sender, Mailbox { queue: receiver, early: None, bell }))
}

impl<M> Sender<M> {
    /// Puts `message` into the mailbox, and wakes the shard if it sleeps.
    ///
    /// # Errors
    ///
    /// The message comes back with the reason.
    pub fn try_send(&self, message: M) -> Result<(), (M, Refused)> {
        match self.queue.try_send(message) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(message)) => {
                Err((message, Refused::Full { capacity: self.capacity }))
            }
            Err(TrySendError::Disconnected(message)) => Err((message, Refused::Gone)),
        }
    }
}

impl Bell {
    fn ring(&self) {
        // Pairs with the fence in `arm`: of "the message is in the queue" and
        // "the mailbox is armed", each written by one side before its fence, at
        // least one is seen by the other side after its own.
        fence(Ordering::SeqCst);
        if !self.armed.load(Ordering::Relaxed) || !self.armed.swap(false, Ordering::Relaxed) {
            return;
        }
        // It can fail only at 2^64 - 1 unread writes.
        let _ = self.eventfd.write(1);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<M> Mailbox<M> {
    /// The next message, if there is one. A few nanoseconds when there is none.
    pub fn take(&mut self) -> Option<M> {
        if let Some(message) = self.early.take() {
            return Some(message);
        }
        // Without senders it is just empty: no reason for a shard to leave.
        self.queue.try_recv().ok()
    }

    /// Asks to be woken by the next message: its sender makes
    /// [`Mailbox::eventfd`] readable and wakes `waker`. False when a message is
    /// there already; then the shard stays awake.
    #[must_use = "false means that a message waits: do not sleep"]
    pub fn arm(&mut self, waker: Option<&Waker>) -> bool {
        *self.bell.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker.cloned();
        self.bell.armed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
        self.early = self.take();
        if self.early.is_some() {
            self.disarm();
        }
        self.early.is_none()
    }

    /// Undoes [`Mailbox::arm`], after any sleep.
    pub fn disarm(&mut self) {
        self.bell.armed.store(false, Ordering::Relaxed);
        // Whether it was rung or not (EAGAIN), it is silent now. A sender that
        // rings after this leaves it readable: one sleep ends early.
        let _ = self.bell.eventfd.read();
    }

    /// Readable when a sender woke the shard; read by [`Mailbox::disarm`] alone.
    pub fn eventfd(&self) -> Arc<EventFd> {
        Arc::clone(&self.bell.eventfd)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// Whether the eventfd becomes readable within `timeout_ms`.
    fn rung<M>(mailbox: &Mailbox<M>, timeout_ms: u16) -> bool {
        let eventfd = mailbox.eventfd();
        let mut fds = [PollFd::new(eventfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(timeout_ms)).unwrap() == 1
    }

    #[test]
    fn keeps_order_and_refuses_one_too_many() {
        let (sender, mut mailbox) = mailbox(2).unwrap();
        sender.try_send(1).unwrap();
        sender.clone().try_send(2).unwrap();
        assert_eq!(sender.try_send(3), Err((3, Refused::Full { capacity: 2 })));
        assert_eq!(mailbox.take(), Some(1));
        sender.try_send(4).unwrap();
        assert_eq!([mailbox.take(), mailbox.take(), mailbox.take()], [Some(2), Some(4), None]);
    }

    #[test]
    fn says_what_was_refused() {
        let full = Refused::Full { capacity: 2 };
        assert_eq!(full.to_string(), "the mailbox is full: 2 messages wait to be read");
        assert_eq!(Refused::Gone.to_string(), "the shard has left");
    }

    #[test]
    fn a_shard_that_left_takes_nothing() {
        let (sender, mailbox) = mailbox(2).unwrap();
        drop(mailbox);
        assert_eq!(sender.try_send(1), Err((1, Refused::Gone)));
    }

    #[test]
    fn a_mailbox_without_senders_is_just_empty() {
        let (sender, mut mailbox) = mailbox(1).unwrap();
        sender.try_send(1).unwrap();
        drop(sender);
        assert_eq!([mailbox.take(), mailbox.take()], [Some(1), None]);
        assert!(mailbox.arm(None));
    }

    #[test]
    fn only_an_armed_mailbox_rings_and_only_once() {
        #[derive(Default)]
        struct Count(AtomicU32);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wakes = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let (sender, mut mailbox) = mailbox(4).unwrap();
        sender.try_send(1).unwrap();
        assert!(!rung(&mailbox, 0), "the shard is busy");
        assert!(!mailbox.arm(Some(&waker)), "a message waits");
        assert_eq!(mailbox.take(), Some(1));
        assert!(mailbox.arm(Some(&waker)));
        sender.try_send(2).unwrap();
        sender.try_send(3).unwrap();
        assert!(rung(&mailbox, 0));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        mailbox.disarm();
        assert!(!rung(&mailbox, 0));
        assert_eq!([mailbox.take(), mailbox.take()], [Some(2), Some(3)]);
    }

    #[test]
    fn no_message_finds_the_shard_asleep_for_good() {
        const COUNT: u32 = 20_000;
        let (sender, mut mailbox) = mailbox(8).unwrap();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for n in 0..COUNT {
                        while sender.try_send(n).is_err() {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut taken = 0;
        let mut slept = 0;
        while taken < 2 * COUNT {
            if mailbox.take().is_some() {
                taken += 1;
            } else if mailbox.arm(None) {
                slept += 1;
                assert!(rung(&mailbox, 5_000), "asleep with {taken} taken and {slept} sleeps");
                mailbox.disarm();
            }
        }
        assert!(slept > 0, "the test slept never, so it tested nothing");
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(mailbox.take(), None);
    }

    #[test]
    fn does_what_a_queue_does_for_random_operations() {
        const CAPACITY: usize = 5;
        let (sender, mut mailbox) = mailbox(5).unwrap();
        let mut model = VecDeque::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for n in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match random % 5 {
                0 | 1 if model.len() < CAPACITY => {
                    sender.try_send(n).unwrap();
                    model.push_back(n);
                }
                2 => {
                    assert_eq!(mailbox.arm(None), model.is_empty());
                    mailbox.disarm();
                }
                _ => assert_eq!(mailbox.take(), model.pop_front()),
            }
        }
    }
}
