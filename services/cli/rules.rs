//! `tidegate rules`: the rules of a running scrubber.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{Rules, RulesAdd, RulesCommand};
use super::ask::{ask, list, number, text};
use super::stats::Table;
use super::stats::units::count;
use crate::scrub::check_rules;

/// Runs the command.
///
/// # Errors
///
/// Where nobody answers, or `out` or `errors` cannot be written.
pub fn run(args: &Rules, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<ExitCode> {
    match &args.command {
        RulesCommand::List(args) => {
            let answer = ask(&args.asked, "rules", &json!({ "do": "list" }))?;
            match args.json {
                true => writeln!(out, "{answer}")?,
                false => out.write_all(listed(&answer).as_bytes())?,
            }
        }
        RulesCommand::Hits(args) => {
            let answer = ask(&args.asked, "rules", &json!({ "do": "hits" }))?;
            match args.json {
                true => writeln!(out, "{answer}")?,
                false => out.write_all(hits(&answer).as_bytes())?,
            }
        }
        RulesCommand::Check(args) => {
            return match read(&args.file).and_then(|read| read.check()) {
                Ok((_, said)) => {
                    writeln!(out, "{said}")?;
                    Ok(ExitCode::SUCCESS)
                }
                Err(why) => refuse(&why, errors),
            };
        }
        RulesCommand::Add(args) => {
            let answer = ask(&args.asked, "rules", &added(args))?;
            writeln!(out, "{}", in_force(&answer))?;
        }
        RulesCommand::Remove(args) => {
            let request = json!({ "do": "remove", "name": args.name });
            writeln!(out, "{}", in_force(&ask(&args.asked, "rules", &request)?))?;
        }
        RulesCommand::Replace(args) => {
            let checked = read(&args.file).and_then(|read| Ok((read.check()?.0, read)));
            let (files, Text { name, text, .. }) = match checked {
                Ok(checked) => checked,
                Err(why) => return refuse(&why, errors),
            };
            let request = json!({ "do": "replace", "text": text, "name": name, "files": files });
            writeln!(out, "{}", in_force(&ask(&args.asked, "rules", &request)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse(why: &str, errors: &mut dyn Write) -> io::Result<ExitCode> {
    writeln!(errors, "{why}")?;
    Ok(ExitCode::FAILURE)
}

/// Files that a text of rules names, with what is in them.
type Files = BTreeMap<String, String>;

/// A text of rules.
struct Text {
    name: String,
    text: String,
    /// Where files that it names are looked for.
    folder: std::path::PathBuf,
}

/// Reads the file, or standard input.
fn read(path: &Path) -> Result<Text, String> {
    let mut text = String::new();
    let name = match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let read = match path.as_os_str() == "-" {
        true => io::stdin().read_to_string(&mut text).map(drop),
        false => fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    Ok(Text { name, text, folder: path.parent().unwrap_or(Path::new("")).to_owned() })
}

impl Text {
    /// Whether it can be used: the files that it names, so that who is asked needs none of them, and
    /// what to say of it.
    fn check(&self) -> Result<(Files, String), String> {
        let mut files = Files::new();
        let mut open = |file: &str| {
            let read = fs::read_to_string(self.folder.join(file))?;
            files.insert(file.to_owned(), read.clone());
            Ok(read)
        };
        let rules = check_rules(&self.text, &self.name, &mut open)?;
        Ok((files, format!("{} is valid: {rules} rules", self.name)))
    }
}

fn added(args: &RulesAdd) -> Value {
    let place = match &args.before {
        Some(name) => json!({ "before": name }),
        None if args.first => json!("first"),
        None => json!("last"),
    };
    json!({ "do": "add", "rule": args.rule, "place": place })
}

/// What a change has come to.
fn in_force(answer: &Value) -> String {
    let [generation, rules, shards] =
        ["generation", "rules", "shards"].map(|key| number(answer, key));
    format!("generation {generation} is in force on {shards} shards: {rules} rules")
}

/// The rules, so that they can be read again.
fn listed(answer: &Value) -> String {
    let mut screen = String::new();
    let generation = number(answer, "generation");
    let _ = writeln!(screen, "# generation {generation}, from {}", text(answer, "from"));
    let sets = text(answer, "sets");
    if !sets.is_empty() {
        let _ = writeln!(screen, "{}", sets.trim_end());
    }
    for rule in list(answer, "rules") {
        let _ = writeln!(screen, "{}: {}", text(rule, "name"), text(rule, "text"));
    }
    let _ = writeln!(screen, "default {}", text(answer, "default"));
    screen
}

/// The rules that did something.
fn hits(answer: &Value) -> String {
    let mut screen = format!("generation {}\n", number(answer, "generation"));
    let rules = list(answer, "rules");
    let mut table = Table::new(&["rule", "packets", "octets", "dry-run", "in XDP", "by core"]);
    let mut idle = 0;
    for rule in rules {
        let keys = ["packets", "octets", "dry_run", "promoted"];
        let numbers = keys.map(|key| number(rule, key));
        if numbers == [0; 4] {
            idle += 1;
            continue;
        }
        let cores: Vec<String> = (list(rule, "cores").iter())
            .map(|core| format!("{}:{}", number(core, "shard"), count(number(core, "packets"))))
            .collect();
        let name = text(rule, "name").to_owned();
        table.row([name].into_iter().chain(numbers.map(count)).chain([cores.join(" ")]));
    }
    if idle < rules.len() {
        screen.push_str(&table.set(1));
    }
    let _ = writeln!(screen, "\n{idle} of {} rules did nothing", rules.len());
    screen
}

#[cfg(test)]
mod tests {
    use super::super::args::{Args, Command};
    use super::*;
    use clap::Parser as _;

    #[test]
    fn a_list_can_be_read_again() {
        let rule = |name: &str, text: &str| json!({ "name": name, "text": text });
        let answer = json!({
            "generation": 7, "from": "shield.rules", "default": "pass",
            "sets": "set bad = { 198.18.0.0/24 }\n",
            "rules": [rule("bad", "drop when ip.src in $bad"), rule("all", "pass when udp")],
        });
        assert_eq!(
            listed(&answer),
            "\
# generation 7, from shield.rules
set bad = { 198.18.0.0/24 }
bad: drop when ip.src in $bad
all: pass when udp
default pass
"
        );
    }

    #[test]
    fn hits_are_of_rules_that_did_something_with_their_cores() {
        let core = |shard: u32, packets: u64| json!({ "shard": shard, "packets": packets });
        let bad = json!({
            "name": "bad", "packets": 12_000, "octets": 720_000, "dry_run": 0,
            "promoted": 7, "cores": [core(0, 2_000), core(3, 10_000)],
        });
        let answer = json!({ "generation": 7, "rules": [bad, { "name": "idle" }] });
        assert_eq!(
            hits(&answer),
            "\
generation 7

rule  packets  octets  dry-run  in XDP         by core
bad     12.0k    720k        0       7  0:2000 3:10.0k

1 of 2 rules did nothing
"
        );
    }

    #[test]
    fn what_is_asked_for_is_said_with_its_place() {
        let place = |line: &str| {
            let words = ["tidegate", "rules", "add", "a: drop"];
            let args = Args::try_parse_from(words.into_iter().chain(line.split_whitespace()));
            let Command::Rules(Rules { command: RulesCommand::Add(add) }) = args.unwrap().command
            else {
                panic!("rules add")
            };
            added(&add)["place"].clone()
        };
        assert_eq!(place(""), json!("last"));
        assert_eq!(place("--last"), json!("last"));
        assert_eq!(place("--first"), json!("first"));
        assert_eq!(place("--before bad"), json!({ "before": "bad" }));
    }
}
