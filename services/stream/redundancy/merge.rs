//! Which packets came by which path, which twice, which late, and which by none.
//!
//! ```text
//!          settled: known for good        open: may still come        newest
//!   ……│■■■■■■■■□■■■■■■■■■■■■■■■■■■■■■■│■■□■■■■■■■■■■■■■■■■■■■■■■■■■│    a pair of bits per number
//!     └─ forgotten                    └─ follows the newest, a skew behind
//! ```
//!
//! Numbers are judged once, when the skew has passed since they were the newest: then what is
//! missing on a path is lost on it, and what is missing on all is lost. So always, for the numbers
//! judged, `first arrivals + lost = all`, and the same on each path by itself.
//!
//! Time decides: a *mark* remembers when the newest number was which. The memory behind it only has
//! to be large enough; where it is not, as after a jump of the numbers, they are judged early and
//! not wrongly. With one path there is no skew, and the memory alone decides.
//!
//! The two bits of a number lie side by side, and the newest, what the slower path brings and what
//! is judged are three places that move on: whatever the size, six cache lines are in use.

use super::{PATHS, Skew};

/// Numbers behind the newest that are never judged for want of memory, at the least.
///
/// 8192 are 38 ms of 1080p50, more than any network reorders. Fewer would let a burst that one
/// queue held back look like loss; more tells of a loss on a single path later, which nothing else
/// does.
const SPAN_MIN: u64 = 8192;

/// Marks within a skew. A number is judged late by a part of the skew as small as this at most.
const MARKS: usize = 64;

/// A path that was silent for the skew and for this long is not waited for. Between two images a
/// sender is silent for 3 ms (24 Hz); less would take that for the end of it, more holds frames
/// back for longer where there is nothing to wait for.
const SILENCE_NS: u64 = 20_000_000;

/// What a packet's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before. The number is the sequence number, continued beyond its bits.
    Newest(u64),
    /// Older than the newest, and the first of its number: reordered on the way, or lost on the
    /// faster path.
    Older(u64),
    /// The other path brought it before, as it should.
    Copy,
    /// The same path brought it before.
    Duplicate,
    /// Judged already, or from before the first packet, where that is judged or there is one path.
    TooLate,
}

/// What came by one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathCounts {
    /// Numbers that it brought in time.
    pub received: u64,
    /// Numbers that it did not.
    pub lost: u64,
    /// Packets that it brought again.
    pub duplicates: u64,
    /// Packets that it brought after later ones; they are among those received.
    pub reordered: u64,
    /// Packets that it brought when they had been judged; they are among the lost.
    pub late: u64,
    /// How far it was behind the other path, when that was last seen.
    pub behind_ns: u64,
    /// The most of it.
    pub behind_ns_max: u64,
}

/// What came, altogether and by path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Numbers that came in time, by any path.
    pub received: u64,
    /// Numbers that came by none.
    pub lost: u64,
    /// By path.
    pub paths: [PathCounts; PATHS],
}

impl Counts {
    /// Of both stretches, `later` being the later.
    #[must_use]
    pub fn and(mut self, later: &Self) -> Self {
        self.received += later.received;
        self.lost += later.lost;
        for (path, later) in self.paths.iter_mut().zip(&later.paths) {
            path.received += later.received;
            path.lost += later.lost;
            path.duplicates += later.duplicates;
            path.reordered += later.reordered;
            path.late += later.late;
            path.behind_ns = later.behind_ns;
            path.behind_ns_max = path.behind_ns_max.max(later.behind_ns_max);
        }
        self
    }

    /// Packets that came again by their own path.
    pub fn duplicates(&self) -> u64 {
        self.paths.iter().map(|path| path.duplicates).sum()
    }

    /// Packets that came after later ones of their path.
    pub fn reordered(&self) -> u64 {
        self.paths.iter().map(|path| path.reordered).sum()
    }
}

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `None` with one path.
    skew: Option<Skew>,
    /// Numbers that are not judged before the skew has passed.
    span: u64,
}

impl Memory {
    /// Of one path: a number is lost when 8192 later ones have come.
    pub const ONE_PATH: Self = Self { skew: None, span: SPAN_MIN };

