//! From tokens to expressions.
//!
//! ```text
//! any    = all { ("or" | "||") all }
//! all    = one { ("and" | "&&") one }
//! one    = ("not" | "!") one | "(" any ")" | test
//! test   = field | field comparison value | field "in" set | short value | ...
//! ```

mod payload;
mod short;

use std::ops::Range;
use std::sync::Arc;

use super::cursor::Cursor;
use super::expression::{Expression, Names, Ranges, Test};
use super::field::{AddressField, Layer, NumberField, Scope};
use super::lexer::{Spanned, Token};
use super::mistake::Wrong;
use super::sets::{Entry, Item, Sets, read_items};
use super::subject::{Asked, TCP_PORTS, UDP_PORTS, Vocabulary};
use super::value::Subject;

/// How deep brackets and `not` may stand in each other. Nobody needs ten; the bound is for the stack
/// of whoever reads, compiles or judges.
pub(super) const DEPTH_MAX: usize = 64;

/// What an expression is read with.
pub(super) struct Parser<'r, 't, 'a> {
    pub(super) cursor: Cursor<'t, 'a>,
    pub(super) sets: &'r Sets<'r>,
    pub(super) vocabulary: &'r Vocabulary,
    /// Brackets and `not` that are open.
    depth: usize,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl Comparison {
    /// Whether it holds of what is not among the values.
    const fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotIn)
    }

    const fn is_set(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }

    const fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

const COMPARISONS: [(&str, &str, Comparison); 6] = [
    ("==", "eq", Comparison::Equal),
    ("!=", "ne", Comparison::NotEqual),
    ("<", "lt", Comparison::Less),
    ("<=", "le", Comparison::LessOrEqual),
    (">", "gt", Comparison::Greater),
    (">=", "ge", Comparison::GreaterOrEqual),
];

const COMPARED: &str = "a comparison: == != < <= > >= or in";

