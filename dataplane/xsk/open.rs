//! Opening a queue: socket, UMEM, rings, bind, each step with its error.

use core::fmt;
use std::error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use super::KernelStatistics;
use super::queue::{Backend, Bind, Queue, Rings};
use super::ring::{Entry, MappedRing};
use super::sizes::Sizes;
use super::tx_metadata;
use crate::driver::Driver;
use crate::offload::{ChecksumWish, Circumstances, TxOffloads};
use crate::steer::privilege;
use crate::sys::ethtool::{Channels, Ethtool};
use crate::sys::mapping::Mapping;
use crate::sys::netlink::{self, Features};
use crate::sys::xdp::{self, RingOffset};
use crate::umem::Umem;
use crate::umem::chain::CHUNKS_MAX;

/// Whether the driver reads and writes the UMEM itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyMode {
    /// Zero-copy where the driver has it, else copy.
    #[default]
    Auto,
    /// The kernel copies each packet.
    Copy,
    /// The NIC reaches the UMEM, or the open fails.
    ZeroCopy,
}

impl fmt::Display for CopyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Copy => "copy",
            Self::ZeroCopy => "zero-copy",
        })
    }
}

/// Whether a packet may lie in several chunks, `XDP_USE_SG`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiBuffer {
    /// It may not: the kernel drops what is longer than a chunk holds (`rx_dropped`).
    #[default]
    Off,
    /// It may where that can be had: zero-copy is given up for it unless it is demanded.
    Prefer,
    /// It may, or the open fails.
    Require,
}

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of the interface in this network namespace.
    pub interface: Box<str>,
    /// Hardware queue, counting from 0.
    pub queue: u32,
    /// Entries in each of the four rings, a power of two.
    pub ring_entries: u32,
    /// Chunks that the fill ring is kept at; the rest of the UMEM is for sending.
    pub fill_frames: u32,
    /// Chunks that the driver takes out of the fill ring and keeps in a ring of its own, as it does
    /// for zero-copy; 0 where it keeps none or nobody knows. They are given to it on top of
    /// `fill_frames`, or where the UMEM has no room for that the RX ring is smaller, so that the
    /// fill ring never runs empty while nobody looks.
    pub card_frames: u32,
    /// Copy mode asked for.
    pub copy: CopyMode,
    /// Whether a packet may lie in several chunks.
    pub multi_buffer: MultiBuffer,
    /// Whether the kernel may sleep and ask for wake-ups. Off only to measure.
    pub need_wakeup: bool,
    /// Who shall finish checksums.
    pub tx_checksum: ChecksumWish,
}

impl Options {
    /// Rings of 2048 entries, half of a default UMEM for receiving.
    pub fn new(interface: &str, queue: u32) -> Self {
        Self {
            interface: interface.into(),
            queue,
            ring_entries: 2048,
            fill_frames: 2048,
            card_frames: 0,
            copy: CopyMode::Auto,
            multi_buffer: MultiBuffer::Off,
            need_wakeup: true,
            tx_checksum: ChecksumWish::Auto,
        }
    }
}