    /// Of two paths of a stream of so many packets a second, one of them up to `skew` behind.
    pub fn two_paths(skew: Skew, packets_per_second: u64) -> Self {
        Self { skew: Some(skew), span: skew.packets(packets_per_second) + SPAN_MIN }
    }

    /// Paths.
    pub const fn paths(&self) -> usize {
        if self.skew.is_some() { PATHS } else { 1 }
    }

    /// The skew between two.
    pub const fn skew(&self) -> Option<Skew> {
        self.skew
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at_ns: u64,
    newest: u64,
}

/// Which numbers were the newest when: as many marks as a skew has, in a ring.
#[derive(Clone, Debug)]
struct Marks {
    ring: [Mark; MARKS + 2],
    first: usize,
    len: usize,
}

impl Marks {
    const fn new() -> Self {
        Self { ring: [Mark { at_ns: 0, newest: 0 }; MARKS + 2], first: 0, len: 0 }
    }

    fn last(&self) -> Option<&Mark> {
        (self.len > 0).then(|| &self.ring[(self.first + self.len - 1) % self.ring.len()])
    }

    /// Adds one; where there is no room the last one is moved, which judges later, not earlier.
    fn push(&mut self, mark: Mark) {
        self.len = (self.len + 1).min(self.ring.len());
        let last = (self.first + self.len - 1) % self.ring.len();
        self.ring[last] = mark;
    }

    /// Takes the first, if it is as old.
    fn pop_aged(&mut self, age_ns: u64, now_ns: u64) -> Option<Mark> {
        let mark = self.ring[self.first];
        if self.len == 0 || now_ns.saturating_sub(mark.at_ns) < age_ns {
            return None;
        }
        self.first = (self.first + 1) % self.ring.len();
        self.len -= 1;
        Some(mark)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Path {
    /// The newest number that it brought.
    newest: Option<u64>,
    /// When it last brought one.
    last_ns: u64,
}

/// A number that one path brought first, to see when the other brings it.
#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u64,
    path: usize,
    at_ns: u64,
}

/// The account of one run of sequence numbers, by one path or two.
#[derive(Clone, Debug)]
pub struct Merge {
    memory: Memory,
    /// A bit for each number and path; a power of two of words.
    words: Box<[[u64; PATHS]]>,
    /// The first number, continued.
    origin: u64,
    newest: u64,
    /// All numbers below are judged.
    settled: u64,
    marks: Marks,
    paths: [Path; PATHS],
    probe: Option<Probe>,
    counts: Counts,
}

impl Merge {
    /// Takes the memory. Nothing has come; see [`Self::begin`].
    pub fn new(memory: Memory) -> Self {
        // Words are cleared as a whole when the newest number enters them.
        let words = (memory.span / 64 + 2).next_power_of_two();
        let words = usize::try_from(words).expect("less memory than there is");
        Self {
            memory,
            words: vec![[0; PATHS]; words].into(),
            origin: 0,
            newest: 0,
            settled: 0,
            marks: Marks::new(),
            paths: [Path::default(); PATHS],
            probe: None,
            counts: Counts::default(),
        }
    }

    /// Begins anew with the packet of number `first`, which has come by `path`. What was counted
    /// before is gone: [`Self::finish`] first.
    pub fn begin(&mut self, path: usize, first: u32, now_ns: u64) {
        // One turn of the 32 bits ahead, so that no distance leads below zero.
        let origin = (1 << 32) + u64::from(first);
        self.words.fill([0; PATHS]);
        (self.origin, self.newest, self.settled) = (origin, origin, origin);
        self.marks = Marks::new();
        // A path that has not spoken yet is waited for as one that just did.
        self.paths = [Path { newest: None, last_ns: now_ns }; PATHS];
        self.probe = None;
        self.counts = Counts::default();
        self.receive(path, origin, now_ns);
        self.look_for(path, origin, now_ns);
    }

    /// From the newest number to `sequence`, the shorter way around.
    pub const fn distance(&self, sequence: u32) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the number")]
        let newest = self.newest as u32;
        sequence.wrapping_sub(newest).cast_signed()
    }

    /// The same for numbers of 16 bits.
    pub const fn distance_short(&self, sequence: u16) -> i16 {
        #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are the number")]
        let newest = self.newest as u16;
        sequence.wrapping_sub(newest).cast_signed()
    }

