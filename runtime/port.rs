//! A shard's end of one (interface, queue).
//!
//! ```text
//!   RX ring ──► receive ──► (services) ──► settle ──┬─ Drop, Consumed ─► release
//!                                                   ├─ Transmit ───────► stage ──flush──► TX ring
//!                                                   └─ Reinject ───────► Reinject ─► release
//!   pool ──► take ──► (services) ──► send ─────────────────────────────► TX ring
//! ```
//!
//! Many services may use one port; the shard is single, so a `RefCell` is all the sharing there
//! is, and none is borrowed across a poll. Frames to transmit are staged and published to the
//! ring together; the one wake-up of the turn comes at its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::offload::TxOffloads;
use tidegate_dataplane::umem::Pages;
use tidegate_dataplane::xsk::{Bind, CopyMode, Queue, TxState};

use crate::burst::Frames;
use crate::metrics::PortCounters;
use crate::shared::Account;

/// How soon a TX ring is looked at again that the kernel leaves full, or does not empty.
///
/// No file descriptor tells of room on a TX ring. Where the kernel takes frames at all each turn
/// brings progress and the shard stays awake; this is for a link that is down or overrun, and for
/// a driver that was told of frames and has not taken them. Lower burns the core for nothing,
/// higher resumes later when the link comes back.
pub(crate) const TX_RETRY_NS: u64 = 1_000_000;

/// The way of a validated packet back into the kernel stack, onto its own interface.
///
/// An object, so that `sim` can record what a service reinjects; the one virtual call per packet
/// vanishes beside the copy that it makes.
pub trait Reinject {
    /// Copies the whole packet into the batch, which may be handed over when full.
    ///
    /// # Errors
    ///
    /// Why the packet was not taken.
    fn inject(&mut self, packet: &Frame, now_ns: u64) -> Result<(), NotTaken>;

    /// Hands the batch over, at the end of a turn. Returns how many packets the kernel refused
    /// since the last call.
    fn flush(&mut self, now_ns: u64) -> u32;
}

/// Why a packet did not go back into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The batch is full and could not be handed over.
    Full,
    /// No way back that is open takes packets of its length.
    Length,
}

/// For a port that reinjects nothing: takes no packet.
#[derive(Debug)]
pub struct NoReinject;

impl Reinject for NoReinject {
    fn inject(&mut self, _: &Frame, _: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Full)
    }

    fn flush(&mut self, _: u64) -> u32 {
        0
    }
}

/// What a service may know about a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortFacts {
    /// Name of the interface.
    pub interface: Box<str>,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its MTU in octets, Ethernet header not included.
    pub mtu: u32,
    /// The queue of the interface, counting from 0.
    pub queue: u32,
    /// Octets that a blank frame can hold in one chunk, Ethernet header included.
    pub chunk_capacity_octets: usize,
    /// Octets of the longest packet that can be built here
    /// ([`take_packet`](crate::context::ShardContext::take_packet)): more than that of one chunk only
    /// where the port obtained multi-buffer.
    pub packet_capacity_octets: usize,
    /// Where the steering program runs, in words (`native`, `generic`); empty where there is none.
    pub xdp: Box<str>,
    /// What is done for packets that are sent.
    pub tx: TxOffloads,
}

impl PortFacts {
    /// What was obtained, in words, for whoever looks at the port's numbers.
    pub(crate) fn obtained(&self, bind: Bind) -> BTreeMap<String, String> {
        let copy = match bind.copy {
            CopyMode::ZeroCopy => "zero-copy",
            CopyMode::Auto | CopyMode::Copy => "copy",
        };
        let pages = match bind.pages {
            Pages::Huge => "huge",
            Pages::Auto | Pages::Ordinary => "ordinary",
        };
        let launch_time = if bind.tx.launch_time { "driver" } else { "none" };
        let mut words = BTreeMap::from([
            ("copy".to_owned(), copy.to_owned()),
            ("pages".to_owned(), pages.to_owned()),
            ("packet_chunks_max".to_owned(), bind.packet_chunks_max.to_string()),
            ("tx_checksum".to_owned(), bind.tx.checksum.to_string()),
            ("launch_time".to_owned(), launch_time.to_owned()),
        ]);
        if !self.xdp.is_empty() {
            words.insert("xdp".to_owned(), self.xdp.to_string());
        }
        if let Some(frames) = bind.tx_budget {
            words.insert("tx_budget_frames".to_owned(), frames.to_string());
        }
        words
    }
}

/// What an opener returns: the queue, the way back into the kernel, and the facts.
pub type Opened = (Queue, Box<dyn Reinject>, PortFacts);

/// Makes a port, on its shard's own thread so that its memory is local.
pub type Opener = Box<dyn FnOnce() -> Result<Opened, Box<dyn Error + Send + Sync>> + Send>;