/// Why a queue could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No interface of that name in this network namespace.
    NoInterface {
        /// The name as configured.
        interface: Box<str>,
    },
    /// The interface has no such queue.
    NoQueue {
        /// The name as configured.
        interface: Box<str>,
        /// Queue asked for, counting from 0.
        queue: u32,
    },
    /// `AF_XDP` needs a capability that the process has not got.
    NotPermitted {
        /// Capabilities needed for all that belongs to it, of those that are missing.
        missing: Box<[&'static str]>,
    },
    /// The kernel was built without `AF_XDP`.
    NoSockets,
    /// Too little memory may be locked.
    MemoryLock {
        /// Octets of the UMEM.
        octets: u64,
    },
    /// Zero-copy was demanded and the driver has none.
    NoZeroCopy {
        /// The name as configured.
        interface: Box<str>,
    },
    /// Multi-buffer was demanded, and the queue can be had without it only.
    NoMultiBuffer {
        /// The name as configured.
        interface: Box<str>,
        /// The driver's, where it has one.
        driver: Option<Box<str>>,
        /// Whether zero-copy was demanded too.
        zero_copy: bool,
    },
    /// Zero-copy was demanded, the driver has it and will not give it.
    ZeroCopyRefused {
        /// The name as configured.
        interface: Box<str>,
        /// Queue asked for.
        queue: u32,
    },
    /// Another socket has the queue and keeps it.
    QueueTaken {
        /// The name as configured.
        interface: Box<str>,
        /// Queue asked for.
        queue: u32,
    },
    /// A ring size that the kernel refuses.
    RingSize {
        /// Entries asked for.
        ring_entries: u32,
    },
    /// A system call failed.
    Os {
        /// The call with its distinguishing argument, as in `setsockopt(XDP_UMEM_REG)`.
        call: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface { interface } => {
                write!(
                    f,
                    "no interface {interface:?} in this network namespace; `ip link` lists them"
                )
            }
            Self::NoQueue { interface, queue } => write!(
                f,
                "{interface} has no queue {queue}; `ethtool -l {interface}` shows how many there \
                 are, `ethtool -L {interface} combined {}` raises them",
                u64::from(*queue) + 1,
            ),
            Self::NotPermitted { missing } => {
                privilege::explain(f, "opening an AF_XDP socket", missing)
            }
            Self::NoSockets => f.write_str("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)"),
            Self::MemoryLock { octets } => write!(
                f,
                "a UMEM of {octets} octets may not be locked in memory; raise the limit with \
                 `ulimit -l {}` or LimitMEMLOCK=, or give CAP_IPC_LOCK",
                octets.div_ceil(1024),
            ),
            Self::NoZeroCopy { interface } => write!(
                f,
                "the driver of {interface} has no zero-copy for this queue; set copy = \"auto\" \
                 or \"copy\"",
            ),
            Self::NoMultiBuffer { interface, driver, zero_copy: true } => write!(
                f,
                "the driver of {interface} ({}) has no zero-copy for packets in several chunks; \
                 set copy = \"auto\" or \"copy\", or multi_buffer = \"off\" and an MTU that one \
                 chunk holds",
                driver.as_deref().unwrap_or("of no name"),
            ),
            Self::NoMultiBuffer { interface, driver, zero_copy: false } => write!(
                f,
                "the kernel takes no packets in several chunks from {interface} (driver {}), which \
                 came with Linux 6.6; set multi_buffer = \"off\" and an MTU that one chunk holds",
                driver.as_deref().unwrap_or("of no name"),
            ),
            Self::ZeroCopyRefused { interface, queue } => write!(
                f,
                "the driver of {interface} refuses zero-copy for queue {queue} (EINVAL): chunks \
                 may be too small for its MTU (umem.chunk_octets = 4096), or a virtio device \
                 lacks iommu_platform; copy = \"auto\" goes on without",
            ),
            Self::QueueTaken { interface, queue } => write!(
                f,
                "queue {queue} of {interface} is taken by another AF_XDP socket; stop the program \
                 that has it (`ss --xdp -p` names it) or choose another queue",
            ),
            Self::RingSize { ring_entries } => write!(
                f,
                "rings of {ring_entries} entries: a power of two from 64 to 262144 is possible",
            ),
            Self::Os { call, .. } => write!(f, "{call} failed"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn not_permitted() -> Error {
    Error::NotPermitted { missing: privilege::missing() }
}

fn os(call: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Os { call, source }
}

/// How often and how long a bind waits for the teardown of an earlier socket, which the kernel
/// does after close(2) has returned: 2 s in all. Seen: under 60 ms on veth, 2 s on igb.
const BIND_TRIES: u32 = 200;
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// Opens a queue. The fill ring is full when this returns, so that no packet is lost between the
/// moment that steering knows the socket and the first turn.
///
/// # Errors
///
/// [`Error`], which names what to do about it.
pub fn open(options: &Options, umem: Umem) -> Result<Queue, Error> {
    let Options { ref interface, queue, ring_entries, .. } = *options;
    if !ring_entries.is_power_of_two() || !(64..=262_144).contains(&ring_entries) {
        return Err(Error::RingSize { ring_entries });
    }
    let index = nix::net::if_::if_nametoindex(&**interface)
        .map_err(|_| Error::NoInterface { interface: interface.clone() })?;
    let sizes = sizes(options, &umem);
    let (Bound { socket, rings, tx_budget, has_room }, several) = match options.multi_buffer {
        MultiBuffer::Off => (bound(options, index, &umem, false)?, false),
        wanted => match bound(options, index, &umem, true) {
            Ok(bound) => (bound, true),
            Err(
                Error::NoZeroCopy { .. } | Error::ZeroCopyRefused { .. } | Error::NoQueue { .. },
            ) => {
                // The kernel answers the same to a queue that is not there, and to zero-copy that
                // is not there at all: then it refuses this too.
                let without = bound(options, index, &umem, false)?;
                let refusal = no_multi_buffer(options);
                if wanted == MultiBuffer::Require {
                    return Err(refusal);
                }
                tracing::warn!(interface = &**interface, queue, reason = %refusal, "no multi-buffer");
                (without, false)
            }
            Err(other) => return Err(other),
        },
    };
    let copy = match xdp::is_zero_copy(socket.as_fd()).map_err(os("getsockopt(XDP_OPTIONS)"))? {
        true => CopyMode::ZeroCopy,
        false => CopyMode::Copy,
    };
    let features = netlink::features(index).ok().flatten().unwrap_or_default();
    let packet_chunks_max = match (several, copy, features.zero_copy_segments_max) {
        (false, ..) => 1,
        // Of a packet in more, a driver gives no chunk back. One that does not say how many it
        // takes has taken the bind for packets of several.
        (true, CopyMode::ZeroCopy, most @ 2..) => most.min(CHUNKS_MAX),
        (true, ..) => CHUNKS_MAX,
    };
    let tx = tx_offloads(options, copy, has_room, features);
    let bind = Bind { copy, pages: umem.pages(), tx_budget, packet_chunks_max, tx };
    tracing::info!(
        interface = &**interface, queue, copy = %copy, pages = ?umem.pages(), tx_budget,
        packet_chunks_max, tx_checksum = %tx.checksum, launch_time = tx.launch_time,
        frames = umem.frames(), "queue opened"
    );
    if copy == CopyMode::ZeroCopy && !sizes.is_covered {
        tracing::warn!(
            interface = &**interface,
            queue,
            card_frames = options.card_frames,
            fill_frames = sizes.fill_frames,
            "the card takes all chunks into a ring of its own; raise ring_entries and umem.frames, \
             or make its ring smaller with `ethtool -G {interface} rx N`"
        );
    }
    Ok(Queue::new(Box::new(Socket(socket)), rings, umem, bind, sizes.fill_frames))
}

fn sizes(options: &Options, umem: &Umem) -> Sizes {
    let Options { ring_entries, fill_frames, card_frames, .. } = *options;
    Sizes::new(ring_entries, fill_frames, card_frames, umem.frames())
}

fn no_multi_buffer(options: &Options) -> Error {
    Error::NoMultiBuffer {
        interface: options.interface.clone(),
        driver: Ethtool::open().and_then(|ethtool| ethtool.driver(&options.interface)).ok(),
        zero_copy: options.copy == CopyMode::ZeroCopy,
    }
}

/// A socket that has its queue.
struct Bound {
    rings: Rings,
    socket: OwnedFd,
    tx_budget: Option<u32>,
    has_room: bool,
}

/// Makes a socket and binds it, with packets in several chunks or without. A socket that was refused
/// once is not used again: its memory is marked for what was refused.
fn bound(options: &Options, index: u32, umem: &Umem, multi_buffer: bool) -> Result<Bound, Error> {
    let ring_entries = options.ring_entries;
    let socket = xdp::socket().map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM) => not_permitted(),
        Some(libc::EAFNOSUPPORT) => Error::NoSockets,
        _ => Error::Os { call: "socket(AF_XDP)", source },
    })?;
    let fd = socket.as_fd();
    // A socket that was refused just before has the memory charged to it until the kernel has torn
    // it down, after close(2) has returned.
    let second = !multi_buffer && options.multi_buffer != MultiBuffer::Off;
    let has_room = register(fd, umem, options.tx_checksum, if second { BIND_TRIES } else { 1 })?;
    let sizes = sizes(options, umem);
    for (option, entries, call) in [
        (xdp::XDP_UMEM_FILL_RING, sizes.fill_entries, "setsockopt(XDP_UMEM_FILL_RING)"),
        (xdp::XDP_UMEM_COMPLETION_RING, ring_entries, "setsockopt(XDP_UMEM_COMPLETION_RING)"),
        (xdp::XDP_RX_RING, sizes.rx_entries, "setsockopt(XDP_RX_RING)"),
        (xdp::XDP_TX_RING, ring_entries, "setsockopt(XDP_TX_RING)"),
    ] {
        xdp::set_option(fd, option, entries).map_err(os(call))?;
    }
    // Absent before Linux 6.18: then 32 descriptors go out by one wake-up.
    let tx_budget =
        xdp::set_option(fd, xdp::XDP_MAX_TX_SKB_BUDGET, ring_entries).ok().map(|()| ring_entries);
    let rings = map_rings(fd, ring_entries, sizes)?;
    bind(fd, index, options, multi_buffer)?;
    Ok(Bound { rings, socket, tx_budget, has_room })
}

