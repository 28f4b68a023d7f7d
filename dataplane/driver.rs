//! What drivers do that the interface to them does not tell, each with its reason and its witness.
//!
//! `AF_XDP` promises the same of every driver, and each keeps it in its own way: one refuses to
//! send until a program is attached, one takes its link down for it, one rounds receive buffers.
//! All of that stands in one table, [`Driver::KNOWN`], by the name that `ethtool -i` shows; the
//! rest of the program asks the table and knows no driver by name.
//!
//! A fact is shown by a test or was read in the kernel's source, and says which. What is not known
//! of a driver is taken to be so that nothing is lost by it ([`Driver::UNKNOWN`]).
//!
//! What holds for every driver is not here but where it is dealt with: that a queue is taken
//! (`EBUSY`) until each ring of its last socket is unmapped, and a moment longer, in
//! [`crate::xsk::open()`]; that a link may go down at any time, in [`crate::sys::netlink::Watch`].

mod table;

use core::fmt;

use crate::sys::ethtool::Ethtool;
use crate::xsk::CopyMode;

/// What is known of one driver.
#[derive(Debug, PartialEq, Eq)]
pub struct Driver {
    /// As `ethtool -i` shows it; empty for one that is not known.
    pub name: &'static str,
    /// Whether the NIC can reach the UMEM itself.
    pub zero_copy: Fact<bool>,
    /// Whether a zero-copy socket sends while no program is attached in the driver of the same
    /// interface. Where it does not, every interface needs a program, one that only sends as well,
    /// and one in the stack (generic) does not do.
    pub sends_without_program: Fact<bool>,
    /// Zero-copy receive buffers are a multiple of so many octets; what a chunk has beyond that is
    /// not used. See [`Driver::whole_octets`].
    pub buffer_step_octets: Fact<u32>,
    /// Whether the link goes down when a program is attached or detached. Whoever did that waits
    /// for the carrier before anything is sent.
    pub resets_link: Fact<bool>,
    /// Whether a checksum that is left to the kernel in copy mode is right in the octets that leave.
    pub finishes_checksums: Fact<bool>,
}

/// One thing that is so, and why we say it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fact<T> {
    /// What is so.
    pub is: T,
    /// Where the kernel does it, and how.
    pub why: &'static str,
    /// Who has seen it.
    pub seen: Seen,
}

/// How a fact is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The test of this name shows it.
    Test(&'static str),
    /// Read in the kernel's source, tried by nobody here.
    Read,
    /// Neither: what does the least harm if it is not so.
    Assumed,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test(_) => "tested",
            Self::Read => "read in the kernel's source",
            Self::Assumed => "assumed",
        })
    }
}

/// `XDP_PACKET_HEADROOM` of `linux/bpf.h`: octets of a chunk that lie in front of the packet.
pub const HEADROOM_OCTETS: u32 = 256;

/// Octets of a packet that the MTU does not count: an Ethernet header and two VLAN tags.
pub const NOT_MTU_OCTETS: u32 = 14 + 2 * 4;

/// The sizes of chunk that there are.
pub const CHUNK_OCTETS: [u32; 2] = [2048, 4096];

