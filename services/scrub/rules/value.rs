//! Values: numbers and ranges of them, addresses, octets, names of DNS.

use std::ops::Range;

use tidegate_config::{Prefix, Refusal, nearest};
use tidegate_dataplane::wire::dns::NAME_MAX;

use super::expression::Names;
use super::field::NumberField;
use super::lexer::is_hexadecimal;
use super::mistake::Wrong;
use super::words;

/// What a number is compared with.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// As it was written.
    pub(super) name: String,
    /// The field, which may have words for its numbers.
    pub(super) field: Option<NumberField>,
    /// The largest number that it can be.
    pub(super) last: u64,
}

impl Subject {
    /// What may stand there.
    fn allowed(&self) -> String {
        let words = self.field.map_or(&[][..], words::of);
        let named: Vec<&str> = words.iter().take(6).map(|(name, _)| *name).collect();
        let named = match named.is_empty() {
            true => String::new(),
            false => format!(", or a name such as {}", named.join(", ")),
        };
        format!("a number from 0 to {}, in decimal or as 0x…{named}", self.last)
    }

    /// One number.
    pub(super) fn number(&self, word: &str, at: &Range<usize>) -> Result<u64, Wrong> {
        match literal(word) {
            Some(Literal::Number(number)) => self.fitting(number, at),
            Some(Literal::TooLarge) => Err(self.too_large(word, at)),
            None => self.field.and_then(|field| words::number(field, word)).ok_or_else(|| {
                let found = self.not_a_number(word);
                Wrong::new(at, found, self.allowed())
            }),
        }
    }

    /// One number, or those from one to another: `80`, `80-90`, `80..90`.
    pub(super) fn range(&self, word: &str, at: &Range<usize>) -> Result<(u64, u64), Wrong> {
        if let Some(number) = self.field.and_then(|field| words::number(field, word)) {
            return Ok((number, number));
        }
        let Some((first, last)) = ends(word) else {
            let number = self.number(word, at)?;
            return Ok((number, number));
        };
        let (first, last) = (self.number(first, at)?, self.number(last, at)?);
        if first > last {
            let allowed = format!("{last}-{first}");
            return Err(Wrong::new(at, format!("{word}, which runs backwards"), allowed));
        }
        Ok((first, last))
    }

    pub(super) fn fitting(&self, number: u64, at: &Range<usize>) -> Result<u64, Wrong> {
        if number <= self.last { Ok(number) } else { Err(self.too_large(&number.to_string(), at)) }
    }

    fn too_large(&self, number: &str, at: &Range<usize>) -> Wrong {
        let found = format!("{number}, but {} is {} at most", self.name, self.last);
        Wrong::new(at, found, self.allowed())
    }

    fn not_a_number(&self, word: &str) -> String {
        if looks_like_address(word) {
            return format!("the address {word}, but {} is a number", self.name);
        }
        if is_hexadecimal(word) {
            return format!("{word}, which has to be written 0x{word}");
        }
        let known: Vec<&str> =
            self.field.map_or(&[][..], words::of).iter().map(|(name, _)| *name).collect();
        let near = known.iter().find(|known| known.eq_ignore_ascii_case(word)).copied();
        let near = near.or_else(|| nearest(word, &known));
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        format!("{word}, which is no number{hint}")
    }
}

/// A number as written.
pub(super) enum Literal {
    Number(u64),
    TooLarge,
}

/// What `word` is as a number in decimal or behind `0x`.
pub(super) fn literal(word: &str) -> Option<Literal> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) if is_hexadecimal(digits) => (digits, 16),
        None if !word.is_empty() && word.bytes().all(|it| it.is_ascii_digit()) => (word, 10),
        _ => return None,
    };
    Some(u64::from_str_radix(digits, radix).map_or(Literal::TooLarge, Literal::Number))
}

/// Both ends of a range.
fn ends(word: &str) -> Option<(&str, &str)> {
    word.split_once("..").or_else(|| word.split_once('-').filter(|(first, _)| !first.is_empty()))
}

/// Whether somebody meant an address, right or wrong.
pub(super) fn looks_like_address(word: &str) -> bool {
    let digits = word.bytes().all(|it| it.is_ascii_digit() || it == b'.' || it == b'/');
    let dotted = digits && word.contains('.') && !word.contains("..");
    let six = word
        .split('/')
        .next()
        .unwrap_or("")
        .bytes()
        .all(|it| it.is_ascii_hexdigit() || it == b':' || it == b'.');
    dotted || (digits && word.contains('/')) || (six && word.matches(':').count() >= 2)
}

/// A network, or one address.
pub(super) fn prefix(word: &str, at: &Range<usize>) -> Result<Prefix, Wrong> {
    word.parse::<Prefix>().map_err(|Refusal { found, allowed }| {
        let found = match literal(word) {
            Some(_) => format!("the number {word}, but an address is asked for"),
            None => found,
        };
        Wrong::new(at, found.replace('"', ""), allowed.replace('"', ""))
    })
}

