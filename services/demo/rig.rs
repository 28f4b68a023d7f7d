//! The demo's stage: two namespaces, two wires, two programs, the flood and the witnesses.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use std::{error, fmt};

use tidegate_config::{Config, ConfigError};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::verdict::Facts;
use crate::lab::flood::{self, Budget, Flood, Kind, MARK, Running};
use crate::lab::witness::udp::Questions;
use crate::lab::witness::{Witness, tcp, udp};
use crate::lab::{LabError, Namespace, Wire, WireOptions};
use crate::registry::Registry;
use crate::run::{Program, RunError};

/// Port of the video.
const VIDEO_PORT: u16 = 20_000;
/// Port that is protected: flooded, and asked by those who mean it.
const PROTECTED_PORT: u16 = 5300;
/// Port that is not selected: the kernel's alone.
const KERNEL_PORT: u16 = 8080;

/// The flood. Low enough that two cores carry the generator, both programs and all witnesses.
const FLOOD_PACKETS_PER_SECOND: u64 = 200_000;
const QUESTIONS_PER_SECOND: u32 = 200;
const MESSAGES_PER_SECOND: u32 = 100;

/// How long what is on its way may take to arrive, at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Format of the video, as both ends are told.
const FORMAT: &str = "width = 1280\nheight = 720\nrate = \"25\"\ndepth = 10\n";
/// The same in words.
const FORMAT_WORDS: &str = "1280x720p25 YCbCr-4:2:2 10 bit";

/// Why the stage could not be set up or taken down.
#[derive(Debug)]
pub(super) enum Error {
    Lab(LabError),
    Run(RunError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lab(error) => write!(f, "{error}"),
            Self::Run(error) => write!(f, "{error}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Lab(error) => error.source(),
            Self::Run(error) => error.source(),
        }
    }
}

impl From<LabError> for Error {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Run(error.into())
    }
}

/// Everything at work.
pub(super) struct Rig {
    // In the order in which it is taken down.
    flood: Running,
    asker: Witness,
    talker: Witness,
    near: Program,
    far: Program,
    protected: udp::Server,
    listener: Witness,
}

impl Rig {
    /// Sets the stage and starts everybody, for so many seconds.
    pub(super) fn set_up(seconds: u32, registry: &Registry) -> Result<Self, Error> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        let wire = |number| {
            let options = WireOptions { number, ..WireOptions::default() };
            Wire::new(&near, &far, &options)
        };
        let (video, sea) = (wire(1)?, wire(2)?);
        let protected_at = SocketAddr::new(sea.near.ipv4.into(), PROTECTED_PORT);
        let kernel_at = SocketAddr::new(IpAddr::V6(sea.near.ipv6), KERNEL_PORT);
        let protected = udp::Server::start(&near, protected_at)?;
        let listener = tcp::echo(&near, kernel_at)?;

        // The receiver first: it is to see the first packet of the first frame.
        let far_program = start(&far, &far_config(&video), registry)?;
        let near_program = start(&near, &near_config(&video, &sea), registry)?;

