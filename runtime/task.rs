//! One service as the shard sees it: a future that is polled, and contained when it breaks.
//!
//! ```text
//!   Factory ──make──► future ──poll──► Pending ─────────────► polled again when something happened
//!      ▲                        ├────► Ended::Finished ─────► gone for good
//!      └─── after RESTART_DELAY ┴────► Ended::Failed | Panicked ──► policy: again, or gone for good
//! ```
//!
//! The future is boxed once, when it is made; everything inside it is static. A panic unwinds to
//! the `catch_unwind` here and no further: on its way out the frames that the service held are
//! dropped and so return to their pools. What a service shares with its neighbours is reached
//! only through the shard's own code, so nothing half-changed is left behind.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::context::ShardContext;
use crate::service::{Build, BuildError, Service, ServiceError};
use crate::wake::{ServiceWaker, Unpark};

/// A service at work.
pub(crate) type ServiceFuture = Pin<Box<dyn Future<Output = Result<(), ServiceError>>>>;

/// Builds a service and gives it its context.
type Make = dyn Fn(&mut Build<'_>, ShardContext) -> Result<ServiceFuture, BuildError> + Send + Sync;

/// Makes one kind of service, as often as it must be made anew. Goes to the shard's thread with
/// the plan; the service that it makes never leaves that thread. Clones share their options, so that
/// what is large in them is there once for all shards.
#[derive(Clone)]
pub struct Factory {
    kind: &'static str,
    reinjects: bool,
    reads_parts: bool,
    make: Arc<Make>,
}

impl Factory {
    /// The factory of `S` with these options.
    pub fn of<S: Service>(options: S::Options) -> Self {
        let make = move |build: &mut Build<'_>, mut cx: ShardContext| {
            let mut service = S::build(&options, build)?;
            let future = async move { service.run(&mut cx).await };
            Ok(Box::pin(future) as ServiceFuture)
        };
        Self {
            kind: S::KIND,
            reinjects: S::REINJECTS,
            reads_parts: S::READS_PARTS,
            make: Arc::new(make),
        }
    }

    /// [`Service::KIND`] of what it makes.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// [`Service::REINJECTS`] of what it makes.
    pub const fn reinjects(&self) -> bool {
        self.reinjects
    }

    /// [`Service::READS_PARTS`] of what it makes.
    pub const fn reads_parts(&self) -> bool {
        self.reads_parts
    }

    /// Builds the service and starts nothing yet. A panic in `build` counts as its refusal.
    pub(crate) fn make(
        &self,
        build: &mut Build<'_>,
        cx: ShardContext,
    ) -> Result<ServiceFuture, BuildError> {
        catch_unwind(AssertUnwindSafe(|| (self.make)(build, cx)))
            .unwrap_or_else(|panic| Err(BuildError::new(format!("panicked: {}", message(&*panic)))))
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// How a service came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// `run` returned.
    Finished,
    /// `run` or `build` returned an error.
    Failed(Box<str>),
    /// `run` panicked, with this message.
    Panicked(Box<str>),
}

/// The future of one service and what wakes it.
pub(crate) struct Task {
    future: Option<ServiceFuture>,
    woken: Arc<ServiceWaker>,
    waker: Waker,
}

impl Task {
    /// A task without a future.
    pub(crate) fn new(unpark: Arc<Unpark>) -> Self {
        let woken = ServiceWaker::new(unpark);
        Self { future: None, waker: Waker::from(Arc::clone(&woken)), woken }
    }

    /// Puts a service to work.
    pub(crate) fn start(&mut self, future: ServiceFuture) {
        debug_assert!(self.future.is_none(), "one service at a time");
        self.future = Some(future);
    }

    /// Whether someone outside the shard asked for a poll, since the last call.
    #[inline]
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.take()
    }

    /// Whether someone asks for a poll.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.is_woken()
    }

    /// Whether somebody outside keeps a waker of this service: a future of the executor, a reply
    /// from another shard.
    pub(crate) fn is_awaited_elsewhere(&self) -> bool {
        const OURS: usize = 2; // `woken` and `waker`.
        Arc::strong_count(&self.woken) > OURS
    }

    /// Polls the service once. `None` while it goes on. Once it ended, its future and all that
    /// was in it are gone when this returns.
    #[inline]
    pub(crate) fn poll(&mut self) -> Option<Ended> {
        let future = self.future.as_mut()?;
        let mut context = Context::from_waker(&self.waker);
        // Unwind safety: the future is not polled again after a panic, only dropped, and of the
        // shard's cells none is left borrowed (a borrow ends in the unwinding).
        let ended = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(Ok(()))) => Ended::Finished,
            Ok(Poll::Ready(Err(error))) => Ended::Failed(error.to_string().into()),
            Err(panic) => Ended::Panicked(message(&*panic)),
        };
        Some(self.discard().unwrap_or(ended))
    }

    /// Drops the service where it stands. Says so if even that panics.
    pub(crate) fn discard(&mut self) -> Option<Ended> {
        let future = self.future.take();
        let panic = catch_unwind(AssertUnwindSafe(|| drop(future))).err()?;
        Some(Ended::Panicked(format!("while it was dropped: {}", message(&*panic)).into()))
    }
}

/// What a panic said, as far as it is text.
pub(crate) fn message(panic: &(dyn Any + Send)) -> Box<str> {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    fn task(future: impl Future<Output = Result<(), ServiceError>> + 'static) -> Task {
        let mut task = Task::new(Arc::new(Unpark::never_asleep()));
        task.start(Box::pin(future));
        task
    }

    #[test]
    fn goes_on_until_it_ends() {
        let mut waiting = task(pending());
        assert!(waiting.poll().is_none());
        assert!(waiting.future.is_some());
        let mut done = task(ready(Ok(())));
        assert!(matches!(done.poll(), Some(Ended::Finished)));
        assert!(done.future.is_none());
        assert!(done.poll().is_none(), "polled after its end: nothing happens");
    }

    #[test]
    fn an_error_ends_it_with_its_message() {
        let mut task = task(ready(Err(ServiceError::new("no source"))));
        assert!(matches!(task.poll(), Some(Ended::Failed(message)) if &*message == "no source"));
    }

    #[test]
    fn a_panic_stops_here_and_keeps_its_message() {
        let mut literal = task(async { panic!("plain") });
        assert!(matches!(literal.poll(), Some(Ended::Panicked(message)) if &*message == "plain"));
        let mut formatted = task(async { panic!("number {}", 7) });
        assert!(
            matches!(formatted.poll(), Some(Ended::Panicked(message)) if &*message == "number 7")
        );
    }

    #[test]
    fn a_panic_while_it_is_dropped_stops_here_too() {
        struct Trap;
        impl Drop for Trap {
            fn drop(&mut self) {
                panic!("trap");
            }
        }
        let trap = Trap;
        let mut task = task(async move {
            let _held = trap;
            pending().await
        });
        assert!(task.poll().is_none());
        let ended = task.discard();
        assert!(matches!(ended, Some(Ended::Panicked(m)) if &*m == "while it was dropped: trap"));
    }

    #[test]
    fn its_own_waker_marks_it() {
        let mut task = task(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        assert!(!task.take_woken());
        assert!(task.poll().is_none());
        assert!(task.take_woken());
    }
}
