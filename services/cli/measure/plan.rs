//! The config of a measurement: one interface, one service that drops all.

use tidegate_config::{Config, ConfigError};

use super::super::args::Measure;
use super::surroundings::Surroundings;

/// What `run` would be told for the same.
///
/// # Errors
///
/// Where an interface has a name that no config can have.
pub(super) fn config(args: &Measure, found: &Surroundings) -> Result<Config, ConfigError> {
    Config::parse("measure", &text(args, found, std::process::id()))
}

fn text(args: &Measure, found: &Surroundings, process: u32) -> String {
    let selectors = match args.only.as_slice() {
        [] => ["0.0.0.0/0", "::/0"].map(|all| format!("{{ destination = \"{all}\" }}")).join(", "),
        only => only.iter().map(|it| it.selector()).collect::<Vec<_>>().join(", "),
    };
    format!(
        r#"
[runtime]
instance = "measure-{process}"

[[interface]]
name = {name}
queues = {queues:?}
copy = "{copy}"
xdp = "{xdp}"

[[service]]
name = "measured"
kind = "discard"
selectors = [{selectors}]
"#,
        // As JSON writes it: TOML escapes alike.
        name = serde_json::Value::from(&*found.name),
        queues = args.queues(),
        copy = args.copy.word(),
        xdp = args.xdp.word(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    fn found() -> Surroundings {
        Surroundings { name: "eth1".into(), ..Surroundings::default() }
    }

    #[test]
    fn takes_all_of_ip_on_the_named_queues_or_what_was_named() {
        let config = config(&args("eth1 --queue 2,3 --copy zero-copy"), &found()).unwrap();
        let interface = &config.interfaces[0];
        assert_eq!((&*interface.name, &*interface.queues), ("eth1", &[2, 3][..]));
        assert_eq!(interface.copy, tidegate_config::CopyMode::ZeroCopy);
        let destinations = |config: &Config| -> Vec<String> {
            config.services[0].selectors.iter().map(|it| it.destination.to_string()).collect()
        };
        assert_eq!(destinations(&config), ["0.0.0.0/0", "::/0"]);
        let only = args("eth1 --only 198.18.0.0/24,udp,53 --only 2001:db8::1");
        let config = super::config(&only, &found()).unwrap();
        assert_eq!(destinations(&config), ["198.18.0.0/24", "2001:db8::1/128"]);
    }

    #[test]
    fn a_name_that_no_config_can_have_is_an_error_and_no_panic() {
        let odd = Surroundings { name: "a\"\u{7}".into(), ..Surroundings::default() };
        let error = super::config(&args("eth1"), &odd).unwrap_err().to_string();
        assert!(error.contains("a name of an interface"), "{error}");
    }
}
