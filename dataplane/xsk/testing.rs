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

use super::KernelStatistics;
use super::open::CopyMode;
use super::queue::{Backend, Bind, Queue, Rings};
use super::ring::{Consumer, Descriptor, HeapRing, Producer, heap_pair};
use super::tx_metadata::{self, TxMetadata, XDP_TX_METADATA};
use crate::offload::TxOffloads;
use crate::steer::Metadata;
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
    /// Sent and not completed, oldest first.
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
    bound(umem, ring_entries, fill_frames, CopyMode::Copy)
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
        sent: VecDeque::new(),
        shared: Rc::clone(&shared),
    };
    let tx = TxOffloads::default();
    let bind = Bind { copy, pages: Pages::Ordinary, tx_budget: None, tx };
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
        self.receive(packet, Some(selector))
    }

    /// Receives `packet` and redirects it without metadata, as no steering program of ours would.
    pub fn deliver_bare(&mut self, packet: &[u8]) -> Delivery {
        self.receive(packet, None)
    }

    fn receive(&mut self, packet: &[u8], selector: Option<u16>) -> Delivery {
        let lose = |counter: fn(&mut KernelStatistics) -> &mut u64| {
            *counter(&mut self.shared.statistics.borrow_mut()) += 1;
        };
        let chunk_octets = u64::from(self.umem.chunk_octets());
        if packet.len() as u64 > chunk_octets - HEADROOM {
            lose(|lost| &mut lost.rx_dropped);
            return Delivery::TooLong;
        }
        if self.rx.free(1) == 0 {
            lose(|lost| &mut lost.rx_ring_full);
            return Delivery::RingFull;
        }
        let mut chunk = None;
        self.fill.pop_burst(1, |address| chunk = Some(address));
        let Some(chunk) = chunk else {
            lose(|lost| &mut lost.rx_fill_ring_empty);
            return Delivery::NoChunk;
        };
        let address = chunk + HEADROOM;
        let word = selector.map_or([0; Metadata::LEN], |selector| {
            Metadata { selector, l3_offset: 14, l4_offset: None }.emit()
        });
        self.umem.write_as_kernel(address - Metadata::LEN as u64, &word);
        self.umem.write_as_kernel(address, packet);
        let len = u32::try_from(packet.len()).expect("shorter than a chunk");
        self.post(Descriptor { addr: address, len, options: 0 });
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
    /// When the descriptor or what stands in front of the packet is such as a driver would refuse.
    pub fn launch(&mut self) -> Option<(Vec<u8>, Option<u64>)> {
        let mut next = None;
        self.tx.pop_burst(1, |descriptor| next = Some(descriptor));
        let Descriptor { addr, len, options } = next?;
        let mut packet = self.umem.read_as_kernel(addr, len as usize);
        self.sent.push_back(addr);
        assert_eq!(options & !XDP_TX_METADATA, 0, "options that are not asked for at bind");
        if options == 0 {
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

    /// Packets sent and not completed.
    pub fn uncompleted(&self) -> usize {
        self.sent.len()
    }

    /// Packets that wait in the TX ring.
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
mod tests {
    use super::*;
    use crate::frame::{Frame, NO_SELECTOR};
    use crate::xsk::queue::Group;

    const UMEM: umem::Options =
        umem::Options { chunk_octets: 2048, frames: 64, pages: Pages::Ordinary };

    fn bench() -> (Queue, Kernel) {
        pair(&UMEM, 16, 16).unwrap()
    }

    fn send_one(queue: &mut Queue, octets: &[u8]) {
        let mut frame = queue.take().unwrap();
        frame.set_len(octets.len());
        frame.bytes_mut().copy_from_slice(octets);
        let mut group: Group = [frame].into_iter().collect();
        assert_eq!(queue.send(&mut group), 1);
    }

    #[test]
    fn a_received_packet_comes_with_its_selector() {
        let (mut queue, mut kernel) = bench();
        assert_eq!(kernel.deliver(b"a packet", 3), Delivery::Delivered);
        assert_eq!(kernel.deliver_bare(b"another"), Delivery::Delivered);
        let mut frames: Vec<Frame> = Vec::new();
        assert_eq!(queue.recv(&mut frames, 64), 2);
        assert_eq!((frames[0].bytes(), frames[0].selector()), (&b"a packet"[..], 3));
        assert_eq!((frames[1].bytes(), frames[1].selector()), (&b"another"[..], NO_SELECTOR));
        assert_eq!(queue.census().held, 2);
        frames.into_iter().for_each(|frame| queue.release(frame));
        assert_eq!(queue.census().unaccounted(), 0);
    }

    #[test]
    fn a_group_goes_out_by_one_wakeup_and_comes_home() {
        let (mut queue, mut kernel) = bench();
        for octet in 0..5 {
            send_one(&mut queue, &[octet; 60]);
        }
        queue.kick();
        assert_eq!(kernel.wakeups(), (1, 0));
        for octet in 0..5 {
            assert_eq!(kernel.transmit().unwrap(), [octet; 60]);
        }
        queue.kick();
        assert_eq!(kernel.wakeups(), (2, 0), "it was not known yet that all had gone");
        queue.kick();
        assert_eq!(kernel.wakeups(), (2, 0), "nothing waits");
        assert_eq!(queue.census().tx, 5);
        assert_eq!(kernel.complete(64), 5);
        assert_eq!(queue.census().completion, 5);
        assert_eq!(queue.reap(), 5);
        assert_eq!((queue.census().tx, queue.census().unaccounted()), (0, 0));
    }

    #[test]
    fn no_wakeup_where_the_kernel_asks_for_none() {
        let (mut queue, kernel) = bench();
        kernel.ask_for_wakeups(false);
        send_one(&mut queue, &[1; 60]);
        queue.kick();
        assert_eq!(kernel.wakeups(), (0, 0));
        kernel.ask_for_wakeups(true);
        queue.kick();
        assert_eq!(kernel.wakeups(), (1, 0), "the flag is read again");
    }

    #[test]
    fn in_zero_copy_the_driver_is_told_once_and_again_when_it_has_looked_or_is_late() {
        let (mut queue, mut kernel) = bound(&UMEM, 16, 16, CopyMode::ZeroCopy).unwrap();
        let mut told = 0;
        let mut tells = |queue: &mut Queue, kernel: &Kernel, more: u64, why: &str| {
            (0..10).for_each(|_| queue.kick());
            told += more;
            assert_eq!(kernel.wakeups().0, told, "{why}");
        };
        send_one(&mut queue, &[1; 60]);
        send_one(&mut queue, &[2; 60]);
        tells(&mut queue, &kernel, 1, "both are new");
        assert!(queue.tx_pending(), "and are there still");
        send_one(&mut queue, &[3; 60]);
        tells(&mut queue, &kernel, 1, "one more is new");
        assert!(kernel.transmit().is_some());
        tells(&mut queue, &kernel, 1, "it has taken one and left two");
        kernel.complete(1);
        assert_eq!(queue.reap(), 1);
        tells(&mut queue, &kernel, 1, "it may have waited for room to complete into");
        queue.tell_again();
        tells(&mut queue, &kernel, 1, "it is late");
        while kernel.transmit().is_some() {}
        tells(&mut queue, &kernel, 1, "it was not known yet that it has taken all");
        kernel.complete(64);
        queue.reap();
        tells(&mut queue, &kernel, 0, "nothing waits");
        kernel.ask_for_wakeups(false);
        send_one(&mut queue, &[4; 60]);
        tells(&mut queue, &kernel, 0, "it looks by itself");
        kernel.ask_for_wakeups(true);
        tells(&mut queue, &kernel, 1, "it does not any more, and was not told");
    }

    #[test]
    fn a_full_tx_ring_takes_what_fits_and_hands_the_rest_back() {
        let (mut queue, mut kernel) = bench();
        let mut group: Group = (0..20)
            .map(|_| {
                let mut frame = queue.take().unwrap();
                frame.set_len(60);
                frame
            })
            .collect();
        assert_eq!(queue.send(&mut group), 16);
        assert_eq!(group.len(), 4);
        assert_eq!(queue.send(&mut group), 0);
        while kernel.transmit().is_some() {}
        assert_eq!(queue.send(&mut group), 4);
        assert_eq!(queue.census().unaccounted(), 0);
    }

    #[test]
    fn everyday_answers_are_counted_and_tried_again() {
        let (mut queue, mut kernel) = bench();
        send_one(&mut queue, &[1; 60]);
        for errno in [libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::ENETDOWN, libc::ENXIO] {
            kernel.answer_wakeups(errno);
            queue.kick();
        }
        let stats = queue.stats();
        let counted = [
            stats.wake_again,
            stats.wake_busy,
            stats.wake_no_buffers,
            stats.wake_link_down,
            stats.wake_other,
        ];
        assert_eq!(counted, [1; 5]);
        assert!(queue.tx_pending());
        assert!(kernel.transmit().is_some(), "nothing was lost");
    }

    #[test]
    fn descriptors_that_cannot_be_true_are_counted_and_not_believed() {
        let (mut queue, mut kernel) = bench();
        let lies = [
            Descriptor { addr: 64 * 2048, len: 60, options: 0 },
            Descriptor { addr: u64::MAX, len: 60, options: 0 },
            Descriptor { addr: 256, len: 1793, options: 0 },
            Descriptor { addr: 256, len: 0, options: 0 },
            Descriptor { addr: 256, len: 60, options: 1 },
            // A chunk of the pool: the fill ring has only 16 of the 64.
            Descriptor { addr: 63 * 2048 + 256, len: 60, options: 0 },
        ];
        for lie in lies {
            assert!(kernel.post(lie));
        }
        assert!(kernel.post_completion(0));
        send_one(&mut queue, &[1; 60]);
        let mut frames: Vec<Frame> = Vec::new();
        assert_eq!(queue.recv(&mut frames, 64), 0);
        assert_eq!(queue.reap(), 0);
        assert_eq!(queue.stats().bad_descriptors, 7);
        assert_eq!(queue.census().unaccounted(), 0);
    }

    #[test]
    fn the_kernel_names_its_losses() {
        let (mut queue, mut kernel) = bench();
        assert_eq!(kernel.deliver(&[0; 1793], 0), Delivery::TooLong);
        for _ in 0..16 {
            assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::Delivered);
        }
        assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::RingFull);
        let mut frames: Vec<Frame> = Vec::new();
        queue.recv(&mut frames, 64);
        assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::NoChunk);
        queue.refill();
        assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::Delivered);
        let lost = queue.kernel_statistics().unwrap();
        assert_eq!((lost.rx_dropped, lost.rx_ring_full, lost.rx_fill_ring_empty), (1, 1, 1));
        frames.into_iter().for_each(|frame| queue.release(frame));
    }

    #[test]
    fn an_exhausted_umem_gives_no_frame_and_recovers() {
        let (mut queue, _kernel) = bench();
        let frames: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(frames.len(), 48, "64 less the fill ring's 16");
        frames.into_iter().for_each(|frame| queue.release(frame));
        assert!(queue.take().is_some());
    }

    #[test]
    #[should_panic(expected = "a frame of another UMEM")]
    fn a_frame_of_another_umem_is_our_mistake() {
        let (mut queue, _kernel) = bench();
        let (mut other, _other_kernel) = bench();
        let mut frame = other.take().unwrap();
        frame.set_len(60);
        queue.send(&mut [frame].into_iter().collect());
    }

    /// Random packets in and out, dropped frames among them: the law holds at every step.
    #[test]
    fn the_frame_law_holds_in_any_order_of_things() {
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7_u64);
        println!("SEED={seed}");
        let mut state = seed;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut queue, mut kernel) = bench();
        let mut held: Vec<Frame> = Vec::new();
        let mut lost = 0;
        for _ in 0..if cfg!(miri) { 200 } else { 20_000 } {
            match random(8) {
                0 => drop(kernel.deliver(&[0xa5; 60], 0)),
                1 => drop(queue.recv(&mut held, u32::try_from(random(8)).unwrap())),
                2 => held.extend(queue.take()),
                3 if !held.is_empty() => {
                    let mut frame = held.swap_remove(0);
                    frame.set_len(60);
                    let mut group: Group = [frame].into_iter().collect();
                    queue.send(&mut group);
                    held.extend(group.drain(..));
                }
                4 if !held.is_empty() => queue.release(held.swap_remove(0)),
                5 if !held.is_empty() => {
                    drop(held.swap_remove(0));
                    lost += 1;
                }
                6 => while kernel.transmit().is_some() {},
                _ => {
                    kernel.complete(usize::try_from(random(8)).unwrap());
                    queue.reap();
                    queue.refill();
                }
            }
            let census = queue.census();
            assert_eq!(census.unaccounted(), 0, "{census:?}");
            assert_eq!(census.held as usize, held.len());
            assert_eq!(queue.reclaimed_frames(), lost);
        }
        assert_eq!(queue.stats().bad_descriptors, 0);
    }
}
