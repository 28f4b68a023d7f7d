//! The kernel's half of a queue, played in plain memory: "the test is the kernel".
//!
//! [`pair`] gives a [`Queue`] whose rings end at a [`Kernel`] of ours. The test delivers packets,
//! looks at what was sent, completes it when it likes, fills rings up, stalls, takes the link
//! down. Everything on the queue's side of the rings is the code that runs on a NIC.

use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use smallvec::SmallVec;

use super::KernelStatistics;
use super::open::CopyMode;
use super::queue::{Backend, Bind, Queue, Rings};
use super::ring::{Consumer, Descriptor, HeapRing, Producer, heap_pair};
use super::tx_metadata::{self, TxMetadata, XDP_TX_METADATA};
use crate::offload::TxOffloads;
use crate::steer::Metadata;
use crate::sys::xdp::XDP_PKT_CONTD;
use crate::umem::chain::CHUNKS_MAX;
use crate::umem::{self, Pages, Umem};
use crate::wire::transport::finish_begun;

/// `XDP_PACKET_HEADROOM` of `linux/bpf.h`: where the kernel puts a packet in its chunk.
const HEADROOM: u64 = 256;

/// The other end of a [`Queue`] made by [`pair`].
#[derive(Debug)]
pub struct Kernel {
    fill: Consumer<u64, Rc<HeapRing<u64>>>,
    rx: Producer<Descriptor, Rc<HeapRing<Descriptor>>>,
    tx: Consumer<Descriptor, Rc<HeapRing<Descriptor>>>,
    completion: Producer<u64, Rc<HeapRing<u64>>>,
    tx_ring: Rc<HeapRing<Descriptor>>,
    umem: Umem,
    /// A packet may lie in several chunks.
    multi_buffer: bool,
    /// Chunks sent and not completed, oldest first.
    sent: VecDeque<u64>,
    shared: Rc<Shared>,
}

/// What the two ends tell each other besides the rings: system calls and their answers.
#[derive(Debug, Default)]
struct Shared {
    statistics: RefCell<KernelStatistics>,
    tx_wakes: Cell<u64>,
    rx_wakes: Cell<u64>,
    /// What a wake-up answers, as an `errno`; 0 for success.
    answer: Cell<i32>,
}

#[derive(Debug)]
struct Calls(Rc<Shared>);

