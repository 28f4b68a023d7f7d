//! Numbers for people: at most five characters, three digits that count.

/// `1234567` as `1.23M`. Decimal thousands.
pub(in crate::cli) fn count(number: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (1, ""),
        (1_000, "k"),
        (1_000_000, "M"),
        (1_000_000_000, "G"),
        (1_000_000_000_000, "T"),
        (1_000_000_000_000_000, "P"),
    ];
    // Rounding may carry into the next unit: 999,950 is 1.00M, not 1000k.
    for (index, (unit, name)) in UNITS.into_iter().enumerate() {
        if index == 0 && number < 10_000 {
            return number.to_string();
        }
        if let Some(text) = scaled(number, unit, name) {
            return text;
        }
    }
    ">999P".to_owned()
}

/// `number` in `unit`, if that takes at most three digits before the point.
fn scaled(number: u64, unit: u64, name: &str) -> Option<String> {
    if unit == 1 {
        return None;
    }
    // In thousandths of the unit, which no u64 makes overflow for units of a thousand or more.
    let thousandths = u128::from(number) * 1000 / u128::from(unit);
    let rounded = |step: u128| (thousandths + step / 2) / step;
    let (hundredths, tenths, ones) = (rounded(10), rounded(100), rounded(1000));
    if hundredths < 1000 {
        Some(format!("{}.{:02}{name}", hundredths / 100, hundredths % 100))
    } else if tenths < 1000 {
        Some(format!("{}.{}{name}", tenths / 10, tenths % 10))
    } else if ones < 1000 {
        Some(format!("{ones}{name}"))
    } else {
        None
    }
}

/// A length of time: `812ns`, `12.3us`, `1.25ms`, `2.00s`; at most six characters.
pub(in crate::cli) fn time(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000, "us"), (1_000_000, "ms"), (1_000_000_000, "s")];
    if ns < 1000 {
        return format!("{ns}ns");
    }
    let fits = UNITS.into_iter().find_map(|(unit, name)| scaled(ns, unit, name));
    fits.unwrap_or_else(|| format!("{}s", count(ns / 1_000_000_000)))
}

/// A long time: `1d 02:03:04`, or `02:03:04`.
pub(in crate::cli) fn uptime(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

/// `part` of `whole` in percent, as `42.1%`; `-` of nothing.
pub(in crate::cli) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// `sum` over `over` as `31.9`; `-` over nothing.
pub(in crate::cli) fn mean(sum: u64, over: u64) -> String {
    if over == 0 {
        return "-".to_owned();
    }
    if sum / over >= 1000 {
        return count(sum / over);
    }
    let tenths = (u128::from(sum) * 10 + u128::from(over) / 2) / u128::from(over);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits_and_at_most_five_characters() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (12_349, "12.3k"),
            (99_950, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (1_234_567, "1.23M"),
            (9_995_000, "10.0M"),
            (2_160_000_000, "2.16G"),
            (u64::MAX, ">999P"),
        ] {
            assert_eq!(count(number), text);
        }
        for shift in 0..64 {
            assert!(count(1 << shift).len() <= 5, "{shift}");
            assert!(count(u64::MAX >> shift).len() <= 5, "{shift}");
        }
    }

    #[test]
    fn times_choose_their_unit() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_250, "1.25us"),
            (812_400, "812us"),
            (999_600, "1.00ms"),
            (2_000_000_000, "2.00s"),
            (7_200_000_000_000, "7200s"),
        ] {
            assert_eq!(time(ns), text);
        }
        assert_eq!(uptime(59_999_999_999), "00:00:59");
        assert_eq!(uptime(93_784_000_000_000), "1d 02:03:04");
    }

    #[test]
    fn shares_of_nothing_are_a_dash() {
        assert_eq!(percent(421, 1000), "42.1%");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0%");
        assert_eq!(percent(1, 0), "-");
        assert_eq!(mean(638, 20), "31.9");
        assert_eq!(mean(0, 0), "-");
    }
}
