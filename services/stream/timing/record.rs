//! What a stream kept to: over the last minute, and since the start.
//!
//! An hour ago's hiccup should not hide that all is well now, nor a good minute that it was not.
//! So both are kept, the minute as sixty seconds in a ring: constant work per image, no memory.

use super::class::{Class, Extremes};
use super::meter::Image;

/// How good a stretch of a stream was: as good as its worst image. The better comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing was measured.
    #[default]
    Unmeasured,
    /// All kept narrow.
    Narrow,
    /// All kept narrow linear.
    NarrowLinear,
    /// All kept wide, at least.
    Wide,
    /// One kept no class.
    Nothing,
}

impl Standing {
    /// In words, by number.
    pub const WORDS: [&'static str; 5] = ["unmeasured", "narrow", "narrow-linear", "wide", "none"];

    /// Its number in [`Self::WORDS`].
    pub const fn number(self) -> usize {
        self as usize
    }

    /// The class, if one was kept.
    pub const fn class(self) -> Option<Class> {
        match self {
            Self::Narrow => Some(Class::Narrow),
            Self::NarrowLinear => Some(Class::NarrowLinear),
            Self::Wide => Some(Class::Wide),
            Self::Unmeasured | Self::Nothing => None,
        }
    }
}

impl From<Option<Class>> for Standing {
    fn from(held: Option<Class>) -> Self {
        match held {
            Some(Class::Narrow) => Self::Narrow,
            Some(Class::NarrowLinear) => Self::NarrowLinear,
            Some(Class::Wide) => Self::Wide,
            None => Self::Nothing,
        }
    }
}

/// What a stretch has of two shorter ones.
pub trait Merge: Copy {
    /// Of a stretch in which nothing was.
    const NONE: Self;

    /// Of both.
    #[must_use]
    fn and(&self, other: &Self) -> Self;
}

/// The worst of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Class.
    pub standing: Standing,
    /// VRX and C_INST.
    pub extremes: Extremes,
}

impl Merge for Worst {
    const NONE: Self = Self { standing: Standing::Unmeasured, extremes: Extremes::NONE };

    fn and(&self, other: &Self) -> Self {
        Self {
            standing: self.standing.max(other.standing),
            extremes: self.extremes.and(&other.extremes),
        }
    }
}

const SECONDS: usize = 60;

/// The record of one stream.
#[derive(Clone, Debug)]
pub struct Record<T = Worst> {
    since_start: T,
    seconds: [T; SECONDS],
    /// The second that the newest image fell into, counted by the caller's clock.
    second: u64,
    /// Of all seconds but that one.
    before: T,
}

impl<T: Merge> Default for Record<T> {
    fn default() -> Self {
        Self { since_start: T::NONE, seconds: [T::NONE; SECONDS], second: 0, before: T::NONE }
    }
}

impl From<&Image> for Worst {
    fn from(image: &Image) -> Self {
        Self { standing: image.held.into(), extremes: image.extremes }
    }
}

impl<T: Merge> Record<T> {
    /// Adds what was of an image that ended at `now_ns`.
    pub fn add(&mut self, of_image: T, now_ns: u64) {
        self.turn_to(now_ns / 1_000_000_000);
        let second = &mut self.seconds[place(self.second)];
        *second = second.and(&of_image);
        self.since_start = self.since_start.and(&of_image);
    }

    /// Moves on to `second`: what is a minute old is forgotten.
    fn turn_to(&mut self, second: u64) {
        if second <= self.second {
            return;
        }
        let passed = (second - self.second).min(SECONDS as u64);
        for old in second - passed + 1..=second {
            self.seconds[place(old)] = T::NONE;
        }
        self.second = second;
        self.before = self.seconds.iter().fold(T::NONE, |before, second| before.and(second));
    }

    /// Of the last minute, to a second, that ends with the newest image.
    pub fn last_minute(&self) -> T {
        self.before.and(&self.seconds[place(self.second)])
    }

    /// Of all.
    pub const fn since_start(&self) -> T {
        self.since_start
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 60")]
const fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn image(held: Option<Class>, burst_max: i64, buffer_min: i64, buffer_max: i64) -> Image {
        Image { packets: 9, extremes: Extremes { burst_max, buffer_min, buffer_max }, held }
    }

    #[test]
    fn is_as_good_as_the_worst_image_of_the_last_minute() {
        let mut record: Record = Record::default();
        assert_eq!(record.last_minute().standing, Standing::Unmeasured);
        let good = image(Some(Class::Narrow), 3, 4, 7);
        record.add(Worst::from(&good), 100 * SECOND_NS);
        assert_eq!(record.last_minute().standing, Standing::Narrow);
        record.add(Worst::from(&image(None, 9, -3, 5)), 100 * SECOND_NS + 1);
        record.add(Worst::from(&image(Some(Class::Wide), 3, 1, 20)), 130 * SECOND_NS);
        let worst = Extremes { burst_max: 9, buffer_min: -3, buffer_max: 20 };
        assert_eq!(record.last_minute(), Worst { standing: Standing::Nothing, extremes: worst });
        record.add(Worst::from(&good), 159 * SECOND_NS);
        assert_eq!(record.last_minute().standing, Standing::Nothing);
        // A minute after the bad one.
        record.add(Worst::from(&good), 160 * SECOND_NS);
        let better = Extremes { burst_max: 3, buffer_min: 1, buffer_max: 20 };
        assert_eq!(record.last_minute(), Worst { standing: Standing::Wide, extremes: better });
        record.add(Worst::from(&good), 500 * SECOND_NS);
        assert_eq!(record.last_minute().standing, Standing::Narrow);
        assert_eq!(record.since_start(), Worst { standing: Standing::Nothing, extremes: worst });
        // A clock that runs backwards loses nothing.
        record.add(Worst::from(&image(None, 9, -3, 5)), 3 * SECOND_NS);
        assert_eq!(record.last_minute().standing, Standing::Nothing);
    }

    /// Against a plain list of everything.
    #[test]
    fn agrees_with_a_list_of_all_images() {
        let (mut record, mut all, mut random, mut now_ns) =
            (Record::<Worst>::default(), vec![], 1_u64, 0);
        for _ in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now_ns += if (random >> 60) == 0 { random >> 28 } else { (random >> 40) * 4 };
            let level = i64::try_from(random >> 58).unwrap();
            let held = [None, Some(Class::Wide), Some(Class::Narrow)]
                [(random >> 50 & 1023 > 2) as usize * 2];
            let image = image(held, level, -level, level);
            record.add(Worst::from(&image), now_ns);
            all.push((now_ns / SECOND_NS, image));
            let recent = all.iter().filter(|(second, _)| second + 60 > now_ns / SECOND_NS);
            let worst = recent.fold(Worst::NONE, |worst, (_, image)| {
                worst.and(&Worst { standing: image.held.into(), extremes: image.extremes })
            });
            assert_eq!(record.last_minute(), worst);
        }
    }

    #[test]
    fn words_are_those_of_the_classes() {
        for class in [Class::Narrow, Class::NarrowLinear, Class::Wide] {
            let standing = Standing::from(Some(class));
            assert_eq!(Standing::WORDS[standing.number()], class.word());
            assert_eq!(standing.class(), Some(class));
        }
        assert_eq!(Standing::WORDS[Standing::from(None).number()], "none");
        assert_eq!(Standing::WORDS[Standing::default().number()], "unmeasured");
    }
}
