//! What a service can do: receive, settle, send, wait.
//!
//! The waits of this file (`recv`, `recv_until`, `sleep_until`, `send_all`) are not woken through
//! the `Waker` of whoever polls them: the shard knows what its services wait for and polls a
//! service when it is there. They can be put into `or` and `join` together with foreign futures.
//! They must not be put into a collection that polls its members only when their own wakers were
//! called (`FuturesUnordered`): there they would sleep for ever.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::xsk::TxState;

use crate::burst::{Arrival, Burst, Delivery, Frames};
use crate::metrics::registry::ServiceMetrics;
use crate::metrics::{Counter, Gauge, Level, Word};
use crate::port::{Port, PortFacts};
use crate::shared::{Mail, ServiceCell, ShardId, Shared, Waiting};
use crate::verdict::Verdict;

/// A service's hold on its shard. Made by the shard, one per service.
pub struct ShardContext {
    shared: Rc<Shared>,
    service: Rc<ServiceCell>,
    /// Of the service: a frame that is dropped finds its counter one step sooner.
    metrics: Rc<ServiceMetrics>,
}

impl ShardContext {
    pub(crate) fn new(shared: Rc<Shared>, index: usize) -> Self {
        let service = Rc::clone(&shared.services[index]);
        let metrics = Rc::clone(&service.account.metrics);
        Self { shared, service, metrics }
    }

    #[inline]
    fn service(&self) -> &ServiceCell {
        &self.service
    }

    #[inline]
    fn port(&self, frame: &Frame) -> &Port {
        &self.shared.ports[usize::from(frame.port())]
    }

    /// The shard that this is.
    pub fn shard(&self) -> ShardId {
        self.shared.id
    }

    /// The ports of this shard, in the order of their numbers.
    pub fn ports(&self) -> &[PortFacts] {
        &self.shared.facts
    }

