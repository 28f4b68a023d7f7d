//! What the machine or the file does not have: said, with the place and the remedy, and nothing
//! is touched.

use tidegate::lab::sink::{Action, Sink};

use super::{Folder, Process, assert_bare, echo, run, tidegate, unique, wire};

#[test]
fn an_interface_that_is_not_there() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let said = run(&wire.near, &folder, &echo(&unique(), "tide9")).end();
    assert_eq!(
        said.refusal(),
        "tidegate: no interface \"tide9\" in this network namespace; `ip link` lists them"
    );
    assert_bare(&wire.near);
}

#[test]
fn a_queue_that_the_interface_does_not_have() {
    require_net!();
    let (wire, folder) = (wire(2), Folder::new());
    let config = echo(&unique(), "tide1").replace("umem", "queues = [0, 2]\numem");
    let config = config.replace("[runtime]", "[runtime]\nshards = 1");
    let said = run(&wire.near, &folder, &config).end();
    // The log comes before: the other queue was open already.
    assert_eq!(
        said.errors.lines().last(),
        Some(
            "tidegate: shard 0, tide1 queue 2: tide1 has no queue 2; `ethtool -l tide1` shows how \
             many there are, `ethtool -L tide1 combined 3` raises them"
        )
    );
    assert_eq!((said.code, &*said.out), (Some(1), ""));
    assert_bare(&wire.near);
}

#[test]
fn an_interface_that_another_program_has_stays_with_it() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let _sink = Sink::attach(&wire.near, Action::Pass).unwrap();
    let theirs = wire.near.link().unwrap().xdp.unwrap();
    let said = run(&wire.near, &folder, &echo(&unique(), "tide1")).end();
    assert_eq!(
        said.refusal(),
        format!(
            "tidegate: tide1 already runs an XDP program \"tidegate_sink\" (id {}), which was left \
             alone; stop its owner, or detach it with `ip link set dev tide1 xdp off` (one that a \
             link holds: `bpftool link detach id <link>` from `bpftool link`)",
            theirs.prog_id
        )
    );
    assert_eq!(wire.near.link().unwrap().xdp, Some(theirs));
}

#[test]
fn a_file_that_is_not_there() {
    require_net!();
    let wire = wire(1);
    for command in ["run", "check"] {
        let words = [command, "--config", "/no/such/tide.toml"];
        let said = Process::start(&wire.near.namespace, tidegate(&words)).end();
        assert_eq!(
            said.refusal(),
            "the config file /no/such/tide.toml cannot be read: No such file or directory \
             (os error 2)"
        );
    }
}

#[test]
fn a_mistake_in_the_file_is_shown_with_its_line_and_column_and_touches_nothing() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let good = echo(&unique(), "tide1");
    let cases = [
        (
            good.replace("ports = 7", "ports = 70000"),
            ":12:73: error: service[0].selectors[0].ports\n   |\n\
             12 | selectors = [{ destination = \"198.18.0.0/15\", protocol = \"udp\", ports = 70000 }]\n   \
             |                                                                         ^^^^^\n  \
             found: the integer 70000\n  \
             allowed: port numbers from 0 to 65535, such as \"20000\" or \"1000-2000\"",
        ),
        (
            good.replace("\"echo\"", "\"ecko\""),
            ":11:8: error: service[0].kind\n   |\n\
             11 | kind = \"ecko\"\n   |        ^^^^^^\n  \
             found: the unknown kind \"ecko\"; did you mean \"echo\"?\n  \
             allowed: echo, scrub, stream-send, essence-send, essence-receive, stream-receive",
        ),
        (
            good.replace("[[interface]]", "[[interface]"),
            ":4:13: error: interface[0]\n  |\n4 | [[interface]\n  |             ^\n  \
             found: unclosed array table\n  allowed: `]`",
        ),
    ];
    for (config, words) in cases {
        let file = folder.write("tide.toml", &config);
        for command in ["run", "check"] {
            let command = tidegate(&[command, "--config", &file]);
            let said = Process::start(&wire.near.namespace, command).end();
            assert_eq!(said.refusal(), format!("{file}{words}"));
            assert_bare(&wire.near);
        }
    }
}
