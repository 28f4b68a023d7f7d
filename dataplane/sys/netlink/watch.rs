//! Links as they change: what the kernel tells to whoever listens.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use super::Error;
use super::line::ANSWER_OCTETS;
use super::link::{Link, read};

/// `RTNLGRP_LINK` of `linux/rtnetlink.h`.
const GROUP_LINK: u32 = 1;

/// Tells of every change of a link in one network namespace, from its opening on.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    /// Read and not yet told.
    waiting: VecDeque<Change>,
}

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came, or something about it is different; perhaps nothing that matters here.
    Now(Link),
    /// It is gone.
    Gone {
        /// The number that it had. Another may get it.
        index: u32,
        /// The name that it had.
        name: Box<str>,
    },
    /// Changes came faster than they were read, and some are lost: ask anew.
    Missed,
}

impl Watch {
    /// Listens to the network namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// As [`super::Netlink::open`].
    pub fn open() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.add_membership(GROUP_LINK)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::new("listen to changes of links", source))?;
        Ok(Self { socket, waiting: VecDeque::new() })
    }

    /// The next change; `None` if there was none for so long.
    ///
    /// # Errors
    ///
    /// What recv(2) says, or where the kernel sent what cannot be read.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Change>, Error> {
        if self.waiting.is_empty() {
            self.receive(patience)?;
        }
        Ok(self.waiting.pop_front())
    }

    fn receive(&mut self, patience: Duration) -> Result<(), Error> {
        let failed = |source| Error::new("tell of a change of a link", source);
        // A timeout of zero would be none.
        let patience = patience.max(Duration::from_millis(1));
        let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        let timeout = TimeVal::new(seconds, i64::from(patience.subsec_micros()));
        setsockopt(&self.as_fd(), ReceiveTimeout, &timeout)
            .map_err(|errno| failed(errno.into()))?;
        let mut buffer = Vec::with_capacity(ANSWER_OCTETS);
        let len = match self.socket.recv(&mut buffer, nix::libc::MSG_TRUNC) {
            Ok(len) => len,
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted, _) => return Ok(()),
                (_, Some(nix::libc::ENOBUFS)) => {
                    self.waiting.push_back(Change::Missed);
                    return Ok(());
                }
                _ => return Err(failed(error)),
            },
        };
        match len > buffer.len() {
            true => self.waiting.push_back(Change::Missed),
            false => changes(&buffer, &mut self.waiting)?,
        }
        Ok(())
    }
}

impl AsFd for Watch {
    /// Readable when there is a change, but for those that were read already.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// The changes that one datagram tells of.
fn changes(mut octets: &[u8], into: &mut VecDeque<Change>) -> Result<(), Error> {
    while !octets.is_empty() {
        let message = NetlinkMessage::<Message>::deserialize(octets)
            .map_err(|cause| Error::unreadable("tell of a change of a link", cause))?;
        // As in `read_answers`.
        let len = (message.header.length as usize).next_multiple_of(4).min(octets.len());
        assert!(len > 0, "a message that was read has a length");
        octets = &octets[len..];
        match message.payload {
            NetlinkPayload::InnerMessage(Message::NewLink(link)) => {
                into.push_back(Change::Now(read(link)));
            }
            NetlinkPayload::InnerMessage(Message::DelLink(link)) => {
                let Link { index, name, .. } = read(link);
                into.push_back(Change::Gone { index, name });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn datagram(message: fn(LinkMessage) -> Message) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.attributes.push(LinkAttribute::IfName("tide0".into()));
        let payload = NetlinkPayload::from(message(link));
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        octets
    }

    #[test]
    fn tells_a_link_that_is_there_from_one_that_is_gone() {
        let octets = [datagram(Message::NewLink), datagram(Message::DelLink)].concat();
        let mut told = VecDeque::new();
        changes(&octets, &mut told).unwrap();
        let [Change::Now(link), gone] = told.make_contiguous() else { panic!("{told:?}") };
        assert_eq!((link.index, &*link.name), (7, "tide0"));
        assert_eq!(*gone, Change::Gone { index: 7, name: "tide0".into() });
    }

    #[test]
    fn octets_that_are_no_message_are_refused_and_never_panic() {
        let whole = datagram(Message::NewLink);
        for end in 1..whole.len() {
            let _ = changes(&whole[..end], &mut VecDeque::new());
        }
        assert!(changes(&[0xa5; 7], &mut VecDeque::new()).is_err());
    }

    #[test]
    fn waits_no_longer_than_it_is_told_to() {
        let mut watch = Watch::open().unwrap();
        // Other tests of this machine may change links meanwhile.
        for _ in 0..1000 {
            if watch.next(Duration::ZERO).unwrap().is_none() {
                return;
            }
        }
        panic!("links change without end");
    }
}
