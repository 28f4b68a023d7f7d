//! The user-space halves of the four XSK rings.
//!
//! ```text
//!   index      3    4    5    6    7            runs freely, wraps at 2^32
//!   slot     | 3 |  4 |  5 |  6 |  7 |          index & mask
//!              ▲ consumer     ▲ producer
//!              └─ full ───────┘                 producer - consumer entries wait
//! ```
//!
//! Each side writes its own index and reads the other's. Reading the other's costs a shared cache
//! line, so it is read again only when the cached one leaves too little.
#![allow(unsafe_code)] // The rings lie in memory shared with the kernel.

use core::fmt::Debug;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::rc::Rc;

use crate::sys::mapping::Mapping;
use crate::sys::xdp::{RingOffset, XDP_RING_NEED_WAKEUP};

/// An RX or TX descriptor, `struct xdp_desc` of `linux/if_xdp.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Descriptor {
    /// Offset of the first packet octet from the start of the UMEM.
    pub addr: u64,
    /// Packet length, in octets.
    pub len: u32,
    /// `XDP_PKT_CONTD` and friends.
    pub options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 16, "fixed by the kernel ABI");

/// What may lie in a ring: plain integers, so that whatever the kernel writes is a value.
pub trait Entry: Copy + sealed::Sealed {}
impl Entry for u64 {}
impl Entry for Descriptor {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for super::Descriptor {}
}

/// Where one ring lies inside its mapping.
#[derive(Clone, Copy, Debug)]
pub struct Parts<T> {
    /// Index that the producer publishes.
    pub producer: NonNull<AtomicU32>,
    /// Index that the consumer publishes.
    pub consumer: NonNull<AtomicU32>,
    /// `XDP_RING_NEED_WAKEUP`, written by the kernel.
    pub flags: NonNull<AtomicU32>,
    /// First of `size` entries.
    pub entries: NonNull<T>,
    /// Number of entries, a power of two.
    pub size: u32,
}

/// Producer half of a ring that the other side consumes (fill or TX).
#[derive(Debug)]
pub struct Producer<T, M> {
    parts: Parts<T>,
    mask: u32,
    /// Next index to write, equal to what we last published.
    head: u32,
    /// The other side's index as we last read it.
    tail: u32,
    /// Keeps what is behind `parts` in place.
    memory: M,
}

impl<T: Entry, M> Producer<T, M> {
    /// Takes the producer half of the ring at `parts`.
    ///
    /// # Safety
    ///
    /// - `parts` is aligned and lies within memory that stays valid and in place while `memory`
    ///   lives; `entries` has room for `size` entries, all initialised.
    /// - This process makes no second producer for the same ring, and no code but the consumer
    ///   reads its entries.
    ///
    /// # Panics
    ///
    /// When `parts.size` is not a power of two.
    pub unsafe fn new(memory: M, parts: Parts<T>) -> Self {
        assert!(parts.size.is_power_of_two(), "ring size {}", parts.size);
        // SAFETY: valid and aligned by the contract above; atomics may be shared.
        let head = unsafe { parts.producer.as_ref() }.load(Ordering::Relaxed);
        // SAFETY: as above.
        let tail = unsafe { parts.consumer.as_ref() }.load(Ordering::Acquire);
        Self { mask: parts.size - 1, parts, head, tail, memory }
    }

    /// Number of entries that may be written now. Reads the other side's index only when the
    /// cached one leaves room for fewer than `want`.
    #[inline]
    pub fn free(&mut self, want: u32) -> u32 {
        if self.room() < want.min(self.parts.size) {
            // SAFETY: valid and aligned by the contract of `new`. Acquire pairs with the
            // consumer's release: it has finished with the slots that it frees.
            self.tail = unsafe { self.parts.consumer.as_ref() }.load(Ordering::Acquire);
        }
        self.room()
    }

    /// Room as last seen. A consumer index that cannot be (more consumed than produced, or a ring
    /// more than full) leaves none: the other side is not believed blindly.
    const fn room(&self) -> u32 {
        self.parts.size.saturating_sub(self.head.wrapping_sub(self.tail))
    }

    /// Entries that the other side has not consumed yet, by its index read now.
    pub fn waiting(&self) -> u32 {
        // SAFETY: valid and aligned by the contract of `new`.
        let tail = unsafe { self.parts.consumer.as_ref() }.load(Ordering::Relaxed);
        self.head.wrapping_sub(tail).min(self.parts.size)
    }

