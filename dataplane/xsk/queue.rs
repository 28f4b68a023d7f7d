//! A queue: the shard's end of one socket.

use core::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use smallvec::SmallVec;

use super::KernelStatistics;
use super::open::CopyMode;
use super::ring::{Consumer, Descriptor, Producer};
use super::tx_metadata::XDP_TX_METADATA;
use crate::frame::{Frame, NO_SELECTOR};
use crate::offload::TxOffloads;
use crate::steer::Metadata;
use crate::umem::{Lease, Owner, Pages, Umem};
use chains::Chains;

mod chains;
mod telling;

use telling::Telling;

/// Frames that are handled together: large enough that a ring's cache line and the service's poll
/// are paid once for many (past 64 nothing is gained), small enough that a burst stays in L1 and a
/// turn far under the pacing of a video stream.
pub const BURST_FRAMES: usize = 64;

/// A group of frames that are sent together.
pub type Group = SmallVec<[Frame; BURST_FRAMES]>;

/// The calls by which a queue reaches the kernel's half; memory does the rest.
pub trait Backend: fmt::Debug {
    /// Makes the kernel look at the TX ring.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `EBUSY`, `ENOBUFS`, `ENETDOWN` for "later", others for trouble.
    fn wake_tx(&mut self) -> io::Result<()>;
    /// Makes the kernel look at the fill ring.
    ///
    /// # Errors
    ///
    /// As for `wake_tx`.
    fn wake_rx(&mut self) -> io::Result<()>;
    /// What the kernel lost since the socket was made.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    fn statistics(&mut self) -> io::Result<KernelStatistics>;
    /// What to sleep on, if there is a kernel.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Keeps the memory of a ring in place, whatever it is.
pub(super) type Memory = Box<dyn fmt::Debug>;

/// The user-space halves of a socket's rings.
#[derive(Debug)]
pub struct Rings {
    pub(super) fill: Producer<u64, Memory>,
    pub(super) rx: Consumer<Descriptor, Memory>,
    pub(super) tx: Producer<Descriptor, Memory>,
    pub(super) completion: Consumer<u64, Memory>,
}

/// What a bind obtained, which may differ from what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// [`CopyMode::Copy`] or [`CopyMode::ZeroCopy`].
    pub copy: CopyMode,
    /// Kind of pages under the UMEM.
    pub pages: Pages,
    /// Descriptors that one wake-up sends in copy mode, where the kernel lets it be set.
    pub tx_budget: Option<u32>,
    /// Chunks that one packet may have: 1 without multi-buffer.
    pub packet_chunks_max: u32,
    /// What is done for packets that are sent.
    pub tx: TxOffloads,
}

/// What one queue did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Frames taken from the RX ring.
    pub rx_frames: u64,
    /// Chunks that they had beyond their first ones.
    pub rx_parts: u64,
    /// Octets in them, Ethernet header included.
    pub rx_octets: u64,
    /// Packets in more chunks than a frame may have, thrown away.
    pub overlong_packets: u64,
    /// Frames put on the TX ring.
    pub tx_frames: u64,
    /// Chunks that they had beyond their first ones.
    pub tx_parts: u64,
    /// Octets in them.
    pub tx_octets: u64,
    /// Chunks that came back through the completion ring.
    pub completed_frames: u64,
    /// Descriptors and addresses from the kernel that could not be true.
    pub bad_descriptors: u64,
    /// Wake-ups for TX.
    pub tx_wakes: u64,
    /// Wake-ups for RX.
    pub rx_wakes: u64,
    /// Wake-ups answered `EAGAIN`: more is left than one call sends.
    pub wake_again: u64,
    /// Wake-ups answered `EBUSY`.
    pub wake_busy: u64,
    /// Wake-ups answered `ENOBUFS`: the interface's own queue is full.
    pub wake_no_buffers: u64,
    /// Wake-ups answered `ENETDOWN`: the interface is down.
    pub wake_link_down: u64,
    /// Wake-ups answered anything else.
    pub wake_other: u64,
}

