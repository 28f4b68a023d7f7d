//! Interfaces, addresses, neighbours and routes, asked of the kernel directly.
//!
//! rtnetlink is a conversation over a socket: a request goes in, an answer or a
//! refusal comes back at once. Nothing here waits for the network, so blocking
//! calls are right and no executor is involved. These are questions of start-up
//! and of the lab; the data path asks none.
//!
//! A [`Netlink`] speaks about *one* network namespace for all its life: the one
//! its opening thread was in. Interfaces are meant by index, since names can be
//! reused while a program runs; [`Netlink::link`] turns the name into one.
//!
//! Changes are told by a [`Watch`] of links and a [`HopWatch`] of what is on
//! the way, which have sockets of their own.
//!
//! It refuses to: hold state between questions, retry.

mod error;
mod features;
mod hop;
mod ip;
mod line;
mod link;
mod watch;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use line::Line;

pub use error::Error;
pub use features::{Features, features};
pub use hop::HopWatch;
pub use ip::{Neighbour, Route};
pub use link::{Link, LinkCounters, VethEnd, XdpAttached, XdpMode, carriers};
pub use watch::{Change, Watch};

/// A line to the kernel's routing tables, in one network namespace.
#[derive(Debug)]
pub struct Netlink(Line);

impl Netlink {
    /// Opens a line for the network namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// Where the kernel gives no rtnetlink socket, which is out of descriptors
    /// or a seccomp filter.
    pub fn open() -> Result<Self, Error> {
        Ok(Self(Line::open(NETLINK_ROUTE, "open an rtnetlink socket")?))
    }

    /// Asks for a change: no answer but consent or refusal.
    fn change(
        &mut self,
        what: impl Fn() -> String,
        flags: u16,
        message: RouteNetlinkMessage,
    ) -> Result<(), Error> {
        self.exchange(what, NLM_F_ACK | flags, message).map(drop)
    }

    /// Asks for one thing.
    fn ask(
        &mut self,
        what: impl Fn() -> String,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, Error> {
        Ok(self.exchange(what, NLM_F_ACK, message)?.pop())
    }

    /// Asks for everything of a kind.
    fn dump(
        &mut self,
        what: impl Fn() -> String,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.exchange(what, NLM_F_DUMP, message)
    }

    fn exchange(
        &mut self,
        what: impl Fn() -> String,
        flags: u16,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.0.exchange(what, flags, message)
    }
}

/// Facts about the interface called `name` in the calling thread's namespace.
///
/// # Errors
///
/// As [`Netlink::open`] and [`Netlink::link`].
pub fn link(name: &str) -> Result<Link, Error> {
    Netlink::open()?.link(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_answers_without_privilege() {
        let lo = link("lo").unwrap();
        assert_eq!((lo.index, &*lo.name, lo.mac), (1, "lo", [0; 6]));
        assert!(lo.rx_queues >= 1 && lo.tx_queues >= 1, "{lo:?}");
        let refused = link("no-such-link").unwrap_err();
        assert_eq!(refused.errno(), Some(nix::libc::ENODEV));
    }
}