/// Octets as pairs of hexadecimal digits between colons, at least two: `ff:00:2a`.
pub(super) fn octets(word: &str) -> Option<Vec<u8>> {
    let pair = |pair: &str| {
        u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2 && is_hexadecimal(pair))
    };
    word.contains(':').then(|| word.split(':').map(pair).collect()).flatten()
}

/// Names as they are collected.
#[derive(Clone, Debug, Default)]
pub(super) struct NameList {
    exact: Vec<Box<[u8]>>,
    below: Vec<Box<[u8]>>,
}

impl NameList {
    /// Adds a name of dots and labels: `example.com`, `*.example.com`, `.` for the root.
    pub(super) fn add(&mut self, text: &[u8], at: &Range<usize>) -> Result<(), Wrong> {
        let (list, rest) = match text {
            [b'*', b'.', rest @ ..] => (&mut self.below, rest),
            _ => (&mut self.exact, text),
        };
        list.push(wire(rest, is_below(text)).map_err(|found| {
            let found = format!("\"{}\", {found}", text.escape_ascii());
            Wrong::new(at, found, "a name of DNS, such as \"example.com\" or \"*.example.com\"")
        })?);
        Ok(())
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.exact.extend_from_slice(&other.exact);
        self.below.extend_from_slice(&other.below);
    }

    pub(super) const fn len(&self) -> usize {
        self.exact.len() + self.below.len()
    }

    /// Sorted, each once.
    pub(super) fn finish(&self) -> Names {
        let unique = |list: &Vec<Box<[u8]>>| {
            let mut list = list.clone();
            list.sort_unstable();
            list.dedup();
            list.into()
        };
        Names { exact: unique(&self.exact), below: unique(&self.below) }
    }
}

impl From<&Names> for NameList {
    fn from(names: &Names) -> Self {
        Self { exact: names.exact.to_vec(), below: names.below.to_vec() }
    }
}

const fn is_below(text: &[u8]) -> bool {
    matches!(text, [b'*', b'.', ..])
}

/// The form of the wire, in lower case.
fn wire(text: &[u8], below: bool) -> Result<Box<[u8]>, &'static str> {
    // The root alone is a dot, or nothing behind `*.`.
    let text = match text {
        b"" if !below => return Err("which is empty"),
        b"." | b"" => return Ok(Box::new([0])),
        _ => text.strip_suffix(b".").unwrap_or(text),
    };
    let mut octets = Vec::with_capacity(text.len() + 2);
    for label in text.split(|&octet| octet == b'.') {
        match label {
            b"" => return Err("which has an empty label"),
            b"*" => return Err("which has a * that is not the first label"),
            _ => {}
        }
        let len = u8::try_from(label.len()).ok().filter(|&len| len < 64);
        octets.push(len.ok_or("which has a label of more than 63 octets")?);
        octets.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    octets.push(0);
    if octets.len() > NAME_MAX {
        return Err("which is longer than names are");
    }
    Ok(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_numbers_and_names() {
        for word in
            ["198.18.0.0/15", "1.2.3", "1.2.3.4", "::", "2001:db8::1/64", "10/8", "::ffff:1.2.3.4"]
        {
            assert!(looks_like_address(word), "{word}");
        }
        for word in
            ["80", "80-90", "80..90", "0x2a", "tcp", "1e100.net", "ff:ff", "packets/s", "a/b"]
        {
            assert!(!looks_like_address(word), "{word}");
        }
    }

    #[test]
    fn octets_are_pairs_between_colons() {
        assert_eq!(octets("ff:00:2A"), Some(vec![255, 0, 42]));
        for word in ["ff", "f:ff", "ff:", ":", "ff::ff", "fff:ff", "+f:ff", "gg:00"] {
            assert_eq!(octets(word), None, "{word}");
        }
    }

    #[test]
    fn names_are_kept_as_on_the_wire() {
        let mut list = NameList::default();
        for name in ["Example.COM", "example.com.", ".", "*.example.com", "*.", "a"] {
            list.add(name.as_bytes(), &(0..0)).unwrap();
        }
        let names = list.finish();
        let expected: [&[u8]; 3] = [b"\0", b"\x01a\0", b"\x07example\x03com\0"];
        assert_eq!(names.exact.iter().map(|it| &**it).collect::<Vec<_>>(), expected);
        let expected: [&[u8]; 2] = [b"\0", b"\x07example\x03com\0"];
        assert_eq!(names.below.iter().map(|it| &**it).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn refuses_what_is_no_name() {
        let long = "a".repeat(64);
        let many = "a.".repeat(127) + "ab";
        for (name, why) in [
            ("", "empty"),
            ("a..b", "an empty label"),
            (".a", "an empty label"),
            ("a.*.b", "a * that is not the first label"),
            ("*", "a * that is not the first label"),
            ("*.*.a", "a * that is not the first label"),
            (long.as_str(), "more than 63 octets"),
            (many.as_str(), "longer than names are"),
        ] {
            let wrong = NameList::default().add(name.as_bytes(), &(0..0)).unwrap_err();
            assert!(wrong.found.ends_with(why), "{name}: {}", wrong.found);
        }
        let fits = "a.".repeat(126) + "a";
        assert!(NameList::default().add(fits.as_bytes(), &(0..0)).is_ok());
    }
}
