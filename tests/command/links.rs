//! What becomes of a link is told in the log, and stops neither a start nor a run.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate::lab::Wire;
use tidegate::lab::witness::udp::{Questions, ask};

use super::{Folder, echo, run, unique, wire};

fn answers(wire: &Wire) -> u64 {
    let (near, far) = (SocketAddr::from((wire.near.ipv4, 7)), (wire.far.ipv4, 0).into());
    let patience = Duration::from_secs(10);
    let questions = Questions { count: 20, per_second: 1000, octets: 64, patience };
    ask(&wire.far.namespace, far, near, questions).unwrap().wait().unwrap().delivered
}

#[test]
fn a_link_that_goes_comes_back_and_is_removed_is_told_of() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let mut program = run(&wire.near, &folder, &echo(&unique(), "tide1"));
    program.await_running();
    wire.far.set_down().unwrap();
    program.await_words("WARN the link has lost its carrier interface=\"tide1\"");
    wire.far.set_up().unwrap();
    program.await_words("INFO the link is there interface=\"tide1\" after_ms=");
    assert_eq!(answers(&wire), 20);
    wire.near.set_down().unwrap();
    program.await_words("WARN the interface was switched off interface=\"tide1\"");
    wire.near.set_up().unwrap();
    assert_eq!(answers(&wire), 20);
    wire.near.remove().unwrap();
    program.await_words("ERROR the interface was removed, and program and sockets with it; what");
    assert_eq!(program.leave().code, Some(0));
}

#[test]
fn a_start_without_a_carrier_is_told_of_and_picks_up_when_it_comes() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    wire.far.set_down().unwrap();
    let mut program = run(&wire.near, &folder, &echo(&unique(), "tide1"));
    program
        .await_words("WARN begins without a carrier, and works when it comes interface=\"tide1\"");
    program.await_running();
    wire.far.set_up().unwrap();
    program.await_words("INFO the link is there interface=\"tide1\" after_ms=");
    assert_eq!(answers(&wire), 20);
    let said = program.leave();
    assert_eq!(said.code, Some(0));
    assert!(!said.errors.contains("waits for the carrier"), "no driver took it: {}", said.errors);
}

#[test]
fn a_start_on_an_interface_that_is_off_says_how_to_switch_it_on() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    wire.near.set_down().unwrap();
    let mut program = run(&wire.near, &folder, &echo(&unique(), "tide1"));
    program.await_words("switched off: `ip link set dev tide1 up` interface=\"tide1\"");
    program.await_running();
    wire.near.set_up().unwrap();
    assert_eq!(answers(&wire), 20);
    assert_eq!(program.leave().code, Some(0));
}
