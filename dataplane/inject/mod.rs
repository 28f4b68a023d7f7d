//! Injection: validated packets back into the kernel stack, on the interface they came from.
//!
//! ```text
//! inject(packet) ─► batch ─┬─ 16 or more ─► live frames, one system call for all ─┐
//!                          └─ fewer ──┐                                            ▼
//!         (over 2040 octets) ─────────┴─► TAP device, one call each ─► redirect ─► stack
//! ```
//!
//! The stack sees the original interface, so firewall rules, `rp_filter`, bound sockets and
//! captures work as if the packet had never left. It looks at the packet again, checksums
//! included: a packet whose checksum was left to the sender's NIC (veth does that) is dropped
//! there.
//!
//! The order of packets is kept, across both ways.
//!
//! What it refuses to do: inject on an interface with XDP in generic mode, where each packet
//! would meet the steering program again and come back to us for ever.
//!
//! Where the kernel gives one way only, that one is taken, and the log says so once. Where it
//! refuses a batch of live frames later on, the batch goes by the TAP device.
//!
//! The injecting thread does the stack's work, inside the call: bound the packets per turn.
//!
//! # What unread packets hold
//!
//! Each batch of live frames has a page pool of its own, some 5 KiB, which lives until its last
//! packet is read or dropped. So there are never more pools than unread packets; each of those
//! counts as more than a page against its socket's buffer and the kernel's `udp_mem` and
//! `tcp_mem`, so these bound the pools as well: at the worst, one packet left of each batch, the
//! pools double what the sockets hold. A test leaves sockets unread. When packets wait for minutes,
//! the kernel logs a line for each pool (`page_pool_release_retry`); no other harm is known.
//!
//! For the same reason a socket's buffer holds fewer small packets than by a driver that copies
//! them: with the default of 208 KiB some 50 that came as live frames, whatever their length.
//!
//! # What it costs
//!
//! Processor time of the injecting thread, the stack's part included: distinct UDP packets,
//! 60 octets each, counted and dropped by nft in raw prerouting with strict `rp_filter`; all
//! of them arrived. 2 vCPU that others used too, Linux 6.18, two rounds of 0.6 s.
//!
//! | way | batch | us a call | us a packet | against TAP |
//! |---|---|---|---|---|
//! | TAP | | | 1.64 to 1.69 | 1 |
//! | live frames | 1 | 15 to 16 | 15 to 16 | 0.1 |
//! | live frames | 8 | 19 to 22 | 2.3 to 2.7 | 0.6 to 0.7 |
//! | live frames | 16 | 23 | 1.42 to 1.44 | 1.15 |
//! | live frames | 64 | 50 to 59 | 0.78 to 0.92 | 1.8 to 2.1 |
//! | live frames | 256 | 199 to 253 | 0.78 to 0.99 | 1.7 to 2.1 |
//!
//! With 1400 octets: TAP 1.61 to 2.08, live frames in batches of 64 0.84 to 0.87. A batch
//! without the keeper (see `live.rs`): 28 to 32 ms, whatever its size.

mod error;
mod live;
mod stats;
mod tap;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::{fmt, io};

pub use error::Error;
pub use stats::Stats;

use crate::steer::XdpMode;
use crate::sys::netlink;
use live::LiveFrames;
use tap::Tap;

/// From this many pending packets on a batch goes as live frames: the first power of two at
/// which they are cheaper, by the table above. Too low: small batches cost more than they
/// must. Too high: large ones do.
const LIVE_FROM_PACKETS: u32 = 16;

/// Which ways into the stack to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tiers {
    /// Both, whichever is cheaper for the batch; one, where the kernel gives only one.
    #[default]
    Auto,
    /// Live frames alone: packets over 2040 octets are refused. Linux 5.18.
    LiveFrames,
    /// The TAP device alone.
    Tap,
}

impl fmt::Display for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "live frames and TAP",
            Self::LiveFrames => "live frames",
            Self::Tap => "TAP",
        })
    }
}

/// Where to inject, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the interface, in this thread's network namespace.
    pub interface: Box<str>,
    /// Where XDP runs on it, as [`crate::steer::Steering::obtained`] says.
    pub xdp: XdpMode,
    /// Which ways to use.
    pub tiers: Tiers,
}

/// What [`Injector::inject`] did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Copied; the next [`Injector::flush`] tells about it.
    Taken,
    /// Not taken: under 14 octets, or too long for every way there is. Counted.
    Refused,
}

/// What became of the packets taken since the flush before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Flushed {
    /// Packets the stack received.
    pub delivered: u32,
    /// Packets it did not.
    pub refused: u32,
}

/// The way back into the stack for one interface. It stays on the thread that made it.
pub struct Injector {
    live: Option<LiveFrames>,
    tap: Option<Tap>,
    stats: Stats,
    /// What is settled already of the packets taken since the last flush.
    settled: Flushed,
}

