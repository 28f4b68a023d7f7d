//! The loaded program and its maps, attached to nothing.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

use super::cache::{Cache, CacheSizes};
use super::counters::{Counters, PeaceCounts, Words};
use super::error::{Error, LOAD};
use super::privilege::errno;
use super::selector::{SELECTOR_OCTETS, SELECTORS_MAX, Selector, State};
use super::tidings::{SHARD_OCTETS, Tidings};
use crate::sys::bpf::{self, SharedValues};

/// The object that `rebuild` makes from steer.bpf.c.
static OBJECT: &[u8] = aya::include_bytes_aligned!("steer.bpf.o");

/// Why looking things up in [`OBJECT`] cannot fail.
pub(super) const OBJECT_KNOWN: &str =
    "the committed object has the maps and the program of its source";

/// Most receive queues with a socket, as in steer.bpf.c.
pub const QUEUES_MAX: u32 = 1024;

/// Octets of an address that have a table in `struct generation`.
const TABLES_IPV4: usize = 4;
const TABLES_IPV6: usize = 8;
const TABLES: usize = 8 + SELECTORS_MAX * SELECTOR_OCTETS;
/// `struct generation` of steer.bpf.c.
const GENERATION_OCTETS: usize = TABLES + (TABLES_IPV4 + TABLES_IPV6) * 256 * 8;
type Generation = [u8; GENERATION_OCTETS];

// The bits of the board's switches.
const SWITCH_GENERATION: u32 = 1;
const SWITCH_PASS_ALL: u32 = 2;

/// Where the fields of `struct board` in protect.bpf.h are, and its length.
const SWITCHES: usize = 0;
pub(super) const KINDS: usize = SWITCHES + 4;
pub(super) const FLOOR: usize = KINDS + 4;
const STAMPS_SHIFT: usize = FLOOR + 4;
pub(super) const CHANGES: usize = STAMPS_SHIFT + 4;
const STATES: usize = CHANGES + 4;
pub(super) const BOARD_OCTETS: usize = STATES + 2 * SELECTORS_MAX;

/// Places for stamps, `STAMPS` of steer.bpf.c, by two's logarithm.
const STAMPS_BITS: u32 = 16;

/// How long a word holds that the program keeps in front of its cached verdicts, at the most.
const QUICK_NS: u64 = 2_600_000_000;

/// Keys of the program's hash.
const HASH_KEYS: usize = 12;

/// How long to wait for running programs where the kernel cannot be asked to wait for them.
/// A program runs for microseconds; on a virtual machine its processor can be stopped
/// meanwhile, for milliseconds. Too low: a packet may be judged by a torn mixture of two
/// generations. Too high: a reload of the selectors is slow.
const GRACE: Duration = Duration::from_millis(50);

/// The XDP program in the kernel, with its maps. Nothing meets it before it is attached
/// ([`super::Steering`]); until then it can be run on single packets
/// ([`bpf::prog_test_run`]).
pub struct Program {
    ebpf: Ebpf,
    generations: Array<MapData, Generation>,
    counters: PerCpuArray<MapData, Words>,
    sockets: XskMap<MapData>,
    board: SharedValues,
    cache: Arc<Cache>,
    /// States of the protecting selectors, by index; of others `None`.
    states: Vec<Option<State>>,
    /// Where the last look at draining selectors found the queues and the selectors.
    look: Option<Look>,
    /// Most queues that had a socket.
    queues: u32,
    /// What the board says of them.
    switches: u32,
    /// Whether the generation that is not active was so before.
    stale: bool,
}

impl Program {
    /// Loads the program with an empty list of selectors: it passes everything. There is room for
    /// one cached verdict of each kind.
    ///
    /// # Errors
    ///
    /// [`Error::Privilege`] and [`Error::Load`].
    ///
    /// # Panics
    ///
    /// When the committed object has not the maps that this file expects: it was not rebuilt.
    pub fn load() -> Result<Self, Error> {
        Self::load_with(&CacheSizes::LEAST)
    }

