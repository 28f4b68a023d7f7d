//! Lengths of time, written with their unit: `"50us"`, `"10ms"`, `"2s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Refusal;
use crate::value::read_from_str;

/// A length of time that an operator wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(Duration);

const UNITS: [(&str, u64); 5] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("min", 60_000_000_000)];

impl Interval {
    /// Of so many microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(Duration::from_micros(micros))
    }

    /// Of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In nanoseconds; more than 584 years count as 584 years.
    pub fn as_ns(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Interval {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|&&(name, _)| name == unit.trim_start());
        let ns = unit.and_then(|&(_, ns)| number.parse::<u64>().ok()?.checked_mul(ns));
        ns.map(|ns| Self(Duration::from_nanos(ns))).ok_or_else(|| {
            let unit = if digits > 0 && digits == text.len() { ", which has no unit" } else { "" };
            Refusal::new(format!("{text:?}{unit}"), <Self as crate::reader::Read>::ALLOWED)
        })
    }
}

/// In the largest unit that divides it, so that it reads back as the same interval.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.as_ns();
        let fits = |&&(_, unit): &&(&str, u64)| ns >= unit && ns.is_multiple_of(unit);
        let &(name, unit) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", ns / unit)
    }
}

read_from_str!(
    Interval,
    "a whole number with its unit ns, us, ms, s or min, such as \"50us\" or \"10ms\""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_unit_and_writes_it_back() {
        for (text, ns) in [
            ("0ns", 0),
            ("7ns", 7),
            ("50us", 50_000),
            ("10ms", 10_000_000),
            ("2min", 120_000_000_000),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!(interval.as_ns(), ns, "{text}");
            assert_eq!(interval.to_string(), text);
        }
        assert_eq!("1000 us".parse(), "1ms".parse::<Interval>());
    }

    #[test]
    fn refuses_what_has_no_unit_a_sign_a_fraction_or_does_not_fit() {
        for text in ["", "10", "ms", "-1ms", "1.5ms", "1h", "99999999999999min"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
        assert_eq!("10".parse::<Interval>().unwrap_err().found, "\"10\", which has no unit");
    }
}
