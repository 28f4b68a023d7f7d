//! How single values are written: words, durations, lists of numbers.

use std::str::FromStr;

use toml::de::DeValue;

use crate::Refusal;
use crate::reader::{Read, Wrong};

/// A whole number, if `value` is one that fits.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

/// The text, if `value` is a string.
pub(crate) fn text<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    match value {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

/// Declares an enum whose variants an operator writes as words.
macro_rules! words {
    ($(#[$outer:meta])* pub enum $Name:ident { $($(#[$inner:meta])* $Variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
        pub enum $Name { $($(#[$inner])* #[serde(rename = $word)] $Variant,)+ }

        impl $Name {
            /// The words, in the order of the variants.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The variant that `word` stands for.
            pub fn of(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$Variant),)+
                    _ => None,
                }
            }

            /// The word that stands for it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word),+ }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl $crate::reader::Read for $Name {
            const ALLOWED: &'static str = concat!("one of", $(" \"", $word, "\""),+);

            fn read(value: &toml::de::DeValue<'_>) -> Result<Self, $crate::reader::Wrong> {
                let Some(text) = $crate::value::text(value) else {
                    return Err($crate::reader::Wrong::kind());
                };
                Self::of(text).ok_or_else(|| {
                    let hint = $crate::nearest::hint(text, Self::WORDS);
                    $crate::reader::Wrong::new(format!("{text:?}{hint}"), Self::ALLOWED)
                })
            }
        }
    };
}
pub(crate) use words;

/// Makes a type that has `FromStr` readable from the config and by serde, as a string.
macro_rules! read_from_str {
    ($Type:ty, $allowed:literal) => {
        impl $crate::reader::Read for $Type {
            const ALLOWED: &'static str = $allowed;

            fn read(value: &toml::de::DeValue<'_>) -> Result<Self, $crate::reader::Wrong> {
                let Some(text) = $crate::value::text(value) else {
                    return Err($crate::reader::Wrong::kind());
                };
                text.parse().map_err(|refusal: $crate::Refusal| {
                    $crate::reader::Wrong::new(refusal.found, refusal.allowed)
                })
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom::<$crate::Refusal>)
            }
        }
    };
}
pub(crate) use read_from_str;

impl Read for String {
    const ALLOWED: &'static str = "a string";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        text(value).map(str::to_owned).ok_or_else(Wrong::kind)
    }
}

/// Names of interfaces: one, or a list of several.
///
/// Holding one proves that it is not empty and names none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl Read for Names {
    const ALLOWED: &'static str = "a name such as \"eth1\", or a list such as [\"eth1\", \"eth2\"]";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let name = |value: &DeValue<'_>| text(value).map(str::to_owned).ok_or_else(Wrong::kind);
        let DeValue::Array(items) = value else { return Ok(Self(vec![name(value)?])) };
        let names: Vec<String> =
            items.iter().map(|item| name(item.get_ref())).collect::<Result<_, _>>()?;
        match names.iter().enumerate().find(|&(at, name)| names[..at].contains(name)) {
            Some((_, twice)) => Err(Wrong::new(format!("{twice:?} twice"), "each name once")),
            None if names.is_empty() => Err(Wrong::new("an empty list", Self::ALLOWED)),
            None => Ok(Self(names)),
        }
    }
}

/// A list of small numbers: queues, CPUs, shards. Written `0`, `[0, 2]`, `"0-3"` or `"0-3,8"`.
///
/// Holding one proves that it is not empty and names no number twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(pub(crate) Vec<u32>);

impl Numbers {
    /// Highest number that may be in a list: the steering program knows 1024 queues. Without a
    /// bound a slip such as `"0-4000000000"` would take all memory.
    pub const MAX: u32 = 1023;

    /// The numbers, in the order in which they were written.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    fn checked(numbers: Vec<u32>) -> Result<Self, Wrong> {
        if numbers.is_empty() {
            return Err(Wrong::new("an empty list", Self::ALLOWED));
        }
        match numbers.iter().enumerate().find(|&(i, n)| numbers[..i].contains(n)) {
            Some((_, twice)) => Err(Wrong::new(format!("{twice} twice"), "each number once")),
            None => Ok(Self(numbers)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new(format!("{text:?}"), Self::ALLOWED);
        let number = |text: &str| -> Result<u32, Wrong> {
            text.trim().parse().ok().filter(|&n| n <= Self::MAX).ok_or_else(wrong)
        };
        let mut numbers = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => numbers.push(number(part)?),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        let found = format!("the range {first}-{last}, which runs backwards");
                        return Err(Wrong::new(found, format!("\"{last}-{first}\"")));
                    }
                    numbers.extend(first..=last);
                }
            }
        }
        Self::checked(numbers)
    }
}