impl Driver {
    /// The driver of that name, or [`Driver::UNKNOWN`].
    pub fn named(name: &str) -> &'static Self {
        Self::KNOWN.iter().find(|driver| driver.name == name).unwrap_or(&Self::UNKNOWN)
    }

    /// The driver of an interface of the calling thread's network namespace. One that does not
    /// tell its name is not known.
    pub fn of(interface: &str) -> &'static Self {
        let name = Ethtool::open().and_then(|ethtool| ethtool.driver(interface));
        name.map_or(&Self::UNKNOWN, |name| Self::named(&name))
    }

    /// The name, or words where there is none.
    pub const fn called(&self) -> &'static str {
        if self.name.is_empty() { "a driver that is not known here" } else { self.name }
    }

    /// Octets of the longest packet that comes whole into one chunk.
    ///
    /// [`CopyMode::Auto`] is taken for what may come of it: zero-copy where the driver has it.
    pub const fn whole_octets(&self, chunk_octets: u32, copy: CopyMode) -> u32 {
        let octets = chunk_octets.saturating_sub(HEADROOM_OCTETS);
        match copy {
            CopyMode::Copy => octets,
            CopyMode::Auto if !self.zero_copy.is => octets,
            CopyMode::Auto | CopyMode::ZeroCopy => octets - octets % self.buffer_step_octets.is,
        }
    }

    /// The smallest chunk into which every packet of an interface with this MTU comes whole; the
    /// largest that there is where none suffices.
    pub fn chunk_octets(&self, mtu: u32, copy: CopyMode) -> u32 {
        let [.., largest] = CHUNK_OCTETS;
        let suffices = |chunk: &u32| self.fits(*chunk, mtu, copy);
        CHUNK_OCTETS.into_iter().find(suffices).unwrap_or(largest)
    }

    /// Whether every packet of an interface with this MTU comes whole into such a chunk.
    pub const fn fits(&self, chunk_octets: u32, mtu: u32, copy: CopyMode) -> bool {
        self.whole_octets(chunk_octets, copy) >= mtu.saturating_add(NOT_MTU_OCTETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunk_is_as_large_as_the_driver_and_the_mtu_want_it() {
        let chunk = |driver, mtu, copy| Driver::named(driver).chunk_octets(mtu, copy);
        assert_eq!(chunk("veth", 1500, CopyMode::Auto), 2048);
        assert_eq!(chunk("veth", 1770, CopyMode::Auto), 2048, "1792 octets with the headers");
        assert_eq!(chunk("veth", 1771, CopyMode::Auto), 4096);
        assert_eq!(chunk("veth", 9000, CopyMode::Auto), 4096, "the largest, though too small");
        assert_eq!(chunk("virtio_net", 1500, CopyMode::ZeroCopy), 2048);
        assert_eq!(chunk("igb", 1500, CopyMode::Auto), 4096, "1792 are rounded down to 1024");
        assert_eq!(chunk("igb", 1002, CopyMode::ZeroCopy), 2048);
        assert_eq!(chunk("igb", 1500, CopyMode::Copy), 2048, "the kernel copies without rounding");
    }

    #[test]
    fn a_driver_that_nobody_knows_gets_what_does_no_harm() {
        let unknown = Driver::named("acme");
        assert_eq!(unknown, &Driver::UNKNOWN);
        assert_eq!(unknown.called(), "a driver that is not known here");
        assert!(!unknown.sends_without_program.is, "so a program is attached");
        assert!(!unknown.finishes_checksums.is, "so we sum");
        assert_eq!(unknown.chunk_octets(1500, CopyMode::Auto), 2048);
        assert_eq!(Driver::of("no-such-link"), &Driver::UNKNOWN);
    }

    #[test]
    fn every_fact_of_a_known_driver_has_its_reason_and_its_witness() {
        for (index, driver) in Driver::KNOWN.iter().enumerate() {
            assert!(!driver.name.is_empty());
            assert!(Driver::KNOWN[..index].iter().all(|other| other.name != driver.name));
            let Driver {
                zero_copy,
                sends_without_program,
                buffer_step_octets,
                resets_link,
                finishes_checksums,
                ..
            } = driver;
            assert!(buffer_step_octets.is.is_power_of_two(), "{}", driver.name);
            for (why, seen) in [
                (zero_copy.why, zero_copy.seen),
                (sends_without_program.why, sends_without_program.seen),
                (buffer_step_octets.why, buffer_step_octets.seen),
                (resets_link.why, resets_link.seen),
                (finishes_checksums.why, finishes_checksums.seen),
            ] {
                assert!(why.len() > 20, "{}: {why}", driver.name);
                assert_ne!(seen, Seen::Assumed, "{}: {why}", driver.name);
            }
        }
    }
}