/// Registers the UMEM, as soon as its memory may be locked; whether with room for TX metadata.
fn register(
    fd: BorrowedFd<'_>,
    umem: &Umem,
    wish: ChecksumWish,
    tries: u32,
) -> Result<bool, Error> {
    let (start, octets) = umem.region();
    let room = match wish {
        ChecksumWish::KernelAlone => xdp::TxRoom::KernelSums(tx_metadata::LEN),
        _ => xdp::TxRoom::Octets(tx_metadata::LEN),
    };
    let register = |room| xdp::register_umem(fd, start, octets, umem.chunk_octets(), room);
    for left in (0..tries).rev() {
        let answer = match register(room) {
            // Before Linux 6.11; or something else is wrong, and will be so again.
            Err(refusal) if refusal.raw_os_error() == Some(libc::EINVAL) => {
                register(xdp::TxRoom::None).map(|()| false)
            }
            answer => answer.map(|()| true),
        };
        let source = match answer {
            Ok(has_room) => return Ok(has_room),
            Err(source) => source,
        };
        match source.raw_os_error() {
            Some(libc::ENOBUFS) if left > 0 => thread::sleep(BIND_PAUSE),
            Some(libc::ENOBUFS) => break,
            Some(libc::EPERM) => return Err(not_permitted()),
            _ => return Err(Error::Os { call: "setsockopt(XDP_UMEM_REG)", source }),
        }
    }
    Err(Error::MemoryLock { octets })
}

