//! Whose packets are taken: one run of one source after the other, by one path or two.
//!
//! ```text
//!   faster path   … run 1 │ run 2 …            the source began anew
//!   slower path   … run 1 …… run 1 │ run 2 …   what it still brings of run 1 is accounted there
//! ```
//!
//! Sources come and go. Another source, or numbers and timestamps that contradict each other, start
//! a new run. On the slower path the old one goes on for the skew: its packets are of no use any
//! more, but neither are they strangers, nor lost.

use tidegate_dataplane::wire::Rtp;

use super::Outcome;
use super::run::Run;
use crate::stream::redundancy::{Arrival, Counts, Memory, PATHS};
use crate::stream::video::format::Format;

/// Packets in a row that do not fit the run before a new one is begun for them. One would let a
/// single stray packet end a healthy stream; at 64 a restarted sender loses 64 packets of a frame
/// that nobody expected.
const STRANGERS_MAX: u32 = 64;

/// Follows the source.
#[derive(Debug)]
pub(super) struct Source {
    format: Format,
    memory: Memory,
    present: Run,
    /// Whether the present run has begun.
    runs: bool,
    /// Goes on by the slower path until then.
    previous: Run,
    previous_until_ns: Option<u64>,
    strangers_in_row: [u32; PATHS],
    /// Packets in a row of another format.
    others_in_row: [u32; PATHS],
    /// When each path last brought a packet of ours.
    ours_at_ns: [u64; PATHS],
    /// Of runs that have ended.
    ended: Counts,
}

/// What a packet is to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// One of the present run.
    Of(Arrival),
    /// The first of a new one, after another.
    Anew(Arrival),
}

impl Source {
    /// Of which nothing has come.
    pub(super) fn new(format: Format, memory: Memory) -> Self {
        Self {
            format,
            memory,
            present: Run::new(memory),
            runs: false,
            previous: Run::new(memory),
            previous_until_ns: None,
            strangers_in_row: [0; PATHS],
            others_in_row: [0; PATHS],
            ours_at_ns: [0; PATHS],
            ended: Counts::default(),
        }
    }

    /// The present run.
    pub(super) fn run(&self) -> Option<&Run> {
        self.runs.then_some(&self.present)
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.ended;
        if self.previous_until_ns.is_some() {
            counts = counts.and(self.previous.counts());
        }
        if self.runs { counts.and(self.present.counts()) } else { counts }
    }

    /// Finds the packet's place in the run, or begins a new one.
    #[inline]
    pub(super) fn follow(
        &mut self,
        path: usize,
        rtp: &Rtp<'_>,
        extended: u16,
        now_ns: u64,
    ) -> Result<Followed, Outcome> {
        self.others_in_row[path] = 0;
        self.ours_at_ns[path] = now_ns;
        if !self.runs {
            return Ok(Followed::Of(self.begin(path, rtp, extended, now_ns)));
        }
        let run = &mut self.present;
        let sequence = run.number(rtp, extended);
        let same = run.ssrc == rtp.ssrc();
        let contradicts = same && run.contradicts(&self.format, sequence, rtp.timestamp());
        if self.previous_until_ns.is_some()
            && (!same || contradicts || run.is_before(sequence))
            && let Some(arrival) = self.of_previous(path, rtp, extended, now_ns)
        {
            return Err(match arrival {
                Arrival::Copy => Outcome::Copy,
                Arrival::Duplicate => Outcome::Duplicate,
                Arrival::Newest(_) | Arrival::Older(_) | Arrival::TooLate => Outcome::TooLate,
            });
        }
        let stranger = if !same {
            Outcome::Stranger
        } else if contradicts {
            return Ok(Followed::Anew(self.restart(path, rtp, extended, now_ns)));
        } else {
            let arrival = self.present.arrive(path, sequence, rtp, extended, now_ns);
            // What the slower path brings of before the first is none either.
            if arrival != Arrival::TooLate || self.present.is_near(sequence) {
                self.strangers_in_row[path] = 0;
                return Ok(Followed::Of(arrival));
            }
            Outcome::TooLate
        };
        self.strangers_in_row[path] += 1;
        match self.strangers_in_row[path] < STRANGERS_MAX {
            true => Err(stranger),
            false => Ok(Followed::Anew(self.restart(path, rtp, extended, now_ns))),
        }
    }

    /// Takes note of a packet of another format; whether the source has changed to that now: it
    /// sends nothing else, on any path.
    pub(super) fn is_another_format(&mut self, path: usize, now_ns: u64) -> bool {
        self.others_in_row[path] = self.others_in_row[path].saturating_add(1);
        let skew_ns = self.memory.skew().map_or(0, |skew| skew.ns());
        let silent = |other: usize| {
            self.others_in_row[other] >= STRANGERS_MAX
                || now_ns.saturating_sub(self.ours_at_ns[other]) > skew_ns
        };
        self.runs
            && self.others_in_row[path] >= STRANGERS_MAX
            && (0..self.memory.paths()).all(|other| other == path || silent(other))
    }

    /// The packet's place in the run before, if it is of that.
    fn of_previous(
        &mut self,
        path: usize,
        rtp: &Rtp<'_>,
        extended: u16,
        now_ns: u64,
    ) -> Option<Arrival> {
        let run = &mut self.previous;
        let sequence = run.number(rtp, extended);
        let fits = run.ssrc == rtp.ssrc()
            && !run.contradicts(&self.format, sequence, rtp.timestamp())
            && !run.is_before(sequence);
        fits.then(|| run.arrive(path, sequence, rtp, extended, now_ns))
    }

    fn restart(&mut self, path: usize, rtp: &Rtp<'_>, extended: u16, now_ns: u64) -> Arrival {
        if let Some(skew) = self.memory.skew() {
            self.end_previous();
            std::mem::swap(&mut self.present, &mut self.previous);
            self.previous_until_ns = Some(now_ns + skew.ns());
        } else {
            self.ended = self.ended.and(&self.present.finish());
        }
        self.begin(path, rtp, extended, now_ns)
    }

    fn begin(&mut self, path: usize, rtp: &Rtp<'_>, extended: u16, now_ns: u64) -> Arrival {
        self.strangers_in_row = [0; PATHS];
        self.runs = true;
        self.present.begin(path, rtp, extended, now_ns)
    }

    fn end_previous(&mut self) {
        if self.previous_until_ns.take().is_some() {
            self.ended = self.ended.and(&self.previous.finish());
        }
    }

    /// Time passes.
    #[inline]
    pub(super) fn tick(&mut self, now_ns: u64) {
        if self.runs {
            self.present.tick(now_ns);
        }
        if self.previous_until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
            self.end_previous();
        }
    }

    /// Whether a gap may still be filled: by the slower of two paths.
    pub(super) fn waits(&self, now_ns: u64) -> bool {
        self.runs && !self.present.is_alone(now_ns)
    }

    /// Whether there are numbers that time will judge.
    pub(super) fn is_open(&self) -> bool {
        let open = self.runs && self.memory.skew().is_some() && self.present.is_open();
        open || self.previous_until_ns.is_some()
    }

    /// Ends the run: what has not come is lost.
    pub(super) fn finish(&mut self) {
        self.end_previous();
        if std::mem::take(&mut self.runs) {
            self.ended = self.ended.and(&self.present.finish());
        }
    }
}
