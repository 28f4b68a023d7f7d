//! Network namespaces that nobody has to remove.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{fs, io, panic};

use nix::sched::{CloneFlags, setns, unshare};
use tidegate_dataplane::sys::netlink::Netlink;

use super::LabError;

/// The settings that keep a lab quiet. A packet that nobody sent would stand in
/// counters that have to be exact.
///
/// No duplicate detection, no router solicitation, no link-local address: each
/// sends packets of its own when a link comes up. What then remains, the report
/// of a group for each address, a [`super::Wire`] avoids.
const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/all/router_solicitations", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    // So that an end that was switched off and on again is the same as before.
    ("net/ipv6/conf/all/keep_addr_on_down", "1"),
    ("net/ipv6/conf/default/keep_addr_on_down", "1"),
    // Strict filtering is for the test that asks for it; some distributions set it for all.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// A network namespace without a name.
///
/// Holding one keeps it alive; so do the threads, processes and sockets inside.
/// When the last of them is gone, by whatever end, the kernel removes it with
/// its links. A clone is the same namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a namespace with nothing in it but a loopback interface that is up.
    ///
    /// # Errors
    ///
    /// Without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, or past
    /// `user.max_net_namespaces`.
    pub fn new() -> Result<Self, LabError> {
        let born = thread::scope(|scope| {
            let thread = thread::Builder::new().name("lab-birth".into());
            let birth = thread
                .spawn_scoped(scope, Self::leave_for_a_new_one)
                .map_err(|source| LabError::os("start a thread", source))?;
            birth.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })?;
        born.run(|| {
            let mut netlink = Netlink::open()?;
            let lo = netlink.link("lo")?;
            netlink.set_up(lo.index)?;
            Ok::<_, LabError>(())
        })??;
        for (setting, value) in SETTINGS {
            match born.set(setting, value) {
                // A kernel without IPv6 has none of its settings, and is quiet.
                Err(LabError::Os { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(born)
    }

    /// What the thread that makes the namespace does. The namespace outlives
    /// the thread by the descriptor.
    fn leave_for_a_new_one() -> Result<Self, LabError> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| LabError::os("make a network namespace", errno))?;
        let file = fs::File::open("/proc/thread-self/ns/net")
            .map_err(|source| LabError::os("open /proc/thread-self/ns/net", source))?;
        Ok(Self { descriptor: Arc::new(file.into()) })
    }

    /// Runs `work` on a thread inside the namespace and waits for its value.
    /// Sockets opened there stay there, wherever they are used afterwards. A
    /// panic in `work` goes on here.
    ///
    /// # Errors
    ///
    /// Where no thread can be had or it may not enter.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("lab".into());
            let inside = thread
                .spawn_scoped(scope, || {
                    setns(self.descriptor.as_fd(), CloneFlags::CLONE_NEWNET)
                        .map_err(|errno| LabError::os("enter a network namespace", errno))?;
                    Ok(work())
                })
                .map_err(|source| LabError::os("start a thread", source))?;
            inside.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }

    /// Starts a thread called `name` inside the namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, LabError> {
        // clone(2): a new thread is in the namespaces of the one that starts it.
        self.run(|| thread::Builder::new().name(name.into()).spawn(work))?
            .map_err(|source| LabError::os("start a thread", source))
    }

    /// Starts a process inside the namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], and where the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, LabError> {
        // fork(2): as with threads, so nothing has to run between fork and exec.
        let what = format!("start {}", command.get_program().display());
        self.run(|| command.spawn())?.map_err(|source| LabError::os(what, source))
    }

    /// Sets `/proc/sys/{setting}` in this namespace.
    ///
    /// # Errors
    ///
    /// `NotFound` where the kernel has no such setting, `ReadOnlyFilesystem` in
    /// a container that does not let its settings be changed.
    pub fn set(&self, setting: &str, value: &str) -> Result<(), LabError> {
        // The files show the namespace of the thread that opens them.
        let path = format!("/proc/sys/{setting}");
        self.run(|| fs::write(&path, value))?
            .map_err(|source| LabError::os(format!("set {path} to {value}"), source))
    }

    /// A line to the kernel about this namespace's links.
    ///
    /// # Errors
    ///
    /// As [`Self::run`] and [`Netlink::open`].
    pub fn netlink(&self) -> Result<Netlink, LabError> {
        Ok(self.run(Netlink::open)??)
    }

    /// The kernel's number for the namespace, as in `/proc/PID/ns/net`.
    ///
    /// # Errors
    ///
    /// Where the kernel does not tell.
    pub fn number(&self) -> Result<u64, LabError> {
        let status = nix::sys::stat::fstat(&*self.descriptor)
            .map_err(|errno| LabError::os("look at a network namespace", errno))?;
        Ok(status.st_ino)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
