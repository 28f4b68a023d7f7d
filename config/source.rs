//! The text of a config file, and where in it something stands.

use std::ops::Range;

/// One config file as read: its name for messages, and its text.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    text: String,
}

/// A place in a file, as a person counts: lines and columns from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The whole line, without its end.
    pub(crate) text: String,
    /// Characters to underline, at least one, never past the line.
    pub(crate) width: usize,
}

impl Source {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where `span`, in octets, begins. A span of several lines is cut at the end of its first.
    pub(crate) fn position(&self, span: &Range<usize>) -> Position {
        let start = self.boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |len| start + len);
        let text = self.text[line_start..line_end].trim_end_matches('\r');
        let end = self.boundary(span.end).clamp(start, line_end);
        Position {
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            text: text.to_owned(),
            width: self.text[start..end].trim_end().chars().count().max(1),
        }
    }

    /// The nearest character boundary at or before `at`: a syntax error may point into one.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0)
    }

    /// The full key that the octet at `at` belongs to, read off the text alone.
    ///
    /// For files that are not TOML, where there is no tree to ask: the last header above, and
    /// what stands left of `=` on the line. Good for a message, for nothing else.
    pub(crate) fn key_near(&self, at: usize) -> String {
        let at = self.boundary(at);
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let mut header = String::new();
        let mut seen: Vec<&str> = Vec::new();
        let here = self.text[line_start..].lines().next().unwrap_or("");
        for line in self.text[..line_start].lines().chain([here]).map(str::trim) {
            if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.split(']').next()) {
                let index = seen.iter().filter(|&&before| before == name).count();
                seen.push(name);
                header = format!("{name}[{index}]");
            } else if let Some(name) =
                line.strip_prefix('[').and_then(|rest| rest.split(']').next())
            {
                header = name.to_owned();
            }
        }
        let key = here.split_once('=').map_or("", |(key, _)| key.trim());
        match (header.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => header,
            (false, false) => format!("{header}.{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        let source = Source::new("a.toml", "x = 1\r\né = \"ü\"\nlast");
        let at = source.text().find('"').unwrap();
        let position = source.position(&(at..at + 4));
        assert_eq!((position.line, position.column, position.width), (2, 5, 3));
        assert_eq!(position.text, "é = \"ü\"");
        assert_eq!(source.position(&(0..3)).text, "x = 1");
    }

    #[test]
    fn a_span_at_the_end_inside_a_character_or_past_it_is_still_a_place() {
        let source = Source::new("a.toml", "é");
        assert_eq!(source.position(&(1..1)).column, 1);
        assert_eq!(source.position(&(2..2)).column, 2);
        assert_eq!(source.position(&(9..12)).width, 1);
        assert_eq!(Source::new("a.toml", "").position(&(0..0)).line, 1);
    }

    #[test]
    fn names_the_key_of_a_broken_line() {
        let text = "[runtime]\ncpus = [0\n[[service]]\nname = \"a\"\n[[service]]\nname = \n";
        let source = Source::new("a.toml", text);
        assert_eq!(source.key_near(text.find("cpus").unwrap()), "runtime.cpus");
        assert_eq!(source.key_near(text.len() - 1), "service[1].name");
        assert_eq!(source.key_near(0), "runtime");
    }
}
