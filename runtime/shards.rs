//! Work for another shard, and its answer.
//!
//! [`Shards::submit_to`] sends a closure to a shard, which runs it on its own
//! data between two turns and sends back what it returned. What crosses is
//! `Send`; what the closure sees (`L`, the shard's own) need not be, and never
//! leaves. That is the only way to another shard's data: there is none shared.
//!
//! Nothing here waits unless asked to: a [`Reply`] is a future for shards, and
//! [`Reply::wait`] is for plain threads.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{error, fmt, io};

use crate::mailbox::{Mailbox, Refused, Sender, mailbox};

/// What a shard runs on its own data `L`.
pub type Message<L> = Box<dyn FnOnce(&mut L) + Send>;

/// Every shard of the process. Clone and send freely.
#[derive(Debug)]
pub struct Shards<L> {
    senders: Arc<[Sender<Message<L>>]>,
}

impl<L> Clone for Shards<L> {
    fn clone(&self) -> Self {
        Self { senders: Arc::clone(&self.senders) }
    }
}

/// Why a shard was not given the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// There is no such shard.
    NoShard {
        /// As asked for.
        shard: u32,
        /// Shards there are.
        count: u32,
    },
    /// Its mailbox is full, or it has left.
    Refused {
        /// As asked for.
        shard: u32,
        /// Which of the two.
        why: Refused,
    },
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShard { shard, count } => {
                write!(f, "there is no shard {shard}, only {count} counted from 0")
            }
            Self::Refused { shard, why } => write!(f, "shard {shard}: {why}"),
        }
    }
}

impl error::Error for SubmitError {}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyError {
    /// The shard left, or failed, before it had one.
    Gone,
    /// None came within the time given.
    TimedOut,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the shard left before it answered",
            Self::TimedOut => "the shard did not answer in time",
        })
    }
}

impl error::Error for ReplyError {}

/// Why a question to all shards has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// One shard could not be asked.
    Submit(SubmitError),
    /// One shard did not answer.
    Reply(ReplyError),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit(error) => error.fmt(f),
            Self::Reply(error) => error.fmt(f),
        }
    }
}

impl error::Error for AskError {}

impl<L: 'static> Shards<L> {
    /// `count` shards and the mailbox of each, in order. A mailbox holds
    /// `capacity` messages.
    ///
    /// # Errors
    ///
    /// When the system grants no eventfd.
    pub fn new(count: u32, capacity: u32) -> io::Result<(Self, Vec<Mailbox<Message<L>>>)> {
        let mut senders = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..count {
            let (sender, mailbox) = mailbox(capacity)?;
            senders.push(sender);
            mailboxes.push(mailbox);
        }
        Ok((Self { senders: senders.into() }, mailboxes))
    }

    /// Number of shards.
    pub fn count(&self) -> u32 {
        u32::try_from(self.senders.len()).unwrap_or(u32::MAX)
    }

    /// Has `work` run on `shard`, with that shard's own data, between two turns.
    ///
    /// # Errors
    ///
    /// When there is no such shard, it has left, or its mailbox is full. Never
    /// waits for room.
    pub fn submit_to<R: Send + 'static>(
        &self,
        shard: u32,
        work: impl FnOnce(&mut L) -> R + Send + 'static,
    ) -> Result<Reply<R>, SubmitError> {
        let count = self.count();
        let sender =
            self.senders.get(shard as usize).ok_or(SubmitError::NoShard { shard, count })?;
        let (answer, reply) = Answer::pair();
        let message = Box::new(move |local: &mut L| answer.give(work(local)));
        match sender.try_send(message) {
            Ok(()) => Ok(reply),
            Err((_, why)) => Err(SubmitError::Refused { shard, why }),
        }
    }

    /// Has `work` run on every shard; the answers are in order of shards. Where
    /// one cannot be asked, those before it have been.
    ///
    /// # Errors
    ///
    /// As [`Shards::submit_to`], for the first shard that cannot be asked.
    pub fn submit_to_all<R: Send + 'static>(
        &self,
        work: impl Fn(&mut L) -> R + Clone + Send + 'static,
    ) -> Result<Vec<Reply<R>>, SubmitError> {
        (0..self.count())
            .map(|shard| {
                let work = work.clone();
                self.submit_to(shard, move |local| work(local))
            })
            .collect()
    }

    /// Asks every shard at once and folds the answers in order of shards.
    ///
    /// # Errors
    ///
    /// When a shard cannot be asked, or leaves without an answer.
    pub async fn map_reduce<R: Send + 'static, A>(
        &self,
        map: impl Fn(&mut L) -> R + Clone + Send + 'static,
        init: A,
        mut reduce: impl FnMut(A, R) -> A,
    ) -> Result<A, AskError> {
        let mut folded = init;
        for reply in self.submit_to_all(map).map_err(AskError::Submit)? {
            folded = reduce(folded, reply.await.map_err(AskError::Reply)?);
        }
        Ok(folded)
    }

    /// [`Shards::map_reduce`] for a plain thread, which waits up to `timeout` for
    /// each answer. On a shard it would wait for itself.
    ///
    /// # Errors
    ///
    /// As [`Shards::map_reduce`], and when an answer takes too long.
    pub fn map_reduce_wait<R: Send + 'static, A>(
        &self,
        map: impl Fn(&mut L) -> R + Clone + Send + 'static,
        init: A,
        mut reduce: impl FnMut(A, R) -> A,
        timeout: Duration,
    ) -> Result<A, AskError> {
        let mut folded = init;
        for reply in self.submit_to_all(map).map_err(AskError::Submit)? {
            folded = reduce(folded, reply.wait(timeout).map_err(AskError::Reply)?);
        }
        Ok(folded)
    }
}

