//! The rules: each from a source to what is wrong with it, as `line: what`.

use super::source::Source;

/// What is wrong, and in which line.
pub(super) type Complaint = String;

/// The files that may hold `unsafe`. One more needs a reason that a reader accepts: that no safe
/// call of `nix`, `aya` or the standard library does the same.
pub(super) const UNSAFE_FILES: [&str; 10] = [
    "dataplane/sys/bpf.rs",
    "dataplane/sys/ethtool.rs",
    "dataplane/sys/mapping.rs",
    "dataplane/sys/multicast.rs",
    "dataplane/sys/permission.rs",
    "dataplane/sys/tun.rs",
    "dataplane/sys/xdp.rs",
    "dataplane/umem.rs",
    "dataplane/xsk/ring.rs",
    "services/stream/video/convert/vector.rs",
];

/// Lines of a source at most. Longer and it has two ideas.
const LINES_MAX: usize = 700;

/// One complaint for each line of `code` in which `word` stands by itself.
fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let lines = (1..).zip(code.lines()).filter_map(|(number, line)| {
        let stands = line.match_indices(word).any(|(at, _)| {
            let (before, behind) = (&line[..at], &line[at + word.len()..]);
            let left = !word.starts_with(inside) || !before.ends_with(inside);
            left && (!word.ends_with(inside) || !behind.starts_with(inside))
        });
        stands.then_some(number)
    });
    lines.collect()
}

/// A complaint for each of them.
fn complain(code: &str, word: &str, why: &str) -> Vec<Complaint> {
    lines_with(code, word).iter().map(|line| format!("{line}: {word}: {why}")).collect()
}

/// `unsafe` only in `listed` files, each of which allows it on top and says why.
pub(super) fn unsafe_places(source: &Source, listed: &[&str]) -> Vec<Complaint> {
    if !source.is_rust() {
        return Vec::new();
    }
    let uses = lines_with(&source.code(), "unsafe");
    if !listed.contains(&source.path.as_str()) {
        let allowed = lines_with(&source.code(), "unsafe_code");
        return (uses.into_iter().chain(allowed))
            .map(|line| format!("{line}: unsafe outside of the list in tests/tidy/rules.rs"))
            .collect();
    }
    let mut complaints = Vec::new();
    if uses.is_empty() {
        complaints.push("1: on the list of unsafe files, but has none".into());
    }
    let top = source.text.lines().take_while(|line| !line.starts_with("use "));
    let reason = |line: &str| line.strip_prefix("#![allow(unsafe_code)] // ").map(str::len);
    if top.filter_map(reason).all(|len| len < 8) {
        complaints.push("1: does not say `#![allow(unsafe_code)] // <reason>` on top".into());
    }
    complaints
}

/// Words that a room may not have in its code, and why.
const IMPORTS: [(&str, &[&str], &str); 3] = [
    (
        "config",
        &["tidegate", "tidegate_dataplane", "tidegate_runtime", "glommio", "aya", "nix"],
        "config knows no other room and no machine",
    ),
    (
        "dataplane",
        &["tidegate", "tidegate_config", "tidegate_runtime", "glommio"],
        "dataplane knows no executor and no policy",
    ),
    ("runtime", &["tidegate", "tidegate_config"], "runtime knows no service and no config file"),
];

/// Services that the runtime must not know by name; its tests have some of their own.
const SERVICES: [&str; 3] = ["Scrub", "Stream", "Echo"];

/// Rooms know only what is below them.
pub(super) fn imports(source: &Source) -> Vec<Complaint> {
    let Some((_, words, why)) = IMPORTS.iter().find(|(room, ..)| *room == source.room()) else {
        return Vec::new();
    };
    if !source.is_rust() {
        return Vec::new();
    }
    let code = source.code();
    let mut complaints: Vec<_> = words.iter().flat_map(|word| complain(&code, word, why)).collect();
    if source.room() == "runtime" {
        let shipped = source.shipped_code();
        complaints.extend(SERVICES.iter().flat_map(|word| complain(&shipped, word, why)));
    }
    complaints
}

