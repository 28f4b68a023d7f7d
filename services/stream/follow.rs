//! One source's packets among all that come: which number each has, and when a source began anew.
//!
//! For the small essences, sound and ancillary data. Video has its own, whose packets follow each
//! other a hundred times as fast and which fits its numbers to frames.

use super::redundancy::{Arrival, Memory, Merge, merge};

/// Packets in a row that do not fit the run before a new one is begun for them. One would let a
/// single stray packet end a healthy stream; at 16, a restarted source loses 16 ms of sound at
/// most.
const STRANGERS_MAX: u32 = 16;

/// How fast a source numbers its packets at most: so many for so many ticks of its clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Packets.
    pub packets: u32,
    /// Ticks.
    pub ticks: u32,
}

/// What RTP says about a packet.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number: 32 bits, or the 16 that there are.
    pub sequence: Number,
    /// Timestamp.
    pub timestamp: u32,
}

/// A sequence number as it came.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Of RTP alone.
    Short(u16),
    /// With the payload format's upper half.
    Long(u32),
}

/// A packet of the stream that came for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The first of a run: what was there before has ended.
    First,
    /// Another one.
    Next,
}

/// Why a packet is none that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The other path brought it before, as it should.
    Copy,
    /// Its number was seen before.
    Duplicate,
    /// Its number is before the window or before the first one.
    TooLate,
    /// It is of another source than the one that we listen to.
    Stranger,
}

/// What came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets taken, each number once.
    pub packets: u64,
    /// Packets that never came, or too late.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after later ones; they are among the packets taken.
    pub reordered: u64,
    /// Runs begun after the first.
    pub restarts: u64,
}

/// Follows one source, by one path or two.
#[derive(Debug)]
pub struct Follow {
    pace: Pace,
    account: Merge,
    /// Source and newest timestamp of the run, once there is one.
    run: Option<(u32, u32)>,
    strangers_in_row: u32,
    restarts: u64,
    /// Of runs that have ended.
    ended: merge::Counts,
}

impl Follow {
    /// Follows a source that is no faster than `pace`.
    pub fn new(pace: Pace, memory: Memory) -> Self {
        Self {
            pace,
            account: Merge::new(memory),
            run: None,
            strangers_in_row: 0,
            restarts: 0,
            ended: merge::Counts::default(),
        }
    }

    /// What came so far. Packets that may still come are not yet among the lost.
    pub fn counts(&self) -> Counts {
        let all = self.by_path();
        Counts {
            packets: all.received,
            lost: all.lost,
            duplicates: all.duplicates(),
            reordered: all.reordered(),
            restarts: self.restarts,
        }
    }

    /// The same by path.
    pub fn by_path(&self) -> merge::Counts {
        if self.run.is_some() { self.ended.and(self.account.counts()) } else { self.ended }
    }

    /// Takes a packet that came by `path`.
    ///
    /// # Errors
    ///
    /// [`Fate`], where the packet is none of the stream's, or not for the first time.
    pub fn packet(&mut self, path: usize, mark: Mark, now_ns: u64) -> Result<Taken, Fate> {
        let Some((ssrc, newest)) = self.run else { return Ok(self.begin(path, mark, now_ns)) };
        let distance = match mark.sequence {
            Number::Short(low) => self.account.distance_short(low).into(),
            Number::Long(number) => self.account.distance(number),
        };
        let ticks = mark.timestamp.wrapping_sub(newest).cast_signed();
        let fate = if ssrc != mark.ssrc {
            Fate::Stranger
        } else if self.pace.contradicts(distance, ticks) {
            return Ok(self.restart(path, mark, now_ns));
        } else {
            let arrival = match mark.sequence {
                Number::Short(low) => self.account.arrive_short(path, low, now_ns),
                Number::Long(number) => self.account.arrive(path, number, now_ns),
            };
            match arrival {
                Arrival::Newest(_) => self.run = Some((ssrc, mark.timestamp)),
                Arrival::Older(_) => {}
                Arrival::Copy => return Err(Fate::Copy),
                Arrival::Duplicate => return Err(Fate::Duplicate),
                Arrival::TooLate => return self.odd(path, mark, now_ns, Fate::TooLate),
            }
            self.strangers_in_row = 0;
            return Ok(Taken::Next);
        };
        self.odd(path, mark, now_ns, fate)
    }

