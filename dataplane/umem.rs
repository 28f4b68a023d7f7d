//! UMEM: the memory that a shard shares with the kernel, and who holds each chunk of it.
//!
//! ```text
//!   memory   | chunk 0 | chunk 1 | chunk 2 | …        equal chunks, one packet in each
//!   owner    |  Fill   |  Shard  |  Pool   | …        exactly one each
//! ```
//!
//! A chunk is in the pool, with the kernel for receiving (fill ring, the kernel's hands, RX ring),
//! with the shard, or with the kernel for sending (TX ring, the kernel's hands, completion ring).
//! The shard's hold on a chunk is a [`Lease`]: it cannot be copied, so a chunk cannot be given
//! away twice, and one that is dropped goes back to the pool and is counted. A packet that lies in
//! several chunks has one lease too, see [`chain`]. The table of owners is the second witness: what
//! the kernel returns is believed only where the table says that the kernel has it.
#![allow(unsafe_code)] // The only door to the octets of chunks.

use core::cell::{Cell, OnceCell, RefCell};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::error;
use std::io;
use std::rc::Rc;

use crate::offload::TxOffloads;
use crate::sys::mapping::Mapping;
use chain::{Link, Place, Walk};
use ledger::Ledger;

pub mod chain;
mod ledger;

/// Kind of pages under a UMEM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Huge pages where enough are reserved, else ordinary ones.
    #[default]
    Auto,
    /// The pages that all memory has.
    Ordinary,
    /// Huge pages or an error.
    Huge,
}

/// Size and kind of a UMEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Octets in a chunk: a power of two from 2048 to the page size (`xdp_umem_reg()` of
    /// `net/xdp/xdp_umem.c`).
    pub chunk_octets: u32,
    /// Number of chunks, at least 1.
    pub frames: u32,
    /// Kind of pages asked for.
    pub pages: Pages,
}

impl Default for Options {
    /// 4096 chunks of 2048 octets: 8 MiB, room for full rings in both directions.
    fn default() -> Self {
        Self { chunk_octets: 2048, frames: 4096, pages: Pages::Auto }
    }
}

/// Why a UMEM could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel takes no chunks of this size.
    Chunk {
        /// Octets asked for.
        chunk_octets: u32,
    },
    /// No frames, or more octets than an address has.
    Size {
        /// Chunks asked for.
        frames: u32,
    },
    /// No memory of the kind asked for.
    Memory {
        /// Octets asked for.
        octets: usize,
        /// Kind of pages.
        pages: Pages,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk { chunk_octets } => {
                write!(f, "chunks of {chunk_octets} octets: the kernel takes 2048 or 4096")
            }
            Self::Size { frames } => {
                write!(f, "a UMEM of {frames} frames: 1 to 1048576 are possible")
            }
            Self::Memory { octets, pages: Pages::Huge, .. } => write!(
                f,
                "no {octets} octets of huge pages for the UMEM; reserve them with \
                 `sysctl vm.nr_hugepages={}` or set pages = \"auto\"",
                octets.div_ceil(crate::sys::mapping::HUGE_PAGE_OCTETS),
            ),
            Self::Memory { octets, .. } => write!(f, "no {octets} octets of memory for the UMEM"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Memory { source, .. } => Some(source),
            Self::Chunk { .. } | Self::Size { .. } => None,
        }
    }
}

/// Most chunks in one UMEM: 4 GiB of them at most, so that an index always fits.
const FRAMES_MAX: u32 = 1 << 20;

/// Who holds a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: it lies in the pool.
    Pool = 0,
    /// The kernel, for receiving: fill ring, driver, RX ring.
    Fill = 1,
    /// The shard: exactly one [`Lease`] exists.
    Shard = 2,
    /// The kernel, for sending: TX ring, driver, completion ring.
    Tx = 3,
}

/// The chunks of one UMEM and the table of their owners. Shared by its leases, never by threads.
#[derive(Clone, Debug)]
pub struct Umem(Rc<Arena>);

