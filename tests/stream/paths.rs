//! Two paths over real links: loss that a relay deals out, links that go down, a sender that is killed.

mod relay;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tidegate::lab::{Namespace, Wire, WireOptions};

use super::{Running, Scratch, counter};
use crate::require;
use relay::Relay;

/// 180 packets a frame, 4,500 a second: a busy machine loses none of them.
const PICTURE: &str = "width = 320\nheight = 180\nrate = \"25\"\ndepth = 10\n";

const PACKETS: u64 = 180;

fn wires<const COUNT: usize>(near: &Namespace, far: &Namespace, from: u8) -> [Wire; COUNT] {
    std::array::from_fn(|index| {
        let number = from + u8::try_from(index).unwrap();
        let options = WireOptions { number, ipv6: false, ..WireOptions::default() };
        Wire::new(near, far, &options).unwrap()
    })
}

/// A receiver by both wires.
fn screen([one, other]: &[Wire; 2]) -> String {
    let selector = |wire: &Wire| {
        let address = wire.near.ipv4;
        format!("{{ destination = \"{address}\", protocol = \"udp\", ports = 20000 }}")
    };
    let (a, b) = (&one.near.name, &other.near.name);
    format!(
        "[[interface]]\nname = {a:?}\n[[interface]]\nname = {b:?}\n[[service]]\nname = \"screen\"\n\
         kind = \"stream-receive\"\ninterface = [{a:?}, {b:?}]\nselectors = [{}, {}]\n\
         [service.options]\nport = 20000\nsink = \"verify\"\ninterface = {a:?}\n\
         skew_class = \"C\"\n{PICTURE}[service.options.second]\ninterface = {b:?}\n",
        selector(one),
        selector(other),
    )
}

/// A sender by the far ends of `out`, to the near ends of `to`.
fn camera(out: &[Wire; 2], to: &[Wire; 2], rest: &str) -> String {
    let [a, b] = out.each_ref().map(|wire| &wire.far.name);
    let [first, second] = [0, 1].map(|path| way(&out[path], &to[path]));
    format!(
        "[[interface]]\nname = {a:?}\n[[interface]]\nname = {b:?}\n[[service]]\nname = \"camera\"\n\
         kind = \"stream-send\"\ninterface = [{a:?}, {b:?}]\n[service.options]\n{first}{PICTURE}\
         {rest}[service.options.second]\n{second}"
    )
}

fn way(out: &Wire, to: &Wire) -> String {
    let mac = to.near.mac.map(|octet| format!("{octet:02x}")).join(":");
    format!(
        "interface = {:?}\ndestination = \"{}:20000\"\nsource_address = \"{}:20000\"\n\
         destination_mac = {mac:?}\n",
        out.far.name, to.near.ipv4, out.far.ipv4,
    )
}

fn of_path(stats: &Value, what: &str) -> [u64; 2] {
    ["first", "second"].map(|path| counter(stats, &format!("{path}_packets_{what}")))
}

/// Starts a receiver and waits until it takes packets.
fn receiver(place: &Namespace, scratch: &Scratch, text: &str) -> Running {
    let mut receiver = Running::start(place, &scratch.0, "screen", text);
    receiver.until("the receiver", |stats| stats["shards"][0]["stats"]["turns"].as_u64() > Some(0));
    receiver
}

/// Nothing of the stream is missing, and nothing is wrong with what is there.
fn whole(stats: &Value) {
    whole_but_for(stats, 0);
}

/// The same, but for frames that a busy machine did not let a sender send.
fn whole_but_for(stats: &Value, frames: u64) {
    for zero in ["frames_wrong", "frames_incomplete", "restarts"] {
        assert_eq!(counter(stats, zero), 0, "{zero}: {stats}");
    }
    let lost = counter(stats, "packets_lost");
    assert!(lost.is_multiple_of(PACKETS) && lost <= frames * PACKETS, "{frames}: {stats}");
}

