//! From a text to a rule set: statements in their order, sets first, mistakes all together.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use tidegate_config::nearest;

use super::action::{self, Deed};
use super::contradiction;
use super::cursor::Cursor;
use super::expression::{Expression, Test};
use super::lexer::{Spanned, Statement, Token, statements, tokens};
use super::mistake::{Mistake, Source, Wrong};
use super::parser::Parser;
use super::rule::{Fallback, Rule, RuleSet};
use super::sets::{Body, Definition, Sets, read_items};
use super::subject::Vocabulary;

/// Reads a file that rules name.
pub(crate) type Files<'f> = &'f mut dyn FnMut(&str) -> io::Result<String>;

/// Rules that are shipped: a name, and rules in the same language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    /// As behind `preset`.
    pub(crate) name: &'static str,
    /// What stands in its place.
    pub(crate) text: &'static str,
}

/// Octets of a text of rules at most. Ten thousand long rules are two million.
const TEXT_MAX: usize = 1 << 24;

/// Rules at most.
pub(crate) const RULES_MAX: usize = 1 << 14;

/// Characters of a name at most.
const NAME_MAX: usize = 32;

/// Mistakes that are said. Who has more has one that is repeated.
const MISTAKES_MAX: usize = 50;

/// Tests, ranges and names in all rules together, at most, those of sets counted in each rule that
/// copies them. It bounds the memory that a reload takes, whatever the text says.
const WEIGHT_MAX: usize = 1 << 22;

/// All that is wrong, up to a number of which nobody reads more.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn say(&mut self, source: &Source<'_>, wrong: Wrong) {
        if !self.are_many() {
            self.list.push(source.mistake(wrong));
        }
    }

    /// Whether no more are said.
    pub(super) const fn are_many(&self) -> bool {
        self.list.len() >= MISTAKES_MAX
    }
}

/// Reads `text`, which is called `name` in what is said of it. `files` reads what `set NAME = file
/// "…"` names, and `presets` are those that a line `presets` or `preset NAME` stands for.
///
/// # Errors
///
/// All that is wrong in it and in the files of its sets, up to fifty mistakes, in the order of the
/// text; those of sets come first.
pub(crate) fn read(
    text: &str,
    name: &str,
    files: Files<'_>,
    presets: &[Preset],
) -> Result<RuleSet, Vec<Mistake>> {
    let mut reader = Reader {
        vocabulary: Vocabulary::new(),
        presets,
        files,
        mistakes: Mistakes::default(),
        rules: Vec::new(),
        names: BTreeMap::new(),
        weight: 0,
        default: None,
    };
    reader.text(&Source::new(name, text), None);
    if !reader.mistakes.list.is_empty() {
        return Err(reader.mistakes.list);
    }
    Ok(RuleSet { rules: reader.rules, default: reader.default.unwrap_or_default() })
}

/// The definitions of sets in `text`, which may have mistakes.
pub(crate) fn definitions(text: &str) -> String {
    let mut definitions = String::new();
    for Statement { at } in statements(text) {
        if text[at.clone()].split_whitespace().next() == Some("set") {
            definitions.push_str(&text[at]);
            definitions.push('\n');
        }
    }
    definitions
}

/// What is read so far.
struct Reader<'p, 'f> {
    vocabulary: Vocabulary,
    presets: &'p [Preset],
    files: Files<'f>,
    mistakes: Mistakes,
    rules: Vec<Rule>,
    /// Each name, and where it was given first.
    names: BTreeMap<Box<str>, String>,
    weight: usize,
    default: Option<Fallback>,
}

/// A statement and what it is made of.
struct Line<'a> {
    at: Range<usize>,
    tokens: Vec<Spanned<'a>>,
}

impl<'a> Line<'a> {
    fn cursor(&self) -> Cursor<'_, 'a> {
        Cursor::new(&self.tokens, self.at.end)
    }

    /// Whether it begins with this word, which no rule's name is: that has a colon behind it.
    fn begins(&self, word: &str) -> bool {
        matches!(self.tokens.first(), Some(Spanned { token: Token::Word(first), .. }) if *first == word)
    }
}

const BEGINNINGS: &str =
    "NAME: ACTION when …, set NAME = …, presets, preset NAME, or default drop|pass";

impl Reader<'_, '_> {
    /// Reads all of a text; one in the place of a line of another text has that line.
    fn text(&mut self, source: &Source<'_>, within: Option<u32>) {
        if source.text.len() > TEXT_MAX {
            let found = format!("a text of {} octets", source.text.len());
            let allowed = format!("{TEXT_MAX} octets at most; long sets go into files");
            return self.mistakes.say(source, Wrong::new(&(0..0), found, allowed));
        }
        let mut lines = Vec::new();
        for Statement { at } in statements(source.text) {
            match tokens(source.text, &at) {
                Ok(tokens) => lines.push(Line { at, tokens }),
                Err(wrong) => self.mistakes.say(source, wrong),
            }
        }
        let mut definitions = Vec::new();
        for line in lines.iter().filter(|line| line.begins("set")) {
            match definition(line) {
                Ok(definition) => definitions.push(definition),
                Err(wrong) => self.mistakes.say(source, wrong),
            }
        }
        let sets = Sets::new(source, &definitions, self.files, &mut self.mistakes);
        for line in lines.iter().filter(|line| !line.begins("set")) {
            if self.mistakes.are_many() {
                return;
            }
            if let Err(wrong) = self.statement(source, line, &sets, within) {
                self.mistakes.say(source, wrong);
            }
        }
    }

