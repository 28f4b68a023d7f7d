//! One source's run: which number a packet has, and whether it can be of the run at all.

use tidegate_dataplane::wire::Rtp;

use super::super::format::Format;
use crate::stream::redundancy::{Arrival, Counts, Memory, Merge};

/// One source's run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ssrc: u32,
    merge: Merge,
    /// Timestamp of the newest packet.
    timestamp: u32,
    /// Extended sequence number of the newest packet.
    extended: u16,
    /// Whether the low 16 bits have wrapped without it: the source counts with these alone.
    short: bool,
}

impl Run {
    /// Takes the memory; see [`Self::begin`].
    pub(super) fn new(memory: Memory) -> Self {
        Self { ssrc: 0, merge: Merge::new(memory), timestamp: 0, extended: 0, short: false }
    }

    /// Begins with this packet; what was before is gone.
    pub(super) fn begin(
        &mut self,
        path: usize,
        rtp: &Rtp<'_>,
        extended: u16,
        now_ns: u64,
    ) -> Arrival {
        self.merge.begin(path, full(extended, rtp.sequence()), now_ns);
        (self.ssrc, self.timestamp) = (rtp.ssrc(), rtp.timestamp());
        (self.extended, self.short) = (extended, false);
        Arrival::Newest(self.merge.newest())
    }

    /// Whether this is the number that the run began with.
    pub(super) const fn is_origin(&self, number: u64) -> bool {
        self.merge.origin() == number
    }

    /// Whether the number that [`Self::number`] found is before that one.
    pub(super) fn is_before(&self, sequence: u32) -> bool {
        let distance = i64::from(self.merge.distance(sequence));
        self.merge.newest().wrapping_add_signed(distance) < self.merge.origin()
    }

    /// Whether the number is behind by no more than another path may be.
    pub(super) fn is_near(&self, sequence: u32) -> bool {
        self.merge.is_near(sequence)
    }

    /// Takes the packet with the number that [`Self::number`] found.
    #[inline]
    pub(super) fn arrive(
        &mut self,
        path: usize,
        sequence: u32,
        rtp: &Rtp<'_>,
        extended: u16,
        now_ns: u64,
    ) -> Arrival {
        let arrival = self.merge.arrive(path, sequence, now_ns);
        if let Arrival::Newest(_) = arrival {
            self.timestamp = rtp.timestamp();
            self.extended = extended;
        }
        arrival
    }

    /// What was counted since it began.
    pub(super) const fn counts(&self) -> &Counts {
        self.merge.counts()
    }

    /// No packet below this number is taken any more.
    pub(super) const fn settled(&self) -> u64 {
        self.merge.settled()
    }

    /// Whether its newest number is not judged yet.
    pub(super) const fn is_open(&self) -> bool {
        self.merge.settled() <= self.merge.newest()
    }

    /// See [`Merge::is_alone`].
    pub(super) fn is_alone(&self, now_ns: u64) -> bool {
        self.merge.is_alone(now_ns)
    }

    /// Time passes.
    #[inline]
    pub(super) fn tick(&mut self, now_ns: u64) {
        self.merge.tick(now_ns);
    }

    /// Ends it: what has not come is lost.
    pub(super) fn finish(&mut self) -> Counts {
        self.merge.finish()
    }

    /// The number of 32 bits that a packet has in this run.
    ///
    /// RFC 4175, section 4.2, has the high half in each packet. FFmpeg and GStreamer leave it at 0
    /// for good, so that their numbers start anew after 65,536 packets. That shows: the next number
    /// by the low half is a whole turn behind by both, while time does not go back. From then on
    /// the low half alone counts, as in ordinary RTP.
    pub(super) fn number(&mut self, rtp: &Rtp<'_>, extended: u16) -> u32 {
        let (low, timestamp) = (rtp.sequence(), rtp.timestamp());
        let number = full(extended, low);
        if extended != self.extended {
            self.short = false;
            return number;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
        let newest = self.merge.newest() as u32;
        let [.., high, low_octet] = newest.to_be_bytes();
        let ahead = low.wrapping_sub(u16::from_be_bytes([high, low_octet])).cast_signed();
        let near = newest.wrapping_add_signed(ahead.into());
        let went_back = timestamp.wrapping_sub(self.timestamp).cast_signed() < 0;
        let turned = self.merge.distance(number) == i32::from(ahead) - (1 << 16);
        if ahead > 0 && turned && !went_back {
            self.short = true;
        }
        if self.short { near } else { number }
    }

    /// Whether this packet cannot be of the same run: numbers and timestamps go different ways, or
    /// the number is further ahead than a sender gets in that time.
    pub(super) fn contradicts(&self, format: &Format, sequence: u32, timestamp: u32) -> bool {
        let distance = self.merge.distance(sequence);
        let ticks = timestamp.wrapping_sub(self.timestamp).cast_signed();
        if distance <= 0 {
            return ticks > 0;
        }
        // As nearly always: one of the same image, or of the next.
        if ticks >= 0 && u64::from(distance.unsigned_abs()) <= 2 * packets_max(format) {
            return false;
        }
        let (frames, seconds) = format.rate().ratio();
        let elapsed = u64::from(ticks.max(0).unsigned_abs()) * u64::from(frames);
        let frames = elapsed / (u64::from(seconds) * 90_000) + 2;
        // Other packings have more packets in a frame, but hardly four times ours.
        ticks < 0 || u64::from(distance.unsigned_abs()) > frames * packets_max(format)
    }
}

/// The 32 bits of a number from its halves.
fn full(extended: u16, low: u16) -> u32 {
    u32::from(extended) << 16 | u32::from(low)
}

/// More packets than a frame has in any sensible packing.
const fn packets_max(format: &Format) -> u64 {
    format.packets_per_frame() as u64 * 4
}
