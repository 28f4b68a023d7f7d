//! When a receiver reads each packet: ST 2110-21, section 6.
//!
//! ```text
//!  k*T      TVD = k*T + TROFFSET                                   (k+1)*T
//!   │        │ 0 │ 1 │ 2 │ … packet j is read at TVD + j*TRS │       │
//!   └TROFFSET┘   └TRS┘            RACTIVE of T                └ gap ─ … into the next
//! ```
//!
//! What is sent and read as one is an *image*: a frame, or a field or segment where a frame is
//! sent as two. N is its packets, T its period. A *gapped* schedule leaves out the lines that
//! television once needed for its beam to fly back, a *linear* one is even.
//!
//! All times are ratios of integers. One unit, [`Schedule::parts`] to the nanosecond, makes T,
//! TROFFSET and TRS whole numbers, so nothing is rounded before the last step.

use std::fmt;

use serde::Deserialize;

use super::Rate;

/// Most packets of an image. 8K at 8 octets a pixel has 186,000; above, products would not fit.
pub const PACKETS_MAX: u32 = 1 << 20;

/// How a frame is scanned and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scan {
    /// Whole frames.
    #[default]
    Progressive,
    /// Two fields, each of every second line, half a frame apart.
    Interlaced,
    /// A whole frame sent as if it was two fields (PsF).
    Segmented,
}

impl Scan {
    /// All, as written in a configuration.
    pub const WORDS: [&'static str; 3] = ["progressive", "interlaced", "segmented"];

    /// The scan of a word.
    pub fn of(word: &str) -> Option<Self> {
        let all = [Self::Progressive, Self::Interlaced, Self::Segmented];
        all.into_iter().find(|it| it.word() == word)
    }

    /// As written in a configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Progressive => "progressive",
            Self::Interlaced => "interlaced",
            Self::Segmented => "segmented",
        }
    }

    /// Images that a frame is sent as.
    pub const fn images_per_frame(self) -> u32 {
        match self {
            Self::Progressive => 1,
            Self::Interlaced | Self::Segmented => 2,
        }
    }
}

/// Which lines the receiver reads without a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Read {
    /// Only those of the picture: section 6.3.
    Gapped,
    /// Evenly over the whole period: section 6.4.
    Linear,
}

/// What is sent, as far as time is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Frames per second.
    pub frames: Rate,
    /// How each is sent.
    pub scan: Scan,
    /// Lines of a frame.
    pub height: u32,
    /// Packets of an image: of a frame, or of one of its fields or segments.
    pub packets: u32,
}

impl Images {
    /// Images per second.
    pub const fn rate(&self) -> Rate {
        self.frames.times(self.scan.images_per_frame())
    }

    /// RACTIVE of sections 6.3.2, 6.3.3 and 6.4: the part of T in which packets are read.
    const fn active(&self, read: Read) -> (u64, u64) {
        match (read, self.scan, self.height) {
            (Read::Linear, ..) => (1, 1),
            (Read::Gapped, Scan::Progressive, _) => (1080, 1125),
            (Read::Gapped, _, ..576) => (487, 525),
            (Read::Gapped, _, ..1080) => (576, 625),
            (Read::Gapped, ..) => (1080, 1125),
        }
    }

    /// TROdefault of the same sections, as a part of T of an image. The standard gives it for
    /// the fields of a frame as a part of the frame's, which is twice as long.
    const fn offset_default(&self) -> (u64, u64) {
        match (self.scan, self.height) {
            (Scan::Progressive, ..1080) => (28, 750),
            (Scan::Progressive, _) => (43, 1125),
            (_, ..576) => (2 * 20, 525),
            (_, ..1080) => (2 * 26, 625),
            (..) => (2 * 22, 1125),
        }
    }
}

