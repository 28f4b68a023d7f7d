//! From packets to frames.
//!
//! ```text
//!   RTP ─► sequence: twice? late? ─► open frame (by timestamp) ─► pixels copied to their place
//!                                          │ every pgroup has come
//!                                          ▼
//!                                       complete
//! ```
//!
//! A frame is complete when each of its pgroups has come, however they were packed: any packing is
//! understood, ours and others', blocks and lines that cross packets included. Fields are woven
//! into their frame, whose timestamp is that of the first. Two frames are open at most: reordering
//! across a frame's boundary is forgiven, anything later is counted. What becomes of a frame that
//! is given up with pixels missing is a matter of policy: see [`Incomplete`].
//!
//! Sources come and go. Another source, or numbers and timestamps that contradict each other,
//! start a new run: what is open is closed and counting begins anew, nothing is lost by it.

use std::collections::VecDeque;

use serde::Deserialize;
use tidegate_dataplane::wire::rfc4175::{MAX_ROWS, Row};
use tidegate_dataplane::wire::{Rfc4175, Rtp};

use super::format::{Format, Scan};
use crate::stream::sequence::Arrival;

mod coverage;
mod run;

use coverage::Coverage;
use run::Run;

/// Frames that are assembled at the same time.
const OPEN_FRAMES: usize = 2;

/// Packets in a row that do not fit the run before a new one is begun for them. One would let a
/// single stray packet end a healthy stream; at 64 a restarted sender loses 64 packets of a frame
/// that nobody expected.
const STRANGERS_MAX: u32 = 64;

/// What becomes of a frame that is given up with pixels missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Incomplete {
    /// It is not delivered.
    #[default]
    Drop,
    /// It is delivered with the number of missing octets, which are 0: black in RGB, green in
    /// YCbCr, nothing that could be taken for a picture.
    Mark,
    /// The last complete frame is delivered again, in its place.
    Repeat,
}

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
    /// Frames given up with pixels missing.
    pub frames_incomplete: u64,
    /// Octets of pixels that were missing in them.
    pub octets_missing: u64,
    /// Frames that began before or ended after we listened.
    pub frames_cut: u64,
    /// Frames that were to be delivered but not kept: no memory was free.
    pub frames_unstored: u64,
}

/// A frame that is done with.
#[derive(Debug)]
pub struct Delivered {
    /// RTP timestamp, of its first field if it has two.
    pub timestamp: u32,
    /// Octets of pixels that did not come.
    pub missing_octets: usize,
    /// The picture in pgroups; nothing where the last one is to be shown again.
    pub octets: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Open {
    timestamp: u32,
    coverage: Coverage,
    /// It had begun when we came.
    cut: bool,
    memory: Option<Vec<u8>>,
}

/// Where a row's pgroups belong: the first within the frame, and their number.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: usize,
    count: usize,
}

/// Which timestamps are those of one frame, in ticks from its own.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: i32,
    /// For the first field and for the second.
    to: [i32; 2],
    /// From the first field to the second.
    second: u32,
}

impl Span {
    /// Progressive frames have one timestamp. The second field is half a frame later, rounded
    /// either way; some senders give both fields the same.
    fn of(format: &Format) -> Self {
        let (frames, seconds) = format.rate().ratio();
        let ticks = 90_000 * u64::from(seconds) / u64::from(frames);
        let ticks = i32::try_from(ticks).unwrap_or(i32::MAX);
        let (eighth, second) = (ticks / 8, (ticks / 2).unsigned_abs());
        match format.scan() {
            Scan::Progressive => Self { from: 0, to: [0, 0], second: 0 },
            Scan::Interlaced => Self { from: -eighth, to: [eighth, 7 * eighth], second },
            Scan::Psf => Self { from: -eighth, to: [eighth, 7 * eighth], second: 0 },
        }
    }
}

/// Puts packets together.
#[derive(Debug)]
pub struct Assembler {
    format: Format,
    payload_type: u8,
    incomplete: Incomplete,
    span: Span,
    run: Option<Run>,
    strangers_in_row: u32,
    /// The older frame first.
    open: [Option<Open>; OPEN_FRAMES],
    /// Timestamp of the last frame that was closed: no packet opens it again.
    closed: Option<u32>,
    spare: Vec<Vec<u8>>,
    spare_coverage: Vec<Coverage>,
    /// Whether there is a picture to repeat.
    repeatable: bool,
    delivered: VecDeque<Delivered>,
    stats: Stats,
}

