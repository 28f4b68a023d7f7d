//! `AF_XDP` socket calls, `linux/if_xdp.h`.
//!
//! One function per call, each with the argument it was given named in the error by the caller.
#![allow(unsafe_code)] // socket(2), setsockopt(2), getsockopt(2), bind(2), sendto(2), recvfrom(2).

use core::mem::{MaybeUninit, size_of};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use libc::{
    XDP_COPY, XDP_OPTIONS_ZEROCOPY, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_PKT_CONTD,
    XDP_RING_NEED_WAKEUP, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XDP_USE_NEED_WAKEUP, XDP_USE_SG,
    XDP_ZEROCOPY, xdp_mmap_offsets as MmapOffsets, xdp_ring_offset as RingOffset,
};

/// `XDP_MAX_TX_SKB_BUDGET`, since Linux 6.18: packets that one wake-up sends in copy mode.
pub const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// `XDP_UMEM_TX_SW_CSUM`, since Linux 6.8.
const XDP_UMEM_TX_SW_CSUM: u32 = 1 << 1;

/// `AF_XDP` as the 16 bits that `struct sockaddr_xdp` has for it.
#[allow(clippy::cast_possible_truncation)] // 44.
const FAMILY: u16 = libc::AF_XDP as u16;

/// Length of an option or address as the socket calls want it.
#[allow(clippy::cast_possible_truncation)] // C structures of a few octets.
const fn octets_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// What the kernel lost on a socket, `struct xdp_statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStatistics {
    /// Packets dropped for other reasons than a full or an empty ring (too long for a chunk, say).
    pub rx_dropped: u64,
    /// Descriptors of the fill ring that the kernel refused.
    pub rx_invalid_descriptors: u64,
    /// Descriptors of the TX ring that the kernel refused.
    pub tx_invalid_descriptors: u64,
    /// Packets dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel wanted a chunk and the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Times that the kernel looked at the TX ring and found nothing.
    pub tx_ring_empty: u64,
}

/// Makes an `AF_XDP` socket.
///
/// # Errors
///
/// `EPERM` without `CAP_NET_RAW`, `EAFNOSUPPORT` where the kernel has no `XDP_SOCKETS`.
pub fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket(2) just gave us this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a 32-bit option of the level `SOL_XDP`.
///
/// # Errors
///
/// What setsockopt(2) says.
pub fn set_option(fd: BorrowedFd<'_>, option: i32, value: u32) -> io::Result<()> {
    set(fd, option, &value)
}

/// What a UMEM keeps free in front of packets that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxRoom {
    /// Nothing.
    None,
    /// So many octets, for TX metadata.
    Octets(usize),
    /// The same, and checksums are summed by the kernel in copy mode, never by the card.
    KernelSums(usize),
}

/// Registers `octets` octets at `start` as the UMEM of the socket (`XDP_UMEM_REG`).
///
/// The kernel pins the pages: they outlive an early munmap(2), so memory safety does not hang on
/// the order of teardown. What the kernel writes later is the owner's business, see [`crate::umem`].
///
/// # Errors
///
/// `ENOBUFS` where `RLIMIT_MEMLOCK` is too small, `EINVAL` for chunk sizes that the kernel refuses,
/// and for room before Linux 6.11.
pub fn register_umem(
    fd: BorrowedFd<'_>,
    start: u64,
    octets: u64,
    chunk_octets: u32,
    room: TxRoom,
) -> io::Result<()> {
    let (flags, tx_metadata_len) = match room {
        TxRoom::None => (0, 0),
        TxRoom::Octets(len) => (libc::XDP_UMEM_TX_METADATA_LEN, len),
        TxRoom::KernelSums(len) => (libc::XDP_UMEM_TX_METADATA_LEN | XDP_UMEM_TX_SW_CSUM, len),
    };
    let registration = libc::xdp_umem_reg {
        addr: start,
        len: octets,
        chunk_size: chunk_octets,
        headroom: 0,
        flags,
        tx_metadata_len: u32::try_from(tx_metadata_len).unwrap_or(u32::MAX),
    };
    set(fd, libc::XDP_UMEM_REG, &registration)
}

fn set<T>(fd: BorrowedFd<'_>, option: i32, value: &T) -> io::Result<()> {
    let octets = octets_of::<T>();
    let value = core::ptr::from_ref(value).cast();
    // SAFETY: `value` points to `octets` readable octets for the length of the call.
    let answer = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value, octets) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A C structure of integers.
