//! Entries of a set, not yet told what they are asked for.

use std::ops::Range;

use super::super::cursor::Cursor;
use super::super::lexer::{Spanned, Token};
use super::super::mistake::Wrong;
use super::super::value::{literal, looks_like_address};

/// One entry and where it stands.
#[derive(Clone, Debug)]
pub(in super::super) struct Entry {
    pub(in super::super) item: Item,
    pub(in super::super) at: Range<usize>,
}

/// What an entry looks like.
#[derive(Clone, Debug)]
pub(in super::super) enum Item {
    /// An address or network, right or wrong.
    Address(Box<str>),
    /// A number or a range of them.
    Range(Box<str>),
    /// A name of a number.
    Word(Box<str>),
    /// A name of DNS, or other text.
    Name(Box<[u8]>),
    /// All of another set.
    Set(Box<str>),
}

impl Item {
    /// What `word` looks like.
    pub(super) fn of(word: &str) -> Self {
        let parts = || word.split_once("..").or_else(|| word.split_once('-'));
        let number = |text: &str| literal(text).is_some();
        if number(word) || parts().is_some_and(|(first, last)| number(first) && number(last)) {
            Self::Range(word.into())
        } else if looks_like_address(word) {
            Self::Address(word.into())
        } else if word.contains(['.', '*']) {
            Self::Name(word.as_bytes().into())
        } else {
            Self::Word(word.into())
        }
    }
}

/// Reads `{ … }`, or `$name`, which comes next.
pub(in super::super) fn read_items(cursor: &mut Cursor<'_, '_>) -> Result<Vec<Entry>, Wrong> {
    let start = cursor.at().start;
    if !cursor.skip_sign("{") {
        return Ok(vec![named(cursor, "`{ … }` or `$NAME`, a set")?]);
    }
    let mut entries = Vec::new();
    loop {
        while cursor.skip_sign(",") {}
        match cursor.peek() {
            Some(Token::Sign("}")) => break,
            Some(Token::Sign("$")) => entries.push(named(cursor, "`$NAME`")?),
            Some(Token::Word(_) | Token::Text(_)) => {
                let Some(Spanned { token, at }) = cursor.take() else { break };
                let item = match token {
                    Token::Word(word) => Item::of(word),
                    Token::Text(octets) => Item::Name(octets.as_slice().into()),
                    Token::Sign(_) => break,
                };
                entries.push(Entry { item, at: at.clone() });
            }
            _ => return Err(cursor.unexpected("an entry of the set, or `}` behind the last")),
        }
    }
    let end = cursor.at().end;
    cursor.sign("}")?;
    if entries.is_empty() {
        return Err(Wrong::new(
            &(start..end),
            "an empty set, which holds nothing",
            "at least one entry",
        ));
    }
    Ok(entries)
}

/// Reads `$name`.
fn named(cursor: &mut Cursor<'_, '_>, allowed: &str) -> Result<Entry, Wrong> {
    let start = cursor.at().start;
    if !cursor.skip_sign("$") {
        return Err(cursor.unexpected(allowed));
    }
    let (name, at) = cursor.word("the name of a set behind `$`")?;
    Ok(Entry { item: Item::Set(name.into()), at: start..at.end })
}