/// What is obtained for packets that are sent. Who cannot be asked has nothing.
fn tx_offloads(
    options: &Options,
    copy: CopyMode,
    has_room: bool,
    features: Features,
) -> TxOffloads {
    let found = Circumstances {
        zero_copy: copy == CopyMode::ZeroCopy,
        has_room,
        features,
        kernel_finishes: Driver::of(&options.interface).finishes_checksums.is,
    };
    TxOffloads::of(options.tx_checksum, found)
}

fn bind(
    fd: BorrowedFd<'_>,
    index: u32,
    options: &Options,
    multi_buffer: bool,
) -> Result<(), Error> {
    let copy = match options.copy {
        CopyMode::Auto => 0,
        CopyMode::Copy => xdp::XDP_COPY,
        CopyMode::ZeroCopy => xdp::XDP_ZEROCOPY,
    };
    let wakeup = if options.need_wakeup { xdp::XDP_USE_NEED_WAKEUP } else { 0 };
    let parts = if multi_buffer { xdp::XDP_USE_SG } else { 0 };
    let (interface, queue) = (options.interface.clone(), options.queue);
    for _ in 0..BIND_TRIES {
        let Err(source) = xdp::bind(fd, index, queue, copy | wakeup | parts) else { return Ok(()) };
        match source.raw_os_error() {
            Some(libc::EBUSY) => thread::sleep(BIND_PAUSE),
            Some(libc::EOPNOTSUPP) if options.copy == CopyMode::ZeroCopy => {
                return Err(Error::NoZeroCopy { interface });
            }
            Some(libc::EINVAL) if options.copy == CopyMode::ZeroCopy && exists(options) => {
                return Err(Error::ZeroCopyRefused { interface, queue });
            }
            Some(libc::EINVAL) => return Err(Error::NoQueue { interface, queue }),
            Some(libc::EPERM) => return Err(not_permitted()),
            _ => return Err(Error::Os { call: "bind(AF_XDP)", source }),
        }
    }
    Err(Error::QueueTaken { interface, queue })
}

/// Whether the interface has the queue, by the word of its driver; a driver that does not say how
/// many there are has one.
fn exists(options: &Options) -> bool {
    let channels = Ethtool::open().and_then(|ethtool| ethtool.channels(&options.interface));
    options.queue < channels.map_or(1, Channels::receiving).max(1)
}