impl Calls {
    fn answer(&self) -> io::Result<()> {
        match self.0.answer.get() {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Backend for Calls {
    fn wake_tx(&mut self) -> io::Result<()> {
        self.0.tx_wakes.set(self.0.tx_wakes.get() + 1);
        self.answer()
    }

    fn wake_rx(&mut self) -> io::Result<()> {
        self.0.rx_wakes.set(self.0.rx_wakes.get() + 1);
        self.answer()
    }

    fn statistics(&mut self) -> io::Result<KernelStatistics> {
        Ok(*self.0.statistics.borrow())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Makes a queue and the kernel behind it. The rings' indices start shortly before their wrap, so
/// that every test crosses it.
///
/// # Errors
///
/// As for [`Umem::new`].
///
/// # Panics
///
/// When `ring_entries` is not a power of two.
pub fn pair(
    umem: &umem::Options,
    ring_entries: u32,
    fill_frames: u32,
) -> Result<(Queue, Kernel), umem::Error> {
    joined(umem, ring_entries, fill_frames, CopyMode::Copy, 1)
}

/// The same, with packets that may lie in several chunks.
///
/// # Errors
///
/// As [`pair`].
///
/// # Panics
///
/// As [`pair`].
pub fn multi_buffer_pair(
    umem: &umem::Options,
    ring_entries: u32,
    fill_frames: u32,
) -> Result<(Queue, Kernel), umem::Error> {
    joined(umem, ring_entries, fill_frames, CopyMode::Copy, CHUNKS_MAX)
}

/// The same, with a kernel that says that it obtained `copy`.
///
/// # Errors
///
/// As [`pair`].
///
/// # Panics
///
/// As [`pair`].
pub fn bound(
    umem: &umem::Options,
    ring_entries: u32,
    fill_frames: u32,
    copy: CopyMode,
) -> Result<(Queue, Kernel), umem::Error> {
    joined(umem, ring_entries, fill_frames, copy, 1)
}

fn joined(
    umem: &umem::Options,
    ring_entries: u32,
    fill_frames: u32,
    copy: CopyMode,
    packet_chunks_max: u32,
) -> Result<(Queue, Kernel), umem::Error> {
    let umem = Umem::new(umem)?;
    let start = u32::MAX - ring_entries / 2;
    let (fill_in, fill_out, _) = heap_pair(ring_entries, start);
    let (rx_in, rx_out, _) = heap_pair(ring_entries, start);
    let (tx_in, tx_out, tx_ring) = heap_pair(ring_entries, start);
    let (completion_in, completion_out, _) = heap_pair(ring_entries, start);
    let rings = Rings {
        fill: fill_in.boxed(),
        rx: rx_out.boxed(),
        tx: tx_in.boxed(),
        completion: completion_out.boxed(),
    };
    let shared = Rc::new(Shared::default());
    tx_ring.ask_for_wakeup(true);
    let kernel = Kernel {
        fill: fill_out,
        rx: rx_in,
        tx: tx_out,
        completion: completion_in,
        tx_ring,
        umem: umem.clone(),
        multi_buffer: packet_chunks_max > 1,
        sent: VecDeque::new(),
        shared: Rc::clone(&shared),
    };
    let tx = TxOffloads::default();
    let bind = Bind { copy, pages: Pages::Ordinary, tx_budget: None, packet_chunks_max, tx };
    Ok((Queue::new(Box::new(Calls(shared)), rings, umem, bind, fill_frames), kernel))
}

/// What became of a delivered packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It lies in the RX ring.
    Delivered,
    /// The RX ring was full; counted in `rx_ring_full`.
    RingFull,
    /// The fill ring was empty; counted in `rx_fill_ring_empty`.
    NoChunk,
    /// Too long for a chunk; counted in `rx_dropped`.
    TooLong,
}

impl Kernel {
    /// Receives `packet` from the wire and redirects it with the word of selector `selector`.
    pub fn deliver(&mut self, packet: &[u8], selector: u16) -> Delivery {
        let (numbered, ordered) = (false, false);
        let word = Metadata { selector, l3_offset: 14, l4_offset: None, numbered, ordered };
        self.receive(packet, Some((word, 0)))
    }

    /// The same for a protected destination: the packet has a number, and may be one that came only
    /// for its place in its flow.
    pub fn deliver_numbered(
        &mut self,
        packet: &[u8],
        selector: u16,
        number: u64,
        ordered: bool,
    ) -> Delivery {
        let word = Metadata { selector, l3_offset: 14, l4_offset: None, numbered: true, ordered };
        self.receive(packet, Some((word, number)))
    }

    /// Receives `packet` and redirects it without metadata, as no steering program of ours would.
    pub fn deliver_bare(&mut self, packet: &[u8]) -> Delivery {
        self.receive(packet, None)
    }

    fn receive(&mut self, packet: &[u8], word: Option<(Metadata, u64)>) -> Delivery {
        let lose = |counter: fn(&mut KernelStatistics) -> &mut u64| {
            *counter(&mut self.shared.statistics.borrow_mut()) += 1;
        };
        // `__xsk_rcv()` of net/xdp/xsk.c: each chunk is filled behind the headroom, and the packet
        // comes with all of its descriptors or is lost.
        let room = usize::try_from(u64::from(self.umem.chunk_octets()) - HEADROOM).expect("small");
        if packet.len() > room && !self.multi_buffer {
            lose(|lost| &mut lost.rx_dropped);
            return Delivery::TooLong;
        }
        let count = u32::try_from(packet.len().div_ceil(room).max(1)).expect("a packet's");
        if self.rx.free(count) < count {
            lose(|lost| &mut lost.rx_ring_full);
            return Delivery::RingFull;
        }
        if self.fill.waiting() < count {
            lose(|lost| &mut lost.rx_fill_ring_empty);
            return Delivery::NoChunk;
        }
        let mut chunks = SmallVec::<[u64; 4]>::new();
        self.fill.pop_burst(count, |address| chunks.push(address));
        let octets = word.map_or([0; Metadata::LEN], |(word, _)| word.emit());
        let at = chunks[0] + HEADROOM - Metadata::LEN as u64;
        self.umem.write_as_kernel(at, &octets);
        if let Some((Metadata { numbered: true, .. }, number)) = word {
            self.umem.write_as_kernel(at - Metadata::NUMBER_LEN as u64, &number.to_ne_bytes());
        }
        let mut rest = packet;
        let mut descriptors: SmallVec<[Descriptor; 4]> = (chunks.iter())
            .map(|chunk| {
                let (part, behind) = rest.split_at(rest.len().min(room));
                rest = behind;
                self.umem.write_as_kernel(chunk + HEADROOM, part);
                let len = u32::try_from(part.len()).expect("shorter than a chunk");
                let options = if behind.is_empty() { 0 } else { XDP_PKT_CONTD };
                Descriptor { addr: chunk + HEADROOM, len, options }
            })
            .collect();
        self.rx.push_burst(&mut descriptors.drain(..));
        Delivery::Delivered
    }

    /// Puts a descriptor of any kind on the RX ring, true or not.
    pub fn post(&mut self, descriptor: Descriptor) -> bool {
        self.rx.push_burst(&mut core::iter::once(descriptor)) == 1
    }

    /// Posts an address of any kind on the completion ring, true or not.
    pub fn post_completion(&mut self, address: u64) -> bool {
        self.completion.push_burst(&mut core::iter::once(address)) == 1
    }

    /// Takes the next packet from the TX ring and sends it: here are its octets. It is completed
    /// by [`Self::complete`].
    ///
    /// # Panics
    ///
    /// As [`Self::launch`].
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.launch().map(|(packet, _)| packet)
    }

    /// As [`Self::transmit`], with the launch time that was asked for. A checksum that was left to
    /// the driver is finished as cards do it.
    ///
    /// # Panics
    ///
    /// When a descriptor or what stands in front of the packet is such as a driver would refuse, or
    /// a packet is on the ring in part.
    pub fn launch(&mut self) -> Option<(Vec<u8>, Option<u64>)> {
        let Descriptor { addr, len, options } = self.next_part()?;
        let mut packet = self.umem.read_as_kernel(addr, len as usize);
        let mut more = options & XDP_PKT_CONTD;
        while more != 0 {
            let part = self.next_part().expect("a packet without its end");
            assert_eq!(part.options & !XDP_PKT_CONTD, 0, "asked in front of a later part");
            packet.extend(self.umem.read_as_kernel(part.addr, part.len as usize));
            more = part.options;
        }
        if options & XDP_TX_METADATA == 0 {
            return Some((packet, None));
        }
        let front = self.umem.read_as_kernel(addr - tx_metadata::LEN as u64, tx_metadata::LEN);
        let front = front.first_chunk().expect("as long as was asked for");
        let asked = TxMetadata::parse(front).expect("flags that the kernel knows");
        if let Some((start, field)) = asked.checksum {
            assert!(finish_begun(&mut packet, start, field), "a checksum past the packet");
        }
        Some((packet, asked.launch_ns))
    }

    fn next_part(&mut self) -> Option<Descriptor> {
        let mut next = None;
        self.tx.pop_burst(1, |descriptor| next = Some(descriptor));
        let part = next?;
        let known = XDP_TX_METADATA | if self.multi_buffer { XDP_PKT_CONTD } else { 0 };
        assert_eq!(part.options & !known, 0, "options that are not asked for at bind");
        // `xp_aligned_validate_desc()` of net/xdp/xsk_queue.h, for a UMEM with room for metadata.
        assert!(part.len > 0, "a part without octets");
        let offset = part.addr & u64::from(self.umem.chunk_octets() - 1);
        assert!(offset >= tx_metadata::LEN as u64, "a part at {offset}: no room for metadata");
        self.sent.push_back(part.addr);
        Some(part)
    }

    /// Takes an address from the fill ring without receiving into it, for a test that posts
    /// descriptors of its own.
    pub fn take_chunk(&mut self) -> Option<u64> {
        let mut chunk = None;
        self.fill.pop_burst(1, |address| chunk = Some(address));
        chunk
    }

    /// Returns up to `max` sent chunks through the completion ring; returns how many.
    pub fn complete(&mut self, max: usize) -> usize {
        let count = self.sent.len().min(max);
        let mut addresses = self.sent.drain(..count).collect::<Vec<_>>().into_iter();
        let done = self.completion.push_burst(&mut addresses) as usize;
        for (place, address) in addresses.enumerate() {
            self.sent.insert(place, address);
        }
        done
    }

    /// Chunks sent and not completed.
    pub fn uncompleted(&self) -> usize {
        self.sent.len()
    }

    /// Descriptors that wait in the TX ring.
    pub fn tx_waiting(&self) -> u32 {
        self.tx.waiting()
    }

    /// Chunks that wait in the fill ring.
    pub fn fill_waiting(&self) -> u32 {
        self.fill.waiting()
    }

    /// Lets every wake-up answer this `errno` from now on; 0 for success.
    pub fn answer_wakeups(&self, errno: i32) {
        self.shared.answer.set(errno);
    }

    /// Whether the TX ring asks for wake-ups. It does from the start, as in copy mode.
    pub fn ask_for_wakeups(&self, ask: bool) {
        self.tx_ring.ask_for_wakeup(ask);
    }

    /// Wake-ups so far, for TX and for RX.
    pub fn wakeups(&self) -> (u64, u64) {
        (self.shared.tx_wakes.get(), self.shared.rx_wakes.get())
    }
}

#[cfg(test)]
mod chains;
#[cfg(test)]
mod tests;