    /// The same, with room for so many cached verdicts.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], and where there is no memory for the verdicts.
    ///
    /// # Panics
    ///
    /// As [`Self::load`].
    pub fn load_with(sizes: &CacheSizes) -> Result<Self, Error> {
        // Each hasher of the process has another random key.
        let keys: [u64; HASH_KEYS] = std::array::from_fn(|_| RandomState::new().hash_one(0));
        let mut ebpf = EbpfLoader::new()
            .override_global("hash_keys", keys.as_slice(), true)
            .override_global("quick_shift", &quick_shift(jiffy_ns()), true)
            .map_max_entries("by_flow", sizes.flows.max(1))
            .map_max_entries("by_source", sizes.sources.max(1))
            .map_max_entries("by_prefix", sizes.prefixes.max(1))
            .load(OBJECT)
            .map_err(|error| Error::from_call(LOAD, error))?;
        let mut board = shared(&ebpf, "board", BOARD_OCTETS)?;
        board.store(STAMPS_SHIFT, STAMPS_BITS);
        let cache = Arc::new(Cache::new(&mut ebpf)?);
        let mut map = |name| ebpf.take_map(name).expect(OBJECT_KNOWN);
        let generations = Array::try_from(map("generations")).expect(OBJECT_KNOWN);
        let counters = PerCpuArray::try_from(map("counters")).expect(OBJECT_KNOWN);
        let sockets = XskMap::try_from(map("sockets")).expect(OBJECT_KNOWN);
        let mut program = Self {
            ebpf,
            generations,
            counters,
            sockets,
            board,
            cache,
            states: Vec::new(),
            look: None,
            queues: 0,
            switches: 0,
            stale: false,
        };
        program.xdp_mut().load().map_err(|error| Error::from_call(LOAD, error))?;
        Ok(program)
    }

    /// Loads another instance of the program on the same maps. The instance before stays in
    /// the kernel for as long as something is attached to it.
    ///
    /// # Errors
    ///
    /// As [`Self::load`]; then there is no instance until a later call succeeds.
    pub fn reload(&mut self) -> Result<(), Error> {
        let xdp = self.xdp_mut();
        // An error here says that it is not loaded: an earlier reload failed.
        let _ = xdp.unload();
        xdp.load().map_err(|error| Error::from_call(LOAD, error))
    }

