//! A programme over a real link: pictures, sound and ancillary data of one sender into one receiver,
//! each verified to the bit.

use super::*;

/// Frames that are sent: a second.
const FRAMES: u64 = 50;

const CAPTIONS: &str = "0 p Y 9 0 - 60/60 01 02 03\n0 p C 2047 4095 5 61/01 3ff\n\
                        3 p Y 11 7 - 41/05\n7 p Y 11 7 - 61/02 10 20 30 40 50\nframes 10\n";

/// The lines of the frames, without their numbers.
fn by_frame(text: &str) -> (Vec<Vec<String>>, u64) {
    let mut frames: Vec<Vec<String>> = Vec::new();
    let mut count = 0;
    for line in text.lines() {
        let (first, rest) = line.split_once(' ').unwrap();
        if first == "frames" {
            count = rest.parse().unwrap();
            continue;
        }
        let frame: usize = first.parse().unwrap();
        frames.resize(frames.len().max(frame + 1), Vec::new());
        frames[frame].push(rest.to_owned());
    }
    frames.resize(usize::try_from(count).unwrap(), Vec::new());
    (frames, count)
}

#[test]
fn a_programme_is_verified_to_the_bit() {
    require_net!();
    let _alone = crate::require::alone();
    let scratch = Scratch::new("programme");
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
    let (here, there) = (&wire.near, &wire.far);
    let (captions, came) = (scratch.0.join("captions.txt"), scratch.0.join("came.txt"));
    fs::write(&captions, CAPTIONS).unwrap();

    // The receiver is told everything by the sender's own SDP.
    let sends = format!(
        "[[interface]]\nname = {:?}\n[[service]]\nname = \"camera\"\nkind = \"stream-send\"\n\
         interface = {:?}\n[service.options]\ndestination = \"{}:20000\"\n\
         source_address = \"{}:20000\"\nframes = {FRAMES}\n{PICTURE}\
         [service.options.audio]\ndestination = \"{}:20010\"\nchannels = 16\ndepth = 24\n\
         packet_time_us = 125\n\
         [service.options.ancillary]\ndestination = \"{}:20020\"\nsource = {:?}\n",
        there.name,
        there.name,
        here.ipv4,
        there.ipv4,
        here.ipv4,
        here.ipv4,
        captions.to_str().unwrap(),
    );
    let config = scratch.0.join("print.toml");
    let runtime = format!("[runtime]\ncontrol_socket = {:?}\n", scratch.0.join("none.sock"));
    fs::write(&config, runtime + &sends).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["sdp", "print", "--planned", "--config"]).arg(&config);
    command.stdout(std::process::Stdio::piped());
    let printed = far.spawn(&mut command).unwrap().wait_with_output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let sdp = scratch.0.join("camera.sdp");
    fs::write(&sdp, &printed.stdout).unwrap();

    let receives = format!(
        "[[interface]]\nname = {:?}\n[[service]]\nname = \"screen\"\nkind = \"stream-receive\"\n\
         interface = {:?}\n[service.options]\nsdp = {:?}\nsink = \"verify\"\n\
         [service.options.audio]\nsink = \"verify\"\n\
         [service.options.ancillary]\nsink = \"file\"\npath = {:?}\n",
        here.name,
        here.name,
        sdp.to_str().unwrap(),
        came.to_str().unwrap(),
    );
    let mut receiver = Running::start(&near, &scratch.0, "screen", &receives);
    receiver.until("the receiver", |stats| stats["shards"][0]["stats"]["turns"].as_u64() > Some(0));
    let mut sender = Running::start(&far, &scratch.0, "camera", &sends);
    // Sound and data end with the last frame's time, which a machine that stood still moves.
    let mut before = None;
    let done = |stats: &Value| {
        let sound = Some(counter(stats, "audio_packets_sent"));
        counter(stats, "frames_sent") == FRAMES && std::mem::replace(&mut before, sound) == sound
    };
    let sent = sender.until("the programme", done);
    let (sound, fields) =
        (counter(&sent, "audio_packets_sent"), counter(&sent, "ancillary_fields_sent"));
    assert!(sound >= FRAMES * 160 - 160 && fields >= FRAMES - 1, "{sent}");
    let words = |stats: &Value| stats["shards"][0]["services"][0]["words"].clone();
    assert_eq!(words(&sent)["audio_format"], "16 channels of L24 at 48000 Hz, 125 us");
    assert_eq!(words(&sent)["audio_level"], "C");

    let redirected = |stats: &Value| stats["steering"][0]["counters"]["redirected"].as_u64();
    let packets = counter(&sent, "packets_sent") + sound + counter(&sent, "ancillary_packets_sent");
    let mut before = None;
    let received = receiver.until("every packet", |stats| {
        // All are on their way to the socket, and what it does with them has come to rest.
        let now = Some(stats["shards"][0]["services"][0]["counters"].to_string());
        redirected(stats) == Some(packets) && std::mem::replace(&mut before, now.clone()) == now
    });
    for (came, sent) in [
        ("packets_received", counter(&sent, "packets_sent")),
        ("audio_packets_received", sound),
        ("ancillary_packets_received", counter(&sent, "ancillary_packets_sent")),
    ] {
        // A busy machine may let its rings run over: that is known, but for what nothing follows.
        let missing = sent - counter(&received, came);
        let lost = came.replace("received", "lost");
        assert!(counter(&received, &lost) <= missing, "{came}: {received}");
    }
    assert!(counter(&received, "frames_verified") > 0, "{received}");
    assert!(counter(&received, "audio_samples_verified") > 10_000, "{received}");
    for zero in [
        "frames_wrong",
        "audio_samples_wrong",
        "audio_packets_duplicate",
        "audio_restarts",
        "anc_wrong_parity",
        "anc_wrong_checksum",
        "ancillary_restarts",
    ] {
        assert_eq!(counter(&received, zero), 0, "{zero}: {received}");
    }
    assert_eq!(received["conservation"]["unaccounted"], 0);
    let is_whole = counter(&received, "ancillary_packets_received") == FRAMES;
    assert!(sender.stop().success());
    assert!(receiver.stop().success());

    // The file comes round: from whichever frame it began with, the captions are those of the file.
    let (want, _) = by_frame(CAPTIONS);
    let (got, count) = by_frame(&fs::read_to_string(&came).unwrap());
    assert!(count > 1, "{got:?}");
    if is_whole {
        assert_eq!(count, FRAMES);
        let same = |start: usize| {
            got.iter().enumerate().all(|(at, lines)| *lines == want[(at + start) % want.len()])
        };
        assert!((0..want.len()).any(same), "{got:?}");
    }
}
