//! Membership in groups, RFC 3678: joined by an ordinary socket, so that the kernel speaks IGMP or
//! MLD in whichever version the network does, answers queries, sets the card's filter of group
//! addresses, and leaves when the socket is closed, however its process ended.
//!
//! The socket is bound to nothing, so no datagram comes to it.
#![allow(unsafe_code)] // setsockopt(2) with structures that nix has no safe call for.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `sockaddr_storage`: the family in the machine's order, then what belongs to it.
type Storage = [u8; 128];

/// `struct group_req` of `linux/in.h`.
#[repr(C, align(8))]
struct GroupRequest {
    index: u32,
    between: u32,
    group: Storage,
}

/// `struct group_source_req` of `linux/in.h`.
#[repr(C, align(8))]
struct GroupSourceRequest {
    index: u32,
    between: u32,
    group: Storage,
    source: Storage,
}

const _: () = assert!(size_of::<GroupRequest>() == 136 && size_of::<GroupSourceRequest>() == 264);
const _: () = assert!(size_of::<libc::sockaddr_storage>() == size_of::<Storage>());

/// A socket that is a member of one group on one interface. Dropping it leaves the group.
#[derive(Debug)]
pub struct Member {
    socket: OwnedFd,
}

impl Member {
    /// Joins `group` on interface number `index`, for packets of `sources`, or of all where there
    /// are none.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is no such interface, `EINVAL` where `group` is none, `ENOBUFS` for more
    /// sources than `net.ipv4.igmp_max_msf` or `net.ipv6.mld_max_msf` allow, `EAFNOSUPPORT` in a
    /// kernel without this kind of IP.
    pub fn join(group: IpAddr, sources: &[IpAddr], index: u32) -> io::Result<Self> {
        let family = if group.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let member = Self { socket };
        let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
        let group = storage(group);
        if sources.is_empty() {
            let request = GroupRequest { index, between: 0, group };
            member.set(level, libc::MCAST_JOIN_GROUP, &request)?;
        }
        for &source in sources {
            let request = GroupSourceRequest { index, between: 0, group, source: storage(source) };
            member.set(level, libc::MCAST_JOIN_SOURCE_GROUP, &request)?;
        }
        Ok(member)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, request: &T) -> io::Result<()> {
        let octets = libc::socklen_t::try_from(size_of::<T>()).expect("a few octets");
        let place: *const T = request;
        // SAFETY: the kernel reads `octets` octets from `place`, which `request` has and keeps
        // during the call. It writes none.
        let answer = unsafe {
            libc::setsockopt(self.socket.as_fd().as_raw_fd(), level, option, place.cast(), octets)
        };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The address as `sockaddr_in` or `sockaddr_in6`, of no port.
fn storage(address: IpAddr) -> Storage {
    let mut octets = [0; 128];
    let (family, at, address) = match &address {
        IpAddr::V4(address) => (libc::AF_INET, 4, &address.octets()[..]),
        IpAddr::V6(address) => (libc::AF_INET6, 8, &address.octets()[..]),
    };
    let family = libc::sa_family_t::try_from(family).expect("a small number");
    octets[..2].copy_from_slice(&family.to_ne_bytes());
    octets[at..at + address.len()].copy_from_slice(address);
    octets
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What the kernel lists of groups with their sources on loopback, in hexadecimal.
    fn lists(table: &str, group: &str) -> bool {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        text.lines().any(|line| line.contains("lo") && line.to_lowercase().contains(group))
    }

    #[test]
    fn a_group_is_joined_with_its_source_and_left_with_the_socket() {
        let source: IpAddr = "198.18.0.9".parse().unwrap();
        let member = Member::join("232.18.0.77".parse().unwrap(), &[source], 1).unwrap();
        let is_member = || lists("mcfilter", "0xe812004d 0xc6120009");
        assert!(is_member());
        drop(member);
        assert!(!is_member());
    }

    #[test]
    fn what_is_no_group_of_no_interface_or_of_another_ip_is_refused() {
        let refused = |group: &str, source: &str, index| {
            let sources: Vec<IpAddr> = source.parse().into_iter().collect();
            let refusal = Member::join(group.parse().unwrap(), &sources, index).unwrap_err();
            refusal.raw_os_error().unwrap()
        };
        assert_eq!(refused("198.18.0.1", "", 1), libc::EINVAL);
        assert_eq!(refused("232.18.0.77", "", u32::MAX), libc::ENODEV);
        assert_eq!(refused("232.18.0.77", "2001:db8::1", 1), libc::EADDRNOTAVAIL);
    }
}