#[derive(Debug)]
struct Arena {
    memory: Mapping,
    pages: Pages,
    chunk_shift: u32,
    owners: Box<[Cell<Owner>]>,
    /// Chunks by owner, kept beside the table: a quarter of a nanosecond instead of a walk.
    counts: [Cell<u32>; 4],
    /// Chunks in the pool, the last one returned on top because its cache lines are warm.
    free: RefCell<Vec<u32>>,
    /// Leases dropped without having been settled.
    reclaimed: Cell<u64>,
    /// Leases that were settled by a release.
    released: Cell<u64>,
    /// Number of the port that it belongs to.
    port: Cell<u16>,
    /// Where packets of several chunks go on; empty before [`Umem::allow_chains`].
    links: OnceCell<Box<[Cell<Link>]>>,
    /// Chunks that the shard has behind the first one of a packet: they have no lease of their own.
    parts: Cell<u32>,
    /// What its queue obtained for sending.
    tx_offloads: Cell<TxOffloads>,
    /// Where packets have numbers: which of them the shard has.
    ledger: OnceCell<RefCell<Ledger>>,
}

impl Umem {
    /// Takes the memory and puts every chunk into the pool.
    ///
    /// # Errors
    ///
    /// [`Error`] for sizes that the kernel refuses and where there is no memory.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let Options { chunk_octets, frames, pages } = *options;
        if !matches!(chunk_octets, 2048 | 4096) {
            return Err(Error::Chunk { chunk_octets });
        }
        if frames == 0 || frames > FRAMES_MAX {
            return Err(Error::Size { frames });
        }
        let octets = chunk_octets as usize * frames as usize;
        let refused = |source| Error::Memory { octets, pages, source };
        let (memory, pages) = match pages {
            Pages::Ordinary => (Mapping::ordinary(octets).map_err(refused)?, Pages::Ordinary),
            Pages::Huge => (Mapping::huge(octets).map_err(refused)?, Pages::Huge),
            Pages::Auto => match Mapping::huge(octets) {
                Ok(memory) => (memory, Pages::Huge),
                Err(_) => (Mapping::ordinary(octets).map_err(refused)?, Pages::Ordinary),
            },
        };
        Ok(Self(Rc::new(Arena {
            memory,
            pages,
            chunk_shift: chunk_octets.trailing_zeros(),
            owners: vec![Cell::new(Owner::Pool); frames as usize].into_boxed_slice(),
            counts: [Cell::new(frames), Cell::new(0), Cell::new(0), Cell::new(0)],
            free: RefCell::new((0..frames).rev().collect()),
            reclaimed: Cell::new(0),
            released: Cell::new(0),
            port: Cell::new(0),
            links: OnceCell::new(),
            parts: Cell::new(0),
            tx_offloads: Cell::default(),
            ledger: OnceCell::new(),
        })))
    }

    /// Number of chunks.
    pub fn frames(&self) -> u32 {
        u32::try_from(self.0.owners.len()).expect("at most FRAMES_MAX")
    }

    /// Octets in a chunk.
    pub fn chunk_octets(&self) -> u32 {
        1 << self.0.chunk_shift
    }

    /// Kind of pages obtained, never [`Pages::Auto`].
    pub fn pages(&self) -> Pages {
        self.0.pages
    }

    /// Address of the memory and its length in octets, as `XDP_UMEM_REG` wants them.
    pub fn region(&self) -> (u64, u64) {
        let start = self.0.memory.start().as_ptr() as u64;
        (start, u64::from(self.frames()) << self.0.chunk_shift)
    }

    /// Chunks that `owner` has now.
    #[inline]
    pub fn count(&self, owner: Owner) -> u32 {
        self.0.counts[owner as usize].get()
    }

    /// Numbers the UMEM among those of a shard: the number of its port.
    pub(crate) fn set_port(&self, port: u16) {
        self.0.port.set(port);
    }

    /// Tells its frames what their queue obtained for sending.
    pub(crate) fn set_tx_offloads(&self, offloads: TxOffloads) {
        self.0.tx_offloads.set(offloads);
    }

    /// Has it note from now on which numbered packets the shard has.
    pub(crate) fn keep_ledger(&self) {
        let _ = self.0.ledger.set(RefCell::new(Ledger::new(self.0.owners.len())));
    }

    /// The packet of `lease` has this number; its end, whichever it is, will be noted.
    pub(crate) fn number(&self, lease: &mut Lease, number: u64) {
        if let Some(ledger) = self.0.ledger.get() {
            ledger.borrow_mut().receive(lease.chunk(), number);
            lease.word |= NUMBERED;
        }
    }

    /// The number up to which all packets came to their end, and whether the shard has none.
    pub(crate) fn settled(&self) -> (u64, bool) {
        self.0.ledger.get().map_or((0, true), |ledger| {
            let ledger = ledger.borrow();
            (ledger.settled(), ledger.is_empty())
        })
    }

    /// Leases that were dropped unsettled since the start. Their chunks are back in the pool.
    pub fn reclaimed(&self) -> u64 {
        self.0.reclaimed.get()
    }

    /// Leases that were released since the start.
    pub fn released(&self) -> u64 {
        self.0.released.get()
    }

    /// Leases a chunk of the pool to the shard.
    #[inline]
    pub fn take(&self) -> Option<Lease> {
        let chunk = self.0.free.borrow_mut().pop()?;
        self.0.pass(chunk, Owner::Pool, Owner::Shard);
        Some(Lease::new(Rc::clone(&self.0), chunk))
    }

    /// Has the processor fetch what stands around `address`: the metadata in front of a packet and
    /// its headers. Another core wrote them, so each is a miss of some 100 ns; asked for a burst
    /// ahead, the misses overlap. A hint, and harmless for any address.
    #[inline]
    pub(crate) fn prefetch(&self, address: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let offset = usize::try_from(address).unwrap_or(0);
            let packet = self.0.memory.start().as_ptr().wrapping_add(offset);
            // SAFETY: a prefetch reads nothing architecturally and cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(packet.wrapping_sub(8).cast()) };
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(packet.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// Moves a chunk of the pool straight to the fill ring; returns its first address.
    #[inline]
    pub(crate) fn take_for_fill(&self) -> Option<u64> {
        let chunk = self.0.free.borrow_mut().pop()?;
        self.0.pass(chunk, Owner::Pool, Owner::Fill);
        Some(u64::from(chunk) << self.0.chunk_shift)
    }

    /// Leases to the shard the chunk in which `address` lies, if the kernel has it as `owner`.
    /// `None` for an address that the kernel cannot have meant: count it, do not believe it.
    #[inline]
    pub(crate) fn lease(&self, address: u64, owner: Owner) -> Option<Lease> {
        let chunk = self.chunk_of(address, owner)?;
        self.0.pass(chunk, owner, Owner::Shard);
        Some(Lease::new(Rc::clone(&self.0), chunk))
    }

    /// Puts back into the pool the chunk in which `address` lies, if the kernel has it as `owner`.
    #[inline]
    pub(crate) fn put_back(&self, address: u64, owner: Owner) -> bool {
        let Some(chunk) = self.chunk_of(address, owner) else { return false };
        self.0.put_back(chunk, owner);
        true
    }

    #[inline]
    fn chunk_of(&self, address: u64, owner: Owner) -> Option<u32> {
        let chunk = u32::try_from(address >> self.0.chunk_shift).ok()?;
        let found = self.0.owners.get(chunk as usize)?;
        (found.get() == owner).then_some(chunk)
    }

    /// Writes `octets` at `address` as the kernel does, into a chunk that the kernel has for
    /// receiving. For the kernel that [`crate::xsk::testing`] plays.
    ///
    /// # Panics
    ///
    /// When the chunk is not the kernel's or `octets` run past it.
    pub(crate) fn write_as_kernel(&self, address: u64, octets: &[u8]) {
        let place = self.as_kernel(address, octets.len(), Owner::Fill);
        // SAFETY: `as_kernel` has shown that the range lies in a chunk that no lease covers.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(octets).cast(), octets.len()) };
    }

    /// Reads `len` octets at `address` as the kernel does, from a chunk that it has for sending.
    ///
    /// # Panics
    ///
    /// When the chunk is not the kernel's or the range runs past it.
    pub(crate) fn read_as_kernel(&self, address: u64, len: usize) -> Vec<u8> {
        let place = self.as_kernel(address, len, Owner::Tx);
        let mut octets = vec![0; len];
        // SAFETY: `as_kernel` has shown that the range lies in a chunk that no lease covers; the
        // memory was zeroed when it was mapped, so every octet has a value.
        unsafe { place.copy_to_nonoverlapping(NonNull::from(octets.as_mut_slice()).cast(), len) };
        octets
    }

    fn as_kernel(&self, address: u64, len: usize, owner: Owner) -> NonNull<u8> {
        let chunk = self.chunk_of(address, owner).expect("a chunk that the kernel has");
        let offset = usize::try_from(address).expect("within memory")
            - ((chunk as usize) << self.0.chunk_shift);
        self.0.place(chunk, offset, len)
    }
}

impl Arena {
    #[inline]
    fn pass(&self, chunk: u32, from: Owner, to: Owner) {
        let owner = &self.owners[chunk as usize];
        debug_assert_eq!(owner.get(), from, "chunk {chunk}");
        owner.set(to);
        let (left, joined) = (&self.counts[from as usize], &self.counts[to as usize]);
        left.set(left.get() - 1);
        joined.set(joined.get() + 1);
    }

    #[inline]
    fn put_back(&self, chunk: u32, from: Owner) {
        self.pass(chunk, from, Owner::Pool);
        // Cannot grow: the vector was made with room for every chunk, and each is in it once.
        self.free.borrow_mut().push(chunk);
    }

    /// Notes the end of a numbered packet.
    fn settle(&self, chunk: u32) {
        if let Some(ledger) = self.ledger.get() {
            ledger.borrow_mut().settle(chunk);
        }
    }

    #[cold]
    fn reclaim(&self, chunk: u32, word: u64) {
        if word & CHAIN != 0 {
            self.rest_to(chunk, Owner::Pool);
        }
        if word & NUMBERED != 0 {
            self.settle(chunk);
        }
        self.put_back(chunk, Owner::Shard);
        self.reclaimed.set(self.reclaimed.get() + 1);
    }

    /// Where `len` octets from `offset` of `chunk` lie.
    ///
    /// # Panics
    ///
    /// When they run past the chunk.
    #[inline]
    fn place(&self, chunk: u32, offset: usize, len: usize) -> NonNull<u8> {
        let chunk_octets = 1_usize << self.chunk_shift;
        assert!(offset <= chunk_octets && len <= chunk_octets - offset, "past the chunk");
        let start = ((chunk as usize) << self.chunk_shift) + offset;
        debug_assert!((chunk as usize) < self.owners.len());
        // SAFETY: `chunk < owners.len()` (a lease or a look-up in `owners` proves it) and the range
        // lies in the chunk, so it lies in the mapping, which is `owners.len()` chunks long.
        unsafe { self.memory.start().add(start) }
    }
}

/// The shard's hold on one chunk, or on all chunks of one packet: move-only, and alone while the
/// table says [`Owner::Shard`].
///
/// Two words, so that it moves in two registers: a third makes the compiler build it in memory,
/// piece by piece, and read it back in other pieces, which stalls each move by some 15 cycles.
pub struct Lease {
    arena: Rc<Arena>,
    /// From bit 0: the chunk; [`GIVEN`] once it was given away and only the shell is left to
    /// drop; [`CHAIN`] where the packet goes on in other chunks; [`NUMBERED`] where its end is to be
    /// noted; from [`TAG_SHIFT`] on, whatever the holder keeps beside it.
    word: u64,
}

/// The chunk's bits of a lease's word.
const CHUNK_MASK: u64 = (1 << 20) - 1;
const _: () = assert!(FRAMES_MAX as u64 - 1 <= CHUNK_MASK, "every chunk's number fits");

/// The bit of a lease that was given away.
const GIVEN: u64 = 1 << 20;

/// The bit of a lease whose chunk is linked to others.
const CHAIN: u64 = 1 << 21;

/// The bit of a lease whose packet is in the ledger.
const NUMBERED: u64 = 1 << 22;

/// Where the holder's own bits of a lease's word begin.
const TAG_SHIFT: u32 = 23;

/// Bits that a holder may keep beside its lease.
pub(crate) const TAG_BITS: u32 = u64::BITS - TAG_SHIFT;

impl Lease {
    const fn new(arena: Rc<Arena>, chunk: u32) -> Self {
        Self { arena, word: chunk as u64 }
    }

    #[inline]
    const fn chunk(&self) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // Masked to 20 bits.
        let chunk = (self.word & CHUNK_MASK) as u32;
        chunk
    }

    /// What the holder keeps beside the lease: at first 0.
    #[inline]
    pub(crate) const fn tag(&self) -> u64 {
        self.word >> TAG_SHIFT
    }

    /// Keeps [`TAG_BITS`] bits beside the lease.
    #[inline]
    pub(crate) const fn set_tag(&mut self, tag: u64) {
        debug_assert!(tag >> TAG_BITS == 0);
        self.word = self.word & ((1 << TAG_SHIFT) - 1) | tag << TAG_SHIFT;
    }

    /// Address of the chunk's first octet, from the start of the UMEM.
    #[inline]
    pub fn address(&self) -> u64 {
        u64::from(self.chunk()) << self.arena.chunk_shift
    }

    /// Octets in the chunk.
    #[inline]
    pub fn octets(&self) -> u32 {
        1 << self.arena.chunk_shift
    }

    /// Number of the port that the UMEM belongs to.
    #[inline]
    pub fn port(&self) -> u16 {
        self.arena.port.get()
    }

    /// What the queue of the UMEM obtained for sending.
    #[inline]
    pub(crate) fn tx_offloads(&self) -> TxOffloads {
        self.arena.tx_offloads.get()
    }

    /// `len` octets from `offset` of the chunk.
    ///
    /// # Panics
    ///
    /// When they run past the chunk.
    #[inline]
    pub fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        let place = self.arena.place(self.chunk(), offset, len);
        // SAFETY: `place` covers `len` octets of a mapping that `self.arena` keeps alive, zeroed
        // when made. This lease is the chunk's only one and the table says that the kernel has not
        // got it, so nobody writes while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(place.as_ptr(), len) }
    }

    /// `len` octets from `offset` of the chunk, to write.
    ///
    /// # Panics
    ///
    /// When they run past the chunk.
    #[inline]
    pub fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let place = self.arena.place(self.chunk(), offset, len);
        // SAFETY: as in `bytes`; and `self` is borrowed alone, so no other slice of it exists.
        unsafe { core::slice::from_raw_parts_mut(place.as_ptr(), len) }
    }

    /// Whether this chunk belongs to `umem`.
    #[inline]
    pub fn is_of(&self, umem: &Umem) -> bool {
        Rc::ptr_eq(&self.arena, &umem.0)
    }

    /// Puts the chunk back into the pool, and all that are linked behind it: the ordinary end.
    #[inline]
    pub(crate) fn release(mut self) {
        self.word |= GIVEN;
        if self.is_chain() {
            self.arena.rest_to(self.chunk(), Owner::Pool);
        }
        self.note_end();
        self.arena.put_back(self.chunk(), Owner::Shard);
        self.arena.released.set(self.arena.released.get() + 1);
    }

    /// Before the chunk is somebody else's.
    #[inline]
    fn note_end(&self) {
        if self.word & NUMBERED != 0 {
            self.arena.settle(self.chunk());
        }
    }

    /// Gives the chunk to the kernel for sending. What is linked behind it was given before.
    #[inline]
    pub(crate) fn give_to_tx(mut self) {
        self.word |= GIVEN;
        self.note_end();
        self.arena.pass(self.chunk(), Owner::Shard, Owner::Tx);
    }

    /// The parts of the packet whose first is `len` octets from `offset` of the chunk.
    #[inline]
    pub(crate) fn parts(&self, offset: u16, len: u16) -> Parts<'_> {
        Parts(self.walk(offset, len))
    }

    /// The same, to write.
    pub(crate) fn parts_mut(&mut self, offset: u16, len: u16) -> PartsMut<'_> {
        PartsMut { walk: self.walk(offset, len), _lease: PhantomData }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if self.word & GIVEN == 0 {
            self.arena.reclaim(self.chunk(), self.word);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("chunk", &self.chunk()).finish_non_exhaustive()
    }
}

