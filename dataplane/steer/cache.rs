//! Verdicts that the program knows: decided once in user space, enforced in the kernel.
//!
//! ```text
//!     promote(Flow | Source | Prefix) ─► map ─► the program: DROP, or PASS in the flow's order
//! ```
//!
//! A verdict holds for the selectors of one scope, until a moment, and while its epoch does. The
//! most special one decides: flow, then source, then prefix. Flows and sources are kept in maps of
//! fixed size that give the longest unused one up for a new one, so that promoting never fails for
//! want of room; the kernel does not say how many it gave up. Prefixes are a table for operators,
//! which refuses when it is full of those that hold.
//!
//! In front of sources and prefixes the program keeps IPv4 sources that they drop in a cache line of
//! its own, for 2.6 s at the most. What is changed here is obeyed at once all the same, by a count of
//! changes; but a source that its map gave up is dropped for so long yet, and a change has the
//! program look each source up again, which costs what it cost before.
//!
//! Epochs make forgetting many at once a single store: [`Cache::flush`] and [`Cache::flush_rule`]
//! begin a new one, and what was promoted in those before is void. Whoever judges by rules keeps
//! the epoch in which they were made, and promotes with it: a verdict by rules that were replaced
//! meanwhile is void from the start.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, mem};

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

use super::counters::Tally;
use super::error::Error;
use super::privilege::errno;
use super::program::{BOARD_OCTETS, CHANGES, FLOOR, KINDS, OBJECT_KNOWN, map_fd};
use super::selector::{Prefix, wire_octets};
use crate::sys::bpf::SharedValues;

/// Rules that verdicts can be attributed to, as in steer.bpf.c.
pub const RULES_MAX: u16 = 16_384;

const KIND_FLOW: u32 = 1;
const KIND_SOURCE: u32 = 2;
const KIND_PREFIX: u32 = 4;

/// `FINE` of protect.bpf.h, beside the count of changes.
const FINE: u32 = 1 << 31;
/// The longest prefix of IPv4 that is not fine.
const COARSE_BITS: u8 = 24;

/// Scope and family, in front of a prefix.
const PREFIX_FRONT_BITS: u32 = 32;

/// Most verdicts of each kind. The kernel takes the memory of flows and sources when the program is
/// loaded: 128 octets for a flow, 104 for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    /// Flows.
    pub flows: u32,
    /// Sources.
    pub sources: u32,
    /// Prefixes.
    pub prefixes: u32,
}

impl CacheSizes {
    /// One of each, for who protects nothing.
    pub const LEAST: Self = Self { flows: 1, sources: 1, prefixes: 1 };
}

impl Default for CacheSizes {
    /// 65,536 flows and 262,144 sources, 35 MiB; 16,384 prefixes.
    fn default() -> Self {
        Self { flows: 65_536, sources: 262_144, prefixes: 16_384 }
    }
}

/// A flow, as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Where it comes from. Port 0 where the protocol has none, and for fragments.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Number of the upper-layer protocol.
    pub protocol: u8,
}

/// Whose packets a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// One flow's. Fragments are not: they belong to the flow with ports 0.
    Flow(Flow),
    /// Those of one source address.
    Source(IpAddr),
    /// Those of all sources of a prefix.
    Prefix(Prefix),
}

/// What the program does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cached {
    /// They go to the stack, as soon as none of their flow is out any more.
    Pass,
    /// They are dropped.
    Drop,
}

/// A time within which verdicts were promoted; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

/// A verdict to be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Of the selectors that it is for, [`Protection::scope`](super::Protection::scope).
    pub scope: u8,
    /// Whose packets.
    pub whose: Whose,
    /// What becomes of them.
    pub verdict: Cached,
    /// The rule that decided, below [`RULES_MAX`]: its hits are counted.
    pub rule: u16,
    /// Of the rules.
    pub epoch: Epoch,
    /// Until when, in nanoseconds of `CLOCK_MONOTONIC`. The program's clock is up to 10 ms behind.
    pub until_ns: u64,
}

type FlowKey = [u8; 40];
type SourceKey = [u8; 20];
/// Without its length, which aya adds.
type PrefixKey = [u8; 20];
type Value = [u8; 16];

/// The program's cached verdicts. Any thread may use it; the lock is held for one system call.
pub struct Cache {
    inner: Mutex<Inner>,
}

struct Inner {
    flows: HashMap<MapData, FlowKey, Value>,
    sources: HashMap<MapData, SourceKey, Value>,
    prefixes: LpmTrie<MapData, PrefixKey, Value>,
    hits: PerCpuArray<MapData, [u64; 2]>,
    floors: Array<MapData, u32>,
    board: SharedValues,
    epoch: u32,
    /// Rules with hits to be asked for.
    rules: BTreeSet<u16>,
}

