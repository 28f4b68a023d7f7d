//! Whether a stream can be sent as asked: on which port, and as what.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use tidegate_runtime::port::PortFacts;
use tidegate_runtime::service::{Build, BuildError};

use super::Options;
use crate::stream::departure::{Departure, LaunchTime};
use crate::stream::header::Header;
use crate::stream::redundancy::PATHS;
use crate::stream::redundancy::split::{Ends, Split};
use crate::stream::route::{Patience, Route, room};
use crate::stream::video::packetizer::{Identity, Packetizer};

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

/// Opens the second path, by the second of these ports.
pub(super) fn open_second(
    options: &Options,
    build: &mut Build<'_>,
    ports: [usize; PATHS],
    launches: bool,
    packetizer: &Packetizer,
) -> Result<Split, BuildError> {
    let second = options.second.as_ref().expect("asked for with its port");
    let facts = &build.ports()[ports[1]];
    let way = second.way(options.marks());
    let route = Route::open(&way, facts, patience(build)).map_err(BuildError::new)?;
    let payload_octets = packetizer.payload_octets_max();
    let header = Header::new(route.flow(), payload_octets).map_err(BuildError::new)?;
    room::check(facts, &header, payload_octets).map_err(BuildError::new)?;
    let launch_time = if launches { LaunchTime::Auto } else { LaunchTime::None };
    let departure = Departure::new(options.checksum, launch_time, facts.tx, &header);
    let format = options.spec().check().map_err(BuildError::new)?;
    let (frames, seconds) = format.rate().ratio();
    let packets = u64::from(format.packets_per_frame()) * u64::from(frames);
    let ends = Ends {
        ports: ports.map(|port| (port, &*build.ports()[port].interface)),
        destinations: [options.destination, second.destination],
        packets_per_second: packets.div_ceil(seconds.into()),
    };
    Ok(Split::new(build, &ends, route, header, departure))
}

/// A neighbour is waited for at the start only.
pub(super) fn patience(build: &Build<'_>) -> Patience {
    if build.is_anew() { Patience::None } else { Patience::Wait }
}
