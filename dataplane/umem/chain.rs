//! Chains: one packet in several chunks, with one lease for all of them.
//!
//! ```text
//!   Lease ──► first chunk ──link──► chunk ──link──► chunk        all of them the shard's
//! ```
//!
//! The lease is that of the first chunk and says by a bit that there are more; where they are, and
//! which octets of them are the packet's, stands in a table beside the table of owners. A UMEM whose
//! socket takes no packets of several chunks has no such table, and its leases never have the bit.
//!
//! A chunk is linked by `Lease::link`, which uses up the lease that it had of its own, and is
//! free of its link only when the whole chain leaves the shard. So each is in one chain, once, and
//! no chain comes back to itself.

use core::cell::Cell;
use std::rc::Rc;

use super::{Arena, CHAIN, GIVEN, Lease, Owner, Umem};

/// Most chunks of one packet.
///
/// `MAX_SKB_FRAGS` of the kernel by its usual configuration: who sends in copy mode has each chunk
/// become a part of the kernel's own packet, and one with more parts is thrown away there without
/// its chunks ever coming back (`xsk_build_skb()` of `net/xdp/xsk.c`). What is received obeys the
/// same bound, so that it can be sent. 17 chunks of 4096 octets hold 65,280 octets of a received
/// packet, and any IP packet that is built here.
pub const CHUNKS_MAX: u32 = 17;

/// Where a packet goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The chunk behind this one, or [`END`].
    next: u32,
    /// Which octets of this chunk belong to the packet; the first chunk's holder knows its own.
    offset: u16,
    len: u16,
}

/// No chunk: the packet ends here.
const END: u32 = u32::MAX;

const _: () = assert!(size_of::<Link>() == 8, "64 KiB for the chunks of a default queue");

/// Some octets of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chunk: u32,
    pub(crate) offset: u16,
    pub(crate) len: u16,
}

/// Over the places of one packet, in order.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    arena: &'a Arena,
    now: Option<Place>,
    next: u32,
}

impl<'a> Walk<'a> {
    #[inline]
    pub(super) const fn arena(&self) -> &'a Arena {
        self.arena
    }
}

impl Iterator for Walk<'_> {
    type Item = Place;

    #[inline]
    fn next(&mut self) -> Option<Place> {
        let now = self.now.take()?;
        if self.next != END {
            let chunk = self.next;
            let Link { next, offset, len } = self.arena.links()[chunk as usize].get();
            self.now = Some(Place { chunk, offset, len });
            self.next = next;
        }
        Some(now)
    }
}

impl Umem {
    /// Lets packets lie in several chunks.
    pub(crate) fn allow_chains(&self) {
        let nothing = Link { next: END, offset: 0, len: 0 };
        let table = || vec![Cell::new(nothing); self.0.owners.len()].into_boxed_slice();
        self.0.links.get_or_init(table);
    }

    /// Chunks that the shard has behind the first ones of its packets.
    #[inline]
    pub(crate) fn parts(&self) -> u32 {
        self.0.parts.get()
    }

    /// Address of the first octet of `place`, from the start of the UMEM.
    #[inline]
    pub(crate) fn address(&self, place: Place) -> u64 {
        (u64::from(place.chunk) << self.0.chunk_shift) + u64::from(place.offset)
    }
}

impl Arena {
    fn links(&self) -> &[Cell<Link>] {
        self.links.get().expect("only a UMEM that allows chains has one")
    }

    /// Passes on what is linked behind `first`.
    #[cold]
    pub(super) fn rest_to(&self, first: u32, to: Owner) {
        let links = self.links();
        let mut next = links[first as usize].get().next;
        while next != END {
            let chunk = next;
            // Before it is passed on: then it may be linked anew.
            next = links[chunk as usize].get().next;
            match to {
                Owner::Pool => self.put_back(chunk, Owner::Shard),
                owner => self.pass(chunk, Owner::Shard, owner),
            }
            self.parts.set(self.parts.get() - 1);
        }
    }
}

impl Lease {
    /// Whether the packet lies in several chunks.
    #[inline]
    pub(crate) const fn is_chain(&self) -> bool {
        self.word & CHAIN != 0
    }

    /// Lets the packet go on in other chunks of the same UMEM, of each of which `len` octets from
    /// `offset` are its own. One hold on all of them is left, this one.
    ///
    /// # Panics
    ///
    /// When one is of another UMEM or linked already, or when the UMEM allows no chains.
    pub(crate) fn link(&mut self, rest: impl DoubleEndedIterator<Item = (Self, u16, u16)>) {
        assert!(!self.is_chain(), "linked once");
        let links = self.arena.links();
        let (mut next, mut count) = (END, 0);
        for (mut part, offset, len) in rest.rev() {
            assert!(Rc::ptr_eq(&part.arena, &self.arena), "a chunk of another UMEM");
            assert!(!part.is_chain(), "linked once");
            let chunk = part.chunk();
            links[chunk as usize].set(Link { next, offset, len });
            // From here on it is held by way of its link.
            part.word |= GIVEN;
            next = chunk;
            count += 1;
        }
        links[self.chunk() as usize].set(Link { next, offset: 0, len: 0 });
        self.arena.parts.set(self.arena.parts.get() + count);
        if count > 0 {
            self.word |= CHAIN;
        }
    }

    /// The places of the packet whose first is `len` octets from `offset` of the chunk.
    #[inline]
    pub(crate) fn walk(&self, offset: u16, len: u16) -> Walk<'_> {
        let chunk = self.chunk();
        let next =
            if self.is_chain() { self.arena.links()[chunk as usize].get().next } else { END };
        Walk { arena: &self.arena, now: Some(Place { chunk, offset, len }), next }
    }

    /// Gives the chunk to the kernel for sending, and all that are linked behind it.
    pub(crate) fn give_all_to_tx(self) {
        if self.is_chain() {
            self.arena.rest_to(self.chunk(), Owner::Tx);
        }
        self.give_to_tx();
    }

    /// Puts the chunk back into the pool as if the shard never had it: neither released nor lost.
    pub(crate) fn decline(mut self) {
        debug_assert!(!self.is_chain(), "declined before it is linked");
        self.word |= GIVEN;
        self.note_end();
        self.arena.put_back(self.chunk(), Owner::Shard);
    }
}
