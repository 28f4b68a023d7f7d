//! The files of the tree, and what in them is code.

use std::fs;
use std::path::Path;

/// One file.
pub(super) struct Source {
    /// From the root, with `/`.
    pub(super) path: String,
    /// As it stands there.
    pub(super) text: String,
    /// Only compiled for tests, as a whole.
    pub(super) is_test: bool,
}

impl Source {
    /// A file that is not there: a sample for a rule's test.
    pub(super) fn sample(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into(), is_test: is_test_path(path) }
    }

    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its first folder.
    pub(super) fn room(&self) -> &str {
        self.path.split_once('/').map_or("", |(room, _)| room)
    }

    /// Its text with comments, and what is between quotes, as spaces.
    pub(super) fn code(&self) -> String {
        code(&self.text)
    }

    /// The same, also without the items that are only compiled for tests.
    pub(super) fn shipped_code(&self) -> String {
        if self.is_test { String::new() } else { without_tests(&self.code()) }
    }
}

/// Files that a person wrote, wherever they are below `root`.
pub(super) fn tree(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    walk(root, root, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        source.is_test |= tests.iter().any(|test| {
            stem.strip_prefix(test.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }
    sources
}

fn walk(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                walk(root, &path, sources);
            }
        } else if [".rs", ".toml", ".md", ".c", ".h"].iter().any(|end| name.ends_with(end)) {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push(Source { is_test: is_test_path(&path), path, text });
        }
    }
}

fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/") || path.starts_with("benches/")
}

/// Modules that `source` declares for tests only, as paths without `.rs`.
fn test_modules(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let stem = source.path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    };
    let code = source.code();
    let mut attributed = code.split("#[cfg(test)]").skip(1);
    std::iter::from_fn(|| attributed.next().map(str::trim_start))
        .filter_map(|item| item.split_once("mod ")?.1.split_once(';'))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// `text` with comments, strings and characters as spaces; lines stay where they are.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skip(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        if end > at {
            let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
            out.extend(bytes[at..end].iter().map(blank));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).expect("only whole characters were kept")
}

/// Octets of the comment, string or character that `rest` begins with; 0 for code.
fn skip(rest: &[u8], before: Option<u8>) -> usize {
    let find = |from: usize, what: &[u8]| {
        let found = rest[from..].windows(what.len()).position(|window| window == what);
        found.map_or(rest.len(), |found| from + found + what.len())
    };
    match rest {
        [b'/', b'/', ..] => find(2, b"\n") - usize::from(rest.contains(&b'\n')),
        [b'/', b'*', ..] => find(2, b"*/"),
        [b'"', ..] => quoted(rest, b'"'),
        // A character; a lifetime has no quote behind its first letter.
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', first, ..] => {
            // UTF-8 says in its first octet how many there are.
            let len = match first.leading_ones() {
                0 => 1,
                ones => ones as usize,
            };
            if rest.get(1 + len) == Some(&b'\'') { len + 2 } else { 0 }
        }
        [b'r', b'"' | b'#', ..]
            if !before.is_some_and(|b| b.is_ascii_alphanumeric() && b != b'b') =>
        {
            let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return 0; // A raw identifier.
            }
            find(2 + hashes, &[&b"\""[..], &vec![b'#'; hashes]].concat())
        }
        _ => 0,
    }
}

/// Octets up to the closing `quote`, that is not escaped.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

/// `code` with items as spaces that `#[cfg(test)]` or `#[test]` stands before.
pub(super) fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    for attribute in ["#[cfg(test)]", "#[test]"] {
        while let Some(start) = code.find(attribute) {
            let end = start + attribute.len() + item(&code[start + attribute.len()..]);
            let blank: String =
                code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(start..end, &blank);
        }
    }
    code
}

/// Octets of the item that `code` begins with: up to its semicolon or closing brace.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn code_is_what_is_left_without_comments_and_quotes() {
    for (text, expected) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b\n */ c", "a     \n    c"),
        ("f(\"x\\\"y\", 'z', '\\'') + 'a: loop", "f(      ,    ,     ) + 'a: loop"),
        ("r#\"a\"b\"# + br\"c\" + r#loop", "         + b     + r#loop"),
        ("'é' + \"é\" + b'\\\\'", "     +      + b    "),
        ("// no end", "         "),
        ("car\"r\"", "car   "),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn tests_are_left_out_of_what_is_shipped() {
    let sample = "fn a() { b[0] }\n#[cfg(test)]\n#[expect(x)]\nmod tests { fn c() { {} } }\nfn d() {}\n#[test]\nfn e() { f(); }\n#[cfg(test)] mod g;\nfn h() {}";
    let shipped = without_tests(sample);
    for kept in ["fn a()", "b[0]", "fn d()", "fn h()"] {
        assert!(shipped.contains(kept), "{shipped}");
    }
    for gone in ["mod", "fn c", "fn e", "f()", "test"] {
        assert!(!shipped.contains(gone), "{gone} in {shipped}");
    }
    assert_eq!(shipped.lines().count(), sample.lines().count());
}

#[test]
fn modules_that_are_only_for_tests_are_found_where_they_lie() {
    let text =
        "#[cfg(test)]\nmod tests;\npub mod b;\n#[cfg(test)]\nmod inline {}\n#[cfg(test)] mod c;";
    let found = |path: &str| test_modules(&Source::sample(path, text));
    assert_eq!(found("x/y.rs"), ["x/y/tests", "x/y/c"]);
    assert_eq!(found("x/mod.rs"), ["x/tests", "x/c"]);
    assert_eq!(found("x/lib.rs"), ["x/tests", "x/c"]);
}
