//! What became of one link, and what an operator is told of it. Pure: no kernel, no clock.

use std::fmt;

use tidegate_dataplane::driver::Driver;
use tidegate_dataplane::sys::netlink::{Change, Link};

/// One link of the config.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) name: Box<str>,
    pub(super) index: u32,
    driver: &'static Driver,
    state: State,
    /// When it came to be so.
    since_ns: u64,
    /// Whether it ran before anything was done to it.
    ran: bool,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It sends and receives.
    Running,
    /// Switched on, and nobody at the other end, or not yet.
    NoCarrier,
    /// Switched off.
    Off,
    /// It is no more, and its queues with it.
    Gone,
}

impl State {
    const fn of(link: &Link) -> Self {
        match (link.up, link.running) {
            (false, _) => Self::Off,
            (true, false) => Self::NoCarrier,
            (true, true) => Self::Running,
        }
    }
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It runs, after so long.
    Runs {
        /// Time since it did not.
        after_ns: u64,
    },
    /// It does not run any more, because of this.
    Stopped(State),
    /// There is one of its name, which is another.
    Another,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs { .. } => "the link is there",
            Self::Stopped(State::Running) => unreachable!("a link that runs has not stopped"),
            Self::Stopped(State::NoCarrier) => "the link has lost its carrier",
            Self::Stopped(State::Off) => "the interface was switched off",
            Self::Stopped(State::Gone) => {
                "the interface was removed, and program and sockets with it; what works on it has \
                 nothing to do until tidegate is started again"
            }
            Self::Another => {
                "there is an interface of that name again, without program and sockets; start \
                 tidegate again to take its queues"
            }
        })
    }
}

impl Followed {
    /// A link as it is before anything is done to it.
    pub(super) fn new(link: &Link, driver: &'static Driver, now_ns: u64) -> Self {
        let state = State::of(link);
        let ran = state == State::Running;
        Self { name: link.name.clone(), index: link.index, driver, state, since_ns: now_ns, ran }
    }

    /// Whether its carrier is worth waiting for now.
    ///
    /// One that did not run before waits for its cable; unless its driver resets the link, and it
    /// may only be on its way back from what the last process did to it.
    pub(super) fn is_awaited(&self) -> bool {
        self.state == State::NoCarrier && (self.ran || self.driver.resets_link.is)
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// How long it has been as it is.
    pub(super) const fn for_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns)
    }

    /// Takes in what the kernel told, which may be about any link.
    pub(super) fn see(&mut self, change: &Change, now_ns: u64) -> Option<News> {
        match change {
            Change::Now(link) if link.index == self.index => self.becomes(State::of(link), now_ns),
            Change::Now(link) if *link.name == *self.name && self.state == State::Gone => {
                // Told once: the next one is told of when this one goes.
                self.index = link.index;
                Some(News::Another)
            }
            Change::Gone { index, .. } if *index == self.index => self.becomes(State::Gone, now_ns),
            Change::Now(_) | Change::Gone { .. } | Change::Missed => None,
        }
    }

    fn becomes(&mut self, state: State, now_ns: u64) -> Option<News> {
        // What took its name is no concern of ours, nor can it come back from where it is.
        if state == self.state || self.state == State::Gone {
            return None;
        }
        let after_ns = self.for_ns(now_ns);
        (self.state, self.since_ns) = (state, now_ns);
        Some(match state {
            State::Running => News::Runs { after_ns },
            _ => News::Stopped(state),
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::sys::netlink::LinkCounters;

    use super::*;

    fn link(index: u32, up: bool, running: bool) -> Link {
        Link {
            index,
            name: "eth1".into(),
            mac: [0; 6],
            mtu: 1500,
            up,
            carrier: running,
            running,
            rx_queues: 1,
            tx_queues: 1,
            xdp: None,
            kind: None,
            master: None,
            below: None,
            counters: LinkCounters::default(),
        }
    }

    fn follow(driver: &str, running: bool) -> Followed {
        Followed::new(&link(3, true, running), Driver::named(driver), 0)
    }

    fn now(index: u32, up: bool, running: bool) -> Change {
        Change::Now(link(index, up, running))
    }

    #[test]
    fn tells_that_it_stopped_and_that_it_runs_again_and_after_how_long() {
        let mut eth1 = follow("veth", true);
        assert_eq!(eth1.see(&now(3, true, true), 1), None, "nothing that matters");
        assert_eq!(eth1.see(&now(4, true, false), 2), None, "another link");
        let lost = eth1.see(&now(3, true, false), 10).unwrap();
        assert_eq!(lost, News::Stopped(State::NoCarrier));
        assert_eq!(lost.to_string(), "the link has lost its carrier");
        assert_eq!(eth1.see(&now(3, true, false), 11), None, "told once");
        assert_eq!(eth1.see(&now(3, true, true), 17), Some(News::Runs { after_ns: 7 }));
        assert_eq!(eth1.see(&now(3, false, false), 20), Some(News::Stopped(State::Off)));
    }

    #[test]
    fn one_that_was_removed_does_not_come_back_and_its_heir_is_told_of_once() {
        let mut eth1 = follow("veth", true);
        let gone = |index| Change::Gone { index, name: "eth1".into() };
        assert_eq!(eth1.see(&gone(3), 1), Some(News::Stopped(State::Gone)));
        assert_eq!(eth1.see(&now(8, false, false), 2), Some(News::Another));
        assert_eq!(eth1.see(&now(8, true, true), 3), None, "it is not ours");
        assert_eq!(eth1.see(&gone(8), 4), None);
        assert_eq!(eth1.see(&now(9, true, true), 5), Some(News::Another));
        assert_eq!(eth1.state(), State::Gone);
    }

    #[test]
    fn a_carrier_is_awaited_that_was_there_or_that_the_driver_takes_down() {
        let mut veth = follow("veth", true);
        assert!(!veth.is_awaited(), "it is there");
        veth.see(&now(3, true, false), 1);
        assert!(veth.is_awaited(), "it was there");
        veth.see(&now(3, false, false), 1);
        assert!(!veth.is_awaited(), "switched off: only an operator brings it back");
        assert!(!follow("veth", false).is_awaited(), "no cable");
        assert!(follow("igb", false).is_awaited(), "perhaps on its way back");
    }
}