        let count = |per_second: u32| per_second * seconds;
        let asker = udp::ask(
            &far,
            SocketAddr::new(sea.far.ipv4.into(), 0),
            protected_at,
            Questions {
                count: count(QUESTIONS_PER_SECOND),
                per_second: QUESTIONS_PER_SECOND,
                octets: 64,
                patience: PATIENCE,
            },
        )?;
        let talker = tcp::exchange(
            &far,
            kernel_at,
            tcp::Exchange {
                messages: count(MESSAGES_PER_SECOND).into(),
                octets: 512,
                per_second: MESSAGES_PER_SECOND,
                patience: PATIENCE,
            },
        )?;
        let flood = Flood::new(&sea.far, &flood::Options::new(Kind::Udp { port: PROTECTED_PORT }))?;
        let flood = flood.start(Budget {
            packets: FLOOD_PACKETS_PER_SECOND * u64::from(seconds),
            time: Duration::from_secs(seconds.into()),
            packets_per_second: NonZeroU64::new(FLOOD_PACKETS_PER_SECOND),
            processor: None,
        })?;
        Ok(Self { flood, asker, talker, near: near_program, far: far_program, protected, listener })
    }

    /// What the program under test counts now.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.near.snapshot()
    }

    /// Stops everybody in order, from the sources to the ends, and hears them out.
    pub(super) fn take_down(self, elapsed: Duration) -> Result<Facts, Error> {
        let Self { flood, asker, talker, near, far, protected, listener } = self;
        let (_, flood) = flood.stop()?;
        let legit = settle(asker)?;
        let kernel_path = settle(talker)?;
        // Drains: the sender ends with a whole frame, every ring comes home.
        let near = near.stop();
        await_silence(&far);
        let far = far.stop();
        let flood_delivered = protected.heard(MARK);
        protected.stop()?;
        listener.stop()?;
        Ok(Facts {
            format: FORMAT_WORDS,
            elapsed,
            near,
            far,
            flood,
            legit,
            flood_delivered,
            kernel_path,
        })
    }
}

/// Lets a client get its last answers: it is not asked to stop while some are on their way.
fn settle(client: Witness) -> Result<crate::lab::witness::Testimony, LabError> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let seen = client.testimony();
        if seen.delivered == seen.sent {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    client.stop()
}

/// Waits until the receiver gets no more.
fn await_silence(far: &Program) {
    let received = || far.snapshot().totals().1.rx_frames;
    let deadline = Instant::now() + PATIENCE;
    let mut before = received();
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        let now = received();
        if now == before {
            return;
        }
        before = now;
    }
}

fn start(namespace: &Namespace, text: &str, registry: &Registry) -> Result<Program, Error> {
    let config = Config::parse("demo.toml", text)?;
    Ok(namespace.run(|| Program::start(&config, registry))??)
}

/// The program under test: a sender on one shard, a scrubber on the other.
fn near_config(video: &Wire, sea: &Wire) -> String {
    let pid = std::process::id();
    let (from, to) = (video.near.ipv4, video.far.ipv4);
    let (protected, friend) = (sea.near.ipv4, sea.far.ipv4);
    let (video, sea) = (&video.near.name, &sea.near.name);
    format!(
        r#"
[runtime]
instance = "demo-{pid}"
shards = 2

[[interface]]
name = "{video}"

[[interface]]
name = "{sea}"
umem = {{ frames = 16384 }}
ring_entries = 8192

[[service]]
name = "camera"
kind = "stream-send"
interface = "{video}"
cores = [0]
[service.options]
destination = "{to}:{VIDEO_PORT}"
source_address = "{from}:{VIDEO_PORT}"
{FORMAT}

[[service]]
name = "shield"
kind = "scrub"
interface = "{sea}"
cores = [1]
held_frames_max = 8192
selectors = [{{ destination = "{protected}/32", protocol = "udp", ports = "{PROTECTED_PORT}" }}]
[service.options]
rules = """
    default drop
    spoofed: drop when ip.src in {{ 198.19.0.0/16 }}
    friend:  pass when ip.src == {friend} and ip.len in {{ 28-512 }}
"""
"#
    )
}

/// The far side's receiver, which compares every bit with the pattern.
fn far_config(video: &Wire) -> String {
    let pid = std::process::id();
    let (interface, address) = (&video.far.name, video.far.ipv4);
    format!(
        r#"
[runtime]
instance = "demo-far-{pid}"
shards = 1

[[interface]]
name = "{interface}"
umem = {{ frames = 16384 }}
ring_entries = 8192

[[service]]
name = "monitor"
kind = "stream-receive"
interface = "{interface}"
held_frames_max = 8192
selectors = [{{ destination = "{address}/32", protocol = "udp", ports = "{VIDEO_PORT}" }}]
[service.options]
port = {VIDEO_PORT}
sink = "verify"
{FORMAT}
"#
    )
}