impl Injector {
    /// Opens the ways into the stack and tries them, on no packet.
    ///
    /// # Errors
    ///
    /// Every [`Error`]. With [`Tiers::Auto`] only where neither way is open; where one is
    /// not, the log says why, once.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let interface = &*options.interface;
        if options.xdp == XdpMode::Generic {
            return Err(Error::Generic { interface: interface.into() });
        }
        let ifindex = match netlink::link(interface) {
            Ok(link) => link.index,
            Err(error) if error.errno() == Some(libc::ENODEV) => {
                return Err(Error::NoInterface { interface: interface.into() });
            }
            Err(error) => return Err(Error::step("asking for the interface's index", error)),
        };
        let (live, tap) = match options.tiers {
            Tiers::LiveFrames => (Some(LiveFrames::new(ifindex)?), None),
            Tiers::Tap => (None, Some(Tap::new(ifindex)?)),
            Tiers::Auto => match (LiveFrames::new(ifindex), Tap::new(ifindex)) {
                (Ok(live), Ok(tap)) => (Some(live), Some(tap)),
                (Ok(live), Err(reason)) => {
                    tell_once(interface, &reason, "packets go back without a TAP device");
                    (Some(live), None)
                }
                (Err(reason), Ok(tap)) => {
                    tell_once(interface, &reason, "packets go back by the TAP device alone");
                    (None, Some(tap))
                }
                (Err(live), Err(tap)) => {
                    return Err(Error::NoTier { live: live.into(), tap: tap.into() });
                }
            },
        };
        let injector = Self { live, tap, stats: Stats::default(), settled: Flushed::default() };
        tracing::info!(interface, by = %injector.obtained(), "packets can be put back");
        Ok(injector)
    }

    /// Which ways are open.
    pub const fn obtained(&self) -> Tiers {
        match (&self.live, &self.tap) {
            (Some(_), Some(_)) => Tiers::Auto,
            (Some(_), None) => Tiers::LiveFrames,
            (None, _) => Tiers::Tap,
        }
    }

    /// Takes a packet, Ethernet header included, by copying it.
    ///
    /// A full batch is handed over at once; [`Self::flush`] tells about it later.
    pub fn inject(&mut self, packet: &[u8]) -> Outcome {
        if packet.len() < live::PACKET_OCTETS_MIN {
            self.stats.refused_runt_packets += 1;
            return Outcome::Refused;
        }
        let fits = packet.len() <= live::PACKET_OCTETS;
        match (&mut self.live, &self.tap) {
            (Some(live), _) if fits => {
                live.push(packet);
                if live.pending() == live::BATCH_PACKETS {
                    self.hand_over();
                }
                Outcome::Taken
            }
            (_, Some(_)) if packet.len() <= tap::PACKET_OCTETS => {
                // The packets before it first.
                self.hand_over();
                self.send_by_tap(packet);
                Outcome::Taken
            }
            _ => {
                self.stats.refused_oversized_packets += 1;
                Outcome::Refused
            }
        }
    }

    /// Hands over what is pending. Returns the fate of all packets taken since the call
    /// before: `delivered + refused` is their number.
    pub fn flush(&mut self) -> Flushed {
        self.hand_over();
        std::mem::take(&mut self.settled)
    }

    /// Packets taken and not handed over yet.
    pub fn pending(&self) -> u32 {
        self.live.as_ref().map_or(0, LiveFrames::pending)
    }

    /// What became of all packets.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn hand_over(&mut self) {
        let Self { live: Some(live), tap, stats, settled } = self else { return };
        match (live.pending(), tap) {
            (0, _) => {}
            (1..LIVE_FROM_PACKETS, Some(tap)) => {
                live.drain(0, |packet| settle(stats, settled, tap.send(packet)));
            }
            (_, tap) => {
                let sent = live.send();
                stats.live_calls += 1;
                stats.live_packets += u64::from(sent.delivered);
                stats.refused_other_packets += u64::from(sent.dropped);
                settled.delivered += sent.delivered;
                settled.refused += sent.dropped;
                let Some(error) = sent.refusal else { return };
                stats.live_refused_calls += 1;
                match tap {
                    // The same link is down or gone by any way.
                    Some(tap) if !Stats::is_of_the_link(&error) => {
                        if stats.live_refused_calls == 1 {
                            tracing::warn!(%error, "live frames are refused, so packets go back by \
                                the TAP device until they are not");
                        }
                        live.drain(sent.delivered, |it| settle(stats, settled, tap.send(it)));
                    }
                    _ => live.drain(sent.delivered, |_| {
                        stats.refuse(&error, 1);
                        settled.refused += 1;
                    }),
                }
            }
        }
    }

    fn send_by_tap(&mut self, packet: &[u8]) {
        let Some(tap) = &self.tap else { return };
        settle(&mut self.stats, &mut self.settled, tap.send(packet));
    }
}

/// Says what is lacking: every queue of an interface has an injector, and all lack the same.
fn tell_once(interface: &str, reason: &Error, what: &'static str) {
    static TOLD: Mutex<BTreeSet<(Box<str>, &'static str)>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert((interface.into(), what)) {
        tracing::warn!(interface, %reason, "{what}");
    }
}

/// Counts one packet given to the TAP device.
fn settle(stats: &mut Stats, settled: &mut Flushed, answer: io::Result<()>) {
    match answer {
        Ok(()) => {
            stats.tap_packets += 1;
            settled.delivered += 1;
        }
        Err(error) => {
            stats.refuse(&error, 1);
            settled.refused += 1;
        }
    }
}

impl fmt::Debug for Injector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injector")
            .field("obtained", &self.obtained())
            .field("pending", &self.pending())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
