//! From packets to blocks of samples.
//!
//! ```text
//!   RTP ─► follow: twice? late? ─► open block (by timestamp) ─► samples copied to their place
//!                                     │ a packet came for the block after the next
//!                                     ▼
//!                                  delivered: what did not come is silence
//! ```
//!
//! A block is a fixed number of samples whose first is a multiple of it, so that two receivers cut
//! the same stream in the same places. Two are open: what comes late by less than a block is put
//! where it belongs. Packets of any length are taken; that they are of the right depth and of the
//! right channels, their length alone shows.
//!
//! The first block of a run begins and its last one ends where the run does: nothing is made up
//! around what came.

use std::collections::VecDeque;

use tidegate_dataplane::wire::Rtp;

use super::format::Format;
use crate::stream::follow::{Counts, Fate, Follow, Mark, Number, Pace, Taken};
use crate::stream::outcome::Outcome;
use crate::stream::redundancy::Memory;

/// Samples of a block: 21 ms at 48 kHz. Less and reordering by a few packets of a millisecond would
/// be loss; more and whoever listens waits for it.
pub const BLOCK_SAMPLES: usize = 1024;

/// Blocks that are assembled at the same time, of one path.
const OPEN: usize = 2;

/// Longest pause within a run that is filled with silence, in seconds. Beyond it, sound goes on
/// without one: a file would only grow.
const PAUSE_SECONDS_MAX: u64 = 60;

/// The shortest packets that there are, of 125 us.
const PACE: Pace = Pace { packets: 1, ticks: 6 };

/// What was received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By number.
    pub packets: Counts,
    /// Samples of each channel that came.
    pub samples: u64,
    /// Samples of each channel in whose place there is silence.
    pub samples_silent: u64,
    /// Samples that came and were not kept: no memory was free.
    pub samples_unstored: u64,
}

/// A block that is done with.
#[derive(Debug)]
pub struct Block {
    /// Number of its first place: on the RTP clock, continued beyond 32 bits.
    pub number: u64,
    /// Places that are of the run, from and to.
    pub of_run: (usize, usize),
    /// Which of them have come, a bit each.
    pub present: [u64; BLOCK_SAMPLES / 64],
    /// The samples, as on the wire; 0 where none came.
    pub octets: Vec<u8>,
}

impl Block {
    /// Whether the sample at `place` came.
    pub const fn has(&self, place: usize) -> bool {
        self.present[place / 64] >> (place % 64) & 1 == 1
    }

    /// Places of the run whose samples have not come.
    pub fn missing(&self) -> usize {
        self.len() - self.present.iter().map(|word| word.count_ones() as usize).sum::<usize>()
    }

    /// Samples of each channel.
    pub const fn len(&self) -> usize {
        self.of_run.1 - self.of_run.0
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// RTP timestamp of its first sample.
    #[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
    pub const fn timestamp(&self) -> u32 {
        (self.number + self.of_run.0 as u64) as u32
    }

    /// The samples of the run, each of `frame_octets`.
    pub fn samples(&self, frame_octets: usize) -> &[u8] {
        &self.octets[self.of_run.0 * frame_octets..self.of_run.1 * frame_octets]
    }

    fn mark(&mut self, from: usize, to: usize) -> usize {
        let mut new = 0;
        for place in from..to {
            new += usize::from(!self.has(place));
            self.present[place / 64] |= 1 << (place % 64);
        }
        new
    }
}

/// Puts packets together.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    payload_type: u8,
    follow: Follow,
    /// How many blocks are open at most.
    open_max: usize,
    /// The blocks that are open, the older first, one behind the other.
    open: VecDeque<Block>,
    /// Number of the newest sample, and where the run began.
    newest: u64,
    spare: Vec<Vec<u8>>,
    delivered: VecDeque<Block>,
    stats: Stats,
}

impl Reader {
    /// Assembles sound of `format` in so many pieces of memory, all taken now.
    pub fn new(format: Format, payload_type: u8, blocks: usize) -> Self {
        Self::of_paths(format, payload_type, blocks, Memory::ONE_PATH)
    }

    /// The same, by as many paths as `memory` is for.
    pub fn of_paths(format: Format, payload_type: u8, blocks: usize, memory: Memory) -> Self {
        // What the slower path may still bring finds its block open.
        let rate = u64::from(format.spec().sample_rate);
        let skew_ns = memory.skew().map_or(0, |skew| skew.ns());
        let behind = (skew_ns * rate / 1_000_000_000).div_ceil(BLOCK_SAMPLES as u64);
        let open_max = OPEN + usize::try_from(behind).expect("a second at most");
        let blocks = blocks + open_max - OPEN;
        Self {
            format,
            payload_type,
            follow: Follow::new(PACE, memory),
            open_max,
            open: VecDeque::with_capacity(2 * open_max),
            newest: 0,
            spare: (0..blocks).map(|_| vec![0; BLOCK_SAMPLES * format.frame_octets()]).collect(),
            delivered: VecDeque::with_capacity(2 * open_max),
            stats: Stats::default(),
        }
    }

    /// What was received so far.
    pub fn stats(&self) -> Stats {
        Stats { packets: self.follow.counts(), ..self.stats }
    }

    /// The next block that is done with. To be taken after each packet; there may be several.
    pub fn take_delivered(&mut self) -> Option<Block> {
        self.delivered.pop_front()
    }

    /// Memory of a block, to be used again.
    pub fn give_back(&mut self, octets: Vec<u8>) {
        if !octets.is_empty() {
            self.spare.push(octets);
        }
    }

    /// Ends the run: open blocks are delivered, what has not come is lost.
    pub fn finish(&mut self) {
        self.close_run();
        self.follow.finish();
    }