    /// Writes entries while there is room, publishes them together, and returns how many. Entries
    /// that found no room stay in `entries`.
    #[inline]
    pub fn push_burst(&mut self, entries: &mut impl ExactSizeIterator<Item = T>) -> u32 {
        let want = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let room = self.free(want);
        let mut count = 0;
        for entry in entries.take(room as usize) {
            let slot = (self.head.wrapping_add(count) & self.mask) as usize;
            // SAFETY: `slot <= mask`, so it is one of the `size` entries of the contract of `new`.
            let slot = unsafe { self.parts.entries.add(slot) };
            // SAFETY: in bounds, as just shown. `count < room`, so the consumer has released this
            // slot and will not look at it before the store below.
            unsafe { slot.write(entry) };
            count += 1;
        }
        debug_assert!(count <= room);
        self.head = self.head.wrapping_add(count);
        // SAFETY: as in `free`. Release: entries become visible before the index.
        unsafe { self.parts.producer.as_ref() }.store(self.head, Ordering::Release);
        count
    }

    /// Whether the kernel sleeps on this ring and wants a system call.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        // SAFETY: valid and aligned by the contract of `new`. Relaxed: the flag is a hint that the
        // kernel sets after it has looked at the ring, and we read it again in every turn.
        let flags = unsafe { self.parts.flags.as_ref() }.load(Ordering::Relaxed);
        flags & XDP_RING_NEED_WAKEUP != 0
    }

    /// Number of entries in the ring.
    pub const fn size(&self) -> u32 {
        self.parts.size
    }

    /// Forgets what kind of memory keeps the ring.
    pub fn boxed(self) -> Producer<T, Box<dyn Debug>>
    where
        M: Debug + 'static,
    {
        let Self { parts, mask, head, tail, memory } = self;
        Producer { parts, mask, head, tail, memory: Box::new(memory) }
    }
}

/// Consumer half of a ring that the other side produces (RX or completion).
#[derive(Debug)]
pub struct Consumer<T, M> {
    parts: Parts<T>,
    mask: u32,
    /// Next index to read, equal to what we last published.
    tail: u32,
    /// The other side's index as we last read it.
    head: u32,
    /// Keeps what is behind `parts` in place.
    memory: M,
}

impl<T: Entry, M> Consumer<T, M> {
    /// Takes the consumer half of the ring at `parts`.
    ///
    /// # Safety
    ///
    /// As for [`Producer::new`], with the parts exchanged.
    ///
    /// # Panics
    ///
    /// When `parts.size` is not a power of two.
    pub unsafe fn new(memory: M, parts: Parts<T>) -> Self {
        assert!(parts.size.is_power_of_two(), "ring size {}", parts.size);
        // SAFETY: valid and aligned by the contract; atomics may be shared.
        let tail = unsafe { parts.consumer.as_ref() }.load(Ordering::Relaxed);
        Self { mask: parts.size - 1, parts, tail, head: tail, memory }
    }

    /// Entries that wait, by the other side's index read now. Never more than the ring holds,
    /// whatever that index says.
    #[inline]
    pub fn waiting(&self) -> u32 {
        // SAFETY: valid and aligned by the contract of `new`.
        let head = unsafe { self.parts.producer.as_ref() }.load(Ordering::Relaxed);
        head.wrapping_sub(self.tail).min(self.parts.size)
    }

    /// Shows up to `max` waiting entries to `each` and leaves them where they are.
    #[inline]
    pub fn peek_burst(&mut self, max: u32, mut each: impl FnMut(T)) {
        for step in 0..self.ready(max) {
            each(self.read(step));
        }
    }

    /// Entries that may be read now, at most `max`. Reads the other side's index only when the
    /// cached one leaves fewer.
    #[inline]
    pub(super) fn ready(&mut self, max: u32) -> u32 {
        if self.head.wrapping_sub(self.tail) < max {
            // SAFETY: valid and aligned by the contract of `new`. Acquire pairs with the
            // producer's release: the entries before this index are written.
            self.head = unsafe { self.parts.producer.as_ref() }.load(Ordering::Acquire);
        }
        self.head.wrapping_sub(self.tail).min(self.parts.size).min(max)
    }

