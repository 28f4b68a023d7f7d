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
//! into their frame, whose timestamp is that of the first. Frames leave in order. With one path two
//! are open at most: reordering across a frame's boundary is forgiven, anything later is counted.
//! With two paths as many are open as the skew has: a frame with a gap, and those behind it, wait
//! for the slower path. What becomes of a frame that is given up with pixels missing is a matter of
//! policy: see [`Incomplete`].
//!
//! Sources come and go; then what is open is closed and counting begins anew, nothing is lost by
//! it: see `source`. A source that changes to another format ends its run, and when it comes back
//! begins another.

use std::collections::VecDeque;

use serde::Deserialize;
use tidegate_dataplane::wire::rfc4175::MAX_ROWS;
use tidegate_dataplane::wire::{Rfc4175, Rtp};

use super::format::{Format, Scan};
use crate::stream::outcome::Outcome;
use crate::stream::redundancy::{Arrival, Counts, Memory, Skew};

mod coverage;
mod grid;
mod run;
mod source;

use coverage::Coverage;
use grid::{Grid, Place};
use run::Run;
use source::{Followed, Source};

/// Frames that are assembled at the same time, by one path.
pub const OPEN_FRAMES: usize = 2;

/// Of two paths: those that begin within the skew too, all of which may have a gap.
#[expect(clippy::cast_possible_truncation, reason = "a second has few frames")]
pub fn open_frames(format: &Format, skew: Skew) -> usize {
    let (frames, seconds) = format.rate().ratio();
    let in_skew = u64::from(frames) * skew.ns();
    OPEN_FRAMES + in_skew.div_ceil(u64::from(seconds) * 1_000_000_000) as usize
}

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
    /// Runs begun after another.
    pub restarts: u64,
    /// Times that the source changed to another format.
    pub format_changes: u64,
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
    /// The lowest number of its packets.
    first: u64,
}

impl Open {
    const fn is_complete(&self) -> bool {
        self.coverage.missing() == 0
    }
}

