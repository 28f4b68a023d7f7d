//! What can go wrong while an injector is made.

use std::{error, fmt, io};

use crate::steer::privilege;

/// The answer of a library or of the kernel.
type Source = Box<dyn error::Error + Send + Sync>;

/// Why there is no injector.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No interface of that name in this network namespace.
    NoInterface {
        /// The name as configured.
        interface: Box<str>,
    },
    /// XDP runs in the stack on that interface, where injected packets would meet it again.
    Generic {
        /// The interface's name.
        interface: Box<str>,
    },
    /// The process may not do this.
    Privilege {
        /// What was tried.
        call: &'static str,
        /// Capabilities needed for it that the process has not.
        missing: Box<[&'static str]>,
    },
    /// The kernel has no TAP devices, or hides them.
    NoTun {
        /// Its answer.
        source: io::Error,
    },
    /// One of the steps failed.
    Step {
        /// Which one.
        call: &'static str,
        /// The answer.
        source: Source,
    },
    /// No way into the stack is open.
    NoTier {
        /// Why not by live frames.
        live: Box<Error>,
        /// Why not by a TAP device.
        tap: Box<Error>,
    },
}

impl Error {
    pub(super) fn step(call: &'static str, source: impl Into<Source>) -> Self {
        let source = source.into();
        let missing = privilege::missing();
        match privilege::errno(&*source) {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege { call, missing },
            _ => Self::Step { call, source },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface { interface } => {
                write!(f, "no interface {interface:?} in this network namespace")
            }
            Self::Generic { interface } => write!(
                f,
                "XDP runs in generic mode on {interface}, so packets put back would meet it again; \
                 use an interface whose driver runs XDP (mode native), or services that put \
                 nothing back",
            ),
            Self::Privilege { call, missing } => privilege::explain(f, call, missing),
            Self::NoTun { source } => write!(
                f,
                "no TAP device ({source}); `modprobe tun`, or give the container /dev/net/tun",
            ),
            Self::Step { call, source } => write!(f, "{call} failed: {source}"),
            Self::NoTier { live, tap } => write!(
                f,
                "no way back into the kernel stack. By live frames: {live}. By a TAP device: {tap}",
            ),
        }
    }
}

// `Display` tells the whole chain: these errors are logged as reasons, in one line.
impl error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    /// Messages are part of the interface: operators search for them.
    #[test]
    fn says_what_was_asked_and_what_to_do() {
        assert_eq!(
            Error::NoInterface { interface: "eth9".into() }.to_string(),
            "no interface \"eth9\" in this network namespace"
        );
        assert_eq!(
            Error::Generic { interface: "va".into() }.to_string(),
            "XDP runs in generic mode on va, so packets put back would meet it again; use an \
             interface whose driver runs XDP (mode native), or services that put nothing back"
        );
        let tap = Error::NoTun { source: os(libc::ENOENT) };
        assert_eq!(
            tap.to_string(),
            "no TAP device (No such file or directory (os error 2)); `modprobe tun`, or give the \
             container /dev/net/tun"
        );
        let live = Error::step("running a live frame", os(libc::EINVAL));
        assert_eq!(live.to_string(), "running a live frame failed: Invalid argument (os error 22)");
        let neither = Error::NoTier { live: live.into(), tap: tap.into() };
        assert_eq!(
            neither.to_string(),
            "no way back into the kernel stack. By live frames: running a live frame failed: \
             Invalid argument (os error 22). By a TAP device: no TAP device (No such file or \
             directory (os error 2)); `modprobe tun`, or give the container /dev/net/tun"
        );
        let refused = Error::step("running a live frame", os(libc::EPERM));
        assert!(matches!(refused, Error::Privilege { .. }), "{refused:?}");
    }
}
