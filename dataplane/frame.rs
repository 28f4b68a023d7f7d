//! The frame: a move-only handle to one chunk and the packet in it.
//!
//! # The law
//!
//! A frame is owned by exactly one of pool, fill ring, RX ring, shard, TX ring, completion ring.
//! Whoever has a [`Frame`] has the chunk alone. It ends by being sent
//! ([`crate::xsk::Queue::send`]) or released ([`crate::xsk::Queue::release`]); one that is merely
//! dropped finds its way back to the pool and is counted as reclaimed, and one that is used twice
//! cannot be written.

use crate::umem::Lease;

/// Octets left free in front of a packet that is built here: a cache line, so that payloads are
/// aligned and the TX metadata that some drivers read in front of the packet finds room.
pub const TX_HEADROOM: u16 = 64;

/// Selector of a packet that came without word from the steering program.
pub const NO_SELECTOR: u16 = u16::MAX;

/// One packet in one chunk, held by the shard.
#[derive(Debug)]
pub struct Frame {
    lease: Lease,
    /// Octets from the start of the chunk to the packet.
    offset: u16,
    /// Octets in the packet.
    len: u16,
    selector: u16,
    port: u16,
}

const _: () = assert!(size_of::<Frame>() == 24, "moved often: three words");

impl Frame {
    /// A frame for a packet yet to be built, empty.
    pub(crate) const fn blank(lease: Lease, port: u16) -> Self {
        Self { lease, offset: TX_HEADROOM, len: 0, selector: NO_SELECTOR, port }
    }

    /// The packet of `len` octets at `offset`, which lie in the chunk.
    pub(crate) const fn received(
        lease: Lease,
        offset: u16,
        len: u16,
        selector: u16,
        port: u16,
    ) -> Self {
        Self { lease, offset, len, selector, port }
    }

    /// The packet, from its Ethernet header on.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.lease.bytes(usize::from(self.offset), usize::from(self.len))
    }

    /// The packet, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.lease.bytes_mut(usize::from(self.offset), usize::from(self.len))
    }

    /// Octets in the packet.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the packet has no octets: a blank frame.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most octets that the packet may have where it starts now.
    pub fn capacity(&self) -> usize {
        self.lease.octets() as usize - usize::from(self.offset)
    }

    /// Sets the length of the packet. New octets hold what the chunk held before.
    ///
    /// # Panics
    ///
    /// When `octets` exceed [`Self::capacity`].
    pub fn set_len(&mut self, octets: usize) {
        assert!(octets <= self.capacity(), "{octets} octets of {}", self.capacity());
        self.len = u16::try_from(octets).expect("a chunk is at most 4096 octets");
    }

    /// Index of the selector that matched in the steering program, or [`NO_SELECTOR`].
    pub const fn selector(&self) -> u16 {
        self.selector
    }

    /// Number of the port (see [`crate::xsk::Queue::set_port`]) that the frame belongs to.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Address of the packet's first octet, from the start of the UMEM.
    pub(crate) fn address(&self) -> u64 {
        self.lease.address() + u64::from(self.offset)
    }

    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }

    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }
}
