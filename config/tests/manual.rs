//! The example is the manual: it parses, it is complete, and its defaults are the real ones.

use super::*;

/// The example's lines, those with a key that is commented out included.
fn lines() -> impl Iterator<Item = &'static str> {
    EXAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line))
}

#[test]
fn the_example_is_a_valid_config_without_a_warning() {
    let config = accept(EXAMPLE);
    assert_eq!(config.warnings(), []);
    assert_eq!(config.services.len(), 7);
    assert_eq!(config.selectors("eth1").count(), 2);
}

#[test]
fn every_key_of_the_schema_stands_in_the_example() {
    for (table, keys) in SCHEMA {
        for key in *keys {
            let given = |line: &str| {
                line.starts_with(&format!("{key} = "))
                    || line.contains(&format!("{{ {key} = "))
                    || line.contains(&format!(", {key} = "))
                    || line.contains(&format!("[{key}]"))
                    || line.contains(&format!("[[{key}]]"))
                    || line.contains(&format!(".{key}]"))
            };
            assert!(lines().any(given), "{table}.{key} is not in config/example.toml");
        }
    }
}

#[test]
fn an_empty_runtime_and_interface_mean_what_the_example_writes_out() {
    let written = accept(EXAMPLE);
    let silent = accept(
        "[[interface]]\nname = \"eth1\"\nqueues = [0, 1]\n\
         [[service]]\nname = \"shield\"\nkind = \"scrub\"\n",
    );
    let runtime = |config: &Config| {
        let text = format!("{:?}", config.runtime);
        text.replace("Some([0, 1])", "None")
    };
    assert_eq!(runtime(&written), runtime(&silent));
    assert_eq!(format!("{:?}", written.interfaces[0]), format!("{:?}", silent.interfaces[0]));
    assert_eq!(written.services[0].held_frames_max, silent.services[0].held_frames_max);
}

#[test]
fn the_values_of_the_example_are_read_as_they_stand() {
    let config = accept(EXAMPLE);
    assert_eq!(config.runtime.idle, Idle::SleepAfter(Interval::from_micros(50)));
    assert_eq!(config.runtime.stall_budget, Interval::from_millis(10));
    assert_eq!(config.runtime.restart, Restart::MaxPerMinute(10));
    assert_eq!(config.runtime.control_socket, None);
    let [udp, icmp] = &config.services[0].selectors[..] else { panic!("two selectors") };
    assert_eq!(udp.protocol, Protocol::Number(17));
    assert_eq!(udp.ports.map(PortRange::last), Some(2000));
    assert_eq!(udp.fragments, Fragments::Take);
    assert_eq!(icmp.protocol, Protocol::Number(58), "ICMPv6, since the destination is IPv6");
}

#[test]
fn reads_the_other_forms_of_idle_and_restart() {
    let with = |runtime: &str| {
        let text = format!("[runtime]\n{runtime}\n[[service]]\nname = \"a\"\nkind = \"k\"\n");
        accept(&text).runtime
    };
    assert_eq!(with("idle = \"spin\"").idle, Idle::Spin);
    assert_eq!(with("idle = \"0us\"").idle, Idle::SleepAfter(Interval::from_micros(0)));
    assert_eq!(with("restart = \"never\"").restart, Restart::Never);
    assert_eq!(with("restart = \"always\"").restart, Restart::Always);
    assert_eq!(with("log = \"trace\"").log, LogLevel::Trace);
    let socket = with("control_socket = \"/run/tide/two.sock\"").control_socket;
    assert_eq!(socket.as_deref(), Some(Path::new("/run/tide/two.sock")));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load("/nonexistent/tide.toml").unwrap_err();
    assert!(error.mistakes().is_empty());
    assert_eq!(
        error.to_string(),
        "the config file /nonexistent/tide.toml cannot be read: No such file or directory (os error 2)"
    );
}
