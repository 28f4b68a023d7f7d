//! Steering: which packets leave the kernel, and for which service.
//!
//! ```text
//! NIC queue ──► XDP program ──PASS──► kernel stack: everything not selected
//!                  │ selectors
//!                  └──REDIRECT──► AF_XDP socket of the queue, 8 octets of metadata in front
//! ```
//!
//! The program is C (`steer.bpf.c`), its object is committed (`steer.bpf.o`, made by
//! `rebuild`), so that building needs no clang. It is attached by a bpf link, which the
//! kernel takes off when the process dies, in whatever way: from then on the stack has all
//! packets again.
//!
//! It fails open. A packet that is not selected, cannot be read, or whose queue has no
//! socket passes to the kernel, and one counter per reason says so:
//!
//! ```text
//! received = redirected + pass_gate_closed + pass_not_ip + pass_no_selector + ...
//! ```
//!
//! What happens behind the redirection (socket full, no fill entry) the socket's own
//! statistics tell.
//!
//! Which queue a packet comes to is the card's business; [`hardware`] tells it, where it is asked to.
//!
//! What it refuses to do: replace somebody else's program, or attach in a way that would
//! outlive the process.
//!
//! An IP fragment behind the first carries no ports. See [`Fragments`] for who gets it.
//! A VLAN tag that the NIC has stripped is invisible here, and the packet looks untagged.

mod cache;
mod counters;
mod error;
mod facts;
pub mod hardware;
mod metadata;
pub(crate) mod privilege;
mod program;
mod selector;
mod tidings;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

pub use cache::{Cache, CacheSizes, Cached, Epoch, Flow, Promotion, RULES_MAX, Whose};
pub use counters::{Counters, OUTCOME_COUNT, OUTCOMES, Outcome, PeaceCounts, Tally};
pub use error::Error;
pub use metadata::Metadata;
pub use program::{Program, QUEUES_MAX};
pub use selector::{
    Fragments, Prefix, PrefixError, Protection, Protocol, SELECTORS_MAX, Selector, SelectorError,
    Stalled, State,
};
pub use tidings::{BEAT_NS, Tidings};

use crate::sys::bpf::{self, LinkMode};

/// Where the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver if it can, else in the stack.
    #[default]
    Auto,
    /// In the driver, before the kernel has made a packet buffer of its own.
    Native,
    /// In the stack: any driver, slower. Reinjected packets would meet the program again.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// What to steer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the interface, in this thread's network namespace.
    pub interface: Box<str>,
    /// Where the program shall run.
    pub xdp: XdpMode,
    /// First match wins; the index travels with the packet.
    pub selectors: Vec<Selector>,
}

/// A program on an interface. Dropping it, or the death of the process, takes it off.
///
/// Its methods are for the control path and may be called from any thread: one lock, which
/// no packet ever waits for.
#[derive(Debug)]
pub struct Steering {
    interface: Box<str>,
    obtained: XdpMode,
    link: OwnedFd,
    program: Mutex<Program>,
    cache: Arc<Cache>,
}

impl Steering {
    /// Loads the program and attaches it. Nothing is redirected before [`Self::set_socket`]. Where a
    /// selector protects there is room for the usual number of cached verdicts.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but [`Error::NoQueue`]. Nothing is left behind.
    pub fn attach(options: &Options) -> Result<Self, Error> {
        let protects = options.selectors.iter().any(|selector| selector.protection.is_some());
        let sizes = if protects { CacheSizes::default() } else { CacheSizes::LEAST };
        Self::attach_with(options, &sizes)
    }

    /// The same, with room for so many cached verdicts.
    ///
    /// # Errors
    ///
    /// As [`Self::attach`].
    pub fn attach_with(options: &Options, sizes: &CacheSizes) -> Result<Self, Error> {
        let interface = &*options.interface;
        let ifindex = facts::ifindex(interface)?;
        let mut program = Program::load_with(sizes)?;
        program.set_selectors(&options.selectors)?;
        let (link, obtained) = link(program.fd()?, interface, ifindex, options.xdp)?;
        tracing::info!(interface, xdp = %obtained, "XDP program attached");
        let interface = options.interface.clone();
        let cache = Arc::clone(program.cache());
        Ok(Self { interface, obtained, link, program: Mutex::new(program), cache })
    }

    /// Where the program runs: native or generic.
    pub const fn obtained(&self) -> XdpMode {
        self.obtained
    }

    /// The interface's name.
    pub const fn interface(&self) -> &str {
        &self.interface
    }

