//! The portable generator: a packet socket and `sendmmsg`.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

use crate::lab::{End, LabError};

/// Messages in one call: more gain nothing that can be measured.
const GROUP: usize = 64;

/// A packet socket bound to one end, with the frames to send.
pub(super) struct Packets {
    socket: OwnedFd,
    /// Makes a frame the packet with this number.
    stamp: Stamp,
    frames: Vec<Vec<u8>>,
}

type Stamp = Box<dyn FnMut(&mut Vec<u8>, u64) + Send>;

impl Packets {
    pub(super) fn new(
        end: &End,
        stamp: impl FnMut(&mut Vec<u8>, u64) + Send + 'static,
    ) -> Result<Self, LabError> {
        let open = || {
            // Protocol zero: it sends and receives nothing.
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            let address = getifaddrs()?
                .filter_map(|interface| interface.address?.as_link_addr().copied())
                .find(|address| address.ifindex() == end.index as usize)
                .ok_or(Errno::ENODEV)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok(socket)
        };
        let socket = end
            .namespace
            .run(open)?
            .map_err(|errno: Errno| LabError::os("open a packet socket", errno))?;
        Ok(Self { socket, stamp: Box::new(stamp), frames: vec![Vec::new(); GROUP] })
    }

    /// Sends up to `count` packets from `number` on and returns how many it were.
    pub(super) fn send(&mut self, number: u64, count: u64) -> Result<u64, LabError> {
        let count = usize::try_from(count).unwrap_or(GROUP).min(GROUP);
        for (frame, number) in self.frames[..count].iter_mut().zip(number..) {
            (self.stamp)(frame, number);
        }
        let slices: Vec<_> =
            self.frames[..count].iter().map(|frame| [IoSlice::new(frame)]).collect();
        let addresses = vec![None::<LinkAddr>; count];
        let mut headers = MultiHeaders::preallocate(count, None);
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            slices.iter(),
            addresses,
            [],
            MsgFlags::empty(),
        );
        match sent {
            Ok(results) => Ok(results.count() as u64),
            // The queue is full; the next look at the time tries again.
            Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(0),
            Err(errno) => Err(LabError::os("send packets", errno)),
        }
    }
}
