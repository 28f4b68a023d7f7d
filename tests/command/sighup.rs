//! SIGHUP, as an operator sends it to a scrubber under flood: other rules, a file with a mistake, and
//! far more signals than anybody means. No packet is nowhere.

use std::fs;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tidegate::lab::Wire;
use tidegate::lab::flood::{self, Budget, Flood, Kind};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::{Folder, PATIENCE, assert_bare, run, stats, unique, wire};

fn snapshot(wire: &Wire, instance: &str) -> Snapshot {
    let said = stats(&wire.near.namespace, instance, &["--json"]);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Packets that the rule of this name ended, where it is in force.
fn ended_by(snapshot: &Snapshot, rule: &str) -> Option<u64> {
    let rules = snapshot.tables.iter().find(|table| table.name == "rule")?;
    let row = rules.rows.iter().find(|row| row.name == rule)?;
    Some(row.counters["packets"])
}

/// Waits until the rule ends packets, more than before.
#[track_caller]
fn await_work(wire: &Wire, instance: &str, rule: &str) {
    let give_up = Instant::now() + PATIENCE;
    let first = ended_by(&snapshot(wire, instance), rule).unwrap_or(0);
    while ended_by(&snapshot(wire, instance), rule).is_none_or(|ended| ended <= first) {
        assert!(Instant::now() < give_up, "{rule} does nothing");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn rules_are_read_again_under_flood_and_a_mistake_changes_nothing() {
    require_net!();
    let _alone = crate::require::alone();
    let (wire, folder, name) = (wire(1), Folder::new(), unique());
    // As an editor saves it: whoever reads has one or the other.
    let save = |rules: &str| {
        let file = folder.write("new.rules", rules);
        fs::rename(file, folder.path().join("shield.rules")).unwrap();
    };
    let rule = |name: &str| save(&format!("{name}: drop when udp.dstport == 9\n"));
    rule("first");
    let config = format!(
        "[runtime]\ninstance = \"{name}\"\nshards = 1\n\
         [[interface]]\nname = \"tide1\"\numem = {{ frames = 16384 }}\nring_entries = 8192\n\
         [[service]]\nname = \"shield\"\nkind = \"scrub\"\nheld_frames_max = 8192\n\
         selectors = [{{ destination = \"{}\", protocol = \"udp\" }}]\n\
         [service.options]\nrules_file = \"{}\"\n",
        wire.near.ipv4,
        folder.path().join("shield.rules").display(),
    );
    let mut running = run(&wire.near, &folder, &config);
    running.await_running();
    let budget = Budget {
        packets: u64::MAX,
        time: PATIENCE,
        packets_per_second: NonZeroU64::new(5_000),
        processor: None,
    };
    let options = flood::Options::new(Kind::Udp { port: 9 });
    let flood = Flood::new(&wire.far, &options).unwrap().start(budget).unwrap();
    await_work(&wire, &name, "first");

    rule("second");
    running.signal(Signal::SIGHUP);
    await_work(&wire, &name, "second");
    assert_eq!(ended_by(&snapshot(&wire, &name), "first"), None, "it is gone");

    save("third: dorp when udp.dstport == 9\n");
    running.signal(Signal::SIGHUP);
    running.await_words("SIGHUP: nothing changes, for there is a mistake");
    running.await_words("shield.rules:1:8: error");
    await_work(&wire, &name, "second");

    // A storm: signals that come while one is obeyed may be one.
    for number in 0..200 {
        match number % 3 {
            0 => rule("one"),
            1 => save("other: dorp\n"),
            _ => rule("two"),
        }
        running.signal(Signal::SIGHUP);
        thread::sleep(Duration::from_millis(2));
    }
    rule("last");
    running.signal(Signal::SIGHUP);
    await_work(&wire, &name, "last");

    let sent = flood.stop().unwrap().1.taken();
    let give_up = Instant::now() + PATIENCE;
    let quiet = loop {
        let now = snapshot(&wire, &name);
        let (_, ports, services) = now.totals();
        if services.rx_frames + ports.kernel_losses() == sent {
            break now;
        }
        assert!(Instant::now() < give_up, "{sent} sent: {now:#?}");
        thread::sleep(Duration::from_millis(10));
    };
    let (_, ports, services) = quiet.totals();
    let steering = &quiet.steering[0].counters;
    assert_eq!((steering["received"], steering["redirected"]), (sent, sent), "{steering:?}");
    assert_eq!(services.rx_frames, ports.rx_frames);
    // Each set dropped all of it.
    assert_eq!(quiet.shards[0].services[0].drops["rule"], services.rx_frames, "{quiet:#?}");
    assert_eq!(quiet.conservation.unaccounted, 0);
    assert_eq!(running.leave().code, Some(0));
    assert_bare(&wire.near);
}
