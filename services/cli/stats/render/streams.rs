//! Streams by name: what they are, the class that each should keep, and how it keeps it.

use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

use super::{Note, Table, all_services, short};

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

/// What is left to say of each: the format, and the levels that have no column.
pub(super) fn notes(snapshot: &Snapshot) -> Vec<Note> {
    let note = |service: &ServiceSnapshot| {
        let format = service.words.get("format").into_iter().cloned();
        let basis = service.words.get("measured_by").map(|basis| format!("measured by {basis}"));
        let others = service.levels.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
        let others = others.map(|(name, value)| format!("{name} {value}"));
        let words: Vec<String> = format.chain(basis).chain(others).collect();
        (!words.is_empty()).then(|| (format!("stream {}", service.name), words.join(", ")))
    };
    all_services(snapshot)
        .filter(|(_, service)| is_stream(service))
        .filter_map(|(_, service)| note(service))
        .collect()
}