    /// The program, for whoever attaches or runs it.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] after a failed [`Self::reload`].
    ///
    /// # Panics
    ///
    /// As [`Self::load`].
    pub fn fd(&self) -> Result<BorrowedFd<'_>, Error> {
        let program = self.ebpf.program("tidegate_steer").expect(OBJECT_KNOWN);
        let xdp: &Xdp = program.try_into().expect(OBJECT_KNOWN);
        Ok(xdp
            .fd()
            .map_err(|error| Error::from_call("taking the program's descriptor", error))?
            .as_fd())
    }

    fn xdp_mut(&mut self) -> &mut Xdp {
        let program = self.ebpf.program_mut("tidegate_steer").expect(OBJECT_KNOWN);
        program.try_into().expect(OBJECT_KNOWN)
    }

    /// Replaces all selectors at once: each packet meets the old or the new list. The index
    /// in `selectors` travels with the packets they match; the first match wins.
    ///
    /// Waits until no program reads the list that is overwritten: 7 to 20 ms, seen.
    ///
    /// # Errors
    ///
    /// [`Error::TooManySelectors`], [`Error::Selector`], [`Error::Os`]; the old list stays.
    pub fn set_selectors(&mut self, selectors: &[Selector]) -> Result<(), Error> {
        let generation = encode(selectors)?;
        if self.stale && bpf::wait_for_programs().is_err() {
            thread::sleep(GRACE);
        }
        let next = (self.switches ^ SWITCH_GENERATION) & SWITCH_GENERATION;
        let state = |selector: &Selector| selector.protection.map(|it| it.state);
        let states: Vec<Option<State>> = selectors.iter().map(state).collect();
        for (index, state) in states.iter().enumerate() {
            self.board.write(state_at(next, index), &[state.unwrap_or_default() as u8]);
        }
        self.generations
            .set(next, generation, 0)
            .map_err(|error| Error::from_call("writing the selectors", error))?;
        self.switch(self.switches ^ SWITCH_GENERATION);
        self.stale = true;
        self.states = states;
        self.look = None;
        Ok(())
    }

    /// Engages a protecting selector, drains it, or makes peace of it. Packets meet the old state or
    /// the new one; what is out stays out.
    ///
    /// Peace at once lets packets overtake those of their flow that are out; by way of
    /// [`State::Draining`] and [`Self::end_draining`] none does.
    ///
    /// # Errors
    ///
    /// [`Error::NotProtecting`].
    pub fn set_state(&mut self, selector: usize, state: State) -> Result<(), Error> {
        match self.states.get_mut(selector) {
            Some(Some(known)) => *known = state,
            _ => return Err(Error::NotProtecting { selector }),
        }
        self.board.write(state_at(self.switches & SWITCH_GENERATION, selector), &[state as u8]);
        self.look = None;
        Ok(())
    }

    /// State of each selector, by index; `None` where it protects nothing.
    pub fn states(&self) -> &[Option<State>] {
        &self.states
    }

    /// Makes peace of the draining selectors of which nothing is out any more, and returns their
    /// indices. To be called now and then while there are any: it compares with what it found the
    /// last time, so that the first call ends nothing.
    ///
    /// A selector has nothing out when all that was numbered by the last look is settled, and none
    /// of its packets was redirected since. A flow that never pauses for as long as a turn takes
    /// keeps its selector draining: its packets follow one another through the shard, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub fn end_draining(&mut self) -> Result<Vec<usize>, Error> {
        if !self.states.contains(&Some(State::Draining)) {
            return Ok(Vec::new());
        }
        // Counters first: the program numbers a packet before it counts it, so one that is not among
        // these numbers is not in these counters either, and shows as a change at the next look.
        let redirected = self.counters()?.selectors.map(|tally| tally.packets);
        let queues = shared(&self.ebpf, "queues", SHARD_OCTETS * self.queues as usize)?;
        let shards = shared(&self.ebpf, "shards", SHARD_OCTETS * self.queues as usize)?;
        let places = || (0..self.queues as usize).map(|queue| queue * SHARD_OCTETS);
        let numbered = places().map(|at| queues.load_u64(at)).collect();
        let Some(before) = self.look.replace(Look { numbered, redirected }) else {
            return Ok(Vec::new());
        };
        let settled = |(at, number): (usize, &u64)| shards.load_u64(at + 8) >= *number;
        if !places().zip(&before.numbered).all(settled) {
            self.look = Some(before);
            return Ok(Vec::new());
        }
        let quiet = |index: &usize| {
            self.states[*index] == Some(State::Draining)
                && before.redirected[*index] == redirected[*index]
        };
        let ended: Vec<usize> = (0..self.states.len()).filter(quiet).collect();
        let look = self.look.take();
        for &index in &ended {
            self.set_state(index, State::Peace)?;
        }
        self.look = look;
        Ok(ended)
    }

    /// What each selector's destination got, by index: of those that protect, zeros for others. The
    /// counts of an index go on when the list of selectors is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub fn selector_counts(&self) -> Result<Vec<PeaceCounts>, Error> {
        let peaces = self.counters()?.peaces;
        let of = |(state, counts): (&Option<State>, &PeaceCounts)| match state {
            Some(_) => *counts,
            None => PeaceCounts::default(),
        };
        Ok(self.states.iter().zip(&peaces).map(of).collect())
    }

    /// The cached verdicts.
    pub const fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The pen of the shard that serves `queue`. There is to be one at a time.
    ///
    /// # Errors
    ///
    /// [`Error::NoQueue`], [`Error::Os`].
    pub fn tidings(&self, queue: u32) -> Result<Tidings, Error> {
        let octets = SHARD_OCTETS * QUEUES_MAX as usize;
        let (shards, queues) =
            (shared(&self.ebpf, "shards", octets)?, shared(&self.ebpf, "queues", octets)?);
        Tidings::new(shards, queues, queue)
    }

    /// Closes the gate (`true`): everything passes to the kernel, whatever the selectors
    /// say. Or opens it again.
    pub fn pass_all(&mut self, closed: bool) {
        let gate = if closed { SWITCH_PASS_ALL } else { 0 };
        self.switch(self.switches & !SWITCH_PASS_ALL | gate);
    }

    fn switch(&mut self, switches: u32) {
        // All switches are in the lowest octet, so that no reader sees half a write.
        debug_assert!(switches < 256);
        self.board.store(SWITCHES, switches);
        self.switches = switches;
    }

    /// Lets selected packets of `queue` go to `socket`, an AF_XDP socket bound to it.
    ///
    /// # Errors
    ///
    /// [`Error::NoQueue`], [`Error::Os`].
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        check_queue(queue)?;
        if queue >= self.queues {
            // Stamps are shared out anew: done before the queue's first packet, and those of other
            // queues are out for as long as they are under way now.
            self.queues = queue + 1;
            let shares = self.queues.next_power_of_two().trailing_zeros();
            self.board.store(STAMPS_SHIFT, STAMPS_BITS - shares);
        }
        self.sockets
            .set(queue, socket, 0)
            .map_err(|error| Error::from_call("entering the socket in the XSKMAP", error))
    }

    /// Lets packets of `queue` pass to the kernel again. No socket there is no error: the
    /// kernel itself forgets one that was closed.
    ///
    /// # Errors
    ///
    /// [`Error::NoQueue`], [`Error::Os`].
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), Error> {
        check_queue(queue)?;
        match self.sockets.unset(queue) {
            Err(error) if errno(&error) != Some(libc::ENOENT) => {
                Err(Error::from_call("taking the socket from the XSKMAP", error))
            }
            _ => Ok(()),
        }
    }

    /// What the program counted, by processor.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub fn counters_per_cpu(&self) -> Result<Vec<Counters>, Error> {
        let values = self
            .counters
            .get(&0, 0)
            .map_err(|error| Error::from_call("reading the program's counters", error))?;
        Ok(values.iter().map(|words| Counters::of(std::iter::once(words))).collect())
    }

    /// What the program counted, on all processors.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub fn counters(&self) -> Result<Counters, Error> {
        let values = self
            .counters
            .get(&0, 0)
            .map_err(|error| Error::from_call("reading the program's counters", error))?;
        Ok(Counters::of(values.iter()))
    }
}

