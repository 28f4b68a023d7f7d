//! What comes, found out from the packets alone.
//!
//! ```text
//!   packets ─► streams, by addresses, port and SSRC ─► what each packet says: stamps, pieces of lines
//!                                                          │
//!                       video: two pieces of a line that lie side by side give octets per pixel,
//!                       so pgroup, sampling and depth; extents give the size; timestamps the rate
//! ```
//!
//! What several formats have in common cannot be told apart, and is not guessed: 4:4:4 and RGB have
//! the same pgroups, at 8 bits also those of 4:2:2 at 12. All that fit are named. Colours are not in
//! the packets at all.

use std::net::IpAddr;

use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_dataplane::wire::{Fragment, Rfc4175, Rtp};

use super::redundancy::{Memory, Merge};
use super::timing::arrivals::Stamp;

mod other;
mod rate;
mod video;

pub use other::{Ancillary, Audio};
pub use video::{Candidate, Cut, Video};

use video::Pieces;

/// Streams that are followed at most: a table that a flood cannot grow.
const STREAMS_MAX: usize = 256;

/// Packets of a stream that are looked at: five seconds of 4K at 50 frames. They cost 24 octets each.
const PACKETS_MAX: usize = 1 << 22;

/// Packets that make a stream: fewer are noise that looks like RTP.
const PACKETS_MIN: usize = 8;

/// Of a hundred packets so many have to look alike.
const PERCENT: usize = 99;

/// What packets of one stream have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// From where.
    pub source: IpAddr,
    /// From which UDP port.
    pub source_port: u16,
    /// Where to.
    pub destination: IpAddr,
    /// To which UDP port.
    pub port: u16,
    /// RTP synchronisation source.
    pub ssrc: u32,
    /// RTP payload type.
    pub payload_type: u8,
}

/// A packet, as far as it is looked at.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    at_ns: u64,
    stamp: Stamp,
    /// Octets behind the RTP header.
    octets: u16,
}

/// One stream that was seen.
#[derive(Debug)]
struct Seen {
    flow: Flow,
    sightings: Vec<Sighting>,
    /// Packets that were not looked at any more.
    unseen: u64,
    octets: u64,
    datagram_octets_max: usize,
    pieces: Pieces,
    ancillary: usize,
}

/// All streams that were seen.
#[derive(Debug, Default)]
pub struct Probe {
    streams: Vec<Seen>,
    /// Packets of streams beyond those that are followed.
    pub crowded: u64,
    /// Packets that were no RTP.
    pub others: u64,
}

/// What is lost of a stream, and what came twice or in another order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Numbers that never came.
    pub lost: u64,
    /// Numbers that came again.
    pub duplicate: u64,
    /// Numbers that came after later ones.
    pub reordered: u64,
}

/// What a stream is.
#[derive(Clone, Debug)]
pub enum Essence {
    /// ST 2110-20.
    Video(Box<Video>),
    /// ST 2110-30.
    Audio(Audio),
    /// ST 2110-40.
    Ancillary(Ancillary),
    /// RTP of another kind.
    Unknown,
}

/// What was found out of one stream.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its addresses.
    pub flow: Flow,
    /// Packets that came.
    pub packets: u64,
    /// Octets of them, from Ethernet on.
    pub octets: u64,
    /// From the first to the last that was looked at.
    pub span_ns: u64,
    /// What is missing.
    pub losses: Losses,
    /// Octets of the longest UDP datagram, its header included.
    pub datagram_octets_max: usize,
    /// What it is.
    pub essence: Essence,
    /// When each packet came, and what it said.
    pub stamps: Vec<(u64, Stamp)>,
}

impl Finding {
    /// Packets in a second; 0 where there was no time between them.
    pub fn packets_per_second(&self) -> u64 {
        let between = (self.stamps.len() as u64).saturating_sub(1);
        u64::try_from(u128::from(between) * 1_000_000_000 / u128::from(self.span_ns.max(1)))
            .unwrap_or(u64::MAX)
    }
}

impl Probe {
    /// Takes a frame of Ethernet that came at `at_ns`.
    pub fn packet(&mut self, at_ns: u64, octets: &[u8]) {
        let Some((flow, rtp, datagram_octets)) = rtp(octets) else {
            self.others += 1;
            return;
        };
        let known = self.streams.iter().position(|seen| seen.flow == flow);
        let index = match known {
            Some(index) => index,
            None if self.streams.len() < STREAMS_MAX => {
                self.streams.push(Seen::new(flow));
                self.streams.len() - 1
            }
            None => {
                self.crowded += 1;
                return;
            }
        };
        self.streams[index].packet(at_ns, octets.len(), datagram_octets, &rtp);
    }

