//! Packets as an interface receives them, by a packet socket: a copy, which nobody else misses.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout, ReceiveTimestampns, RxqOvfl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    recvmsg, setsockopt, socket,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike as _};

/// What the kernel holds for us while we do not get to it: a tenth of a second of 4K. The memory is
/// taken as packets come.
const BUFFER_OCTETS: usize = 64 << 20;

/// How long silence lasts before the time is looked at.
const SILENCE_MS: i64 = 50;

/// A socket that hears one interface.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    control: Vec<u8>,
    /// The interface's number.
    pub(super) index: u32,
    /// Packets that the kernel had no room for.
    pub(super) dropped: u32,
}

impl Listener {
    /// Begins to listen.
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let named = |errno: Errno| {
            let remedy = match errno {
                Errno::EPERM | Errno::EACCES => {
                    "; it needs CAP_NET_RAW: run it as root, or read a capture with --read"
                }
                Errno::ENODEV => "; `ip link` lists what there is",
                _ => "",
            };
            io::Error::other(format!("cannot listen on {interface}: {errno}{remedy}"))
        };
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let kind = (AddressFamily::Packet, SockType::Raw);
            let address = getifaddrs()?
                .filter(|it| it.interface_name == interface)
                .find_map(|it| it.address?.as_link_addr().copied())
                .ok_or(Errno::ENODEV)?;
            // Of no protocol, and so without packets, until it is bound to the interface.
            let socket = socket(kind.0, kind.1, flags, SockProtocol::EthAll)?;
            bind(socket.as_raw_fd(), &address)?;
            setsockopt(&socket, ReceiveTimestampns, &true)?;
            setsockopt(&socket, RxqOvfl, &1)?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(SILENCE_MS))?;
            // With less it only drops sooner, and says so.
            let _ = setsockopt(&socket, RcvBufForce, &BUFFER_OCTETS);
            Ok((socket, u32::try_from(address.ifindex()).expect("the kernel's are as short")))
        };
        let control = nix::cmsg_space!(TimeSpec, u32);
        let (socket, index) = open().map_err(named)?;
        Ok(Self { socket, control, index, dropped: 0 })
    }

    /// The next packet: when it came, in nanoseconds of UTC, and its octets. `None` in silence.
    pub(super) fn packet(&mut self, into: &mut [u8]) -> io::Result<Option<(u64, usize)>> {
        let mut pieces = [IoSliceMut::new(into)];
        let control = Some(&mut self.control[..]);
        let flags = MsgFlags::empty();
        let received = recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut pieces, control, flags);
        let message = match received {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut at_ns = 0;
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::ScmTimestampns(at) => {
                    at_ns = u64::try_from(at.num_nanoseconds()).unwrap_or(0);
                }
                ControlMessageOwned::RxqOvfl(dropped) => self.dropped = dropped,
                _ => {}
            }
        }
        Ok(Some((at_ns, message.bytes)))
    }
}