    /// One that is none of the run: after many of them the run is over.
    fn odd(&mut self, path: usize, mark: Mark, now_ns: u64, fate: Fate) -> Result<Taken, Fate> {
        self.strangers_in_row += 1;
        match self.strangers_in_row < STRANGERS_MAX {
            true => Err(fate),
            false => Ok(self.restart(path, mark, now_ns)),
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now_ns: u64) {
        if self.run.is_some() {
            self.account.tick(now_ns);
        }
    }

    /// Ends the run: what has not come is lost.
    pub fn finish(&mut self) {
        if self.run.take().is_some() {
            self.ended = self.ended.and(&self.account.finish());
        }
    }

    fn restart(&mut self, path: usize, mark: Mark, now_ns: u64) -> Taken {
        self.finish();
        self.restarts += 1;
        self.begin(path, mark, now_ns)
    }

    fn begin(&mut self, path: usize, mark: Mark, now_ns: u64) -> Taken {
        let first = match mark.sequence {
            Number::Short(low) => low.into(),
            Number::Long(number) => number,
        };
        self.account.begin(path, first, now_ns);
        self.run = Some((mark.ssrc, mark.timestamp));
        self.strangers_in_row = 0;
        Taken::First
    }
}

impl Pace {
    /// Whether a packet cannot be of a run: numbers and timestamps go different ways, or the number
    /// is further ahead than a sender gets in that time.
    fn contradicts(self, distance: i32, ticks: i32) -> bool {
        if distance <= 0 {
            return ticks > 0;
        }
        let elapsed = u64::from(ticks.max(0).unsigned_abs());
        let periods = elapsed / u64::from(self.ticks) + 2;
        ticks < 0 || u64::from(distance.unsigned_abs()) > periods * u64::from(self.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { packets: 1, ticks: 6 };

    fn mark(ssrc: u32, number: u16, timestamp: u32) -> Mark {
        Mark { ssrc, sequence: Number::Short(number), timestamp }
    }

    #[test]
    fn losses_and_order_are_counted_through_the_wrap_of_sixteen_bits() {
        let mut follow = Follow::new(PACE, Memory::ONE_PATH);
        assert_eq!(follow.packet(0, mark(1, 65_534, u32::MAX - 5), 0), Ok(Taken::First));
        for (number, timestamp) in [(0, 6), (2, 18), (1, 12)] {
            assert_eq!(follow.packet(0, mark(1, number, timestamp), 0), Ok(Taken::Next));
        }
        assert_eq!(follow.packet(0, mark(1, 2, 18), 0), Err(Fate::Duplicate));
        assert_eq!(follow.packet(0, mark(1, 65_533, u32::MAX - 11), 0), Err(Fate::TooLate));
        follow.finish();
        let Counts { packets, lost, duplicates, reordered, restarts } = follow.counts();
        assert_eq!((packets, lost, duplicates, reordered, restarts), (4, 1, 1, 1, 0));
    }

    #[test]
    fn a_source_that_begins_anew_is_followed() {
        // Time goes back, or numbers run ahead of it: at once.
        for (number, timestamp) in [(101, 0), (20_000, 606)] {
            let mut follow = Follow::new(PACE, Memory::ONE_PATH);
            let _ = follow.packet(0, mark(1, 100, 600), 0);
            assert_eq!(
                follow.packet(0, mark(1, number, timestamp), 0),
                Ok(Taken::First),
                "{number}"
            );
            assert_eq!((follow.counts().restarts, follow.counts().lost), (1, 0));
        }
        // Another source: as soon as it is the only one.
        let mut follow = Follow::new(PACE, Memory::ONE_PATH);
        let _ = follow.packet(0, mark(1, 100, 600), 0);
        for number in 0..15 {
            assert_eq!(follow.packet(0, mark(2, number, 0), 0), Err(Fate::Stranger));
        }
        let _ = follow.packet(0, mark(1, 101, 606), 0);
        for number in 0..15 {
            assert_eq!(follow.packet(0, mark(2, number, 0), 0), Err(Fate::Stranger));
        }
        assert_eq!(follow.packet(0, mark(2, 15, 0), 0), Ok(Taken::First));
        assert_eq!(follow.counts().restarts, 1);
    }

    #[test]
    fn long_numbers_are_taken_as_they_are() {
        let mut follow = Follow::new(Pace { packets: 64, ticks: 1800 }, Memory::ONE_PATH);
        let long = |number| Mark { ssrc: 1, sequence: Number::Long(number), timestamp: 0 };
        let _ = follow.packet(0, long(u32::MAX), 0);
        assert_eq!(follow.packet(0, long(1), 0), Ok(Taken::Next));
        follow.finish();
        assert_eq!(follow.counts().lost, 1);
    }
}
