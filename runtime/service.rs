//! What a service author writes.
//!
//! ```text
//!   BurstHandler::on_burst ──(adapter)──► Service::run ──► ShardContext: recv, settle, send, sleep_until
//!     one future per burst                 owns its loop
//! ```
//!
//! A service is built on the shard that runs it, once per shard, and never leaves that thread:
//! its state needs no lock, no atomic and no `Send`. It knows nothing about rings, sockets and
//! threads. What it receives it must settle: every frame ends in exactly one
//! [`ShardContext::settle`](crate::context::ShardContext::settle).
//!
//! Two levels. [`Service`] owns its loop and is the right one for whoever paces, retransmits or
//! keeps frames across bursts. [`BurstHandler`] is called once per burst; the adapter in this
//! file is an ordinary [`Service`], so a handler gives nothing up but the loop.
//!
//! A service that panics or returns an error is contained: its frames come home, it is counted,
//! and built anew if the plan's [`Restart`](crate::plan::Restart) says so. It is not asked to
//! clean up, so it must not keep anything outside its own value.

use std::error::Error;
use std::fmt;
use std::future::Future;

use crate::burst::{Arrival, Burst};
use crate::context::ShardContext;
use crate::shard::Mail;

mod build;

pub use build::Build;

/// A service that owns its loop.
///
/// ```
/// # use tidegate_runtime::{burst::{Burst, Delivery}, context::ShardContext, service::*, verdict::Verdict};
/// /// Sends every frame back where it came from.
/// struct Mirror;
///
/// impl Service for Mirror {
///     const KIND: &'static str = "mirror";
///     type Options = ();
///
///     fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
///         Ok(Self)
///     }
///
///     async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
///         let mut burst = Burst::default();
///         while cx.recv(&mut burst).await == Delivery::Received {
///             for frame in burst.frames.drain(..) {
///                 cx.settle(frame, Verdict::Transmit);
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Service: Sized + 'static {
    /// The name by which the configuration asks for it: `kind = "mirror"`.
    const KIND: &'static str;

    /// Whether it gives packets back to the kernel
    /// ([`Verdict::Reinject`](crate::verdict::Verdict::Reinject)). Only then its ports get an
    /// injector, which needs memory and privileges that others do without.
    const REINJECTS: bool = false;

    /// Whether it knows that a packet may lie in several chunks: that
    /// [`Frame::bytes`](tidegate_dataplane::frame::Frame::bytes) is its first part then and
    /// [`Frame::octets`](tidegate_dataplane::frame::Frame::octets) its length. Of one that does not,
    /// such packets are dropped (`in_parts`) before it can take a part for the whole. They come only
    /// from ports that obtained multi-buffer.
    const READS_PARTS: bool = false;

    /// Its own options table.
    type Options: Clone + Send + Sync + 'static;

    /// Makes one, on the shard that will run it. Counters and drop reasons are registered here.
    ///
    /// # Errors
    ///
    /// What the operator asked for cannot be done; the error names it and the remedy. At start-up
    /// it stops the whole runtime, at a restart it counts as one more failure.
    fn build(options: &Self::Options, build: &mut Build<'_>) -> Result<Self, BuildError>;

    /// Runs until the shard drains, which shows as [`Delivery::Drained`](crate::burst::Delivery::Drained).
    ///
    /// # Errors
    ///
    /// The service cannot go on. Treated as a panic is, without the backtrace.
    fn run(&mut self, cx: &mut ShardContext) -> impl Future<Output = Result<(), ServiceError>>;
}

/// A service that is called once per burst, and leaves the loop to the adapter.
pub trait BurstHandler: Sized + 'static {
    /// See [`Service::KIND`].
    const KIND: &'static str;

    /// See [`Service::REINJECTS`].
    const REINJECTS: bool = false;

    /// See [`Service::READS_PARTS`].
    const READS_PARTS: bool = false;

    /// See [`Service::Options`].
    type Options: Clone + Send + Sync + 'static;

    /// See [`Service::build`].
    ///
    /// # Errors
    ///
    /// See [`Service::build`].
    fn build(options: &Self::Options, build: &mut Build<'_>) -> Result<Self, BuildError>;

    /// Settles every frame of `burst`. Those left over are dropped as `unsettled`: a frame that
    /// is to outlive the burst is moved out of it.
    ///
    /// # Errors
    ///
    /// The service cannot go on.
    fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> impl Future<Output = Result<(), ServiceError>>;

    /// Takes a message, between two bursts: mostly a [`Question`](crate::instances::Question), whose
    /// answer says that it was taken. It is part of a turn, so what is large comes ready made and
    /// what it replaces leaves with the answer, to be dropped by who asked.
    ///
    /// Without it messages are dropped, and who asked learns that nobody answers.
    fn on_mail(&mut self, mail: Mail, cx: &mut ShardContext) {
        let _ = cx;
        drop(mail);
    }
}

impl<H: BurstHandler> Service for H {
    const KIND: &'static str = H::KIND;
    const REINJECTS: bool = H::REINJECTS;
    const READS_PARTS: bool = H::READS_PARTS;
    type Options = H::Options;

    fn build(options: &Self::Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        H::build(options, build)
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut burst = Burst::default();
        loop {
            match cx.recv_or_mail(&mut burst).await {
                Arrival::Frames => {
                    self.on_burst(&mut burst, cx).await?;
                    for frame in burst.frames.drain(..) {
                        cx.drop_unsettled(frame);
                    }
                }
                Arrival::Mail(mail) => self.on_mail(mail, cx),
                // There is no deadline.
                Arrival::TimedOut => {}
                Arrival::Drained => return Ok(()),
            }
        }
    }
}

/// Why a service could not be built.
#[derive(Debug)]
pub struct BuildError(Box<dyn Error + Send + Sync>);

/// Why a service gave up.
#[derive(Debug)]
pub struct ServiceError(Box<dyn Error + Send + Sync>);

macro_rules! any_cause {
    ($Error:ident) => {
        impl $Error {
            /// Wraps the cause, whose message names what was asked for and the remedy. A plain
            /// string will do.
            pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
                Self(cause.into())
            }
        }

        impl fmt::Display for $Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Error for $Error {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.0.source()
            }
        }
    };
}

any_cause!(BuildError);
any_cause!(ServiceError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_speaks_with_the_voice_of_its_cause() {
        assert_eq!(
            BuildError::new("rate 0; allowed are 1..=1000").to_string(),
            "rate 0; allowed are 1..=1000"
        );
        let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(ServiceError::new(cause).to_string(), "entity not found");
    }
}