#[test]
fn what_either_path_brings_is_whole_and_what_neither_does_is_counted_to_the_packet() {
    require_net!();
    let _alone = require::alone();
    let scratch = Scratch::new("two-lossy-paths");
    let [near, middle, far] = [(); 3].map(|()| Namespace::new().unwrap());
    let into: [Wire; 2] = wires(&near, &middle, 1);
    let out: [Wire; 2] = wires(&middle, &far, 3);
    for lost_on_both in [0, 1] {
        // Every fourth on one path, every fourth other on the other; and some on both.
        let relays = [0, 1].map(|path: u16| {
            Relay::start(
                &out[usize::from(path)].near,
                &into[usize::from(path)].far,
                move |number| number % 4 == path * 2 || lost_on_both == 1 && number % 97 == 1,
            )
        });
        let mut screen = receiver(&near, &scratch, &screen(&into));
        let frames = 50;
        let rest = format!("frames = {frames}\n");
        let mut camera = Running::start(&far, &scratch.0, "camera", &camera(&out, &into, &rest));
        let sent = camera.until("all", |stats| counter(stats, "frames_sent") == frames);
        assert_eq!(
            (of_path(&sent, "sent"), of_path(&sent, "lost")),
            ([frames * PACKETS; 2], [0; 2])
        );
        let passed =
            |relays: &[Relay; 2]| relays.each_ref().map(|relay| relay.passed().len() as u64);
        screen.until("every packet", |stats| {
            let verified = counter(stats, "frames_verified") + counter(stats, "frames_dropped");
            of_path(stats, "received") == passed(&relays)
                && verified == counter(stats, "frames_received")
                // The skew has passed on the last.
                && counter(stats, "packets_received") + counter(stats, "packets_lost")
                    == of_path(stats, "received")[0] + of_path(stats, "lost")[0]
        });
        // The skew, and a look.
        std::thread::sleep(Duration::from_millis(600));
        let received = screen.stats().unwrap();
        let [one, other] = relays.map(Relay::stop);
        let union: std::collections::BTreeSet<u64> = one.union(&other).copied().collect();
        let (first, last) = (*union.first().unwrap(), *union.last().unwrap());
        let all = last - first + 1;
        let lost = all - union.len() as u64;
        assert_eq!(counter(&received, "packets_received"), union.len() as u64, "{received}");
        assert_eq!(counter(&received, "packets_lost"), lost, "{received}");
        let missing = [&one, &other].map(|path| all - path.len() as u64);
        assert_eq!(of_path(&received, "lost"), missing, "{received}");
        for zero in ["duplicate", "reordered", "late"] {
            assert_eq!(of_path(&received, zero), [0, 0], "{zero}: {received}");
        }
        assert_eq!(counter(&received, "frames_wrong"), 0, "{received}");
        match lost_on_both {
            // The very first packet or the very last may be lost on the one path that has it.
            0 => {
                whole(&received);
                assert!(counter(&received, "frames_received") >= frames - 2, "{received}");
            }
            _ => {
                assert!((80..=95).contains(&lost), "{lost} of {all}");
                assert!(counter(&received, "frames_incomplete") > 40, "{received}");
            }
        }
        let text = screen.text();
        assert!(
            text.contains("first") && text.contains(&format!("{} port 20000", into[0].near.name)),
            "{text}"
        );
        assert!(camera.stop().success());
        assert!(screen.stop().success());
    }
}

/// Waits for so many frames more.
fn more_frames(screen: &mut Running, frames: u64) -> Value {
    let before = counter(&screen.stats().unwrap(), "frames_received");
    screen.until("more frames", |stats| counter(stats, "frames_received") >= before + frames)
}