/// What a packet was to its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    /// The last one missing.
    CompletesFrame,
    /// One of many, or of a frame that is closed.
    Other,
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
    grid: Grid,
    payload_type: u8,
    incomplete: Incomplete,
    span: Span,
    source: Source,
    /// The oldest first.
    open: Vec<Open>,
    open_max: usize,
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
    /// Assembles frames of `format` that come by one path into `frames` pieces of memory, all taken
    /// now.
    pub fn new(format: Format, payload_type: u8, incomplete: Incomplete, frames: usize) -> Self {
        Self::by(format, payload_type, incomplete, frames, Memory::ONE_PATH)
    }

    /// The same by two paths, one of which may be behind by `skew`. Of `frames`, [`open_frames`]
    /// may be in use here at a time.
    pub fn of_two_paths(
        format: Format,
        payload_type: u8,
        incomplete: Incomplete,
        frames: usize,
        skew: Skew,
    ) -> Self {
        let (rate, seconds) = format.rate().ratio();
        let packets = u64::from(format.packets_per_frame()) * u64::from(rate);
        // Other packings have more packets than ours, but hardly twice as many.
        let per_second = 2 * packets.div_ceil(u64::from(seconds));
        let memory = Memory::two_paths(skew, per_second);
        Self::by(format, payload_type, incomplete, frames, memory)
    }

    fn by(
        format: Format,
        payload_type: u8,
        incomplete: Incomplete,
        frames: usize,
        memory: Memory,
    ) -> Self {
        // Written, so that the kernel gives the memory now and not within the first frames.
        let spare = (0..frames).map(|_| vec![0xa5; format.frame_octets()]).collect();
        let coverage = || Coverage::new(format.frame_pgroups());
        let open_max = memory.skew().map_or(OPEN_FRAMES, |skew| open_frames(&format, skew));
        Self {
            format,
            grid: Grid::of(&format),
            payload_type,
            incomplete,
            span: Span::of(&format),
            source: Source::new(format, memory),
            open: Vec::with_capacity(open_max),
            open_max,
            closed: None,
            spare,
            spare_coverage: (0..open_max).map(|_| coverage()).collect(),
            repeatable: false,
            delivered: VecDeque::with_capacity(open_max),
            stats: Stats::default(),
        }
    }

    /// What was received so far. Packets that may still come are not yet among the lost.
    pub fn stats(&self) -> Stats {
        let counts = self.source.counts();
        let (lost, reordered) = (counts.lost, counts.reordered());
        Stats { lost, reordered, ..self.stats }
    }

    /// The same of packets, by path.
    pub fn counts(&self) -> Counts {
        self.source.counts()
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
        self.cut();
        self.source.finish();
    }

    /// The run of the open frames has ended.
    fn cut(&mut self) {
        // Those that are complete only waited for their turn.
        while let Some(open) = self.open.first() {
            match open.is_complete() {
                true => self.close_oldest(),
                false => {
                    let open = self.open.remove(0);
                    self.stats.frames_cut += 1;
                    self.recycle(open.coverage, open.memory);
                }
            }
        }
        self.closed = None;
    }

    /// Time passes: gives up what no path can bring any more. To be called after each burst of
    /// packets, and now and then without one.
    #[inline]
    pub fn tick(&mut self, now_ns: u64) {
        self.source.tick(now_ns);
        if !self.open.is_empty() {
            self.close_ready(now_ns);
        }
    }

    /// Whether time has to be told: a gap may have to be given up though nothing comes.
    pub fn waits(&self) -> bool {
        self.source.is_open()
    }

    /// Takes the payload of one UDP datagram, where there is one path.
    pub fn packet(&mut self, datagram: &[u8]) -> Outcome {
        self.packet_by(0, datagram, 0)
    }

    /// Takes the payload of one UDP datagram that came by `path`.
    ///
    /// # Panics
    ///
    /// When there is no such path.
    pub fn packet_by(&mut self, path: usize, datagram: &[u8], now_ns: u64) -> Outcome {
        let outcome = self.take_packet(path, datagram, now_ns);
        let count = match outcome {
            Outcome::Taken => &mut self.stats.packets,
            Outcome::Copy => return outcome,
            Outcome::Duplicate => &mut self.stats.duplicates,
            Outcome::TooLate => &mut self.stats.too_late,
            Outcome::Malformed => &mut self.stats.malformed,
            Outcome::WrongFormat => &mut self.stats.wrong_format,
            Outcome::Stranger => &mut self.stats.strangers,
        };
        *count += 1;
        outcome
    }

    fn take_packet(&mut self, path: usize, datagram: &[u8], now_ns: u64) -> Outcome {
        let Ok(rtp) = Rtp::parse(datagram) else { return Outcome::Malformed };
        let Ok(video) = Rfc4175::parse(rtp.payload()) else { return Outcome::Malformed };
        // All rows are judged before one is written.
        let mut places = [Place::default(); MAX_ROWS];
        let mut fits = rtp.payload_type() == self.payload_type;
        for (row, into) in video.rows().zip(&mut places) {
            match self.grid.place_of(&row) {
                Some(place) => *into = place,
                None => fits = false,
            }
        }
        if !fits {
            self.another_format(path, now_ns);
            return Outcome::WrongFormat;
        }
        let arrival = match self.source.follow(path, &rtp, video.extended_sequence(), now_ns) {
            Ok(Followed::Of(arrival)) => arrival,
            Ok(Followed::Anew(arrival)) => {
                self.cut();
                self.stats.restarts += 1;
                arrival
            }
            Err(outcome) => return outcome,
        };
        let number = match arrival {
            Arrival::Newest(number) | Arrival::Older(number) => number,
            Arrival::Copy => return Outcome::Copy,
            Arrival::Duplicate => return Outcome::Duplicate,
            Arrival::TooLate => return Outcome::TooLate,
        };
        if self.place(&rtp, video, &places, number) == Placed::CompletesFrame {
            self.close_ready(now_ns);
        }
        Outcome::Taken
    }

    /// A packet was of another format. Where nothing else comes any more the run ends: its numbers
    /// go on meanwhile, and none of them is lost.
    #[cold]
    fn another_format(&mut self, path: usize, now_ns: u64) {
        if self.source.is_another_format(path, now_ns) {
            self.finish();
            self.stats.format_changes += 1;
        }
    }

    /// Copies the pixels of packet `number` into its frame.
    fn place(
        &mut self,
        rtp: &Rtp<'_>,
        video: Rfc4175<'_>,
        places: &[Place],
        number: u64,
    ) -> Placed {
        // A packet has pixels of one field.
        let second = video.rows().next().is_some_and(|row| row.second_field);
        let begins = places[0].start == 0;
        let at_origin = self.source.run().is_some_and(|run| run.is_origin(number));
        let index = self.frame(rtp.timestamp(), second, at_origin && !begins, number);
        let Some(index) = index else { return Placed::Other };
        let open = &mut self.open[index];
        open.first = open.first.min(number);
        if !second {
            open.timestamp = rtp.timestamp();
        }
        let pgroup_octets = self.grid.pgroup_octets as usize;
        for (row, place) in video.rows().zip(places) {
            open.coverage.add(place.start, place.count);
            if let Some(memory) = &mut open.memory {
                memory[place.start * pgroup_octets..][..row.data.len()].copy_from_slice(row.data);
            }
        }
        if open.is_complete() { Placed::CompletesFrame } else { Placed::Other }
    }

    /// The index of the open frame with this timestamp, which is opened if it is a new one.
    fn frame(&mut self, timestamp: u32, second: bool, cut: bool, number: u64) -> Option<usize> {
        let span = self.span;
        let ticks = |from: u32| timestamp.wrapping_sub(from).cast_signed();
        let is_later = |from: u32| ticks(from) > span.to[usize::from(second)];
        let is = |from: u32| ticks(from) >= span.from && !is_later(from);
        // Nearly always it is the youngest.
        if let [.., youngest] = &self.open[..]
            && is(youngest.timestamp)
        {
            return Some(self.open.len() - 1);
        }
        if let Some(index) = self.open.iter().rposition(|open| is(open.timestamp)) {
            return Some(index);
        }
        if self.closed.is_some_and(|closed| !is_later(closed)) {
            return None;
        }
        let behind = |open: &Open| is_later(open.timestamp);
        let mut index = self.open.iter().rposition(behind).map_or(0, |older| older + 1);
        if self.open.len() == self.open_max {
            // Late by all the frames that are open.
            if index < self.open.len() {
                return None;
            }
            self.close_oldest();
            index -= 1;
        }
        let timestamp = if second { timestamp.wrapping_sub(span.second) } else { timestamp };
        let coverage = self.spare_coverage.pop().expect("one for each open frame");
        let memory = self.spare.pop();
        self.open.insert(index, Open { timestamp, coverage, cut, memory, first: number });
        Some(index)
    }

    /// Closes the frames whose turn it is. By one path that is a complete one with all before it,
    /// which miss packets that would come later than a whole frame. By two, one with a gap is waited
    /// for until no path can fill it: until all numbers before the next frame are judged.
    fn close_ready(&mut self, now_ns: u64) {
        if !self.source.waits(now_ns) {
            let complete = self.open.iter().rposition(Open::is_complete);
            for _ in 0..complete.map_or(0, |last| last + 1) {
                self.close_oldest();
            }
            return;
        }
        let settled = self.source.run().map_or(0, Run::settled);
        while let Some(oldest) = self.open.first() {
            let judged = self.open.get(1).is_some_and(|next| next.first <= settled);
            if !oldest.is_complete() && !judged {
                break;
            }
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let open = self.open.remove(0);
        let Open { timestamp, coverage, cut, memory, first: _ } = open;
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
                if missing_octets > 0 {
                    for gap in coverage.gaps() {
                        octets[gap.start * pgroup_octets..gap.end * pgroup_octets].fill(0);
                    }
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
