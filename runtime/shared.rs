//! What the shard and its services share: one thread's memory, reached by both through cells.
//!
//! The shard (the driver of the turn) and the contexts inside the services' futures hold the same
//! `Rc`. Nothing here is borrowed while a service is polled, except inside the one call of the
//! context that needs it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use tidegate_dataplane::frame::Frame;

use crate::burst::BURST_FRAMES_MAX;
use crate::clock::Clock;
use crate::metrics::registry::ServiceMetrics;
use crate::port::{Port, PortFacts};
use crate::verdict::{DropReason, OwnReasons};

/// Number of a shard, counting from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// Bursts and groups that one poll of a service may move before its neighbours have their turn.
///
/// A service that finds work without end (a ring that drains as fast as it is filled) would else
/// keep the shard for itself. 8 bursts of 64 are some 50 us of light work. Lower costs an
/// ordinary service a second poll where it had a full inbox; higher delays neighbours and timers.
pub(crate) const FUEL_BURSTS: u32 = 8;

/// The memory of one shard.
pub(crate) struct Shared {
    pub(crate) id: ShardId,
    /// The shard's own, for services that measure within a turn.
    pub(crate) clock: Clock,
    /// Time of this turn.
    pub(crate) now_ns: Cell<u64>,
    /// TAI minus `now_ns`, as last read.
    pub(crate) tai_offset_ns: Cell<u64>,
    /// The shard drains: no new work.
    pub(crate) draining: Cell<bool>,
    /// The shard drains and its RX rings are empty for good.
    pub(crate) rx_closed: Cell<bool>,
    pub(crate) ports: Box<[Port]>,
    /// What services may know of the ports, in the same order.
    pub(crate) facts: Box<[PortFacts]>,
    /// Each held by its context as well, which asks it for every frame.
    pub(crate) services: Box<[Rc<ServiceCell>]>,
}

/// What a service waits for, when it is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing of the shard's: a foreign waker, or only the deadline.
    Elsewhere,
    /// Frames in the inbox.
    Frames,
    /// Mail.
    Mail,
    /// Frames in the inbox, or mail.
    FramesOrMail,
    /// Room on the TX ring of a port.
    Room { port: usize, chunks: u32 },
}

/// What a service does with packets that lie in several chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Several {
    /// None come: no port of the shard has multi-buffer.
    Never,
    /// It would take the first chunk for all.
    Refused,
    /// It reads them.
    Read,
}

/// A message to a service; what is in it is between its sender and the service.
pub type Mail = Box<dyn Any + Send>;

/// Messages that may wait for a service. A bound as for everything that others fill: control
/// messages are rare, and one who sends more than this is told so.
pub(crate) const MAIL_MAX: usize = 64;

/// Where the fates of a service's frames are written down.
pub(crate) struct Account {
    pub(crate) metrics: Rc<ServiceMetrics>,
    pub(crate) reasons: OwnReasons,
}

/// The shared half of one service.
pub(crate) struct ServiceCell {
    pub(crate) name: Box<str>,
    /// Frames delivered and not yet received.
    pub(crate) inbox: RefCell<Vec<Frame>>,
    /// Time of the turn in which the first frame of the inbox was delivered.
    pub(crate) inbox_at_ns: Cell<u64>,
    /// Someone is there to receive.
    pub(crate) running: Cell<bool>,
    /// To be polled in any case.
    pub(crate) ready: Cell<bool>,
    pub(crate) waiting: Cell<Waiting>,
    /// Poll no later than this.
    pub(crate) deadline_ns: Cell<u64>,
    pub(crate) fuel: Cell<u32>,
    /// Frames that the service has, its inbox included.
    pub(crate) held: Cell<u32>,
    pub(crate) held_max: u32,
    pub(crate) several: Several,
    inbox_capacity: usize,
    pub(crate) mail: RefCell<VecDeque<Mail>>,
    pub(crate) account: Account,
}

impl ServiceCell {
    pub(crate) fn new(
        name: Box<str>,
        held_max: u32,
        several: Several,
        ports: usize,
        account: Account,
    ) -> Self {
        Self {
            name,
            inbox: RefCell::new(Vec::with_capacity(inbox_capacity(held_max, ports))),
            inbox_at_ns: Cell::new(0),
            running: Cell::new(false),
            ready: Cell::new(false),
            waiting: Cell::new(Waiting::Elsewhere),
            deadline_ns: Cell::new(u64::MAX),
            fuel: Cell::new(0),
            held: Cell::new(0),
            held_max,
            several,
            inbox_capacity: inbox_capacity(held_max, ports),
            mail: RefCell::new(VecDeque::with_capacity(MAIL_MAX)),
            account,
        }
    }