    /// The newest number, continued.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// The number that the run began with, continued.
    pub const fn origin(&self) -> u64 {
        self.origin
    }

    /// All numbers below this one are judged: no packet of them is taken any more.
    pub const fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether a number is behind the newest by no more than another path may be. Where there is one
    /// path only, none is.
    pub fn is_near(&self, sequence: u32) -> bool {
        let behind = u64::from(self.distance(sequence).min(0).unsigned_abs());
        self.memory.skew.is_some() && behind <= self.memory.span
    }

    /// What was counted since it began. Of the numbers from [`Self::settled`] on, none is lost yet.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes a packet of 32 bits of sequence number, as RFC 4175 has it, by `path`.
    ///
    /// # Panics
    ///
    /// When there is no such path.
    #[inline]
    pub fn arrive(&mut self, path: usize, sequence: u32, now_ns: u64) -> Arrival {
        self.take(path, i64::from(self.distance(sequence)), now_ns)
    }

    /// Takes a packet of 16 bits of sequence number, as RTP has it, by `path`. 32,768 packets are
    /// the most that one path may be behind the other then: eight seconds of audio at 125 us.
    ///
    /// # Panics
    ///
    /// When there is no such path.
    #[inline]
    pub fn arrive_short(&mut self, path: usize, sequence: u16, now_ns: u64) -> Arrival {
        self.take(path, i64::from(self.distance_short(sequence)), now_ns)
    }

    #[inline]
    fn take(&mut self, path: usize, distance: i64, now_ns: u64) -> Arrival {
        assert!(path < self.memory.paths(), "a packet by path {path}");
        let number = self.newest.wrapping_add_signed(distance);
        if distance > 0 {
            self.advance(number);
            self.receive(path, number, now_ns);
            self.look_for(path, number, now_ns);
            return Arrival::Newest(number);
        }
        if number < self.origin {
            if !self.began_by(number) {
                return Arrival::TooLate;
            }
            (self.origin, self.settled) = (number, number);
        }
        if number < self.oldest() {
            return Arrival::TooLate;
        }
        let [word, bit] = place(number, self.words.len());
        let bits = self.words[word];
        if bits[path] & 1 << bit != 0 {
            self.counts.paths[path].duplicates += 1;
            return Arrival::Duplicate;
        }
        if number < self.settled {
            // Remembered, so that another one is a duplicate.
            self.words[word][path] |= 1 << bit;
            self.paths[path].last_ns = now_ns;
            self.counts.paths[path].late += 1;
            return Arrival::TooLate;
        }
        let came = (bits[0] | bits[1]) & 1 << bit != 0;
        self.receive(path, number, now_ns);
        if came { Arrival::Copy } else { Arrival::Older(number) }
    }

    /// Whether the run began with this number, before the first that came: by the slower path, or in
    /// the same burst by the other port.
    fn began_by(&self, number: u64) -> bool {
        let judged = self.settled > self.origin;
        self.memory.skew.is_some() && !judged && self.newest - number <= self.memory.span
    }

    /// The number came by `path`, for the first time.
    #[inline]
    fn receive(&mut self, path: usize, number: u64, now_ns: u64) {
        let [word, bit] = place(number, self.words.len());
        let bits = &mut self.words[word];
        self.counts.received += u64::from((bits[0] | bits[1]) & 1 << bit == 0);
        bits[path] |= 1 << bit;
        let counts = &mut self.counts.paths[path];
        counts.received += 1;
        let own = &mut self.paths[path];
        own.last_ns = now_ns;
        if own.newest.is_some_and(|newest| newest > number) {
            counts.reordered += 1;
            return;
        }
        own.newest = Some(number);
        if let Some(probe) = self.probe
            && probe.path != path
            && number >= probe.number
        {
            self.found(path, number, probe, now_ns);
        }
    }

    /// Remembers when a number came first, if no other is looked for.
    #[inline]
    fn look_for(&mut self, path: usize, number: u64, at_ns: u64) {
        if self.memory.skew.is_some() && self.probe.is_none() {
            self.probe = Some(Probe { number, path, at_ns });
        }
    }

