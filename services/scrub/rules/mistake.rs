//! What is wrong in a text of rules, and where.

use std::fmt;
use std::ops::Range;

/// Characters of a line that are shown. A line of a thousand prefixes says nothing more.
const SHOWN_MAX: usize = 120;

/// Characters shown before the place, of a line that is longer.
const BEFORE: usize = 40;

/// One thing that cannot stand as it is. Shown with the line, a caret under the column, and what may
/// stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Name of the text: a file, a preset, an option.
    pub(crate) file: Box<str>,
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
    /// What stands there.
    pub(crate) found: String,
    /// What may stand there.
    pub(crate) allowed: String,
    /// The line, or the part of it around the place.
    text: String,
    /// Characters of `text` before the place.
    before: usize,
    /// Characters underlined.
    width: usize,
}

/// A mistake that does not know its text yet.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The octets that are wrong.
    pub(super) at: Range<usize>,
    /// What stands there.
    pub(super) found: String,
    /// What may stand there.
    pub(super) allowed: String,
}

impl Wrong {
    pub(super) fn new(
        at: &Range<usize>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { at: at.clone(), found: found.into(), allowed: allowed.into() }
    }
}

/// A text that is read, and what it is called.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// The octets with which its lines begin, but for the first.
    lines: Box<[usize]>,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, octet)| octet == b'\n');
        Self { name, text, lines: ends.map(|(at, _)| at + 1).collect() }
    }

    /// Line from 1, and the octet with which it begins.
    pub(super) fn line(&self, at: usize) -> (u32, usize) {
        let before = self.lines.partition_point(|&start| start <= at);
        let start = before.checked_sub(1).map_or(0, |last| self.lines[last]);
        (u32::try_from(before + 1).unwrap_or(u32::MAX), start)
    }

    /// The same wrong, with its place.
    pub(super) fn mistake(&self, wrong: Wrong) -> Mistake {
        let boundary = |at: usize| {
            let at = at.min(self.text.len());
            (0..=at).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0)
        };
        let (at, end) = (boundary(wrong.at.start), boundary(wrong.at.end));
        let (line, start) = self.line(at);
        let whole = self.text[start..].split(['\n', '\r']).next().unwrap_or("");
        let column = self.text[start..at].chars().count();
        let skipped =
            if whole.chars().count() > SHOWN_MAX { column.saturating_sub(BEFORE) } else { 0 };
        let text: String = whole.chars().skip(skipped).take(SHOWN_MAX).collect();
        let room = (text.chars().count() + skipped).saturating_sub(column);
        let width = self.text[at..end.max(at)].chars().count().clamp(1, room.max(1));
        Mistake {
            file: self.name.into(),
            line,
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            found: wrong.found,
            allowed: wrong.allowed,
            text,
            before: column - skipped,
            width,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, found, allowed, text, .. } = self;
        let gutter = " ".repeat(line.to_string().len());
        // Tabs are kept, so that the underline stands below the place whatever they are worth.
        let tab = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent: String = text.chars().take(self.before).map(tab).collect();
        writeln!(f, "{file}:{line}:{column}: error")?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {text}")?;
        writeln!(f, "{gutter} | {indent}{}", "^".repeat(self.width))?;
        writeln!(f, "  found: {found}")?;
        write!(f, "  allowed: {allowed}")
    }
}

impl std::error::Error for Mistake {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_with_the_place_underlined_and_the_remedy() {
        let source = Source::new("a.rules", "one: drop\n\tzwö: drip when udp\n");
        let at = source.text.find("drip").unwrap();
        let mistake = source.mistake(Wrong::new(&(at..at + 4), "no action", "drop"));
        let shown = "a.rules:2:7: error\n  |\n2 | \tzwö: drip when udp\n  | \t     ^^^^\n  \
                     found: no action\n  allowed: drop";
        assert_eq!(mistake.to_string(), shown);
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let text = format!("set a = {{ {}1.2.3 }}", "198.18.0.0/15, ".repeat(1000));
        let source = Source::new("a.rules", &text);
        let at = text.find("1.2.3 ").unwrap();
        let mistake = source.mistake(Wrong::new(&(at..at + 5), "no address", "an address"));
        assert_eq!(mistake.column as usize, at + 1);
        let shown = mistake.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].len() < 160, "{shown}");
        let caret = lines[3].find('^').unwrap();
        assert_eq!(&lines[2][caret..caret + 5], "1.2.3");
    }

    #[test]
    fn any_range_is_a_place() {
        for text in ["", "é", "a\nb", "é\r\n"] {
            let source = Source::new("", text);
            for start in 0..6 {
                for end in 0..6 {
                    let mistake = source.mistake(Wrong::new(&(start..end), "", ""));
                    assert!(mistake.line >= 1 && mistake.column >= 1);
                    assert!(mistake.to_string().contains('^'));
                }
            }
        }
    }
}