/// The same for what Cargo is told.
pub(super) fn dependencies(source: &Source) -> Vec<Complaint> {
    let banned: &[&str] = match source.path.as_str() {
        "config/Cargo.toml" => &["tidegate-dataplane", "tidegate-runtime", "glommio"],
        "dataplane/Cargo.toml" => &["tidegate-config", "tidegate-runtime", "glommio"],
        "runtime/Cargo.toml" => &["tidegate-config", "tidegate"],
        _ => return Vec::new(),
    };
    (1..)
        .zip(source.text.lines())
        .filter(|(_, line)| {
            let key = line.split(['.', '=', ' ']).next().unwrap_or("");
            banned.contains(&key)
        })
        .map(|(number, line)| format!("{number}: {line}: a room knows only what is below it"))
        .collect()
}

/// Ways to ask the machine for the time.
const CLOCKS: [&str; 3] = ["Instant::now", "SystemTime::now", "clock_gettime"];

/// Who may: the clock, and what is not on the data path.
const MAY_ASK: [&str; 4] = ["runtime/clock.rs", "services/cli", "services/demo", "services/lab"];

/// Time is an argument; one file asks for it.
pub(super) fn time(source: &Source) -> Vec<Complaint> {
    if !source.is_rust() || MAY_ASK.iter().any(|path| source.path.starts_with(path)) {
        return Vec::new();
    }
    let code = source.shipped_code();
    let instead = "take `now_ns` as an argument, or a Clock";
    CLOCKS.iter().flat_map(|clock| complain(&code, clock, instead)).collect()
}

/// Where a ban holds.
enum Where {
    /// In all code, tests too.
    Code,
    /// In code that is shipped, of files whose path starts so, except some.
    Shipped(&'static [&'static str], &'static [&'static str]),
}

const ROOMS: &[&str] = &["config/", "dataplane/", "runtime/", "services/"];

/// What is banned, where, and what is written instead.
const BANNED: [(&str, Where, &str); 14] = [
    ("todo!", Where::Code, "do it"),
    ("unimplemented!", Where::Code, "do it, or refuse with an error"),
    ("dbg!", Where::Code, "a test, or tracing"),
    ("#[ignore", Where::Code, "a test runs, or prints why it was skipped"),
    ("static mut", Where::Code, "state of a shard"),
    ("mem::forget", Where::Shipped(ROOMS, &[]), "settle the frame; ManuallyDrop says why"),
    // The ring's `drop` takes it back.
    ("Box::leak", Where::Shipped(ROOMS, &["dataplane/xsk/ring.rs"]), "own it"),
    (
        "process::exit",
        Where::Shipped(ROOMS, &[]),
        "return an ExitCode, so that everything is dropped",
    ),
    (
        "println!",
        Where::Shipped(ROOMS, &["services/cli", "services/lab"]),
        "write to `out`, or tracing",
    ),
    (
        "eprintln!",
        Where::Shipped(ROOMS, &["services/cli", "services/lab"]),
        "write to `errors`, or tracing",
    ),
    (
        "thread::sleep",
        Where::Shipped(
            ROOMS,
            &[
                // Not on a shard, each with a bound: opening, replacing, reading statistics,
                // answering on the control socket.
                "dataplane/xsk/open.rs",
                "dataplane/steer/program.rs",
                "runtime/control/server.rs",
                "runtime/metrics/published.rs",
                "services/cli",
                "services/demo",
                "services/entry.rs",
                "services/lab",
            ],
        ),
        "cx.sleep_until, or poll with a timeout",
    ),
    (
        ".unwrap()",
        Where::Shipped(
            &["dataplane/", "runtime/", "services/scrub", "services/stream", "services/echo"],
            &[],
        ),
        "an error, a counted drop, or expect() with the proof",
    ),
    (
        "Mutex",
        Where::Shipped(
            &["services/scrub", "services/stream", "services/echo"],
            // The control side of a service, which several threads ask. Of a shard's own there is
            // one, of the shelf for samples, which it only ever tries.
            &["services/scrub/live"],
        ),
        "a message to the shard",
    ),
    (
        "HashMap",
        Where::Shipped(&["services/scrub", "services/stream", "services/echo"], &[]),
        "a table of fixed size",
    ),
];

/// Words that may stand nowhere, not in comments either. In two parts, because this is a file too.
const NOTES: [(&str, &str); 2] = [("FIX", "ME"), ("XX", "X")];

