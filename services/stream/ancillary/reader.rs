//! From packets to ANC packets, each with its frame.
//!
//! ```text
//!   RTP ─► payload: whole? ─► follow: twice? late? ─► parity and checksum ─► frame and field, ANC
//! ```
//!
//! A payload whose lengths lie is dropped whole. One that is sound may hold an ANC packet whose
//! parity or checksum is wrong: that one is counted and goes no further, its neighbours do.

use tidegate_dataplane::wire::Rtp;

use super::anc::Anc;
use super::payload::{Field, Found, Payload};
use crate::stream::follow::{Counts, Fate, Follow, Mark, Number, Pace, Taken};
use crate::stream::outcome::Outcome;
use crate::stream::redundancy::Memory;
use crate::stream::timing::Rate;

/// Packets of a field at most, for telling a restart from a loss: 64 hold all that an SDI line's
/// ancillary space could.
const PACKETS_PER_FIELD: u32 = 64;

/// What was received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By number.
    pub packets: Counts,
    /// Frames or fields that ended.
    pub fields: u64,
    /// ANC packets that are right.
    pub anc: u64,
    /// ANC packets whose DID, SDID or count has the wrong parity.
    pub wrong_parity: u64,
    /// ANC packets whose checksum is wrong.
    pub wrong_checksum: u64,
}

/// An ANC packet that is right, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its frame, counted from the first of the run.
    pub frame: u64,
    /// Its field.
    pub field: Field,
    /// It.
    pub anc: Anc,
}

/// Takes the packets of one stream.
#[derive(Debug)]
pub struct Reader {
    payload_type: u8,
    rate: Rate,
    follow: Follow,
    /// Number of the frame that the first timestamp of the run is of, and that timestamp.
    origin: (u64, u64),
    /// The newest timestamp, continued beyond 32 bits, and its frame.
    newest: (u64, u64),
    stats: Stats,
}

impl Reader {
    /// Takes ancillary data of frames at `rate`.
    pub fn new(payload_type: u8, rate: Rate) -> Self {
        Self::of_paths(payload_type, rate, Memory::ONE_PATH)
    }

    /// The same, by as many paths as `memory` is for.
    pub fn of_paths(payload_type: u8, rate: Rate, memory: Memory) -> Self {
        let (frames, seconds) = rate.ratio();
        let ticks = u64::from(seconds) * 90_000 / u64::from(frames) / 2;
        let ticks = u32::try_from(ticks.max(1)).unwrap_or(u32::MAX);
        Self {
            payload_type,
            rate,
            follow: Follow::new(Pace { packets: PACKETS_PER_FIELD, ticks }, memory),
            origin: (0, 0),
            newest: (0, 0),
            stats: Stats::default(),
        }
    }

    /// What was received so far.
    pub fn stats(&self) -> Stats {
        Stats { packets: self.follow.counts(), ..self.stats }
    }

    /// Frames since the first, that one included.
    pub const fn frames(&self) -> u64 {
        if self.stats.fields == 0 && self.newest.0 == 0 { 0 } else { self.newest.1 + 1 }
    }

    /// Ends the run: what has not come is lost.
    pub fn finish(&mut self) {
        self.follow.finish();
    }

    /// Time passes.
    pub fn tick(&mut self, now_ns: u64) {
        self.follow.tick(now_ns);
    }

    /// Takes the payload of one UDP datagram, where there is one path.
    pub fn packet(&mut self, datagram: &[u8], each: impl FnMut(Item)) -> Outcome {
        self.packet_by(0, datagram, 0, each)
    }

    /// Takes the payload of one UDP datagram that came by `path`; gives its ANC packets that are
    /// right to `each`.
    pub fn packet_by(
        &mut self,
        path: usize,
        datagram: &[u8],
        now_ns: u64,
        mut each: impl FnMut(Item),
    ) -> Outcome {
        let Ok(rtp) = Rtp::parse(datagram) else { return Outcome::Malformed };
        let Ok(payload) = Payload::parse(rtp.payload()) else { return Outcome::Malformed };
        if rtp.payload_type() != self.payload_type {
            return Outcome::WrongFormat;
        }
        let number = u32::from(payload.sequence_high()) << 16 | u32::from(rtp.sequence());
        let mark =
            Mark { ssrc: rtp.ssrc(), sequence: Number::Long(number), timestamp: rtp.timestamp() };
        match self.follow.packet(path, mark, now_ns) {
            Ok(Taken::First) => {
                // A run goes on with the frames of the one before.
                let frame = self.frames();
                let ticks = (1 << 32) + u64::from(rtp.timestamp());
                (self.origin, self.newest) = ((frame, ticks), (ticks, frame));
            }
            Ok(Taken::Next) => {}
            Err(Fate::Copy) => return Outcome::Copy,
            Err(Fate::Duplicate) => return Outcome::Duplicate,
            Err(Fate::TooLate) => return Outcome::TooLate,
            Err(Fate::Stranger) => return Outcome::Stranger,
        }
        let frame = self.frame_of(rtp.timestamp());
        self.stats.fields += u64::from(rtp.marker());
        for Found { anc, parity_is_right, checksum_is_right } in payload.packets() {
            self.stats.wrong_parity += u64::from(!parity_is_right);
            self.stats.wrong_checksum += u64::from(!checksum_is_right);
            if parity_is_right && checksum_is_right {
                self.stats.anc += 1;
                each(Item { frame, field: payload.field(), anc });
            }
        }
        Outcome::Taken
    }

