//! Questions to every instance of one service, and their answers.
//!
//! ```text
//!   control thread ──Question(new rules)──► mail of the service, on every shard it runs on
//!                                             │ taken between two bursts
//!                  ◄──answer(old rules)───────┘
//!        drops what came back
//! ```
//!
//! A service runs once per shard and nobody else touches its data, so whoever operates it sends it
//! a message and waits for the answer. Both ways carry whatever two sides agree on. What is large is
//! made before it is sent and comes back to be dropped, so that a shard neither builds nor frees it.
//!
//! No answer is ever forgotten: one that is late stays in [`Asked`], which is kept by who asked.

use std::time::Duration;
use std::{error, fmt};

use crate::shard::{Mail, Shard};
use crate::shards::{Answer, Reply, ReplyError, Shards, SubmitError};

/// What is asked of a service, as it arrives there in its mail. Dropped without an answer, it tells
/// who asked that there will be none.
pub struct Question<Q, A> {
    /// What is asked.
    pub asked: Q,
    answer: Answer<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Question<Q, A> {
    /// A message with a question, and where its answer comes. For tests on `sim`; else
    /// [`Instances::ask`].
    pub fn mail(asked: Q) -> (Mail, Reply<A>) {
        let (answer, reply) = Answer::pair();
        (Box::new(Self { asked, answer }), reply)
    }

    /// The question in a message, or the message where it is something else.
    ///
    /// # Errors
    ///
    /// The message itself.
    pub fn of(mail: Mail) -> Result<Self, Mail> {
        mail.downcast::<Self>().map(|question| *question)
    }

    /// Answers it.
    pub fn answer(self, answer: impl FnOnce(Q) -> A) {
        self.answer.give(answer(self.asked));
    }
}

impl<Q: fmt::Debug, A> fmt::Debug for Question<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Question").field(&self.asked).finish()
    }
}

/// Why a service did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// Its shard could not be told.
    Submit(SubmitError),
    /// Its shard did not answer.
    Shard {
        /// Which one.
        shard: u32,
        /// How.
        why: ReplyError,
    },
    /// The shard has no service of that name, or too many messages wait for it.
    NotTaken {
        /// Which shard.
        shard: u32,
    },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit(error) => error.fmt(f),
            Self::Shard { shard, why: ReplyError::Gone } => {
                write!(f, "shard {shard}: the service failed or left before it answered")
            }
            Self::Shard { shard, why: ReplyError::TimedOut } => {
                write!(f, "shard {shard}: the service did not answer in time")
            }
            Self::NotTaken { shard } => {
                write!(f, "shard {shard}: the service takes no more messages")
            }
        }
    }
}

impl error::Error for AskError {}

/// All instances of one service.
#[derive(Clone, Debug)]
pub struct Instances {
    shards: Shards<Shard>,
    service: Box<str>,
    on: Box<[u32]>,
}

/// A question on its way to one instance and back. Kept until it is settled, it sees to it that a
/// late answer is dropped by who asked, and not by the shard.
#[derive(Debug)]
pub struct Asked<A> {
    shard: u32,
    posted: Option<Reply<Result<(), Mail>>>,
    answer: Reply<A>,
}

impl Instances {
    /// The service of this name on these shards.
    pub fn new(shards: Shards<Shard>, service: &str, on: impl IntoIterator<Item = u32>) -> Self {
        Self { shards, service: service.into(), on: on.into_iter().collect() }
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The shards that it runs on.
    pub fn shards(&self) -> &[u32] {
        &self.on
    }

    /// Asks one instance. Does not wait.
    ///
    /// # Errors
    ///
    /// [`AskError::Submit`], where its shard takes no message.
    pub fn ask<Q: Send + 'static, A: Send + 'static>(
        &self,
        shard: u32,
        asked: Q,
    ) -> Result<Asked<A>, AskError> {
        let (mail, answer) = Question::<Q, A>::mail(asked);
        let service = self.service.clone();
        let post = move |local: &mut Shard| local.post(&service, mail);
        let posted = self.shards.submit_to(shard, post).map_err(AskError::Submit)?;
        Ok(Asked { shard, posted: Some(posted), answer })
    }
}

impl<A> Asked<A> {
    /// The shard that was asked.
    pub const fn shard(&self) -> u32 {
        self.shard
    }

    /// Waits for the answer, on a plain thread.
    ///
    /// # Errors
    ///
    /// Where there is none, or none yet: after [`ReplyError::TimedOut`] it may still come, and can
    /// be waited for again.
    pub fn wait(&mut self, timeout: Duration) -> Result<A, AskError> {
        let shard = self.shard;
        let failed = |why| AskError::Shard { shard, why };
        if let Some(posted) = &mut self.posted {
            let taken = posted.wait_up_to(timeout).map_err(failed)?;
            self.posted = None;
            // Dropped here, by who asked.
            taken.map_err(|_mail| AskError::NotTaken { shard })?;
        }
        self.answer.wait_up_to(timeout).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
