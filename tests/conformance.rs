//! What `docs/conformance.md` says can be looked up: each file, item and test that it names is
//! there, what it calls kept is shown by a test, and what it does not has its reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How far a clause is kept.
const KEPT: [&str; 4] = ["yes", "in part", "no", "elsewhere"];

/// Where a file may be that the page names in short.
const ROOTS: [&str; 2] = ["", "services/stream"];

/// A row of one of the page's tables.
struct Row<'a> {
    line: usize,
    clause: &'a str,
    kept: &'a str,
    place: &'a str,
    shown: &'a str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The rows of five cells, heads and rules left out.
fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(page.lines()) {
        let Some(inner) = text.strip_prefix("| ").and_then(|text| text.strip_suffix('|')) else {
            continue;
        };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let [clause, _, kept, place, shown] = cells[..] else {
            panic!("{line}: {} cells: {text}", cells.len());
        };
        if clause != "Clause" {
            rows.push(Row { line, clause, kept, place, shown });
        }
    }
    rows
}

/// The files that a cell names, and what of each.
fn named(cell: &str) -> Result<Vec<(&str, Vec<&str>)>, String> {
    let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
    for span in cell.split('`').skip(1).step_by(2) {
        if Path::new(span).extension().is_some_and(|extension| extension == "rs") {
            files.push((span, Vec::new()));
        } else {
            let (_, items) = files.last_mut().ok_or_else(|| format!("{span} of no file"))?;
            items.push(span);
        }
    }
    Ok(files)
}

/// Texts of sources, each read once.
#[derive(Default)]
struct Sources(BTreeMap<String, String>);

impl Sources {
    fn text(&mut self, name: &str) -> Result<&str, String> {
        if !self.0.contains_key(name) {
            let found =
                ROOTS.iter().find_map(|at| fs::read_to_string(root().join(at).join(name)).ok());
            let text = found.ok_or_else(|| format!("no file {name}"))?;
            self.0.insert(name.into(), text);
        }
        Ok(&self.0[name])
    }
}

/// Whether a line defines `name`.
fn defines(line: &str, name: &str) -> bool {
    const KEYWORDS: [&str; 8] = ["fn", "struct", "enum", "const", "static", "type", "trait", "mod"];
    let begins = |text: &str| {
        text.strip_prefix(name).is_some_and(|rest| {
            !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let as_item = words.windows(2).any(|pair| KEYWORDS.contains(&pair[0]) && begins(pair[1]));
    // A variant, a field, or an entry of a table in a macro.
    let alone = line.trim_start().trim_start_matches("pub ");
    as_item
        || (begins(alone)
            && alone[name.len()..].trim_start().starts_with([',', '(', '{', '=', ':']))
}

/// Whether `name`, `Type::name` or `Enum::Variant` is defined in `text`.
fn has_item(text: &str, name: &str) -> bool {
    name.split("::").all(|part| text.lines().any(|line| defines(line, part)))
}

/// Whether `name` is a test of `text`.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let is_it = line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name));
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        is_it.is_some_and(|rest| rest.starts_with('('))
            && attributes.clone().any(|it| *it == "#[test]")
    })
}

/// What is wrong with the names of one cell.
fn missing(
    cell: &str,
    sources: &mut Sources,
    what: &str,
    has: fn(&str, &str) -> bool,
) -> Vec<String> {
    let files = match named(cell) {
        Ok(files) => files,
        Err(error) => return vec![error],
    };
    let mut complaints = Vec::new();
    for (file, items) in files {
        match sources.text(file) {
            Ok(_) if items.is_empty() => complaints.push(format!("nothing of {file}")),
            Ok(text) => complaints.extend(
                (items.iter().filter(|item| !has(text, item)))
                    .map(|item| format!("{file} has no {what} {item}")),
            ),
            Err(error) => complaints.push(error),
        }
    }
    complaints
}

