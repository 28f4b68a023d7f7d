//! What can go wrong while a network card is told which packets come to which queue.

use std::path::PathBuf;
use std::{error, fmt, io};

use super::Mode;
use super::ntuple::RULES_MAX;

/// Why hardware steering could not be set up. What was changed before is put back.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No interface of that name in this network namespace.
    NoInterface {
        /// The name as configured.
        interface: Box<str>,
    },
    /// The driver has no RSS table.
    NoTable {
        /// The interface's name.
        interface: Box<str>,
        /// Its driver.
        driver: Box<str>,
        /// The queues that were to be kept for tidegate.
        taken: Vec<u32>,
    },
    /// No queue would be left for the packets of others.
    AllTaken {
        /// The interface's name.
        interface: Box<str>,
        /// Queues that it has.
        rings: u32,
    },
    /// The driver takes no flow rules.
    NoRules {
        /// The interface's name.
        interface: Box<str>,
        /// Its driver.
        driver: Box<str>,
    },
    /// The driver does not take one of the rules.
    RuleRefused {
        /// The interface's name.
        interface: Box<str>,
        /// Its driver.
        driver: Box<str>,
        /// The selector that it is of, counting from 0.
        selector: usize,
        /// The rule in the words of `ethtool -N`.
        rule: Box<str>,
        /// The driver's answer.
        source: io::Error,
    },
    /// More rules than the card has room for.
    TooManyRules {
        /// The interface's name.
        interface: Box<str>,
        /// Rules that the selectors make.
        count: usize,
        /// Rules that there is room for.
        room: usize,
    },
    /// A rule of somebody else sends the same packets to another queue.
    RuleInTheWay {
        /// The interface's name.
        interface: Box<str>,
        /// Where it is.
        location: u32,
        /// The rule in the words of `ethtool -N`.
        rule: Box<str>,
        /// The queue that the config wants.
        queue: u32,
    },
    /// The driver took a change and shows something else.
    NotKept {
        /// The interface's name.
        interface: Box<str>,
        /// Its driver.
        driver: Box<str>,
        /// What was changed.
        what: Box<str>,
    },
    /// Another process has changed this card, and lives.
    Held {
        /// It, where it had the time to say.
        pid: Option<u32>,
    },
    /// What a killed process left could not be put back.
    Leftover {
        /// The interface's name.
        interface: Box<str>,
        /// The process.
        pid: u32,
        /// The driver's answer.
        source: io::Error,
    },
    /// The record of a change is not readable.
    Garbled {
        /// Where it is.
        path: PathBuf,
    },
    /// The record of a change could not be read or written. Without it nothing is changed.
    Record {
        /// Where it is.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel or the driver refused a request.
    Os {
        /// The interface's name.
        interface: Box<str>,
        /// What was tried.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn os(interface: &str, what: &'static str, source: io::Error) -> Self {
        Self::Os { interface: interface.into(), what, source }
    }
}

