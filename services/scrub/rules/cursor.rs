//! A place in the tokens of one statement.

use std::ops::Range;

use super::lexer::{Spanned, Token};
use super::mistake::Wrong;

/// Tokens that are still to be read.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'t, 'a> {
    tokens: &'t [Spanned<'a>],
    next: usize,
    /// Where the statement ends, for what is missing there.
    end: usize,
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub(super) const fn new(tokens: &'t [Spanned<'a>], end: usize) -> Self {
        Self { tokens, next: 0, end }
    }

    pub(super) fn peek(&self) -> Option<&'t Token<'a>> {
        self.tokens.get(self.next).map(|it| &it.token)
    }

    /// The token behind the next.
    pub(super) fn peek_behind(&self) -> Option<&'t Token<'a>> {
        self.tokens.get(self.next + 1).map(|it| &it.token)
    }

    /// The word that comes next, if one does.
    pub(super) fn peek_word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Where the next token stands, or the end of the statement.
    pub(super) fn at(&self) -> Range<usize> {
        self.tokens.get(self.next).map_or(self.end..self.end, |it| it.at.clone())
    }

    /// The next token.
    pub(super) fn take(&mut self) -> Option<&'t Spanned<'a>> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        Some(token)
    }

    /// Goes over `word` if it comes next.
    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let found = self.peek_word() == Some(word);
        self.next += usize::from(found);
        found
    }

    /// Goes over `sign` if it comes next.
    pub(super) fn skip_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.next += usize::from(found);
        found
    }

    /// The next word, or what was expected instead.
    pub(super) fn word(&mut self, allowed: &str) -> Result<(&'a str, Range<usize>), Wrong> {
        match self.tokens.get(self.next) {
            Some(Spanned { token: Token::Word(word), at }) => {
                self.next += 1;
                Ok((word, at.clone()))
            }
            _ => Err(self.unexpected(allowed)),
        }
    }

    /// `sign`, and nothing else.
    pub(super) fn sign(&mut self, sign: &str) -> Result<(), Wrong> {
        if self.skip_sign(sign) { Ok(()) } else { Err(self.unexpected(format!("`{sign}`"))) }
    }

    /// What comes next is not what was expected.
    pub(super) fn unexpected(&self, allowed: impl Into<String>) -> Wrong {
        let found = match self.peek() {
            None => "the end of the statement".into(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Text(octets)) => format!("the text \"{}\"", octets.escape_ascii()),
            Some(Token::Sign(sign)) => format!("`{sign}`"),
        };
        Wrong::new(&self.at(), found, allowed)
    }

    /// Nothing comes any more.
    pub(super) fn finish(&self, allowed: &str) -> Result<(), Wrong> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected(allowed)) }
    }
}
