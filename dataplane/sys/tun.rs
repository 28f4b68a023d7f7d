//! TAP devices, `linux/if_tun.h`.
#![allow(unsafe_code)] // ioctl(2), for which nix has no safe TUNSETIFF.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// `TUNSETIFF`, `_IOW('T', 202, int)`.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
/// Ethernet packets, nothing in front of them.
const FLAGS: libc::c_short = 0x0002 /* IFF_TAP */ | 0x1000 /* IFF_NO_PI */;

/// A TAP device of this thread's network namespace. It vanishes when the file is closed.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: Box<str>,
}

impl Tap {
    /// Makes a TAP device; `%d` in `pattern` becomes the first free number. It is down.
    ///
    /// # Errors
    ///
    /// `ENOENT` without `/dev/net/tun`, `EPERM` without CAP_NET_ADMIN, `EINVAL` for a name
    /// over 15 octets.
    pub fn new(pattern: &str) -> io::Result<Self> {
        // SAFETY: integers, characters and a pointer that no one follows: zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if pattern.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (place, octet) in request.ifr_name.iter_mut().zip(pattern.bytes()) {
            *place = octet.cast_signed();
        }
        request.ifr_ifru.ifru_flags = FLAGS;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let place: *mut libc::ifreq = &raw mut request;
        // SAFETY: the kernel reads and writes one `ifreq`, which `request` is.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, place) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        let name = request.ifr_name.iter().map(|octet| octet.cast_unsigned());
        let name: Vec<u8> = name.take_while(|octet| *octet != 0).collect();
        Ok(Self { file, name: String::from_utf8_lossy(&name).into() })
    }

    /// The name that the kernel gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the stack receive one Ethernet packet on the device.
    ///
    /// # Errors
    ///
    /// `EIO` while the device is down, `EINVAL` for under 14 octets or too many, `ENOBUFS`
    /// and `ENOMEM` without memory.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        // A TAP takes a packet whole or not at all.
        io::Write::write(&mut &self.file, packet).map(drop)
    }
}