    fn statement(
        &mut self,
        source: &Source<'_>,
        line: &Line<'_>,
        sets: &Sets<'_>,
        within: Option<u32>,
    ) -> Result<(), Wrong> {
        let mut cursor = line.cursor();
        let (word, at) = cursor.word(BEGINNINGS)?;
        match word {
            "default" | "presets" | "preset" if within.is_some() => {
                Err(Wrong::new(&at, format!("`{word}` in a preset"), "rules and sets"))
            }
            "default" => self.default(&mut cursor, &at),
            "presets" => {
                cursor.finish("nothing behind presets; `preset NAME` is one of them")?;
                let (line, _) = source.line(at.start);
                self.presets.iter().for_each(|preset| self.preset(preset, line));
                Ok(())
            }
            "preset" => {
                let (line, _) = source.line(at.start);
                self.named_presets(&mut cursor, line)
            }
            _ => self.rule(source, line, sets, within),
        }
    }

    fn default(&mut self, cursor: &mut Cursor<'_, '_>, at: &Range<usize>) -> Result<(), Wrong> {
        const ALLOWED: &str = "drop or pass";
        let (word, word_at) = cursor.word(ALLOWED)?;
        let fallback = match word {
            "drop" => Fallback::Drop,
            "pass" => Fallback::Pass,
            _ => return Err(Wrong::new(&word_at, format!("`{word}`"), ALLOWED)),
        };
        cursor.finish("nothing behind it")?;
        if self.default.replace(fallback).is_some() {
            return Err(Wrong::new(at, "a second default", "one of them"));
        }
        Ok(())
    }

    fn named_presets(&mut self, cursor: &mut Cursor<'_, '_>, line: u32) -> Result<(), Wrong> {
        let presets = self.presets;
        let known: Vec<&str> = presets.iter().map(|preset| preset.name).collect();
        let allowed = format!("one of {}", known.join(", "));
        loop {
            let (word, at) = cursor.word(&allowed)?;
            let Some(preset) = presets.iter().find(|preset| preset.name == word) else {
                let hint = nearest(word, &known);
                let hint = hint.map_or(String::new(), |near| format!("; did you mean {near}?"));
                return Err(Wrong::new(&at, format!("{word}, which is no preset{hint}"), allowed));
            };
            self.preset(preset, line);
            while cursor.skip_sign(",") {}
            if cursor.peek().is_none() {
                return Ok(());
            }
        }
    }

    fn preset(&mut self, preset: &Preset, line: u32) {
        let name = format!("preset {}", preset.name);
        self.text(&Source::new(&name, preset.text), Some(line));
    }

    fn rule(
        &mut self,
        source: &Source<'_>,
        line: &Line<'_>,
        sets: &Sets<'_>,
        within: Option<u32>,
    ) -> Result<(), Wrong> {
        let split = without_name(line)?;
        let Named { name, at, tokens } = &split;
        self.name(source, name, at)?;
        if self.rules.len() == RULES_MAX {
            let allowed = "fewer, with sets instead of many that are alike";
            return Err(Wrong::new(at, format!("more than {RULES_MAX} rules"), allowed));
        }
        let mut cursor = Cursor::new(tokens, line.at.end);
        let Deed { action, dry_run, promote } = action::read(&mut cursor)?;
        let when = if cursor.peek().is_none() {
            Expression::True
        } else {
            if !cursor.skip_word("when") {
                return Err(cursor.unexpected("`when` and a condition, or nothing"));
            }
            let start = cursor.at().start;
            let mut parser = Parser::new(cursor, sets, &self.vocabulary);
            let when = parser.expression()?;
            parser.cursor.finish("`and`, `or`, or the end of the rule")?;
            if let Some(why) = contradiction::of(&when) {
                let found = format!("a condition that no packet meets: {why}");
                return Err(Wrong::new(
                    &(start..line.at.end),
                    found,
                    "one that some packet can meet",
                ));
            }
            when
        };
        self.weight += weight(&when);
        if self.weight > WEIGHT_MAX {
            let found = format!("more than {WEIGHT_MAX} tests, ranges and names in all rules");
            return Err(Wrong::new(at, found, "fewer, or sets of addresses, which rules share"));
        }
        let begin = tokens.first().map_or(line.at.end, |first| first.at.start);
        self.rules.push(Rule {
            name: (*name).into(),
            action,
            dry_run,
            promote,
            when,
            text: written(&source.text[begin..line.at.end]),
            line: within.unwrap_or_else(|| source.line(line.at.start).0),
        });
        Ok(())
    }

