//! What the pages show works: every config in them is one that the program takes.

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, fs};

use tidegate::config::Config;
use tidegate::registry::Registry;
use tidegate_dataplane::driver::{Driver, Fact, Seen};

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
    let sender = configs.iter().find(|text| text.contains("stream-send")).expect("a sender");
    let sdp = printed_sdp(sender);
    for config in configs.iter().filter(|text| text.contains("[[service]]")) {
        check("README.md", &config.replace(SDP, &format!("sdp = {:?}", sdp.0)));
    }
}

#[test]
fn every_config_of_the_scrubbing_page_is_valid() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scrubbing.md");
    let configs = blocks(&fs::read_to_string(page).unwrap(), "toml");
    assert!(!configs.is_empty(), "the page shows no config");
    configs.iter().for_each(|config| check("scrubbing.md", config));
}

/// What a receiver of the README is told by.
const SDP: &str = "sdp = \"camera.sdp\"";

/// What `sdp print` says of a sender. Its clock is named: who prints it here has no such interface.
fn printed_sdp(sender: &str) -> Scratch {
    let clock = "class = \"wide\"\nsdp = { refclk = \"localmac=02-00-00-00-00-01\" }";
    let config = Scratch::new("camera.toml", sender.replace("class = \"wide\"", clock).as_bytes());
    let mut print = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let said =
        print.args(["sdp", "print", "--planned", "--config"]).arg(&config.0).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Scratch::new("camera.sdp", &said.stdout)
}

/// A file for as long as it is held.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, octets: &[u8]) -> Self {
        let path = env::temp_dir().join(format!("tidegate-readme-{}-{name}", process::id()));
        fs::write(&path, octets).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// One line of the table of drivers.
fn line_of(driver: &Driver) -> String {
    fn cell<T>(fact: &Fact<T>, told: String) -> String {
        match fact.seen {
            Seen::Test(_) => format!("{told}, tested"),
            Seen::Read | Seen::Assumed => told,
        }
    }
    let yes = |fact: &Fact<bool>| cell(fact, if fact.is { "yes" } else { "no" }.into());
    let Driver {
        name,
        zero_copy,
        sends_without_program,
        buffer_step_octets,
        resets_link,
        finishes_checksums,
    } = driver;
    let step = match buffer_step_octets.is {
        1 => "not at all".into(),
        octets => format!("{octets} octets"),
    };
    let cells = [
        format!("`{name}`"),
        yes(zero_copy),
        yes(sends_without_program),
        cell(buffer_step_octets, step),
        yes(resets_link),
        yes(finishes_checksums),
    ];
    format!("| {} |\n", cells.join(" | "))
}

#[test]
fn the_table_of_drivers_is_the_one_that_the_program_has() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nics.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("<!-- drivers -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- end of drivers -->").unwrap();
    let head = "| driver | zero-copy | sends without program | rounds buffers to | resets its link | \
                finishes checksums |\n|---|---|---|---|---|---|\n";
    let expected: String = Driver::KNOWN.iter().map(line_of).collect();
    assert_eq!(table.trim(), format!("{head}{expected}").trim());
}
