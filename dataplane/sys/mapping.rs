//! Memory mappings that unmap themselves.
#![allow(unsafe_code)] // mmap(2) and munmap(2).

use core::ptr::{self, NonNull};
use std::{io, os::fd::AsRawFd, os::fd::BorrowedFd};

/// Octets in a huge page where none is named otherwise: x86-64 and most of arm64.
pub const HUGE_PAGE_OCTETS: usize = 2 << 20;

/// A readable and writable mapping, unmapped when dropped.
///
/// Holding one proves that `octets()` octets at `start()` stay mapped and in place. What lies in
/// them may change under us where the kernel shares the mapping, so no reference is handed out.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    octets: usize,
}

// SAFETY: the range belongs to the process and not to a thread, `munmap` may be called from any, and
// nothing of `Mapping` itself is shared by two: it hands out no reference.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `octets` octets of zeroed private memory on ordinary pages.
    ///
    /// # Errors
    ///
    /// What mmap(2) says, `ENOMEM` mostly.
    pub fn ordinary(octets: usize) -> io::Result<Self> {
        Self::map(octets, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)
    }

    /// Maps zeroed private memory on huge pages; `octets` is rounded up to [`HUGE_PAGE_OCTETS`].
    ///
    /// # Errors
    ///
    /// What mmap(2) says: `ENOMEM` where too few huge pages are reserved.
    pub fn huge(octets: usize) -> io::Result<Self> {
        // MAP_POPULATE: a page that is missing shows here, and not as SIGBUS on first use.
        let flags =
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_POPULATE;
        Self::map(octets.next_multiple_of(HUGE_PAGE_OCTETS), flags, None)
    }

    /// Maps `octets` octets of `fd` from `offset`, shared with the kernel.
    ///
    /// # Errors
    ///
    /// What mmap(2) says.
    pub fn shared(fd: BorrowedFd<'_>, octets: usize, offset: i64) -> io::Result<Self> {
        Self::map(octets, libc::MAP_SHARED | libc::MAP_POPULATE, Some((fd, offset)))
    }

    fn map(octets: usize, flags: i32, file: Option<(BorrowedFd<'_>, i64)>) -> io::Result<Self> {
        let (fd, offset) = file.map_or((-1, 0), |(fd, offset)| (fd.as_raw_fd(), offset));
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a null hint lets the kernel choose a free place, so no mapping of ours changes.
        let start = unsafe { libc::mmap(ptr::null_mut(), octets, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, octets })
    }

    /// First octet, aligned to a page.
    pub const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in octets.
    pub const fn octets(&self) -> usize {
        self.octets
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `map` made exactly this range, and nothing can hold it beyond us: `start()` is
        // used only while the mapping is borrowed or kept beside the pointer.
        let answer = unsafe { libc::munmap(self.start.as_ptr().cast(), self.octets) };
        debug_assert_eq!(answer, 0, "munmap of a range that mmap gave");
    }
}