    fn name(&mut self, source: &Source<'_>, name: &str, at: &Range<usize>) -> Result<(), Wrong> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let good = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= NAME_MAX
            && name.chars().all(plain);
        if !good {
            let found = format!("the name {name:?}");
            let allowed = format!("1 to {NAME_MAX} of a-z, 0-9, _ and -, begun by a letter");
            return Err(Wrong::new(at, found, allowed));
        }
        let (line, _) = source.line(at.start);
        if let Some(first) = self.names.get(name) {
            let found = format!("a second rule named {name}; the first is in {first}");
            return Err(Wrong::new(at, found, "another name"));
        }
        self.names.insert(name.into(), format!("{} line {line}", source.name));
        Ok(())
    }
}

/// A rule's name, and what stands behind its colon.
struct Named<'a> {
    name: &'a str,
    at: Range<usize>,
    tokens: Vec<Spanned<'a>>,
}

/// Takes the name from before the first colon: of `name:drop` too, and of `name : drop`.
fn without_name<'a>(line: &Line<'a>) -> Result<Named<'a>, Wrong> {
    let missing = |at: &Range<usize>, word: &str| {
        Wrong::new(at, format!("`{word}` without a colon behind it"), BEGINNINGS)
    };
    let Some((Spanned { token: Token::Word(word), at }, rest)) = line.tokens.split_first() else {
        return Err(Wrong::new(&line.at, "no name", BEGINNINGS));
    };
    let mut tokens = rest.to_vec();
    let Some((name, behind)) = word.split_once(':') else {
        let Some(Spanned { token: Token::Word(next), at: next_at }) = tokens.first_mut() else {
            return Err(missing(at, word));
        };
        let Some(behind) = next.strip_prefix(':') else { return Err(missing(at, word)) };
        *next = behind;
        next_at.start += 1;
        if behind.is_empty() {
            tokens.remove(0);
        }
        return Ok(Named { name: word, at: at.clone(), tokens });
    };
    if !behind.is_empty() {
        let start = at.end - behind.len();
        tokens.insert(0, Spanned { token: Token::Word(behind), at: start..at.end });
    }
    Ok(Named { name, at: at.start..at.start + name.len(), tokens })
}

/// Reads `set NAME = { … }` or `set NAME = file "…"`.
fn definition<'a>(line: &Line<'a>) -> Result<Definition<'a>, Wrong> {
    let mut cursor = line.cursor();
    cursor.take();
    let (name, at) = cursor.word("the name of the set")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || !name.chars().all(plain)
        || name.len() > NAME_MAX
    {
        let allowed = format!("1 to {NAME_MAX} letters, digits, _ and -, begun by a letter");
        return Err(Wrong::new(&at, format!("the name {name:?}"), allowed));
    }
    cursor.sign("=")?;
    let body = if cursor.skip_word("file") {
        const ALLOWED: &str = "the path of a file between quotes";
        let at = cursor.at();
        let Some(Spanned { token: Token::Text(path), .. }) = cursor.take() else {
            return Err(Wrong::new(&at, "no path", ALLOWED));
        };
        let path = String::from_utf8(path.clone());
        Body::File(path.map_err(|_| Wrong::new(&at, "a path that is not text", ALLOWED))?, at)
    } else {
        Body::Entries(read_items(&mut cursor).map_err(|wrong| Wrong {
            allowed: format!("{}; a set is {{ … }} or file \"…\"", wrong.allowed),
            ..wrong
        })?)
    };
    cursor.finish("the end of the set")?;
    Ok(Definition { name, at, body })
}

/// `text` on one line and without its comments.
fn written(text: &str) -> Box<str> {
    let lines = text.lines().map(|line| without_comment(line).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ").into()
}

/// `line` up to a `#` that is not between quotes.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '#' if !quoted => return &line[..at],
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    line
}

/// How much memory and time an expression takes, roughly.
fn weight(expression: &Expression) -> usize {
    match expression {
        Expression::True => 1,
        Expression::Not(denied) => 1 + weight(denied),
        Expression::And(list) | Expression::Or(list) => 1 + list.iter().map(weight).sum::<usize>(),
        Expression::Test(Test::Number { ranges, .. } | Test::Octets { ranges, .. }) => {
            ranges.iter().count()
        }
        // A set is shared by those who ask for it alone; one that is joined from several is not.
        Expression::Test(Test::Address { set, .. }) if std::sync::Arc::strong_count(set) < 3 => {
            1 + set.ipv4().len() + set.ipv6().len()
        }
        Expression::Test(Test::Name { names, .. }) if std::sync::Arc::strong_count(names) < 2 => {
            1 + names.exact().len() + names.below().len()
        }
        Expression::Test(_) => 1,
    }
}
