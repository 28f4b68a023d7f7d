//! The frame: a move-only handle to one packet and the memory in which it lies.
//!
//! # The law
//!
//! A frame is owned by exactly one of pool, fill ring, RX ring, shard, TX ring, completion ring.
//! Whoever has a [`Frame`] has the chunk alone. It ends by being sent
//! ([`crate::xsk::Queue::send`]) or released ([`Frame::release`]); one that is merely
//! dropped finds its way back to the pool and is counted as reclaimed, and one that is used twice
//! cannot be written.
//!
//! # Long packets
//!
//! One frame is one packet, also where that lies in several chunks (a jumbo packet, on a queue that
//! obtained multi-buffer): sent, released or dropped, it takes all of its chunks along. The octets
//! of each chunk are a *part*. [`Frame::bytes`] is the first part, which begins with the headers and
//! for most packets is all there is; [`Frame::octets`] counts the whole packet, and
//! [`Frame::parts`] shows it. Whoever judges a packet by its length asks for `octets`.

use crate::offload::TxOffloads;
use crate::umem::chain::{CHUNKS_MAX, Walk};
use crate::umem::{Lease, Parts, PartsMut, TAG_BITS};

/// Octets left free in front of a packet that is built here: a cache line, so that payloads are
/// aligned and the TX metadata that some drivers read in front of the packet finds room.
pub const TX_HEADROOM: u16 = 64;

/// Selector of a packet that came without word from the steering program.
pub const NO_SELECTOR: u16 = u16::MAX;

/// One packet, held by the shard.
///
/// Where its first part lies and which selector it matched are kept in the lease's own word (see
/// [`Lease`] for why): from bit 0 the offset, then the length, then the selector, then whether
/// something is asked in front of it (see [`crate::offload`]), then whether it is to keep its place.
#[derive(Debug)]
pub struct Frame {
    lease: Lease,
}

/// Offsets are below a chunk's 4096 octets.
const OFFSET_BITS: u32 = 12;
/// Lengths go up to 4096.
const LEN_BITS: u32 = 13;
/// Selectors go up to 63; all bits set stand for [`NO_SELECTOR`].
const SELECTOR_BITS: u32 = 14;
const SELECTOR_NONE: u16 = (1 << SELECTOR_BITS) - 1;
/// Set where TX metadata stand in front of the packet.
const ASKS: u64 = 1 << (OFFSET_BITS + LEN_BITS + SELECTOR_BITS);
/// Set where the packet came for its place in its flow.
const ORDERED: u64 = ASKS << 1;

const _: () = assert!(ORDERED.trailing_zeros() < TAG_BITS, "they fit the word");
const _: () = assert!(size_of::<Frame>() == 16, "moved often: two registers");

impl Frame {
    /// A frame for a packet yet to be built, empty.
    #[inline]
    pub(crate) const fn blank(lease: Lease) -> Self {
        Self::received(lease, TX_HEADROOM, 0, NO_SELECTOR)
    }

    /// The packet of `len` octets at `offset`, which lie in the chunk.
    #[inline]
    pub(crate) const fn received(mut lease: Lease, offset: u16, len: u16, selector: u16) -> Self {
        debug_assert!(offset < 1 << OFFSET_BITS && len < 1 << LEN_BITS);
        // No program has a selector of more bits: such a word is not its word.
        let selector = if selector < SELECTOR_NONE { selector } else { SELECTOR_NONE };
        let tag = offset as u64
            | (len as u64) << OFFSET_BITS
            | (selector as u64) << (OFFSET_BITS + LEN_BITS);
        lease.set_tag(tag);
        Self { lease }
    }

    /// `bits` of the tag, from bit `from` on.
    #[inline]
    const fn field(&self, from: u32, bits: u32) -> u16 {
        debug_assert!(bits <= u16::BITS);
        #[allow(clippy::cast_possible_truncation)] // Masked to 16 bits at most.
        let field = (self.lease.tag() >> from & ((1 << bits) - 1)) as u16;
        field
    }

    #[inline]
    const fn offset(&self) -> usize {
        self.field(0, OFFSET_BITS) as usize
    }