/// All numbers of so many bits.
pub(super) const fn last_of(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

impl<'r, 't, 'a> Parser<'r, 't, 'a> {
    pub(super) const fn new(
        cursor: Cursor<'t, 'a>,
        sets: &'r Sets<'r>,
        vocabulary: &'r Vocabulary,
    ) -> Self {
        Self { cursor, sets, vocabulary, depth: 0 }
    }

    /// An expression, up to where it ends.
    pub(super) fn expression(&mut self) -> Result<Expression, Wrong> {
        let list = self.list(["or", "||"], |parser| {
            let list = parser.list(["and", "&&"], Self::one)?;
            Ok(joined(list, Expression::And))
        })?;
        Ok(joined(list, Expression::Or))
    }

    /// Parts between which one of the words stands.
    fn list(
        &mut self,
        between: [&str; 2],
        mut part: impl FnMut(&mut Self) -> Result<Expression, Wrong>,
    ) -> Result<Vec<Expression>, Wrong> {
        let mut list = vec![part(self)?];
        while self.cursor.skip_word(between[0]) || self.cursor.skip_sign(between[1]) {
            list.push(part(self)?);
        }
        Ok(list)
    }

    /// What stands in something else.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        if self.depth == DEPTH_MAX {
            let found = format!("brackets and `not` more than {DEPTH_MAX} deep");
            return Err(Wrong::new(&self.cursor.at(), found, "several rules, or a set"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn one(&mut self) -> Result<Expression, Wrong> {
        if self.cursor.skip_word("not") || self.cursor.skip_sign("!") {
            let denied = self.deeper(Self::one)?;
            return Ok(Expression::Not(Box::new(denied)));
        }
        if self.cursor.skip_sign("(") {
            let within = self.deeper(Self::expression)?;
            self.cursor.sign(")").map_err(|wrong| Wrong {
                allowed: "`)`, or `and` or `or` and another test".into(),
                ..wrong
            })?;
            return Ok(within);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, Wrong> {
        const ALLOWED: &str = "a test, such as `tcp.dstport == 80`, `ip.src in $bad` or `udp`";
        let (word, at) = self.cursor.word(ALLOWED)?;
        let asked = self.vocabulary.find(word).ok_or_else(|| self.no_such_field(word, &at))?;
        match asked {
            Asked::Number(scope, field) => self.number(word, scope, &[field], &at),
            // `port 53` has no comparison; `port == 53` has one.
            Asked::EitherNumber(scope, fields) => match self.cursor.peek() {
                Some(Token::Word(_)) if !self.compares() => self.short_ports(scope, &fields),
                _ => self.number(word, scope, &fields, &at),
            },
            Asked::Address(scope, field) => self.address(word, scope, &[field]),
            Asked::EitherAddress(scope) => self.address(word, scope, AddressField::ALL),
            Asked::Layer(Scope::Outer, Layer::Tcp) if self.short_follows() => {
                self.short_of(&TCP_PORTS)
            }
            Asked::Layer(Scope::Outer, Layer::Udp) if self.short_follows() => {
                self.short_of(&UDP_PORTS)
            }
            Asked::Layer(scope, layer) => self.layer(word, scope, layer),
            Asked::Payload(scope) => self.payload(scope),
            Asked::QueryName(scope) => self.query_name(word, scope),
            Asked::Standing(standing) => Ok(Expression::Test(Test::Standing(standing))),
            Asked::Bytecode => {
                let program =
                    self.parsed("the bytecode as `tcpdump -ddd` prints it, between quotes")?;
                Ok(Expression::Test(Test::Bytecode(Arc::new(program))))
            }
            Asked::Fingerprint => {
                let signature = self.parsed("a TCP signature of p0f 3, between quotes")?;
                Ok(Expression::Test(Test::Fingerprint(Arc::new(signature))))
            }
            Asked::Always(true) => Ok(Expression::True),
            Asked::Always(false) => Ok(Expression::Not(Box::new(Expression::True))),
            Asked::Short => self.short(word),
        }
    }

    fn no_such_field(&self, word: &str, at: &Range<usize>) -> Wrong {
        let near = self.vocabulary.near(word);
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        let found = format!("{word}, which is no field{hint}");
        Wrong::new(
            at,
            found,
            "a field, such as ip.src, tcp.dstport, udp or payload[0]; see docs/rules.md",
        )
    }

    /// A header is asked whether it is there, and nothing else.
    fn layer(&mut self, word: &str, scope: Scope, layer: Layer) -> Result<Expression, Wrong> {
        if self.compares() {
            let found = format!("a comparison with {word}, which is a header: it is there or not");
            let allowed = format!("`{word}` alone, or one of its fields, such as {word}.len");
            return Err(Wrong::new(&self.cursor.at(), found, allowed));
        }
        Ok(Expression::Test(Test::Has(scope, layer)))
    }

    /// Whether a comparison comes next.
    fn compares(&self) -> bool {
        match self.cursor.peek() {
            Some(Token::Word("not")) => self.cursor.peek_behind() == Some(&Token::Word("in")),
            Some(Token::Word(word)) => {
                *word == "in" || COMPARISONS.iter().any(|(_, name, _)| name == word)
            }
            Some(Token::Sign(sign)) => {
                matches!(*sign, "=" | "&") || COMPARISONS.iter().any(|(name, ..)| name == sign)
            }
            _ => false,
        }
    }

    fn comparison(&mut self) -> Result<Comparison, Wrong> {
        for (sign, word, comparison) in COMPARISONS {
            if self.cursor.skip_sign(sign) || self.cursor.skip_word(word) {
                return Ok(comparison);
            }
        }
        if self.cursor.skip_word("in") {
            return Ok(Comparison::In);
        }
        if self.compares() && self.cursor.skip_word("not") && self.cursor.skip_word("in") {
            return Ok(Comparison::NotIn);
        }
        let wrong = self.cursor.unexpected(COMPARED);
        match self.cursor.peek() {
            Some(Token::Sign("=")) => Err(Wrong { allowed: "`==`".into(), ..wrong }),
            _ => Err(wrong),
        }
    }

    /// `& mask`, if it comes next.
    fn mask(&mut self, subject: &Subject) -> Result<u64, Wrong> {
        if !self.cursor.skip_sign("&") {
            return Ok(subject.last);
        }
        let (word, at) = self.cursor.word("a mask behind `&`, such as 0x12")?;
        match subject.number(word, &at)? {
            0 => {
                Err(Wrong::new(&at, "a mask of 0, behind which every number is 0", "another mask"))
            }
            mask => Ok(mask),
        }
    }

    /// Numbers of one field, or of either of two.
    fn number(
        &mut self,
        word: &str,
        scope: Scope,
        fields: &[NumberField],
        at: &Range<usize>,
    ) -> Result<Expression, Wrong> {
        let bits = fields.first().map_or(0, |field| field.bits());
        let flag = bits == 1 && !self.compares();
        let field = (fields.len() == 1).then(|| fields.first().copied()).flatten();
        let subject = Subject { name: word.into(), field, last: last_of(bits) };
        let (mask, ranges, negative) = if flag {
            (1, Some(Ranges::new([(1, 1)])), false)
        } else {
            if !self.compares() {
                let wrong = self.cursor.unexpected(COMPARED);
                let allowed = format!(
                    "a comparison with {word}, such as `{word} == {}`",
                    subject.last.min(2)
                );
                return Err(Wrong { at: at.start..wrong.at.end.max(at.end), allowed, ..wrong });
            }
            let mask = self.mask(&subject)?;
            let comparison = self.comparison()?;
            (mask, self.ranges(&subject, mask, comparison)?, comparison.is_negative())
        };
        // A set that is broken has said so.
        let Some(ranges) = ranges else { return Ok(Expression::True) };
        let tests = fields.iter().map(|&field| {
            Expression::Test(Test::Number { scope, field, mask, ranges: ranges.clone() })
        });
        Ok(either(tests.collect(), negative))
    }

    /// The numbers that stand behind a comparison, which a field of at most `mask` may be.
    fn ranges(
        &mut self,
        subject: &Subject,
        mask: u64,
        comparison: Comparison,
    ) -> Result<Option<Ranges>, Wrong> {
        let start = self.cursor.at().start;
        let ranges = if comparison.is_set() && !matches!(self.cursor.peek(), Some(Token::Word(_))) {
            let entries = read_items(&mut self.cursor)?;
            let Some(ranges) = self.sets.ranges(&entries, subject)? else { return Ok(None) };
            ranges
        } else {
            let (word, at) = match self.cursor.take() {
                Some(Spanned { token: Token::Word(word), at }) => (*word, at.clone()),
                Some(Spanned { token: Token::Text(octets), at }) => {
                    let found = format!(
                        "the text \"{}\", but {} is a number",
                        octets.escape_ascii(),
                        subject.name
                    );
                    return Err(Wrong::new(
                        at,
                        found,
                        format!("a number from 0 to {}", subject.last),
                    ));
                }
                Some(Spanned { token: Token::Sign("$"), at }) => {
                    let allowed = "`in` before a set";
                    return Err(Wrong::new(
                        at,
                        "a set behind a comparison with one value",
                        allowed,
                    ));
                }
                _ => {
                    let found = "no value";
                    let allowed = format!("a number from 0 to {}", subject.last);
                    return Err(Wrong::new(&(start..start), found, allowed));
                }
            };
            ordered(subject, mask, comparison, word, &at)?
        };
        let span = start..self.cursor.at().start.max(start + 1);
        self.possible(ranges, subject, mask, comparison, &span).map(Some)
    }

    /// `ranges` as they are to be met, unless none of them can be.
    fn possible(
        &self,
        ranges: Ranges,
        subject: &Subject,
        mask: u64,
        comparison: Comparison,
        at: &Range<usize>,
    ) -> Result<Ranges, Wrong> {
        // What has a bit outside of the mask cannot be met, one by one.
        let impossible = mask != subject.last
            && !comparison.is_order()
            && ranges.iter().any(|(first, last)| first == last && first & !mask != 0);
        if impossible {
            let found = format!("a number that {} & {mask:#x} can never be", subject.name);
            return Err(Wrong::new(at, found, format!("bits of {mask:#x} alone")));
        }
        let ranges = if comparison.is_negative() { ranges.complement(mask) } else { ranges };
        if ranges.is_empty() {
            let found = format!("a comparison that {} can never meet", subject.name);
            return Err(Wrong::new(at, found, format!("numbers from 0 to {mask}")));
        }
        Ok(ranges)
    }

    /// Addresses of one field, or of either.
    fn address(
        &mut self,
        word: &str,
        scope: Scope,
        fields: &[AddressField],
    ) -> Result<Expression, Wrong> {
        let start = self.cursor.at();
        let comparison = self.comparison()?;
        if comparison.is_order() {
            let found = format!("{word}, an address, compared by size");
            return Err(Wrong::new(
                &start,
                found,
                "==, != or in, with prefixes such as 198.18.0.0/15",
            ));
        }
        let entries =
            match comparison.is_set() && !matches!(self.cursor.peek(), Some(Token::Word(_))) {
                true => read_items(&mut self.cursor)?,
                false => vec![self.single("an address or a prefix")?],
            };
        let Some(set) = self.sets.prefixes(&entries, word)? else { return Ok(Expression::True) };
        let test = |&field| Expression::Test(Test::Address { scope, field, set: set.clone() });
        Ok(match comparison.is_negative() {
            false => either(fields.iter().map(test).collect(), false),
            // What has no address is not different from one.
            true => {
                let ip = Expression::Test(Test::Has(scope, Layer::Ip));
                let others = fields.iter().map(test).map(|it| Expression::Not(Box::new(it)));
                Expression::And([ip].into_iter().chain(others).collect())
            }
        })
    }

    /// One value, as the only entry of a set.
    fn single(&mut self, allowed: &str) -> Result<Entry, Wrong> {
        match self.cursor.peek() {
            Some(Token::Word(_) | Token::Text(_)) => {}
            Some(Token::Sign("$" | "{")) => {
                let wrong = self.cursor.unexpected("`in` before a set");
                return Err(Wrong {
                    found: "a set behind a comparison with one value".into(),
                    ..wrong
                });
            }
            _ => return Err(self.cursor.unexpected(allowed)),
        }
        let Some(Spanned { token, at }) = self.cursor.take() else {
            return Err(self.cursor.unexpected(allowed));
        };
        let item = match token {
            Token::Word(word) => Item::Word((*word).into()),
            Token::Text(octets) => Item::Name(octets.as_slice().into()),
            Token::Sign(_) => return Err(self.cursor.unexpected(allowed)),
        };
        Ok(Entry { item, at: at.clone() })
    }

    fn query_name(&mut self, word: &str, scope: Scope) -> Result<Expression, Wrong> {
        let start = self.cursor.at();
        let comparison = self.comparison()?;
        if comparison.is_order() {
            let found = format!("{word}, a name, compared by size");
            return Err(Wrong::new(&start, found, "==, != or in"));
        }
        let entries = match comparison.is_set() {
            true => read_items(&mut self.cursor)?,
            false => vec![self.single("a name between quotes, such as \"example.com\"")?],
        };
        let Some(names) = self.sets.names(&entries, word)? else { return Ok(Expression::True) };
        let test = |names| Expression::Test(Test::Name { scope, names });
        Ok(match comparison.is_negative() {
            false => test(names),
            // What asks for no name is not different from one: the root, and all below it.
            true => {
                let root = || Box::new([Box::from([0])]);
                let all = Names { exact: root(), below: root() };
                Expression::And(vec![test(Arc::new(all)), Expression::Not(Box::new(test(names)))])
            }
        })
    }

    /// A text between quotes, read by whoever knows what it says.
    fn parsed<T>(&mut self, allowed: &str) -> Result<T, Wrong>
    where
        T: std::str::FromStr<Err = crate::scrub::misread::Misread>,
    {
        let Some(Token::Text(octets)) = self.cursor.peek() else {
            return Err(self.cursor.unexpected(allowed));
        };
        let at = self.cursor.at();
        self.cursor.take();
        let text = String::from_utf8_lossy(octets);
        text.parse().map_err(|misread: crate::scrub::misread::Misread| {
            // Without escapes the text stands as it is behind its quote.
            let plain = at.len() == text.len() + 2;
            let place = at.start + 1 + misread.at.start..at.start + 1 + misread.at.end;
            Wrong::new(if plain { &place } else { &at }, misread.what, allowed)
        })
    }
}

/// The numbers that a comparison with one value means.
fn ordered(
    subject: &Subject,
    mask: u64,
    comparison: Comparison,
    word: &str,
    at: &Range<usize>,
) -> Result<Ranges, Wrong> {
    let never = |what: &str| {
        let found = format!("a comparison that {} can never meet: nothing is {what}", subject.name);
        Wrong::new(at, found, format!("numbers from 0 to {mask}"))
    };
    if !comparison.is_order() {
        let (first, last) = subject.range(word, at)?;
        return Ok(Ranges::new([(first, last)]));
    }
    let number = subject.number(word, at)?;
    let (first, last) = match comparison {
        Comparison::Less => (0, number.checked_sub(1).ok_or_else(|| never("below 0"))?),
        Comparison::LessOrEqual => (0, number),
        Comparison::Greater => (number.saturating_add(1), mask),
        _ => (number, mask),
    };
    if first > last {
        return Err(never(&format!("above {mask}")));
    }
    Ok(Ranges::new([(first, last.min(mask))]))
}

/// One of them holds; or all, where each says what is not.
fn either(mut tests: Vec<Expression>, negative: bool) -> Expression {
    match (tests.len(), negative) {
        (1, _) => tests.remove(0),
        (_, false) => Expression::Or(tests),
        (_, true) => Expression::And(tests),
    }
}

/// The only part, or all of them together.
fn joined(mut list: Vec<Expression>, all: fn(Vec<Expression>) -> Expression) -> Expression {
    if list.len() == 1 { list.remove(0) } else { all(list) }
}
