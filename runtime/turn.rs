//! One pass of a shard.

use std::rc::Rc;
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::BEAT_NS;

use tracing::{error, info, warn};

use crate::burst::BURST_FRAMES_MAX;
use crate::demux::Demux;
use crate::plan::RESTART_DELAY_NS;
use crate::port::{Port, TX_RETRY_NS};
use crate::shard::{LastTurn, Resident, Shard, State};
use crate::shared::{ServiceCell, Waiting};
use crate::task::Ended;

/// Frames taken from one port's RX ring in one turn: a burst, so that an inbox is handed over by
/// one `recv`, and a flood on one port delays the other by one burst only.
#[allow(clippy::cast_possible_truncation)] // 64.
const RX_FRAMES_MAX: u32 = BURST_FRAMES_MAX as u32;

/// How old the offset between TAI and the monotonic clock may be.
///
/// Both run at the same rate; the offset changes only when someone sets the clock. Lower costs
/// three clock readings more often, higher notices a step later: half a video frame is soon
/// enough.
const TAI_REFRESH_NS: u64 = 10_000_000;

/// A reading of both clocks that took longer was interrupted between the two, and is repeated.
const TAI_READING_NS_MAX: u64 = 1_000;

/// How often the kernel is asked what it lost.
///
/// A system call per port each time. Lower costs a busy shard half a microsecond more often,
/// higher shows losses later than anyone watches.
const KERNEL_STATISTICS_NS: u64 = 100_000_000;

/// A busy turn that is longer is counted: what waits behind it is late.
///
/// Lower, and a full burst of long packets counts; higher, and a ring of 2,048 at two million packets a
/// second overflows without a word.
const LONG_TURN_NS: u64 = 1_000_000;

/// What a turn brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Something happened: the next turn should follow at once.
    pub progress: bool,
    /// The shard has drained; there is no next turn.
    pub finished: bool,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SleepEnded {
    /// By what it waited for.
    Woken,
    /// Nothing happened, for as long as a shard sleeps at most.
    Out,
}

/// What the rings had.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    frames: u32,
    reaped: u32,
}

impl Shard {
    /// One pass: takes what the rings have, lets the services work, hands over what they did.
    ///
    /// `now_ns` is the time of everything that happens in it, and never smaller than before.
    pub fn turn(&mut self, now_ns: u64) -> Turn {
        self.account_for_last_turn(now_ns);
        self.shared.now_ns.set(now_ns);
        if now_ns >= self.tai_refresh_at_ns {
            self.refresh_tai(now_ns);
        }
        let Received { frames, reaped } = self.receive();
        self.fire_timers(now_ns);
        let polled = self.poll_services(now_ns);
        for port in &self.shared.ports {
            port.end_turn(now_ns);
        }
        let finished = self.drain_further(now_ns, frames > 0);
        let progress = frames > 0 || reaped > 0 || polled;
        self.last_turn.progress = progress;
        if self.metrics.is_due(now_ns) {
            self.publish(now_ns);
        }
        Turn { progress, finished }
    }

