//! A service that panics, stalls, leaks or hoards, and its neighbour on the same shard, who
//! notices nothing.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::Wire;
use tidegate::lab::witness::udp::{Questions, ask};
use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

use super::{Folder, PATIENCE, Process, assert_bare, echo, stats, unique, wire};

/// The unruly services and their ports. Each does whatever a packet says.
const SERVICES: [(&str, u16); 4] =
    [("panics", 1001), ("stalls", 1002), ("leaks", 1003), ("hoards", 1004)];

/// Sends packets that begin with `mark` to the service's port.
fn send(wire: &Wire, service: &str, mark: u8, count: u32) {
    let (_, port) = SERVICES.into_iter().find(|(name, _)| *name == service).unwrap();
    let there = || {
        let socket = UdpSocket::bind((wire.far.ipv4, 0)).unwrap();
        for _ in 0..count {
            socket.send_to(&[mark; 20], (wire.near.ipv4, port)).unwrap();
        }
    };
    wire.far.namespace.run(there).unwrap();
}

/// Waits until the service's numbers are so.
#[track_caller]
fn await_that(
    wire: &Wire,
    instance: &str,
    service: &str,
    holds: impl Fn(&ServiceSnapshot) -> bool,
) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let said = stats(&wire.near.namespace, instance, &["--json"]);
        let snapshot: Snapshot = serde_json::from_str(&said.out).unwrap();
        assert_eq!(snapshot.conservation.unaccounted, 0, "{snapshot:?}");
        let services = &snapshot.shards[0].services;
        let found = services.iter().find(|it| it.name == service).unwrap();
        if holds(found) {
            return;
        }
        assert!(Instant::now() < give_up, "{found:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_that_misbehaves_is_counted_and_its_neighbour_answers_throughout() {
    require_net!();
    let (wire, folder, name) = (wire(1), Folder::new(), unique());
    let mut config = echo(&name, "tide1").replace("[runtime]", "[runtime]\nrestart = \"always\"");
    // Room for all that is asked during a stall.
    config = config.replace("frames = 512", "frames = 4096").replace("= 64\n\n", "= 1024\n\n");
    for (service, port) in SERVICES {
        config += &format!(
            "\n[[service]]\nname = \"{service}\"\nkind = \"unruly\"\nheld_frames_max = 16\n\
             selectors = [{{ destination = \"198.18.0.0/15\", protocol = \"udp\", ports = {port} }}]\n"
        );
    }
    let file = folder.write("tide.toml", &config);
    let mut command = Command::new(crate::outside::program());
    command.args(["run", "--config", &file]).env("NO_COLOR", "1");
    let mut running = Process::start(&wire.near.namespace, command);
    running.await_running();

    let (near, far) = (SocketAddr::from((wire.near.ipv4, 7)), (wire.far.ipv4, 0).into());
    let questions =
        Questions { count: 1500, per_second: 500, octets: 64, patience: Duration::from_secs(20) };
    let asker = ask(&wire.far.namespace, far, near, questions).unwrap();

    for count in 1..=3 {
        send(&wire, "panics", b'P', 1);
        // Built again, and at work.
        await_that(&wire, &name, "panics", |it| {
            (it.stats.panics, it.stats.restarts) == (count, count)
        });
        send(&wire, "panics", b'.', 1);
        await_that(&wire, &name, "panics", |it| it.stats.settled_consumed == count);
    }
    for count in 1..=2 {
        send(&wire, "stalls", b'S', 1);
        await_that(&wire, &name, "stalls", |it| {
            it.stats.settled_consumed == count && it.stats.stalls >= count
        });
    }
    // What it forgot is known to be lost when it has ended.
    send(&wire, "leaks", b'L', 3);
    send(&wire, "leaks", b'P', 1);
    await_that(&wire, &name, "leaks", |it| (it.stats.leaked_frames, it.stats.restarts) == (3, 1));
    send(&wire, "hoards", b'H', 40);
    await_that(&wire, &name, "hoards", |it| {
        it.stats.held_frames == 16 && it.drops.get("over_budget") == Some(&24)
    });

    let heard = asker.wait().unwrap();
    assert_eq!((heard.delivered, heard.duplicate, heard.wrong), (1500, 0, 0), "{heard:?}");
    await_that(&wire, &name, "ping", |it| {
        let stats = &it.stats;
        (stats.settled_transmit, stats.panics, stats.reclaimed_frames) == (1500, 0, 0)
    });
    let said = running.leave();
    assert_eq!(said.code, Some(0), "{}", said.errors);
    assert!(said.errors.contains("unaccounted=0"), "{}", said.errors);
    assert_bare(&wire.near);
}
