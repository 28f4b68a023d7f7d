//! A name server (NSD) asked by dnsperf, while datagrams to its port come from everywhere.

use tidegate::lab::flood::Kind;

use super::{Goodput, Quay, Server, program, seconds};
use crate::require;

pub(super) const PORT: u16 = 53;

/// Questions a second.
const PER_SECOND: u64 = 500;

fn nsd(quay: &Quay) -> Server {
    let zone = "$ORIGIN tide.example.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\n\
                ns A 198.18.1.1\nwww A 198.18.1.1\nmail A 198.18.1.3\n";
    let zone = quay.write("tide.zone", zone);
    let folder = quay.folder.display();
    let config = quay.write(
        "nsd.conf",
        format!(
            "server:\n  ip-address: {}\n  port: {PORT}\n  do-ip6: no\n  username: \"\"\n  \
             database: \"\"\n  zonesdir: \"{folder}\"\n  pidfile: \"{folder}/nsd.pid\"\n  \
             xfrdfile: \"{folder}/xfrd.state\"\n  zonelistfile: \"{folder}/zone.list\"\n  \
             xfrdir: \"{folder}\"\n  server-count: 1\n  rrl-ratelimit: 0\n\
             remote-control:\n  control-enable: no\n\
             zone:\n  name: tide.example\n  zonefile: {zone}\n",
            quay.at(PORT).ip(),
        ),
    );
    quay.serve(program("nsd", &["-d", "-c", &config]), PORT)
}

fn questions(quay: &Quay) -> Goodput {
    let questions = quay.folder.join("questions");
    let questions = questions.to_str().unwrap();
    let (at, time, rate) =
        (quay.at(PORT).ip().to_string(), seconds().to_string(), PER_SECOND.to_string());
    let output = quay.ask(&mut program(
        "dnsperf",
        // Nobody asks twice; an answer after a second is none.
        &["-s", &at, "-p", "53", "-d", questions, "-l", &time, "-Q", &rate, "-t", "1", "-c", "4"],
    ));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        word.unwrap_or_else(|| panic!("no {name} in {output:?}"))
    };
    let (asked, got) = (number("Queries sent:"), number("Queries completed:"));
    assert!(asked >= PER_SECOND * seconds() / 2, "{text}");
    // Those that were answered, were answered well.
    assert!(got == 0 || text.contains(&format!("NOERROR {got} (100.00%)")), "{text}");
    Goodput { asked, got }
}

#[test]
fn a_name_server_answers_under_flood_as_without() {
    require_net!();
    if !(require::program("nsd") && require::program("dnsperf")) {
        return;
    }
    let _alone = require::alone();
    let quay = Quay::new();
    quay.write("questions", "www.tide.example A\nmail.tide.example A\ntide.example NS\n");
    let _server = nsd(&quay);
    quay.compare("NSD, dnsperf, spoofed datagrams", Kind::Udp { port: PORT }, &questions);
}