impl Assembler {
    /// Assembles frames of `format` into `frames` pieces of memory, all taken now.
    pub fn new(format: Format, payload_type: u8, incomplete: Incomplete, frames: usize) -> Self {
        // Written, so that the kernel gives the memory now and not within the first frames.
        let spare = (0..frames).map(|_| vec![0xa5; format.frame_octets()]).collect();
        let coverage = || Coverage::new(format.frame_pgroups());
        Self {
            format,
            payload_type,
            incomplete,
            span: Span::of(&format),
            run: None,
            strangers_in_row: 0,
            open: [None, None],
            closed: None,
            spare,
            spare_coverage: (0..OPEN_FRAMES).map(|_| coverage()).collect(),
            repeatable: false,
            delivered: VecDeque::with_capacity(OPEN_FRAMES),
            stats: Stats::default(),
        }
    }

    /// What was received so far. Packets that may still come are not yet among the lost.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The next frame that the last packet finished, if it did. To be taken after each packet;
    /// there may be two.
    pub fn take_delivered(&mut self) -> Option<Delivered> {
        self.delivered.pop_front()
    }

    /// Memory of a frame, to be used again.
    pub fn give_back(&mut self, octets: Vec<u8>) {
        debug_assert_eq!(octets.len(), self.format.frame_octets());
        self.spare.push(octets);
    }

