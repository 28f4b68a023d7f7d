//! Whether this process may make the system calls that everything here rests on.
//!
//! A capability says little in a container: its seccomp filter or a setting of
//! the machine may forbid a call all the same. So each is tried, in a form that
//! does nothing: with arguments that the kernel refuses *after* it has decided
//! whether the caller may.

#![allow(unsafe_code)] // Raw system calls with arguments that must not work.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Whether io_uring may be used.
///
/// # Errors
///
/// `EPERM` where the setting `kernel.io_uring_disabled` or a seccomp filter
/// forbids it, `ENOSYS` where the kernel has none or a filter says so.
///
/// # Panics
///
/// Where the kernel accepts arguments that are nowhere.
pub fn io_uring() -> io::Result<()> {
    let nowhere = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: `io_uring_setup(1, NULL)`: the kernel copies the parameters from
    // the address, which is never mapped, and so gives EFAULT and no ring. It
    // looks at permission first (io_uring_setup in io_uring/io_uring.c).
    let answer = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, nowhere) };
    assert!(answer < 0, "io_uring_setup took parameters from nowhere");
    allowed(io::Error::last_os_error(), libc::EFAULT)
}

/// Whether BPF programs may be loaded.
///
/// # Errors
///
/// `EPERM` without `CAP_BPF` or where a seccomp filter or lockdown forbids it,
/// `ENOSYS` where the kernel has no BPF.
///
/// # Panics
///
/// As [`io_uring`].
pub fn bpf() -> io::Result<()> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    // Type, instruction count, addresses of instructions and licence: `union bpf_attr` starts so.
    // An XDP program of one instruction at no address.
    let mut attributes = [6u32, 1, 0, 0, 0, 0];
    let attributes_len = size_of_val(&attributes);
    // SAFETY: the kernel reads `attributes_len` octets of `attributes`, alive
    // here. It looks at permission first and then copies the licence from
    // address 0, which is never mapped: EFAULT and no program
    // (bpf_prog_load in kernel/bpf/syscall.c).
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, attributes.as_mut_ptr(), attributes_len)
    };
    assert!(answer < 0, "a BPF program was loaded from nowhere");
    allowed(io::Error::last_os_error(), libc::EFAULT)
}

/// Whether AF_XDP sockets may be opened.
///
/// # Errors
///
/// `EPERM` without `CAP_NET_RAW`, `EAFNOSUPPORT` where the kernel has none.
pub fn xdp_socket() -> io::Result<()> {
    // SAFETY: takes three integers and touches no memory.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us; nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// The refusal that comes behind the gate means that the gate is open.
fn allowed(refusal: io::Error, behind: i32) -> io::Result<()> {
    match refusal.raw_os_error() {
        Some(errno) if errno == behind => Ok(()),
        _ => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refusal_behind_the_gate_counts_as_allowed() {
        let refusal = |errno| allowed(io::Error::from_raw_os_error(errno), libc::EFAULT);
        assert!(refusal(libc::EFAULT).is_ok());
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
            assert_eq!(refusal(errno).unwrap_err().raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn asking_does_nothing_and_gives_allowed_or_a_reason() {
        for ask in [io_uring, bpf, xdp_socket] {
            if let Err(refusal) = ask() {
                let errno = refusal.raw_os_error().unwrap();
                let reasons = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EAFNOSUPPORT];
                assert!(reasons.contains(&errno), "{refusal}");
            }
        }
    }
}
