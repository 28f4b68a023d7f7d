//! VRX and C_INST of a captured stream: the check from outside of the sender.
//!
//! A capture with nanoseconds, made by a clock that the sender does not read for it, goes through
//! the same meter. Two passes: the first learns how many packets an image has, so that the second
//! measures from the first packet on, as the formulas have it.
//!
//! Only headers are read, so a capture may be cut (`tcpdump -s 96`).

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tidegate_dataplane::pcap::{self, LINK_ETHERNET, Reader};
use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_dataplane::wire::{Fragment, Rfc4175, Rtp};

use super::arrivals::{Arrivals, Arrived, Expected, Stamp, Times};
use super::class::Limits;
use super::meter::Levels;
use super::record::{Merge, Worst};
use super::schedule::{self, Schedule};

/// Why a capture says nothing.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Capture(pcap::Error),
    /// No packet of it is video.
    NoVideo {
        /// The file.
        path: PathBuf,
        /// Its packets.
        records: u64,
        /// The port that was asked for.
        port: Option<u16>,
    },
    /// Two whole images in a row are not in it.
    Short {
        /// Images, whole or not.
        images: usize,
        /// Packets of the stream.
        packets: usize,
    },
    /// Its timestamps are of another rate.
    Rate {
        /// Ticks of 90 kHz from one image to the next.
        ticks: u32,
        /// What they should be.
        expected: u32,
    },
    /// There is no such schedule.
    Schedule(schedule::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(error) => error.fmt(f),
            Self::NoVideo { path, records, port } => {
                write!(f, "capture {}: none of {records} packets is RFC 4175", path.display())?;
                match port {
                    Some(port) => {
                        write!(f, " to port {port}; leave the port out to take the first")
                    }
                    None => Ok(()),
                }
            }
            Self::Short { images, packets } => write!(
                f,
                "{packets} packets of {images} pictures: how many packets a picture has is known \
                 from two whole ones in a row; capture at least four"
            ),
            Self::Rate { ticks, expected } => write!(
                f,
                "timestamps step by {ticks} ticks of 90 kHz, the rate that was given by \
                 {expected}; give the rate of the stream, of frames where it is interlaced"
            ),
            Self::Schedule(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Capture(error) => error.source(),
            _ => None,
        }
    }
}

/// One stream out of a capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Where it went: address, port and source.
    pub destination: (IpAddr, u16, u32),
    /// When each packet came, and what it said.
    pub packets: Vec<(u64, Stamp)>,
}

impl Capture {
    /// Reads the first video stream of the capture at `path`, or the first to `port`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has no video.
    pub fn read(path: &Path, port: Option<u16>) -> Result<Self, Error> {
        let mut stream: Option<Self> = None;
        let mut records = 0;
        for record in Reader::open(path).map_err(Error::Capture)? {
            let mut record = record.map_err(Error::Capture)?;
            records += 1;
            if record.link_type != LINK_ETHERNET {
                continue;
            }
            // What was cut off is not read, but lengths count it.
            record.bytes.resize((record.original_len as usize).min(OCTETS_MAX), 0);
            let Some((destination, stamp)) = video(&record.bytes) else { continue };
            if port.is_some_and(|port| port != destination.1) {
                continue;
            }
            let stream = stream.get_or_insert_with(|| Self { destination, packets: Vec::new() });
            if stream.destination == destination {
                stream.packets.push((record.timestamp_ns, stamp));
            }
        }
        stream.ok_or_else(|| Error::NoVideo { path: path.to_owned(), records, port })
    }
}

/// Octets of the longest packet that a capture is believed to have had. IP says no more.
pub const OCTETS_MAX: usize = 65_536 + 64;

/// Destination, source and stamp of a packet of video.
fn video(frame: &[u8]) -> Option<((IpAddr, u16, u32), Stamp)> {
    let packet = Packet::parse(frame).ok()?;
    let (Transport::Udp(udp), Fragment::Whole) = (packet.transport(), packet.fragment()) else {
        return None;
    };
    let rtp = Rtp::parse(udp.payload()).ok()?;
    Rfc4175::parse(rtp.payload()).ok()?;
    let stamp =
        Stamp { sequence: rtp.sequence(), timestamp: rtp.timestamp(), marker: rtp.marker() };
    Some(((packet.destination(), udp.destination(), rtp.ssrc()), stamp))
}

/// Both levels after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it came, TAI.
    pub tai_ns: u64,
    /// VRX and C_INST.
    pub levels: Levels,
}

/// What a capture says of its stream.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// How it is read.
    pub schedule: Schedule,
    /// What the classes allow.
    pub limits: Limits,
    /// Each packet that is in an image.
    pub points: Vec<Point>,
    /// Each image that has an end.
    pub images: Vec<Arrived>,
    /// The worst of those that are whole.
    pub worst: Worst,
    /// When they came.
    pub times: Times,
}

/// Measures a stream whose times are `tai_at_zero_ns` behind TAI.
///
/// # Errors
///
/// When it is too short, or of another rate.
pub fn analyse(
    packets: &[(u64, Stamp)],
    expected: Expected,
    tai_at_zero_ns: u64,
) -> Result<Analysis, Error> {
    check_rate(packets, &expected)?;
    let mut learner = Arrivals::new(expected);
    let images =
        packets.iter().filter_map(|&(at_ns, stamp)| learner.packet(at_ns, tai_at_zero_ns, stamp));
    let images = images.count();
    let Some(meter) = learner.meter() else {
        return Err(Error::Short { images, packets: packets.len() });
    };
    let number = meter.schedule().images().packets;
    let mut arrivals = Arrivals::with_packets(expected, number).map_err(Error::Schedule)?;
    let (mut points, mut images) = (Vec::with_capacity(packets.len()), Vec::new());
    for &(at_ns, stamp) in packets {
        images.extend(arrivals.packet(at_ns, tai_at_zero_ns, stamp));
        if let Some(levels) = arrivals.levels() {
            points.push(Point { tai_ns: at_ns.saturating_add(tai_at_zero_ns), levels });
        }
    }
    let meter = arrivals.meter().ok_or(Error::Short { images: images.len(), packets: 0 })?;
    let whole = images.iter().filter_map(|arrived: &Arrived| arrived.image.as_ref());
    Ok(Analysis {
        schedule: *meter.schedule(),
        limits: *meter.limits(),
        worst: whole.fold(Worst::NONE, |worst, image| worst.and(&image.into())),
        times: images.iter().fold(Times::NONE, |times, image| times.and(&image.times)),
        points,
        images,
    })
}

/// The commonest step of timestamps is that of the rate, to a tick.
fn check_rate(packets: &[(u64, Stamp)], expected: &Expected) -> Result<(), Error> {
    let mut steps: Vec<u32> = (packets.windows(2))
        .map(|pair| pair[1].1.timestamp.wrapping_sub(pair[0].1.timestamp))
        .filter(|&step| step > 0 && step < 1 << 31)
        .collect();
    steps.sort_unstable();
    let Some(&ticks) = steps.get(steps.len() / 2) else {
        return Err(Error::Short { images: 1, packets: packets.len() });
    };
    let of_image = expected.images.rate().timestamp(1);
    // Segments of a frame may share its timestamp.
    let of_frame = expected.images.frames.timestamp(1);
    if ticks.abs_diff(of_image) <= 1 || ticks.abs_diff(of_frame) <= 1 {
        Ok(())
    } else {
        Err(Error::Rate { ticks, expected: of_image })
    }
}
