//! From packets to frames.
//!
//! ```text
//!   RTP ─► sequence: twice? late? ─► open frame (by timestamp) ─► pixels copied to their place
//!                                          │ first packet, marker, and every number between
//!                                          ▼
//!                                       complete
//! ```
//!
//! A frame begins with the packet that holds the first pixel of line 0 and ends with the one that
//! has the marker; it is complete when every number between has come and its pixels are as many
//! as the format has. So any packing is understood, ours and others', blocks and lines that cross
//! packets included. Two frames are open at most: reordering across a frame's boundary is
//! forgiven, anything later is counted.
//!
//! Sources come and go. Another source, or numbers and timestamps that contradict each other,
//! start a new run: what is open is closed and counting begins anew, nothing is lost by it.

use tidegate_dataplane::wire::{Rfc4175, Rtp};

use super::format::Format;
use super::sequence::{Arrival, Sequence};

/// Frames that are assembled at the same time.
const OPEN_FRAMES: usize = 2;

/// Packets in a row that do not fit the run before a new one is begun for them. One would let a
/// single stray packet end a healthy stream; at 64 a restarted sender loses 64 packets of a frame
/// that nobody expected.
const STRANGERS_MAX: u32 = 64;

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its pixels are where they belong, or were not needed any more.
    Taken,
    /// Its number was seen before.
    Duplicate,
    /// Its number is before the window or before the first one.
    TooLate,
    /// It is no RFC 4175.
    Malformed,
    /// It is, but not of this format.
    WrongFormat,
    /// It is from another source than the one that we listen to.
    Stranger,
}

/// What was received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets taken, each number once.
    pub packets: u64,
    /// Packets that never came, or too late.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after later ones; they are among the packets taken.
    pub reordered: u64,
    /// Packets that came after they had been given up.
    pub too_late: u64,
    /// Packets that are no RFC 4175.
    pub malformed: u64,
    /// Packets of another format.
    pub wrong_format: u64,
    /// Packets of other sources.
    pub strangers: u64,
    /// Runs begun after the first.
    pub restarts: u64,
    /// Frames complete.
    pub frames: u64,
    /// Frames given up with packets missing.
    pub frames_incomplete: u64,
    /// Frames that began before or ended after we listened.
    pub frames_cut: u64,
    /// Frames complete but not kept: no memory was free.
    pub frames_unstored: u64,
}

/// A frame with all its pixels.
#[derive(Debug)]
pub struct Complete {
    /// RTP timestamp.
    pub timestamp: u32,
    /// The picture in pgroups.
    pub octets: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    timestamp: u32,
    first: Option<u64>,
    last: Option<u64>,
    packets: u64,
    octets: usize,
    /// It had begun when we came.
    cut: bool,
    memory: Option<Vec<u8>>,
}

/// One source's run.
#[derive(Debug)]
struct Run {
    ssrc: u32,
    sequence: Sequence,
    /// Timestamp of the newest packet.
    timestamp: u32,
    /// Extended sequence number of the newest packet.
    extended: u16,
    /// Whether the low 16 bits have wrapped without it: the source counts with these alone.
    short: bool,
    /// Lost packets already in the statistics.
    counted_lost: u64,
}

/// Puts packets together.
#[derive(Debug)]
pub struct Assembler {
    format: Format,
    payload_type: u8,
    run: Option<Run>,
    strangers_in_row: u32,
    /// The older frame first.
    open: [Option<Open>; OPEN_FRAMES],
    /// Timestamp of the last frame that was closed: no packet opens it again.
    closed: Option<u32>,
    spare: Vec<Vec<u8>>,
    complete: Option<Complete>,
    stats: Stats,
}

impl Assembler {
    /// Assembles frames of `format` into `frames` pieces of memory, all taken now.
    pub fn new(format: Format, payload_type: u8, frames: usize) -> Self {
        // Written, so that the kernel gives the memory now and not within the first frames.
        let spare = (0..frames).map(|_| vec![0xa5; format.frame_octets()]).collect();
        Self {
            format,
            payload_type,
            run: None,
            strangers_in_row: 0,
            open: [None, None],
            closed: None,
            spare,
            complete: None,
            stats: Stats::default(),
        }
    }

    /// What was received so far. Packets that may still come are not yet among the lost.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The frame that the last packet completed, if it did.
    pub const fn take_complete(&mut self) -> Option<Complete> {
        self.complete.take()
    }

    /// Memory of a complete frame, to be used again.
    pub fn give_back(&mut self, octets: Vec<u8>) {
        debug_assert_eq!(octets.len(), self.format.frame_octets());
        self.spare.push(octets);
    }

    /// Ends the run: open frames are cut, what has not come is lost.
    pub fn finish(&mut self) {
        for open in &mut self.open {
            if let Some(open) = open.take() {
                self.stats.frames_cut += 1;
                self.spare.extend(open.memory);
            }
        }
        if let Some(mut run) = self.run.take() {
            self.stats.lost += run.sequence.finish() - run.counted_lost;
        }
        self.closed = None;
    }

