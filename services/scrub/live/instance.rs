//! A shard's side: takes orders between two bursts, and shows its packets to who wants to see them.

use std::fmt;
use std::sync::Arc;

use tidegate_dataplane::frame::Frame;
use tidegate_runtime::instances::Question;
use tidegate_runtime::shard::Mail;

use super::generation::Generation;
use super::ledger::{End, Ledger, Row};
use super::tap::{Fate, Judged, Tap};
use crate::scrub::heavy::{Heavy, Secret, Seen, Windows};
use crate::scrub::judge::{self, Book, Carry, Judge, Judgement, Tally};
use crate::scrub::wishes::Wish;

/// What is asked of an instance. All memory that the answer needs comes with it.
pub(crate) enum Order {
    /// Go by other rules.
    Succeed(Succession),
    /// Say what each rule did; the vector has room for all.
    Tallies(Vec<Tally>),
    /// Give the verdicts that the kernel is to have, in exchange for an empty list.
    Wishes(Vec<Wish>),
    /// Say who sends most.
    Heavy(Box<Windows>),
    /// Give away what was done by destination; an empty list with room.
    Ledger(Vec<Row>),
    /// Show packets to this one from now on; none: to nobody.
    Tap(Option<Box<Tap>>),
}

/// The rules of the next generation, ready for one shard.
pub(crate) struct Succession {
    /// The rules as this shard will apply them.
    pub(crate) next: Box<Book>,
    /// What they take over.
    pub(crate) carry: Arc<Carry>,
    /// The generation that `carry` begins at.
    pub(crate) from: u64,
    /// The next one.
    pub(crate) generation: Arc<Generation>,
}

/// What is answered. Whatever is no longer needed comes along.
#[allow(dead_code, reason = "what comes along is only dropped by who asked")]
pub(crate) enum Done {
    /// The rules that were replaced, or those that came in vain; dropped by who asked.
    Succeeded(Succession),
    /// By the rules of this generation, in their order.
    Tallies(u64, Vec<Tally>),
    /// What was wished, by the rules of this generation.
    Wishes(u64, Vec<Wish>),
    /// The windows that were sent, filled.
    Heavy(Box<Windows>),
    /// What was done since it was asked last, by ports of these interfaces.
    Ledger(Arc<[Box<str>]>, Vec<Row>),
    /// The tap before.
    Tap(Option<Box<Tap>>),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Succeed(_) => "Succeed",
            Self::Tallies(_) => "Tallies",
            Self::Wishes(_) => "Wishes",
            Self::Heavy(_) => "Heavy",
            Self::Ledger(_) => "Ledger",
            Self::Tap(_) => "Tap",
        })
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Succeeded(_) => "Succeeded",
            Self::Tallies(..) => "Tallies",
            Self::Wishes(..) => "Wishes",
            Self::Heavy(_) => "Heavy",
            Self::Ledger(..) => "Ledger",
            Self::Tap(_) => "Tap",
        })
    }
}

/// What operating an instance adds to it.
pub(crate) struct Instance {
    generation: Arc<Generation>,
    heavy: Heavy,
    ledger: Ledger,
    tap: Option<Box<Tap>>,
}

impl Instance {
    /// One that goes by `generation`, on a shard with a port at each of these interfaces.
    pub(crate) fn new(
        generation: Arc<Generation>,
        secret: Secret,
        interfaces: impl IntoIterator<Item = Box<str>>,
        now_ns: u64,
    ) -> Self {
        let (heavy, ledger) = (Heavy::new(secret, now_ns), Ledger::new(interfaces));
        Self { generation, heavy, ledger, tap: None }
    }

    /// What it goes by.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Before the packets of a burst.
    #[inline]
    pub(crate) fn burst(&mut self, now_ns: u64) {
        self.heavy.burst(now_ns);
    }

    /// Counts one packet by where it comes from and goes to.
    #[inline]
    pub(crate) fn count(&mut self, seen: Option<Seen>) {
        if let Some(seen) = seen {
            self.heavy.note(seen);
        }
    }

    /// Counts the end of one packet by its destination.
    #[inline]
    pub(crate) fn end(&mut self, frame: &Frame, octets: usize, end: End) {
        self.ledger.count(frame.port(), frame.selector(), octets, end);
    }

    /// Shows one packet to who wants to see it. `head` are its octets, or those of its first chunk.
    #[inline]
    pub(crate) fn show(&mut self, judgement: &Judgement, head: &[u8], octets: usize, at_ns: u64) {
        if let Some(tap) = &mut self.tap {
            let (fate, reason) = match judgement.fate {
                judge::Fate::Pass => (Fate::Passed, "passed"),
                judge::Fate::Challenge => (Fate::Challenged, "challenge"),
                judge::Fate::Drop(reason) => (Fate::Dropped, reason.name()),
                // It is judged, and shown, when its first part has come, or will not.
                judge::Fate::Hold => return,
            };
            let Judgement { rule, sampled, .. } = *judgement;
            tap.offer(&Judged { head, octets, at_ns, fate, rule, sampled, reason });
        }
    }

    /// Takes an order. What is none is dropped, and who sent it is told.
    pub(crate) fn take(&mut self, mail: Mail, judge: &mut Judge, now_ns: u64) {
        let Ok(question) = Question::<Order, Done>::of(mail) else { return };
        question.answer(|order| match order {
            Order::Succeed(succession) => Done::Succeeded(self.succeed(succession, judge)),
            Order::Tallies(mut tallies) => {
                let mine = judge.book().tallies();
                let room = mine.len().min(tallies.capacity());
                tallies.clear();
                tallies.extend_from_slice(&mine[..room]);
                Done::Tallies(self.generation.number, tallies)
            }
            Order::Wishes(room) => Done::Wishes(self.generation.number, judge.take_wishes(room)),
            Order::Heavy(mut windows) => {
                self.heavy.copy_to(&mut windows, now_ns);
                Done::Heavy(windows)
            }
            Order::Ledger(mut room) => {
                self.ledger.take(&mut room);
                Done::Ledger(Arc::clone(self.ledger.interfaces()), room)
            }
            Order::Tap(mut tap) => {
                if let Some(tap) = &mut tap {
                    tap.set_generation(self.generation.number, |name| self.generation.place(name));
                }
                Done::Tap(std::mem::replace(&mut self.tap, tap))
            }
        });
    }

    fn succeed(&mut self, mut succession: Succession, judge: &mut Judge) -> Succession {
        // One that was built anew meanwhile has the next generation already.
        if succession.from != self.generation.number {
            return succession;
        }
        succession.next = judge.succeed(succession.next, &succession.carry);
        std::mem::swap(&mut self.generation, &mut succession.generation);
        judge.set_engaged_at(self.generation.engaged_at);
        if let Some(tap) = &mut self.tap {
            tap.set_generation(self.generation.number, |name| self.generation.place(name));
        }
        succession
    }
}