impl Cache {
    /// The cache of a program whose maps `ebpf` has.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let board = SharedValues::of(map_fd(ebpf, "board"), BOARD_OCTETS)
            .map_err(|error| Error::from_call("mapping the board", error))?;
        let mut map = |name| ebpf.take_map(name).expect(OBJECT_KNOWN);
        let inner = Inner {
            flows: HashMap::try_from(map("by_flow")).expect(OBJECT_KNOWN),
            sources: HashMap::try_from(map("by_source")).expect(OBJECT_KNOWN),
            prefixes: LpmTrie::try_from(map("by_prefix")).expect(OBJECT_KNOWN),
            hits: PerCpuArray::try_from(map("hits")).expect(OBJECT_KNOWN),
            floors: Array::try_from(map("floors")).expect(OBJECT_KNOWN),
            board,
            epoch: 1,
            rules: BTreeSet::new(),
        };
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// The epoch that is now.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.inner().epoch)
    }

    /// Enters a verdict, in place of one about the same packets.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`], [`Error::FlowFamilies`], [`Error::CacheFull`] for a prefix,
    /// [`Error::Os`].
    pub fn promote(&self, promotion: &Promotion) -> Result<(), Error> {
        const CALL: &str = "entering a verdict";
        let Promotion { scope, whose, verdict, rule, epoch, until_ns } = *promotion;
        check_rule(rule)?;
        let value = value(verdict, rule, epoch, until_ns);
        let mut inner = self.inner();
        // Whether one that the program found before may not be right any more.
        let mut changes = false;
        let (entered, kind) = match whose {
            Whose::Flow(flow) => (inner.flows.insert(flow_key(scope, &flow)?, value, 0), KIND_FLOW),
            Whose::Source(source) => {
                let key = source_key(scope, source);
                changes = verdict == Cached::Pass
                    || inner.board.load(KINDS) & KIND_PREFIX != 0
                    || inner.sources.get(&key, 0).is_ok_and(|old| !prolongs(&value, &old));
                (inner.sources.insert(key, value, 0), KIND_SOURCE)
            }
            Whose::Prefix(prefix) => {
                let key = Key::new(
                    PREFIX_FRONT_BITS + u32::from(prefix.bits()),
                    prefix_key(scope, prefix),
                );
                changes = true;
                (inner.insert_prefix(&key, value), KIND_PREFIX)
            }
        };
        entered.map_err(|error| match errno(&error) {
            Some(libc::ENOSPC) => Error::CacheFull,
            _ => Error::from_call(CALL, error),
        })?;
        inner.rules.insert(rule);
        // The program looks for no kind of which there never was one.
        let kinds = inner.board.load(KINDS);
        if kinds & kind == 0 {
            inner.board.store(KINDS, kinds | kind);
        }
        let fine = match whose {
            Whose::Flow(_) => false,
            Whose::Source(source) => source.is_ipv4(),
            Whose::Prefix(prefix) => prefix.address().is_ipv4() && prefix.bits() > COARSE_BITS,
        };
        let known = inner.board.load(CHANGES) & FINE;
        if changes || fine && known == 0 {
            inner.count_change(if fine { FINE } else { known });
        }
        Ok(())
    }

    /// Takes a verdict out; whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::FlowFamilies`], [`Error::Os`].
    pub fn forget(&self, scope: u8, whose: &Whose) -> Result<bool, Error> {
        let mut inner = self.inner();
        let removed = match *whose {
            Whose::Flow(flow) => inner.flows.remove(&flow_key(scope, &flow)?),
            Whose::Source(source) => inner.sources.remove(&source_key(scope, source)),
            Whose::Prefix(prefix) => {
                let bits = PREFIX_FRONT_BITS + u32::from(prefix.bits());
                inner.prefixes.remove(&Key::new(bits, prefix_key(scope, prefix)))
            }
        };
        inner.count_another_change();
        match removed {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(Error::from_call("taking a verdict out", error)),
        }
    }

    /// Voids every verdict, at once; those of the epoch that it returns hold.
    pub fn flush(&self) -> Epoch {
        let mut inner = self.inner();
        inner.epoch += 1;
        let epoch = inner.epoch;
        inner.board.store(FLOOR, epoch);
        // Of none is there a verdict any more.
        inner.board.store(KINDS, 0);
        inner.remove_prefixes(|_| true);
        inner.count_change(0);
        Epoch(epoch)
    }

    /// Voids every verdict of one rule, at once; those of the epoch that it returns hold.
    ///
    /// # Errors
    ///
    /// [`Error::NoRule`], [`Error::Os`].
    pub fn flush_rule(&self, rule: u16) -> Result<Epoch, Error> {
        check_rule(rule)?;
        let mut inner = self.inner();
        let epoch = inner.epoch + 1;
        inner
            .floors
            .set(rule.into(), epoch, 0)
            .map_err(|error| Error::from_call("voiding the verdicts of a rule", error))?;
        inner.epoch = epoch;
        inner.count_another_change();
        Ok(Epoch(epoch))
    }

    /// Packets that verdicts decided on, by rule, since the program was loaded: of each rule that
    /// ever had a verdict, also where that is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub fn hits(&self) -> Result<Vec<(u16, Tally)>, Error> {
        let inner = self.inner();
        let of_rule = |&rule: &u16| {
            let processors = inner
                .hits
                .get(&rule.into(), 0)
                .map_err(|error| Error::from_call("reading the hits of verdicts", error))?;
            let mut tally = Tally::default();
            for [packets, octets] in processors.iter() {
                tally.packets += packets;
                tally.octets += octets;
            }
            Ok((rule, tally))
        };
        inner.rules.iter().map(of_rule).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whole after each step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The table of prefixes gives none up by itself, and a long one that is void goes on hiding the
    /// shorter ones around it. What cannot be removed is void all the same.
    fn remove_prefixes(&mut self, void: impl Fn(&Value) -> bool) {
        let entries = self.prefixes.iter().filter_map(Result::ok);
        let keys: Vec<_> = entries.filter(|(_, value)| void(value)).map(|(key, _)| key).collect();
        for key in &keys {
            let _ = self.prefixes.remove(key);
        }
    }

    /// Enters one about a prefix. A full table is asked first for those whose time is over.
    fn insert_prefix(&mut self, key: &Key<PrefixKey>, value: Value) -> Result<(), MapError> {
        let entered = self.prefixes.insert(key, value, 0);
        match &entered {
            Err(error) if errno(error) == Some(libc::ENOSPC) => {
                let now_ns = monotonic_ns();
                self.remove_prefixes(|value| until_ns(value) <= now_ns);
                self.prefixes.insert(key, value, 0)
            }
            _ => entered,
        }
    }

    /// Voids what the program found, behind the change: what it finds from now on is of the new state,
    /// in which there are fine verdicts or none. Both in one word: the program sees both or neither.
    fn count_change(&mut self, fine: u32) {
        let changes = self.board.load(CHANGES);
        self.board.store(CHANGES, changes.wrapping_add(1) & !FINE | fine);
    }

    /// The same, where fine ones are as before.
    fn count_another_change(&mut self) {
        self.count_change(self.board.load(CHANGES) & FINE);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

const fn check_rule(rule: u16) -> Result<(), Error> {
    if rule < RULES_MAX { Ok(()) } else { Err(Error::NoRule { rule }) }
}

/// `struct verdict` of protect.bpf.h.
fn value(verdict: Cached, rule: u16, epoch: Epoch, until_ns: u64) -> Value {
    let mut octets = [0; mem::size_of::<Value>()];
    octets[..8].copy_from_slice(&until_ns.to_ne_bytes());
    octets[8..12].copy_from_slice(&epoch.0.to_ne_bytes());
    octets[12..14].copy_from_slice(&rule.to_ne_bytes());
    octets[14] = u8::from(verdict == Cached::Drop);
    octets
}

fn until_ns(value: &Value) -> u64 {
    u64::from_ne_bytes(*value.first_chunk().expect("it is longer"))
}

/// The clock of verdicts.
fn monotonic_ns() -> u64 {
    let now = ClockId::CLOCK_MONOTONIC.now().expect("Linux has it");
    u64::try_from(now.num_nanoseconds()).expect("counted from the start of the machine")
}

/// Whether the old verdict says nothing that the new one does not: the same of the same rule, no
/// later epoch and no longer.
fn prolongs(new: &Value, old: &Value) -> bool {
    let epoch = |value: &Value| value[8..].first_chunk().copied().map(u32::from_ne_bytes);
    new[12..] == old[12..] && until_ns(new) >= until_ns(old) && epoch(new) >= epoch(old)
}

/// As in the program: 4 or 6.
const fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// `struct flow_key` of protect.bpf.h.
fn flow_key(scope: u8, flow: &Flow) -> Result<FlowKey, Error> {
    let Flow { source, destination, protocol } = *flow;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Error::FlowFamilies { source, destination });
    }
    let mut key = [0; 40];
    key[..16].copy_from_slice(&wire_octets(source.ip()));
    key[16..32].copy_from_slice(&wire_octets(destination.ip()));
    key[32..34].copy_from_slice(&source.port().to_be_bytes());
    key[34..36].copy_from_slice(&destination.port().to_be_bytes());
    key[36..39].copy_from_slice(&[family(source.ip()), protocol, scope]);
    Ok(key)
}

/// `struct source_key` of protect.bpf.h.
fn source_key(scope: u8, source: IpAddr) -> SourceKey {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&wire_octets(source));
    key[16..18].copy_from_slice(&[family(source), scope]);
    key
}

/// `struct prefix_key` of protect.bpf.h behind its length.
fn prefix_key(scope: u8, prefix: Prefix) -> PrefixKey {
    let mut key = [0; 20];
    key[..2].copy_from_slice(&[family(prefix.address()), scope]);
    key[4..].copy_from_slice(&wire_octets(prefix.address()));
    key
}
