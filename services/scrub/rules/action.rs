//! Actions: what stands between a rule's name and its `when`.

use std::num::NonZeroU32;
use std::ops::Range;

use super::cursor::Cursor;
use super::mistake::Wrong;
use super::rule::{Action, Key, Limit, Promote, Unit};
use super::value::literal;

/// Packets or bits in a second at most: a thousand times what any interface takes.
const RATE_MAX: u64 = 1_000_000_000_000;

/// Bits of a packet as large as Ethernet has them: a bucket of fewer lets none of those through.
const PACKET_BITS: u64 = 1500 * 8;

/// Buckets of a limit, where none are said.
const BUCKETS: u32 = 1 << 16;

/// Buckets of a limit at most. At 32 octets each they are half a GiB.
const BUCKETS_MAX: u32 = 1 << 24;

/// A verdict that was promoted ends after so long, at most a day: whoever had an address then has
/// another one now.
const PROMOTED_MAX_MS: u64 = 86_400_000;

/// Leading bits of IPv6 that are one source, where none are said: what one customer is given.
const IPV6_BITS: u8 = 64;

/// An action with what stands before and behind it.
pub(super) struct Deed {
    pub(super) action: Action,
    pub(super) dry_run: bool,
    pub(super) promote: Option<Promote>,
}

const ACTIONS: &str =
    "drop, pass, limit RATE packets/s, challenge or sample 1/N, or one behind dry-run";

/// Reads an action.
pub(super) fn read(cursor: &mut Cursor<'_, '_>) -> Result<Deed, Wrong> {
    let dry_run = cursor.skip_word("dry-run");
    let (word, at) = cursor.word(ACTIONS)?;
    let action = match word {
        "drop" => Action::Drop,
        "pass" => Action::Pass,
        "limit" => Action::Limit(limit(cursor)?),
        "challenge" => Action::Challenge,
        "sample" if dry_run => {
            return Err(Wrong::new(
                &at,
                "a sample in a dry run, which is all that it is",
                "sample 1/N",
            ));
        }
        "sample" => Action::Sample(sample(cursor)?),
        _ => {
            let known = ["drop", "pass", "limit", "challenge", "sample", "dry-run"];
            let hint = tidegate_config::nearest(word, &known);
            let hint = hint.map_or(String::new(), |near| format!("; did you mean {near}?"));
            return Err(Wrong::new(&at, format!("{word}, which is no action{hint}"), ACTIONS));
        }
    };
    let promote = match cursor.skip_word("for") {
        true if matches!(action, Action::Drop | Action::Pass) => Some(promote(cursor)?),
        true => {
            let found = format!("{word}, which cannot be decided for later packets too");
            return Err(Wrong::new(&at, found, "drop or pass before `for`"));
        }
        false => None,
    };
    Ok(Deed { action, dry_run, promote })
}

