//! From text to statements, and from a statement to words, strings and signs.

use std::ops::Range;

use super::mistake::Wrong;

/// A line with those that continue it.
///
/// A line that is indented deeper than the one that began a statement, or that begins by closing a
/// bracket, continues it. Blank lines and comments neither begin nor end one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// From its first octet to its last.
    pub(super) at: Range<usize>,
}

/// All statements of `text`.
pub(super) fn statements(text: &str) -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    let mut indent = 0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        let lead = line.len() - line.trim_start().len();
        let (at, end) = (start + lead, start + line.trim_end().len());
        start += line.len();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match found.last_mut() {
            Some(last) if lead > indent || content.starts_with(['}', ')', ']']) => {
                last.at.end = end
            }
            _ => {
                indent = lead;
                found.push(Statement { at: at..end });
            }
        }
    }
    found
}

/// A part of a statement, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned<'a> {
    pub(super) token: Token<'a>,
    pub(super) at: Range<usize>,
}

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Letters, digits and `_ . : / - * +`: names, numbers, addresses, octets.
    Word(&'a str),
    /// What is between quotes, its escapes resolved.
    Text(Vec<u8>),
    /// Anything else.
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: [&str; 18] = [
    "==", "!=", "<=", ">=", "&&", "||", "=", "<", ">", "&", "!", "$", "(", ")", "{", "}", "[", "]",
];

/// The tokens of `text[at]`.
pub(super) fn tokens<'a>(text: &'a str, at: &Range<usize>) -> Result<Vec<Spanned<'a>>, Wrong> {
    let mut tokens = Vec::new();
    let mut place = at.start;
    while let Some(first) = text[place..at.end].chars().next() {
        let rest = &text[place..at.end];
        let (token, octets) = match first {
            _ if first.is_whitespace() || first == ',' => {
                // A comma parts as a blank does, and says so to whoever needs to know.
                if first == ',' {
                    tokens.push(Spanned { token: Token::Sign(","), at: place..place + 1 });
                }
                place += first.len_utf8();
                continue;
            }
            '#' => {
                place += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '"' => {
                let (octets, len) = string(rest).map_err(|wrong| shifted(wrong, place))?;
                (Token::Text(octets), len)
            }
            _ if is_word(first) => {
                let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Token::Word(&rest[..len]), len)
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| unknown(first, place))?;
                (Token::Sign(sign), sign.len())
            }
        };
        tokens.push(Spanned { token, at: place..place + octets });
        place += octets;
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-' | '*' | '+')
}

fn unknown(found: char, place: usize) -> Wrong {
    let allowed = match found {
        '|' => "`or` or `||` between tests",
        '\'' => "text between double quotes: \"…\"",
        '~' | '^' => "`contains \"…\"` or `starts_with \"…\"`; patterns are not searched for",
        _ => "words, numbers, addresses, \"text\", and the signs == != < <= > >= & ! ( ) { } [ ]",
    };
    Wrong::new(&(place..place + found.len_utf8()), format!("{found:?}"), allowed)
}

fn shifted(wrong: Wrong, by: usize) -> Wrong {
    Wrong { at: wrong.at.start + by..wrong.at.end + by, ..wrong }
}

/// The octets between the quotes that `rest` begins with, and octets of text that they take.
fn string(rest: &str) -> Result<(Vec<u8>, usize), Wrong> {
    const ESCAPES: &str = "\\n, \\r, \\t, \\0, \\\\, \\\" or \\x and two hexadecimal digits";
    let bytes = rest.as_bytes();
    let mut octets = Vec::new();
    let mut at = 1;
    loop {
        match bytes.get(at) {
            None | Some(b'\n') => {
                return Err(Wrong::new(
                    &(0..at),
                    "text without end",
                    "a closing \" on the same line",
                ));
            }
            Some(b'"') => return Ok((octets, at + 1)),
            Some(b'\\') => {
                let (octet, len) = match bytes.get(at + 1) {
                    Some(b'n') => (b'\n', 2),
                    Some(b'r') => (b'\r', 2),
                    Some(b't') => (b'\t', 2),
                    Some(b'0') => (0, 2),
                    Some(&same @ (b'\\' | b'"')) => (same, 2),
                    Some(b'x') => {
                        let digits = rest.get(at + 2..at + 4).filter(|it| is_hexadecimal(it));
                        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                        let wrong = || Wrong::new(&(at..at + 2), "a short \\x", ESCAPES);
                        (octet.ok_or_else(wrong)?, 4)
                    }
                    _ => return Err(Wrong::new(&(at..at + 2), "an unknown escape", ESCAPES)),
                };
                octets.push(octet);
                at += len;
            }
            Some(&octet) => {
                octets.push(octet);
                at += 1;
            }
        }
    }
}

/// Whether `text` is of hexadecimal digits alone, which Rust's own reader does not ask.
pub(super) fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|it| &text[it.at]).collect()
    }

    #[test]
    fn deeper_lines_and_closing_brackets_continue_a_statement() {
        let text = "a: drop\n  when udp\n\n# c\nset b = {\n  1\n # c\n}\nc: pass\n";
        assert_eq!(split(text), ["a: drop\n  when udp", "set b = {\n  1\n # c\n}", "c: pass"]);
        let indented = "\n    a: drop\n      when udp\n    b: pass\n  c: pass";
        assert_eq!(split(indented), ["a: drop\n      when udp", "b: pass", "c: pass"]);
        assert_eq!(split("# nothing\n\n  \n"), [""; 0]);
    }

    #[test]
    fn statements_are_words_strings_and_signs() {
        let text =
            "a:drop when tcp.flags&0x12==2 and(payload[-4:2]!=\"a\\\"\\x41\\n\") # udp\n && !vlan";
        let tokens = tokens(text, &(0..text.len())).unwrap();
        let words: Vec<String> = tokens
            .iter()
            .map(|it| match &it.token {
                Token::Word(word) => (*word).to_owned(),
                Token::Text(octets) => format!("{:?}", octets.escape_ascii().to_string()),
                Token::Sign(sign) => format!("<{sign}>"),
            })
            .collect();
        let expected = "a:drop when tcp.flags <&> 0x12 <==> 2 and <(> payload <[> -4:2 <]> <!=> \
                        \"a\\\\\\\"A\\\\n\" <)> <&&> <!> vlan";
        assert_eq!(words.join(" "), expected);
        for token in &tokens {
            assert!(!text[token.at.clone()].is_empty());
        }
    }

    #[test]
    fn refuses_what_is_no_token_and_says_where() {
        for (text, at, found) in [
            ("udp | tcp", 4..5, "'|'"),
            ("x 'a'", 2..3, "'\\''"),
            ("x \"abc", 2..6, "text without end"),
            ("x \"a\nb\"", 2..4, "text without end"),
            ("x \"\\q\"", 3..5, "an unknown escape"),
            ("x \"\\x4\"", 3..5, "a short \\x"),
            ("x \"\\x+4\"", 3..5, "a short \\x"),
            ("x é", 2..4, "'é'"),
            ("x \"\\", 3..5, "an unknown escape"),
        ] {
            let wrong = tokens(text, &(0..text.len())).unwrap_err();
            assert_eq!((wrong.at, wrong.found.as_str()), (at, found), "{text}");
        }
    }
}