/// How it stands with what was given to the kernel for sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxState {
    /// Chunks on the TX ring that the kernel has not taken.
    pub waiting: u32,
    /// Chunks that it was given and that have not come back, those included.
    pub outstanding: u32,
    /// Whether it refused when it was last asked to send: the link is down, or gone.
    pub refuses: bool,
    /// Packets that it took, threw away and said so since the queue was opened: without a carrier,
    /// copy mode loses one at each wake-up (`NET_XMIT_DROP` in `net/xdp/xsk.c` becomes `EBUSY`).
    pub thrown_away: u64,
}

/// Where the chunks of a queue are: the frame law as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// In the pool.
    pub free: u32,
    /// In the fill ring or in the driver's hands.
    pub fill: u32,
    /// In the RX ring.
    pub rx: u32,
    /// With the shard, one for each frame: bursts and services.
    pub held: u32,
    /// With the shard, behind the first ones of frames that have several.
    pub held_parts: u32,
    /// In the TX ring or in the driver's hands.
    pub tx: u32,
    /// In the completion ring.
    pub completion: u32,
    /// All there are.
    pub total: u32,
}

impl Census {
    /// Chunks that are nowhere. Anything but 0 is a bug of ours.
    pub const fn unaccounted(&self) -> u32 {
        let held = self.held + self.held_parts;
        let found = self.free + self.fill + self.rx + held + self.tx + self.completion;
        self.total.abs_diff(found)
    }
}

/// One socket, its rings and its UMEM.
#[derive(Debug)]
pub struct Queue {
    // Order matters: the socket is closed first, then the rings are unmapped, then the UMEM goes.
    backend: Box<dyn Backend>,
    rings: Rings,
    umem: Umem,
    bind: Bind,
    /// Chunks that the fill ring should hold.
    fill_frames: u32,
    /// Frames were put on the TX ring since the kernel last took all of them.
    tx_pending: bool,
    tx_call: TxCall,
    /// What the last wake-up for TX was answered with was no "later".
    tx_refused: bool,
    /// Wake-ups for TX that were answered `EBUSY`.
    tx_busy: u64,
    stats: QueueStats,
    /// Where packets may lie in several chunks. All others take the short ways.
    chains: Option<Chains>,
    /// Where the steering program wants to know how far the shard is.
    telling: Option<Telling>,
}

/// Whether a call would tell the kernel something about the TX ring that it does not know.
///
/// In copy mode the call itself sends, so each one does. In zero-copy it only has the driver look
/// at the ring, soon and on its own account, and asking again before it has looked is for nothing:
/// a shard turns tens of times until then. Later it is not: a driver takes a batch, or what its own
/// ring has room for, and some wait for another call before they take the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TxCall {
    /// There is something new: frames from us, or room in the driver's hands.
    Due,
    /// The kernel was told, when so many frames were waiting.
    Made { waiting: u32 },
}