/// Nothing banned is used where it is banned.
pub(super) fn banned(source: &Source) -> Vec<Complaint> {
    if !source.is_rust() {
        return Vec::new();
    }
    let (code, shipped) = (source.code(), source.shipped_code());
    let mut complaints = Vec::new();
    for (word, place, instead) in &BANNED {
        let text = match place {
            Where::Code => &code,
            Where::Shipped(paths, except) => {
                let is = |path: &&str| source.path.starts_with(*path);
                if !paths.iter().any(is) || except.iter().any(is) {
                    continue;
                }
                &shipped
            }
        };
        complaints.extend(complain(text, word, instead));
    }
    for (first, second) in NOTES {
        let word = format!("{first}{second}");
        complaints.extend(complain(&source.text, &word, "do it, or say why not"));
    }
    complaints
}

/// The first line of every Rust file is its page.
pub(super) fn begins_with_its_page(source: &Source) -> Vec<Complaint> {
    let page = |line: &str| line.strip_prefix("//! ").is_some_and(|title| title.len() > 5);
    if !source.is_rust() || source.text.lines().next().is_some_and(page) {
        return Vec::new();
    }
    vec!["1: begins without a `//!` line that says what it is for".into()]
}

/// Small files, one idea each.
pub(super) fn length(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().count();
    if !source.is_rust() || lines <= LINES_MAX {
        return Vec::new();
    }
    vec![format!("{lines}: longer than {LINES_MAX} lines: which two ideas are in it?")]
}

/// No blanks at the end of a line, no tabs in Rust, a newline at the end of the file.
pub(super) fn whitespace(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(source.text.split('\n')) {
        if line.ends_with([' ', '\t', '\r']) {
            complaints.push(format!("{number}: blanks at the end of the line"));
        }
        if source.is_rust() && line.contains('\t') {
            complaints.push(format!("{number}: a tab"));
        }
    }
    if !source.text.is_empty() && (!source.text.ends_with('\n') || source.text.ends_with("\n\n")) {
        complaints.push("1: does not end with one newline".into());
    }
    complaints
}

/// A counter, gauge, drop reason, level or word is registered with a sentence.
pub(super) fn counters(source: &Source) -> Vec<Complaint> {
    if !source.is_rust() || source.is_test {
        return Vec::new();
    }
    let shipped = source.shipped_code();
    let mut complaints = Vec::new();
    for call in [".counter(", ".gauge(", ".drop_reason(", ".level(", ".word("] {
        for (at, _) in shipped.match_indices(call) {
            // The code has spaces where the text has strings; both have the same octets.
            let arguments = &source.text[at + call.len()..];
            let mut parts = arguments.split('"');
            let (lead, name, between, help) =
                (parts.next(), parts.next(), parts.next(), parts.next());
            let literal = lead.is_some_and(|lead| lead.trim().is_empty())
                && between.is_some_and(|between| between.trim() == ",");
            // Names and helps that are computed are checked where they are written.
            if let (true, Some(name), Some(help)) = (literal, name, help) {
                complaints.extend(described(name, help).map(|what| {
                    let line = source.text[..at].lines().count();
                    format!("{line}: {what}")
                }));
            }
        }
    }
    complaints
}

/// What is wrong with a counter's name and help.
fn described(name: &str, help: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Some(format!("{name:?}: a counter's name is of a-z, 0-9 and _"));
    }
    let words = help.split_whitespace().count();
    let capital = help.starts_with(|c: char| c.is_ascii_uppercase());
    if words < 3 || !capital || help.ends_with('.') {
        return Some(format!(
            "{name}: {help:?} does not say what is counted, as in \"Frames dropped: …\""
        ));
    }
    None
}

/// Places on the machine of whoever wrote it. In two parts, as above.
const MACHINE_PATHS: [(&str, &str); 4] =
    [("/wo", "rk/"), ("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/")];

/// Nothing refers to a place that other machines do not have.
pub(super) fn machine_paths(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (first, second) in MACHINE_PATHS {
        let path = format!("{first}{second}");
        for (number, line) in (1..).zip(source.text.lines()) {
            // Part of a longer path, as in `net/work/`, is something else.
            let begins =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.');
            if line.match_indices(&path).any(|(at, _)| begins(at)) {
                complaints.push(format!("{number}: {path}: a place of one machine"));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests;
