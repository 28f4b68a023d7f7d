//! What the pages show works: every config in them is one that the program takes.

use std::fs;
use std::path::Path;

use tidegate::config::Config;
use tidegate::registry::Registry;

/// The blocks of `page` that are fenced as `language`.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn check(name: &str, text: &str) {
    let config = Config::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
    Registry::stock().check(&config).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_config_in_the_readme_is_valid() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let configs = blocks(&fs::read_to_string(readme).unwrap(), "toml");
    assert!(!configs.is_empty(), "the README shows no config");
    for config in configs.iter().filter(|text| text.contains("[[service]]")) {
        check("README.md", config);
    }
}