    /// The other path is where the probe was.
    fn found(&mut self, path: usize, number: u64, probe: Probe, now_ns: u64) {
        self.probe = None;
        // Where it lacks just this one, the next is looked for.
        if number == probe.number {
            let behind_ns = now_ns.saturating_sub(probe.at_ns);
            let [own, other] = if path == 0 { [0, 1] } else { [1, 0] };
            self.counts.paths[other].behind_ns = 0;
            let own = &mut self.counts.paths[own];
            own.behind_ns = behind_ns;
            own.behind_ns_max = own.behind_ns_max.max(behind_ns);
        }
    }

    /// The oldest number that there is still a bit for.
    fn oldest(&self) -> u64 {
        let words = self.words.len() as u64;
        (self.newest / 64 + 1).saturating_sub(words) * 64
    }

    /// Makes `number` the newest.
    #[inline]
    fn advance(&mut self, number: u64) {
        let (from, to) = (self.newest / 64, number / 64);
        self.newest = number;
        if from != to {
            self.enter(from, to);
        }
    }

    /// Clears the words behind `from` up to `to`, after judging what was in them.
    fn enter(&mut self, from: u64, to: u64) {
        let words = self.words.len() as u64;
        if to - from >= words {
            // A jump over all that there is memory for.
            self.settle_to((from + 1) * 64);
            self.words.fill([0; PATHS]);
            let judged = self.newest - self.memory.span - self.settled;
            self.settled += judged;
            self.counts.lost += judged;
            for path in &mut self.counts.paths[..self.memory.paths()] {
                path.lost += judged;
            }
            return;
        }
        // Numbers of words not cleared yet are from a turn of the ring before.
        for word in from + 1..=to {
            self.settle_to((word * 64).saturating_sub(self.memory.span));
            let [index, _] = place(word * 64, self.words.len());
            self.words[index] = [0; PATHS];
        }
    }

    /// Judges all numbers below `end`.
    fn settle_to(&mut self, end: u64) {
        while self.settled < end {
            let [word, bit] = place(self.settled, self.words.len());
            let count = (64 - bit as u64).min(end - self.settled);
            let mask = u64::MAX >> (64 - count) << bit;
            let bits = self.words[word];
            let missing = |came: u64| u64::from((!came & mask).count_ones());
            self.counts.lost += missing(bits[0] | bits[1]);
            let paths = self.counts.paths.iter_mut().take(self.memory.paths());
            for (path, came) in paths.zip(bits) {
                path.lost += missing(came);
            }
            self.settled += count;
        }
    }

    /// Time passes: judges what has been open for the skew. To be called after each burst, and now
    /// and then without one: not before, for what came by the other path meanwhile is in it.
    #[inline]
    pub fn tick(&mut self, now_ns: u64) {
        let Some(skew) = self.memory.skew else { return };
        let newest = self.newest;
        let since_ns = skew.ns() / MARKS as u64;
        let due = self.marks.last().is_none_or(|mark| {
            mark.newest < newest && now_ns.saturating_sub(mark.at_ns) >= since_ns
        });
        if due {
            self.marks.push(Mark { at_ns: now_ns, newest });
        }
        while let Some(mark) = self.marks.pop_aged(skew.ns(), now_ns) {
            self.settle_to(mark.newest + 1);
        }
    }

    /// Whether there is nobody to wait for: one path only, or one of two that has been silent for
    /// longer than it may be behind.
    pub fn is_alone(&self, now_ns: u64) -> bool {
        let Some(skew) = self.memory.skew else { return true };
        let silent = |path: &Path| now_ns.saturating_sub(path.last_ns) > skew.ns() + SILENCE_NS;
        self.paths.iter().any(silent)
    }

    /// Ends the run: what has not come by now is lost. Returns all that was counted.
    pub fn finish(&mut self) -> Counts {
        self.settle_to(self.newest + 1);
        self.counts
    }
}

/// Word and bit of a number.
#[expect(clippy::cast_possible_truncation, reason = "below the number of words, and of bits")]
#[inline]
const fn place(number: u64, words: usize) -> [usize; 2] {
    [(number as usize / 64) & (words - 1), number as usize % 64]
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests;