/// An answer on its way.
#[derive(Debug)]
#[must_use = "the answer is lost with the reply; drop it on purpose"]
pub struct Reply<R> {
    slot: Arc<Slot<R>>,
}

/// Where it arrives.
#[derive(Debug)]
struct Slot<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<R> {
    Waiting(Option<Waker>),
    Answered(R),
    /// There will be no answer, or it was taken.
    Gone,
}

impl<R> Default for Slot<R> {
    fn default() -> Self {
        Self { state: Mutex::new(State::Waiting(None)), changed: Condvar::new() }
    }
}

impl<R> Slot<R> {
    /// The state is whole at every step, also after a panic.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the waiting, once.
    fn settle(&self, end: State<R>) {
        let mut state = self.lock();
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = end;
            drop(state);
            self.changed.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The shard's side of a reply; dropped without an answer it says so.
pub(crate) struct Answer<R> {
    slot: Arc<Slot<R>>,
}

impl<R> Answer<R> {
    /// Both sides of an answer that is on no way yet.
    pub(crate) fn pair() -> (Self, Reply<R>) {
        let slot = Arc::<Slot<R>>::default();
        (Self { slot: Arc::clone(&slot) }, Reply { slot })
    }

    pub(crate) fn give(self, value: R) {
        self.slot.settle(State::Answered(value));
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        self.slot.settle(State::Gone);
    }
}

impl<R> Reply<R> {
    /// Waits for the answer, on a plain thread.
    ///
    /// # Errors
    ///
    /// When the shard leaves first, or `timeout` passes.
    pub fn wait(mut self, timeout: Duration) -> Result<R, ReplyError> {
        self.wait_up_to(timeout)
    }

    /// [`Self::wait`] for whoever comes back for an answer that was late. The answer is taken once.
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    pub fn wait_up_to(&mut self, timeout: Duration) -> Result<R, ReplyError> {
        let waiting = |state: &mut State<R>| matches!(state, State::Waiting(_));
        let state = self.slot.lock();
        let (mut state, _) = self
            .slot
            .changed
            .wait_timeout_while(state, timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Waiting(_)) {
            return Err(ReplyError::TimedOut);
        }
        match std::mem::replace(&mut *state, State::Gone) {
            State::Answered(value) => Ok(value),
            State::Gone | State::Waiting(_) => Err(ReplyError::Gone),
        }
    }
}

impl<R> Future for Reply<R> {
    type Output = Result<R, ReplyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        if let State::Waiting(waker) = &mut *state {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(&mut *state, State::Gone) {
            State::Answered(value) => Ok(value),
            _ => Err(ReplyError::Gone),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::thread;

    use futures_lite::future::block_on;

    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    /// A shard's own data, which cannot leave its thread.
    struct Local {
        id: u32,
        seen: Rc<u32>,
    }

    /// Runs a shard on a thread until every sender is gone.
    fn run(id: u32, mut mailbox: Mailbox<Message<Local>>, messages: u32) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let mut local = Local { id, seen: Rc::new(0) };
            while *local.seen < messages {
                match mailbox.take() {
                    Some(work) => {
                        local.seen = Rc::new(*local.seen + 1);
                        work(&mut local);
                    }
                    None => thread::yield_now(),
                }
            }
        })
    }

    #[test]
    fn work_runs_on_the_shards_own_data_and_answers() {
        let (shards, mailboxes) = Shards::<Local>::new(2, 4).unwrap();
        let threads: Vec<_> =
            (0..).zip(mailboxes).map(|(id, mailbox)| run(id, mailbox, 2)).collect();
        let ask = |shard| shards.submit_to(shard, move |local| (local.id, *local.seen)).unwrap();
        assert_eq!(ask(1).wait(LONG), Ok((1, 1)));
        assert_eq!(block_on(ask(1)), Ok((1, 2)));
        assert_eq!(block_on(ask(0)), Ok((0, 1)));
        assert_eq!(ask(0).wait(LONG), Ok((0, 2)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn asks_all_shards_and_folds_in_their_order() {
        let (shards, mailboxes) = Shards::<Local>::new(3, 4).unwrap();
        let threads: Vec<_> =
            (0..).zip(mailboxes).map(|(id, mailbox)| run(id, mailbox, 2)).collect();
        let append = |mut ids: Vec<u32>, id| {
            ids.push(id);
            ids
        };
        let ids = block_on(shards.map_reduce(|local| local.id, Vec::new(), append));
        assert_eq!(ids, Ok(vec![0, 1, 2]));
        let ids = shards.map_reduce_wait(|local| local.id, Vec::new(), append, LONG);
        assert_eq!(ids, Ok(vec![0, 1, 2]));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_shard_that_is_not_there_is_full_or_has_left_is_an_error_at_once() {
        let (shards, mut mailboxes) = Shards::<Local>::new(1, 1).unwrap();
        let submit = |shard| shards.submit_to(shard, |_| ());
        let text = |shard| submit(shard).unwrap_err().to_string();
        assert_eq!(text(1), "there is no shard 1, only 1 counted from 0");
        let waiting = submit(0).unwrap();
        assert_eq!(text(0), "shard 0: the mailbox is full: 1 messages wait to be read");
        mailboxes.clear();
        assert_eq!(text(0), "shard 0: the shard has left");
        assert_eq!(waiting.wait(LONG), Err(ReplyError::Gone));
        let error = block_on(shards.map_reduce(|_| (), (), |(), ()| ())).unwrap_err();
        assert_eq!(error.to_string(), "shard 0: the shard has left");
    }

    #[test]
    fn a_shard_that_does_not_answer_costs_the_time_given_and_no_more() {
        let (shards, _mailboxes) = Shards::<Local>::new(1, 1).unwrap();
        let reply = shards.submit_to(0, |_| ()).unwrap();
        let error = reply.wait(Duration::from_millis(5)).unwrap_err();
        assert_eq!(error, ReplyError::TimedOut);
        assert_eq!(error.to_string(), "the shard did not answer in time");
    }

    #[test]
    fn work_that_panics_leaves_its_asker_with_an_error() {
        let (shards, mut mailboxes) = Shards::<Local>::new(1, 1).unwrap();
        let reply = shards.submit_to(0, |local| assert_eq!(local.id, 9)).unwrap();
        let work = mailboxes[0].take().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            work(&mut Local { id: 0, seen: Rc::new(0) });
        }));
        assert!(result.is_err());
        let error = block_on(reply).unwrap_err();
        assert_eq!(error.to_string(), "the shard left before it answered");
    }

    #[test]
    fn a_shard_asleep_is_woken_by_work() {
        let (shards, mut mailboxes) = Shards::<Local>::new(1, 1).unwrap();
        assert!(mailboxes[0].arm(None));
        let reply = shards.submit_to(0, |_| ()).unwrap();
        assert_eq!(mailboxes[0].eventfd().read().unwrap(), 1);
        drop(reply);
        mailboxes[0].take().unwrap()(&mut Local { id: 0, seen: Rc::new(0) });
    }
}