impl Queue {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        rings: Rings,
        umem: Umem,
        bind: Bind,
        fill_frames: u32,
    ) -> Self {
        let fill_frames = fill_frames.min(rings.fill.size());
        let stats = QueueStats::default();
        umem.set_tx_offloads(bind.tx);
        let chains = (bind.packet_chunks_max > 1).then(|| {
            umem.allow_chains();
            Chains::new(bind.packet_chunks_max, rings.tx.size())
        });
        let mut queue = Self {
            backend,
            rings,
            umem,
            bind,
            fill_frames,
            tx_pending: false,
            tx_call: TxCall::Due,
            tx_refused: false,
            tx_busy: 0,
            stats,
            chains,
            telling: None,
        };
        queue.refill();
        queue
    }

    /// Numbers the queue among the ports of its shard; its frames carry the number.
    pub fn set_port(&mut self, port: u16) {
        self.umem.set_port(port);
    }

    /// What the bind obtained.
    pub const fn obtained(&self) -> Bind {
        self.bind
    }

    /// Says what is obtained for packets that are sent; their frames know it from then on. Less than
    /// the bind obtained may be said at any time, more only by who plays the kernel.
    pub fn set_tx_offloads(&mut self, tx: TxOffloads) {
        self.bind.tx = tx;
        self.umem.set_tx_offloads(tx);
    }

    /// Takes up to `max` received frames. Descriptors that cannot be true are counted, not taken.
    #[inline]
    pub fn recv(&mut self, into: &mut impl Extend<Frame>, max: u32) -> u32 {
        if self.chains.is_some() {
            return self.recv_packets(into, max);
        }
        let Self { rings, umem, stats, .. } = self;
        let before = stats.rx_frames;
        rings.rx.peek_burst(max, |descriptor| umem.prefetch(descriptor.addr));
        rings.rx.pop_burst(max, |descriptor| {
            // `Some` extends by one without a loop.
            match receive(umem, descriptor) {
                Some(frame) => {
                    stats.rx_frames += 1;
                    stats.rx_octets += u64::from(descriptor.len);
                    into.extend(Some(frame));
                }
                None => stats.bad_descriptors += 1,
            }
        });
        u32::try_from(self.stats.rx_frames - before).expect("at most max")
    }

    /// Frames that wait in the RX ring.
    pub fn rx_waiting(&self) -> u32 {
        self.rings.rx.waiting()
    }

    /// Takes a blank frame from the pool.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        Some(Frame::blank(self.umem.take()?))
    }

    /// Octets that a blank frame can hold, in one chunk.
    pub fn blank_capacity(&self) -> usize {
        self.umem.chunk_octets() as usize - usize::from(crate::frame::TX_HEADROOM)
    }

    /// Puts frames of this queue on the TX ring, from the front of `group`; returns how many found
    /// room, each with all its chunks. The rest stay in `group`. [`Self::kick`] hands them over.
    ///
    /// # Panics
    ///
    /// When a frame belongs to another queue's UMEM or is empty: a service's own mistake, which
    /// the kernel would otherwise answer by sending what it should not.
    #[inline]
    pub fn send(&mut self, group: &mut Group) -> u32 {
        if self.chains.is_some() {
            return self.send_packets(group);
        }
        let Self { rings, umem, stats, .. } = self;
        let want = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let fit = rings.tx.free(want).min(want);
        let mut octets = 0;
        let mut descriptors = group.drain(..fit as usize).map(|frame| {
            assert!(frame.lease().is_of(umem), "a frame of another UMEM");
            assert!(!frame.is_empty(), "an empty frame");
            let len = u32::try_from(frame.len()).expect("a chunk is at most 4096 octets");
            let options = if frame.asks() { XDP_TX_METADATA } else { 0 };
            let descriptor = Descriptor { addr: frame.address(), len, options };
            octets += u64::from(len);
            frame.into_lease().give_to_tx();
            descriptor
        });
        let sent = rings.tx.push_burst(&mut descriptors);
        debug_assert_eq!(sent, fit, "the room was asked for just before");
        drop(descriptors);
        stats.tx_frames += u64::from(sent);
        stats.tx_octets += octets;
        if sent > 0 {
            self.tx_pending = true;
            self.tx_call = TxCall::Due;
        }
        sent
    }

    /// Room on the TX ring now, in chunks.
    pub fn tx_room(&mut self) -> u32 {
        self.rings.tx.free(self.rings.tx.size())
    }

    /// Puts a frame back into the pool.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        debug_assert!(frame.lease().is_of(&self.umem), "a frame of another UMEM");
        frame.release();
    }

    /// Takes back what the kernel has sent; returns how many chunks.
    #[inline]
    pub fn reap(&mut self) -> u32 {
        if self.umem.count(Owner::Tx) == 0 {
            return 0;
        }
        let Self { rings, umem, stats, .. } = self;
        let before = stats.completed_frames;
        rings.completion.pop_burst(u32::MAX, |address| {
            if umem.put_back(address, Owner::Tx) {
                stats.completed_frames += 1;
            } else {
                stats.bad_descriptors += 1;
            }
        });
        let reaped = u32::try_from(self.stats.completed_frames - before).expect("at most a ring");
        if reaped > 0 {
            // A driver whose completion ring was full takes no more until it is told.
            self.tx_call = TxCall::Due;
        }
        reaped
    }

    /// Gives the kernel chunks to receive into, as many as `fill_frames` says and the pool has.
    #[inline]
    pub fn refill(&mut self) {
        let missing = self.fill_frames.saturating_sub(self.umem.count(Owner::Fill));
        // A cache line of addresses at a time at the least: each publication costs one line.
        if missing < 8 {
            return;
        }
        let room = self.rings.fill.free(missing).min(missing).min(self.umem.count(Owner::Pool));
        let umem = &self.umem;
        let mut addresses =
            (0..room).map(|_| umem.take_for_fill().expect("the pool was counted just before"));
        self.rings.fill.push_burst(&mut addresses);
    }

    /// Makes one system call if frames wait and the kernel wants to be told what it does not know.
    ///
    /// Its flag is read in every turn while frames wait: a driver raises it after it has looked at
    /// the ring, and what was put there in between is found by the next look.
    #[inline]
    pub fn kick(&mut self) {
        if self.tx_pending {
            self.wake_tx();
        }
        if self.rings.fill.needs_wakeup() {
            self.stats.rx_wakes += 1;
            let answer = self.backend.wake_rx();
            self.count(answer);
        }
    }

    fn wake_tx(&mut self) {
        if self.tx_call_is_due() && self.rings.tx.needs_wakeup() {
            self.stats.tx_wakes += 1;
            let answer = self.backend.wake_tx();
            self.tx_call = TxCall::Made { waiting: self.rings.tx.waiting() };
            let errno = answer.as_ref().err().map(io::Error::raw_os_error);
            self.tx_busy += u64::from(errno == Some(Some(libc::EBUSY)));
            self.tx_refused = !matches!(errno, None | Some(Some(libc::EAGAIN | libc::ENOBUFS)));
            self.count(answer);
        }
        // In copy mode one call sends a budget's worth: what is left is for the next kick.
        self.tx_pending = self.rings.tx.waiting() > 0;
    }

    fn tx_call_is_due(&self) -> bool {
        match self.tx_call {
            TxCall::Due => true,
            TxCall::Made { .. } if self.bind.copy != CopyMode::ZeroCopy => true,
            // It has looked since, and has left some.
            TxCall::Made { waiting } => self.rings.tx.waiting() != waiting,
        }
    }

    /// Has the next [`Self::kick`] tell the kernel again of frames that it was told of and has not
    /// taken: for a link that was down, and for whatever a driver forgets.
    pub fn tell_again(&mut self) {
        self.tx_call = TxCall::Due;
    }

    fn count(&mut self, answer: io::Result<()>) {
        let Err(error) = answer else { return };
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN) => &mut self.stats.wake_again,
            Some(libc::EBUSY) => &mut self.stats.wake_busy,
            Some(libc::ENOBUFS) => &mut self.stats.wake_no_buffers,
            Some(libc::ENETDOWN) => &mut self.stats.wake_link_down,
            _ => &mut self.stats.wake_other,
        };
        *counter += 1;
    }

    /// Whether frames wait on the TX ring, as of the last kick.
    pub const fn tx_pending(&self) -> bool {
        self.tx_pending
    }

    /// How it stands with what was given to the kernel for sending.
    pub fn tx_state(&self) -> TxState {
        TxState {
            waiting: self.rings.tx.waiting(),
            outstanding: self.tx_outstanding(),
            refuses: self.tx_refused,
            thrown_away: match self.bind.copy {
                CopyMode::ZeroCopy => 0,
                CopyMode::Auto | CopyMode::Copy => self.tx_busy,
            },
        }
    }

    /// Chunks given to the kernel for sending that have not come back.
    pub fn tx_outstanding(&self) -> u32 {
        self.umem.count(Owner::Tx)
    }

    /// What to sleep on for received packets, if there is a kernel.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.backend.fd()
    }

    /// What the kernel lost.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    pub fn kernel_statistics(&mut self) -> io::Result<KernelStatistics> {
        self.backend.statistics()
    }

    /// Counters of this queue.
    pub const fn stats(&self) -> &QueueStats {
        &self.stats
    }

    /// Frames that were released: neither sent nor dropped unsettled.
    pub fn released_frames(&self) -> u64 {
        self.umem.released()
    }

    /// Frames that were dropped unsettled and came back by themselves.
    pub fn reclaimed_frames(&self) -> u64 {
        self.umem.reclaimed()
    }

    /// Where the chunks are now.
    pub fn census(&self) -> Census {
        let rx = self.rings.rx.waiting();
        let completion = self.rings.completion.waiting();
        let held_parts = self.umem.parts();
        Census {
            free: self.umem.count(Owner::Pool),
            fill: self.umem.count(Owner::Fill).saturating_sub(rx),
            rx,
            held: self.umem.count(Owner::Shard).saturating_sub(held_parts),
            held_parts,
            tx: self.umem.count(Owner::Tx).saturating_sub(completion),
            completion,
            total: self.umem.frames(),
        }
    }
}