/// The octets of a packet, chunk by chunk.
#[derive(Clone, Debug)]
pub struct Parts<'a>(Walk<'a>);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let Place { chunk, offset, len } = self.0.next()?;
        let place = self.0.arena().place(chunk, offset.into(), len.into());
        // SAFETY: as in `Lease::bytes`: `chunk` is the lease's own or linked behind it, so that the
        // lease, which is borrowed for `'a`, is the only hold on it.
        Some(unsafe { core::slice::from_raw_parts(place.as_ptr(), len.into()) })
    }
}

/// The octets of a packet, chunk by chunk, to write.
#[derive(Debug)]
pub struct PartsMut<'a> {
    walk: Walk<'a>,
    _lease: PhantomData<&'a mut Lease>,
}

impl<'a> Iterator for PartsMut<'a> {
    type Item = &'a mut [u8];

    fn next(&mut self) -> Option<&'a mut [u8]> {
        let Place { chunk, offset, len } = self.walk.next()?;
        let place = self.walk.arena().place(chunk, offset.into(), len.into());
        // SAFETY: as in `Parts::next`; the lease is borrowed alone, and a walk meets each chunk
        // once, because a chunk is linked once (see `Lease::link`): no two slices overlap.
        Some(unsafe { core::slice::from_raw_parts_mut(place.as_ptr(), len.into()) })
    }
}

#[cfg(test)]
mod tests;