/// What [`Program::end_draining`] found the last time.
#[derive(Debug)]
struct Look {
    /// The last number given, by queue.
    numbered: Vec<u64>,
    /// Packets redirected, by selector.
    redirected: [u64; SELECTORS_MAX],
}

/// Length of a jiffy: the coarse clocks go on by one at a time.
fn jiffy_ns() -> u64 {
    let resolution = ClockId::CLOCK_MONOTONIC_COARSE.res().expect("Linux has it");
    u64::try_from(resolution.num_nanoseconds()).expect("a clock's tick is short")
}

/// The most jiffies that are not longer than [`QUICK_NS`], by two's logarithm.
const fn quick_shift(jiffy_ns: u64) -> u32 {
    (QUICK_NS / jiffy_ns).ilog2()
}

/// Where the state of a selector of a generation is on the board.
const fn state_at(generation: u32, selector: usize) -> usize {
    STATES + 2 * selector + generation as usize
}

/// A map that is still in the loaded object.
pub(super) fn map_fd<'a>(ebpf: &'a Ebpf, name: &str) -> BorrowedFd<'a> {
    let Some(Map::Array(map)) = ebpf.map(name) else { unreachable!("{OBJECT_KNOWN}: {name}") };
    let map: &MapData = map;
    map.fd().as_fd()
}

/// The first octets of an array of the object, mapped.
fn shared(ebpf: &Ebpf, name: &str, octets: usize) -> Result<SharedValues, Error> {
    SharedValues::of(map_fd(ebpf, name), octets)
        .map_err(|error| Error::from_call("mapping what shards and program tell each other", error))
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("switches", &self.switches).finish_non_exhaustive()
    }
}

fn check_queue(queue: u32) -> Result<(), Error> {
    if queue < QUEUES_MAX { Ok(()) } else { Err(Error::NoQueue { queue, queues: QUEUES_MAX }) }
}

fn encode(selectors: &[Selector]) -> Result<Generation, Error> {
    let count = selectors.len();
    if count > SELECTORS_MAX {
        return Err(Error::TooManySelectors { count });
    }
    let mut generation = [0; GENERATION_OCTETS];
    let (head, rest) = generation.split_at_mut(8);
    let (rest, tables) = rest.split_at_mut(SELECTORS_MAX * SELECTOR_OCTETS);
    head[0] = u8::try_from(count).expect("at most 64");
    if cfg!(target_endian = "big") {
        head[..4].reverse();
    }
    for (index, (selector, slot)) in
        selectors.iter().zip(rest.chunks_exact_mut(SELECTOR_OCTETS)).enumerate()
    {
        selector.check().map_err(|source| Error::Selector { index, source })?;
        slot.copy_from_slice(&selector.encode());
    }
    let (ipv4, ipv6) = tables.split_at_mut(TABLES_IPV4 * 256 * 8);
    write_tables(selectors, ipv4, true);
    write_tables(selectors, ipv6, false);
    Ok(generation)
}