    /// Ends the run: open frames are cut, what has not come is lost.
    pub fn finish(&mut self) {
        for index in 0..OPEN_FRAMES {
            if let Some(open) = self.open[index].take() {
                self.stats.frames_cut += 1;
                self.recycle(open.coverage, open.memory);
            }
        }
        if let Some(run) = self.run.take() {
            self.stats.lost += run.finish();
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
        // All rows are judged before one is written.
        let mut places = [Place::default(); MAX_ROWS];
        for (row, into) in video.rows().zip(&mut places) {
            let Some(place) = self.place_of(&row) else { return Outcome::WrongFormat };
            *into = place;
        }
        if rtp.payload_type() != self.payload_type {
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
        self.place(&rtp, video, &places, number);
        Outcome::Taken
    }

    /// Where a row's pixels belong, if they lie within the picture.
    #[inline]
    fn place_of(&self, row: &Row<'_>) -> Option<Place> {
        let (format, pgroup) = (&self.format, self.format.pgroup());
        let (line, offset) = (u32::from(row.line), u32::from(row.offset_pixels));
        let field = u32::from(row.second_field);
        // Lines and pixels of a pgroup are powers of two.
        let (start, in_field) =
            (offset >> pgroup.pixels.trailing_zeros(), line >> pgroup.lines.trailing_zeros());
        let count = u16::try_from(row.data.len()).ok().and_then(|octets| pgroup.count(octets))?;
        let fits = offset & (pgroup.pixels - 1) == 0
            && line & (pgroup.lines - 1) == 0
            && field < format.fields()
            && in_field < format.field_rows()
            && start + count <= format.row_pgroups();
        let whole = in_field * format.fields() + field;
        let start = (whole * format.row_pgroups() + start) as usize;
        fits.then_some(Place { start, count: count as usize })
    }

    /// Finds the packet's place in the run, or begins a new one.
    fn follow(&mut self, rtp: &Rtp<'_>, extended: u16) -> Result<Arrival, Outcome> {
        let Some(run) = &mut self.run else { return Ok(self.begin(rtp, extended)) };
        let sequence = run.number(rtp, extended);
        let stranger = if run.ssrc != rtp.ssrc() {
            Outcome::Stranger
        } else if run.contradicts(&self.format, sequence, rtp.timestamp()) {
            return Ok(self.restart(rtp, extended));
        } else {
            let arrival = run.arrive(sequence, rtp, extended);
            self.stats.lost += run.newly_lost();
            if arrival != Arrival::TooLate {
                self.strangers_in_row = 0;
                return Ok(arrival);
            }
            Outcome::TooLate
        };
        self.strangers_in_row += 1;
        match self.strangers_in_row < STRANGERS_MAX {
            true => Err(stranger),
            false => Ok(self.restart(rtp, extended)),
        }
    }

    fn restart(&mut self, rtp: &Rtp<'_>, extended: u16) -> Arrival {
        self.finish();
        self.stats.restarts += 1;
        self.begin(rtp, extended)
    }

    fn begin(&mut self, rtp: &Rtp<'_>, extended: u16) -> Arrival {
        self.strangers_in_row = 0;
        self.run.insert(Run::begin(rtp, extended)).first()
    }

    /// Copies the pixels of packet `number` into its frame.
    fn place(&mut self, rtp: &Rtp<'_>, video: Rfc4175<'_>, places: &[Place], number: u64) {
        // A packet has pixels of one field.
        let second = video.rows().next().is_some_and(|row| row.second_field);
        let begins = places[0].start == 0;
        let at_origin = self.run.as_ref().is_some_and(|run| run.is_origin(number));
        let index = self.frame(rtp.timestamp(), second, at_origin && !begins);
        let Some(index) = index else { return };
        let Some(open) = &mut self.open[index] else { return };
        if !second {
            open.timestamp = rtp.timestamp();
        }
        let pgroup_octets = self.format.pgroup().octets as usize;
        for (row, place) in video.rows().zip(places) {
            open.coverage.add(place.start, place.count);
            if let Some(memory) = &mut open.memory {
                memory[place.start * pgroup_octets..][..row.data.len()].copy_from_slice(row.data);
            }
        }
        if open.coverage.missing() == 0 {
            self.close_through(index);
        }
    }

    /// The index of the open frame with this timestamp, which is opened if it is a new one.
    fn frame(&mut self, timestamp: u32, second: bool, cut: bool) -> Option<usize> {
        let span = self.span;
        let ticks = |from: u32| timestamp.wrapping_sub(from).cast_signed();
        let is_later = |from: u32| ticks(from) > span.to[usize::from(second)];
        let is = |from: u32| ticks(from) >= span.from && !is_later(from);
        let is_open = |open: &Option<Open>| open.as_ref().is_some_and(|open| is(open.timestamp));
        if let Some(index) = self.open.iter().position(is_open) {
            return Some(index);
        }
        if self.closed.is_some_and(|closed| !is_later(closed)) {
            return None;
        }
        let index = match &self.open {
            // Late by a whole frame.
            [_, Some(younger)] if !is_later(younger.timestamp) => return None,
            [Some(_), Some(_)] => {
                self.close(0);
                self.open.swap(0, 1);
                1
            }
            [Some(older), None] if !is_later(older.timestamp) => {
                self.open.swap(0, 1);
                0
            }
            [Some(_), None] => 1,
            [None, _] => 0,
        };
        let timestamp = if second { timestamp.wrapping_sub(span.second) } else { timestamp };
        let coverage = self.spare_coverage.pop().expect("one for each open frame");
        let memory = self.spare.pop();
        self.open[index] = Some(Open { timestamp, coverage, cut, memory });
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
        let Open { timestamp, coverage, cut, memory } = open;
        if self.closed.is_none_or(|closed| is_after(timestamp, closed)) {
            self.closed = Some(timestamp);
        }
        let pgroup_octets = self.format.pgroup().octets as usize;
        let missing_octets = coverage.missing() * pgroup_octets;
        let policy = match (missing_octets, cut) {
            (0, _) => {
                self.stats.frames += 1;
                Incomplete::Mark
            }
            (_, true) => {
                self.stats.frames_cut += 1;
                Incomplete::Drop
            }
            (_, false) => {
                self.stats.frames_incomplete += 1;
                self.stats.octets_missing += missing_octets as u64;
                self.incomplete
            }
        };
        let memory = match (policy, memory) {
            (Incomplete::Mark, Some(mut octets)) => {
                for gap in coverage.gaps() {
                    octets[gap.start * pgroup_octets..gap.end * pgroup_octets].fill(0);
                }
                self.repeatable = true;
                self.delivered.push_back(Delivered {
                    timestamp,
                    missing_octets,
                    octets: Some(octets),
                });
                None
            }
            (Incomplete::Mark, None) => {
                self.stats.frames_unstored += 1;
                None
            }
            (Incomplete::Repeat, memory) => {
                if self.repeatable {
                    self.delivered.push_back(Delivered { timestamp, missing_octets, octets: None });
                }
                memory
            }
            (Incomplete::Drop, memory) => memory,
        };
        self.recycle(coverage, memory);
    }

    fn recycle(&mut self, mut coverage: Coverage, memory: Option<Vec<u8>>) {
        coverage.clear();
        self.spare_coverage.push(coverage);
        self.spare.extend(memory);
    }
}

/// Whether a timestamp is after another, the shorter way around.
const fn is_after(timestamp: u32, other: u32) -> bool {
    timestamp.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests;
