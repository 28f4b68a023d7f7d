//! What a sender is asked for, and what that comes to on a shard's ports.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use serde::Deserialize;
use tidegate_config::Refusal;
use tidegate_runtime::port::PortFacts;
use tidegate_runtime::service::{Build, BuildError};

use crate::registry::Unfit;
use crate::stream::departure::{Checksum, LaunchTime};
use crate::stream::header::Marks;
use crate::stream::receiver::payload_type;
use crate::stream::redundancy::split::Second;
use crate::stream::route::{Dscp, Mac, Tag, Ttl, Way};
use crate::stream::sdp::describe::Described;
use crate::stream::source::PATTERN;
use crate::stream::timing::{Class, Rate};
use crate::stream::video::format::{Depth, Sampling, Scan, Spec};
use crate::stream::video::packetizer::Identity;
use crate::stream::video::packing::Packing;

/// The sender's options table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where to: address and UDP port of a receiver or a group.
    pub destination: SocketAddr,
    /// From where: our address on the interface, and a UDP port.
    pub source_address: SocketAddr,
    /// The interface to send on; needed where the shard has more than one.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// Link address of the next hop; as the kernel's routes and neighbours say where it is missing.
    #[serde(default)]
    pub destination_mac: Option<Mac>,
    /// VLAN that packets are tagged with.
    #[serde(default)]
    pub vlan: Option<Tag>,
    /// Differentiated services code point.
    #[serde(default)]
    pub dscp: Dscp,
    /// Time to live, or hop limit.
    #[serde(default)]
    pub ttl: Ttl,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// Pixels of a line.
    pub width: u32,
    /// Lines of a frame.
    pub height: u32,
    /// Frames per second.
    pub rate: Rate,
    /// Bits per sample.
    pub depth: Depth,
    /// Which samples.
    #[serde(default)]
    pub sampling: Sampling,
    /// Fields or not.
    #[serde(default)]
    pub scan: Scan,
    /// How packets are filled.
    #[serde(default)]
    pub packing: Packing,
    /// `pattern`, `-` for standard input, or the path of a file or FIFO: Y4M or raw pgroups.
    #[serde(default = "pattern")]
    pub source: Box<str>,
    /// The longest file that is held in memory, in MiB as pgroups; longer ones are read ahead.
    #[serde(default = "clip_mib")]
    pub clip_mib: u32,
    /// ST 2110-21 class, which bounds bursts and head start.
    #[serde(default)]
    pub class: Class,
    /// TROFFSET of ST 2110-21 in microseconds; TROdefault where it is missing.
    #[serde(default)]
    pub troffset_us: Option<u32>,
    /// RTP payload type.
    #[serde(default = "payload_type")]
    pub payload_type: u8,
    /// RTP synchronisation source; random where it is missing.
    #[serde(default)]
    pub ssrc: Option<u32>,
    /// Send as fast as the ring takes packets: for measurements, never for receivers.
    #[serde(default)]
    pub unpaced: bool,
    /// Stop after so many frames.
    #[serde(default)]
    pub frames: Option<u64>,
    /// What its SDP says beside.
    #[serde(default)]
    pub sdp: Described,
    /// Whether packets have a UDP checksum.
    #[serde(default)]
    pub checksum: Checksum,
    /// Whether the card sends each packet at its own time.
    #[serde(default)]
    pub launch_time: LaunchTime,
}

impl Options {
    /// What packets are told networks by.
    pub(in crate::stream) fn marks(&self) -> Marks {
        Marks { vlan: self.vlan.map(|Tag(vlan)| vlan), dscp: self.dscp.0, ttl: self.ttl.0 }
    }

    /// The way that they ask for.
    pub(in crate::stream) fn way(&self) -> Way {
        Way {
            destination: self.destination,
            source: self.source_address,
            destination_mac: self.destination_mac,
            marks: self.marks(),
        }
    }