/// Behind `for`: `10s per source`.
fn promote(cursor: &mut Cursor<'_, '_>) -> Result<Promote, Wrong> {
    const DURATION: &str = "a time such as 500ms, 10s, 5m or 1h, at most 24h";
    let (word, at) = cursor.word(DURATION)?;
    let unit = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let number = word[..unit].parse::<u64>().ok();
    let scale = match &word[unit..] {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let for_ms = number.zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    let for_ms = for_ms.filter(|ms| (1..=PROMOTED_MAX_MS).contains(ms));
    let for_ms = for_ms.and_then(|ms| u32::try_from(ms).ok());
    let for_ms = for_ms.ok_or_else(|| Wrong::new(&at, format!("`{word}`"), DURATION))?;
    const KEYS: &str = "per source, per source/24 or per flow";
    if !cursor.skip_word("per") {
        return Err(cursor.unexpected(KEYS));
    }
    let at = cursor.at();
    match key(cursor)? {
        per @ (Key::Source { .. } | Key::Flow) => Ok(Promote { per, for_ms }),
        Key::All | Key::Destination => Err(Wrong::new(&at, "what is not one sender's", KEYS)),
    }
}

/// Behind `sample`: `1/1000`.
fn sample(cursor: &mut Cursor<'_, '_>) -> Result<NonZeroU32, Wrong> {
    const ALLOWED: &str = "1/N: one packet of N, such as 1/1000";
    let (word, at) = cursor.word(ALLOWED)?;
    let digits = word.strip_prefix("1/").filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    let each = digits.and_then(|digits| digits.parse().ok());
    each.ok_or_else(|| Wrong::new(&at, format!("`{word}`"), ALLOWED))
}

/// Behind `limit`: `1000 packets/s burst 2000 per source/24 of 65536`.
fn limit(cursor: &mut Cursor<'_, '_>) -> Result<Limit, Wrong> {
    let rate_at = cursor.at();
    let rate = amount(cursor)?;
    let (word, at) = cursor.word("packets/s or bits/s")?;
    let (scale, unit) = unit(word, &at)?;
    let rate = rate.checked_mul(scale).filter(|rate| (1..=RATE_MAX).contains(rate));
    let allowed = || format!("a rate from 1 to {RATE_MAX} a second");
    let rate = rate.ok_or_else(|| Wrong::new(&rate_at, "that rate", allowed()))?;
    let (mut burst, mut per, mut buckets) = (None, None, None);
    loop {
        let at = cursor.at();
        let twice = |what: &str| Wrong::new(&at, format!("a second `{what}`"), "one of them");
        if cursor.skip_word("burst") {
            let at = cursor.at();
            let amount = amount(cursor)?;
            if !(1..=RATE_MAX).contains(&amount) {
                return Err(Wrong::new(&at, format!("a burst of {amount}"), allowed()));
            }
            if burst.replace((amount, at)).is_some() {
                return Err(twice("burst"));
            }
        } else if cursor.skip_word("per") {
            if per.replace(key(cursor)?).is_some() {
                return Err(twice("per"));
            }
        } else if cursor.skip_word("of") {
            let at = cursor.at();
            let amount = amount(cursor)?;
            let count =
                u32::try_from(amount).ok().filter(|count| (1..=BUCKETS_MAX).contains(count));
            let count = count.ok_or_else(|| {
                let found = format!("{amount} buckets");
                Wrong::new(&at, found, format!("1 to {BUCKETS_MAX} sources, flows or destinations"))
            })?;
            if buckets.replace((count, at)).is_some() {
                return Err(twice("of"));
            }
        } else {
            break;
        }
    }
    let per = per.unwrap_or(Key::All);
    if let (Key::All, Some((_, at))) = (per, &buckets) {
        return Err(Wrong::new(at, "many buckets, where all packets share one", "per source of N"));
    }
    let burst = match (burst, unit) {
        (Some((burst, at)), Unit::Bits) if burst < PACKET_BITS => {
            let found = format!("a burst of {burst} bits, less than one packet");
            return Err(Wrong::new(&at, found, format!("{PACKET_BITS} bits or more")));
        }
        (Some((burst, _)), _) => burst,
        (None, Unit::Packets) => rate,
        (None, Unit::Bits) => rate.max(PACKET_BITS),
    };
    let buckets = match per {
        Key::All => 1,
        _ => buckets.map_or(BUCKETS, |(count, _)| count),
    };
    Ok(Limit { unit, rate, burst, per, buckets })
}

/// `1000`, `10k`, `1.5M`, `2G`.
fn amount(cursor: &mut Cursor<'_, '_>) -> Result<u64, Wrong> {
    const ALLOWED: &str = "a number such as 1000, 10k, 1.5M or 2G";
    let (word, at) = cursor.word(ALLOWED)?;
    let wrong = || Wrong::new(&at, format!("`{word}`"), ALLOWED);
    let (digits, scale) = match word.as_bytes().last() {
        Some(b'k') => (&word[..word.len() - 1], 1_000),
        Some(b'M') => (&word[..word.len() - 1], 1_000_000),
        Some(b'G') => (&word[..word.len() - 1], 1_000_000_000),
        _ => (word, 1),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    if !plain(whole) || !plain(part) || part.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let tenths = 10_u64.pow(u32::try_from(part.len()).unwrap_or(9));
    let part = part.parse::<u64>().map_err(|_| wrong())?.checked_mul(scale).ok_or_else(wrong)?;
    if !part.is_multiple_of(tenths) {
        return Err(Wrong::new(&at, format!("`{word}`, which is no whole number"), ALLOWED));
    }
    whole.checked_mul(scale).and_then(|it| it.checked_add(part / tenths)).ok_or_else(wrong)
}

/// `packets/s`, `kpps`, `Mbits/s`, with what it multiplies.
fn unit(word: &str, at: &Range<usize>) -> Result<(u64, Unit), Wrong> {
    let (scale, bare) = match word.as_bytes().first() {
        Some(b'k') => (1_000, &word[1..]),
        Some(b'M') => (1_000_000, &word[1..]),
        Some(b'G') => (1_000_000_000, &word[1..]),
        _ => (1, word),
    };
    match bare {
        "packets/s" | "packet/s" | "pps" => Ok((scale, Unit::Packets)),
        "bits/s" | "bit/s" | "bps" => Ok((scale, Unit::Bits)),
        _ => Err(Wrong::new(
            at,
            format!("`{word}`"),
            "packets/s or bits/s, or with k, M or G before",
        )),
    }
}

/// Behind `per`.
fn key(cursor: &mut Cursor<'_, '_>) -> Result<Key, Wrong> {
    const ALLOWED: &str = "all, source, source/24, source/24/56, destination or flow";
    let (word, at) = cursor.word(ALLOWED)?;
    let mut parts = word.split('/');
    let bits = |digits: &str, most: u8| {
        let number = match literal(digits) {
            Some(_) if !digits.starts_with('0') => digits.parse().ok(),
            _ => None,
        };
        number.filter(|bits| (1..=most).contains(bits)).ok_or_else(|| {
            let found = format!("`{word}`, where /{digits} is no length of a prefix");
            Wrong::new(&at, found, format!("1 to {most} bits; without them it is each address"))
        })
    };
    let key = match (parts.next().unwrap_or(""), parts.next(), parts.next(), parts.next()) {
        ("all", None, ..) => Key::All,
        ("destination", None, ..) => Key::Destination,
        ("flow", None, ..) => Key::Flow,
        ("source", None, ..) => Key::Source { ipv4: 32, ipv6: IPV6_BITS },
        ("source", Some(four), None, _) => Key::Source { ipv4: bits(four, 32)?, ipv6: IPV6_BITS },
        ("source", Some(four), Some(six), None) => {
            Key::Source { ipv4: bits(four, 32)?, ipv6: bits(six, 128)? }
        }
        _ => return Err(Wrong::new(&at, format!("`{word}`"), ALLOWED)),
    };
    Ok(key)
}
