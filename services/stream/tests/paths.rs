//! Two paths: sender and receiver on `sim`.

use super::*;

/// Both paths of an SDP come to one receiver, from two senders in step.
#[test]
fn each_packet_of_two_paths_counts_once() {
    let sdp = "v=0\ns=two paths\nt=0 0\na=group:DUP 1 2\n".to_owned()
        + &[(1, 20000), (2, 20002)].map(|(mid, port)| format!(
            "m=video {port} RTP/AVP 96\nc=IN IP4 198.18.0.2\na=rtpmap:96 raw/90000\na=fmtp:96 \
             sampling=YCbCr-4:2:2; width=640; height=64; exactframerate=500; depth=10; TP=2110TPW\n\
             a=mid:{mid}\n"
        )).concat();
    let path = std::env::temp_dir().join(format!("tidegate-paths-{}.sdp", std::process::id()));
    std::fs::write(&path, sdp).unwrap();
    let options = receiver::Options {
        sdp: Some(path.clone()),
        sink: sink::Kind::Verify,
        ..receiver::Options::default()
    };
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    for to in [20000, 20002] {
        let destination = format!("198.18.0.2:{to}").parse().unwrap();
        let options = sender::Options { frames: Some(5), destination, ..sender() };
        sim.shard(&port, vec![sends(options)], Policy::default()).unwrap();
    }
    sim.shard(&port, vec![receives(options)], Policy::default()).unwrap();
    let _ = std::fs::remove_file(path);
    for from in [(0, 0), (1, 0)] {
        sim.link(from, (2, 0), Faults::default(), |_| 0);
    }
    run_frames(&mut sim, 5);
    let received = sim.drain().remove(2).services.remove(0);
    assert_eq!(received.counter("packets_received"), 5 * PACKETS);
    assert_eq!(received.counter("packets_duplicate"), 0);
    assert_eq!(received.dropped("copy"), 5 * PACKETS);
    for path in ["first", "second"] {
        assert_eq!(received.counter(&format!("{path}_packets_received")), 5 * PACKETS);
        assert_eq!(received.counter(&format!("{path}_packets_lost")), 0);
    }
    assert_eq!(received.word("first_path"), "198.18.0.2:20000");
    assert_eq!(received.word("second_path"), "198.18.0.2:20002");
    assert_eq!(received.counter("frames_received"), 5);
    assert_eq!(received.counter("packets_lost") + received.counter("frames_wrong"), 0);
}