/// For each octet of an address and each value of it: the selectors of the family that could want
/// the destination, a bit each.
fn write_tables(selectors: &[Selector], tables: &mut [u8], ipv4: bool) {
    for (index, word) in tables.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let (place, value) = (index / 256, index % 256);
        let value = u8::try_from(value).expect("below 256");
        let wants = |(_, selector): &(u32, &Selector)| {
            selector.destination.address().is_ipv4() == ipv4 && selector.may_have(place, value)
        };
        let bits = (0..).zip(selectors).filter(wants);
        *word = bits.fold(0u64, |mask, (bit, _)| mask | 1 << bit).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fragments, Protocol, RULES_MAX};
    use super::*;

    fn selector() -> Selector {
        Selector {
            destination: "198.18.0.1".parse().unwrap(),
            source: None,
            protocol: Protocol::UDP,
            destination_ports: Some(53..=53),
            fragments: Fragments::Pass,
            protection: None,
        }
    }

    #[test]
    fn a_generation_holds_the_count_and_the_selectors_in_order() {
        let second = Selector { destination: "198.18.0.2".parse().unwrap(), ..selector() };
        let generation = encode(&[selector(), second]).unwrap();
        assert_eq!(generation[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(generation[8..12], [198, 18, 0, 1]);
        assert_eq!(generation[80..84], [198, 18, 0, 2]);
        assert!(generation[152..TABLES].iter().all(|octet| *octet == 0));
        // 198 may be the first octet of both, and 1 the last of the first alone.
        let word = |table: usize, value: usize| generation[TABLES + (table * 256 + value) * 8];
        assert_eq!([word(0, 198), word(0, 199), word(3, 1), word(3, 2)], [3, 0, 1, 2]);
        let ipv6 = TABLES + TABLES_IPV4 * 256 * 8;
        assert!(generation[ipv6..].iter().all(|octet| *octet == 0));
    }

    #[test]
    fn refuses_more_than_the_program_scans_and_says_which_selector_is_wrong() {
        let refusal = encode(&vec![selector(); 65]).unwrap_err();
        assert!(matches!(refusal, Error::TooManySelectors { count: 65 }), "{refusal:?}");
        assert!(encode(&vec![selector(); 64]).is_ok());
        let icmp = Selector { protocol: Protocol::Number(1), ..selector() };
        assert_eq!(
            encode(&[selector(), icmp]).unwrap_err().to_string(),
            "selector 1: protocol 1 has no ports to select by; only 6 (TCP), 17 (UDP) and 132 \
             (SCTP) have"
        );
    }

    /// The constants both sides use, so that they cannot drift apart.
    #[test]
    fn agrees_with_the_program_on_every_constant() {
        const SOURCE: &str = include_str!("steer.bpf.c");
        let defined = |name: &str| {
            let (_, rest) = SOURCE.split_once(&format!("#define {name} ")).unwrap();
            let text = rest.split_whitespace().next().unwrap();
            match text.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).unwrap(),
                None => text.parse().unwrap(),
            }
        };
        assert_eq!(defined("SELECTORS"), 64);
        assert_eq!(SELECTORS_MAX, 64);
        assert_eq!(defined("QUEUES"), QUEUES_MAX);
        assert_eq!(defined("SWITCH_GENERATION"), SWITCH_GENERATION);
        assert_eq!(defined("SWITCH_PASS_ALL"), SWITCH_PASS_ALL);
        assert_eq!(defined("TABLES_IPV4") as usize, TABLES_IPV4);
        assert_eq!(defined("TABLES_IPV6") as usize, TABLES_IPV6);
        assert_eq!(defined("STAMPS"), 1 << STAMPS_BITS);
        assert_eq!(defined("RULES"), u32::from(RULES_MAX));
        assert_eq!(defined("MAGIC"), u32::from(crate::steer::Metadata::MAGIC));
    }
}
