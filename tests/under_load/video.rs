//! Video between two programs, on a day when most of it is lost.

use std::thread;
use std::time::Duration;

use tidegate::lab::Wire;
use tidegate::registry::Registry;

use super::leave::{camera, packets_per_frame};
use super::{ROOMY, WireOptions, config, law, ports, service, soon, start, wire};
use crate::require;

/// A receiver at the far end that compares every bit, with few frames to receive into.
fn monitor(wire: &Wire) -> String {
    let to = wire.far.ipv4;
    let services = format!(
        r#"
[[service]]
name = "monitor"
kind = "stream-receive"
held_frames_max = 64
selectors = [{{ destination = "{to}", protocol = "udp", ports = 20000 }}]
[service.options]
port = 20000
width = 640
height = 360
rate = "25"
depth = 10
sink = "verify"
"#
    );
    config(wire, "umem = { frames = 128 }\nring_entries = 64\n", &services).replace("tide1", "sea1")
}

#[test]
fn a_receiver_accounts_for_every_packet_of_a_lossy_day_and_takes_whole_frames_after_it() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let stock = Registry::stock();
    let far = start(&wire.far.namespace, &monitor(&wire), &stock).unwrap();
    let near = |more: &str| {
        let text = config(&wire, ROOMY, &(camera(&wire) + "ssrc = 1\n" + more));
        start(&wire.near.namespace, &text, &stock).unwrap()
    };
    let seen = |name: &str| service(&far.snapshot(), "monitor").counters[name];

    // As fast as it goes: more than the wire and these rings can take.
    let camera = near("unpaced = true\nframes = 40\n");
    let all = 40 * packets_per_frame();
    assert!(soon(|| ports(&camera.snapshot(), "tide1").completed_frames == all));
    let storm = camera.stop();
    law(&storm);
    let lost = || {
        let snapshot = far.snapshot();
        let (port, reasons) = (ports(&snapshot, "sea1"), &service(&snapshot, "monitor").drops);
        let wire = wire.near.link().unwrap().counters.tx_dropped;
        wire + port.kernel_losses() + reasons.values().sum::<u64>()
    };
    assert!(
        soon(|| seen("packets_received") + lost() == all),
        "{} {}",
        seen("packets_received"),
        lost()
    );
    assert!(lost() > 0, "nothing was lost: this shows nothing");

    // Frames were sent ahead of their time; the clock has to catch up.
    thread::sleep(Duration::from_secs(2));
    let before = seen("frames_verified");
    let camera = near("");
    assert!(soon(|| seen("frames_verified") >= before + 20), "it takes no frames any more");
    law(&camera.stop());
    assert_eq!(seen("frames_wrong"), 0);
    law(&far.stop());
}