    /// What was found out; the streams with most packets first.
    pub fn findings(&self) -> Vec<Finding> {
        let enough = |seen: &&Seen| seen.sightings.len() >= PACKETS_MIN;
        let mut all: Vec<_> = self.streams.iter().filter(enough).map(Seen::finding).collect();
        all.sort_by_key(|finding| std::cmp::Reverse(finding.packets));
        all
    }
}

/// The RTP in a frame, whose it is, and the octets of its UDP datagram.
fn rtp(octets: &[u8]) -> Option<(Flow, Rtp<'_>, usize)> {
    let packet = Packet::parse(octets).ok()?;
    let (Transport::Udp(udp), Fragment::Whole) = (packet.transport(), packet.fragment()) else {
        return None;
    };
    let rtp = Rtp::parse(udp.payload()).ok()?;
    // RFC 3551, section 6: 72 to 76 are RTCP's; what ST 2110 has is dynamic, and L16 has numbers
    // of its own.
    if !(96..=127).contains(&rtp.payload_type()) && !matches!(rtp.payload_type(), 10 | 11) {
        return None;
    }
    let flow = Flow {
        source: packet.source(),
        source_port: udp.source(),
        destination: packet.destination(),
        port: udp.destination(),
        ssrc: rtp.ssrc(),
        payload_type: rtp.payload_type(),
    };
    Some((flow, rtp, udp.payload().len() + 8))
}

impl Seen {
    fn new(flow: Flow) -> Self {
        Self {
            flow,
            sightings: Vec::new(),
            unseen: 0,
            octets: 0,
            datagram_octets_max: 0,
            pieces: Pieces::default(),
            ancillary: 0,
        }
    }

    fn packet(&mut self, at_ns: u64, octets: usize, datagram_octets: usize, rtp: &Rtp<'_>) {
        self.octets += octets as u64;
        self.datagram_octets_max = self.datagram_octets_max.max(datagram_octets);
        if self.sightings.len() == PACKETS_MAX {
            self.unseen += 1;
            return;
        }
        let stamp =
            Stamp { sequence: rtp.sequence(), timestamp: rtp.timestamp(), marker: rtp.marker() };
        let payload = rtp.payload();
        let before = self.sightings.last().map(|it| it.stamp);
        let follows = before.is_some_and(|it| it.sequence.wrapping_add(1) == stamp.sequence);
        if let Ok(video) = Rfc4175::parse(payload) {
            self.pieces.packet(&video, payload.len(), stamp.marker, follows);
        }
        self.ancillary += usize::from(other::is_ancillary(payload));
        let octets = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        self.sightings.push(Sighting { at_ns, stamp, octets });
    }

    fn finding(&self) -> Finding {
        let at = |sighting: Option<&Sighting>| sighting.map_or(0, |it| it.at_ns);
        let span_ns = at(self.sightings.last()).saturating_sub(at(self.sightings.first()));
        let stamps: Vec<_> = self.sightings.iter().map(|it| (it.at_ns, it.stamp)).collect();
        Finding {
            flow: self.flow,
            packets: self.sightings.len() as u64 + self.unseen,
            octets: self.octets,
            span_ns,
            losses: losses(&stamps),
            datagram_octets_max: self.datagram_octets_max,
            essence: self.essence(&stamps),
            stamps,
        }
    }

    fn essence(&self, stamps: &[(u64, Stamp)]) -> Essence {
        let mostly = |count: usize| count * 100 >= self.sightings.len() * PERCENT;
        if mostly(self.ancillary) {
            return Essence::Ancillary(Ancillary::of(stamps));
        }
        if mostly(self.pieces.packets)
            && let Some(video) = Video::of(&self.pieces, stamps)
        {
            return Essence::Video(Box::new(video));
        }
        Audio::of(&self.sightings).map_or(Essence::Unknown, Essence::Audio)
    }
}

/// Counts by the 16 bits that every RTP has: not all who send RFC 4175 extend them.
fn losses(stamps: &[(u64, Stamp)]) -> Losses {
    let Some((at_ns, first)) = stamps.first() else { return Losses::default() };
    let mut merge = Merge::new(Memory::ONE_PATH);
    merge.begin(0, first.sequence.into(), *at_ns);
    for (at_ns, stamp) in &stamps[1..] {
        merge.arrive_short(0, stamp.sequence, *at_ns);
    }
    let counts = merge.finish();
    Losses { lost: counts.lost, duplicate: counts.duplicates(), reordered: counts.reordered() }
}

#[cfg(test)]
mod tests;
