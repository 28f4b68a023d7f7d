//! What can go wrong while a lab is built.

use std::time::Duration;
use std::{error, fmt, io};

use tidegate_dataplane::sys::{ethtool, netlink};

/// Why the lab could not do something.
///
/// Every variant names what was tried. What is missing for all of it is told
/// beforehand, by [`super::missing`].
#[derive(Debug)]
#[non_exhaustive]
pub enum LabError {
    /// A system call failed.
    Os {
        /// What was tried.
        call: Box<str>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An interface, address or neighbour could not be set.
    Netlink(netlink::Error),
    /// An offload could not be switched or asked for.
    Ethtool(ethtool::Error),
    /// A BPF program could not be loaded, attached or run.
    Bpf {
        /// What was tried.
        call: &'static str,
        /// What the loader or the kernel said.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// A link did not come up.
    NotReady {
        /// The end that waited.
        interface: Box<str>,
        /// How long.
        waited: Duration,
    },
    /// A card has addresses or is switched on: somebody uses it.
    InUse {
        /// The card.
        interface: Box<str>,
    },
    /// A link has other queues than were asked for.
    Queues {
        /// The end.
        interface: Box<str>,
        /// Queues wanted in each direction.
        wanted: u32,
        /// Receive and transmit queues there are.
        got: (u32, u32),
    },
    /// An offload is on although it was switched off.
    OffloadStays {
        /// The end.
        interface: Box<str>,
        /// The word that `ethtool -K` takes for it.
        offload: &'static str,
    },
    /// Nothing at the other end takes live frames: without an XDP program (or
    /// GRO) a veth has no queue for them, and each would be lost unseen.
    NoReceiver {
        /// The other end.
        interface: Box<str>,
    },
}

impl LabError {
    pub(super) fn os(call: impl Into<Box<str>>, source: impl Into<io::Error>) -> Self {
        Self::Os { call: call.into(), source: source.into() }
    }

    pub(super) fn bpf(
        call: &'static str,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self::Bpf { call, source: source.into() }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os { call, .. } => write!(f, "the lab could not {call}"),
            Self::Netlink(_) | Self::Ethtool(_) => f.write_str("the lab could not set a link up"),
            Self::Bpf { call, .. } => write!(f, "the lab could not {call}"),
            Self::NotReady { interface, waited } => {
                write!(f, "{interface} does not run after {} ms", waited.as_millis())
            }
            Self::Queues { interface, wanted, got: (rx, tx) } => write!(
                f,
                "{interface} has {rx} receive and {tx} transmit queues, {wanted} of each were \
                 asked for"
            ),
            Self::InUse { interface } => write!(
                f,
                "{interface} is switched on or has addresses; the lab takes no card that somebody \
                 uses"
            ),
            Self::OffloadStays { interface, offload } => write!(
                f,
                "{offload:?} of {interface} stays on, and packets would arrive unfinished"
            ),
            Self::NoReceiver { interface } => write!(
                f,
                "{interface} takes no live frames; attach its XDP program first, or choose the \
                 generator that sends packets by a socket"
            ),
        }
    }
}

impl error::Error for LabError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            Self::Netlink(source) => Some(source),
            Self::Ethtool(source) => Some(source),
            Self::Bpf { source, .. } => Some(source.as_ref()),
            Self::NotReady { .. }
            | Self::InUse { .. }
            | Self::Queues { .. }
            | Self::OffloadStays { .. }
            | Self::NoReceiver { .. } => None,
        }
    }
}

impl From<netlink::Error> for LabError {
    fn from(source: netlink::Error) -> Self {
        Self::Netlink(source)
    }
}

impl From<ethtool::Error> for LabError {
    fn from(source: ethtool::Error) -> Self {
        Self::Ethtool(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_exact() {
        let os = LabError::os("make a network namespace", io::Error::from_raw_os_error(1));
        assert_eq!(os.to_string(), "the lab could not make a network namespace");
        let cause = error::Error::source(&os).unwrap().to_string();
        assert_eq!(cause, "Operation not permitted (os error 1)");

        let interface = "tide1".into();
        let waited = Duration::from_secs(2);
        let not_ready = LabError::NotReady { interface, waited };
        assert_eq!(not_ready.to_string(), "tide1 does not run after 2000 ms");

        let queues = LabError::Queues { interface: "tide1".into(), wanted: 4, got: (2, 1) };
        assert_eq!(
            queues.to_string(),
            "tide1 has 2 receive and 1 transmit queues, 4 of each were asked for"
        );

        let in_use = LabError::InUse { interface: "eth1".into() };
        assert_eq!(
            in_use.to_string(),
            "eth1 is switched on or has addresses; the lab takes no card that somebody uses"
        );

        let stays = LabError::OffloadStays { interface: "tide1".into(), offload: "tso" };
        assert_eq!(
            stays.to_string(),
            "\"tso\" of tide1 stays on, and packets would arrive unfinished"
        );

        let no_receiver = LabError::NoReceiver { interface: "tide1".into() };
        assert_eq!(
            no_receiver.to_string(),
            "tide1 takes no live frames; attach its XDP program first, or choose the generator \
             that sends packets by a socket"
        );
    }
}