///
/// # Safety
///
/// Every bit pattern is a value of the type.
unsafe trait Integers: Copy {}
// SAFETY: `linux/if_xdp.h` declares it of `__u64` alone.
unsafe impl Integers for MmapOffsets {}
// SAFETY: as above.
unsafe impl Integers for libc::xdp_statistics {}
// SAFETY: one `__u32`.
unsafe impl Integers for libc::xdp_options {}

/// Reads an option into a zeroed `T`; returns it with the length that the kernel wrote.
fn get<T: Integers>(fd: BorrowedFd<'_>, option: i32) -> io::Result<(T, usize)> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut octets = octets_of::<T>();
    let place = value.as_mut_ptr().cast();
    // SAFETY: `place` has room for `octets` octets, and the kernel writes no more than that.
    let answer =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, place, &raw mut octets) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed above and partly overwritten by the kernel; integers alone, see `Integers`.
    let value = unsafe { value.assume_init() };
    Ok((value, octets as usize))
}

/// Where the kernel put indices, flags and entries in each ring's mapping (`XDP_MMAP_OFFSETS`).
///
/// # Errors
///
/// What getsockopt(2) says, `Unsupported` for a kernel before 5.4, whose rings have no flags.
pub fn mmap_offsets(fd: BorrowedFd<'_>) -> io::Result<MmapOffsets> {
    let (offsets, octets) = get::<MmapOffsets>(fd, libc::XDP_MMAP_OFFSETS)?;
    if octets == size_of::<MmapOffsets>() {
        Ok(offsets)
    } else {
        // The older structure lies otherwise in memory, so none of it may be believed.
        Err(io::Error::new(io::ErrorKind::Unsupported, "rings without flags: Linux before 5.4"))
    }
}

/// Reads `XDP_STATISTICS`. Counters that an older kernel does not have are zero.
///
/// # Errors
///
/// What getsockopt(2) says.
pub fn statistics(fd: BorrowedFd<'_>) -> io::Result<KernelStatistics> {
    // An older kernel writes the first three fields and says so by the length: the rest of the
    // zeroed structure stays zero.
    let (raw, octets) = get::<libc::xdp_statistics>(fd, libc::XDP_STATISTICS)?;
    if octets < 24 || octets % 8 != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "XDP_STATISTICS of odd length"));
    }
    Ok(KernelStatistics {
        rx_dropped: raw.rx_dropped,
        rx_invalid_descriptors: raw.rx_invalid_descs,
        tx_invalid_descriptors: raw.tx_invalid_descs,
        rx_ring_full: raw.rx_ring_full,
        rx_fill_ring_empty: raw.rx_fill_ring_empty_descs,
        tx_ring_empty: raw.tx_ring_empty_descs,
    })
}

/// Whether the bound socket obtained zero-copy (`XDP_OPTIONS`).
///
/// # Errors
///
/// What getsockopt(2) says.
pub fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let (options, _) = get::<libc::xdp_options>(fd, libc::XDP_OPTIONS)?;
    Ok(options.flags & XDP_OPTIONS_ZEROCOPY != 0)
}

/// Binds to one queue of an interface.
///
/// # Errors
///
/// `EBUSY` while an earlier socket of the queue is being torn down, `EOPNOTSUPP` where zero-copy
/// was demanded and the driver has none, `EINVAL` for a queue that does not exist.
pub fn bind(fd: BorrowedFd<'_>, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: FAMILY,
        sxdp_flags: flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let octets = octets_of::<libc::sockaddr_xdp>();
    let place = (&raw const address).cast();
    // SAFETY: `place` points to `octets` readable octets for the length of the call.
    let answer = unsafe { libc::bind(fd.as_raw_fd(), place, octets) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel look at the TX ring (and, in zero-copy, at the fill ring).
///
/// # Errors
///
/// `EAGAIN`, `EBUSY`, `ENOBUFS` and `ENETDOWN` are everyday answers: come again later.
pub fn wake_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a null buffer of no octets and no address.
    let answer = unsafe {
        libc::sendto(fd.as_raw_fd(), core::ptr::null(), 0, libc::MSG_DONTWAIT, core::ptr::null(), 0)
    };
    if answer >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel look at the fill ring and receive.
///
/// # Errors
///
/// As for [`wake_tx`].
pub fn wake_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a null buffer of no octets and no address.
    let answer = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            core::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            core::ptr::null_mut(),
            core::ptr::null_mut(),
        )
    };
    if answer >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
