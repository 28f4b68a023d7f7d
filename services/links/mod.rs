//! The links of a config: their carriers awaited at the start, told of while tidegate runs.
//!
//! ```text
//!   Links::open ─► programs attached, ports bound ─► Links::settle ─► services ─► Links::follow
//!   as they are     some drivers reset the link        bounded                      until the end
//! ```
//!
//! Whatever happens to a link, tidegate goes on: sockets outlive an outage, and what they lose
//! meanwhile the kernel counts. Here it is only seen and said. A link that has no carrier when its
//! time is up stops no start; the services on it begin, and pick up when it comes.

mod link;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tidegate_config::Config;
use tidegate_dataplane::driver::Driver;
use tidegate_dataplane::sys::netlink::{Change, Error, Netlink, Watch};
use tidegate_runtime::plan::Beginning;
use tracing::{error, info, warn};

use link::{Followed, News, State};

/// How long a start waits for carriers.
///
/// Gigabit copper negotiates for 2 to 4 s; an igb of an emulator is back after 2 s. Lower and
/// services begin on a link that is not there yet, higher and a driver that resets its link without
/// a cable in it makes every start wait so long.
const CARRIER_NS_MAX: u64 = 8_000_000_000;

/// The links of a config.
#[derive(Debug)]
pub(crate) struct Links {
    // First, so that nothing is missed between a question and the first change that is told.
    watch: Watch,
    netlink: Netlink,
    links: Vec<Followed>,
    /// When the waiting ends, once it has begun.
    deadline_ns: Option<u64>,
}

impl Links {
    /// Looks at the config's links before anything is done to them. One that is not there is left
    /// to whoever attaches to it, and has the better words for it.
    ///
    /// # Errors
    ///
    /// Where the kernel gives no netlink socket.
    pub(crate) fn open(config: &Config, now_ns: u64) -> Result<Self, Error> {
        let (watch, mut netlink) = (Watch::open()?, Netlink::open()?);
        let found = |name: &str| {
            let link = netlink.link(name).ok()?;
            Some(Followed::new(&link, Driver::of(name), now_ns))
        };
        let names = config.interfaces.iter().map(|interface| interface.name.as_str());
        let links = names.filter_map(found).collect();
        Ok(Self { watch, netlink, links, deadline_ns: None })
    }

    /// Waits, at most about `patience`, for the carriers that attaching and binding took away, and
    /// says whether there is one left to wait for.
    pub(crate) fn settle(&mut self, patience: Duration, now_ns: u64) -> Beginning {
        let Some(deadline_ns) = self.deadline_ns else {
            self.deadline_ns = Some(now_ns + CARRIER_NS_MAX);
            // How they are counts, not how they came to be so.
            while matches!(self.watch.next(Duration::ZERO), Ok(Some(_))) {}
            self.ask_anew(now_ns);
            for link in self.links.iter().filter(|link| link.is_awaited()) {
                info!(interface = &*link.name, "waits for the carrier");
            }
            return self.beginning();
        };
        if now_ns >= deadline_ns {
            return Beginning::Now;
        }
        match self.watch.next(patience) {
            Ok(None) => {}
            Ok(Some(change)) => self.take(&change, now_ns),
            Err(error) => {
                warn!(%error, "links are not waited for");
                return Beginning::Now;
            }
        }
        self.beginning()
    }

    fn beginning(&self) -> Beginning {
        let awaited = self.links.iter().any(Followed::is_awaited);
        if awaited { Beginning::Later } else { Beginning::Now }
    }

    /// Says which links are not there, and goes on telling of all of them on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system gives no thread or no eventfd.
    pub(crate) fn follow(mut self, now_ns: fn() -> u64) -> std::io::Result<Following> {
        for link in self.links.iter().filter(|link| link.state() != State::Running) {
            let (interface, for_ms) = (&*link.name, link.for_ns(now_ns()) / 1_000_000);
            match link.state() {
                State::Off => warn!(
                    interface,
                    "begins though the interface is switched off: `ip link set dev {interface} up`"
                ),
                _ => warn!(interface, for_ms, "begins without a carrier, and works when it comes"),
            }
        }
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let told_to_stop = Arc::clone(&stop);
        let work = move || {
            if let Err(error) = self.tell(&told_to_stop, now_ns) {
                warn!(%error, "changes of links are not told any more");
            }
        };
        let thread = thread::Builder::new().name("links".into()).spawn(work)?;
        Ok(Following { stop, thread: Some(thread) })
    }

    /// Tells of every change until told to stop.
    fn tell(&mut self, stop: &EventFd, now_ns: fn() -> u64) -> std::io::Result<()> {
        loop {
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [readable(self.watch.as_fd()), readable(stop.as_fd())];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if fds[1].any() == Some(true) {
                return Ok(());
            }
            while let Some(change) = self.watch.next(Duration::ZERO)? {
                self.take(&change, now_ns());
            }
        }
    }

    fn take(&mut self, change: &Change, now_ns: u64) {
        if *change == Change::Missed {
            return self.ask_anew(now_ns);
        }
        for link in &mut self.links {
            if let Some(news) = link.see(change, now_ns) {
                say(&link.name, &news);
            }
        }
    }

    /// What was told and not read may be older than the answers, which then tell it again.
    fn ask_anew(&mut self, now_ns: u64) {
        for link in &mut self.links {
            let change = match self.netlink.link_by_index(link.index) {
                Ok(found) => Change::Now(found),
                Err(_) => Change::Gone { index: link.index, name: link.name.clone() },
            };
            if let Some(news) = link.see(&change, now_ns) {
                say(&link.name, &news);
            }
        }
    }
}

fn say(interface: &str, news: &News) {
    match news {
        News::Runs { after_ns } => info!(interface, after_ms = after_ns / 1_000_000, "{news}"),
        News::Stopped(State::Gone) => error!(interface, "{news}"),
        News::Stopped(_) | News::Another => warn!(interface, "{news}"),
    }
}

/// Links that are told of. Dropped, they are not any more.
#[derive(Debug)]
pub(crate) struct Following {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // It fails only for a counter that is full, which then is readable as well.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic was reported by its hook, and nothing depends on this thread.
            let _ = thread.join();
        }
    }
}
