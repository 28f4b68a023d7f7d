//! Bulk data in both directions of a connection (iperf3), and datagrams that nobody sends again,
//! while others ask for connections.

use tidegate::lab::flood::Kind;

use super::{Goodput, Quay, Server, program, seconds};
use crate::require;

pub(super) const PORT: u16 = 5201;

/// Bits a second of a connection.
const RATE: u64 = 40_000_000;

/// Bits a second of datagrams: a thousand datagrams.
const DATAGRAM_RATE: u64 = 10_000_000;

fn server(quay: &Quay) -> Server {
    let at = quay.at(PORT).ip().to_string();
    quay.serve(program("iperf3", &["--server", "--bind", &at, "--port", &PORT.to_string()]), PORT)
}

/// What iperf3 says of a run: `end` of its report.
fn run(quay: &Quay, rate: u64, words: &[&str]) -> serde_json::Value {
    let (at, port, time) =
        (quay.at(PORT).ip().to_string(), PORT.to_string(), seconds().to_string());
    let rate = rate.to_string();
    let mut all = vec!["--client", &at, "--port", &port, "--time", &time, "--json"];
    all.extend(["--bitrate", &rate, "--connect-timeout", "3000"]);
    all.extend(words);
    let output = quay.ask(&mut program("iperf3", &all));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    report["end"].clone()
}

/// Octets that a connection should carry, and those that it did: none, where the kernel without a
/// guard lets none come about.
fn connection(quay: &Quay, words: &[&str]) -> Goodput {
    // Small pieces, since the last one may not come before the clock's end.
    let end = run(quay, RATE, &[words, &["--length", "4096"]].concat());
    let asked = RATE / 8 * seconds();
    Goodput { asked, got: end["sum_received"]["bytes"].as_u64().unwrap_or(0).min(asked) }
}

fn datagrams(quay: &Quay) -> Goodput {
    // The buffer that anyone may have: what waits in the default one, while a busy machine lets
    // nobody read, is soon too much.
    let end = run(quay, DATAGRAM_RATE, &["--udp", "--length", "1200", "--window", "212992"]);
    let number = |name: &str| end["sum"][name].as_u64().unwrap_or(0);
    let asked = number("packets").max(1);
    Goodput { asked, got: number("packets").saturating_sub(number("lost_packets")) }
}

#[test]
fn bulk_data_comes_whole_under_flood_both_ways() {
    require_net!();
    if !require::program("iperf3") {
        return;
    }
    let _alone = require::alone();
    let quay = Quay::new();
    let _server = server(&quay);
    let syn = Kind::Syn { port: PORT };
    quay.compare("iperf3 to the server, spoofed SYN", syn, &|quay| connection(quay, &[]));
    quay.compare("iperf3 from the server, spoofed SYN", syn, &|quay| connection(quay, &["-R"]));
}

#[test]
fn datagrams_that_nobody_sends_again_come_under_flood() {
    require_net!();
    if !require::program("iperf3") {
        return;
    }
    let _alone = require::alone();
    let quay = Quay::new();
    let _server = server(&quay);
    quay.compare("iperf3 datagrams, spoofed datagrams", Kind::Udp { port: PORT }, &datagrams);
}
