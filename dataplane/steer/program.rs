//! The loaded program and its maps, attached to nothing.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;

use super::counters::{Counters, Words};
use super::error::{Error, LOAD};
use super::privilege::errno;
use super::selector::{SELECTOR_OCTETS, SELECTORS_MAX, Selector};
use crate::sys::bpf;

/// The object that `rebuild` makes from steer.bpf.c.
static OBJECT: &[u8] = aya::include_bytes_aligned!("steer.bpf.o");

/// Why looking things up in [`OBJECT`] cannot fail.
const OBJECT_KNOWN: &str = "the committed object has the maps and the program of its source";

/// Most receive queues with a socket, as in steer.bpf.c.
pub const QUEUES_MAX: u32 = 1024;

/// `struct generation` of steer.bpf.c.
const GENERATION_OCTETS: usize = 8 + SELECTORS_MAX * SELECTOR_OCTETS;
type Generation = [u8; GENERATION_OCTETS];

// The bits of the `config` map.
const CONFIG_GENERATION: u32 = 1;
const CONFIG_PASS_ALL: u32 = 2;

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
    config: Array<MapData, u32>,
    generations: Array<MapData, Generation>,
    counters: PerCpuArray<MapData, Words>,
    sockets: XskMap<MapData>,
    /// What `config` says.
    switches: u32,
    /// Whether the generation that is not active was so before.
    stale: bool,
}

impl Program {
    /// Loads the program with an empty list of selectors: it passes everything.
    ///
    /// # Errors
    ///
    /// [`Error::Privilege`] and [`Error::Load`].
    ///
    /// # Panics
    ///
    /// When the committed object has not the maps that this file expects: it was not rebuilt.
    pub fn load() -> Result<Self, Error> {
        let mut ebpf = Ebpf::load(OBJECT).map_err(|error| Error::from_call(LOAD, error))?;
        let mut map = |name| ebpf.take_map(name).expect(OBJECT_KNOWN);
        let config = Array::try_from(map("config")).expect(OBJECT_KNOWN);
        let generations = Array::try_from(map("generations")).expect(OBJECT_KNOWN);
        let counters = PerCpuArray::try_from(map("counters")).expect(OBJECT_KNOWN);
        let sockets = XskMap::try_from(map("sockets")).expect(OBJECT_KNOWN);
        let mut program =
            Self { ebpf, config, generations, counters, sockets, switches: 0, stale: false };
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
        let next = (self.switches ^ CONFIG_GENERATION) & CONFIG_GENERATION;
        self.generations
            .set(next, generation, 0)
            .map_err(|error| Error::from_call("writing the selectors", error))?;
        self.switch(self.switches ^ CONFIG_GENERATION)?;
        self.stale = true;
        Ok(())
    }

    /// Closes the gate (`true`): everything passes to the kernel, whatever the selectors
    /// say. Or opens it again.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub fn pass_all(&mut self, closed: bool) -> Result<(), Error> {
        let gate = if closed { CONFIG_PASS_ALL } else { 0 };
        self.switch(self.switches & !CONFIG_PASS_ALL | gate)
    }

    fn switch(&mut self, switches: u32) -> Result<(), Error> {
        // All switches are in the lowest octet, so that no reader sees half a write.
        debug_assert!(switches < 256);
        self.config
            .set(0, switches, 0)
            .map_err(|error| Error::from_call("writing the program's switches", error))?;
        self.switches = switches;
        Ok(())
    }

    /// Lets selected packets of `queue` go to `socket`, an AF_XDP socket bound to it.
    ///
    /// # Errors
    ///
    /// [`Error::NoQueue`], [`Error::Os`].
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        check_queue(queue)?;
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
        let counted = |words: &Words| {
            let mut counters = Counters::default();
            counters.add(words);
            counters
        };
        Ok(values.iter().map(counted).collect())
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
        let mut counters = Counters::default();
        values.iter().for_each(|words| counters.add(words));
        Ok(counters)
    }
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
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use super::super::{Fragments, Protocol};
    use super::*;

    fn selector() -> Selector {
        Selector {
            destination: "198.18.0.1".parse().unwrap(),
            source: None,
            protocol: Protocol::UDP,
            destination_ports: Some(53..=53),
            fragments: Fragments::Pass,
        }
    }

    #[test]
    fn a_generation_holds_the_count_and_the_selectors_in_order() {
        let second = Selector { destination: "198.18.0.2".parse().unwrap(), ..selector() };
        let generation = encode(&[selector(), second]).unwrap();
        assert_eq!(generation[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(generation[8..12], [198, 18, 0, 1]);
        assert_eq!(generation[80..84], [198, 18, 0, 2]);
        assert!(generation[152..].iter().all(|octet| *octet == 0));
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
        assert_eq!(defined("CONFIG_GENERATION"), CONFIG_GENERATION);
        assert_eq!(defined("CONFIG_PASS_ALL"), CONFIG_PASS_ALL);
        assert_eq!(defined("MAGIC"), u32::from(crate::steer::Metadata::MAGIC));
    }
}