    /// Checks what no machine has to be asked for.
    ///
    /// # Errors
    ///
    /// The key that has to be changed.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        self.way().check()?;
        let second = self.second.as_ref().map(|second| second.way(self.marks()));
        if let Some(way) = &second {
            way.check().map_err(|Unfit { key, refusal }| {
                let found = format!("{key} {}", refusal.found);
                Unfit { key: "second", refusal: Refusal::new(found, refusal.allowed) }
            })?;
        }
        let mut destinations =
            [Some(self.destination), second.map(|way| way.destination)].into_iter();
        let is_ipv6 = destinations.any(|it| it.is_some_and(|destination| destination.is_ipv6()));
        if is_ipv6 && self.checksum == Checksum::None {
            let found = "no checksum, while UDP over IPv6 always has one (RFC 8200, section 8.1)";
            let refusal = Refusal::new(found, "\"auto\" or \"full\"");
            return Err(Unfit { key: "checksum", refusal });
        }
        Ok(())
    }

    /// What pictures they ask for.
    pub(in crate::stream) const fn spec(&self) -> Spec {
        let Self { width, height, sampling, depth, scan, rate, packing, .. } = *self;
        Spec { width, height, sampling, depth, scan, rate, packing }
    }
}

fn pattern() -> Box<str> {
    PATTERN.into()
}

/// A gibibyte, 8 s of 1080p25 at 10 bits. Less, and short loops keep a thread and a disk busy; more
/// would surprise a machine that also has packets to hold.
pub(in crate::stream) const fn clip_mib() -> u32 {
    1024
}

/// Why the options cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A payload type that is not dynamic.
    PayloadType(u8),
    /// Two paths with the same destination on the same interface.
    SamePath {
        /// The interface.
        interface: Box<str>,
        /// Where both lead.
        destination: SocketAddr,
    },
    /// A measurement with two paths, which do not wait for room.
    UnpacedPaths,
    /// The shard does not have the interface, or has several and none was named.
    Interface {
        /// Name of the service.
        service: Box<str>,
        /// The interface as configured.
        asked: Option<Box<str>>,
        /// The shard's interfaces.
        found: Box<[Box<str>]>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadType(found) => {
                write!(f, "payload_type {found}: allowed are 96 to 127, the dynamic ones")
            }
            Self::SamePath { interface, destination } => write!(
                f,
                "second leads to {destination} by {interface}, as the first path does; give it \
                 another interface, with interface = [\"{interface}\", \"…\"] of the service, or \
                 another destination"
            ),
            Self::UnpacedPaths => f.write_str(
                "unpaced with a second path: paths do not wait for room, so that most packets would \
                 be lost; leave out either",
            ),
            Self::Interface { service, asked, found } => write!(
                f,
                "service {service:?} sends on one interface and {}; set interface to one of those \
                 that its cores have: {found:?}",
                match asked {
                    Some(asked) => format!("its cores have no queue of {asked:?}"),
                    None => "none is named".into(),
                }
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The port of the second path, if there is one.
pub(super) fn second_port(
    options: &Options,
    build: &Build<'_>,
) -> Result<Option<usize>, BuildError> {
    let Some(second) = &options.second else { return Ok(None) };
    if options.unpaced {
        return Err(BuildError::new(Error::UnpacedPaths));
    }
    let asked = |interface: Option<&str>| {
        choose_port(build.name(), interface, build.ports()).map_err(BuildError::new)
    };
    let first = &build.ports()[asked(options.interface.as_deref())?].interface;
    let port = asked(Some(second.interface.as_deref().unwrap_or(first)))?;
    if build.ports()[port].interface == *first && second.destination == options.destination {
        let (interface, destination) = (first.clone(), second.destination);
        return Err(BuildError::new(Error::SamePath { interface, destination }));
    }
    Ok(Some(port))
}

pub(super) fn identity(options: &Options) -> Result<Identity, BuildError> {
    let payload_type = options.payload_type;
    if !(96..=127).contains(&payload_type) {
        return Err(BuildError::new(Error::PayloadType(payload_type)));
    }
    // RFC 3550, section 8.1: chosen at random, so that two senders hardly choose the same.
    #[expect(clippy::cast_possible_truncation, reason = "32 of its random bits")]
    let ssrc = options.ssrc.unwrap_or_else(|| RandomState::new().build_hasher().finish() as u32);
    Ok(Identity { payload_type, ssrc })
}

/// The first port of the interface, or the only interface's.
pub(super) fn choose_port(
    service: &str,
    asked: Option<&str>,
    ports: &[PortFacts],
) -> Result<usize, Error> {
    let wanted = |port: &PortFacts| asked.is_none_or(|asked| *port.interface == *asked);
    let several = asked.is_none() && ports.iter().any(|p| p.interface != ports[0].interface);
    ports.iter().position(wanted).filter(|_| !several).ok_or_else(|| Error::Interface {
        service: service.into(),
        asked: asked.map(Into::into),
        found: ports.iter().map(|port| port.interface.clone()).collect(),
    })
}