    /// Takes the payload of one UDP datagram.
    pub fn packet(&mut self, datagram: &[u8]) -> Outcome {
        let outcome = self.take_packet(datagram);
        let count = match outcome {
            Outcome::Taken => &mut self.stats.packets,
            Outcome::Duplicate => &mut self.stats.duplicates,
            Outcome::TooLate => &mut self.stats.too_late,
            Outcome::Malformed => &mut self.stats.malformed,
            Outcome::WrongFormat => &mut self.stats.wrong_format,
            Outcome::Stranger => &mut self.stats.strangers,
        };
        *count += 1;
        outcome
    }

    fn take_packet(&mut self, datagram: &[u8]) -> Outcome {
        let Ok(rtp) = Rtp::parse(datagram) else { return Outcome::Malformed };
        let Ok(video) = Rfc4175::parse(rtp.payload()) else { return Outcome::Malformed };
        if rtp.payload_type() != self.payload_type || !self.fits(video) {
            return Outcome::WrongFormat;
        }
        let arrival = match self.follow(&rtp, video.extended_sequence()) {
            Ok(arrival) => arrival,
            Err(outcome) => return outcome,
        };
        let number = match arrival {
            Arrival::Newest(number) => number,
            Arrival::Late(number) => {
                self.stats.reordered += 1;
                number
            }
            Arrival::Duplicate => return Outcome::Duplicate,
            Arrival::TooLate => return Outcome::TooLate,
        };
        self.place(rtp, video, number);
        Outcome::Taken
    }

    /// Whether all rows lie within the picture.
    fn fits(&self, video: Rfc4175<'_>) -> bool {
        let pgroup = self.format.depth().pgroup_octets();
        video.rows().all(|row| {
            let octets = u32::try_from(row.data.len()).unwrap_or(u32::MAX);
            let start = u32::from(row.offset_pixels) / 2 * pgroup;
            !row.second_field
                && row.offset_pixels.is_multiple_of(2)
                && u32::from(row.line) < self.format.height()
                && octets.is_multiple_of(pgroup)
                && start + octets <= self.format.line_octets()
        })
    }

    /// Finds the packet's place in the run, or begins a new one.
    fn follow(&mut self, rtp: &Rtp<'_>, extended: u16) -> Result<Arrival, Outcome> {
        let (format, timestamp) = (self.format, rtp.timestamp());
        let Some(run) = &mut self.run else { return Ok(self.begin(rtp, extended)) };
        let sequence = run.number(extended, rtp.sequence(), timestamp);
        let stranger = if run.ssrc != rtp.ssrc() {
            Some(Outcome::Stranger)
        } else if run.contradicts(&format, sequence, timestamp) {
            return Ok(self.restart(rtp, extended));
        } else {
            let arrival = run.sequence.arrive(sequence);
            if let Arrival::Newest(_) = arrival {
                run.timestamp = timestamp;
                run.extended = extended;
            }
            let lost = run.sequence.lost();
            self.stats.lost += lost - std::mem::replace(&mut run.counted_lost, lost);
            match arrival {
                Arrival::TooLate => Some(Outcome::TooLate),
                arrival => {
                    self.strangers_in_row = 0;
                    return Ok(arrival);
                }
            }
        };
        self.strangers_in_row += 1;
        match stranger {
            Some(outcome) if self.strangers_in_row < STRANGERS_MAX => Err(outcome),
            _ => Ok(self.restart(rtp, extended)),
        }
    }

    fn restart(&mut self, rtp: &Rtp<'_>, extended: u16) -> Arrival {
        self.finish();
        self.stats.restarts += 1;
        self.begin(rtp, extended)
    }

    fn begin(&mut self, rtp: &Rtp<'_>, extended: u16) -> Arrival {
        self.strangers_in_row = 0;
        let sequence = Sequence::starting(full(extended, rtp.sequence()));
        let arrival = Arrival::Newest(sequence.newest());
        let (ssrc, timestamp) = (rtp.ssrc(), rtp.timestamp());
        let (short, counted_lost) = (false, 0);
        self.run = Some(Run { ssrc, sequence, timestamp, extended, short, counted_lost });
        arrival
    }