fn judge(row: &Row<'_>, sources: &mut Sources) -> Vec<String> {
    let mut complaints = missing(row.place, sources, "item", has_item);
    complaints.extend(missing(row.shown, sources, "test", has_test));
    let is_kept = ["yes", "in part"].contains(&row.kept);
    if !KEPT.contains(&row.kept) {
        complaints.push(format!("{:?} is none of {KEPT:?}", row.kept));
    } else if is_kept && !(row.place.contains('`') && row.shown.contains('`')) {
        complaints.push("kept, and no place and no test".into());
    } else if row.kept != "yes" && row.place.split('`').step_by(2).map(str::len).sum::<usize>() < 20
    {
        complaints.push("not kept, and no reason".into());
    }
    complaints.iter().map(|it| format!("{}: {}: {it}", row.line, row.clause)).collect()
}

#[test]
fn what_the_page_names_is_there() {
    let page = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let rows = rows(&page);
    assert!(rows.len() > 80, "{} rows", rows.len());
    for document in
        ["-10", "-20", "-21", "-30", "-40", "2022-7", "RFC 8866", "RFC 7273", "RFC 4570"]
    {
        let heads = page.lines().filter(|line| line.starts_with("## "));
        assert!(heads.clone().any(|head| head.contains(document)), "no part about {document}");
    }
    let mut sources = Sources::default();
    let complaints: Vec<String> = rows.iter().flat_map(|row| judge(row, &mut sources)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// All sources below `folder`.
fn sources_below(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// Names of tests, or of modules of them, as `cargo test` takes them, in all pages.
#[test]
fn tests_that_other_pages_name_are_there() {
    let mut all = String::new();
    for folder in ["services", "tests"] {
        sources_below(&root().join(folder), &mut all);
    }
    let mut count = 0;
    for page in fs::read_dir(root().join("docs")).unwrap() {
        let page = page.unwrap().path();
        let Ok(text) = fs::read_to_string(&page) else { continue };
        // Code in fences is not meant.
        let prose: String = text.split("```").step_by(2).collect();
        if page.ends_with("conformance.md") {
            continue; // Has tables of its own.
        }
        for span in prose.split('`').skip(1).step_by(2).filter(|span| span.contains("::")) {
            let Some(name) = span.rsplit("::").next().filter(|name| is_lower(name)) else {
                continue;
            };
            count += 1;
            let is_module = all.lines().any(|line| {
                line.trim_end_matches(';') == format!("mod {name}")
                    || line.trim_end_matches(';') == format!("pub mod {name}")
            });
            let is_there = is_module || has_test(&all, name);
            assert!(is_there, "{} names {span}, which is no test", page.display());
        }
    }
    assert!(count >= 30, "{count}");
}

/// Whether it is a name of a function or a module.
fn is_lower(name: &str) -> bool {
    name.chars()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[test]
fn a_name_that_is_gone_is_found() {
    let source = "pub struct Limit {\n    pub burst: u32,\n}\nenum Kept {\n    Whole,\n}\n\
                  impl Limit {\n    pub const fn of() {}\n}\n#[test]\nfn holds() {}\nfn helper() {}\n";
    for item in ["Limit", "Limit::of", "burst", "Kept::Whole"] {
        assert!(has_item(source, item), "{item}");
    }
    for gone in ["Limits", "Lim", "Limit::new", "Kept::Half", "u32"] {
        assert!(!has_item(source, gone), "{gone}");
    }
    assert!(has_test(source, "holds"));
    assert!(!has_test(source, "hold") && !has_test(source, "helper"));
    let mut sources = Sources(BTreeMap::from([("a.rs".to_owned(), source.to_owned())]));
    let mut judged = |kept, place, shown| {
        judge(&Row { line: 7, clause: "6.1", kept, place, shown }, &mut sources).len()
    };
    assert_eq!(judged("yes", "`a.rs` `Limit::of`", "`a.rs` `holds`"), 0);
    assert_eq!(judged("no", "nobody has asked for it until now", ""), 0);
    assert_eq!(judged("yes", "`a.rs` `Limit::of`", "`a.rs` `helper`"), 1);
    assert_eq!(judged("yes", "`a.rs` `Limit::of`", ""), 1);
    assert_eq!(judged("yes", "`nowhere.rs` `Limit`", "`a.rs` `holds`"), 1);
    assert_eq!(judged("no", "just so", ""), 1);
    assert_eq!(judged("maybe", "nobody has asked for it until now", ""), 1);
}