/// One port at work.
pub(crate) struct Port {
    pub(crate) queue: RefCell<Queue>,
    reinject: RefCell<Box<dyn Reinject>>,
    reinject_dirty: Cell<bool>,
    /// Frames to transmit of the service that is being polled.
    stage: RefCell<Frames>,
    /// When the kernel is told again of frames that it leaves on the TX ring.
    tx_retry_at_ns: Cell<u64>,
    /// In a drain: frames that had come back after transmission, and since when no more came.
    tx_last: Cell<Option<(u64, u64)>>,
    tx_stuck: Cell<bool>,
    pub(crate) counters: Rc<PortCounters>,
}

impl Port {
    pub(crate) fn new(
        mut queue: Queue,
        reinject: Box<dyn Reinject>,
        counters: Rc<PortCounters>,
        number: u16,
    ) -> Self {
        queue.set_port(number);
        Self {
            queue: RefCell::new(queue),
            reinject: RefCell::new(reinject),
            reinject_dirty: Cell::new(false),
            stage: RefCell::default(),
            tx_retry_at_ns: Cell::default(),
            tx_last: Cell::default(),
            tx_stuck: Cell::default(),
            counters,
        }
    }

    /// The frame's verdict was `Consumed`.
    #[inline]
    pub(crate) fn consume(&self, frame: Frame) {
        self.counters.settled_consumed.increment();
        frame.release();
    }

    /// Puts a frame among those that go out together.
    ///
    /// # Panics
    ///
    /// When the frame is empty: here, in the service that did it, not where the ring refuses it.
    #[inline]
    pub(crate) fn transmit(&self, frame: Frame, account: &Account) {
        assert!(!frame.is_empty(), "an empty frame cannot be transmitted");
        let mut stage = self.stage.borrow_mut();
        stage.push(frame);
        if stage.len() == stage.inline_size() {
            drop(stage);
            self.flush_stage(account);
        }
    }

    /// Publishes what is staged. What finds no room, also after a wake-up, is dropped: whoever
    /// transmits does not wait, and a frame that waits here would be late and in the way.
    pub(crate) fn flush_stage(&self, account: &Account) {
        let mut stage = self.stage.borrow_mut();
        if stage.is_empty() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let octets_before = queue.stats().tx_octets;
        let mut count = u64::from(queue.send(&mut stage));
        if !stage.is_empty() {
            queue.kick();
            count += u64::from(queue.send(&mut stage));
        }
        let service = &account.metrics.counters;
        service.settled_transmit.add(count);
        service.tx_frames.add(count);
        service.tx_octets.add(queue.stats().tx_octets - octets_before);
        self.counters.settled_transmit.add(count);
        if !stage.is_empty() {
            let late = stage.len() as u64;
            account.metrics.count_drop(account.reasons.tx_full, late);
            stage.drain(..).for_each(Frame::release);
        }
    }

    /// Gives the packet back to the kernel and the frame to the pool.
    pub(crate) fn reinject(&self, mut frame: Frame, account: &Account, now_ns: u64) {
        // A checksum that was left to the driver is finished here: this is not its way.
        frame.ask_nobody();
        match self.reinject.borrow_mut().inject(&frame, now_ns) {
            Ok(()) => {
                self.reinject_dirty.set(true);
                account.metrics.counters.settled_reinject.increment();
                self.counters.settled_reinject.increment();
            }
            Err(NotTaken::Full) => account.metrics.count_drop(account.reasons.reinject_full, 1),
            Err(NotTaken::Length) => account.metrics.count_drop(account.reasons.reinject_length, 1),
        }
        frame.release();
    }

    /// Takes a blank frame.
    #[inline]
    pub(crate) fn take(&self) -> Option<Frame> {
        let frame = self.queue.borrow_mut().take()?;
        self.counters.taken_frames.increment();
        Some(frame)
    }

    /// Takes a frame for a packet of so many octets.
    pub(crate) fn take_packet(&self, octets: usize) -> Option<Frame> {
        let frame = self.queue.borrow_mut().take_packet(octets)?;
        self.counters.taken_frames.increment();
        Some(frame)
    }

    /// Puts frames on the TX ring behind those that the service transmitted before.
    pub(crate) fn send(&self, group: &mut Frames, account: &Account) -> u32 {
        self.flush_stage(account);
        let mut queue = self.queue.borrow_mut();
        let octets_before = queue.stats().tx_octets;
        let count = queue.send(group);
        account.metrics.counters.tx_frames.add(u64::from(count));
        account.metrics.counters.tx_octets.add(queue.stats().tx_octets - octets_before);
        count
    }

    /// How it stands with what was given to the kernel for sending.
    pub(crate) fn tx_state(&self) -> TxState {
        self.queue.borrow().tx_state()
    }

    /// One wake-up now, and what it sent comes home at once: in copy mode the kernel is done with
    /// a frame when the call returns, and the next group is built in chunks that are still in the
    /// cache. Left to the next turn, a sender that fills the ring walks through all of its memory.
    pub(crate) fn kick(&self) {
        let mut queue = self.queue.borrow_mut();
        queue.kick();
        queue.reap();
    }