/// The form of a string, as on a command line.
impl FromStr for Numbers {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::from_text(text).map_err(|wrong| {
            Refusal::new(
                wrong.found.unwrap_or_default(),
                wrong.allowed.as_deref().unwrap_or(Self::ALLOWED),
            )
        })
    }
}

impl Read for Numbers {
    const ALLOWED: &'static str = "numbers from 0 to 1023, written 0, [0, 2], \"0-3\" or \"0-3,8\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let number = |value: &DeValue<'_>| {
            let number = integer(value).and_then(|n| u32::try_from(n).ok());
            number.filter(|&n| n <= Self::MAX)
        };
        match value {
            DeValue::Integer(_) => Ok(Self(vec![number(value).ok_or_else(Wrong::kind)?])),
            DeValue::String(text) => Self::from_text(text),
            DeValue::Array(items) => {
                let read = |item| {
                    number(item).ok_or_else(|| {
                        let found = format!("{} in the list", crate::reader::describe(item));
                        Wrong::new(found, Self::ALLOWED)
                    })
                };
                let numbers: Result<Vec<u32>, Wrong> =
                    items.iter().map(|item| read(item.get_ref())).collect();
                Self::checked(numbers?)
            }
            _ => Err(Wrong::kind()),
        }
    }
}

/// A name of an instance or service, or a kind: 1 to 32 of `a-z`, `0-9`, `-`, begun by a letter.
///
/// Names stand in metrics, file names and on the screen, so they stay plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

impl Read for Name {
    const ALLOWED: &'static str = "1 to 32 characters of a-z, 0-9 and -, begun by a letter";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value).ok_or_else(Wrong::kind)?;
        match Self::is_plain(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(Wrong::new(format!("{text:?}"), Self::ALLOWED)),
        }
    }
}

impl Name {
    /// Whether `text` may be a name.
    pub(crate) fn is_plain(text: &str) -> bool {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        begins && text.len() <= 32 && text.chars().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Read>(text: &str) -> Result<T, Wrong> {
        T::read(DeValue::parse(text).unwrap().get_ref())
    }

    #[test]
    fn reads_lists_in_each_of_their_forms() {
        for (text, numbers) in [
            ("3", vec![3]),
            ("[0, 2]", vec![0, 2]),
            ("\"0-3\"", vec![0, 1, 2, 3]),
            ("\"0-1, 8\"", vec![0, 1, 8]),
            ("0x10", vec![16]),
        ] {
            assert_eq!(read::<Numbers>(text), Ok(Numbers(numbers)), "{text}");
        }
    }

    #[test]
    fn refuses_lists_that_are_empty_double_backwards_or_boundless() {
        for (text, found) in [
            ("[]", "an empty list"),
            ("[1, 1]", "1 twice"),
            ("\"0-2,2\"", "2 twice"),
            ("\"3-0\"", "the range 3-0, which runs backwards"),
            ("\"0-4000000000\"", "\"0-4000000000\""),
            ("\"\"", "\"\""),
            ("[-1]", "the integer -1 in the list"),
            ("[\"a\"]", "the string \"a\" in the list"),
        ] {
            assert_eq!(read::<Numbers>(text).unwrap_err().found.unwrap(), found, "{text}");
        }
        assert_eq!(read::<Numbers>("1024"), Err(Wrong::kind()));
        assert_eq!(read::<Numbers>("1.5"), Err(Wrong::kind()));
    }

    #[test]
    fn names_are_plain() {
        assert_eq!(read::<Name>("\"scrub-1\""), Ok(Name("scrub-1".to_owned())));
        for text in ["\"\"", "\"1a\"", "\"A\"", "\"a_b\"", "\"a b\"", "\"../a\""] {
            assert!(read::<Name>(text).is_err(), "{text}");
        }
        assert!(read::<Name>(&format!("\"{}\"", "a".repeat(33))).is_err());
    }
}
