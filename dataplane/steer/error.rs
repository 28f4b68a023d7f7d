//! What can go wrong while packets are steered away from the kernel.

use std::net::SocketAddr;
use std::{error, fmt, io};

use super::selector::SelectorError;
use super::{RULES_MAX, SELECTORS_MAX, privilege};

/// Why steering could not be set up or changed. What was in force before still is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No interface of that name in this network namespace.
    NoInterface {
        /// The name as configured.
        interface: Box<str>,
    },
    /// Another program is on the interface. It was left alone.
    Occupied {
        /// The interface's name.
        interface: Box<str>,
        /// The kernel's number for that program, where it could be learnt.
        prog_id: Option<u32>,
        /// That program's name, where it could be learnt.
        prog_name: Option<Box<str>>,
    },
    /// The interface cannot run the program in the driver, and that was asked for.
    NoNative {
        /// The interface's name.
        interface: Box<str>,
        /// The driver's answer.
        source: io::Error,
    },
    /// The kernel has no links for XDP programs, so a program would outlive the process.
    NoLink {
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
    /// The kernel would not take the program.
    Load {
        /// The kernel's or the verifier's answer.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// More selectors than the program scans.
    TooManySelectors {
        /// How many there were.
        count: usize,
    },
    /// A selector that can match nothing.
    Selector {
        /// Its place in the list, counting from 0.
        index: usize,
        /// What is wrong with it.
        source: SelectorError,
    },
    /// A queue beyond those the program can serve.
    NoQueue {
        /// Queue asked for, counting from 0.
        queue: u32,
        /// Number of queues the program can serve.
        queues: u32,
    },
    /// A state for a selector that protects nothing, or that there is not.
    NotProtecting {
        /// Its place in the list, counting from 0.
        selector: usize,
    },
    /// A verdict of a rule beyond those whose hits are counted.
    NoRule {
        /// The rule's number.
        rule: u16,
    },
    /// A flow between addresses of different families.
    FlowFamilies {
        /// Its source.
        source: SocketAddr,
        /// Its destination.
        destination: SocketAddr,
    },
    /// The table of cached prefixes is full.
    CacheFull,
    /// A system call failed.
    Os {
        /// The call with its distinguishing argument.
        call: &'static str,
        /// The kernel's answer.
        source: Box<dyn error::Error + Send + Sync>,
    },
}

impl Error {
    /// Sorts a failed call: what only privilege mends is told apart.
    pub(crate) fn from_call(
        call: &'static str,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let missing = privilege::missing();
        match privilege::errno(&*source) {
            Some(libc::EPERM) => Self::Privilege { call, missing },
            // Here it is the verifier that refuses, with another number.
            _ if call == LOAD && missing.contains(&"CAP_PERFMON") => {
                Self::Privilege { call, missing }
            }
            _ if call == LOAD => Self::Load { source },
            _ => Self::Os { call, source },
        }
    }
}

/// The call whose failures are [`Error::Load`].
pub(super) const LOAD: &str = "loading the XDP program";

/// Why a driver refuses to run the program, and what to do about it.
pub(super) fn native_refusal(interface: &str, source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(libc::EOPNOTSUPP) => format!("the driver of {interface} runs no XDP programs"),
        // veth_xdp_set of drivers/net/veth.c.
        Some(libc::ENOSPC) => format!(
            "{interface} has fewer receive queues than its veth peer has transmit queues; make \
             the pair with equal `numrxqueues` and `numtxqueues`, or lower the peer's with \
             `ethtool -L <peer> tx 1`",
        ),
        Some(libc::ERANGE) => format!(
            "the MTU of {interface}'s veth peer does not fit a page; lower it with \
             `ip link set <peer> mtu 3000`",
        ),
        _ => format!("the driver of {interface} refuses the program ({source})"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface { interface } => {
                write!(
                    f,
                    "no interface {interface:?} in this network namespace; `ip link` lists them",
                )
            }
            Self::Occupied { interface, prog_id, prog_name } => {
                write!(f, "{interface} already runs an XDP program")?;
                if let Some(name) = prog_name {
                    write!(f, " {name:?}")?;
                }
                if let Some(id) = prog_id {
                    write!(f, " (id {id})")?;
                }
                write!(
                    f,
                    ", which was left alone; stop its owner, or detach it with \
                     `ip link set dev {interface} xdp off` (one that a link holds: \
                     `bpftool link detach id <link>` from `bpftool link`)",
                )
            }
            Self::NoNative { interface, source } => write!(
                f,
                "{}; or let the program run in the stack (XDP mode auto or generic)",
                native_refusal(interface, source),
            ),
            Self::NoLink { interface } => write!(
                f,
                "the kernel made no XDP link on {interface}; without one the program would stay \
                 after this process dies; Linux 5.18 or newer is needed",
            ),
            Self::Privilege { call, missing } => privilege::explain(f, call, missing),
            Self::Load { .. } => {
                f.write_str("the kernel refused the XDP program; Linux 5.18 or newer is needed")
            }
            Self::TooManySelectors { count } => write!(
                f,
                "{count} selectors on one interface, at most {SELECTORS_MAX} are possible; join \
                 prefixes or port ranges",
            ),
            Self::Selector { index, source } => write!(f, "selector {index}: {source}"),
            Self::NoQueue { queue, queues } => {
                write!(
                    f,
                    "queue {queue} was asked for, the program serves queues 0 to {}",
                    queues - 1
                )
            }
            Self::NotProtecting { selector } => {
                write!(
                    f,
                    "selector {selector} protects nothing, so it cannot be engaged or drained"
                )
            }
            Self::NoRule { rule } => write!(
                f,
                "verdicts of rule {rule} cannot be cached: those of rules 0 to {} can",
                RULES_MAX - 1
            ),
            Self::FlowFamilies { source, destination } => {
                write!(f, "no flow goes from {source} to {destination}: their families differ")
            }
            Self::CacheFull => f.write_str(
                "the table of cached prefixes is full; forget some, or join them to shorter ones",
            ),
            Self::Os { call, .. } => write!(f, "{call} failed"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Load { source } | Self::Os { source, .. } => Some(&**source),
            // The others say their source in their own words.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    fn no_native(errno: i32) -> String {
        Error::NoNative { interface: "va".into(), source: os(errno) }.to_string()
    }

    /// Messages are part of the interface: operators search for them.
    #[test]
    fn says_what_was_asked_and_what_to_do() {
        assert_eq!(
            Error::NoInterface { interface: "eth9".into() }.to_string(),
            "no interface \"eth9\" in this network namespace; `ip link` lists them"
        );
        assert_eq!(
            Error::Occupied {
                interface: "va".into(),
                prog_id: Some(7),
                prog_name: Some("xdp_pass".into()),
            }
            .to_string(),
            "va already runs an XDP program \"xdp_pass\" (id 7), which was left alone; stop its \
             owner, or detach it with `ip link set dev va xdp off` (one that a link holds: \
             `bpftool link detach id <link>` from `bpftool link`)"
        );
        assert_eq!(
            Error::NoLink { interface: "va".into() }.to_string(),
            "the kernel made no XDP link on va; without one the program would stay after this \
             process dies; Linux 5.18 or newer is needed"
        );
        assert_eq!(
            Error::TooManySelectors { count: 65 }.to_string(),
            "65 selectors on one interface, at most 64 are possible; join prefixes or port ranges"
        );
        assert_eq!(
            Error::NoQueue { queue: 1024, queues: 1024 }.to_string(),
            "queue 1024 was asked for, the program serves queues 0 to 1023"
        );
        assert_eq!(
            Error::Load { source: os(libc::EINVAL).into() }.to_string(),
            "the kernel refused the XDP program; Linux 5.18 or newer is needed"
        );
        assert_eq!(
            Error::NotProtecting { selector: 3 }.to_string(),
            "selector 3 protects nothing, so it cannot be engaged or drained"
        );
        assert_eq!(
            Error::NoRule { rule: 16_384 }.to_string(),
            "verdicts of rule 16384 cannot be cached: those of rules 0 to 16383 can"
        );
        let source = "198.18.0.1:53".parse().unwrap();
        let destination = "[2001:db8::1]:53".parse().unwrap();
        assert_eq!(
            Error::FlowFamilies { source, destination }.to_string(),
            "no flow goes from 198.18.0.1:53 to [2001:db8::1]:53: their families differ"
        );
        assert_eq!(
            Error::CacheFull.to_string(),
            "the table of cached prefixes is full; forget some, or join them to shorter ones"
        );
        assert_eq!(
            Error::Os { call: "bpf(BPF_LINK_UPDATE)", source: os(libc::ENOLINK).into() }
                .to_string(),
            "bpf(BPF_LINK_UPDATE) failed"
        );
    }

    #[test]
    fn explains_each_way_in_which_a_driver_refuses() {
        assert_eq!(
            no_native(libc::EOPNOTSUPP),
            "the driver of va runs no XDP programs; or let the program run in the stack (XDP mode \
             auto or generic)"
        );
        assert_eq!(
            no_native(libc::ENOSPC),
            "va has fewer receive queues than its veth peer has transmit queues; make the pair \
             with equal `numrxqueues` and `numtxqueues`, or lower the peer's with `ethtool -L \
             <peer> tx 1`; or let the program run in the stack (XDP mode auto or generic)"
        );
        assert_eq!(
            no_native(libc::ERANGE),
            "the MTU of va's veth peer does not fit a page; lower it with `ip link set <peer> mtu \
             3000`; or let the program run in the stack (XDP mode auto or generic)"
        );
        assert_eq!(
            no_native(libc::EBUSY),
            "the driver of va refuses the program (Device or resource busy (os error 16)); or let \
             the program run in the stack (XDP mode auto or generic)"
        );
    }

    #[test]
    fn tells_missing_privilege_from_other_failures() {
        let refusal = Error::from_call(LOAD, os(libc::EPERM));
        assert!(matches!(refusal, Error::Privilege { call: LOAD, .. }), "{refusal:?}");
        if !privilege::missing().contains(&"CAP_PERFMON") {
            let refusal = Error::from_call(LOAD, os(libc::EINVAL));
            assert!(matches!(refusal, Error::Load { .. }), "{refusal:?}");
        }
        let refusal = Error::from_call("bpf(BPF_LINK_UPDATE)", os(libc::ENOLINK));
        assert!(matches!(refusal, Error::Os { .. }), "{refusal:?}");
    }
}
