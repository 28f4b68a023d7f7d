//! How often images come, exactly: by their timestamps.

use super::Stamp;
use crate::stream::timing::Rate;

/// What broadcasters use, in images per second: frames, or fields.
const USUAL: [&str; 13] = [
    "24000/1001",
    "24",
    "25",
    "30000/1001",
    "30",
    "48000/1001",
    "48",
    "50",
    "60000/1001",
    "60",
    "100",
    "120000/1001",
    "120",
];

/// Ticks of the clock of video.
const CLOCK: u64 = 90_000;

/// The rate of images whose timestamps are `ticks` after the first, in their order. `None` where
/// they fit no rate: two images, or a clock that is no clock.
pub(super) fn of(ticks: &[u64]) -> Option<Rate> {
    let mut steps: Vec<u64> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let usual = *steps.get(steps.len() / 2)?;
    let rates = USUAL.iter().map(|text| text.parse::<Rate>().expect("a rate"));
    let fits = |rate: &Rate| {
        let (images, seconds) = rate.ratio();
        // In parts of a tick, of which a period has a whole number; wide enough for any clock.
        let period = u128::from(CLOCK) * u128::from(seconds);
        let images = u128::from(images);
        (u128::from(usual) * images).abs_diff(period) < images
            && ticks.iter().all(|tick| {
                let parts = u128::from(*tick) * images;
                let off = parts.abs_diff((parts + period / 2) / period * period);
                off < images
            })
    };
    let mut found = rates.filter(fits);
    if let Some(rate) = found.next() {
        // Two that fit are known apart only later.
        return found.next().is_none().then_some(rate);
    }
    let equal = steps.first() == steps.last() && usual > 0 && steps.len() > 1;
    let divisor = gcd(CLOCK, usual);
    let text = format!("{}/{}", CLOCK / divisor, usual / divisor);
    equal.then(|| text.parse().ok()).flatten()
}

/// Timestamps of images after the first, each once, in their order.
pub(super) fn ticks(stamps: &[(u64, Stamp)]) -> Vec<u64> {
    let mut all: Vec<u64> = Vec::new();
    let Some((_, first)) = stamps.first() else { return all };
    let mut before = first.timestamp;
    let mut now = 0_u64;
    all.push(0);
    for (_, stamp) in stamps {
        let step = stamp.timestamp.wrapping_sub(before);
        // Back by less than half the range: a straggler, or another clock.
        if step > 0 && step < 1 << 31 {
            now += u64::from(step);
            before = stamp.timestamp;
            all.push(now);
        }
    }
    all
}

pub(super) const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_rate_is_found_from_any_frame_on_and_with_frames_missing() {
        for text in USUAL {
            let rate: Rate = text.parse().unwrap();
            for first in [0, 1, 77_000_003_u64] {
                let base = rate.timestamp(first);
                let frames = (first..first + 12).filter(|frame| frame % 5 != 3);
                let stamps: Vec<_> = frames
                    .map(|frame| {
                        let timestamp = rate.timestamp(frame);
                        (0, Stamp { sequence: 0, timestamp, marker: true })
                    })
                    .collect();
                let ticks = ticks(&stamps);
                assert_eq!(ticks[0], 0, "{base}");
                assert_eq!(of(&ticks).unwrap().to_string(), text, "from {first}");
            }
        }
    }

    #[test]
    fn other_rates_are_exact_where_steps_are_equal_and_unknown_elsewhere() {
        let at = |step: u64| (0..5).map(|n| n * step).collect::<Vec<_>>();
        assert_eq!(of(&at(180)).unwrap().to_string(), "500");
        assert_eq!(of(&at(9000)).unwrap().to_string(), "10");
        assert_eq!(of(&[0, 1, 7, 9, 40]), None);
        assert_eq!(of(&[0]), None);
        assert_eq!(of(&[0, 77]), None, "one step is any rate");
    }
}
