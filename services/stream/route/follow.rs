//! The link address of the next hop, followed while a stream runs.
//!
//! ```text
//!   kernel ── neighbour, route, link changed ──► thread: asks again ──► link address ──► shard,
//!     ▲                                            │                     an atomic       once a frame
//!     └── "it is used": the kernel asks the wire ──┘
//! ```
//!
//! The shard never asks the kernel: it looks at one number in memory. The thread sleeps until the
//! kernel tells of a change, and every few seconds looks by itself, since not every change is told
//! and since packets that leave by AF_XDP do not show the kernel that a neighbour is used.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tidegate_dataplane::sys::netlink::{self, HopWatch, Netlink};
use tidegate_runtime::clock::Clock;

use super::Error;
use super::mac::Mac;
use super::next_hop::{Belief, News, Way};
use crate::stream::worker;

/// How long a start waits for a neighbour that the kernel has to ask for: as long as it asks, three
/// times a second apart. Longer and an operator who mistyped an address waits for nothing.
const RESOLVE_NS: u64 = 3_000_000_000;

/// How often the kernel is asked while the neighbour is unknown, in milliseconds.
const ASK_MS: u16 = 1_000;

/// How often the thread looks by itself, in milliseconds. It is how late a change is seen of which
/// the kernel tells nobody, and how long a stale entry is not asked for; a look takes some 50
/// microseconds of a CPU that no shard has.
const LOOK_MS: u16 = 5_000;

/// How long the thread leaves the kernel alone after a change, in milliseconds: where routes come
/// by thousands, it looks fifty times a second and not thousands of times.
const REST_MS: u16 = 20;

/// Whether a neighbour that is not known may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// At the start, for some seconds.
    Wait,
    /// Not where others are at work on the same shard.
    None,
}

/// What the thread tells the shard.
#[derive(Debug)]
struct Shared {
    /// The link address, in the lower 48 bits.
    mac: AtomicU64,
    changes: AtomicU64,
    losses: AtomicU64,
}

/// What became of the next hop until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that its link address changed.
    pub changes: u64,
    /// Times that the kernel lost it.
    pub losses: u64,
}

