//! The `bpf(2)` calls that the loader (aya) does not make, or not the way we need.
//!
//! - a link to an interface, without aya's silent fall back to a netlink attachment, which
//!   would outlive the process;
//! - `BPF_PROG_RUN`, to run a program on bytes (tests) and to let packets enter the stack
//!   (injection);
//! - arrays of a map that are mapped into the process.
//!
//! Loading objects and reading or writing maps is aya's part.

#![allow(unsafe_code)] // Raw system calls: nobody else wraps these safely.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::mapping::Mapping;

// enum bpf_cmd of linux/bpf.h.
const BPF_PROG_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;

/// `BPF_XDP` of enum bpf_attach_type.
const BPF_XDP: u32 = 37;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: what passes enters the stack. Since Linux 5.18.
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// `MEMBARRIER_CMD_GLOBAL` of linux/membarrier.h.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Most packets in one batch of live frames, `TEST_XDP_MAX_BATCH` of net/bpf/test_run.c.
pub const LIVE_BATCH_MAX: u32 = 256;

/// Where an XDP program runs, for [`link_xdp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// In the driver: `XDP_FLAGS_DRV_MODE`.
    Native,
    /// In the stack, on any driver: `XDP_FLAGS_SKB_MODE`.
    Generic,
}

impl LinkMode {
    const fn flags(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Native => 1 << 2,
        }
    }
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The anonymous struct of `BPF_PROG_RUN` in union bpf_attr.
#[repr(C)]
#[derive(Default)]
struct ProgRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<ProgRun>() == 80, "76 octets of the kernel's and a zero");

/// struct xdp_md, as `BPF_PROG_RUN` takes it.
#[repr(C)]
#[derive(Default)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// Makes one bpf call.
///
/// # Safety
///
/// `Attr` is the kernel's layout for `command`, and every address in `attr` is valid for
/// what the command does with it, for as long as the call lasts.
unsafe fn bpf<Attr>(command: libc::c_int, attr: &mut Attr) -> io::Result<RawFd> {
    let attr: *mut Attr = attr;
    // SAFETY: the kernel reads and writes at most `size_of::<Attr>()` octets of `attr`, which
    // is a live exclusive borrow; the rest is the caller's contract.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Attr>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(clippy::cast_possible_truncation)] // bpf(2) answers with an int.
    Ok(answer as RawFd)
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Attaches `prog` to the interface `ifindex` of this thread's network namespace, for as
/// long as the returned link is open: it vanishes with the process.
///
/// # Errors
///
/// The kernel's: `EBUSY` and `EEXIST` when another program is attached, `EOPNOTSUPP` when
/// the driver has no such mode, `EINVAL` also on kernels without XDP links (before 5.9).
pub fn link_xdp(prog: BorrowedFd<'_>, ifindex: u32, mode: LinkMode) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: fd_number(prog),
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags: mode.flags(),
    };
    // SAFETY: LinkCreate is the head of the kernel's struct and holds no address.
    let link = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    // SAFETY: the kernel just made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Puts `prog` in place of the program behind `link`, atomically: every packet meets the
/// old or the new one.
///
/// # Errors
///
/// The kernel's, as for [`link_xdp`]; `ENOLINK` once the interface is gone.
pub fn update_link(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link_fd: fd_number(link),
        new_prog_fd: fd_number(prog),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: LinkUpdate is the kernel's struct and holds no address.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// What one run of an XDP program on bytes gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The XDP action.
    pub action: u32,
    /// The packet afterwards, metadata in front.
    pub data: Vec<u8>,
    /// Nanoseconds of one run, the mean of all.
    pub run_ns: u32,
}

/// Runs the XDP program `prog` `repeat` times on `packet` (at least 14 octets), as if it came
/// in on an interface and receive queue, or the loopback's. Nothing enters the stack. Each run
/// after the first sees what the one before it left.
///
/// # Errors
///
/// The kernel's: `EPERM` without CAP_BPF and CAP_NET_ADMIN, `EINVAL` for a packet that is
/// too short or a queue or interface that does not exist.
///
/// # Panics
///
/// When the kernel says that it wrote more than it was given room for.
pub fn prog_test_run(
    prog: BorrowedFd<'_>,
    packet: &[u8],
    ingress: Option<(u32, u32)>,
    repeat: u32,
) -> io::Result<TestRun> {
    // Room for metadata and for a program that lengthens the packet.
    let mut data = vec![0; packet.len() + 512];
    let mut attr = run_request(prog, packet)?;
    attr.data_size_out = attr.data_size_in + 512;
    attr.repeat = repeat;
    attr.data_out = data.as_mut_ptr() as u64;
    let context = ingress.map(|(ifindex, queue)| XdpContext {
        data_end: attr.data_size_in,
        ingress_ifindex: ifindex,
        rx_queue_index: queue,
        ..XdpContext::default()
    });
    if let Some(context) = &context {
        point_to(&mut attr, context);
    }
    // SAFETY: ProgRun is the kernel's struct; `data_in`, `data_out` and `ctx_in` point to
    // `packet`, `data` and `context`, all alive here, with their lengths beside them.
    unsafe { bpf(BPF_PROG_RUN, &mut attr) }?;
    assert!(attr.data_size_out as usize <= data.len(), "the kernel wrote past its room");
    data.truncate(attr.data_size_out as usize);
    Ok(TestRun { action: attr.retval, data, run_ns: attr.duration })
}

/// Runs the XDP program `prog` on `repeat` copies of `packet` in groups of `batch` (at most
/// [`LIVE_BATCH_MAX`]), and what it passes enters the stack as received on `ingress_ifindex`.
///
/// # Errors
///
/// The kernel's: `EPERM` without privilege, `EINVAL` before Linux 5.18 and for a packet
/// longer than a page minus headroom, `ENOMEM`.
///
/// # Panics
///
/// When `batch` is over [`LIVE_BATCH_MAX`].
pub fn prog_run_live(
    prog: BorrowedFd<'_>,
    packet: &[u8],
    ingress_ifindex: u32,
    repeat: u32,
    batch: u32,
) -> io::Result<()> {
    assert!(batch <= LIVE_BATCH_MAX, "batch of {batch} live frames");
    let mut attr = run_request(prog, packet)?;
    let context =
        XdpContext { data_end: attr.data_size_in, ingress_ifindex, ..XdpContext::default() };
    point_to(&mut attr, &context);
    attr.repeat = repeat;
    attr.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    attr.batch_size = batch;
    // SAFETY: ProgRun is the kernel's struct; `data_in` and `ctx_in` point to `packet` and
    // `context`, both alive here, with their lengths beside them; there is no output.
    unsafe { bpf(BPF_PROG_RUN, &mut attr) }.map(drop)
}

fn run_request(prog: BorrowedFd<'_>, packet: &[u8]) -> io::Result<ProgRun> {
    let data_size_in = u32::try_from(packet.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "packet over 4 GiB"))?;
    Ok(ProgRun {
        prog_fd: fd_number(prog),
        data_size_in,
        data_in: packet.as_ptr() as u64,
        ..ProgRun::default()
    })
}

