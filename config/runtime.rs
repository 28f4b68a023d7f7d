//! The `[runtime]` table: shards, their CPUs and their patience.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::interval::Interval;
use crate::reader::{Field, Read, Reader, Section, Wrong};
use crate::value::{Name, Numbers, text, words};

/// Keys of the table.
pub(crate) const KEYS: &[&str] = &[
    "instance",
    "cpus",
    "shards",
    "idle",
    "stall_budget",
    "drain_timeout",
    "control_socket",
    "restart",
    "log",
];

/// Keys of `restart` in its table form.
pub(crate) const RESTART_KEYS: &[&str] = &["max_per_minute"];

/// Most shards that one process may have.
const MAX_SHARDS: u32 = 1024;

/// How this process runs, whatever its services do.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Name of this instance: two instances of different names do not collide.
    pub instance: String,
    /// CPUs that the shards are pinned to, in turn; `None`: all that the process may use.
    pub cpus: Option<Vec<u32>>,
    /// Shards; more than CPUs is allowed.
    pub shards: u32,
    /// What a shard does when there is nothing to do.
    pub idle: Idle,
    /// A turn longer than this is reported as a stall.
    pub stall_budget: Interval,
    /// How long a drain may take before what is left is given up.
    pub drain_timeout: Interval,
    /// Where `stats` finds this process; `None`: where the runtime puts it for the instance.
    pub control_socket: Option<PathBuf>,
    /// What happens to a service that panicked.
    pub restart: Restart,
    /// Least severe level that is logged.
    pub log: LogLevel,
}

/// What a shard does when its rings are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Asks the rings again at once, for ever: least latency, a whole CPU.
    Spin,
    /// Asks again for so long, then sleeps until the kernel wakes it.
    SleepAfter(Interval),
}

impl Read for Idle {
    const ALLOWED: &'static str = "\"spin\", or the time to spin before sleeping, such as \"50us\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match text(value).ok_or_else(Wrong::kind)? {
            "spin" => Ok(Self::Spin),
            other => match other.parse() {
                Ok(interval) if interval <= MAX_IDLE => Ok(Self::SleepAfter(interval)),
                Ok(_) => Err(Wrong::new(format!("{other:?}"), "at most \"1s\", or \"spin\"")),
                Err(refusal) => Err(Wrong::new(refusal.found, Self::ALLOWED)),
            },
        }
    }
}

const MAX_IDLE: Interval = Interval::from_millis(1000);

/// What happens to a service that panicked. Its neighbours are untouched in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It stays down.
    Never,
    /// It is built again, however often.
    Always,
    /// It is built again, but stays down after so many restarts within a minute.
    MaxPerMinute(u32),
}

impl Restart {
    const ALLOWED: &'static str = "\"never\", \"always\" or { max_per_minute = 10 }";

    fn of(reader: &mut Reader, field: &Field<'_>) -> Option<Self> {
        match text(field.value) {
            Some("never") => Some(Self::Never),
            Some("always") => Some(Self::Always),
            Some(_) => {
                reader.mistake(&field.at, crate::reader::describe(field.value), Self::ALLOWED);
                None
            }
            None => {
                let section = field.section(reader, RESTART_KEYS, Self::ALLOWED)?;
                if section.field("max_per_minute").is_none() {
                    reader.mistake(&field.at, "a table without max_per_minute", Self::ALLOWED);
                    return None;
                }
                Some(Self::MaxPerMinute(section.number(reader, "max_per_minute", 1..=600, 10)))
            }
        }
    }
}

words! {
    /// Level of the log.
    pub enum LogLevel {
        /// What ends the process or a service.
        Error = "error",
        /// What an operator should look at.
        Warn = "warn",
        /// Start, what was obtained, stop.
        Info = "info",
        /// Every decision that is not made per packet.
        Debug = "debug",
        /// All there is.
        Trace = "trace",
    }
}

/// What is known about the machine when a file is read. Given in, so that tests need no machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cpus: u32,
}

impl Machine {
    /// This machine, as this process sees it.
    pub fn this() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cpus: u32::try_from(cpus).unwrap_or(u32::MAX) }
    }
}

/// Name of an instance that was given none.
pub const DEFAULT_INSTANCE: &str = "main";

/// A path that a control socket may have. The lock that goes with it lies beside it, under the
/// same name with `.lock`.
struct SocketPath(PathBuf);

impl Read for SocketPath {
    const ALLOWED: &'static str =
        "an absolute path of at most 107 octets that ends in NAME.sock, NAME as an instance's";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value).ok_or_else(Wrong::kind)?;
        let name = text.rsplit_once('/').and_then(|(_, file)| file.strip_suffix(".sock"));
        // `sun_path` of unix(7) has 108 octets, the last for the final zero.
        let fits = text.starts_with('/') && text.len() <= 107 && !text.contains('\0');
        if fits && name.is_some_and(Name::is_plain) {
            Ok(Self(PathBuf::from(text)))
        } else {
            Err(Wrong::new(format!("{text:?}"), Self::ALLOWED))
        }
    }
}

/// Reads the table. `shards` stays 0 where the file does not say it: see `placement`.
pub(crate) fn read(reader: &mut Reader, section: &Section<'_>) -> Runtime {
    let interval = |reader: &mut Reader, key: &str, default: Interval| {
        let interval = section.read(reader, key).unwrap_or(default);
        if interval.as_ns() == 0 {
            reader.mistake(&section.place_of(key), "no time at all", "at least \"1ns\"");
        }
        interval
    };
    let instance = section
        .read(reader, "instance")
        .map_or_else(|| DEFAULT_INSTANCE.to_owned(), |Name(name)| name);
    Runtime {
        cpus: section.read(reader, "cpus").map(|Numbers(cpus)| cpus),
        shards: match section.field("shards") {
            Some(_) => section.number(reader, "shards", 1..=MAX_SHARDS, 1),
            None => 0,
        },
        // 50 us is about one sleep and wake-up (44 us at the median). Less, and packets that come
        // every few microseconds pay a system call each; more burns CPU for nothing.
        idle: section.read(reader, "idle").unwrap_or(Idle::SleepAfter(Interval::from_micros(50))),
        stall_budget: interval(reader, "stall_budget", Interval::from_millis(10)),
        drain_timeout: interval(reader, "drain_timeout", Interval::from_millis(2000)),
        control_socket: section.read(reader, "control_socket").map(|SocketPath(path)| path),
        restart: (section.field("restart"))
            .and_then(|field| Restart::of(reader, &field))
            .unwrap_or(Restart::MaxPerMinute(10)),
        log: section.read(reader, "log").unwrap_or(LogLevel::Info),
        instance,
    }
}