fn packed([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn unpacked(word: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
    [a, b, c, d, e, f]
}

/// A next hop that is followed. Dropped, it is not any more.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Finds the next hop towards `destination` by `interface`, which is number `index` or a VLAN on
    /// it, and follows it from now on.
    pub(super) fn start(
        destination: IpAddr,
        interface: &str,
        index: u32,
        patience: Patience,
    ) -> Result<Self, Error> {
        let system = |cause: &dyn ToString| Error::System { cause: cause.to_string().into() };
        // First, so that nothing is missed between a question and the first change that is told.
        let watch = HopWatch::open().map_err(|error| system(&error))?;
        let netlink = Netlink::open().map_err(|error| system(&error))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(|errno| system(&errno))?;
        let stop = Arc::new(stop);
        let mut work = Work {
            watch,
            netlink,
            clock_ns: || Clock::machine().now_ns(),
            destination,
            interface: interface.into(),
            index,
            stop: Arc::clone(&stop),
        };
        let mac = work.resolve(patience)?;
        let shared = Arc::new(Shared {
            mac: AtomicU64::new(packed(mac)),
            changes: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        });
        let told = Arc::clone(&shared);
        let follow = move || {
            if let Err(error) = work.follow(Belief::new(mac), &told) {
                let interface = &*work.interface;
                tracing::warn!(interface, %error, "the next hop is not followed any more");
            }
        };
        let thread = worker::start("stream-route", follow);
        let thread = thread.map_err(|error| system(&error))?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// The link address to send to.
    #[inline]
    pub(super) fn mac(&self) -> [u8; 6] {
        // It stands for itself: nothing else is read on account of it.
        unpacked(self.shared.mac.load(Ordering::Relaxed))
    }

    /// What became of it until now.
    #[inline]
    pub(super) fn counts(&self) -> Counts {
        Counts {
            changes: self.shared.changes.load(Ordering::Relaxed),
            losses: self.shared.losses.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It fails only for a counter that is full, which then is readable as well.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic was reported by its hook, and nothing depends on this thread.
            let _ = thread.join();
        }
    }
}

/// Why the thread looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Stop,
    Change,
    Time,
}

/// What the thread has.
struct Work {
    watch: HopWatch,
    netlink: Netlink,
    clock_ns: fn() -> u64,
    destination: IpAddr,
    interface: Box<str>,
    index: u32,
    stop: Arc<EventFd>,
}

impl Work {
    /// The link address at the start. Waits for it where that is allowed.
    fn resolve(&mut self, patience: Patience) -> Result<[u8; 6], Error> {
        let deadline_ns = (self.clock_ns)() + RESOLVE_NS;
        let (mut asked_ns, mut refusal) = (None, None);
        loop {
            let way = self.look()?;
            if let Some(mac) = way.mac() {
                return Ok(mac);
            }
            let (interface, destination) = (self.interface.clone(), self.destination);
            let next_hop = match way {
                Way::By(next_hop, _) => next_hop,
                Way::None => return Err(Error::NoRoute { destination, interface }),
                Way::Local => return Err(Error::Local { destination }),
            };
            let now_ns = (self.clock_ns)();
            if asked_ns.is_none_or(|asked_ns| now_ns >= asked_ns + u64::from(ASK_MS) * 1_000_000) {
                asked_ns = Some(now_ns);
                refusal = self.netlink.solicit(self.index, next_hop).err();
            }
            if now_ns >= deadline_ns || patience == Patience::None || refusal.is_some() {
                let refusal = refusal.map(|error| std::io::Error::from(error).to_string().into());
                return Err(Error::Unresolved { destination, next_hop, interface, refusal });
            }
            // A hundred milliseconds: changes wake it sooner.
            self.wait(100)?;
        }
    }

    /// Looks again whenever something changes, until told to stop.
    fn follow(&mut self, mut belief: Belief, told: &Shared) -> Result<(), Error> {
        let mut is_refused = false;
        loop {
            let woken = self.wait(if belief.is_unknown() { ASK_MS } else { LOOK_MS })?;
            if woken == Woken::Stop {
                return Ok(());
            }
            let way = match self.look() {
                Ok(way) => way,
                Err(error) => {
                    // As where the interface is gone: then there is no way, for now.
                    if !std::mem::replace(&mut is_refused, true) {
                        tracing::warn!(interface = &*self.interface, %error);
                    }
                    Way::None
                }
            };
            let news = belief.see(way.mac(), (self.clock_ns)());
            // Asked at its own pace and not at that of changes, of which asking is one.
            if woken == Woken::Time
                && let Some(neighbour) = way.to_ask()
            {
                // Refused while the link is down, say: then it stays unknown, which is told.
                let _ = self.netlink.solicit(self.index, neighbour);
            }
            if let Some(news) = news {
                self.tell(news, &belief, told);
            }
            if woken == Woken::Change && self.rest() {
                return Ok(());
            }
        }
    }

    fn tell(&self, news: News, belief: &Belief, told: &Shared) {
        let (interface, destination) = (&*self.interface, self.destination);
        let mac = Mac(belief.mac());
        match news {
            News::Changed { from } => {
                told.mac.store(packed(belief.mac()), Ordering::Relaxed);
                told.changes.fetch_add(1, Ordering::Relaxed);
                let from = Mac(from);
                tracing::info!(interface, %destination, %from, to = %mac, "the next hop changed");
            }
            News::Lost => {
                told.losses.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    interface, %destination, %mac,
                    "the next hop does not answer any more; its last address is kept"
                );
            }
            News::Back => tracing::info!(interface, %destination, %mac, "the next hop is back"),
        }
    }

    fn look(&mut self) -> Result<Way, Error> {
        let system = |error: netlink::Error| Error::System {
            cause: std::io::Error::from(error).to_string().into(),
        };
        Way::look(&mut self.netlink, self.index, self.destination).map_err(system)
    }

    /// Waits for a change, at most so long.
    fn wait(&mut self, patience_ms: u16) -> Result<Woken, Error> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [readable(self.watch.as_fd()), readable(self.stop.as_fd())];
        let system = |cause: String| Error::System { cause: cause.into() };
        match poll(&mut fds, PollTimeout::from(patience_ms)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(system(errno.to_string())),
        }
        if fds[1].any() == Some(true) {
            return Ok(Woken::Stop);
        }
        let changed = self.watch.changed().map_err(|error| system(error.to_string()))?;
        Ok(if changed { Woken::Change } else { Woken::Time })
    }

    /// Leaves the kernel alone for a moment; whether it is told to stop.
    fn rest(&self) -> bool {
        let mut fds = [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        // Interrupted, the moment is shorter.
        let _ = poll(&mut fds, PollTimeout::from(REST_MS));
        fds[0].any() == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_address_is_the_same_when_it_is_unpacked() {
        for mac in [[0; 6], [0xff; 6], [2, 0x74, 0x67, 0, 1, 0xfe]] {
            assert_eq!(unpacked(packed(mac)), mac);
        }
    }

    #[test]
    fn this_machine_is_no_next_hop() {
        let start = |destination: &str| {
            let destination = destination.parse().unwrap();
            Follower::start(destination, "lo", 1, Patience::None).unwrap_err().to_string()
        };
        assert_eq!(
            start("127.0.0.1"),
            "destination 127.0.0.1 is this machine itself: packets leave by the card all the same \
             with destination_mac, the link address of whoever is to take them"
        );
    }
}
