//! Options of a service: its own type, the file's messages.

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scrub {
    #[serde(default)]
    rules: Vec<Rule>,
    limit: Option<u32>,
    every: Option<Interval>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: Action,
    source: Option<Prefix>,
    ports: Option<PortRange>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Drop,
    Pass,
}

fn options(text: &str) -> Result<Scrub, ConfigError> {
    let config = accept(&format!("[[service]]\nname = \"a\"\nkind = \"k\"\n{text}"));
    config.services[0].options.parse::<Scrub>()
}

fn complaint(text: &str) -> String {
    options(text).unwrap_err().to_string()
}

#[test]
fn reads_the_services_own_type() {
    let scrub = options(
        "[service.options]\nlimit = 7\nevery = \"2s\"\n[[service.options.rules]]\n\
         action = \"drop\"\nsource = \"198.18.0.0/15\"\nports = 53\n\
         [[service.options.rules]]\naction = \"pass\"\nports = \"1-9\"\n",
    )
    .unwrap();
    assert_eq!(scrub.limit, Some(7));
    assert_eq!(scrub.every, Some(Interval::from_millis(2000)));
    assert_eq!(scrub.rules[0].action, Action::Drop);
    assert_eq!(scrub.rules[0].source.unwrap().to_string(), "198.18.0.0/15");
    assert_eq!(scrub.rules[0].ports.unwrap().first(), 53);
    assert_eq!(scrub.rules[1].ports.unwrap().last(), 9);
    assert!(options("").unwrap().rules.is_empty(), "no table is an empty one");
}

#[test]
fn each_kind_of_mistake_names_file_line_and_key() {
    assert_eq!(
        complaint("[service.options]\nlimits = 7\n"),
        "\
tide.toml:5:1: error: service[0].options.limits
  |
5 | limits = 7
  | ^^^^^^
  found: the unknown key \"limits\"; did you mean \"limit\"?
  allowed: rules, limit, every"
    );
    assert_eq!(
        complaint("options = { rules = [{ action = \"drop\" }, { action = \"dorp\" }] }\n"),
        "\
tide.toml:4:54: error: service[0].options.rules[1].action
  |
4 | options = { rules = [{ action = \"drop\" }, { action = \"dorp\" }] }
  |                                                      ^^^^^^
  found: \"dorp\"; did you mean \"drop\"?
  allowed: drop, pass"
    );
    assert_eq!(
        complaint("[service.options]\nlimit = -1\n"),
        "\
tide.toml:5:9: error: service[0].options.limit
  |
5 | limit = -1
  |         ^^
  found: the integer -1
  allowed: a whole number from 0 to 4294967295"
    );
    assert_eq!(
        complaint("[[service.options.rules]]\nsource = \"198.18.0.0/15\"\n"),
        "\
tide.toml:4:1: error: service[0].options.rules[0].action
  |
4 | [[service.options.rules]]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^
  found: nothing; the key is required
  allowed: a value for it"
    );
    assert_eq!(
        complaint("[[service.options.rules]]\naction = \"drop\"\nsource = \"198.18.0.1/15\"\n"),
        "\
tide.toml:6:10: error: service[0].options.rules[0].source
  |
6 | source = \"198.18.0.1/15\"
  |          ^^^^^^^^^^^^^^^
  found: \"198.18.0.1/15\", which has bits set behind the prefix
  allowed: the network \"198.18.0.0/15\" or the address \"198.18.0.1/32\""
    );
}

#[test]
fn options_of_the_second_service_are_its_own() {
    let config = accept(
        "[[service]]\nname = \"a\"\nkind = \"k\"\noptions = { limit = 1 }\n\
         [[service]]\nname = \"b\"\nkind = \"k\"\noptions = { limit = \"two\" }\n",
    );
    assert_eq!(config.services[0].options.parse::<Scrub>().unwrap().limit, Some(1));
    let error = config.services[1].options.parse::<Scrub>().unwrap_err();
    let mistake = &error.mistakes()[0];
    assert_eq!((mistake.line, &*mistake.key), (8, "service[1].options.limit"));
    assert_eq!(mistake.found, "the string \"two\"");
}

#[test]
fn options_can_be_written_without_a_file() {
    let scrub: Scrub = Options::from_text("limit = 3").unwrap().parse().unwrap();
    assert_eq!(scrub.limit, Some(3));
    let error = Options::from_text("limit = \"x\"").unwrap().parse::<Scrub>().unwrap_err();
    assert!(error.to_string().starts_with("options:1:9: error: options.limit\n"), "{error}");
    assert!(Options::from_text("limit =").is_err());
}
