//! Driver, queues and offloads of an interface, by the ethtool ioctl.
//!
//! Offloads matter twice. A sender whose "hardware" finishes checksums or cuts
//! large segments leaves both undone on a veth pair, so a packet redirected to
//! an AF_XDP socket arrives unfinished; the lab switches these off, and `doctor`
//! looks for them. A receiver that merges packets (LRO) excludes native XDP.
//!
//! Which queue a packet comes to is asked and said in [`steering`], as [`rule`]s.
//!
//! Source: `linux/ethtool.h`. Every request starts with its command word and is
//! an array of 32-bit words in the kernel's byte order, so one function makes
//! all of them.

#![allow(unsafe_code)] // One ioctl takes a pointer to its request.

pub mod rule;
pub mod steering;

use std::os::fd::{AsRawFd, OwnedFd};
use std::{error, fmt, io};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Requests about interfaces of the namespace that the opening thread was in.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

/// Queues of an interface: in use, and the most that the driver can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Queues that only receive.
    pub rx: u32,
    /// Queues that only send.
    pub tx: u32,
    /// Pairs of both.
    pub combined: u32,
    /// Most receive queues.
    pub rx_max: u32,
    /// Most send queues.
    pub tx_max: u32,
    /// Most pairs.
    pub combined_max: u32,
}

impl Channels {
    /// Queues that receive: those an AF_XDP socket can be bound to.
    pub const fn receiving(self) -> u32 {
        self.rx + self.combined
    }
}

/// An offload that can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Checksums of sent packets are left to the card.
    TxChecksum,
    /// Checksums of received packets are checked by the card.
    RxChecksum,
    /// A packet may be sent from several pieces.
    ScatterGather,
    /// TCP segments are cut by the card.
    Tso,
    /// Segments of any protocol are cut just before the card.
    Gso,
    /// Received packets of one flow are merged in software.
    Gro,
    /// Received packets of one flow are merged by the card.
    Lro,
    /// The card takes the VLAN tag out of a received packet.
    RxVlan,
    /// The card puts the VLAN tag into a sent packet.
    TxVlan,
    /// The card obeys rules that send packets of some flows to some queues.
    Ntuple,
}

impl Offload {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::TxChecksum,
        Self::RxChecksum,
        Self::ScatterGather,
        Self::Tso,
        Self::Gso,
        Self::Gro,
        Self::Lro,
        Self::RxVlan,
        Self::TxVlan,
        Self::Ntuple,
    ];

    /// The word that `ethtool -K` takes for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TxChecksum => "tx",
            Self::RxChecksum => "rx",
            Self::ScatterGather => "sg",
            Self::Tso => "tso",
            Self::Gso => "gso",
            Self::Gro => "gro",
            Self::Lro => "lro",
            Self::RxVlan => "rxvlan",
            Self::TxVlan => "txvlan",
            Self::Ntuple => "ntuple",
        }
    }

    const fn access(self) -> Access {
        match self {
            Self::TxChecksum => Access::Own { get: 0x16, set: 0x17 },
            Self::RxChecksum => Access::Own { get: 0x14, set: 0x15 },
            Self::ScatterGather => Access::Own { get: 0x18, set: 0x19 },
            Self::Tso => Access::Own { get: 0x1e, set: 0x1f },
            Self::Gso => Access::Own { get: 0x23, set: 0x24 },
            Self::Gro => Access::Own { get: 0x2b, set: 0x2c },
            Self::Lro => Access::Flag(1 << 15),
            Self::RxVlan => Access::Flag(1 << 8),
            Self::TxVlan => Access::Flag(1 << 7),
            Self::Ntuple => Access::Flag(1 << 27),
        }
    }
}

/// How the kernel wants an offload to be named.
#[derive(Clone, Copy, Debug)]
enum Access {
    /// By commands of its own.
    Own { get: u32, set: u32 },
    /// By a bit of `ETHTOOL_GFLAGS` and `ETHTOOL_SFLAGS`.
    Flag(u32),
}

const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const GET_RINGS: u32 = 0x10;
const SET_RINGS: u32 = 0x11;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;

/// The kernel's name of [`Offload::Ntuple`], `netdev_features_strings`.
const NTUPLE: &str = "rx-ntuple-filter";

/// Words of `struct ethtool_drvinfo`: the command, five strings of 32 octets,
/// 12 octets reserved, five counts.
const DRIVER_WORDS: usize = 1 + (5 * 32 + 12) / 4 + 5;
/// Words of `struct ethtool_ringparam`: the command, four maxima, four sizes.
const RINGS_WORDS: usize = 9;
/// Words of `struct ethtool_channels`: the command, four maxima, four counts.
const CHANNELS_WORDS: usize = 9;
/// Words of `struct ethtool_value`: the command and the value.
const VALUE_WORDS: usize = 2;