/// The frame that a descriptor means, if it can be true and is a whole packet.
#[inline]
fn receive(umem: &Umem, descriptor: Descriptor) -> Option<Frame> {
    let (mut lease, offset, len) = lease(umem, descriptor)?;
    let Some(metadata) = metadata(&lease, offset) else {
        return Some(Frame::received(lease, offset, len, NO_SELECTOR));
    };
    if metadata.numbered
        && let Some(number) = number(&lease, offset)
    {
        umem.number(&mut lease, number);
    }
    let mut frame = Frame::received(lease, offset, len, metadata.selector);
    if metadata.ordered {
        frame.set_ordered();
    }
    Some(frame)
}

/// The chunk that a descriptor means, with offset and length of what is in it, if it can be true.
#[inline]
fn lease(umem: &Umem, descriptor: Descriptor) -> Option<(Lease, u16, u16)> {
    let chunk_octets = umem.chunk_octets();
    let offset = u32::try_from(descriptor.addr & u64::from(chunk_octets - 1)).ok()?;
    // `options` is not 0 for a part of a packet that goes on in the next descriptor
    // (XDP_PKT_CONTD): where that was not asked for at bind, it cannot be true.
    if descriptor.options != 0 || descriptor.len == 0 || descriptor.len > chunk_octets - offset {
        return None;
    }
    let (offset, len) = (u16::try_from(offset).ok()?, u16::try_from(descriptor.len).ok()?);
    Some((umem.lease(descriptor.addr, Owner::Fill)?, offset, len))
}

/// What the steering program wrote right in front of the packet.
#[inline]
fn metadata(lease: &Lease, offset: u16) -> Option<Metadata> {
    let start = usize::from(offset).checked_sub(Metadata::LEN)?;
    let word = lease.bytes(start, Metadata::LEN).first_chunk().expect("as long as was asked for");
    Metadata::parse(word)
}

/// The number that it wrote in front of that.
#[inline]
fn number(lease: &Lease, offset: u16) -> Option<u64> {
    let start = usize::from(offset).checked_sub(Metadata::LEN + Metadata::NUMBER_LEN)?;
    let octets = lease.bytes(start, Metadata::NUMBER_LEN);
    Some(u64::from_ne_bytes(*octets.first_chunk().expect("as long as was asked for")))
}
