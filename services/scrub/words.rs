//! How single values of a rule are written.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tidegate_config::Refusal;
use tidegate_dataplane::wire::protocol;

/// Makes a type that has `FromStr` readable by serde, from a string or an integer.
macro_rules! read_from_text {
    ($($Type:ty: $allowed:expr;)+) => { $(
        impl Word for $Type {
            const ALLOWED: &'static str = $allowed;
        }

        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Text(PhantomData))
            }
        }
    )+ };
}

/// A value written as a word or a number.
trait Word: FromStr<Err = Refusal> {
    /// What may be written.
    const ALLOWED: &'static str;

    /// What is said of a text that is not one.
    fn refuse(text: &str) -> Refusal {
        Refusal::new(format!("{text:?}"), Self::ALLOWED)
    }
}

struct Text<T>(PhantomData<T>);

impl<T: Word> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::ALLOWED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom::<Refusal>)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom::<Refusal>)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom::<Refusal>)
    }
}

read_from_text! {
    RuleName: "1 to 32 characters of a-z, 0-9 and _, begun by a letter";
    Protocol: "\"udp\", \"tcp\", \"icmp\" or a number from 0 to 255";
    FlagsMatch: "TCP flags that must be set, or with ! must not, such as \"syn,!ack\"; \
                 they are fin, syn, rst, psh, ack, urg, ece, cwr";
    LengthRange: "octets of an IP packet from 0 to 65575, such as 468 or \"28-60\"";
    Octets: "1 to 64 octets in hexadecimal, such as \"17 00 03 2a\" or \"1700032a\"";
}

/// A rule's name, which is also the name of its counter and drop reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleName(pub(super) Box<str>);

impl FromStr for RuleName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        let good = begins && text.len() <= 32 && text.chars().all(plain);
        if good { Ok(Self(text.into())) } else { Err(Self::refuse(text)) }
    }
}

/// What is above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp,
    /// The one with this number.
    Number(u8),
}

impl FromStr for Protocol {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "udp" => Ok(Self::Number(protocol::UDP)),
            "tcp" => Ok(Self::Number(protocol::TCP)),
            "icmp" => Ok(Self::Icmp),
            number => number.parse().map(Self::Number).map_err(|_| Self::refuse(text)),
        }
    }
}

/// Which TCP flags must be set and which must not; the others may be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlagsMatch {
    /// The flags that are looked at.
    pub(super) mask: u8,
    /// Those of them that are set.
    pub(super) value: u8,
}

/// RFC 9293, section 3.1, from bit 0 on.
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

impl FromStr for FlagsMatch {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut flags = Self { mask: 0, value: 0 };
        for word in text.split(',').map(str::trim) {
            let name = word.strip_prefix('!');
            let known = FLAGS.iter().position(|flag| *flag == name.unwrap_or(word));
            let bit = 1 << known.ok_or_else(|| Self::refuse(text))?;
            if flags.mask & bit != 0 {
                let found = format!("{text:?}, which has {} twice", name.unwrap_or(word));
                return Err(Refusal::new(found, "each flag once"));
            }
            flags.mask |= bit;
            flags.value |= if name.is_none() { bit } else { 0 };
        }
        Ok(flags)
    }
}

/// Lengths of an IP packet, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LengthRange {
    pub(super) first: u32,
    pub(super) last: u32,
}

/// The longest packet without jumbograms: an IPv6 header and 65,535 octets behind it.
const LENGTH_MAX: u32 = 40 + 65_535;

impl FromStr for LengthRange {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let length = |part: &str| {
            part.trim().parse().ok().filter(|&n| n <= LENGTH_MAX).ok_or_else(|| Self::refuse(text))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (length(first)?, length(last)?);
        if first > last {
            let found = format!("{text:?}, which runs backwards");
            return Err(Refusal::new(found, format!("\"{last}-{first}\"")));
        }
        Ok(Self { first, last })
    }
}

/// Octets to be found in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Octets(pub(super) Box<[u8]>);

/// Octets that a rule compares at most. More would be a second parser, and slow.
const OCTETS_MAX: usize = 64;

impl FromStr for Octets {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || Self::refuse(text);
        let nibbles: Option<Vec<u8>> = (text.chars().filter(|c| !c.is_ascii_whitespace()))
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let nibbles = nibbles.ok_or_else(wrong)?;
        let (pairs, rest) = nibbles.as_chunks::<2>();
        if pairs.is_empty() || pairs.len() > OCTETS_MAX || !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Self(pairs.iter().map(|[high, low]| high << 4 | low).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: FromStr<Err = Refusal> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn flags_are_looked_at_set_or_not() {
        let flags = |text: &str| text.parse::<FlagsMatch>().unwrap();
        assert_eq!(flags("syn,!ack"), FlagsMatch { mask: 0x12, value: 0x02 });
        assert_eq!(flags(" cwr , fin "), FlagsMatch { mask: 0x81, value: 0x81 });
        assert_eq!(flags("!psh"), FlagsMatch { mask: 0x08, value: 0 });
    }

    #[test]
    fn refuses_flags_that_are_none_and_flags_said_twice() {
        for text in ["", "sin", "SYN", "syn,", "!", "!!syn", "syn ack"] {
            let expected = format!(
                "{text:?}; allowed: TCP flags that must be set, or with ! must not, such as \
                 \"syn,!ack\"; they are fin, syn, rst, psh, ack, urg, ece, cwr"
            );
            assert_eq!(refusal::<FlagsMatch>(text), expected);
        }
        assert_eq!(
            refusal::<FlagsMatch>("syn,!syn"),
            "\"syn,!syn\", which has syn twice; allowed: each flag once"
        );
    }

    #[test]
    fn lengths_are_one_or_from_to() {
        assert_eq!("468".parse(), Ok(LengthRange { first: 468, last: 468 }));
        assert_eq!("0 - 65575".parse(), Ok(LengthRange { first: 0, last: 65_575 }));
        assert_eq!(
            refusal::<LengthRange>("60-28"),
            "\"60-28\", which runs backwards; allowed: \"28-60\""
        );
        for text in ["", "-", "-1", "65576", "1-2-3"] {
            assert!(text.parse::<LengthRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn octets_are_pairs_of_digits_with_or_without_space() {
        let octets = |text: &str| text.parse::<Octets>().unwrap().0;
        assert_eq!(*octets("17 00 03 2A"), [0x17, 0, 3, 0x2a]);
        assert_eq!(octets("1700032a"), octets("17 00 03 2A"));
        assert_eq!(octets(&"ab".repeat(64)).len(), 64);
        for text in ["", " ", "1", "123", "0x17", "zz", &"ab".repeat(65)] {
            assert!(text.parse::<Octets>().is_err(), "{text}");
        }
    }

    #[test]
    fn protocols_are_words_or_numbers() {
        assert_eq!("udp".parse(), Ok(Protocol::Number(17)));
        assert_eq!("icmp".parse(), Ok(Protocol::Icmp));
        assert_eq!("47".parse(), Ok(Protocol::Number(47)));
        assert_eq!(
            refusal::<Protocol>("256"),
            "\"256\"; allowed: \"udp\", \"tcp\", \"icmp\" or a number from 0 to 255"
        );
    }

    #[test]
    fn names_can_stand_in_metrics() {
        assert!("syn_flood2".parse::<RuleName>().is_ok());
        for text in ["", "2fast", "syn-flood", "Syn", "é", "a b", &"a".repeat(33)] {
            assert!(text.parse::<RuleName>().is_err(), "{text}");
        }
    }
}