const _: () = assert!(DRIVER_WORDS * 4 == 196, "fixed by the kernel ABI");

impl Ethtool {
    /// Opens a line for the network namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// Where the kernel gives no socket.
    pub fn open() -> Result<Self, Error> {
        let socket =
            socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(
                |errno| Error { interface: "".into(), request: "a socket", source: errno.into() },
            )?;
        Ok(Self { socket })
    }

    /// The driver's name, as `veth` or `ixgbe`.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is no such interface, `EOPNOTSUPP` where its driver
    /// has no name.
    pub fn driver(&self, interface: &str) -> Result<Box<str>, Error> {
        let mut words = [0; DRIVER_WORDS];
        words[0] = GET_DRIVER;
        self.call(interface, "its driver's name", &mut words)?;
        let octets: Vec<u8> = words[1..9].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let name = octets.split(|octet| *octet == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into())
    }

    /// The queues, in use and at most.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the driver does not say, as with one queue for ever.
    pub fn channels(&self, interface: &str) -> Result<Channels, Error> {
        let mut words = [0; CHANNELS_WORDS];
        words[0] = GET_CHANNELS;
        self.call(interface, "its queues", &mut words)?;
        let [_, rx_max, tx_max, _, combined_max, rx, tx, _, combined] = words;
        Ok(Channels { rx, tx, combined, rx_max, tx_max, combined_max })
    }

    /// Has the driver use receive rings of `entries` for each queue. Most drivers start the
    /// interface anew for it.
    ///
    /// # Errors
    ///
    /// `EINVAL` past the driver's most, `EPERM` without `CAP_NET_ADMIN`, `EOPNOTSUPP` where the
    /// size is fixed.
    pub fn set_rx_ring(&self, interface: &str, entries: u32) -> Result<(), Error> {
        let mut words = [0; RINGS_WORDS];
        words[0] = GET_RINGS;
        self.call(interface, "its rings", &mut words)?;
        words[0] = SET_RINGS;
        words[5] = entries;
        self.call(interface, "its rings", &mut words)
    }

    /// Has the driver use `combined` pairs of queues; queues of one direction stay as they are.
    /// Most drivers start the interface anew for it.
    ///
    /// # Errors
    ///
    /// `EINVAL` past the driver's most, `EBUSY` where a queue that would go has an AF_XDP socket,
    /// `EPERM` without `CAP_NET_ADMIN`, `EOPNOTSUPP` where the number is fixed.
    pub fn set_combined(&self, interface: &str, combined: u32) -> Result<(), Error> {
        let mut words = [0; CHANNELS_WORDS];
        words[0] = GET_CHANNELS;
        self.call(interface, "its queues", &mut words)?;
        words[0] = SET_CHANNELS;
        words[8] = combined;
        self.call(interface, "its queues", &mut words)
    }

    /// Whether an offload is on.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is no such interface.
    pub fn offload(&self, interface: &str, offload: Offload) -> Result<bool, Error> {
        let (command, mask) = match offload.access() {
            Access::Own { get, .. } => (get, u32::MAX),
            Access::Flag(bit) => (GET_FLAGS, bit),
        };
        let mut words: [u32; VALUE_WORDS] = [command, 0];
        self.call(interface, offload.word(), &mut words)?;
        Ok(words[1] & mask != 0)
    }

    /// Switches an offload. The driver may know better: read it back where it
    /// matters.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_ADMIN`, `EOPNOTSUPP` or `EINVAL` where it is
    /// fixed.
    pub fn set_offload(&self, interface: &str, offload: Offload, on: bool) -> Result<(), Error> {
        let mut words: [u32; VALUE_WORDS] = match offload.access() {
            Access::Own { set, .. } => [set, u32::from(on)],
            Access::Flag(bit) => {
                let mut flags = [GET_FLAGS, 0];
                self.call(interface, offload.word(), &mut flags)?;
                let others = flags[1] & !bit;
                [SET_FLAGS, if on { others | bit } else { others }]
            }
        };
        self.call(interface, offload.word(), &mut words)
    }

    /// Makes one request. A request that is too small would let the kernel write
    /// behind the array, hence the assertion.
    fn call(&self, interface: &str, request: &'static str, words: &mut [u32]) -> Result<(), Error> {
        let least = words_at_least(words);
        assert!(words.len() >= least, "size of the request {:#x}", words[0]);
        let fail = |source| Error { interface: interface.into(), request, source };
        let mut name = [0; libc::IFNAMSIZ];
        if interface.len() >= name.len() || interface.contains('\0') {
            return Err(fail(io::Error::from_raw_os_error(libc::ENODEV)));
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: words.as_mut_ptr().cast() },
        };
        // SAFETY: `request` is a whole ifreq with a terminated name. Its data
        // points to `words`, which is borrowed for the call, and which is at
        // least as large as the structure that the kernel reads and writes for
        // this command, as just asserted. The kernel keeps neither pointer.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        match result {
            0 => Ok(()),
            _ => Err(fail(io::Error::last_os_error())),
        }
    }
}