    /// As [`Program::set_socket`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        self.program().set_socket(queue, socket)
    }

    /// As [`Program::clear_socket`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn clear_socket(&self, queue: u32) -> Result<(), Error> {
        self.program().clear_socket(queue)
    }

    /// As [`Program::set_selectors`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_selectors(&self, selectors: &[Selector]) -> Result<(), Error> {
        self.program().set_selectors(selectors)
    }

    /// As [`Program::pass_all`].
    pub fn pass_all(&self, closed: bool) {
        self.program().pass_all(closed);
    }

    /// As [`Program::counters`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.program().counters()
    }

    /// As [`Program::counters_per_cpu`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn counters_per_cpu(&self) -> Result<Vec<Counters>, Error> {
        self.program().counters_per_cpu()
    }

    /// As [`Program::set_state`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_state(&self, selector: usize, state: State) -> Result<(), Error> {
        self.program().set_state(selector, state)
    }

    /// As [`Program::states`].
    pub fn states(&self) -> Vec<Option<State>> {
        self.program().states().to_vec()
    }

    /// As [`Program::end_draining`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn end_draining(&self) -> Result<Vec<usize>, Error> {
        self.program().end_draining()
    }

    /// As [`Program::selector_counts`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn selector_counts(&self) -> Result<Vec<PeaceCounts>, Error> {
        self.program().selector_counts()
    }

    /// As [`Program::tidings`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn tidings(&self, queue: u32) -> Result<Tidings, Error> {
        self.program().tidings(queue)
    }

    /// The cached verdicts. It has a lock of its own, which is held for one system call: shards use
    /// it too, while another thread waits for the program.
    pub const fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Enters a verdict, as [`Cache::promote`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn promote(&self, promotion: &Promotion) -> Result<(), Error> {
        self.cache.promote(promotion)
    }

    /// Takes a verdict out, as [`Cache::forget`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn forget(&self, scope: u8, whose: &Whose) -> Result<bool, Error> {
        self.cache.forget(scope, whose)
    }

    /// What verdicts decided on by rule, as [`Cache::hits`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn cache_hits(&self) -> Result<Vec<(u16, Tally)>, Error> {
        self.cache.hits()
    }

    /// Puts a fresh instance of the program in place of the attached one, atomically. Maps
    /// stay: sockets, selectors, counters.
    ///
    /// # Errors
    ///
    /// [`Error::Load`], [`Error::Os`]; then the instance before goes on.
    pub fn replace(&self) -> Result<(), Error> {
        let mut program = self.program();
        program.reload()?;
        bpf::update_link(self.link.as_fd(), program.fd()?)
            .map_err(|error| Error::from_call("bpf(BPF_LINK_UPDATE)", error))
    }

    fn program(&self) -> MutexGuard<'_, Program> {
        // Nothing here panics half way through a change that the next caller relies on.
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Attaches by a link, native before generic.
fn link(
    program: BorrowedFd<'_>,
    interface: &str,
    ifindex: u32,
    wanted: XdpMode,
) -> Result<(OwnedFd, XdpMode), Error> {
    if wanted != XdpMode::Generic {
        match bpf::link_xdp(program, ifindex, LinkMode::Native) {
            Ok(link) => return Ok((link, XdpMode::Native)),
            Err(error) => match refusal(interface, error) {
                Refused::ByDriver(source) if wanted == XdpMode::Auto => {
                    let reason = error::native_refusal(interface, &source);
                    tracing::warn!(interface, reason, "XDP falls back to generic mode");
                }
                Refused::ByDriver(source) => {
                    return Err(Error::NoNative { interface: interface.into(), source });
                }
                Refused::Final(error) => return Err(error),
            },
        }
    }
    match bpf::link_xdp(program, ifindex, LinkMode::Generic) {
        Ok(link) => Ok((link, XdpMode::Generic)),
        Err(error) => Err(match refusal(interface, error) {
            Refused::Final(error) => error,
            // The stack runs XDP on every interface; only the link can be the trouble.
            Refused::ByDriver(source) if source.raw_os_error() == Some(libc::EINVAL) => {
                Error::NoLink { interface: interface.into() }
            }
            Refused::ByDriver(source) => Error::from_call("bpf(BPF_LINK_CREATE)", source),
        }),
    }
}

/// Whether another mode may succeed.
enum Refused {
    ByDriver(io::Error),
    Final(Error),
}

fn refusal(interface: &str, error: io::Error) -> Refused {
    match error.raw_os_error() {
        // EEXIST: a program in the other mode.
        Some(libc::EBUSY | libc::EEXIST) => Refused::Final(facts::occupied(interface)),
        Some(libc::ENODEV) => Refused::Final(Error::NoInterface { interface: interface.into() }),
        Some(libc::EPERM) => Refused::Final(Error::from_call("attaching the XDP program", error)),
        _ => Refused::ByDriver(error),
    }
}
