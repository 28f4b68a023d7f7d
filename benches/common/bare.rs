//! The bare loops that services are measured against: rings and system calls, and nothing else.
//!
//! Each opens its socket with the options that [`tidegate_dataplane::xsk::open`] uses, so that a
//! ratio compares what stands above the rings and not what lies below them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_dataplane::sys::mapping::Mapping;
use tidegate_dataplane::sys::xdp::{self, RingOffset};
use tidegate_dataplane::umem::{Options, Pages, Umem};
use tidegate_dataplane::xsk::ring::{Consumer, Descriptor, Entry, MappedRing, Producer};

const CHUNK_OCTETS: u32 = 2048;
const FRAMES: u32 = 4096;
const RING: u32 = 2048;
const BURST: u32 = 64;

/// A socket with its four rings and a UMEM of which chunk 0..2048 is for receiving and the rest
/// for sending.
pub(crate) struct Bare {
    socket: OwnedFd,
    fill: Producer<u64, Mapping>,
    rx: Consumer<Descriptor, Mapping>,
    tx: Producer<Descriptor, Mapping>,
    completion: Consumer<u64, Mapping>,
    _umem: Umem,
}

impl Bare {
    /// Opens queue `queue` of `interface` in the thread's namespace; every sending chunk holds
    /// `packet`.
    pub(crate) fn open(interface: &str, queue: u32, packet: &[u8]) -> Self {
        let umem = Umem::new(&Options {
            chunk_octets: CHUNK_OCTETS,
            frames: FRAMES,
            pages: Pages::Ordinary,
        })
        .expect("memory");
        // All chunks are leased once, filled and forgotten: from here on they are plain memory.
        while let Some(mut lease) = umem.take() {
            lease.bytes_mut(0, packet.len()).copy_from_slice(packet);
            std::mem::forget(lease);
        }
        let socket = xdp::socket().expect("an AF_XDP socket");
        let fd = socket.as_fd();
        let (start, octets) = umem.region();
        xdp::register_umem(fd, start, octets, CHUNK_OCTETS, xdp::TxRoom::None).expect("a UMEM");
        for option in [
            xdp::XDP_UMEM_FILL_RING,
            xdp::XDP_UMEM_COMPLETION_RING,
            xdp::XDP_RX_RING,
            xdp::XDP_TX_RING,
        ] {
            xdp::set_option(fd, option, RING).expect("a ring");
        }
        let _ = xdp::set_option(fd, xdp::XDP_MAX_TX_SKB_BUDGET, RING);
        let at = xdp::mmap_offsets(fd).expect("offsets");
        let mut fill = map(fd, &at.fr, xdp::XDP_UMEM_PGOFF_FILL_RING.cast_signed()).into_producer();
        let completion =
            map(fd, &at.cr, xdp::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed()).into_consumer();
        let rx = map(fd, &at.rx, xdp::XDP_PGOFF_RX_RING).into_consumer();
        let tx = map(fd, &at.tx, xdp::XDP_PGOFF_TX_RING).into_producer();
        let index = nix::net::if_::if_nametoindex(interface).expect("the lab's interface");
        xdp::bind(fd, index, queue, xdp::XDP_USE_NEED_WAKEUP).expect("a bind");
        fill.push_burst(&mut (0..RING).map(|chunk| u64::from(chunk * CHUNK_OCTETS)));
        Self { socket, fill, rx, tx, completion, _umem: umem }
    }

    /// The socket, for the steering program.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends the prebuilt packet in groups of 64 while `go()`; returns how many were completed.
    pub(crate) fn send(&mut self, len: u32, mut go: impl FnMut() -> bool) -> u64 {
        let mut free: Vec<u64> =
            (RING..FRAMES).map(|chunk| u64::from(chunk * CHUNK_OCTETS)).collect();
        let mut completed = 0_u64;
        while go() {
            let ready = free.len().min(BURST as usize);
            let group = self.tx.free(BURST).min(u32::try_from(ready).expect("at most 64"));
            let at = free.len() - group as usize;
            self.tx.push_burst(&mut free[at..].iter().map(|&addr| Descriptor {
                addr,
                len,
                options: 0,
            }));
            free.truncate(at);
            if self.tx.needs_wakeup() {
                let _ = xdp::wake_tx(self.socket.as_fd());
            }
            completed += u64::from(self.completion.pop_burst(RING, |addr| free.push(addr)));
        }
        completed
    }

    /// Receives in bursts of 64 and gives each chunk straight back, while `go()`; returns how many.
    pub(crate) fn recycle(&mut self, mut go: impl FnMut() -> bool) -> u64 {
        let mut received = 0_u64;
        let mut chunks = Vec::with_capacity(BURST as usize);
        while go() {
            received += u64::from(self.rx.pop_burst(BURST, |descriptor| {
                chunks.push(descriptor.addr & !u64::from(CHUNK_OCTETS - 1));
            }));
            self.fill.push_burst(&mut chunks.drain(..));
            if self.fill.needs_wakeup() {
                let _ = xdp::wake_rx(self.socket.as_fd());
            }
        }
        received
    }
}

fn map<T: Entry>(fd: BorrowedFd<'_>, at: &RingOffset, page: i64) -> MappedRing<T> {
    let mapping = Mapping::shared(fd, MappedRing::<T>::octets(at, RING), page).expect("a ring");
    MappedRing::new(mapping, at, RING)
}
