//! The service around the judge: settles and counts.
//!
//! ```text
//!  RX ring ─► burst ─► judge ─┬─► drop(reason)
//!                             ├─► reinject: into the kernel, on the interface it came from
//!                             ├─► transmit: the SYN, made its own challenge
//!                             └─► hold: a part that came before its first, for 50 ms at most
//! ```
//!
//! At any quiet point: received = dropped + reinjected + challenged + held, exactly. What the
//! reasons count is by cause; which rule it was says the judge's own table, because there may be
//! more rules than names in the exported metrics.

use std::sync::Arc;

use tidegate_dataplane::frame::Frame;
use tidegate_runtime::burst::{Arrival, Burst};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::{Counter, Gauge};
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};
use tidegate_runtime::verdict::{DropReason, Verdict};

use super::facts::Standings;
use super::fragments::waiting::{self, Waiting};
use super::heavy::Secret;
use super::judge::{Fate, Judge, Judgement, Reason};
use super::live::{End, Instance, Scrubber};
use super::options::Options;
use super::siphash::Key;
use crate::operator::Operator;
use crate::registry::Operated;

/// The scrubber's own counters: name and help.
const COUNTERS: [(&str, &str); 4] = [
    ("ordered", "Frames given back unjudged: they pass, behind those of their flow"),
    ("challenged", "SYNs that became challenges"),
    ("parts_alone", "Later parts of datagrams judged alone: their first did not come in time"),
    ("takeovers", "Buckets of limits that were in use when somebody new took them over"),
];

/// Parts that wait for their first: name and help.
const WAITING: (&str, &str) =
    ("parts_waiting", "Later parts of datagrams that wait for their first");

/// The `scrub` service.
pub struct Scrub {
    judge: Judge,
    live: Instance,
    waiting: Waiting<Frame>,
    accounts: Accounts,
    /// A packet in several chunks, copied together for a rule that looks at its payload.
    memory: Vec<u8>,
}

/// Where things are counted.
#[derive(Clone, Copy)]
struct Accounts {
    /// By [`Reason`].
    reasons: [DropReason; Reason::ALL.len()],
    ordered: Counter,
    challenged: Counter,
    parts_alone: Counter,
    takeovers: Counter,
    parts_waiting: Gauge,
}

impl Service for Scrub {
    const KIND: &'static str = "scrub";
    const REINJECTS: bool = true;
    const READS_PARTS: bool = true;
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        let reasons = Reason::ALL.map(|(_, name, help)| build.drop_reason(name, help));
        let [ordered, challenged, parts_alone, takeovers] =
            COUNTERS.map(|(name, help)| build.counter(name, help));
        let parts_waiting = build.gauge(WAITING.0, WAITING.1);
        let accounts =
            Accounts { reasons, ordered, challenged, parts_alone, takeovers, parts_waiting };
        let key = Key::of_process();
        let generation = options.current().get();
        let book = generation.rules.book(key);
        let interfaces = build.ports().iter().map(|port| Box::from(&*port.interface));
        let live = Instance::new(generation, Secret::of_process(), interfaces, build.now_ns());
        let longest = build.ports().iter().map(|port| port.packet_capacity_octets).max();
        // Other rules may look further than those of today.
        let memory = Vec::with_capacity(longest.unwrap_or(0));
        let mut judge = Judge::new(book, key);
        judge.set_engaged_at(live.generation().engaged_at);
        Ok(Self { judge, live, waiting: Waiting::new(), accounts, memory })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut burst = Burst::default();
        loop {
            let until_ns = self.waiting.until_ns().unwrap_or(u64::MAX);
            match cx.recv_or_mail_until(&mut burst, until_ns).await {
                Arrival::Frames => self.on_burst(&mut burst, cx),
                Arrival::Mail(mail) => self.live.take(mail, &mut self.judge, cx.now_ns()),
                Arrival::TimedOut => self.end_waiting(cx.now_ns(), false, cx),
                Arrival::Drained => {
                    self.end_waiting(cx.now_ns(), true, cx);
                    return Ok(());
                }
            }
        }
    }
}

impl Operated for Scrub {
    const COMMANDS: &'static [&'static str] = &["rules", "top", "engage"];
    const STREAMS: &'static [&'static str] = &["capture"];

    fn operator(options: &Options, name: &str) -> Arc<dyn Operator> {
        Arc::new(Scrubber::new(name, options))
    }
}

