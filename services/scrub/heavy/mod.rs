//! Who sends most: heavy hitters among the packets that were judged, in fixed memory.
//!
//! ```text
//!   packet ─► keyed hash of its source ──────► one set of eight counters ─► count, or take the least
//!          ─► keyed hash of its destination ─►      "
//!          ─► keyed hash of protocol, port ──►      "
//!
//!   window now ──every 10 s──► window before ──► dropped           `top` is asked about both
//! ```
//!
//! *Space-Saving* (Metwally, Agrawal and El Abbadi, 2005) in sets. A key that has no counter takes
//! over the least one of its set, count included, and remembers that count as its error. So of every
//! key, at any time and whatever was sent:
//!
//! - with a counter: `count - error <= packets <= count`;
//! - without one: `packets <= least count of its set`, which is at most an eighth of what the set has
//!   counted. Over 2,048 counters and an even spread that is the 2,048th part of all packets.
//!
//! A set is chosen by a hash whose secret is this process's own, so nobody can aim at the set of
//! another key. Who finds one by luck only makes its error larger, which is shown beside each count.
//! That is why the hash may be as cheap as it is; tables whose collisions do harm use `SipHash`.
//!
//! The windows make it an answer about now: what was sent yesterday has no counter today. What a
//! window costs at its end is to clear some 70 KiB.

mod merge;
mod table;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;

pub(crate) use merge::{Hitter, merged};
use table::Table;

/// How long a window lasts.
///
/// Shorter and a count is too small to stand out of its error; longer and a flood that just began is
/// behind what ended before it.
pub(crate) const WINDOW_NS: u64 = 10_000_000_000;

/// Sets for sources: 2,048 counters, 48 KiB. A flood that is spoofed makes each packet a new source, so
/// what matters is that those who are not are above the 2,048th part of it.
const SOURCE_SETS: usize = 256;
/// Sets for destinations: few are protected.
const DESTINATION_SETS: usize = 64;
/// Sets for ports.
const PORT_SETS: usize = 64;

/// What keys are hashed with. One for all shards, so that their tables can be added.
///
/// Deliberately without `Debug`: a key in a log is no longer one.
#[derive(Clone, Copy)]
pub(crate) struct Secret([u64; 4]);

impl Secret {
    /// From the operating system's randomness, by way of the standard library's own keys.
    pub(crate) fn random() -> Self {
        Self(std::array::from_fn(|at| RandomState::new().hash_one(at)))
    }

    /// That of this process, the same for all shards.
    pub(crate) fn of_process() -> Self {
        static SECRET: OnceLock<Secret> = OnceLock::new();
        *SECRET.get_or_init(Self::random)
    }

    /// A chosen one, for tests.
    #[cfg(test)]
    pub(crate) fn fixed(seed: u64) -> Self {
        let word =
            |at: u64| (seed + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        Self([1, 2, 3, 4].map(word))
    }

    /// Two rounds of a multiplication whose halves are folded together.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    const fn hash(&self, key: u128) -> u64 {
        const fn fold(a: u64, b: u64) -> u64 {
            let product = a as u128 * b as u128;
            product as u64 ^ (product >> 64) as u64
        }
        let [first, second, third, fourth] = self.0;
        let once = fold(key as u64 ^ first, (key >> 64) as u64 ^ second);
        fold(once ^ third, fourth)
    }
}

/// What packets are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Protocol and destination port.
    Port,
}

/// What is counted of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its source.
    pub(crate) source: u128,
    /// Its destination.
    pub(crate) destination: u128,
    /// Its protocol and destination port, where it has one.
    pub(crate) port: Option<(u8, u16)>,
}

impl Seen {
    /// Of the addresses of a packet.
    #[inline]
    pub(crate) fn new(source: IpAddr, destination: IpAddr, port: Option<(u8, u16)>) -> Self {
        Self { source: key(source), destination: key(destination), port }
    }
}

/// An address as a key: IPv4 as in RFC 4291, section 2.5.5.2.
#[inline]
const fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// One shard's counters: the window that is being filled and the one before it.
pub(crate) struct Heavy {
    secret: Secret,
    windows: Windows,
}

/// Two windows, as they are copied out for who asks.
#[derive(Clone)]
pub(crate) struct Windows {
    now: Window,
    before: Window,
    /// When the window before began.
    before_ns: u64,
    /// When the present one did.
    now_ns: u64,
}

#[derive(Clone)]
struct Window {
    sources: Table,
    destinations: Table,
    ports: Table,
}

impl Window {
    fn new() -> Self {
        Self {
            sources: Table::new(SOURCE_SETS),
            destinations: Table::new(DESTINATION_SETS),
            ports: Table::new(PORT_SETS),
        }
    }

    fn clear(&mut self) {
        self.sources.clear();
        self.destinations.clear();
        self.ports.clear();
    }

    const fn table(&self, by: By) -> &Table {
        match by {
            By::Source => &self.sources,
            By::Destination => &self.destinations,
            By::Port => &self.ports,
        }
    }
}

impl Windows {
    /// Empty ones. All the memory there will be.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { now: Window::new(), before: Window::new(), before_ns: now_ns, now_ns }
    }

    /// The same as `other`, without asking for memory.
    fn copy(&mut self, other: &Self) {
        let pairs = [(&mut self.now, &other.now), (&mut self.before, &other.before)];
        for (mine, theirs) in pairs {
            mine.sources.copy(&theirs.sources);
            mine.destinations.copy(&theirs.destinations);
            mine.ports.copy(&theirs.ports);
        }
        (self.before_ns, self.now_ns) = (other.before_ns, other.now_ns);
    }
}

impl Heavy {
    /// Nothing counted yet.
    pub(crate) fn new(secret: Secret, now_ns: u64) -> Self {
        Self { secret, windows: Windows::new(now_ns) }
    }

    /// Begins a new window where it is time. Once a burst.
    #[inline]
    pub(crate) fn burst(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.windows.now_ns) >= WINDOW_NS {
            self.rotate(now_ns);
        }
    }

    #[cold]
    fn rotate(&mut self, now_ns: u64) {
        let windows = &mut self.windows;
        std::mem::swap(&mut windows.now, &mut windows.before);
        windows.now.clear();
        // After a silence of more than a window the one before is over as well.
        if now_ns - windows.now_ns >= 2 * WINDOW_NS {
            windows.before.clear();
            windows.now_ns = now_ns;
        }
        (windows.before_ns, windows.now_ns) = (windows.now_ns, now_ns);
    }

    /// Counts one packet.
    #[inline]
    pub(crate) fn note(&mut self, seen: Seen) {
        let Seen { source, destination, port } = seen;
        let Self { secret, windows: Windows { now, .. } } = self;
        now.sources.note(secret.hash(source), source);
        now.destinations.note(secret.hash(destination), destination);
        if let Some((protocol, port)) = port {
            let key = u128::from(protocol) << 16 | u128::from(port);
            now.ports.note(secret.hash(key), key);
        }
    }

    /// Copies all of it to where whoever asked has room. A shard that has seen nothing for long says
    /// so.
    pub(crate) fn copy_to(&mut self, windows: &mut Windows, now_ns: u64) {
        self.burst(now_ns);
        windows.copy(&self.windows);
    }
}

#[cfg(test)]
mod tests;
