//! Hardware steering where there is no hardware: what a veth refuses, and what becomes of the
//! record that a killed process left. What a card does with it is tested where there is one.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use tidegate::lab::{End, Wire};

use super::{Folder, Process, Said, assert_bare, echo, run, stats, tidegate, unique, wire};

/// A config that asks for `steering`.
fn steered(steering: &str) -> String {
    let with = format!("steering = \"{steering}\"\numem");
    echo(&unique(), "tide1").replacen("umem", &with, 1)
}

/// Where a process in the namespace of `end` tells what it changes.
fn record(end: &End) -> PathBuf {
    let namespace = || fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let namespace = end.namespace.run(namespace).unwrap();
    let index = end.link().unwrap().index;
    PathBuf::from(format!("/run/tidegate/steering-{namespace}-{index}.json"))
}

fn said(wire: &Wire, words: &[&str]) -> Said {
    Process::start(&wire.near.namespace, tidegate(words)).end()
}

#[test]
fn a_veth_has_neither_and_says_so_with_what_to_write() {
    require_net!();
    let (wire, folder) = (wire(2), Folder::new());
    for (steering, what) in [
        (
            "rss",
            "has no RSS table that could keep other packets off queue 0; write steering = \"xdp\"",
        ),
        (
            "ntuple",
            "takes no flow rules (ntuple), which steering = \"ntuple\" is made of; write steering \
             = \"rss\" or \"xdp\"",
        ),
    ] {
        let said = run(&wire.near, &folder, &steered(steering)).end();
        // The log comes before: the program was attached already.
        let expected = format!(
            "tidegate: veth, the driver of tide1, {what} (`tidegate doctor tide1` says what it can)"
        );
        assert_eq!(said.errors.lines().last(), Some(&*expected));
        assert_eq!((said.code, &*said.out), (Some(1), ""));
        assert_bare(&wire.near);
        assert!(!record(&wire.near).exists());
    }
    let said = said(&wire, &["doctor", "tide1"]);
    let found = said.out.replace("\n           ", " ");
    let can = "good     steering xdp: no RSS table (rss); no flow rules (ntuple)\n";
    assert!(found.contains(can), "{found}");
}

#[test]
fn xdp_tells_the_card_nothing_and_stats_show_nothing() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let config = steered("xdp");
    let (_, name) = config.split_once("instance = \"").unwrap();
    let name = name.split_once('"').unwrap().0;
    let mut running = run(&wire.near, &folder, &config);
    running.await_running();
    assert!(!record(&wire.near).exists());
    let said = stats(&wire.near.namespace, name, &["--json"]);
    let numbers: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(numbers["steering"][0]["interface"], "tide1");
    assert!(numbers["steering"][0]["hardware"].is_null(), "{numbers}");
    assert_eq!(running.leave().code, Some(0));
}

/// A record as a process leaves it that was killed when it had switched flow rules on, which a veth
/// cannot do: so all of it is put back already.
fn leave(end: &End, boot: &str) {
    let link = end.link().unwrap();
    let namespace = || fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let text = serde_json::json!({
        "pid": 4711,
        "place": {
            "boot": boot,
            "namespace": end.namespace.run(namespace).unwrap(),
            "ifindex": link.index,
            "address": link.mac,
            "driver": "veth",
        },
        "table": null,
        "switched_rules_on": true,
        "rules": [],
        "occupied": [],
    });
    // As the program makes it, where it never ran.
    let directory = Path::new("/run/tidegate");
    let made = fs::DirBuilder::new().mode(0o700).create(directory);
    assert!(made.is_ok() || directory.is_dir(), "{made:?}");
    fs::write(record(end), text.to_string()).unwrap();
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[test]
fn what_a_killed_process_left_is_shown_and_put_back_by_a_command_or_the_next_start() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let nothing = said(&wire, &["restore"]);
    assert_eq!((nothing.code, &*nothing.out), (Some(0), "nothing was left behind\n"));

    leave(&wire.near, &boot());
    let doctor = said(&wire, &["doctor", "tide1"]);
    let found = doctor.out.replace("\n           ", " ");
    let warned = "WARNING  process 4711 of tidegate was killed and left an RSS table as it was \
                  here; the next start on this interface puts it right, as does this # tidegate \
                  restore tide1\n";
    assert!(found.contains(warned), "{found}");
    assert!(record(&wire.near).exists(), "looking changes nothing");
    let restored = said(&wire, &["restore", "tide1"]);
    assert_eq!(
        (restored.code, &*restored.out, &*restored.errors),
        (Some(0), "tide1: it was as before already\n", "")
    );
    assert!(!record(&wire.near).exists());
    let again = said(&wire, &["restore", "tide1"]);
    assert_eq!((again.code, &*again.out), (Some(0), "nothing was left behind\n"));

    // By a start that changes nothing itself.
    leave(&wire.near, &boot());
    let mut running = run(&wire.near, &folder, &steered("xdp"));
    running.await_running();
    assert!(!record(&wire.near).exists());
    let left = running.leave();
    assert_eq!(left.code, Some(0));
    assert!(left.errors.contains("a killed process has left its steering on the card"), "{left:?}");

    // One of another boot is nobody's.
    leave(&wire.near, "another-boot");
    let doctor = said(&wire, &["doctor", "tide1"]);
    assert!(!doctor.out.contains("4711"), "{}", doctor.out);
    assert_eq!(said(&wire, &["restore"]).out, "nothing was left behind\n");
    assert!(!record(&wire.near).exists());
}

#[test]
fn a_record_that_cannot_be_read_stops_the_start_and_stays() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let path = record(&wire.near);
    leave(&wire.near, &boot());
    fs::write(&path, "{").unwrap();
    let said = run(&wire.near, &folder, &steered("xdp")).end();
    assert_eq!(
        said.errors.lines().last(),
        Some(&*format!(
            "tidegate: {} should tell what a killed process changed on a card, and cannot be read; \
             look at the card with `ethtool -x` and `ethtool -n`, then remove the file",
            path.display()
        ))
    );
    assert_eq!(said.code, Some(1));
    assert_bare(&wire.near);
    fs::remove_file(path).unwrap();
}

#[test]
fn an_interface_that_is_not_there_has_nothing_to_restore() {
    require_net!();
    let wire = wire(1);
    let said = said(&wire, &["restore", "tide9"]);
    assert_eq!(
        said.refusal(),
        "tidegate: tide9: no interface \"tide9\" in this network namespace; `ip link` lists them"
    );
}