    /// The frame of this timestamp. That of a second field is half a frame later, and both are
    /// rounded down.
    fn frame_of(&mut self, timestamp: u32) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
        let distance = timestamp.wrapping_sub(self.newest.0 as u32).cast_signed();
        let ticks = self.newest.0.wrapping_add_signed(distance.into());
        let (frames, seconds) = self.rate.ratio();
        let (frames, unit) = (u128::from(frames), u128::from(seconds) * 90_000);
        // Whole frames since the origin, of which a quarter may be missing.
        let since = u128::from(ticks.saturating_sub(self.origin.1));
        let whole = (since * frames + unit / 4) / unit;
        let frame = self.origin.0 + u64::try_from(whole).expect("less than there are ticks");
        if ticks > self.newest.0 {
            self.newest = (ticks, frame);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::super::anc::{Head, with_parity};
    use super::super::file::Entry;
    use super::super::packetizer::{Packetizer, Part};
    use super::*;

    fn packet(sequence: u32, timestamp: u32, field: Field, entries: &[Entry]) -> Vec<u8> {
        let part = Part::of(entries);
        let mut octets = vec![0; part.packet_octets()];
        Packetizer::new(100, 7).write(&mut octets, &part, sequence, timestamp, field);
        octets
    }

    fn entry(value: u8) -> Entry {
        let head = Head { is_colour: false, line: 9, offset: 0, stream: None, did: 1, sdid: 2 };
        Entry { frame: 0, field: Field::Whole, head, words: Box::new([with_parity(value)]) }
    }

    fn reader(rate: &str) -> Reader {
        Reader::new(100, rate.parse().unwrap())
    }

    #[test]
    fn frames_are_told_by_their_timestamps_through_every_wrap() {
        for rate in ["25", "60000/1001", "24000/1001", "50"] {
            let mut reader = reader(rate);
            let rate: Rate = rate.parse().unwrap();
            // Frames before and behind the wrap of the clock, some lost.
            let first = rate.next_frame((u64::from(u32::MAX) / 90_000 - 1) * 1_000_000_000);
            let mut frames = Vec::new();
            for frame in (0..200).filter(|it| it % 7 != 3) {
                let timestamp = rate.timestamp(first + frame);
                let number = u32::try_from(frame).unwrap().wrapping_sub(50);
                let octets = packet(number, timestamp, Field::Whole, &[entry(1)]);
                assert_eq!(reader.packet(&octets, |it| frames.push(it.frame)), Outcome::Taken);
            }
            assert_eq!(frames, (0..200).filter(|it| it % 7 != 3).collect::<Vec<u64>>());
            reader.finish();
            let stats = reader.stats();
            assert_eq!(
                (stats.packets.lost, stats.packets.restarts, stats.anc),
                (28, 0, 171),
                "{rate}"
            );
            assert_eq!((stats.fields, reader.frames()), (171, 199), "the last frame is lost, too");
        }
    }

    #[test]
    fn both_fields_are_of_one_frame() {
        let mut reader = reader("25");
        let mut found = Vec::new();
        for index in 0..6 {
            let field = [Field::First, Field::Second][usize::try_from(index % 2).unwrap()];
            let octets = packet(index, index * 1800, field, &[entry(1)]);
            reader.packet(&octets, |it| found.push((it.frame, it.field == Field::Second)));
        }
        assert_eq!(found, [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)]);
    }

    #[test]
    fn wrong_packets_are_counted_and_their_neighbours_taken() {
        let mut reader = reader("25");
        let mut octets = packet(0, 0, Field::Whole, &[entry(1), entry(2), entry(3)]);
        // A bit of the first one's user data, and of the second one's DID with its checksum left.
        octets[20 + 8] ^= 0x40;
        octets[20 + 12 + 4] ^= 0x01;
        let mut words = Vec::new();
        assert_eq!(reader.packet(&octets, |it| words.push(it.anc.words()[0])), Outcome::Taken);
        assert_eq!(words, [with_parity(3)]);
        let stats = reader.stats();
        assert_eq!((stats.anc, stats.wrong_parity, stats.wrong_checksum), (1, 1, 2));
    }

    #[test]
    fn what_is_none_of_it_changes_nothing() {
        let mut reader = reader("25");
        let good = packet(0, 0, Field::Whole, &[entry(1)]);
        let mut none = |octets: &[u8]| reader.packet(octets, |it| panic!("{it:?}"));
        assert_eq!(none(&good[..11]), Outcome::Malformed);
        assert_eq!(none(&good[..good.len() - 1]), Outcome::Malformed);
        let mut other = good.clone();
        other[1] = 99;
        assert_eq!(none(&other), Outcome::WrongFormat);
        assert_eq!(reader.stats(), Stats::default());
        assert_eq!(reader.packet(&good, |_| {}), Outcome::Taken);
        assert_eq!(reader.packet(&good, |_| {}), Outcome::Duplicate);
    }
}