    /// The entry `step` places from the next; `step` is below what `ready` said.
    #[inline]
    pub(super) fn read(&self, step: u32) -> T {
        let slot = (self.tail.wrapping_add(step) & self.mask) as usize;
        // SAFETY: `slot <= mask`, so it is one of the `size` entries of the contract of `new`.
        let slot = unsafe { self.parts.entries.add(slot) };
        // SAFETY: in bounds, as just shown, and initialised. The producer published the slot and
        // does not write it again before `pop_burst` frees it; `T` is plain integers.
        unsafe { slot.read() }
    }

    /// Gives up to `max` entries to `each`, then frees their slots together; returns how many.
    #[inline]
    pub fn pop_burst(&mut self, max: u32, mut each: impl FnMut(T)) -> u32 {
        let count = self.ready(max);
        for step in 0..count {
            each(self.read(step));
        }
        if count > 0 {
            self.pass(count);
        }
        count
    }

    /// Frees the slots of the next `count` entries, which `ready` said that there are.
    #[inline]
    pub(super) fn pass(&mut self, count: u32) {
        debug_assert!(count <= self.head.wrapping_sub(self.tail), "{count} were not shown");
        self.tail = self.tail.wrapping_add(count);
        // SAFETY: valid and aligned by the contract of `new`. Release: our reads are done before the
        // slots are free.
        unsafe { self.parts.consumer.as_ref() }.store(self.tail, Ordering::Release);
    }

    /// Number of entries in the ring.
    pub const fn size(&self) -> u32 {
        self.parts.size
    }

    /// Forgets what kind of memory keeps the ring.
    pub fn boxed(self) -> Consumer<T, Box<dyn Debug>>
    where
        M: Debug + 'static,
    {
        let Self { parts, mask, tail, head, memory } = self;
        Consumer { parts, mask, tail, head, memory: Box::new(memory) }
    }
}

/// One ring of a socket, mapped, of which neither half has been taken.
#[derive(Debug)]
pub struct MappedRing<T> {
    mapping: Mapping,
    parts: Parts<T>,
}

impl<T: Entry> MappedRing<T> {
    /// Octets that the mapping of a ring of `size` entries needs.
    ///
    /// # Panics
    ///
    /// When the offset does not fit an address: no kernel says so.
    pub fn octets(offset: &RingOffset, size: u32) -> usize {
        usize::try_from(offset.desc).expect("a few hundred octets") + size as usize * size_of::<T>()
    }

    /// The ring of `size` entries in `mapping`, where the kernel says that its parts lie.
    ///
    /// # Panics
    ///
    /// When a part is not aligned or not within the mapping: then `offset` is not the kernel's.
    pub fn new(mapping: Mapping, offset: &RingOffset, size: u32) -> Self {
        assert!(mapping.octets() >= Self::octets(offset, size), "a mapping too short");
        let index = |at: u64| part::<AtomicU32>(&mapping, at);
        let parts = Parts {
            producer: index(offset.producer),
            consumer: index(offset.consumer),
            flags: index(offset.flags),
            entries: part::<T>(&mapping, offset.desc),
            size,
        };
        Self { mapping, parts }
    }

    /// Our half of a fill or TX ring.
    pub fn into_producer(self) -> Producer<T, Mapping> {
        // SAFETY: `new` has checked place and alignment, the kernel zeroed the memory, and `self`,
        // the only thing that knows the parts, is gone after this.
        unsafe { Producer::new(self.mapping, self.parts) }
    }

    /// Our half of an RX or completion ring.
    pub fn into_consumer(self) -> Consumer<T, Mapping> {
        // SAFETY: as in `into_producer`.
        unsafe { Consumer::new(self.mapping, self.parts) }
    }
}

fn part<P>(mapping: &Mapping, at: u64) -> NonNull<P> {
    let at = usize::try_from(at).expect("a few hundred octets");
    assert!(at + size_of::<P>() <= mapping.octets(), "a part past the mapping");
    // SAFETY: in bounds, as just shown.
    let part = unsafe { mapping.start().add(at) }.cast::<P>();
    assert!(part.is_aligned(), "a part at {at} is not aligned");
    part
}

/// A ring in plain memory, for the kernel that [`super::testing`] plays.
#[derive(Debug)]
pub struct HeapRing<T> {
    indices: [Box<AtomicU32>; 3],
    entries: NonNull<[T]>,
}

impl<T: Entry + Default> HeapRing<T> {
    /// A ring of `size` entries whose two indices start at `start`.
    fn new(size: u32, start: u32) -> Self {
        let entries = vec![T::default(); size as usize].into_boxed_slice();
        let indices = [start, start, 0].map(|value| Box::new(AtomicU32::new(value)));
        // The slice is shared by two halves, so it is kept as a pointer and freed in `drop`.
        Self { indices, entries: NonNull::from(Box::leak(entries)) }
    }

