//! Frames per second as ST 2110 writes them: `25`, `30000/1001`.

use std::fmt;

/// Frames in a second, as an exact ratio in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    frames: u32,
    seconds: u32,
}

/// How a rate was written otherwise than ST 2110-20, 7.2, wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it should be.
    Exact,
    /// A ratio that has smaller terms: `50/1`, `60/2`.
    Unreduced,
    /// A decimal fraction: `59.94`, `25.0`.
    Decimal,
}

/// Most frames in a second. Above, a frame is shorter than the shortest stall of a machine.
const FRAMES_MAX: u32 = 1000;

/// Largest term of a ratio: far above 120000/1001, and small enough that sums do not overflow.
const TERM_MAX: u32 = 1 << 20;

impl Rate {
    /// The ratio in lowest terms; `None` where it is not above 0 and at most 1000.
    pub fn new(frames: u32, seconds: u32) -> Option<Self> {
        let divisor = gcd(frames, seconds);
        let (frames, seconds) = (frames.checked_div(divisor)?, seconds.checked_div(divisor)?);
        let sound = frames > 0 && seconds > 0 && frames <= TERM_MAX && seconds <= TERM_MAX;
        (sound && frames / seconds <= FRAMES_MAX).then_some(Self { frames, seconds })
    }

    /// Reads what stands behind `exactframerate=`, also where it is written otherwise.
    ///
    /// Decimals are read as what is meant by them: 59.94 has only ever been 60000/1001.
    pub fn read(text: &str) -> Option<(Self, Form)> {
        if let Some((whole, part)) = text.split_once('.') {
            return decimal(whole, part).map(|rate| (rate, Form::Decimal));
        }
        let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
        let rate = Self::new(digits(frames)?, digits(seconds)?)?;
        let form = if rate.to_string() == text { Form::Exact } else { Form::Unreduced };
        Some((rate, form))
    }

    /// Numerator and denominator.
    pub const fn ratio(self) -> (u32, u32) {
        (self.frames, self.seconds)
    }

    /// As a number, for people.
    pub fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            1 => write!(f, "{}", self.frames),
            seconds => write!(f, "{}/{seconds}", self.frames),
        }
    }
}

/// A decimal: whole, or the hundredth or thousandth next to n * 1000/1001.
fn decimal(whole: &str, part: &str) -> Option<Rate> {
    let (number, zeros) = (digits(whole)?, part.bytes().all(|digit| digit == b'0'));
    if zeros && (1..=6).contains(&part.len()) {
        return Rate::new(number, 1);
    }
    let text = format!("{whole}.{part}");
    let nominal = number.checked_add(1).filter(|&nominal| nominal <= FRAMES_MAX)?;
    let exact = f64::from(nominal) * 1000.0 / 1001.0;
    let known = (2..=6).any(|places| {
        // Rounded or cut: 23.98 and 23.976 and 23.97 are all written.
        let cut = 10_f64.powi(places);
        let places = usize::try_from(places).expect("2 to 6");
        text == format!("{exact:.places$}")
            || text == format!("{:.places$}", (exact * cut).floor() / cut)
    });
    known.then(|| Rate::new(nominal * 1000, 1001)).flatten()
}

/// Digits and nothing else: `parse` would also take a sign.
pub(super) fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

pub(super) const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Form)> {
        Rate::read(text).map(|(rate, form)| (rate.to_string(), form))
    }

    #[test]
    fn reads_whole_rates_and_ratios() {
        for text in ["25", "50", "60", "24000/1001", "30000/1001", "60000/1001", "120000/1001"] {
            assert_eq!(read(text), Some((text.into(), Form::Exact)));
        }
    }

    #[test]
    fn says_how_a_rate_is_written_otherwise() {
        for (text, meant, form) in [
            ("50/1", "50", Form::Unreduced),
            ("60/2", "30", Form::Unreduced),
            ("060", "60", Form::Unreduced),
            ("59.94", "60000/1001", Form::Decimal),
            ("29.97", "30000/1001", Form::Decimal),
            ("23.98", "24000/1001", Form::Decimal),
            ("23.976", "24000/1001", Form::Decimal),
            ("23.97", "24000/1001", Form::Decimal),
            ("25.0", "25", Form::Decimal),
            ("25.000000", "25", Form::Decimal),
        ] {
            assert_eq!(read(text), Some((meant.into(), form)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for text in [
            "",
            "0",
            "0/1",
            "25/0",
            "-25",
            "+25",
            "25/",
            "/1",
            "12.34",
            "25.",
            ".5",
            "1001",
            "99999999999",
            "25 ",
            "60000/1001/1",
            "1.2.3",
            "1e3",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
