//! Tests of the payload: octets at a place, and octets anywhere.

use std::ops::Range;

use super::super::expression::{Expression, Place, Ranges, Test, Width};
use super::super::field::Scope;
use super::super::lexer::{Spanned, Token};
use super::super::mistake::Wrong;
use super::super::sets::{Item, read_items};
use super::super::value::{Subject, octets};
use super::{Comparison, Parser, last_of};

/// Octets that are looked for anywhere, at most. Each is compared at each place of the payload.
const NEEDLE_MAX: usize = 256;

/// Octets that are compared at one place, at most: as many as a frame has.
const EQUAL_MAX: usize = 1500;

const PLACES: &str =
    "payload[OFFSET] or payload[OFFSET:LENGTH], such as payload[3], payload[0:4], payload[-4:4]";

const ASKED: &str = "payload[OFFSET] == …, payload contains \"…\", or payload starts_with \"…\"";

/// Which octets are asked for.
#[derive(Clone, Copy)]
struct Slice {
    scope: Scope,
    place: Place,
    length: usize,
}

impl Parser<'_, '_, '_> {
    /// Behind `payload`.
    pub(super) fn payload(&mut self, scope: Scope) -> Result<Expression, Wrong> {
        if self.cursor.skip_sign("[") {
            let (place, length) = self.slice()?;
            return self.sliced(Slice { scope, place, length });
        }
        let (word, at) = self.cursor.word(ASKED)?;
        let contains = |octets, any_case| Test::Contains { scope, octets, any_case };
        let test = match word {
            "contains" => contains(self.needle(NEEDLE_MAX)?, false),
            "icontains" => contains(self.needle(NEEDLE_MAX)?.to_ascii_lowercase().into(), true),
            "starts_with" => {
                let octets = self.needle(EQUAL_MAX)?;
                Test::Equal { scope, place: Place::Front(0), octets }
            }
            "ends_with" => {
                let octets = self.needle(EQUAL_MAX)?;
                let behind = u16::try_from(octets.len()).unwrap_or(u16::MAX);
                Test::Equal { scope, place: Place::Back(behind), octets }
            }
            _ => return Err(Wrong::new(&at, format!("`{word}` behind payload"), ASKED)),
        };
        Ok(Expression::Test(test))
    }

    /// Octets to look for: text, or pairs of digits.
    fn needle(&mut self, most: usize) -> Result<Box<[u8]>, Wrong> {
        const ALLOWED: &str = "text such as \"GET \", or octets such as ff:00:2a";
        let at = self.cursor.at();
        let needle = match self.cursor.peek() {
            Some(Token::Text(octets)) => octets.clone(),
            Some(Token::Word(word)) => {
                octets(word).ok_or_else(|| self.cursor.unexpected(ALLOWED))?
            }
            _ => return Err(self.cursor.unexpected(ALLOWED)),
        };
        self.cursor.take();
        match needle.len() {
            0 => Err(Wrong::new(&at, "no octets, which are everywhere", ALLOWED)),
            len if len > most => {
                Err(Wrong::new(&at, format!("{len} octets"), format!("{most} octets at most")))
            }
            _ => Ok(needle.into()),
        }
    }

    /// Behind `[`, up to `]`: `3`, `0:4`, `:4`, `-4:4`, `-4:`.
    fn slice(&mut self) -> Result<(Place, usize), Wrong> {
        let start = self.cursor.at().start;
        let mut text = String::new();
        while let Some(word) = self.cursor.peek_word() {
            text.push_str(word);
            self.cursor.take();
        }
        let at = start..self.cursor.at().start.max(start + 1);
        self.cursor.sign("]")?;
        let wrong = |found: String| Wrong::new(&at, found, PLACES);
        let number = |digits: &str| -> Result<u16, Wrong> {
            let plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
            let number = plain.then(|| digits.parse().ok()).flatten();
            number.ok_or_else(|| wrong(format!("[{text}]")))
        };
        let (offset, length) = match text.split_once(':') {
            Some((offset, length)) => (offset, Some(length)),
            None => (text.as_str(), None),
        };
        let place = match offset.strip_prefix('-') {
            Some(digits) => Place::Back(number(digits)?),
            None if offset.is_empty() && length.is_some() => Place::Front(0),
            None => Place::Front(number(offset)?),
        };
        let length = match (length, place) {
            (None, _) => 1,
            // All up to the end.
            (Some(""), Place::Back(behind)) => behind.into(),
            (Some(digits), _) => number(digits)?.into(),
        };
        match place {
            Place::Back(0) => Err(wrong("octets behind the end".into())),
            Place::Back(behind) if length > behind.into() => {
                Err(wrong(format!("{length} octets, where only {behind} are before the end")))
            }
            Place::Front(offset) if usize::from(offset) + length > usize::from(u16::MAX) => {
                Err(wrong("octets behind the end of every packet".into()))
            }
            _ if length == 0 => Err(wrong("no octets".into())),
            _ if length > EQUAL_MAX => {
                Err(wrong(format!("{length} octets, more than {EQUAL_MAX}")))
            }
            _ => Ok((place, length)),
        }
    }

    /// Behind `payload[…]`.
    fn sliced(&mut self, slice: Slice) -> Result<Expression, Wrong> {
        let width = match slice.length {
            1 => Some(Width::One),
            2 => Some(Width::Two),
            4 => Some(Width::Four),
            _ => None,
        };
        let bits = 8 * u32::try_from(slice.length.min(8)).unwrap_or(8);
        let name = format!("the payload's {} octets there", slice.length);
        let subject = Subject { name, field: None, last: last_of(bits) };
        if !self.compares() {
            return Err(self.cursor.unexpected(super::COMPARED));
        }
        let mask_at = self.cursor.at();
        let mask = self.mask(&subject)?;
        let masked = mask != subject.last;
        if let (true, None) = (masked, width) {
            let found = format!("a mask of {} octets", slice.length);
            return Err(Wrong::new(&mask_at, found, "1, 2 or 4 octets, which are a number"));
        }
        let comparison = self.comparison()?;
        if !masked && let Some(expression) = self.equal(slice, comparison)? {
            return Ok(expression);
        }
        let at = self.cursor.at();
        let Some(width) = width else {
            let found = format!("a number, compared with {} octets", slice.length);
            let allowed = "octets such as ff:00:2a, or text; 1, 2 or 4 octets are a number";
            return Err(Wrong::new(&at, found, allowed));
        };
        let Some(ranges) = self.ranges(&subject, mask, comparison)? else {
            return Ok(Expression::True);
        };
        let Slice { scope, place, .. } = slice;
        Ok(Expression::Test(Test::Octets { scope, place, width, mask, ranges }))
    }

    /// The test where octets or text stand behind the comparison; `None` where numbers do.
    fn equal(&mut self, slice: Slice, comparison: Comparison) -> Result<Option<Expression>, Wrong> {
        let mut ahead = self.cursor.clone();
        let values: Vec<(Vec<u8>, Range<usize>)> = match ahead.peek() {
            Some(Token::Sign("{")) if comparison.is_set() => {
                let entries = read_items(&mut ahead)?;
                let values = entries.iter().map(|entry| {
                    let octets = match &entry.item {
                        Item::Name(text) if text.contains(&b':') => {
                            std::str::from_utf8(text).ok().and_then(octets).unwrap_or(text.to_vec())
                        }
                        Item::Name(text) => text.to_vec(),
                        Item::Address(text) | Item::Word(text) => octets(text)?,
                        Item::Range(_) | Item::Set(_) => return None,
                    };
                    Some((octets, entry.at.clone()))
                });
                match values.clone().all(|it| it.is_some()) {
                    true => values.flatten().collect(),
                    // Numbers, or a mixture, which is refused as numbers are.
                    false => return Ok(None),
                }
            }
            _ => match ahead.take() {
                Some(Spanned { token: Token::Text(text), at }) => vec![(text.clone(), at.clone())],
                Some(Spanned { token: Token::Word(word), at }) => match octets(word) {
                    Some(octets) => vec![(octets, at.clone())],
                    None => return Ok(None),
                },
                _ => return Ok(None),
            },
        };
        if comparison.is_order() {
            let found = "octets, compared by size";
            return Err(Wrong::new(&self.cursor.at(), found, "==, != or in, or a number"));
        }
        for (octets, at) in &values {
            if octets.len() != slice.length {
                let found = format!("{} octets, compared with {}", octets.len(), slice.length);
                let allowed = format!("as many, or [OFFSET:{}]", octets.len());
                return Err(Wrong::new(at, found, allowed));
            }
        }
        self.cursor = ahead;
        Ok(Some(slice.is_one_of(values, comparison.is_negative())))
    }
}

impl Slice {
    fn is_one_of(self, values: Vec<(Vec<u8>, Range<usize>)>, negative: bool) -> Expression {
        let Self { scope, place, length } = self;
        let equal = |(octets, _): (Vec<u8>, _)| {
            Expression::Test(Test::Equal { scope, place, octets: octets.into() })
        };
        let mut tests: Vec<Expression> = values.into_iter().map(equal).collect();
        if !negative {
            return super::either(tests, false);
        }
        // What is not there is not different: the octet farthest from where it counts is asked for.
        let farthest = match place {
            Place::Front(offset) => {
                let last = usize::from(offset) + length - 1;
                Place::Front(u16::try_from(last).unwrap_or(u16::MAX))
            }
            Place::Back(_) => place,
        };
        let (width, mask) = (Width::One, 0xff);
        let ranges = Ranges::new([(0, 0xff)]);
        let there = Test::Octets { scope, place: farthest, width, mask, ranges };
        tests = tests.into_iter().map(|it| Expression::Not(Box::new(it))).collect();
        tests.insert(0, Expression::Test(there));
        Expression::And(tests)
    }
}
