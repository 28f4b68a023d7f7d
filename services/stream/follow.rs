//! One source's packets among all that come: which number each has, and when a source began anew.
//!
//! For the small essences, sound and ancillary data. Video has its own, whose packets follow each
//! other a hundred times as fast and which fits its numbers to frames.

use super::sequence::{Arrival, Sequence};

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

#[derive(Debug)]
struct Run {
    ssrc: u32,
    sequence: Sequence,
    /// Timestamp of the newest packet.
    timestamp: u32,
    /// Lost packets already counted.
    counted_lost: u64,
}

/// Follows one source.
#[derive(Debug)]
pub struct Follow {
    pace: Pace,
    run: Option<Run>,
    strangers_in_row: u32,
    counts: Counts,
}

impl Follow {
    /// Follows a source that is no faster than `pace`.
    pub const fn new(pace: Pace) -> Self {
        let counts = Counts { packets: 0, lost: 0, duplicates: 0, reordered: 0, restarts: 0 };
        Self { pace, run: None, strangers_in_row: 0, counts }
    }

    /// What came so far. Packets that may still come are not yet among the lost.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a packet.
    ///
    /// # Errors
    ///
    /// [`Fate`], where the packet is none of the stream's, or not for the first time.
    pub fn packet(&mut self, mark: Mark) -> Result<Taken, Fate> {
        let Some(run) = &mut self.run else { return Ok(self.begin(mark)) };
        let number = run.number(mark.sequence);
        let fate = if run.ssrc != mark.ssrc {
            Fate::Stranger
        } else if run.contradicts(self.pace, number, mark.timestamp) {
            return Ok(self.restart(mark));
        } else {
            let arrival = run.sequence.arrive(number);
            let lost = run.sequence.lost();
            self.counts.lost += lost - std::mem::replace(&mut run.counted_lost, lost);
            match arrival {
                Arrival::Newest(_) => run.timestamp = mark.timestamp,
                Arrival::Late(_) => self.counts.reordered += 1,
                Arrival::Duplicate => {
                    self.counts.duplicates += 1;
                    return Err(Fate::Duplicate);
                }
                Arrival::TooLate => {}
            }
            if arrival != Arrival::TooLate {
                self.strangers_in_row = 0;
                self.counts.packets += 1;
                return Ok(Taken::Next);
            }
            Fate::TooLate
        };
        self.strangers_in_row += 1;
        if self.strangers_in_row < STRANGERS_MAX { Err(fate) } else { Ok(self.restart(mark)) }
    }

    /// Ends the run: what has not come is lost.
    pub fn finish(&mut self) {
        if let Some(mut run) = self.run.take() {
            self.counts.lost += run.sequence.finish() - run.counted_lost;
        }
    }

    fn restart(&mut self, mark: Mark) -> Taken {
        self.finish();
        self.counts.restarts += 1;
        self.begin(mark)
    }

    fn begin(&mut self, mark: Mark) -> Taken {
        let Mark { ssrc, sequence, timestamp } = mark;
        let first = match sequence {
            Number::Short(low) => low.into(),
            Number::Long(number) => number,
        };
        let sequence = Sequence::starting(first);
        self.run = Some(Run { ssrc, sequence, timestamp, counted_lost: 0 });
        self.strangers_in_row = 0;
        self.counts.packets += 1;
        Taken::First
    }
}

impl Run {
    fn number(&self, number: Number) -> u32 {
        match number {
            Number::Short(low) => self.sequence.near(low),
            Number::Long(number) => number,
        }
    }

    /// Whether this packet cannot be of the same run: numbers and timestamps go different ways, or
    /// the number is further ahead than a sender gets in that time.
    fn contradicts(&self, pace: Pace, number: u32, timestamp: u32) -> bool {
        let distance = self.sequence.distance(number);
        let ticks = timestamp.wrapping_sub(self.timestamp).cast_signed();
        if distance <= 0 {
            return ticks > 0;
        }
        let elapsed = u64::from(ticks.max(0).unsigned_abs());
        let periods = elapsed / u64::from(pace.ticks) + 2;
        ticks < 0 || u64::from(distance.unsigned_abs()) > periods * u64::from(pace.packets)
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
        let mut follow = Follow::new(PACE);
        assert_eq!(follow.packet(mark(1, 65_534, u32::MAX - 5)), Ok(Taken::First));
        for (number, timestamp) in [(0, 6), (2, 18), (1, 12)] {
            assert_eq!(follow.packet(mark(1, number, timestamp)), Ok(Taken::Next));
        }
        assert_eq!(follow.packet(mark(1, 2, 18)), Err(Fate::Duplicate));
        assert_eq!(follow.packet(mark(1, 65_533, u32::MAX - 11)), Err(Fate::TooLate));
        follow.finish();
        let Counts { packets, lost, duplicates, reordered, restarts } = follow.counts();
        assert_eq!((packets, lost, duplicates, reordered, restarts), (4, 1, 1, 1, 0));
    }

    #[test]
    fn a_source_that_begins_anew_is_followed() {
        // Time goes back, or numbers run ahead of it: at once.
        for (number, timestamp) in [(101, 0), (20_000, 606)] {
            let mut follow = Follow::new(PACE);
            let _ = follow.packet(mark(1, 100, 600));
            assert_eq!(follow.packet(mark(1, number, timestamp)), Ok(Taken::First), "{number}");
            assert_eq!((follow.counts().restarts, follow.counts().lost), (1, 0));
        }
        // Another source: as soon as it is the only one.
        let mut follow = Follow::new(PACE);
        let _ = follow.packet(mark(1, 100, 600));
        for number in 0..15 {
            assert_eq!(follow.packet(mark(2, number, 0)), Err(Fate::Stranger));
        }
        let _ = follow.packet(mark(1, 101, 606));
        for number in 0..15 {
            assert_eq!(follow.packet(mark(2, number, 0)), Err(Fate::Stranger));
        }
        assert_eq!(follow.packet(mark(2, 15, 0)), Ok(Taken::First));
        assert_eq!(follow.counts().restarts, 1);
    }

    #[test]
    fn long_numbers_are_taken_as_they_are() {
        let mut follow = Follow::new(Pace { packets: 64, ticks: 1800 });
        let long = |number| Mark { ssrc: 1, sequence: Number::Long(number), timestamp: 0 };
        let _ = follow.packet(long(u32::MAX));
        assert_eq!(follow.packet(long(1)), Ok(Taken::Next));
        follow.finish();
        assert_eq!(follow.counts().lost, 1);
    }
}
