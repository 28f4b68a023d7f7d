//! The task that the watchdog wakes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::{Entry, lock};

/// Does nothing but to be woken; ends when its shard's registration is dropped.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Heartbeat {
    entry: Arc<Entry>,
    /// What the watchdog has; a task's waker stays the same, so the lock is taken
    /// once.
    given: Option<Waker>,
}

impl Heartbeat {
    pub(super) const fn new(entry: Arc<Entry>) -> Self {
        Self { entry, given: None }
    }
}

impl Future for Heartbeat {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.entry.closed.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        self.entry.answered.store(true, Ordering::Relaxed);
        if !self.given.as_ref().is_some_and(|given| given.will_wake(cx.waker())) {
            self.given = Some(cx.waker().clone());
            *lock(&self.entry.waker) = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
