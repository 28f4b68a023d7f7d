//! Streams by name: what they are, the class that each should keep, and how it keeps it.

use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

use super::{Note, Table, all_services, count, short, time};

/// Whatever says what class it holds is a stream.
const HELD: &str = "class_held";

/// Levels that the table shows.
const SHOWN: [&str; 8] = [
    "c_inst_max",
    "vrx_min",
    "vrx_max",
    "c_inst_max_since_start",
    "vrx_min_since_start",
    "vrx_max_since_start",
    "c_max",
    "vrx_full",
];

fn is_stream(service: &ServiceSnapshot) -> bool {
    service.words.contains_key(HELD)
}

/// A line for each stream: classes, and the extremes of VRX and C_INST of the last minute beside
/// their limits. `ever` is the class since the start.
pub(super) fn streams(snapshot: &Snapshot) -> String {
    let mut table = Table::new(&["stream", "asked", "held", "ever", "VRX of", "C_INST of"]);
    for (_, service) in all_services(snapshot).filter(|(_, service)| is_stream(service)) {
        let word = |name: &str| match service.words.get(name).map_or("", String::as_str) {
            "" | "unmeasured" => "-".to_owned(),
            "narrow-linear" => "linear".to_owned(),
            word => word.to_owned(),
        };
        let level = |name: &str| service.levels.get(name).copied().unwrap_or(0);
        let measured = word(HELD) != "-";
        let (vrx, c) = match measured {
            true => (
                format!("{}..{}/{}", level("vrx_min"), level("vrx_max"), level("vrx_full")),
                format!("{}/{}", level("c_inst_max"), level("c_max")),
            ),
            false => ("-".to_owned(), "-".to_owned()),
        };
        let words = ["class_asked", HELD, "class_held_since_start"].map(word);
        table.row([short(&service.name)].into_iter().chain(words).chain([vrx, c]));
    }
    // Nothing of two streams adds up. A table without rows is only its head.
    match all_services(snapshot).any(|(_, service)| is_stream(service)) {
        true => table.set(4),
        false => String::new(),
    }
}

/// Paths of ST 2022-7, as their counters are called.
const PATHS: [&str; 2] = ["first", "second"];

/// What tells a path, of a stream that has two.
fn path<'a>(service: &'a ServiceSnapshot, name: &str) -> Option<&'a str> {
    service.words.get(&format!("{name}_path")).map(String::as_str)
}

/// A line for each path of the streams that have two: what it brought, and what not. A sender's
/// paths have only that, and nothing comes twice or late.
pub(super) fn paths(snapshot: &Snapshot) -> String {
    let mut table = Table::new(&["path", "packets", "lost", "twice", "order", "late", "behind"]);
    let mut any = false;
    for (_, service) in all_services(snapshot) {
        for name in PATHS.iter().filter(|name| path(service, name).is_some()) {
            any = true;
            let of = |what: &str| service.counters.get(&format!("{name}_packets_{what}")).copied();
            let cell = |value: Option<u64>| value.map_or("-".to_owned(), count);
            let behind = service.levels.get(&format!("{name}_behind_us_max"));
            let behind = behind.map(|&us| time(us.unsigned_abs().saturating_mul(1_000)));
            table.row([
                format!("{} {name}", short(&service.name)),
                cell(of("received").or(of("sent"))),
                cell(of("lost")),
                cell(of("duplicate")),
                cell(of("reordered")),
                cell(of("late")),
                behind.unwrap_or("-".to_owned()),
            ]);
        }
    }
    if any { table.set(1) } else { String::new() }
}

/// What is left to say of each: the format, and the levels that have no column.
pub(super) fn notes(snapshot: &Snapshot) -> Vec<Note> {
    let note = |service: &ServiceSnapshot| {
        let format = service.words.get("format").into_iter().cloned();
        let basis = service.words.get("measured_by").map(|basis| format!("measured by {basis}"));
        let shown = |name: &str| SHOWN.contains(&name) || name.contains("_behind_us");
        let others = service.levels.iter().filter(|(name, _)| !shown(name));
        let others = others.map(|(name, value)| format!("{name} {value}"));
        let paths = PATHS.iter().filter_map(|name| Some((name, path(service, name)?)));
        let paths = paths.map(|(name, word)| format!("{name} path {word}"));
        let words: Vec<String> = format.chain(basis).chain(paths).chain(others).collect();
        (!words.is_empty()).then(|| (format!("stream {}", service.name), words.join(", ")))
    };
    let has_sound = |service: &ServiceSnapshot| service.words.contains_key("audio_format");
    all_services(snapshot)
        .filter(|(_, service)| is_stream(service) || has_sound(service))
        .filter_map(|(_, service)| note(service))
        .collect()
}
