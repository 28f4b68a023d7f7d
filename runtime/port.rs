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
use std::error::Error;

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::xsk::Queue;

use crate::burst::Frames;
use crate::tally::{Tally, add};
use crate::verdict::DropReason;

/// The way of a validated packet back into the kernel stack, onto its own interface.
///
/// An object, so that `sim` can record what a service reinjects; the one virtual call per packet
/// vanishes beside the copy that it makes.
pub trait Reinject {
    /// Copies the packet into the batch, which may be handed over when full. False when the batch
    /// is full and could not be handed over: the packet was not taken.
    fn inject(&mut self, packet: &[u8], now_ns: u64) -> bool;

    /// Hands the batch over, at the end of a turn. Returns how many packets the kernel refused
    /// since the last call.
    fn flush(&mut self, now_ns: u64) -> u32;
}

/// For a port that reinjects nothing: takes no packet.
#[derive(Debug)]
pub struct NoReinject;

impl Reinject for NoReinject {
    fn inject(&mut self, _: &[u8], _: u64) -> bool {
        false
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
    /// Octets that a blank frame can hold, Ethernet header included.
    pub chunk_capacity_octets: usize,
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
    pub(crate) counts: PortCounts,
}

/// What the shard did with the frames of a port, beyond what its queue counts.
#[derive(Debug, Default)]
pub(crate) struct PortCounts {
    /// Handed to a service.
    pub(crate) delivered: Cell<u64>,
    /// Dropped: no service has the selector.
    pub(crate) unclaimed: Cell<u64>,
    /// Packets that the kernel refused to take back.
    pub(crate) reinject_refused: Cell<u64>,
}

impl Port {
    pub(crate) fn new(mut queue: Queue, reinject: Box<dyn Reinject>, number: u16) -> Self {
        queue.set_port(number);
        Self {
            queue: RefCell::new(queue),
            reinject: RefCell::new(reinject),
            reinject_dirty: Cell::new(false),
            stage: RefCell::default(),
            counts: PortCounts::default(),
        }
    }

    #[inline]
    pub(crate) fn release(&self, frame: Frame) {
        self.queue.borrow_mut().release(frame);
    }

    /// Puts a frame among those that go out together.
    ///
    /// # Panics
    ///
    /// When the frame is empty: here, in the service that did it, not where the ring refuses it.
    #[inline]
    pub(crate) fn transmit(&self, frame: Frame, tally: &Tally) {
        assert!(!frame.is_empty(), "an empty frame cannot be transmitted");
        let mut stage = self.stage.borrow_mut();
        stage.push(frame);
        if stage.len() == stage.inline_size() {
            drop(stage);
            self.flush_stage(tally);
        }
    }

    /// Publishes what is staged. What finds no room, also after a wake-up, is dropped: whoever
    /// transmits does not wait, and a frame that waits here would be late and in the way.
    pub(crate) fn flush_stage(&self, tally: &Tally) {
        let mut stage = self.stage.borrow_mut();
        if stage.is_empty() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let octets_before = queue.stats().tx_octets;
        let mut count = queue.send(&mut stage);
        if !stage.is_empty() {
            queue.kick();
            count += queue.send(&mut stage);
        }
        add(&tally.flow.transmitted, u64::from(count));
        add(&tally.flow.sent_octets, queue.stats().tx_octets - octets_before);
        tally.drop(DropReason::TX_FULL, stage.len() as u64);
        for frame in stage.drain(..) {
            queue.release(frame);
        }
    }

    /// Gives the packet back to the kernel and the frame to the pool.
    pub(crate) fn reinject(&self, frame: Frame, tally: &Tally, now_ns: u64) {
        if self.reinject.borrow_mut().inject(frame.bytes(), now_ns) {
            self.reinject_dirty.set(true);
            add(&tally.flow.reinjected, 1);
        } else {
            tally.drop(DropReason::REINJECT_FULL, 1);
        }
        self.release(frame);
    }

    /// Takes a blank frame.
    #[inline]
    pub(crate) fn take(&self) -> Option<Frame> {
        self.queue.borrow_mut().take()
    }

    /// Puts frames on the TX ring behind those that the service transmitted before.
    pub(crate) fn send(&self, group: &mut Frames, tally: &Tally) -> u32 {
        self.flush_stage(tally);
        let mut queue = self.queue.borrow_mut();
        let octets_before = queue.stats().tx_octets;
        let count = queue.send(group);
        add(&tally.flow.sent, u64::from(count));
        add(&tally.flow.sent_octets, queue.stats().tx_octets - octets_before);
        count
    }

    /// One wake-up now.
    pub(crate) fn kick(&self) {
        self.queue.borrow_mut().kick();
    }

    /// The end of a turn: everything handed over, one wake-up, the fill ring filled up.
    #[inline]
    pub(crate) fn end_turn(&self, now_ns: u64) {
        let mut queue = self.queue.borrow_mut();
        queue.refill();
        queue.kick();
        drop(queue);
        if self.reinject_dirty.replace(false) {
            let refused = self.reinject.borrow_mut().flush(now_ns);
            add(&self.counts.reinject_refused, u64::from(refused));
        }
    }

    /// Frames that were dropped without a verdict and came back by themselves.
    #[inline]
    pub(crate) fn reclaimed(&self) -> u64 {
        self.queue.borrow().reclaimed_frames()
    }
}