#[test]
fn a_link_that_goes_down_on_either_side_changes_nothing_on_the_other_path() {
    require_net!();
    let _alone = require::alone();
    let scratch = Scratch::new("two-links");
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wires: [Wire; 2] = wires(&near, &far, 1);
    let mut screen = receiver(&near, &scratch, &screen(&wires));
    let camera = Running::start(&far, &scratch.0, "camera", &camera(&wires, &wires, ""));
    screen.until("frames", |stats| counter(stats, "frames_received") > 5);
    for path in [0, 1] {
        let wire = &wires[path];
        // The sender's interface, with the receiver's carrier; then the other way around.
        for end in [&wire.far, &wire.near] {
            let before = of_path(&camera.stats().unwrap(), "lost");
            end.set_down().unwrap();
            // Longer than the skew: it is given up meanwhile.
            let during = more_frames(&mut screen, 25);
            whole(&during);
            end.set_up().unwrap();
            // Back on both sides.
            let received = of_path(&screen.stats().unwrap(), "received")[path];
            let after = screen.until("the path", |stats| {
                of_path(stats, "received")[path] > received + 3 * PACKETS
            });
            whole(&after);
            let sent = camera.stats().unwrap();
            let lost = of_path(&sent, "lost");
            assert!(lost[path] > before[path] + PACKETS, "{} {path}: {sent}", end.name);
            assert_eq!(lost[1 - path], before[1 - path], "{}: {sent}", end.name);
            assert_eq!(counter(&sent, "packets_unsent"), 0, "{sent}");
        }
    }
    let lost = of_path(&screen.stats().unwrap(), "lost");
    assert!(lost.iter().all(|&lost| lost > 2 * PACKETS), "{lost:?}");
    // Both ends of a path are taken away altogether.
    wires[0].near.remove().unwrap();
    let received = more_frames(&mut screen, 25);
    whole(&received);
    let sent = camera.stats().unwrap();
    assert_eq!(counter(&sent, "packets_unsent"), 0, "{sent}");
    assert_eq!(sent["conservation"]["unaccounted"], 0);
    assert!(camera.stop().success());
    assert!(screen.stop().success());
}

#[test]
fn of_two_senders_in_step_one_may_be_killed() {
    require_net!();
    let _alone = require::alone();
    let scratch = Scratch::new("two-senders");
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wires: [Wire; 2] = wires(&near, &far, 1);
    let mut screen = receiver(&near, &scratch, &screen(&wires));
    let start = |path: usize| {
        let wire = &wires[path];
        let text = format!(
            "[[interface]]\nname = {:?}\n[[service]]\nname = \"camera\"\nkind = \"stream-send\"\n\
             [service.options]\n{}{PICTURE}ssrc = 7\n",
            wire.far.name,
            way(wire, wire),
        );
        Running::start(&far, &scratch.0, &format!("camera-{path}"), &text)
    };
    let mut cameras = [start(0), start(1)];
    let skipped = |camera: &Running| counter(&camera.stats().unwrap(), "frames_skipped");
    let mut skipped_before = 0;
    screen.until("both", |stats| of_path(stats, "received").iter().all(|&it| it > 20 * PACKETS));
    for path in [0, 1] {
        let before = screen.stats().unwrap();
        skipped_before += skipped(&cameras[path]);
        cameras[path].signal(Signal::SIGKILL);
        cameras[path].child.wait().unwrap();
        let after = more_frames(&mut screen, 25);
        whole_but_for(&after, skipped_before + skipped(&cameras[1 - path]));
        let lost = |stats: &Value| of_path(stats, "lost");
        assert!(lost(&after)[path] > lost(&before)[path] + 5 * PACKETS, "{after}");
        let other = lost(&after)[1 - path] - lost(&before)[1 - path];
        assert!(other <= PACKETS * skipped(&cameras[1 - path]), "{after}");
        cameras[path] = start(path);
        let received = of_path(&after, "received")[path];
        screen.until("it is back", |stats| {
            of_path(stats, "received")[path] > received + 20 * PACKETS
        });
    }
    let end = screen.stats().unwrap();
    let skipped = skipped_before + cameras.iter().map(skipped).sum::<u64>();
    whole_but_for(&end, skipped);
    assert!(counter(&end, "frames_verified") > 30, "{end}");
    for camera in cameras {
        assert!(camera.stop().success());
    }
    assert!(screen.stop().success());
}