impl Scrub {
    fn on_burst(&mut self, burst: &mut Burst, cx: &mut ShardContext) {
        self.live.burst(burst.at_ns);
        let takeovers = self.judge.book().takeovers();
        for frame in burst.frames.drain(..) {
            if frame.is_ordered() {
                // Decided on already: it only keeps its place behind those of its flow.
                cx.count(self.accounts.ordered, 1);
                self.live.end(&frame, frame.octets(), End::Reinjected);
                cx.settle(frame, Verdict::Reinject);
                continue;
            }
            let octets = frame.octets();
            let book = self.judge.book();
            let head = match frame.is_chain() && book.looks_beyond(frame.bytes(), octets) {
                true => frame.contiguous(&mut self.memory),
                false => frame.bytes(),
            };
            let judgement = self.judge.judge(head, octets, Standings::default(), burst.at_ns);
            self.live.count(self.judge.seen());
            self.settle(frame, judgement, burst.at_ns, cx);
        }
        if self.waiting.len() > 0 {
            self.end_waiting(burst.at_ns, false, cx);
        }
        cx.count(self.accounts.takeovers, self.judge.book().takeovers() - takeovers);
    }

    /// Does what was decided.
    #[inline]
    fn settle(&mut self, frame: Frame, judgement: Judgement, now_ns: u64, cx: &mut ShardContext) {
        let octets = frame.octets();
        self.judge.weigh(&judgement, octets);
        self.live.show(&judgement, frame.bytes(), octets, now_ns);
        match judgement.fate {
            Fate::Drop(reason) => self.drop(frame, reason, cx),
            Fate::Pass => {
                self.live.end(&frame, octets, End::Reinjected);
                cx.settle(frame, Verdict::Reinject);
            }
            Fate::Challenge => self.challenge(frame, now_ns, cx),
            Fate::Hold => self.hold(frame, now_ns, cx),
        }
    }

    #[inline]
    fn drop(&mut self, frame: Frame, reason: Reason, cx: &mut ShardContext) {
        self.live.end(&frame, frame.octets(), End::Dropped(reason));
        cx.settle(frame, self.accounts.drop(reason));
    }

    fn challenge(&mut self, mut frame: Frame, now_ns: u64, cx: &mut ShardContext) {
        let octets = match frame.is_chain() {
            true => None,
            false => self.judge.answer(frame.bytes_mut(), now_ns),
        };
        let Some(octets) = octets else {
            return self.drop(frame, Reason::Challenge, cx);
        };
        self.live.end(&frame, octets, End::Challenged);
        frame.set_len(octets);
        cx.count(self.accounts.challenged, 1);
        cx.settle(frame, Verdict::Transmit);
    }

    fn hold(&mut self, frame: Frame, now_ns: u64, cx: &mut ShardContext) {
        let Some(part) = self.judge.take_early() else {
            return self.judge_alone(frame, now_ns, cx);
        };
        if let Err(frame) = self.waiting.keep(frame, part, now_ns) {
            self.judge_alone(frame, now_ns, cx);
        }
    }

    fn judge_alone(&mut self, frame: Frame, now_ns: u64, cx: &mut ShardContext) {
        let (judge, octets) = (&mut self.judge, frame.octets());
        let judgement = judge.judge_alone(frame.bytes(), octets, Standings::default(), now_ns);
        cx.count(self.accounts.parts_alone, 1);
        self.settle(frame, judgement, now_ns, cx);
    }

    /// Lets those go whose first part has come, or whose time is over.
    fn end_waiting(&mut self, now_ns: u64, all: bool, cx: &mut ShardContext) {
        while let Some((frame, end)) = self.waiting.next(self.judge.first_parts(), now_ns, all) {
            match end {
                waiting::End::Follow(verdict) => {
                    let judgement = self.judge.follow(verdict);
                    self.settle(frame, judgement, now_ns, cx);
                }
                waiting::End::Refuse => self.settle(frame, Judge::refuse(), now_ns, cx),
                waiting::End::Alone => self.judge_alone(frame, now_ns, cx),
            }
        }
        cx.set(self.accounts.parts_waiting, self.waiting.len() as u64);
    }
}

impl Accounts {
    const fn drop(&self, reason: Reason) -> Verdict {
        Verdict::Drop(self.reasons[reason as usize])
    }
}

#[cfg(test)]
mod tests;
