//! Where the kernel would hand packets over, asked of its own tables, and what to think of it.
//!
//! ```text
//!   destination ─► route of the interface ─► router, or the destination itself ─► neighbour: its MAC
//! ```

use std::net::IpAddr;

use nix::libc;
use tidegate_dataplane::sys::netlink::{Error, Neighbour, Netlink};

/// What the kernel says of the way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// No route leads there.
    None,
    /// It is this machine itself.
    Local,
    /// By this neighbour: the destination or a router.
    By(IpAddr, Option<Neighbour>),
}

impl Way {
    /// The way to `destination` by interface number `index`.
    pub(super) fn look(
        netlink: &mut Netlink,
        index: u32,
        destination: IpAddr,
    ) -> Result<Self, Error> {
        let route = match netlink.route_by(destination, index) {
            Ok(route) => route,
            Err(refused) => {
                return if is_no_route(&refused) { Ok(Self::None) } else { Err(refused) };
            }
        };
        if route.local {
            return Ok(Self::Local);
        }
        let gateway = route.gateway.filter(|_| route.interface_index == index);
        let next = gateway.unwrap_or(destination);
        Ok(Self::By(next, netlink.neighbour(index, next)?))
    }

    /// The link address, where it is known.
    pub(super) const fn mac(&self) -> Option<[u8; 6]> {
        match self {
            Self::By(_, Some(Neighbour { mac, .. })) => Some(*mac),
            _ => None,
        }
    }

    /// The neighbour that the kernel should be asked to ask for: one that is not known, or not
    /// confirmed lately.
    pub(super) fn to_ask(self) -> Option<IpAddr> {
        match self {
            Self::By(next, found) if found.is_none_or(|it| !it.confirmed) => Some(next),
            _ => None,
        }
    }
}

/// What routes and rules answer that lead nowhere, prohibit, or swallow.
fn is_no_route(refused: &Error) -> bool {
    matches!(
        refused.errno(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
    )
}

/// How long a link address may be unknown before it counts as lost. The kernel asks three times, a
/// second apart; less and an answer that is late would be a loss.
pub(super) const LOST_NS: u64 = 4_000_000_000;

/// What is thought of the next hop.
///
/// It never becomes nothing: who sends goes on to the last address known. A stream into the void
/// costs nobody anything, one that stops is a black picture when the neighbour is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Belief {
    mac: [u8; 6],
    /// Since when the kernel knows none, if so.
    unknown_since_ns: Option<u64>,
    is_lost: bool,
}

/// What is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Another link address.
    Changed {
        /// The one before.
        from: [u8; 6],
    },
    /// None for so long that there is none.
    Lost,
    /// The same is there again.
    Back,
}

impl Belief {
    pub(super) const fn new(mac: [u8; 6]) -> Self {
        Self { mac, unknown_since_ns: None, is_lost: false }
    }

    /// The address to send to.
    pub(super) const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether the kernel knew none when it was last asked.
    pub(super) const fn is_unknown(&self) -> bool {
        self.unknown_since_ns.is_some()
    }

    /// Takes what the kernel knows at `now_ns`.
    pub(super) fn see(&mut self, found: Option<[u8; 6]>, now_ns: u64) -> Option<News> {
        let Some(mac) = found else {
            let since_ns = *self.unknown_since_ns.get_or_insert(now_ns);
            let is_lost = now_ns.saturating_sub(since_ns) >= LOST_NS;
            return (!std::mem::replace(&mut self.is_lost, is_lost) && is_lost)
                .then_some(News::Lost);
        };
        self.unknown_since_ns = None;
        let was_lost = std::mem::take(&mut self.is_lost);
        let from = std::mem::replace(&mut self.mac, mac);
        if from == mac { was_lost.then_some(News::Back) } else { Some(News::Changed { from }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn another_address_is_news_at_once_and_the_same_is_none() {
        let mut belief = Belief::new(ONE);
        assert_eq!(belief.see(Some(ONE), 0), None);
        assert_eq!(belief.see(Some(OTHER), 1), Some(News::Changed { from: ONE }));
        assert_eq!((belief.see(Some(OTHER), 2), belief.mac()), (None, OTHER));
    }

    #[test]
    fn a_neighbour_that_is_asked_for_is_lost_after_a_while_and_its_address_kept() {
        let mut belief = Belief::new(ONE);
        assert_eq!(belief.see(None, 10), None);
        assert_eq!(belief.see(None, 9 + LOST_NS), None);
        assert!(belief.is_unknown());
        assert_eq!(belief.see(None, 10 + LOST_NS), Some(News::Lost));
        assert_eq!(belief.see(None, 20 + LOST_NS), None, "once");
        assert_eq!(belief.mac(), ONE);
        assert_eq!(belief.see(Some(ONE), 30 + LOST_NS), Some(News::Back));
        assert!(!belief.is_unknown());
        assert_eq!(belief.see(None, 40 + LOST_NS), None, "the time begins anew");
    }

    #[test]
    fn one_that_answers_late_was_never_lost() {
        let mut belief = Belief::new(ONE);
        assert_eq!(belief.see(None, 0), None);
        assert_eq!(belief.see(Some(ONE), LOST_NS - 1), None);
        assert_eq!(belief.see(None, LOST_NS), None);
    }

    #[test]
    fn who_comes_back_with_another_card_is_followed() {
        let mut belief = Belief::new(ONE);
        belief.see(None, 0);
        assert_eq!(belief.see(None, LOST_NS), Some(News::Lost));
        assert_eq!(belief.see(Some(OTHER), LOST_NS + 1), Some(News::Changed { from: ONE }));
        assert_eq!(belief.mac(), OTHER);
    }

    #[test]
    fn the_kernel_is_asked_to_ask_for_what_it_has_not_heard_of_lately() {
        let next: IpAddr = [198, 18, 0, 2].into();
        let by = |permanent, confirmed| {
            Way::By(next, Some(Neighbour { mac: ONE, permanent, confirmed })).to_ask()
        };
        assert_eq!((by(false, false), by(false, true), by(true, true)), (Some(next), None, None));
        assert_eq!(Way::By(next, None).to_ask(), Some(next));
        assert_eq!((Way::None.to_ask(), Way::Local.to_ask()), (None, None));
    }
}
