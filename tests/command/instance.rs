//! Who has a name: two instances side by side, a name that is taken, one that a dead process had,
//! and what the owner of the name answers.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tidegate::lab::witness::udp::{Questions, ask};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::{Folder, Process, assert_bare, echo, run, stats, tidegate, unique, wire};

/// Asks so many questions over `wire`, which an echo at its near end has to answer.
#[track_caller]
fn assert_answers(wire: &Wire, count: u32) {
    let (near, far) = (SocketAddr::from((wire.near.ipv4, 7)), (wire.far.ipv4, 0).into());
    let questions =
        Questions { count, per_second: 1000, octets: 64, patience: Duration::from_secs(10) };
    let asker = ask(&wire.far.namespace, far, near, questions).unwrap();
    let heard = asker.wait().unwrap();
    assert_eq!((heard.delivered, heard.duplicate, heard.wrong), (count.into(), 0, 0), "{heard:?}");
}

/// Where root's instances have their sockets and locks.
fn path(instance: &str, extension: &str) -> PathBuf {
    Path::new("/run/tidegate").join(instance).with_extension(extension)
}

#[test]
fn two_of_different_names_run_side_by_side() {
    require_net!();
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wires = [1, 2].map(|number| {
        let options = WireOptions { number, ipv6: false, ..WireOptions::default() };
        Wire::new(&near, &far, &options).unwrap()
    });
    let (names, folders) = ([unique(), unique()], [Folder::new(), Folder::new()]);
    let mut running = [0, 1].map(|it| {
        let end = &wires[it].near;
        run(end, &folders[it], &echo(&names[it], &end.name))
    });
    running.iter_mut().for_each(Process::await_running);
    for (wire, name) in wires.iter().zip(&names) {
        assert_answers(wire, 20);
        let said = stats(&near, name, &["--json"]);
        let snapshot: Snapshot = serde_json::from_str(&said.out).unwrap();
        assert_eq!((snapshot.instance, snapshot.shards[0].ports.len()), (name.clone(), 1));
    }
    let [first, second] = running;
    assert_eq!(first.leave().code, Some(0));
    assert_answers(&wires[1], 20);
    assert_eq!(second.leave().code, Some(0));
    wires.iter().for_each(|wire| assert_bare(&wire.near));
}

#[test]
fn a_name_that_is_taken_is_refused_with_the_process_that_has_it() {
    require_net!();
    let (wire, folder, name) = (wire(1), Folder::new(), unique());
    let mut first = run(&wire.near, &folder, &echo(&name, "tide1"));
    first.await_running();
    let second = run(&wire.near, &folder, &echo(&name, "tide1")).end();
    assert_eq!(
        second.refusal(),
        format!(
            "tidegate: instance \"{name}\" runs already, as process {}; stop that one or choose \
             another name",
            first.pid()
        )
    );
    // The first has not noticed.
    assert_answers(&wire, 20);
    assert_eq!(first.leave().code, Some(0));
    assert_bare(&wire.near);
}

#[test]
fn an_interface_that_another_instance_has_stays_with_it() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let mut first = run(&wire.near, &folder, &echo(&unique(), "tide1"));
    first.await_running();
    let program = wire.near.link().unwrap().xdp.unwrap();
    let second = run(&wire.near, &folder, &echo(&unique(), "tide1")).end();
    let words = format!(
        "tidegate: tide1 already runs an XDP program \"tidegate_steer\" (id {}), which was left alone; \
         stop its owner, or",
        program.prog_id
    );
    assert!(second.refusal().starts_with(&words), "{second:?}");
    assert_eq!(wire.near.link().unwrap().xdp, Some(program));
    assert_answers(&wire, 20);
    assert_eq!(first.leave().code, Some(0));
    assert_bare(&wire.near);
}

#[test]
fn after_a_kill_nothing_is_attached_and_the_name_starts_at_once() {
    require_net!();
    let (wire, folder, name) = (wire(1), Folder::new(), unique());
    let mut first = run(&wire.near, &folder, &echo(&name, "tide1"));
    first.await_running();
    first.signal(Signal::SIGKILL);
    assert_eq!(first.end().code, None);
    assert_bare(&wire.near);
    assert!(path(&name, "sock").exists(), "left behind, as nobody could remove it");

    let said = stats(&wire.near.namespace, &name, &[]);
    assert_eq!(
        said.refusal(),
        format!(
            "tidegate: no tidegate runs as instance \"{name}\" (nobody answers at \
             /run/tidegate/{name}.sock); start it with `tidegate run --config FILE`"
        )
    );
    let mut second = run(&wire.near, &folder, &echo(&name, "tide1"));
    second.await_running();
    assert_answers(&wire, 20);
    assert_eq!(second.leave().code, Some(0));
    assert!(!path(&name, "sock").exists() && !path(&name, "lock").exists());
    assert_bare(&wire.near);
}