    /// The end of a turn: everything handed over, one wake-up, the fill ring filled up.
    #[inline]
    pub(crate) fn end_turn(&self, now_ns: u64) {
        let mut queue = self.queue.borrow_mut();
        queue.refill();
        if queue.tx_pending() && now_ns >= self.tx_retry_at_ns.get() {
            self.tx_retry_at_ns.set(now_ns + TX_RETRY_NS);
            queue.tell_again();
        }
        queue.kick();
        drop(queue);
        if self.reinject_dirty.replace(false) {
            let refused = self.reinject.borrow_mut().flush(now_ns);
            self.counters.reinject_refused_packets.add(u64::from(refused));
        }
        // Last: what it tells to be settled has been handed over.
        self.queue.borrow_mut().tell(now_ns);
    }

    /// In a drain: whether all was sent that will be. It is where nothing is left, and where
    /// nothing came back for `quiet_ns`.
    pub(crate) fn tx_is_over(&self, now_ns: u64, quiet_ns: u64) -> bool {
        let queue = self.queue.borrow();
        let completed = queue.stats().completed_frames;
        let since_ns = match self.tx_last.get() {
            Some((seen, since_ns)) if seen == completed => since_ns,
            _ => {
                self.tx_last.set(Some((completed, now_ns)));
                now_ns
            }
        };
        let left = queue.tx_outstanding() > 0;
        self.tx_stuck.set(left && now_ns - since_ns >= quiet_ns);
        !left || self.tx_stuck.get()
    }

    /// In a drain: whether the link takes nothing.
    pub(crate) const fn tx_is_stuck(&self) -> bool {
        self.tx_stuck.get()
    }

    /// Frames that were dropped without a verdict and came back by themselves.
    #[inline]
    pub(crate) fn reclaimed(&self) -> u64 {
        self.queue.borrow().reclaimed_frames()
    }

    /// Brings the counters that the queue keeps to where they are published.
    pub(crate) fn publish(&self) {
        let queue = self.queue.borrow();
        let (stats, census, counters) = (queue.stats(), queue.census(), &self.counters);
        for (counter, value) in [
            (&counters.rx_frames, stats.rx_frames),
            (&counters.rx_parts, stats.rx_parts),
            (&counters.rx_octets, stats.rx_octets),
            (&counters.overlong_packets, stats.overlong_packets),
            (&counters.tx_frames, stats.tx_frames),
            (&counters.tx_parts, stats.tx_parts),
            (&counters.tx_octets, stats.tx_octets),
            (&counters.completed_frames, stats.completed_frames),
            (&counters.bad_descriptors, stats.bad_descriptors),
            (&counters.reclaimed_frames, queue.reclaimed_frames()),
            (&counters.tx_wakes, stats.tx_wakes),
            (&counters.rx_wakes, stats.rx_wakes),
            (&counters.wake_errors_again, stats.wake_again),
            (&counters.wake_errors_busy, stats.wake_busy),
            (&counters.wake_errors_nobufs, stats.wake_no_buffers),
            (&counters.wake_errors_netdown, stats.wake_link_down),
            (&counters.wake_errors_other, stats.wake_other),
            (&counters.total_frames, u64::from(census.total)),
            (&counters.free_frames, u64::from(census.free)),
            (&counters.fill_frames, u64::from(census.fill)),
            (&counters.ring_rx_frames, u64::from(census.rx)),
            (&counters.held_frames, u64::from(census.held)),
            (&counters.held_parts, u64::from(census.held_parts)),
            (&counters.ring_tx_frames, u64::from(census.tx)),
            (&counters.completion_frames, u64::from(census.completion)),
        ] {
            counter.set(value);
        }
        // What was released for no other cause was dropped: one store less per packet.
        let others = counters.settled_consumed.get()
            + counters.settled_reinject.get()
            + counters.unclaimed_frames.get();
        counters.settled_drop.set(queue.released_frames() - others);
    }

    /// The same for what the kernel counts: one system call, so not as often.
    pub(crate) fn publish_kernel_statistics(&self) {
        // It fails only for a socket that was never bound.
        let Ok(kernel) = self.queue.borrow_mut().kernel_statistics() else { return };
        let counters = &self.counters;
        counters.kernel_rx_dropped.set(kernel.rx_dropped);
        counters.kernel_rx_invalid_descs.set(kernel.rx_invalid_descriptors);
        counters.kernel_tx_invalid_descs.set(kernel.tx_invalid_descriptors);
        counters.kernel_rx_ring_full.set(kernel.rx_ring_full);
        counters.kernel_rx_fill_ring_empty_descs.set(kernel.rx_fill_ring_empty);
        counters.kernel_tx_ring_empty_descs.set(kernel.tx_ring_empty);
    }
}