/// `0, 1 and 3`, or `0` alone.
pub(super) fn list(queues: &[u32]) -> String {
    let words: Vec<String> = queues.iter().map(u32::to_string).collect();
    match words.as_slice() {
        [] => "none".into(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (xdp, rss) = (Mode::Xdp, Mode::Rss);
        match self {
            Self::NoInterface { interface } => {
                write!(
                    f,
                    "no interface {interface:?} in this network namespace; `ip link` lists them",
                )
            }
            Self::NoTable { interface, driver, taken } => write!(
                f,
                "{driver}, the driver of {interface}, has no RSS table that could keep other \
                 packets off queue {}; write steering = \"{xdp}\" (`tidegate doctor {interface}` \
                 says what it can)",
                list(taken),
            ),
            Self::AllTaken { interface, rings } => write!(
                f,
                "steering = \"{rss}\" keeps other packets off the taken queues of {interface}, but \
                 all {rings} are taken; take fewer, make more with `ethtool -L {interface} \
                 combined {}`, or write steering = \"{xdp}\"",
                rings + 1,
            ),
            Self::NoRules { interface, driver } => write!(
                f,
                "{driver}, the driver of {interface}, takes no flow rules (ntuple), which \
                 steering = \"{}\" is made of; write steering = \"{rss}\" or \"{xdp}\" \
                 (`tidegate doctor {interface}` says what it can)",
                Mode::Ntuple,
            ),
            Self::RuleRefused { interface, driver, selector, rule, .. } => write!(
                f,
                "{driver}, the driver of {interface}, does not take the flow rule `ethtool -N \
                 {interface} {rule}` of selector {}; many cards compare whole addresses and \
                 single ports only, or all rules with the same bits; change the selector, or \
                 write steering = \"{rss}\" or \"{xdp}\"",
                selector + 1,
            ),
            Self::TooManyRules { interface, count, room } if *room >= RULES_MAX => write!(
                f,
                "the selectors of {interface} make {count} flow rules, at most {RULES_MAX} are \
                 set; a range of ports is split into blocks of a power of two: choose ranges such \
                 as 1024-2047, or write steering = \"{rss}\" or \"{xdp}\"",
            ),
            Self::TooManyRules { interface, count, room } => write!(
                f,
                "the selectors of {interface} make {count} flow rules, its card has room for \
                 {room}; `ethtool -n {interface}` shows those of others; choose ranges of ports \
                 such as 1024-2047, or write steering = \"{rss}\" or \"{xdp}\"",
            ),
            Self::RuleInTheWay { interface, location, rule, queue } => write!(
                f,
                "a flow rule of somebody else on {interface}, `{rule}`, takes packets that the \
                 config wants on queue {queue}; remove it with `ethtool -N {interface} delete \
                 {location}`, or change the config",
            ),
            Self::NotKept { interface, driver, what } => write!(
                f,
                "{driver}, the driver of {interface}, took {what} and shows another; write \
                 steering = \"{xdp}\"",
            ),
            Self::Held { pid: Some(pid) } => {
                write!(f, "process {pid} has its own steering on this card; stop that one first",)
            }
            Self::Held { pid: None } => f.write_str(
                "another process is changing the steering of this card; stop that one first",
            ),
            Self::Leftover { interface, pid, .. } => write!(
                f,
                "what process {pid} left on {interface} when it was killed could not be put \
                 back; `ethtool -x {interface}` and `ethtool -n {interface}` show it",
            ),
            Self::Garbled { path } => write!(
                f,
                "{} should tell what a killed process changed on a card, and cannot be read; look \
                 at the card with `ethtool -x` and `ethtool -n`, then remove the file",
                path.display(),
            ),
            Self::Record { path, .. } => write!(
                f,
                "{}, which is to tell what is changed on the card, cannot be used; without it \
                 nothing is changed",
                path.display(),
            ),
            Self::Os { interface, what, .. } => {
                write!(f, "{interface}: the request to {what} failed")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::RuleRefused { source, .. }
            | Self::Leftover { source, .. }
            | Self::Record { source, .. }
            | Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are part of the interface: operators search for them.
    #[test]
    fn says_what_was_asked_and_what_to_do() {
        let (interface, driver) = (|| "eth1".into(), || "igb".into());
        assert_eq!(
            Error::NoTable { interface: interface(), driver: "veth".into(), taken: vec![0, 1, 3] }
                .to_string(),
            "veth, the driver of eth1, has no RSS table that could keep other packets off queue 0, \
             1 and 3; write steering = \"xdp\" (`tidegate doctor eth1` says what it can)"
        );
        assert_eq!(
            Error::AllTaken { interface: interface(), rings: 2 }.to_string(),
            "steering = \"rss\" keeps other packets off the taken queues of eth1, but all 2 are \
             taken; take fewer, make more with `ethtool -L eth1 combined 3`, or write steering = \
             \"xdp\""
        );
        assert_eq!(
            Error::NoRules { interface: interface(), driver: driver() }.to_string(),
            "igb, the driver of eth1, takes no flow rules (ntuple), which steering = \"ntuple\" is \
             made of; write steering = \"rss\" or \"xdp\" (`tidegate doctor eth1` says what it can)"
        );
        let rule = "flow-type udp4 dst-ip 198.18.0.1 dst-port 53 action 2";
        assert_eq!(
            Error::RuleRefused {
                interface: interface(),
                driver: driver(),
                selector: 0,
                rule: rule.into(),
                source: io::Error::from_raw_os_error(libc::EINVAL),
            }
            .to_string(),
            "igb, the driver of eth1, does not take the flow rule `ethtool -N eth1 flow-type udp4 \
             dst-ip 198.18.0.1 dst-port 53 action 2` of selector 1; many cards compare whole \
             addresses and single ports only, or all rules with the same bits; change the \
             selector, or write steering = \"rss\" or \"xdp\""
        );
        assert_eq!(
            Error::TooManyRules { interface: interface(), count: 9, room: 8 }.to_string(),
            "the selectors of eth1 make 9 flow rules, its card has room for 8; `ethtool -n eth1` \
             shows those of others; choose ranges of ports such as 1024-2047, or write steering = \
             \"rss\" or \"xdp\""
        );
        assert_eq!(
            Error::TooManyRules { interface: interface(), count: 1080, room: 1024 }.to_string(),
            "the selectors of eth1 make 1080 flow rules, at most 1024 are set; a range of ports is \
             split into blocks of a power of two: choose ranges such as 1024-2047, or write \
             steering = \"rss\" or \"xdp\""
        );
        assert_eq!(
            Error::RuleInTheWay {
                interface: interface(),
                location: 7,
                rule: rule.into(),
                queue: 1
            }
            .to_string(),
            "a flow rule of somebody else on eth1, `flow-type udp4 dst-ip 198.18.0.1 dst-port 53 \
             action 2`, takes packets that the config wants on queue 1; remove it with `ethtool -N \
             eth1 delete 7`, or change the config"
        );
        let what = "an RSS table".into();
        assert_eq!(
            Error::NotKept { interface: interface(), driver: driver(), what }.to_string(),
            "igb, the driver of eth1, took an RSS table and shows another; write steering = \"xdp\""
        );
    }

    #[test]
    fn says_what_another_process_has_or_left() {
        assert_eq!(
            Error::Held { pid: Some(7) }.to_string(),
            "process 7 has its own steering on this card; stop that one first"
        );
        assert_eq!(
            Error::Held { pid: None }.to_string(),
            "another process is changing the steering of this card; stop that one first"
        );
        let answer = || io::Error::from_raw_os_error(libc::EBUSY);
        let left = Error::Leftover { interface: "eth1".into(), pid: 7, source: answer() };
        assert_eq!(
            left.to_string(),
            "what process 7 left on eth1 when it was killed could not be put back; `ethtool -x \
             eth1` and `ethtool -n eth1` show it"
        );
        let path = || PathBuf::from("/run/tidegate/steering-1-2.json");
        assert_eq!(
            Error::Garbled { path: path() }.to_string(),
            "/run/tidegate/steering-1-2.json should tell what a killed process changed on a card, \
             and cannot be read; look at the card with `ethtool -x` and `ethtool -n`, then remove \
             the file"
        );
        assert_eq!(
            Error::Record { path: path(), source: answer() }.to_string(),
            "/run/tidegate/steering-1-2.json, which is to tell what is changed on the card, cannot \
             be used; without it nothing is changed"
        );
        let failed = Error::os("eth1", "set the RSS table", answer());
        assert_eq!(failed.to_string(), "eth1: the request to set the RSS table failed");
        assert_eq!(error::Error::source(&failed).unwrap().to_string(), answer().to_string());
    }

    #[test]
    fn lists_are_read_aloud() {
        assert_eq!([list(&[]), list(&[4]), list(&[4, 5])], ["none", "4", "4 and 5"]);
    }
}
