//! A thread for what a shard must not wait for: writing, and comparing at length.
//!
//! ```text
//!   shard ──(so many items at most)──► thread
//!     ▲                                  │
//!     └────── the item, its memory to be used again
//! ```
//!
//! When the thread falls behind, items are not waited for: whoever offers one has it back at once,
//! and drops and counts it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};

use super::worker;

/// What a thread does with each item.
pub trait Work<T>: Send + 'static {
    /// Takes one.
    fn take(&mut self, item: &mut T);

    /// There are no more.
    fn end(&mut self) {}
}

/// The shard's end of the thread.
#[derive(Debug)]
pub struct Handoff<T> {
    items: Option<SyncSender<T>>,
    back: Receiver<T>,
    done: Arc<AtomicU64>,
    offered: u64,
}

impl<T: Send + 'static> Handoff<T> {
    /// Starts a thread of this name, for which `queued` items may wait.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub fn start(name: &str, queued: usize, mut work: impl Work<T>) -> io::Result<Self> {
        let (items, queue) = mpsc::sync_channel::<T>(queued);
        // All that are queued, one in the thread's hands, and one that was offered meanwhile.
        let (give_back, back) = mpsc::sync_channel(queued + 2);
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        worker::start(name, move || {
            while let Ok(mut item) = queue.recv() {
                work.take(&mut item);
                count.fetch_add(1, Ordering::Release);
                // Full only where nobody takes items back: then their memory is let go.
                let _ = give_back.try_send(item);
            }
            work.end();
        })?;
        Ok(Self { items: Some(items), back, done, offered: 0 })
    }

    /// Hands an item over.
    ///
    /// # Errors
    ///
    /// The item, where the thread is behind or has ended.
    pub fn offer(&mut self, item: T) -> Result<(), T> {
        let Some(items) = &self.items else { return Err(item) };
        match items.try_send(item) {
            Ok(()) => {
                self.offered += 1;
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(item),
        }
    }

    /// An item that the thread has done with.
    pub fn returned(&self) -> Option<T> {
        self.back.try_recv().ok()
    }

    /// Whether the thread has items that it has not done with.
    pub fn works(&self) -> bool {
        self.done.load(Ordering::Acquire) < self.offered
    }

    /// Takes no more items, and says whether the thread has ended. To be asked until it has; it
    /// never waits.
    pub fn finished(&mut self) -> bool {
        self.items = None;
        loop {
            // The thread's end of this channel goes away with the thread.
            match self.back.try_recv() {
                Ok(_) => {}
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};
    use std::thread;

    use super::*;

    /// Waits for leave before each item; tells what it took, and the end.
    struct Slow {
        leave: Receiver<()>,
        told: Sender<Option<u32>>,
    }

    impl Work<u32> for Slow {
        fn take(&mut self, item: &mut u32) {
            let _ = self.leave.recv();
            let _ = self.told.send(Some(*item));
            *item += 100;
        }

        fn end(&mut self) {
            let _ = self.told.send(None);
        }
    }

    #[test]
    fn a_thread_that_is_behind_holds_nobody_up_and_gives_everything_back() {
        let ((go, leave), (told, tells)) = (mpsc::channel(), mpsc::channel());
        let mut handoff = Handoff::start("slow", 2, Slow { leave, told }).unwrap();
        let taken = (0..10).filter(|&item| handoff.offer(item).is_ok()).count();
        // Two wait, and one may have been taken out of the queue meanwhile.
        assert!((2..=3).contains(&taken), "{taken}");
        assert!(handoff.works());
        for _ in 0..taken {
            go.send(()).unwrap();
        }
        let done: Vec<_> = tells.iter().take(taken).map(Option::unwrap).collect();
        assert_eq!(done, (0..).take(taken).collect::<Vec<u32>>());
        let mut back = Vec::new();
        while back.len() < taken {
            back.extend(handoff.returned());
            thread::yield_now();
        }
        assert_eq!(back, (100..).take(taken).collect::<Vec<u32>>());
        assert!(!handoff.works());
        while !handoff.finished() {
            thread::yield_now();
        }
        assert_eq!(tells.recv(), Ok(None));
        assert_eq!(handoff.offer(1), Err(1));
    }
}