/// Words that the kernel reads or writes for a request, whose own words say how
/// much room it has (`net/ethtool/ioctl.c`).
fn words_at_least(words: &[u32]) -> usize {
    let told = |at: usize| words.get(at).map_or(usize::MAX >> 8, |&count| count as usize);
    match words[0] {
        GET_DRIVER => DRIVER_WORDS,
        GET_RINGS | SET_RINGS => RINGS_WORDS,
        GET_CHANNELS | SET_CHANNELS => CHANNELS_WORDS,
        // A table of the driver that is larger than what is told here is not written.
        steering::GET_TABLE | steering::SET_TABLE => 2 + told(1),
        steering::GET_PERMANENT_ADDRESS => 2 + told(1).div_ceil(4),
        steering::GET_RINGS
        | steering::GET_RULE_COUNT
        | steering::GET_RULE
        | steering::DELETE_RULE
        | steering::INSERT_RULE => rule::WORDS,
        steering::GET_RULES => rule::WORDS.max(rule::LOCATIONS + told(rule::COUNT)),
        // As many values as bits are set in the mask.
        GET_SET_INFO => 4 + told(2).count_ones() as usize + told(3).count_ones() as usize,
        // The kernel writes all names of a set. Those of features, which alone are asked for, are
        // a constant of it, asked for just before.
        GET_STRINGS => 3 + 8 * told(2),
        GET_FEATURES => 2 + 4 * told(1),
        _ => VALUE_WORDS,
    }
}

/// Why an ethtool request failed.
#[derive(Debug)]
pub struct Error {
    interface: Box<str>,
    request: &'static str,
    source: io::Error,
}

impl Error {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The kernel's answer alone, for an error that says the rest itself.
    pub fn into_answer(self) -> io::Error {
        self.source
    }

    /// The driver told a count that cannot be.
    fn absurd(interface: &str, request: &'static str) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidData, "the driver tells an absurd count");
        Self { interface: interface.into(), request, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ethtool could not get or set {:?} of {:?}", self.request, self.interface)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.source.kind(), format!("{error}: {}", error.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_about_its_offloads_without_privilege() {
        let ethtool = Ethtool::open().unwrap();
        for offload in Offload::ALL {
            ethtool.offload("lo", offload).unwrap();
        }
        assert!(!ethtool.offload("lo", Offload::Lro).unwrap());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error_that_names_it() {
        let ethtool = Ethtool::open().unwrap();
        for name in ["no-such-link", "a-name-that-is-too-long-for-the-kernel", "nul\0"] {
            let error = ethtool.driver(name).unwrap_err();
            assert_eq!(error.errno(), Some(libc::ENODEV), "{name:?}");
        }
        let error = ethtool.offload("no-such-link", Offload::Gro).unwrap_err();
        assert_eq!(error.to_string(), "ethtool could not get or set \"gro\" of \"no-such-link\"");
        assert_eq!(
            io::Error::from(error).to_string(),
            "ethtool could not get or set \"gro\" of \"no-such-link\": No such device (os error 19)"
        );
    }

    #[test]
    #[should_panic(expected = "size of the request 0x3")]
    fn a_request_of_the_wrong_size_is_never_sent() {
        let ethtool = Ethtool::open().unwrap();
        let _ = ethtool.call("lo", "its driver's name", &mut [GET_DRIVER, 0]);
    }

    #[test]
    fn a_request_needs_the_room_that_it_tells_the_kernel() {
        for (words, least) in [
            (&[GET_DRIVER][..], 49),
            (&[steering::GET_TABLE, 0], 2),
            (&[steering::SET_TABLE, 128], 130),
            (&[steering::GET_PERMANENT_ADDRESS, 32], 10),
            (&[steering::INSERT_RULE], 48),
            (&[GET_SET_INFO, 0, 1 << 4, 0], 5),
            (&[GET_STRINGS, 4, 3], 27),
            (&[GET_FEATURES, 2], 10),
            (&[GET_FLAGS], 2),
        ] {
            assert_eq!(words_at_least(words), least, "{words:x?}");
        }
        let mut rules = [0; rule::WORDS];
        rules[0] = steering::GET_RULES;
        for (count, least) in [(0, 48), (1, 48), (2, 49), (100, 147)] {
            rules[rule::COUNT] = count;
            assert_eq!(words_at_least(&rules), least);
        }
        // What does not even tell its room has none.
        assert!(words_at_least(&[steering::GET_TABLE]) > 1 << 20);
    }

    #[test]
    fn receiving_queues_are_the_combined_and_the_separate() {
        let channels = Channels { rx: 1, tx: 8, combined: 3, ..Channels::default() };
        assert_eq!(channels.receiving(), 4);
    }
}