    /// Sets or clears the flag by which a kernel asks for a wake-up.
    pub fn ask_for_wakeup(&self, ask: bool) {
        self.indices[2].store(if ask { XDP_RING_NEED_WAKEUP } else { 0 }, Ordering::Relaxed);
    }

    fn parts(&self) -> Parts<T> {
        let [producer, consumer, flags] =
            self.indices.each_ref().map(|index| NonNull::from(&**index));
        let size = u32::try_from(self.entries.len()).expect("made from a u32");
        Parts { producer, consumer, flags, entries: self.entries.cast(), size }
    }
}

/// Both halves of a ring in plain memory, and the ring itself.
pub type HeapPair<T> =
    (Producer<T, Rc<HeapRing<T>>>, Consumer<T, Rc<HeapRing<T>>>, Rc<HeapRing<T>>);

/// Makes a ring in plain memory and takes both of its halves, each of which keeps it alive.
pub fn heap_pair<T: Entry + Default>(size: u32, start: u32) -> HeapPair<T> {
    let ring = Rc::new(HeapRing::new(size, start));
    let parts = ring.parts();
    // SAFETY: the boxes of `ring` do not move and live as long as the `Rc` given here; entries are
    // initialised; this function makes the only producer.
    let producer = unsafe { Producer::new(Rc::clone(&ring), parts) };
    // SAFETY: as above, and the only consumer.
    let consumer = unsafe { Consumer::new(Rc::clone(&ring), parts) };
    (producer, consumer, ring)
}

impl<T> Drop for HeapRing<T> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked exactly this box, and the last half is gone.
        drop(unsafe { Box::from_raw(self.entries.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn a_full_ring_takes_no_more_and_keeps_what_did_not_fit() {
        let (mut producer, mut consumer, _) = heap_pair::<u64>(4, 0);
        let mut entries = [1, 2, 3, 4, 5, 6].into_iter();
        assert_eq!(producer.push_burst(&mut entries), 4);
        assert_eq!(entries.as_slice(), [5, 6]);
        let mut got = Vec::new();
        assert_eq!(consumer.pop_burst(3, |entry| got.push(entry)), 3);
        assert_eq!(producer.push_burst(&mut entries), 2);
        consumer.pop_burst(64, |entry| got.push(entry));
        assert_eq!(got, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_wakeup_flag_is_read_each_time() {
        let (producer, _consumer, ring) = heap_pair::<u64>(4, 0);
        assert!(!producer.needs_wakeup());
        ring.ask_for_wakeup(true);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn an_index_that_cannot_be_is_not_believed() {
        let (mut producer, mut consumer, ring) = heap_pair::<u64>(4, 0);
        ring.indices[0].store(1000, Ordering::Release);
        assert_eq!(consumer.waiting(), 4);
        assert_eq!(consumer.pop_burst(64, |_| ()), 4, "never more than the ring holds");
        producer.push_burst(&mut [1].into_iter());
        ring.indices[1].store(77, Ordering::Release);
        assert_eq!(producer.free(4), 0, "more consumed than produced");
    }

    /// Random operations against a queue that is obviously right, across the wrap of the indices.
    #[test]
    fn walks_like_a_queue_across_the_wrap() {
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
        println!("SEED={seed}");
        let mut state = seed;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut producer, mut consumer, _) = heap_pair::<u64>(8, u32::MAX - 20);
        let mut model = VecDeque::new();
        let mut next = 0_u64;
        let steps = if cfg!(miri) { 300 } else { 20_000 };
        for _ in 0..steps {
            if random() % 2 == 0 {
                let want = random() % 11;
                let pushed =
                    producer.push_burst(&mut (next..next + want).collect::<Vec<_>>().into_iter());
                assert_eq!(u64::from(pushed), want.min(8 - model.len() as u64));
                model.extend(next..next + u64::from(pushed));
                next += u64::from(pushed);
            } else {
                let max = (random() % 11) as u32;
                let expected: Vec<_> = model.drain(..model.len().min(max as usize)).collect();
                let mut got = Vec::new();
                consumer.pop_burst(max, |entry| got.push(entry));
                assert_eq!(got, expected);
            }
            assert_eq!(consumer.waiting() as usize, model.len());
            assert_eq!(producer.waiting() as usize, model.len());
        }
    }
}
