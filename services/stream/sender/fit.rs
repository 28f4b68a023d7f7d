//! Whether a stream can be sent as asked: on which port, in packets of which size, as what.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use tidegate_runtime::port::PortFacts;
use tidegate_runtime::service::{Build, BuildError};

use super::Options;
use crate::stream::video::packetizer::Identity;

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
    /// Packets are longer than the interface sends.
    Mtu {
        /// The interface.
        interface: Box<str>,
        /// What it sends, in octets of IP.
        mtu: u32,
        /// What is needed.
        needed: usize,
    },
    /// Packets are longer than a chunk.
    Chunk {
        /// What a blank frame holds.
        capacity: usize,
        /// What is needed.
        needed: usize,
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
            Self::Mtu { interface, mtu, needed } => write!(
                f,
                "{interface} has an MTU of {mtu}, packets of video need {needed}; raise it with \
                 `ip link set {interface} mtu {}`",
                (*needed).max(1500)
            ),
            Self::Chunk { capacity, needed } => write!(
                f,
                "packets of video need {needed} octets, a chunk holds {capacity}; raise \
                 chunk_octets of the interface"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// What a stream is told by.
///
/// # Errors
///
/// When the payload type is not dynamic.
pub(in crate::stream) fn identity(
    payload_type: u8,
    ssrc: Option<u32>,
) -> Result<Identity, BuildError> {
    if !(96..=127).contains(&payload_type) {
        return Err(BuildError::new(Error::PayloadType(payload_type)));
    }
    // RFC 3550, section 8.1: chosen at random, so that two senders hardly choose the same.
    #[expect(clippy::cast_possible_truncation, reason = "32 of its random bits")]
    let ssrc = ssrc.unwrap_or_else(|| RandomState::new().build_hasher().finish() as u32);
    Ok(Identity { payload_type, ssrc })
}

/// The first port of the interface, or the only interface's.
pub(in crate::stream) fn choose_port(
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

pub(in crate::stream) fn check_room(facts: &PortFacts, packet_octets: usize) -> Result<(), Error> {
    let needed = packet_octets - tidegate_dataplane::wire::ethernet::HEADER_LEN;
    if needed > facts.mtu as usize {
        return Err(Error::Mtu { interface: facts.interface.clone(), mtu: facts.mtu, needed });
    }
    if packet_octets > facts.chunk_capacity_octets {
        let capacity = facts.chunk_capacity_octets;
        return Err(Error::Chunk { capacity, needed: packet_octets });
    }
    Ok(())
}

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