    /// Time of this turn: nanoseconds of `CLOCK_MONOTONIC`, or of the manual clock on `sim`.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.shared.now_ns.get()
    }

    /// The same moment as [`Self::now_ns`] in nanoseconds of TAI since 1970.
    #[inline]
    pub fn tai_ns(&self) -> u64 {
        self.shared.now_ns.get().wrapping_add(self.shared.tai_offset_ns.get())
    }

    /// TAI when the shard's clock shows 0, as last read: what turns [`Self::now_ns`] into
    /// [`Self::tai_ns`]. It changes when somebody sets the machine's clock.
    #[inline]
    pub fn tai_at_zero_ns(&self) -> u64 {
        self.shared.tai_offset_ns.get()
    }

    /// The shard's clock at this very moment, for whoever measures what happens within a turn:
    /// deadlines are by [`Self::now_ns`]. One reading, some 25 ns.
    #[inline]
    pub fn moment_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    /// Whether the shard drains. Whoever waits is told by [`Delivery::Drained`]; this is for
    /// services that compute for long.
    pub fn draining(&self) -> bool {
        self.shared.draining.get()
    }

    /// Waits for frames.
    ///
    /// # Panics
    ///
    /// When frames are left in `burst`: settle them, or move them out.
    #[inline]
    pub fn recv(&mut self, burst: &mut Burst) -> impl Future<Output = Delivery> {
        self.recv_until(burst, u64::MAX)
    }

    /// Waits for frames, but no longer than until `deadline_ns`. What is there already is
    /// received even when the deadline is past. While the shard drains, goes on receiving until
    /// its RX rings are empty.
    ///
    /// # Panics
    ///
    /// When frames are left in `burst`: settle them, or move them out.
    #[inline]
    pub fn recv_until(
        &mut self,
        burst: &mut Burst,
        deadline_ns: u64,
    ) -> impl Future<Output = Delivery> {
        assert!(burst.frames.is_empty(), "frames of the last burst were not settled");
        poll_fn(move |_| self.poll_recv(burst, deadline_ns))
    }

    /// Waits for frames or for a message to this service. The message comes first, so that a flood
    /// does not keep it waiting, and between two bursts.
    ///
    /// # Panics
    ///
    /// When frames are left in `burst`: settle them, or move them out.
    #[inline]
    pub fn recv_or_mail(&mut self, burst: &mut Burst) -> impl Future<Output = Arrival> {
        self.recv_or_mail_until(burst, u64::MAX)
    }

    /// As [`Self::recv_or_mail`], but no longer than until `deadline_ns`.
    ///
    /// # Panics
    ///
    /// When frames are left in `burst`: settle them, or move them out.
    #[inline]
    pub fn recv_or_mail_until(
        &mut self,
        burst: &mut Burst,
        deadline_ns: u64,
    ) -> impl Future<Output = Arrival> {
        assert!(burst.frames.is_empty(), "frames of the last burst were not settled");
        poll_fn(move |_| {
            let service = self.service();
            if !service.mail.borrow().is_empty() {
                if !service.burn() {
                    return Poll::Pending;
                }
                let mail = service.mail.borrow_mut().pop_front();
                return Poll::Ready(Arrival::Mail(mail.expect("looked at just before")));
            }
            let polled = self.poll_recv(burst, deadline_ns);
            if service.waiting.get() == Waiting::Frames {
                service.waiting.set(Waiting::FramesOrMail);
            }
            polled.map(|delivery| match delivery {
                Delivery::Received => Arrival::Frames,
                Delivery::TimedOut => Arrival::TimedOut,
                Delivery::Drained => Arrival::Drained,
            })
        })
    }

    fn poll_recv(&self, burst: &mut Burst, deadline_ns: u64) -> Poll<Delivery> {
        let service = self.service();
        let mut inbox = service.inbox.borrow_mut();
        if !inbox.is_empty() {
            if !service.burn() {
                return Poll::Pending;
            }
            service.hand_over(&mut inbox, &mut burst.frames);
            burst.at_ns = service.inbox_at_ns.get();
            service.account.metrics.counters.bursts.increment();
            return Poll::Ready(Delivery::Received);
        }
        if self.shared.rx_closed.get() {
            return self.drained();
        }
        service.waiting.set(Waiting::Frames);
        self.wait_until(deadline_ns)
    }

    /// Waits until `deadline_ns`: a microsecond or two late while the shard is busy, never early,
    /// except that a shard that drains ends every sleep.
    #[inline]
    pub fn sleep_until(&mut self, deadline_ns: u64) -> impl Future<Output = Delivery> {
        poll_fn(move |_| match self.shared.draining.get() {
            true => self.drained(),
            false => self.wait_until(deadline_ns),
        })
    }

    fn wait_until(&self, deadline_ns: u64) -> Poll<Delivery> {
        if deadline_ns <= self.now_ns() {
            return if self.service().burn() {
                Poll::Ready(Delivery::TimedOut)
            } else {
                Poll::Pending
            };
        }
        self.service().deadline_ns.set(deadline_ns);
        Poll::Pending
    }

    /// Says `Drained`, but not without end within one poll: a service that does not listen must
    /// not stop the shard from draining its neighbours.
    fn drained(&self) -> Poll<Delivery> {
        if self.service().burn() { Poll::Ready(Delivery::Drained) } else { Poll::Pending }
    }

    /// Gives a frame its fate. Every frame ends here or in `send`.
    #[inline]
    pub fn settle(&mut self, frame: Frame, verdict: Verdict) {
        let service = self.service();
        service.settled(1);
        match verdict {
            Verdict::Drop(reason) => {
                self.metrics.count_drop(reason, 1);
                frame.release();
            }
            Verdict::Consumed => {
                service.account.metrics.counters.settled_consumed.increment();
                self.port(&frame).consume(frame);
            }
            Verdict::Transmit => self.port(&frame).transmit(frame, &service.account),
            Verdict::Reinject => {
                self.port(&frame).reinject(frame, &service.account, self.now_ns());
            }
        }
    }

    /// The fate of frames that a [`BurstHandler`](crate::service::BurstHandler) did not settle.
    pub(crate) fn drop_unsettled(&mut self, frame: Frame) {
        let reason = self.service().account.reasons.unsettled;
        self.settle(frame, Verdict::Drop(reason));
    }

    /// A blank frame of `port`, to be filled and sent there. `None` when the pool is empty or the
    /// service holds as many frames as it may.
    ///
    /// # Panics
    ///
    /// When the shard has no such port.
    #[inline]
    pub fn take(&mut self, port: usize) -> Option<Frame> {
        self.take_by(port, Port::take)
    }

    /// A frame of `port` for a packet of `octets`, in as many chunks as that needs
    /// ([`Frame::parts_mut`]), with what the chunks held before. `None` as for [`Self::take`].
    ///
    /// # Panics
    ///
    /// When the shard has no such port, or `octets` exceed its
    /// [`packet_capacity_octets`](PortFacts::packet_capacity_octets).
    pub fn take_packet(&mut self, port: usize, octets: usize) -> Option<Frame> {
        self.take_by(port, |port| port.take_packet(octets))
    }

    #[inline]
    fn take_by(&self, port: usize, take: impl FnOnce(&Port) -> Option<Frame>) -> Option<Frame> {
        let service = self.service();
        let counters = &service.account.metrics.counters;
        if service.held.get() >= service.held_max {
            counters.over_budget.increment();
            return None;
        }
        let frame = take(&self.shared.ports[port])?;
        service.held.set(service.held.get() + 1);
        counters.taken_frames.increment();
        Some(frame)
    }

    /// Puts frames of `port` on its TX ring, from the front of `group`; returns how many found
    /// room. The rest stay in `group`. They go out at the end of the turn, or with
    /// [`Self::flush`].
    ///
    /// # Panics
    ///
    /// When a frame belongs to another port or is empty, or the shard has no such port.
    #[inline]
    pub fn send(&mut self, port: usize, group: &mut Frames) -> u32 {
        for frame in &*group {
            // Here, before the ring has taken half of the group.
            assert_eq!(usize::from(frame.port()), port, "a frame of another port");
            assert!(!frame.is_empty(), "an empty frame cannot be sent");
        }
        let service = self.service();
        let count = self.shared.ports[port].send(group, &service.account);
        service.settled(count);
        count
    }

    /// Sends all of `group`, waiting for room where the ring is full. `Received` once all are on
    /// the ring. Not cut short by a drain: what was built is sent, as long as the drain lasts;
    /// but `Drained`, with the rest in `group`, where the link turns out to take nothing.
    ///
    /// # Panics
    ///
    /// As [`Self::send`].
    #[inline]
    pub fn send_all(&mut self, port: usize, group: &mut Frames) -> impl Future<Output = Delivery> {
        poll_fn(move |_| {
            if !group.is_empty() && self.service().burn() {
                self.send(port, group);
            }
            let Some(next) = group.first() else { return Poll::Ready(Delivery::Received) };
            if self.shared.ports[port].tx_is_stuck() {
                return self.drained();
            }
            let chunks = next.chunks();
            self.service().waiting.set(Waiting::Room { port, chunks });
            Poll::Pending
        })
    }

    /// How it stands with what was given to the kernel on `port`, by all services: for who has
    /// another way, and does not wait for this one.
    ///
    /// # Panics
    ///
    /// When the shard has no such port.
    #[inline]
    pub fn tx_state(&self, port: usize) -> TxState {
        self.shared.ports[port].tx_state()
    }

    /// One wake-up for `port` now, instead of at the end of the turn.
    ///
    /// # Panics
    ///
    /// When the shard has no such port.
    pub fn flush(&mut self, port: usize) {
        let port = &self.shared.ports[port];
        port.flush_stage(&self.service().account);
        port.kick();
    }

    /// Waits for a message to this service. `None` once the shard drains.
    pub fn recv_mail(&mut self) -> impl Future<Output = Option<Mail>> {
        poll_fn(move |_| {
            let service = self.service();
            if !service.mail.borrow().is_empty() || self.shared.draining.get() {
                // Also at the end: see `drained`.
                return match service.burn() {
                    true => Poll::Ready(service.mail.borrow_mut().pop_front()),
                    false => Poll::Pending,
                };
            }
            service.waiting.set(Waiting::Mail);
            Poll::Pending
        })
    }

    /// The next message to this service, if there is one.
    pub fn try_mail(&mut self) -> Option<Mail> {
        self.service().mail.borrow_mut().pop_front()
    }

    /// Adds to a counter.
    #[inline]
    pub fn count(&mut self, counter: Counter, by: u64) {
        self.service().account.metrics.count(counter, by);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&mut self, gauge: Gauge, value: u64) {
        self.service().account.metrics.set(gauge, value);
    }

    /// Sets a level.
    #[inline]
    pub fn set_level(&mut self, level: Level, value: i64) {
        self.service().account.metrics.set_level(level, value);
    }

    /// Says the word of this number among those that were registered, counting from 0.
    #[inline]
    pub fn say(&mut self, word: Word, number: usize) {
        self.service().account.metrics.say(word, number);
    }

    /// Frames that this service has now and has not settled.
    pub fn held_frames(&self) -> u32 {
        self.service().held.get()
    }
}
