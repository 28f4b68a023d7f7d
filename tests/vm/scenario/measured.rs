//! What an operator does first: `doctor`, which says what a real driver gives, and `measure` on it.

use std::fs::{self, File};
use std::num::NonZeroU64;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate::lab::Wire;
use tidegate::lab::flood::{self, Budget, Flood, Generator, Kind};

use super::Play;
use crate::guest::cards::{await_links, soon, wire};
use crate::guest::program::said;
use crate::guest::step;
use crate::image::PROGRAM;
use crate::machine::Nics;

/// Where the complaints of `measure` go, in the guest.
const ERRORS: &str = "/tmp/measure";
const PACKETS: u64 = 2_000;

pub(super) struct Measured;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    report: Value,
    measured: Value,
    /// Packets that the far card took while it was measured.
    taken: u64,
    /// Packets that the near card sent until then, before and after.
    transmitted: (u64, u64),
}

impl Play for Measured {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(1);
        let doctor = said(&wire.near.namespace, &["doctor", "--json"]);
        let report =
            serde_json::from_str(&doctor).unwrap_or_else(|error| panic!("{error}: {doctor}"));
        let sent = || wire.near.link().unwrap().counters.tx_packets;
        step("measure");
        let before = sent();
        let measure = measure(&wire);
        assert!(soon(|| said_by_measure().contains("measuring\n")), "{}", said_by_measure());
        await_links(&wire);
        step("the flood");
        let taken = flood(&wire);
        kill(Pid::from_raw(measure.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let ended = measure.wait_with_output().unwrap();
        let measured = serde_json::from_slice(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {ended:?} {}", said_by_measure()));
        Facts { report, measured, taken, transmitted: (before, sent()) }
    }

    fn judge(nics: Nics, facts: Facts) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let Facts { report, measured, taken, transmitted } = facts;
        let links = list(&report["facts"]["links"]);
        let drivers: Vec<_> = links.iter().map(|link| link["driver"].clone()).collect();
        assert_eq!(drivers, [nics.driver()], "{report:#}");
        for link in &links {
            let xdp = list(&link["features"]["xdp"]);
            for word in ["native", "redirect", "zero-copy"] {
                assert!(xdp.contains(&word.into()), "{word} in {link:#}");
            }
            // Neither driver has any: checksums are summed here, groups leave at once.
            assert_eq!(list(&link["features"]["tx_metadata"]), [] as [Value; 0], "{link:#}");
        }
        let [queue] = &list(&measured["queues"])[..] else { panic!("{measured:#}") };
        let number = |key: &str| queue[key].as_u64().unwrap();
        let lost = number("kernel_rx_dropped") + number("kernel_rx_ring_full");
        assert_eq!(number("packets") + lost, taken, "{measured:#}");
        assert_eq!(queue["obtained"]["copy"], "zero-copy", "{measured:#}");
        assert_eq!(queue["obtained"]["xdp"], "native", "{measured:#}");
        assert_eq!((&measured["unaccounted"], &measured["ended"]), (&0.into(), &"signal".into()));
        assert_eq!((number("transmitted_packets"), transmitted.1), (0, transmitted.0));
    }
}

fn measure(wire: &Wire) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["measure", &wire.near.name, "--seconds", "60", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(ERRORS).unwrap());
    wire.near.namespace.spawn(&mut command).unwrap()
}

fn said_by_measure() -> String {
    fs::read_to_string(ERRORS).unwrap_or_default()
}

fn flood(wire: &Wire) -> u64 {
    let kind = Kind::Udp { port: 5300 };
    let options = flood::Options { generator: Generator::Packets, ..flood::Options::new(kind) };
    let budget = Budget {
        packets: PACKETS,
        time: Duration::from_secs(20),
        packets_per_second: NonZeroU64::new(2_000),
        processor: None,
    };
    let sent = Flood::new(&wire.far, &options).unwrap().run(&budget).unwrap();
    // What is on the wire arrives.
    std::thread::sleep(Duration::from_millis(500));
    sent.taken()
}
