//! SDP from end to end: printed for a sender, read by FFmpeg, and all that a receiver is told.

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tidegate::lab::{Namespace, Wire, WireOptions};

use super::{FRAMES, PACKETS, PICTURE, PROGRAM, Running, Scratch, counter};
use crate::require;

const NARROW: &str = include_str!("../../services/stream/sdp/samples/narrow.sdp");

/// Runs the program with these words and this input.
fn tidegate(words: &[&str], input: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn the_program_checks_and_explains_what_it_is_given() {
    let right = tidegate(&["sdp", "check", "-"], NARROW);
    assert_eq!(right.status.code(), Some(0), "{right:?}");
    assert_eq!(text(&right.stdout), "standard input: nothing is wrong with it\n");

    let wrong = NARROW.replace("depth=10", "depth=11");
    let wrong = tidegate(&["sdp", "check", "--json", "-"], &wrong);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let said: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!(
        (&said[0]["findings"][0]["line"], &said[0]["findings"][0]["code"]),
        (&9.into(), &"depth".into())
    );

    let told = tidegate(&["sdp", "explain", "-"], NARROW);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    assert!(text(&told.stdout).contains("432,000 packets a second"), "{told:?}");
}

/// A sender's config. Its clock is named where no interface can be asked.
fn sender(interface: &str, destination: &str, source: &str, rest: &str) -> String {
    format!(
        "[[interface]]\nname = {interface:?}\n[[service]]\nname = \"camera\"\n\
         kind = \"stream-send\"\n[service.options]\ndestination = {destination:?}\n\
         source_address = {source:?}\nframes = {FRAMES}\n{rest}"
    )
}

#[test]
fn ffmpeg_reads_what_is_printed() {
    require_net!();
    if !require::program("ffprobe") {
        return;
    }
    let scratch = Scratch::new("ffprobe");
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
    let (name, address) = (&*wire.near.name, wire.near.ipv4);
    for (format, codec, pixels, size) in [
        (
            "width = 1920\nheight = 1080\nrate = \"50\"\ndepth = 10\n",
            "bitpacked",
            "yuv422p10le",
            [1920, 1080],
        ),
        (
            "width = 1280\nheight = 720\nrate = \"60000/1001\"\ndepth = 8\npacking = \"bpm\"\n",
            "rawvideo",
            "uyvy422",
            [1280, 720],
        ),
    ] {
        let (config, sdp) = (scratch.0.join("camera.toml"), scratch.0.join("camera.sdp"));
        let (to, from) = (format!("{address}:20000"), format!("{}:20000", wire.far.ipv4));
        fs::write(&config, sender(name, &to, &from, format)).unwrap();
        let mut print = Command::new(PROGRAM);
        print.args(["sdp", "print", "--planned", "--config"]).arg(&config).stdout(Stdio::piped());
        let printed = near.spawn(&mut print).unwrap().wait_with_output().unwrap();
        fs::write(&sdp, &printed.stdout).unwrap();
        // Without a packet it has the SDP alone to go by.
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-protocol_whitelist", "file,udp,rtp", "-listen_timeout", "1"]);
        probe.args(["-show_entries", "stream=codec_name,pix_fmt,width,height", "-of", "json"]);
        probe.arg(&sdp).stdin(Stdio::null()).stdout(Stdio::piped());
        let said = near.spawn(&mut probe).unwrap().wait_with_output().unwrap();
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let stream = &said["streams"][0];
        assert_eq!((&stream["codec_name"], &stream["pix_fmt"]), (&codec.into(), &pixels.into()));
        assert_eq!([&stream["width"], &stream["height"]], size.map(Value::from).each_ref());
    }
}

#[test]
fn a_receiver_is_told_everything_by_the_senders_sdp() {
    require_net!();
    let _alone = require::alone();
    let scratch = Scratch::new("by-sdp");
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
    let (here, there) = (&wire.near, &wire.far);

    // Printed where it will send: its clock is that machine's.
    let (config, sdp) = (scratch.0.join("print.toml"), scratch.0.join("camera.sdp"));
    let from = format!("{}:20000", there.ipv4);
    let sends = sender(&there.name, "239.1.2.1:20000", &from, PICTURE);
    fs::write(&config, &sends).unwrap();
    let mut print = Command::new(PROGRAM);
    print.args(["sdp", "print", "--planned", "--config"]).arg(&config);
    print.stdout(Stdio::piped()).stderr(Stdio::piped());
    let printed = far.spawn(&mut print).unwrap().wait_with_output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let [a, b, c, d, e, f] = there.mac;
    let clock = format!("localmac={a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{f:02X}\r\n");
    assert!(text(&printed.stdout).contains(&clock), "{printed:?}");
    assert!(text(&printed.stderr).contains("no instance \"main\" runs here that has measured it"));
    fs::write(&sdp, &printed.stdout).unwrap();

    let sdp = sdp.to_str().unwrap();
    let receives = format!(
        "[[interface]]\nname = {:?}\n[[service]]\nname = \"screen\"\nkind = \"stream-receive\"\n\
         [service.options]\nsink = \"verify\"\nsdp = {sdp:?}\n",
        here.name,
    );
    fs::write(&config, &receives).unwrap();
    let plan = tidegate(&["check", "--config", config.to_str().unwrap()], "");
    let selects = format!("1. UDP to 239.1.2.1 port 20000 from {} -> screen", there.ipv4);
    assert!(text(&plan.stdout).contains(&selects), "{plan:?}");
    let contradicts = format!("{receives}width = 1280\n");
    fs::write(&config, contradicts).unwrap();
    let plan = tidegate(&["check", "--config", config.to_str().unwrap()], "");
    assert_eq!(plan.status.code(), Some(1));
    let said = text(&plan.stderr);
    assert!(said.contains("error: service[0].options.width\n"), "{said}");
    assert!(said.contains("  allowed: 640, or leave the key out"), "{said}");

    let mut receiver = Running::start(&near, &scratch.0, "screen", &receives);
    receiver.until("the receiver", |stats| stats["shards"][0]["stats"]["turns"].as_u64() > Some(0));
    // The same port at another address is not the stream's.
    let bind = |address| UdpSocket::bind((address, 20_000)).unwrap();
    let kernel = near.run(|| bind(here.ipv4)).unwrap();
    kernel.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let other = far.run(|| bind(there.ipv4)).unwrap();
    other.send_to(b"for the kernel", (here.ipv4, 20_000)).unwrap();
    let mut heard = [0; 64];
    assert_eq!(kernel.recv(&mut heard).unwrap(), 14);

    let mut sender = Running::start(&far, &scratch.0, "camera", &sends);
    let sent = sender.until("all frames", |stats| counter(stats, "frames_sent") == FRAMES);
    assert_eq!(counter(&sent, "packets_sent"), FRAMES * PACKETS);
    let redirected = |stats: &Value| stats["steering"][0]["counters"]["redirected"].as_u64();
    let received = receiver.until("every packet", |stats| {
        let frames = counter(stats, "frames_verified") + counter(stats, "frames_dropped");
        redirected(stats) == Some(FRAMES * PACKETS) && frames == counter(stats, "frames_received")
    });
    assert!(counter(&received, "frames_verified") > 0, "{received}");
    assert_eq!(counter(&received, "frames_wrong"), 0, "{received}");
    // Asked of the running sender, the SDP says what it has kept, on this machine at this hour.
    let stats = sender.stats().unwrap();
    let held = stats["shards"][0]["services"][0]["words"]["class_held_since_start"].as_str();
    let mut print = Command::new(PROGRAM);
    print.args(["sdp", "print", "--config"]).arg(scratch.0.join("camera.toml"));
    print.stdout(Stdio::piped()).stderr(Stdio::piped());
    let printed = far.spawn(&mut print).unwrap().wait_with_output().unwrap();
    let (sdp, said) = (text(&printed.stdout), text(&printed.stderr));
    match held.unwrap() {
        "none" => assert!(said.contains("it has kept no class of ST 2110-21"), "{said}"),
        _ => assert!(sdp.contains("TP=2110TPW;") && said.is_empty(), "{sdp}{said}"),
    }
    assert_eq!(printed.status.success(), held != Some("none"));
    assert!(sender.stop().success());
    assert!(receiver.stop().success());
}