    /// Forgets what the last poll waited for, before the next one.
    #[inline]
    pub(crate) fn before_poll(&self) {
        self.ready.set(false);
        self.waiting.set(Waiting::Elsewhere);
        self.deadline_ns.set(u64::MAX);
        self.fuel.set(FUEL_BURSTS);
    }

    /// Whether the service may move one more burst in this poll. If not it is polled again next
    /// turn.
    #[inline]
    pub(crate) fn burn(&self) -> bool {
        let fuel = self.fuel.get();
        if fuel == 0 {
            self.ready.set(true);
            return false;
        }
        self.fuel.set(fuel - 1);
        true
    }

    /// Moves a burst from the inbox to `frames`, which are empty: by exchange where the whole
    /// inbox is one burst, as it mostly is.
    #[inline]
    pub(crate) fn hand_over(&self, inbox: &mut Vec<Frame>, frames: &mut Vec<Frame>) {
        if inbox.len() > BURST_FRAMES_MAX {
            frames.extend(inbox.drain(..BURST_FRAMES_MAX));
            return;
        }
        // Allocates for a burst that is new, and never again for the same one.
        frames.reserve_exact(self.inbox_capacity);
        std::mem::swap(inbox, frames);
    }

    /// A frame left the service's hands.
    #[inline]
    pub(crate) fn settled(&self, frames: u32) {
        let held = self.held.get();
        debug_assert!(frames <= held, "{frames} settled, {held} held");
        self.held.set(held - frames);
    }
}

/// Room that an inbox is made with, and the vector that it is swapped with: for all that the
/// service may hold, and for all that its ports can bring in one turn. Never grown.
pub(crate) fn inbox_capacity(held_max: u32, ports: usize) -> usize {
    (held_max as usize).max(ports * BURST_FRAMES_MAX)
}

impl Shared {
    /// Frames dropped without a verdict since start, on all ports.
    #[inline]
    pub(crate) fn reclaimed(&self) -> u64 {
        self.ports.iter().map(Port::reclaimed).sum()
    }

    /// Drops frames of any port for a service.
    pub(crate) fn drop_frames(
        &self,
        service: &ServiceCell,
        frames: impl Iterator<Item = Frame>,
        reason: DropReason,
    ) -> u32 {
        let mut count = 0;
        for frame in frames {
            frame.release();
            count += 1;
        }
        service.account.metrics.count_drop(reason, u64::from(count));
        count
    }

    /// Hands frames to a service: what is over its budget is dropped, the rest is put into its
    /// inbox. `staged` is empty afterwards and as roomy as before.
    pub(crate) fn deliver(&self, service: &ServiceCell, staged: &mut Vec<Frame>) {
        let Account { metrics, reasons } = &service.account;
        metrics.counters.rx_frames.add(staged.len() as u64);
        let octets: usize = match service.several {
            Several::Never => staged.iter().map(Frame::len).sum(),
            Several::Refused | Several::Read => staged.iter().map(Frame::octets).sum(),
        };
        metrics.counters.rx_octets.add(octets as u64);
        if !service.running.get() {
            self.drop_frames(service, staged.drain(..), reasons.abandoned);
            return;
        }
        if service.several == Several::Refused {
            let several = staged.extract_if(.., |frame| frame.is_chain());
            self.drop_frames(service, several, reasons.in_parts);
        }
        let room = service.held_max.saturating_sub(service.held.get()) as usize;
        if staged.len() > room {
            self.drop_frames(service, staged.drain(room..), reasons.over_budget);
        }
        let count = u32::try_from(staged.len()).expect("bounded by the budget");
        if count == 0 {
            return;
        }
        service.held.set(service.held.get() + count);
        if matches!(service.waiting.get(), Waiting::Frames | Waiting::FramesOrMail) {
            service.ready.set(true);
        }
        let mut inbox = service.inbox.borrow_mut();
        if inbox.is_empty() {
            service.inbox_at_ns.set(self.now_ns.get());
            std::mem::swap(&mut *inbox, staged);
        } else {
            inbox.append(staged);
        }
    }
}