#[test]
fn the_control_socket_is_its_owners_alone() {
    require_net!();
    let (wire, folder, name) = (wire(1), Folder::new(), unique());
    // A directory that it makes itself, and the default one.
    let own = folder.path().join("control");
    let socket = own.join("mine.sock");
    let line = format!("control_socket = \"{}\"\n\n[[interface]]", socket.display());
    let config = echo(&name, "tide1").replacen("\n[[interface]]", &line, 1);
    let mut running = run(&wire.near, &folder, &config);
    running.await_running();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&own), mode(&socket)), (0o700, 0o600));
    assert_eq!(fs::metadata(&socket).unwrap().uid(), nix::unistd::geteuid().as_raw());
    let words = ["stats", "--socket", socket.to_str().unwrap()];
    let said = Process::start(&wire.near.namespace, tidegate(&words)).end();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(running.leave().code, Some(0));

    // One that others may enter is not trusted.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let said = run(&wire.near, &folder, &config).end();
    assert_eq!(
        said.refusal(),
        format!(
            "tidegate: {} is open to other users, so others could answer in this program's place; \
             remove it and start again",
            own.display()
        )
    );
    assert_bare(&wire.near);
}

#[test]
fn a_control_socket_in_a_directory_that_is_not_there_says_so() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let line = "control_socket = \"/no/such/place/mine.sock\"\n\n[[interface]]";
    let config = echo(&unique(), "tide1").replacen("\n[[interface]]", line, 1);
    let said = run(&wire.near, &folder, &config).end();
    assert_eq!(
        said.refusal(),
        "tidegate: making the directory /no/such/place failed: No such file or directory \
         (os error 2)"
    );
    assert_bare(&wire.near);
}

#[test]
fn stats_are_a_table_of_80_columns_and_the_same_as_json() {
    require_net!();
    let (wire, folder, name) = (wire(1), Folder::new(), unique());
    let mut running = run(&wire.near, &folder, &echo(&name, "tide1"));
    running.await_running();
    assert_answers(&wire, 50);
    let table = stats(&wire.near.namespace, &name, &[]);
    assert_eq!((table.code, &*table.errors), (Some(0), ""));
    for word in [&*name, "tide1", "ping"] {
        assert!(table.out.contains(word), "no {word} in\n{}", table.out);
    }
    let wide = table.out.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "{}", table.out);

    let json = stats(&wire.near.namespace, &name, &["--json"]);
    assert_eq!((json.code, &*json.errors, json.out.lines().count()), (Some(0), "", 1));
    let snapshot: Snapshot = serde_json::from_str(&json.out).unwrap();
    assert_eq!((snapshot.instance, snapshot.pid), (name, running.pid()));
    let shard = &snapshot.shards[0];
    assert_eq!((&*shard.services[0].name, &*shard.services[0].kind), ("ping", "echo"));
    assert_eq!(shard.services[0].stats.settled_transmit, 50);
    assert_eq!(snapshot.conservation.unaccounted, 0);
    assert_eq!(snapshot.steering[0].counters["redirected"], 50);
    assert_eq!(running.leave().code, Some(0));
}

#[test]
fn stats_of_nobody_say_where_they_looked() {
    require_net!();
    let (namespace, name) = (Namespace::new().unwrap(), unique());
    for words in [&[][..], &["--json"], &["--watch"]] {
        let said = stats(&namespace, &name, words);
        assert_eq!(
            said.refusal(),
            format!(
                "tidegate: no tidegate runs as instance \"{name}\" (nobody answers at \
                 /run/tidegate/{name}.sock); start it with `tidegate run --config FILE`"
            )
        );
    }
    let said = stats(&namespace, "../etc", &[]);
    assert_eq!(
        said.refusal(),
        "tidegate: \"../etc\" cannot name an instance; allowed are 1 to 32 of a-z, A-Z, 0-9, - \
         and _"
    );
}