    /// The packet, from its Ethernet header on; of a packet in several chunks the first part, which
    /// is longer than any headers that the steering program reads.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.lease.bytes(self.offset(), self.len())
    }

    /// The same, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.lease.bytes_mut(self.offset(), self.len())
    }

    /// Octets in [`Self::bytes`].
    #[inline]
    pub const fn len(&self) -> usize {
        self.field(OFFSET_BITS, LEN_BITS) as usize
    }

    /// Whether the packet has no octets: a blank frame.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most octets that the packet may have where it starts now.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.lease.octets() as usize - self.offset()
    }

    /// Sets the length of a packet in one chunk. New octets hold what the chunk held before. What was
    /// left to the driver (see [`crate::offload`]) is not: it was asked for another packet.
    ///
    /// # Panics
    ///
    /// When `octets` exceed [`Self::capacity`], or the packet lies in several chunks.
    #[inline]
    pub fn set_len(&mut self, octets: usize) {
        assert!(!self.is_chain(), "the length of a packet in several chunks is what they hold");
        assert!(octets <= self.capacity(), "{octets} octets of {}", self.capacity());
        let len_mask = ((1 << LEN_BITS) - 1) << OFFSET_BITS;
        // The kernel would not take a packet that ends before its checksum, nor any behind it.
        let tag = self.lease.tag() & !(len_mask | ASKS) | (octets as u64) << OFFSET_BITS;
        self.lease.set_tag(tag);
    }

    /// Index of the selector that matched in the steering program, or [`NO_SELECTOR`].
    #[inline]
    pub const fn selector(&self) -> u16 {
        match self.field(OFFSET_BITS + LEN_BITS, SELECTOR_BITS) {
            SELECTOR_NONE => NO_SELECTOR,
            selector => selector,
        }
    }

    /// Whether the steering program would have passed the packet to the kernel, and redirected it so
    /// that it does not overtake those of its flow that came before it: it is to be reinjected
    /// without being judged.
    #[inline]
    pub const fn is_ordered(&self) -> bool {
        self.lease.tag() & ORDERED != 0
    }

    #[inline]
    pub(crate) const fn set_ordered(&mut self) {
        let tag = self.lease.tag() | ORDERED;
        self.lease.set_tag(tag);
    }

    /// Whether TX metadata stand in front of the packet.
    #[inline]
    pub(crate) const fn asks(&self) -> bool {
        self.lease.tag() & ASKS != 0
    }

    #[inline]
    pub(crate) const fn set_asks(&mut self, asks: bool) {
        let tag = self.lease.tag() & !ASKS;
        self.lease.set_tag(if asks { tag | ASKS } else { tag });
    }

    /// The `N` octets right in front of the packet, where the chunk has so many.
    #[inline]
    pub(crate) fn front_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let start = self.offset().checked_sub(N)?;
        self.lease.bytes_mut(start, N).first_chunk_mut()
    }

    /// What the queue of this frame obtained for sending.
    #[inline]
    pub fn tx_offloads(&self) -> TxOffloads {
        self.lease.tx_offloads()
    }

    /// Number of the port (see [`crate::xsk::Queue::set_port`]) that the frame belongs to.
    #[inline]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// Whether the packet lies in several chunks: only then is there more than [`Self::bytes`].
    #[inline]
    pub const fn is_chain(&self) -> bool {
        self.lease.is_chain()
    }

    /// Octets in the whole packet.
    #[inline]
    pub fn octets(&self) -> usize {
        if self.is_chain() {
            self.walk().map(|part| usize::from(part.len)).sum()
        } else {
            self.len()
        }
    }

    /// Chunks in which the packet lies.
    #[inline]
    pub fn chunks(&self) -> u32 {
        if self.is_chain() { self.walk().fold(0, |count, _| count + 1) } else { 1 }
    }

    /// The whole packet, chunk by chunk, none of them empty unless the packet is.
    #[inline]
    pub fn parts(&self) -> Parts<'_> {
        self.lease.parts(self.field(0, OFFSET_BITS), self.field(OFFSET_BITS, LEN_BITS))
    }

    /// The same, to be changed in place.
    pub fn parts_mut(&mut self) -> PartsMut<'_> {
        self.lease.parts_mut(self.field(0, OFFSET_BITS), self.field(OFFSET_BITS, LEN_BITS))
    }

    /// The whole packet in one piece: what it is already, or a copy in `memory`, for those who need
    /// it so. Allocates where `memory` has not the capacity.
    #[inline]
    pub fn contiguous<'a>(&'a self, memory: &'a mut Vec<u8>) -> &'a [u8] {
        if !self.is_chain() {
            return self.bytes();
        }
        memory.clear();
        self.parts().for_each(|part| memory.extend_from_slice(part));
        memory
    }

    /// Puts the chunks back into their pool: the ordinary end of a frame that is not sent.
    #[inline]
    pub fn release(self) {
        self.lease.release();
    }

    /// Address of the packet's first octet, from the start of the UMEM.
    #[inline]
    pub(crate) fn address(&self) -> u64 {
        self.lease.address() + self.offset() as u64
    }

    /// Where the parts lie.
    #[inline]
    pub(crate) fn walk(&self) -> Walk<'_> {
        self.lease.walk(self.field(0, OFFSET_BITS), self.field(OFFSET_BITS, LEN_BITS))
    }

    /// Makes one packet of several frames, whose parts they become in their order. `rest` is empty
    /// afterwards.
    ///
    /// # Panics
    ///
    /// As [`Lease::link`], and when there are more than [`CHUNKS_MAX`].
    pub(crate) fn join(
        mut self,
        rest: impl DoubleEndedIterator<Item = Self> + ExactSizeIterator,
    ) -> Self {
        assert!(rest.len() < CHUNKS_MAX as usize, "{} chunks for one packet", rest.len() + 1);
        self.lease.link(rest.map(|part| {
            let place = (part.field(0, OFFSET_BITS), part.field(OFFSET_BITS, LEN_BITS));
            (part.lease, place.0, place.1)
        }));
        self
    }

    #[inline]
    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }

    #[inline]
    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }
}