fn point_to(attr: &mut ProgRun, context: &XdpContext) {
    attr.ctx_in = std::ptr::from_ref(context) as u64;
    attr.ctx_size_in = 24;
    const { assert!(size_of::<XdpContext>() == 24, "struct xdp_md") }
}

/// Returns once every BPF program that was running when it was called has ended.
///
/// An update of a map is seen by programs that start after it; this waits for the others.
///
/// # Errors
///
/// `ENOSYS` and `EINVAL` where the kernel has no such call (no `CONFIG_MEMBARRIER`, or
/// `nohz_full` processors).
pub fn wait_for_programs() -> io::Result<()> {
    // `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`, and BPF programs run under its read lock.
    // SAFETY: takes two integers and touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The values of an array map with `BPF_F_MMAPABLE`, mapped into the process.
///
/// Programs see what is written here from their next run on. Holding one proves that the
/// octets stay mapped, also after the map's descriptor is closed.
#[derive(Debug)]
pub struct SharedValues {
    mapping: Mapping,
}

impl SharedValues {
    /// Maps the first `octets` octets of the values of `map`.
    ///
    /// # Errors
    ///
    /// What mmap(2) says: `EINVAL` for more than the map has, `ENOTSUPP` for a map without
    /// the flag.
    pub fn of(map: BorrowedFd<'_>, octets: usize) -> io::Result<Self> {
        Ok(Self { mapping: Mapping::shared(map, octets, 0)? })
    }

    /// As many zeroed octets of the process's own, for tests: no program has them.
    ///
    /// # Errors
    ///
    /// What mmap(2) says.
    #[cfg(test)]
    pub(crate) fn private(octets: usize) -> io::Result<Self> {
        Ok(Self { mapping: Mapping::ordinary(octets)? })
    }

    /// Copies `octets` to `offset`.
    ///
    /// # Panics
    ///
    /// When they do not fit.
    pub fn write(&mut self, offset: usize, octets: &[u8]) {
        let place = self.place(offset, octets.len());
        // SAFETY: `place` has room for all of `octets`, which are ours and elsewhere. Programs
        // that read meanwhile see any mixture: they are run by us, and not now.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), place, octets.len()) };
    }

    /// Copies the octets at `offset` to `into`.
    ///
    /// # Panics
    ///
    /// When the values end before `into` is full.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        let place = self.place(offset, into.len());
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(place, into.as_mut_ptr(), into.len()) };
    }

    /// Reads a word that programs write.
    ///
    /// # Panics
    ///
    /// When it is outside the values, or not aligned.
    pub fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes a word that programs read or write.
    ///
    /// # Panics
    ///
    /// As [`Self::load`].
    pub fn store(&mut self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "a word at {offset}");
        let place = self.place(offset, 4).cast();
        // SAFETY: mapped while `self` lives, aligned since the mapping is to a page; a word
        // shared with programs is what atomics are for.
        unsafe { AtomicU32::from_ptr(place) }
    }

    /// Reads a word of 64 bits that programs write.
    ///
    /// # Panics
    ///
    /// As [`Self::load`].
    pub fn load_u64(&self, offset: usize) -> u64 {
        self.word_u64(offset).load(Ordering::Acquire)
    }

    /// Writes a word of 64 bits that programs read. What was written or called before is done when
    /// they see it.
    ///
    /// # Panics
    ///
    /// As [`Self::load`].
    pub fn store_u64(&mut self, offset: usize, value: u64) {
        self.word_u64(offset).store(value, Ordering::Release);
    }

    fn word_u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "a word of 64 bits at {offset}");
        let place = self.place(offset, 8).cast();
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(place) }
    }

    /// Where `octets` octets at `offset` are.
    fn place(&self, offset: usize, octets: usize) -> *mut u8 {
        let end = offset.checked_add(octets).expect("an end below 2^64");
        assert!(end <= self.mapping.octets(), "{octets} octets at {offset} of the map's values");
        // SAFETY: inside the mapping, as just shown.
        unsafe { self.mapping.start().as_ptr().add(offset) }
    }
}