    /// When the shard must turn again though nothing else happens.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let timer_ns = self.wheel.next_deadline_ns();
        let room = |cell: &Rc<ServiceCell>| matches!(cell.waiting.get(), Waiting::Room { .. });
        let tx_waits = self.shared.ports.iter().any(|port| port.queue.borrow().tx_pending())
            || self.shared.services.iter().any(room);
        let retry_ns = tx_waits.then(|| self.last_turn.began_ns + TX_RETRY_NS);
        let tells = self.shared.ports.iter().any(|port| port.queue.borrow().tells());
        let beat_ns = tells.then(|| self.last_turn.began_ns + BEAT_NS);
        timer_ns.into_iter().chain(retry_ns).chain(beat_ns).min()
    }

    /// Whether a service waits for something that only the executor can bring, I/O of its own.
    pub(crate) fn needs_executor(&self) -> bool {
        self.residents.iter().any(|resident| resident.task.is_awaited_elsewhere())
    }

    /// Whether nothing would be missed by waiting for the rings' file descriptors, the next
    /// deadline and the mail.
    pub fn may_sleep(&self) -> bool {
        let idle = |(cell, resident): (&Rc<ServiceCell>, &Resident)| {
            !cell.ready.get() && !resident.task.is_woken()
        };
        let empty = |port: &Port| port.queue.borrow().rx_waiting() == 0;
        self.drain.is_none()
            && self.shared.services.iter().zip(&self.residents).all(idle)
            && self.shared.ports.iter().all(empty)
    }

    /// Tells the shard that its thread is about to sleep: what was counted is published, and the
    /// watchdog does not take the sleep for a stall.
    pub fn falls_asleep(&mut self, now_ns: u64) {
        self.metrics.counters().sleeps.increment();
        self.publish_all(now_ns);
        self.progress.fall_asleep();
    }

    /// Tells the shard that its thread slept until `now_ns`, and how that ended.
    pub fn wakes_up(&mut self, now_ns: u64, ended: SleepEnded) {
        let counters = self.metrics.counters();
        let slept_ns = now_ns.saturating_sub(self.last_turn.began_ns);
        counters.asleep_ns.add(slept_ns);
        counters.total_ns.add(slept_ns);
        counters.wakeups.increment();
        if ended == SleepEnded::Out {
            counters.slept_out.increment();
        }
        self.last_turn = LastTurn { began_ns: now_ns, progress: false };
    }

    fn account_for_last_turn(&mut self, now_ns: u64) {
        let LastTurn { began_ns, progress } = self.last_turn;
        debug_assert!(now_ns >= began_ns, "from {began_ns} back to {now_ns} ns");
        let took_ns = now_ns.saturating_sub(began_ns);
        let counters = self.metrics.counters();
        counters.turns.increment();
        counters.total_ns.add(took_ns);
        if progress {
            counters.busy_turns.increment();
            counters.busy_ns.add(took_ns);
            counters.longest_turn_ns.raise_to(took_ns);
            if took_ns > LONG_TURN_NS {
                counters.long_turns.increment();
            }
        }
        self.last_turn.began_ns = now_ns;
        self.progress.start_turn(now_ns);
    }

    /// The same as [`Self::publish`] with what the kernel lost until now, for a moment after which
    /// nobody may publish for long: half a microsecond is little beside a sleep.
    pub(crate) fn publish_all(&mut self, now_ns: u64) {
        self.kernel_statistics_at_ns = now_ns;
        self.publish(now_ns);
    }

    /// Brings all counters to where other threads read them.
    pub(crate) fn publish(&mut self, now_ns: u64) {
        if now_ns >= self.kernel_statistics_at_ns {
            self.kernel_statistics_at_ns = now_ns + KERNEL_STATISTICS_NS;
            self.shared.ports.iter().for_each(Port::publish_kernel_statistics);
        }
        self.shared.ports.iter().for_each(Port::publish);
        for (cell, resident) in self.shared.services.iter().zip(&self.residents) {
            let counters = &cell.account.metrics.counters;
            counters.held_frames.set(u64::from(cell.held.get()));
            counters.stalls.set(self.progress.stalls_of(resident.watched_as));
        }
        self.metrics.counters().stalls.set(self.progress.stalls());
        self.metrics.publish(now_ns);
    }

    /// Reads how far TAI is ahead. Both clocks are read close together, or again.
    pub(crate) fn refresh_tai(&mut self, now_ns: u64) {
        for _ in 0..3 {
            let before_ns = self.clock.now_ns();
            let tai_ns = self.clock.tai_ns();
            let after_ns = self.clock.now_ns();
            if after_ns - before_ns <= TAI_READING_NS_MAX || self.tai_refresh_at_ns == 0 {
                let middle_ns = before_ns + (after_ns - before_ns) / 2;
                self.shared.tai_offset_ns.set(tai_ns.wrapping_sub(middle_ns));
                self.tai_refresh_at_ns = now_ns + TAI_REFRESH_NS;
            }
            if after_ns - before_ns <= TAI_READING_NS_MAX {
                return;
            }
        }
    }

    /// Completion and RX rings of every port, and from there into the inboxes.
    fn receive(&mut self) -> Received {
        let Self { shared, claims, staged, unclaimed, .. } = self;
        let mut received = Received::default();
        for (port, claims) in shared.ports.iter().zip(claims) {
            let mut queue = port.queue.borrow_mut();
            received.reaped += queue.reap();
            let mut demux = Demux { claims, staged, unclaimed };
            let count = queue.recv(&mut demux, RX_FRAMES_MAX);
            if count == 0 {
                continue;
            }
            received.frames += count;
            port.counters.unclaimed_frames.add(unclaimed.len() as u64);
            unclaimed.drain(..).for_each(Frame::release);
        }
        if received.frames > 0 {
            for (cell, staged) in shared.services.iter().zip(staged) {
                if !staged.is_empty() {
                    shared.deliver(cell, staged);
                }
            }
        }
        received
    }

    fn fire_timers(&mut self, now_ns: u64) {
        if self.wheel.is_empty() {
            return;
        }
        let Self { wheel, shared, residents, .. } = self;
        let fired = wheel.advance(now_ns, &mut |token| {
            let cell = &shared.services[token as usize];
            residents[token as usize].armed = None;
            if cell.deadline_ns.get() <= now_ns {
                cell.ready.set(true);
            }
        });
        if fired == 0 {
            return;
        }
        self.metrics.counters().timers_fired.add(u64::from(fired));
        for index in 0..self.residents.len() {
            self.arm(index);
        }
    }

    /// Sees to it that the service's timer fires no later than its deadline.
    #[inline]
    fn arm(&mut self, index: usize) {
        let deadline_ns = self.shared.services[index].deadline_ns.get();
        let armed = &mut self.residents[index].armed;
        match *armed {
            _ if deadline_ns == u64::MAX => return,
            Some((at_ns, _)) if at_ns <= deadline_ns => return,
            Some((_, timer)) => {
                self.wheel.cancel(timer);
            }
            None => {}
        }
        let token = u32::try_from(index).expect("the wheel was made for all services");
        let timer = self.wheel.insert(deadline_ns, token).expect("one timer per service");
        *armed = Some((deadline_ns, timer));
    }

    fn poll_services(&mut self, now_ns: u64) -> bool {
        let mut progress = false;
        for index in 0..self.residents.len() {
            if !self.is_ready(index) {
                continue;
            }
            progress = true;
            match self.residents[index].state {
                State::Running => self.poll(index, now_ns),
                State::AwaitsRestart => self.restart(index, now_ns),
                State::Gone(_) => self.shared.services[index].ready.set(false),
            }
        }
        progress
    }

    #[inline]
    fn is_ready(&self, index: usize) -> bool {
        let cell = &self.shared.services[index];
        let has_room = |port: usize, chunks: u32| {
            self.shared.ports[port].queue.borrow_mut().tx_room() >= chunks
        };
        cell.ready.get()
            || self.residents[index].task.take_woken()
            || matches!(cell.waiting.get(), Waiting::Room { port, chunks } if has_room(port, chunks))
    }

    fn poll(&mut self, index: usize, now_ns: u64) {
        let cell = &self.shared.services[index];
        cell.before_poll();
        cell.account.metrics.counters.polls.increment();
        let resident = &mut self.residents[index];
        self.progress.enter(resident.watched_as);
        let ended = resident.task.poll();
        self.progress.leave();
        for port in &self.shared.ports {
            port.flush_stage(&cell.account);
        }
        self.attribute_reclaimed(index);
        match ended {
            None => self.arm(index),
            Some(ended) => self.end(index, ended, now_ns),
        }
    }

    /// Frames that were dropped without a verdict since the last service was polled were this
    /// one's.
    pub(crate) fn attribute_reclaimed(&mut self, index: usize) {
        let reclaimed = self.shared.reclaimed();
        let count = reclaimed - self.reclaimed_seen;
        if count > 0 {
            self.reclaimed_seen = reclaimed;
            let cell = &self.shared.services[index];
            cell.settled(u32::try_from(count).expect("no more than the UMEM has"));
            cell.account.metrics.counters.reclaimed_frames.add(count);
        }
    }

    /// Cleans up after a service that ended, and decides whether it comes back.
    pub(crate) fn end(&mut self, index: usize, ended: Ended, now_ns: u64) {
        let cell = &self.shared.services[index];
        let resident = &mut self.residents[index];
        // The service is gone for now: nothing wakes it but a restart.
        cell.before_poll();
        cell.running.set(false);
        let mut inbox = cell.inbox.borrow_mut();
        let reason = cell.account.reasons.abandoned;
        let abandoned = self.shared.drop_frames(cell, inbox.drain(..), reason);
        cell.settled(abandoned);
        // The future is dropped, so what is still held can never be settled: `mem::forget`.
        let leaked = cell.held.replace(0);
        let counters = &cell.account.metrics.counters;
        counters.leaked_frames.add(u64::from(leaked));
        let (shard, service) = (self.shared.id, &*cell.name);
        if leaked > 0 {
            error!(%shard, service, leaked, "leaked frames; their chunks are lost until the end");
        }
        match &ended {
            Ended::Finished => info!(%shard, service, "finished"),
            Ended::Failed(cause) => {
                counters.failures.increment();
                warn!(%shard, service, %cause, "failed");
            }
            Ended::Panicked(message) => {
                counters.panics.increment();
                error!(%shard, service, %message, "panicked");
            }
        }
        let failed = !matches!(ended, Ended::Finished);
        let again =
            failed && self.drain.is_none() && resident.failures.allow(self.policy.restart, now_ns);
        if again {
            resident.state = State::AwaitsRestart;
            cell.deadline_ns.set(now_ns + RESTART_DELAY_NS);
        } else {
            if failed {
                warn!(%shard, service, "stays away");
            }
            resident.state = State::Gone(ended);
        }
        drop(inbox);
        self.arm(index);
    }

    fn restart(&mut self, index: usize, now_ns: u64) {
        let cell = &self.shared.services[index];
        cell.before_poll();
        cell.account.metrics.counters.restarts.increment();
        if let Err(error) = self.begin(index) {
            self.end(index, Ended::Failed(error.to_string().into()), now_ns);
        }
    }
}