/// Why there is no such schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// TROFFSET is as long as an image, or longer.
    Offset {
        /// As asked for.
        microseconds: u32,
        /// T, rounded down.
        period_microseconds: u64,
    },
    /// An image has no packets, or too many.
    Packets(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset { microseconds, period_microseconds } => write!(
                f,
                "troffset_us {microseconds}: a picture is read within its own period; allowed are \
                 0 to {period_microseconds}"
            ),
            Self::Packets(found) => {
                write!(f, "{found} packets of a picture; allowed are 1 to {PACKETS_MAX}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// A moment, exact: nanoseconds since the epoch and [`Schedule::parts`] of one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Whole nanoseconds.
    pub ns: u64,
    /// What is over, less than a nanosecond.
    pub part: u64,
}

/// The packet read schedule of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    images: Images,
    read: Read,
    /// Parts of a nanosecond in which the times below are whole.
    parts: u64,
    /// T, TROFFSET and TRS, in parts.
    period: u128,
    offset: u128,
    spacing: u64,
    /// TLINE/2, in parts; 0 where there is no second field, or no gap.
    half_line: u128,
    offset_us: Option<u32>,
}

impl Schedule {
    /// TROFFSET is `offset_us`, as an SDP's TROFF gives it, or TROdefault.
    ///
    /// # Errors
    ///
    /// When the offset is not within a period, or there are no packets or too many.
    pub fn new(images: Images, read: Read, offset_us: Option<u32>) -> Result<Self, Error> {
        if !(1..=PACKETS_MAX).contains(&images.packets) {
            return Err(Error::Packets(images.packets));
        }
        let (frames, seconds) = images.rate().ratio();
        let (active, of_active) = images.active(read);
        let (offset, of_offset) = images.offset_default();
        // T, and TROdefault and TRS, in nanoseconds. A rate's numbers are below 2^21, N is at
        // most 2^20, the constants are below 2^11 and a second below 2^30 nanoseconds: every
        // product here fits in 63 bits.
        let period = Ratio::new(u64::from(seconds) * SECOND_NS, u64::from(frames));
        let offset = match offset_us {
            Some(microseconds) => Ratio::new(u64::from(microseconds) * 1000, 1),
            None => period.times(offset, of_offset),
        };
        let spacing = period.times(active, of_active * u64::from(images.packets));
        if offset.at_least(period) {
            let microseconds = offset_us.expect("TROdefault is a part of T");
            let period_microseconds = (period.numerator - 1) / period.denominator / 1000;
            return Err(Error::Offset { microseconds, period_microseconds });
        }
        // A frame has as many lines as RACTIVE is a part of, and so have the half lines of a field.
        let half_line = match (images.scan, read) {
            (Scan::Progressive, _) | (_, Read::Linear) => Ratio::new(0, 1),
            (_, Read::Gapped) => period.times(1, of_active),
        };
        let all = [period, offset, spacing, half_line].map(|ratio| ratio.denominator);
        let parts = all.into_iter().fold(1, common);
        let whole =
            |ratio: Ratio| u128::from(ratio.numerator) * u128::from(parts / ratio.denominator);
        let spacing = u64::try_from(whole(spacing)).expect("below 2^62, see above");
        Ok(Self {
            images,
            read,
            parts,
            period: whole(period),
            offset: whole(offset),
            spacing,
            half_line: whole(half_line),
            offset_us,
        })
    }

    /// The same images, read otherwise.
    #[must_use]
    pub fn read_by(&self, read: Read) -> Self {
        Self::new(self.images, read, self.offset_us).expect("neither packets nor TROFFSET change")
    }

    /// What is sent.
    pub const fn images(&self) -> &Images {
        &self.images
    }

    /// Which kind of schedule it is.
    pub const fn read(&self) -> Read {
        self.read
    }

    /// RACTIVE, as a ratio.
    pub const fn active(&self) -> (u64, u64) {
        self.images.active(self.read)
    }

    /// Parts of a nanosecond in which all times of this schedule are whole.
    pub const fn parts(&self) -> u64 {
        self.parts
    }

    /// TRS in parts.
    pub const fn spacing_parts(&self) -> u64 {
        self.spacing
    }

    /// TROFFSET in nanoseconds, rounded down.
    pub fn offset_ns(&self) -> u64 {
        self.whole_ns(self.offset)
    }

    /// T in nanoseconds, rounded down.
    pub fn period_ns(&self) -> u64 {
        self.whole_ns(self.period)
    }

    /// TRS of `packets` packets in nanoseconds, rounded down.
    pub fn spacing_ns(&self, packets: u32) -> u64 {
        self.whole_ns(u128::from(self.spacing) * u128::from(packets))
    }

    /// TRS as a ratio of nanoseconds.
    pub const fn spacing_ratio(&self) -> (u64, u64) {
        (self.spacing, self.parts)
    }

    /// Most packets whose TRS fit into `1 / divisor` of TROFFSET.
    pub fn offset_packets(&self, divisor: u32) -> u32 {
        let packets = self.offset / u128::from(divisor) / u128::from(self.spacing);
        u32::try_from(packets).expect("TROFFSET is shorter than T")
    }

    /// TVD: when the first packet of image `index` is read.
    ///
    /// # Panics
    ///
    /// When that is more than 584 years after the epoch.
    pub fn read_starts(&self, index: u64) -> Moment {
        self.moment(self.period * u128::from(index) + self.offset)
    }

    /// TPRj: when packet `packet` of image `index` is read.
    ///
    /// # Panics
    ///
    /// As [`Self::read_starts`].
    pub fn read_at(&self, index: u64, packet: u32) -> Moment {
        let into = u128::from(self.spacing) * u128::from(packet);
        self.moment(self.period * u128::from(index) + self.offset + into)
    }

    /// `lead` packets before TVD, but not before `k * T`: when a sender starts that uses so much
    /// of the receiver's buffer.
    ///
    /// A second field starts half a line later than half a frame, as its lines did on a cathode ray
    /// tube: section 6.3.3. LIST, and so [`Self::read_starts`], leaves the half line out; it is two
    /// packets of 1080i50, which a lead that is made for the section still has in hand there,
    /// while one without it would be two packets too many here.
    ///
    /// # Panics
    ///
    /// As [`Self::read_starts`].
    pub fn send_starts(&self, index: u64, lead: u32) -> Moment {
        let lead = u128::from(self.spacing) * u128::from(lead);
        let later = if index.is_multiple_of(2) { 0 } else { self.half_line };
        self.moment(self.period * u128::from(index) + self.offset.saturating_sub(lead) + later)
    }

    /// `count` periods: how far apart two images are.
    pub(super) fn periods(&self, count: u64) -> Moment {
        self.moment(self.period * u128::from(count))
    }

    fn whole_ns(&self, parts: u128) -> u64 {
        self.moment(parts).ns
    }

    fn moment(&self, parts: u128) -> Moment {
        let unit = u128::from(self.parts);
        let ns = u64::try_from(parts / unit).expect("within 584 years of the epoch");
        let part = u64::try_from(parts % unit).expect("less than the unit, which is 64 bits");
        Moment { ns, part }
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// A positive number or zero, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    numerator: u64,
    denominator: u64,
}

impl Ratio {
    const fn new(numerator: u64, denominator: u64) -> Self {
        let divisor = greatest_divisor(numerator, denominator);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    /// Times `over / under`.
    const fn times(self, over: u64, under: u64) -> Self {
        Self::new(self.numerator * over, self.denominator * under)
    }

    fn at_least(self, other: Self) -> bool {
        u128::from(self.numerator) * u128::from(other.denominator)
            >= u128::from(other.numerator) * u128::from(self.denominator)
    }
}

/// Euclid's, of numbers of which one is not 0.
pub(super) const fn greatest_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// The least number that both divide.
const fn common(one: u64, other: u64) -> u64 {
    one / greatest_divisor(one, other) * other
}

#[cfg(test)]
mod tests {
    use num_rational::BigRational;
    use num_traits::ToPrimitive;

    use super::*;

    pub(in super::super) fn images(height: u32, scan: Scan, rate: &str, packets: u32) -> Images {
        Images { frames: rate.parse().unwrap(), scan, height, packets }
    }

    fn schedule(height: u32, scan: Scan, rate: &str, packets: u32, read: Read) -> Schedule {
        Schedule::new(images(height, scan, rate, packets), read, None).unwrap()
    }

    #[test]
    fn a_second_field_is_sent_half_a_line_later_where_there_is_a_gap() {
        use Scan::{Interlaced, Progressive, Segmented};
        // T of an image is 20 ms: a line of the frame is 40 ms / 1125, / 625, / 525.
        for (scan, height, read, half_line) in [
            (Interlaced, 1080, Read::Gapped, 17_777),
            (Segmented, 1080, Read::Gapped, 17_777),
            (Interlaced, 576, Read::Gapped, 32_000),
            (Interlaced, 480, Read::Gapped, 38_095),
            (Interlaced, 1080, Read::Linear, 0),
            (Progressive, 1080, Read::Gapped, 0),
        ] {
            let rate = if scan == Progressive { "50" } else { "25" };
            let schedule = schedule(height, scan, rate, 2160, read);
            let [first, second, third] = [50, 51, 52].map(|index| schedule.send_starts(index, 7));
            let later = |from: Moment, to: Moment| to.ns - from.ns - 20_000_000;
            let what = format!("{height} lines, {scan:?}, {read:?}");
            assert!((half_line..=half_line + 1).contains(&later(first, second)), "{what}");
            assert_eq!(third.ns - first.ns, 40_000_000, "{what}");
            // As LIST reads it.
            assert_eq!(later(schedule.read_starts(50), schedule.read_starts(51)), 0, "{what}");
        }
    }

    /// To a tenth of a nanosecond, as the worked numbers are written.
    fn tenths(schedule: &Schedule) -> u64 {
        let (parts, unit) = schedule.spacing_ratio();
        (parts * 10 + unit / 2) / unit
    }

    #[test]
    fn the_worked_numbers_hold() {
        let table = [
            (1080, "25", 4320, 88_889, 1_528_888),
            (1080, "50", 4320, 44_444, 764_444),
            (1080, "50", 4115, 46_659, 764_444),
            (2160, "25", 17_280, 22_222, 1_528_888),
            (2160, "25", 16_458, 23_332, 1_528_888),
            (2160, "25", 14_552, 26_388, 1_528_888),
            (2160, "50", 17_280, 11_111, 764_444),
            (2160, "50", 16_458, 11_666, 764_444),
            (2160, "50", 14_552, 13_194, 764_444),
        ];
        for (height, rate, packets, spacing, offset) in table {
            let schedule = schedule(height, Scan::Progressive, rate, packets, Read::Gapped);
            let what = format!("{height}p{rate} of {packets}");
            assert_eq!(tenths(&schedule), spacing, "{what}");
            assert_eq!(schedule.offset_ns(), offset, "{what}");
        }
    }

    /// RACTIVE and TROdefault of each raster, as a reader of sections 6.3.2 to 6.4 writes them.
    #[test]
    fn every_scan_and_raster_has_its_own_gap_and_offset() {
        use Scan::{Interlaced, Progressive, Segmented};
        // T of an image is 20 ms throughout, so the fields' TROdefault is of 40 ms.
        let table = [
            (Progressive, 2160, "50", (1080, 1125), 764_444),
            (Progressive, 1080, "50", (1080, 1125), 764_444),
            (Progressive, 720, "50", (1080, 1125), 746_666),
            (Progressive, 576, "50", (1080, 1125), 746_666),
            (Progressive, 480, "50", (1080, 1125), 746_666),
            (Interlaced, 1080, "25", (1080, 1125), 782_222),
            (Segmented, 1080, "25", (1080, 1125), 782_222),
            (Interlaced, 576, "25", (576, 625), 1_664_000),
            (Interlaced, 480, "25", (487, 525), 1_523_809),
            (Interlaced, 486, "25", (487, 525), 1_523_809),
        ];
        for (scan, height, rate, (active, of_active), offset) in table {
            let packets = height * 2;
            let gapped = schedule(height, scan, rate, packets, Read::Gapped);
            let what = format!("{height} lines, {scan:?}");
            assert_eq!(gapped.offset_ns(), offset, "{what}");
            assert_eq!(gapped.spacing_ns(packets), 20_000_000 * active / of_active, "{what}");
            let linear = schedule(height, scan, rate, packets, Read::Linear);
            assert_eq!(linear.offset_ns(), offset, "{what}: the same for both");
            assert_eq!(linear.spacing_ns(packets), 20_000_000, "{what}");
        }
    }

    #[test]
    fn words_are_those_of_the_configuration() {
        for word in Scan::WORDS {
            let scan = Scan::of(word).unwrap();
            assert_eq!(scan.word(), word);
            assert_eq!(serde_json::from_value::<Scan>(word.into()).unwrap(), scan);
        }
    }

    #[test]
    fn an_offset_of_ones_own_takes_the_place_of_the_default() {
        let images = images(1080, Scan::Progressive, "50", 4320);
        let schedule = |offset| Schedule::new(images, Read::Gapped, Some(offset));
        assert_eq!(schedule(0).unwrap().read_starts(3), Moment { ns: 60_000_000, part: 0 });
        assert_eq!(schedule(19_999).unwrap().read_starts(3).ns, 79_999_000);
        assert_eq!(
            schedule(20_000).unwrap_err().to_string(),
            "troffset_us 20000: a picture is read within its own period; allowed are 0 to 19999"
        );
        let none = Images { packets: 0, ..images };
        assert_eq!(
            Schedule::new(none, Read::Gapped, None).unwrap_err().to_string(),
            "0 packets of a picture; allowed are 1 to 1048576"
        );
    }

    #[test]
    fn a_head_start_never_reaches_into_the_frame_before() {
        let schedule = schedule(1080, Scan::Progressive, "50", 4320, Read::Gapped);
        // 764,444.4 ns are 172 times 4444.4.
        assert_eq!(schedule.offset_packets(1), 172);
        assert_eq!(schedule.offset_packets(2), 86);
        let starts = |lead| schedule.send_starts(50, lead).ns;
        assert_eq!(starts(0), 1_000_764_444);
        assert_eq!(starts(4), 1_000_746_666);
        assert_eq!(starts(172), 1_000_000_000);
        assert_eq!(starts(173), 1_000_000_000);
    }

    /// Against rationals of any size, for rates, rasters and packings that nobody chose for their
    /// roundness, in the year 2286.
    #[test]
    fn every_moment_is_the_floor_of_the_exact_one() {
        let big = |over: u64, under: u64| BigRational::new(over.into(), under.into());
        let rates = ["24000/1001", "25", "60000/1001", "1048573/1048575", "997/3", "1/60"];
        let rasters = [(2160, 16_458), (1080, 4115), (720, 2881), (576, 1153), (480, 7)];
        for rate in rates {
            for (height, packets) in rasters {
                for scan in [Scan::Progressive, Scan::Interlaced] {
                    for read in [Read::Gapped, Read::Linear] {
                        let schedule = schedule(height, scan, rate, packets, read);
                        let images = schedule.images();
                        let (frames, seconds) = images.rate().ratio();
                        let period =
                            big(u64::from(seconds), u64::from(frames)) * big(1_000_000_000, 1);
                        let (active, of_active) = images.active(read);
                        let (offset, of_offset) = images.offset_default();
                        let spacing = &period * big(active, of_active) / big(u64::from(packets), 1);
                        let index = images.rate().next_frame(10_000_000_000 * SECOND_NS) + 1;
                        for packet in [0, 1, packets / 3, packets - 1] {
                            let exact = &period * big(index, 1)
                                + &period * big(offset, of_offset)
                                + &spacing * big(u64::from(packet), 1);
                            let found = schedule.read_at(index, packet);
                            assert_eq!(Some(found.ns), exact.floor().to_integer().to_u64());
                            let part = (&exact - exact.floor()) * big(schedule.parts(), 1);
                            assert_eq!(part, big(found.part, 1), "{schedule:?}: exact");
                        }
                    }
                }
            }
        }
    }
}