    /// Copies the pixels of packet `number` into its frame.
    fn place(&mut self, rtp: Rtp<'_>, video: Rfc4175<'_>, number: u64) {
        let begins = video.rows().next().is_some_and(|row| row.line == 0 && row.offset_pixels == 0);
        let at_origin = self.run.as_ref().is_some_and(|run| run.sequence.is_origin(number));
        let Some(index) = self.frame(rtp.timestamp(), at_origin && !begins) else { return };
        let Some(open) = &mut self.open[index] else { return };
        open.packets += 1;
        if begins {
            open.first = Some(number);
        }
        if rtp.marker() {
            open.last = Some(number);
        }
        let line_octets = self.format.line_octets() as usize;
        let pgroup = self.format.depth().pgroup_octets() as usize;
        for row in video.rows() {
            open.octets += row.data.len();
            if let Some(memory) = &mut open.memory {
                let start = usize::from(row.line) * line_octets
                    + usize::from(row.offset_pixels) / 2 * pgroup;
                memory[start..start + row.data.len()].copy_from_slice(row.data);
            }
        }
        if open.is_complete(self.format.frame_octets()) {
            self.close_through(index);
        }
    }

    /// The index of the open frame with this timestamp, which is opened if it is a new one.
    fn frame(&mut self, timestamp: u32, cut: bool) -> Option<usize> {
        let is = |open: &Option<Open>| open.as_ref().is_some_and(|o| o.timestamp == timestamp);
        if let Some(index) = self.open.iter().position(is) {
            return Some(index);
        }
        if self.closed.is_some_and(|closed| !is_after(timestamp, closed)) {
            return None;
        }
        let index = match &self.open {
            // Late by a whole frame.
            [_, Some(younger)] if !is_after(timestamp, younger.timestamp) => return None,
            [Some(_), Some(_)] => {
                self.close(0);
                self.open.swap(0, 1);
                1
            }
            [Some(older), None] if !is_after(timestamp, older.timestamp) => {
                self.open.swap(0, 1);
                0
            }
            [Some(_), None] => 1,
            [None, _] => 0,
        };
        let memory = self.spare.pop();
        let (first, last) = (None, None);
        self.open[index] =
            Some(Open { timestamp, first, last, packets: 0, octets: 0, cut, memory });
        Some(index)
    }

    /// Closes frames up to `index`, which is complete: frames leave in order. One that is still
    /// open before it misses packets that would come later than a whole frame.
    fn close_through(&mut self, index: usize) {
        for index in 0..=index {
            self.close(index);
        }
        self.open.swap(0, OPEN_FRAMES - 1 - index);
    }

    fn close(&mut self, index: usize) {
        let Some(open) = self.open[index].take() else { return };
        let complete = open.is_complete(self.format.frame_octets());
        match (complete, open.memory) {
            (true, Some(octets)) => {
                self.stats.frames += 1;
                debug_assert!(self.complete.is_none(), "taken after every packet");
                self.complete = Some(Complete { timestamp: open.timestamp, octets });
            }
            (true, None) => {
                self.stats.frames += 1;
                self.stats.frames_unstored += 1;
            }
            (false, memory) => {
                let count = match open.cut {
                    true => &mut self.stats.frames_cut,
                    false => &mut self.stats.frames_incomplete,
                };
                *count += 1;
                self.spare.extend(memory);
            }
        }
        if self.closed.is_none_or(|closed| is_after(open.timestamp, closed)) {
            self.closed = Some(open.timestamp);
        }
    }
}

impl Open {
    fn is_complete(&self, octets: usize) -> bool {
        match (self.first, self.last) {
            (Some(first), Some(last)) => {
                last >= first && last - first + 1 == self.packets && self.octets == octets
            }
            _ => false,
        }
    }
}

impl Run {
    /// The number of 32 bits that a packet has in this run.
    ///
    /// RFC 4175, section 4.2, has the high half in each packet. FFmpeg and GStreamer leave it at 0
    /// for good, so that their numbers start anew after 65,536 packets. That shows: the next number
    /// by the low half is a whole turn behind by both, while time does not go back. From then on
    /// the low half alone counts, as in ordinary RTP.
    fn number(&mut self, extended: u16, low: u16, timestamp: u32) -> u32 {
        let number = full(extended, low);
        if extended != self.extended {
            self.short = false;
            return number;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
        let newest = self.sequence.newest() as u32;
        let [.., high, low_octet] = newest.to_be_bytes();
        let ahead = low.wrapping_sub(u16::from_be_bytes([high, low_octet])).cast_signed();
        let near = newest.wrapping_add_signed(ahead.into());
        let went_back = timestamp.wrapping_sub(self.timestamp).cast_signed() < 0;
        let turned = self.sequence.distance(number) == i32::from(ahead) - (1 << 16);
        if ahead > 0 && turned && !went_back {
            self.short = true;
        }
        if self.short { near } else { number }
    }

    /// Whether this packet cannot be of the same run: numbers and timestamps go different ways, or
    /// the number is further ahead than a sender gets in that time.
    fn contradicts(&self, format: &Format, sequence: u32, timestamp: u32) -> bool {
        let distance = self.sequence.distance(sequence);
        let ticks = timestamp.wrapping_sub(self.timestamp).cast_signed();
        if distance <= 0 {
            return ticks > 0;
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

/// Whether a timestamp is after another, the shorter way around.
const fn is_after(timestamp: u32, other: u32) -> bool {
    timestamp.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests;
