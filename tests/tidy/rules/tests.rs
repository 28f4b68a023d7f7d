//! Every rule can fail: a bad sample for each, and a good one that it leaves alone.

use super::*;

/// Complaints of a rule about a sample, without their text.
fn lines(rule: impl Fn(&Source) -> Vec<Complaint>, path: &str, text: &str) -> Vec<usize> {
    let complaints = rule(&Source::sample(path, text));
    complaints.iter().map(|it| it.split(':').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn unsafe_outside_of_the_list_is_found() {
    let rule = |source: &Source| unsafe_places(source, &["a/listed.rs"]);
    assert_eq!(lines(rule, "a/b.rs", "//! Page\nunsafe { f() }"), [2]);
    assert_eq!(lines(rule, "a/b.rs", "//! Page\n#![allow(unsafe_code)]"), [2]);
    assert!(lines(rule, "a/b.rs", "// unsafe\nlet unsafety = \"unsafe\";").is_empty());
    let good = "//! P\n#![allow(unsafe_code)] // mmap(2) and munmap(2), by nobody else.\nuse x;\nunsafe {}";
    assert!(lines(rule, "a/listed.rs", good).is_empty());
    assert_eq!(lines(rule, "a/listed.rs", "//! Page\nunsafe {}"), [1]);
    assert_eq!(lines(rule, "a/listed.rs", "//! P\n#![allow(unsafe_code)] // why\nunsafe {}"), [1]);
    assert_eq!(lines(rule, "a/listed.rs", "//! Page"), [1, 1]);
}

#[test]
fn imports_upwards_are_found() {
    assert_eq!(lines(imports, "config/a.rs", "\nuse tidegate_dataplane::x;"), [2]);
    assert_eq!(lines(imports, "dataplane/a.rs", "use glommio::x;"), [1]);
    assert_eq!(lines(imports, "runtime/a.rs", "fn f(s: Scrub) {}"), [1]);
    assert_eq!(lines(imports, "runtime/a.rs", "use tidegate::echo;"), [1]);
    assert!(lines(imports, "runtime/a.rs", "use tidegate_dataplane::x; // Scrub").is_empty());
    assert!(lines(imports, "services/a.rs", "use tidegate_runtime::x;").is_empty());
    let upwards = "[dependencies]\ntidegate-config.workspace = true\nlibc = \"1\"";
    assert_eq!(lines(dependencies, "dataplane/Cargo.toml", upwards), [2]);
    assert!(lines(dependencies, "Cargo.toml", upwards).is_empty());
}

#[test]
fn whoever_asks_the_time_is_found() {
    for asks in ["Instant::now()", "std::time::SystemTime::now()", "nix::time::clock_gettime(c)"] {
        assert_eq!(lines(time, "dataplane/a.rs", asks), [1], "{asks}");
        assert!(lines(time, "runtime/clock.rs", asks).is_empty());
        assert!(lines(time, "tests/a.rs", asks).is_empty());
        let test = format!("#[cfg(test)]\nmod tests {{ {asks} }}");
        assert!(lines(time, "runtime/a.rs", &test).is_empty());
    }
}

#[test]
fn each_banned_word_is_found() {
    for (word, place, _) in &BANNED {
        let (path, elsewhere) = match place {
            Where::Code => ("tests/a.rs".to_owned(), "README.md"),
            Where::Shipped(paths, _) => (format!("{}/a.rs", paths[0]), "tests/a.rs"),
        };
        assert_eq!(lines(banned, &path, &format!("\n {word} y")), [2], "{word}");
        assert!(lines(banned, elsewhere, word).is_empty(), "{word}");
        assert!(lines(banned, &path, &format!("// {word}")).is_empty(), "{word}");
    }
    for (first, second) in NOTES {
        assert_eq!(lines(banned, "config/a.rs", &format!("// {first}{second}: later")), [1]);
    }
    for except in ["services/cli/stats.rs", "services/lab/flood.rs"] {
        assert!(lines(banned, except, "println!()").is_empty());
    }
}

#[test]
fn files_without_a_page_or_with_too_many_lines_are_found() {
    for bad in ["", "use x;", "//!", "//! x", "// Page of something\n"] {
        assert_eq!(lines(begins_with_its_page, "config/a.rs", bad), [1], "{bad:?}");
    }
    assert!(lines(begins_with_its_page, "config/a.rs", "//! What may be said.").is_empty());
    assert_eq!(lines(length, "config/a.rs", &"\n".repeat(701)), [701]);
    assert!(lines(length, "config/a.rs", &"\n".repeat(700)).is_empty());
}

#[test]
fn unclean_text_is_found() {
    assert_eq!(lines(whitespace, "a.md", "a \nb\r\n"), [1, 2]);
    assert_eq!(lines(whitespace, "a.rs", "a\tb\n"), [1]);
    assert!(lines(whitespace, "a.c", "\ta\n").is_empty());
    assert_eq!(lines(whitespace, "a.md", "a"), [1]);
    assert_eq!(lines(whitespace, "a.md", "a\n\n"), [1]);
}

#[test]
fn counters_without_a_sentence_are_found() {
    let good = "build.drop_reason(\n    \"not_udp\",\n    \"Frames dropped: not UDP\",\n)";
    assert!(lines(counters, "services/a.rs", good).is_empty());
    for bad in [
        "build.counter(\"x\", \"\")",
        "build.counter(\"x\", \"frames seen here\")",
        "build.gauge(\"x\", \"Frames\")",
        "build.drop_reason(\"Bad-Name\", \"Frames dropped: odd\")",
    ] {
        assert_eq!(lines(counters, "services/a.rs", &format!("\n{bad}")), [2], "{bad}");
    }
    assert!(lines(counters, "services/a.rs", "build.counter(&name, &help)").is_empty());
}

#[test]
fn places_of_one_machine_are_found() {
    for (first, second) in MACHINE_PATHS {
        assert_eq!(lines(machine_paths, "README.md", &format!("\nsee {first}{second}x")), [2]);
        assert!(
            lines(machine_paths, "README.md", &format!("https://a.b{first}{second}")).is_empty()
        );
    }
}