    /// Takes the payload of one UDP datagram, where there is one path.
    pub fn packet(&mut self, datagram: &[u8]) -> Outcome {
        self.packet_by(0, datagram, 0)
    }

    /// Time passes.
    pub fn tick(&mut self, now_ns: u64) {
        self.follow.tick(now_ns);
    }

    /// Takes the payload of one UDP datagram that came by `path`.
    pub fn packet_by(&mut self, path: usize, datagram: &[u8], now_ns: u64) -> Outcome {
        let Ok(rtp) = Rtp::parse(datagram) else { return Outcome::Malformed };
        let (sound, size) = (rtp.payload(), self.format.frame_octets());
        let samples = sound.len() / size;
        let is_ours = rtp.payload_type() == self.payload_type
            && sound.len().is_multiple_of(size)
            && (1..=BLOCK_SAMPLES).contains(&samples);
        if !is_ours {
            return Outcome::WrongFormat;
        }
        let mark = Mark {
            ssrc: rtp.ssrc(),
            sequence: Number::Short(rtp.sequence()),
            timestamp: rtp.timestamp(),
        };
        let first = match self.follow.packet(path, mark, now_ns) {
            Ok(Taken::First) => {
                self.close_run();
                // One turn of the clock ahead, so that no distance leads below zero.
                let first = (1 << 32) + u64::from(rtp.timestamp());
                self.newest = first;
                self.open_at(first, first);
                first
            }
            Ok(Taken::Next) => self.number_of(rtp.timestamp()),
            Err(Fate::Copy) => return Outcome::Copy,
            Err(Fate::Duplicate) => return Outcome::Duplicate,
            Err(Fate::TooLate) => return Outcome::TooLate,
            Err(Fate::Stranger) => return Outcome::Stranger,
        };
        self.place(first, sound, samples)
    }

    /// The number of a sample of this timestamp, near the newest.
    fn number_of(&self, timestamp: u32) -> u64 {
        let distance = timestamp.wrapping_sub(super::format::timestamp(self.newest)).cast_signed();
        self.newest.wrapping_add_signed(i64::from(distance))
    }

    fn place(&mut self, first: u64, sound: &[u8], samples: usize) -> Outcome {
        let size = self.format.frame_octets();
        let last = first + samples as u64 - 1;
        self.advance(last);
        self.newest = self.newest.max(last);
        let mut outcome = Outcome::TooLate;
        for block in &mut self.open {
            // What of the packet is of this block, in places of the block.
            let start = block.number + block.of_run.0 as u64;
            let from = first.max(start);
            let to = (last + 1).min(block.number + BLOCK_SAMPLES as u64);
            if from >= to {
                continue;
            }
            outcome = Outcome::Taken;
            let within = |number: u64| usize::try_from(number).expect("within a block");
            let (place, count) = (within(from - block.number), within(to - from));
            let new = block.mark(place, place + count) as u64;
            self.stats.samples += new;
            if block.octets.is_empty() {
                self.stats.samples_unstored += new;
                continue;
            }
            let skip = within(from - first) * size;
            block.octets[place * size..][..count * size]
                .copy_from_slice(&sound[skip..][..count * size]);
        }
        outcome
    }

    /// Makes sure that the block of sample `last` is open, and closes those that are too old then.
    fn advance(&mut self, last: u64) {
        let Some(newest) = self.open.back().map(|block| block.number) else { return };
        let wanted = aligned(last);
        if wanted <= newest {
            return;
        }
        let behind = (wanted - newest) / BLOCK_SAMPLES as u64;
        if behind <= self.open_max as u64 {
            for step in 1..=behind {
                let number = newest + step * BLOCK_SAMPLES as u64;
                self.open_at(number, number);
            }
        } else {
            // Nothing came for whole blocks: whoever has the sound sees that by their numbers.
            let pause = wanted - newest - BLOCK_SAMPLES as u64;
            let rate = u64::from(self.format.spec().sample_rate);
            if pause <= PAUSE_SECONDS_MAX * rate {
                self.stats.samples_silent += pause;
            }
            while let Some(block) = self.open.pop_front() {
                self.deliver(block);
            }
            self.open_at(wanted, wanted);
        }
        while self.open.len() > self.open_max {
            let block = self.open.pop_front().expect("more than none");
            self.deliver(block);
        }
    }

    /// Opens the block of sample `number`, of which the run has the places from `from` on.
    fn open_at(&mut self, number: u64, from: u64) {
        let mut octets = self.spare.pop().unwrap_or_default();
        octets.fill(0);
        let number = aligned(number);
        let start = usize::try_from(from - number).expect("within a block");
        let present = [0; BLOCK_SAMPLES / 64];
        self.open.push_back(Block { number, of_run: (start, BLOCK_SAMPLES), present, octets });
    }

    /// Delivers what is open, up to the newest sample.
    fn close_run(&mut self) {
        while let Some(mut block) = self.open.pop_front() {
            let to = (self.newest + 1).saturating_sub(block.number).min(BLOCK_SAMPLES as u64);
            block.of_run.1 = usize::try_from(to).expect("within a block").max(block.of_run.0);
            self.deliver(block);
        }
    }

    fn deliver(&mut self, block: Block) {
        self.stats.samples_silent += block.missing() as u64;
        match block.is_empty() || block.octets.is_empty() {
            true => self.give_back(block.octets),
            false => self.delivered.push_back(block),
        }
    }
}

/// Number of the first sample of the block of this one.
const fn aligned(number: u64) -> u64 {
    number - number % BLOCK_SAMPLES as u64
}

#[cfg(test)]
mod tests;