fn map_rings(fd: BorrowedFd<'_>, size: u32, sizes: Sizes) -> Result<Rings, Error> {
    let offsets = xdp::mmap_offsets(fd).map_err(os("getsockopt(XDP_MMAP_OFFSETS)"))?;
    let page = |offset: u64| i64::try_from(offset).expect("fixed by the kernel ABI, 33 bits");
    let fill = page(xdp::XDP_UMEM_PGOFF_FILL_RING);
    let completion = page(xdp::XDP_UMEM_PGOFF_COMPLETION_RING);
    Ok(Rings {
        fill: map::<u64>(fd, &offsets.fr, sizes.fill_entries, fill)?.into_producer().boxed(),
        rx: map(fd, &offsets.rx, sizes.rx_entries, xdp::XDP_PGOFF_RX_RING)?.into_consumer().boxed(),
        tx: map(fd, &offsets.tx, size, xdp::XDP_PGOFF_TX_RING)?.into_producer().boxed(),
        completion: map::<u64>(fd, &offsets.cr, size, completion)?.into_consumer().boxed(),
    })
}

fn map<T: Entry>(
    fd: BorrowedFd<'_>,
    offset: &RingOffset,
    size: u32,
    page: i64,
) -> Result<MappedRing<T>, Error> {
    let octets = MappedRing::<T>::octets(offset, size);
    let mapping = Mapping::shared(fd, octets, page).map_err(os("mmap of an XSK ring"))?;
    Ok(MappedRing::new(mapping, offset, size))
}

/// The kernel's half, behind a socket.
#[derive(Debug)]
struct Socket(OwnedFd);

impl Backend for Socket {
    fn wake_tx(&mut self) -> io::Result<()> {
        xdp::wake_tx(self.0.as_fd())
    }

    fn wake_rx(&mut self) -> io::Result<()> {
        xdp::wake_rx(self.0.as_fd())
    }

    fn statistics(&mut self) -> io::Result<KernelStatistics> {
        xdp::statistics(self.0.as_fd())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_request_and_the_remedy() {
        let interface: Box<str> = "eth7".into();
        let told = [
            (
                Error::NoInterface { interface: interface.clone() },
                "no interface \"eth7\" in this network namespace; `ip link` lists them",
            ),
            (
                Error::NoQueue { interface: interface.clone(), queue: 4 },
                "eth7 has no queue 4; `ethtool -l eth7` shows how many there are, \
                 `ethtool -L eth7 combined 5` raises them",
            ),
            (
                Error::NotPermitted { missing: ["CAP_NET_RAW"].into() },
                "opening an AF_XDP socket is not permitted: CAP_NET_RAW missing; run as root, or \
                 grant them with `sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw+ep \
                 <binary>`",
            ),
            (
                Error::MemoryLock { octets: 8 << 20 },
                "a UMEM of 8388608 octets may not be locked in memory; raise the limit with \
                 `ulimit -l 8192` or LimitMEMLOCK=, or give CAP_IPC_LOCK",
            ),
            (
                Error::NoZeroCopy { interface: interface.clone() },
                "the driver of eth7 has no zero-copy for this queue; set copy = \"auto\" or \
                 \"copy\"",
            ),
            (
                Error::NoMultiBuffer {
                    interface: interface.clone(),
                    driver: Some("igb".into()),
                    zero_copy: true,
                },
                "the driver of eth7 (igb) has no zero-copy for packets in several chunks; set \
                 copy = \"auto\" or \"copy\", or multi_buffer = \"off\" and an MTU that one chunk \
                 holds",
            ),
            (
                Error::NoMultiBuffer {
                    interface: interface.clone(),
                    driver: None,
                    zero_copy: false,
                },
                "the kernel takes no packets in several chunks from eth7 (driver of no name), which \
                 came with Linux 6.6; set multi_buffer = \"off\" and an MTU that one chunk holds",
            ),
            (
                Error::ZeroCopyRefused { interface: interface.clone(), queue: 1 },
                "the driver of eth7 refuses zero-copy for queue 1 (EINVAL): chunks may be too \
                 small for its MTU (umem.chunk_octets = 4096), or a virtio device lacks \
                 iommu_platform; copy = \"auto\" goes on without",
            ),
            (
                Error::QueueTaken { interface, queue: 0 },
                "queue 0 of eth7 is taken by another AF_XDP socket; stop the program that has it \
                 (`ss --xdp -p` names it) or choose another queue",
            ),
            (
                Error::RingSize { ring_entries: 1000 },
                "rings of 1000 entries: a power of two from 64 to 262144 is possible",
            ),
        ];
        for (error, text) in told {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn an_unknown_interface_is_refused_by_name() {
        let umem = Umem::new(&crate::umem::Options::default()).unwrap();
        let refusal = open(&Options::new("no-such-link", 0), umem).unwrap_err();
        assert!(matches!(refusal, Error::NoInterface { .. }), "{refusal}");
    }
}
