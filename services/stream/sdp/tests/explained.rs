//! What is said of an SDP, to the letter.

use super::super::{explain, read};
use super::{GOOD, good};

fn explained(text: &str) -> String {
    let reading = read(text.as_bytes());
    explain(&reading.session.unwrap(), &reading.places)
}

#[test]
fn video_is_said_in_words_and_numbers() {
    assert_eq!(
        explained(good("narrow")),
        "\
2160p25 of camera 1
  from 192.168.1.10, version 1443716955

video (line 5), ST 2110-20
  3840x2160 at 25, YCbCr-4:2:2 10 bit
  colours BT709, SDR, range NARROW
  2110GPM: 14501 packets a frame at least, 17280 where none crosses a line
  432,000 packets a second; 4.147 Gbit/s of pixels, 4.313 of IP, 4.444 on the wire
  2110TPN: narrow, with a gap between frames
  at most 10 packets at once (CMAX), 16 in the receiver's buffer (VRX_FULL)
  first packet 1528.9 us after its time, the default
  to 239.1.2.1 port 20000, TTL 64, from 192.168.1.10
  PTP by 39-A7-94-FF-FE-07-CB-D0:37; timestamps are its time
  payload type 96; UDP up to 1460 octets, the standard size
  tidegate: stream-receive takes it by `sdp`, and selects
    UDP to 239.1.2.1 port 20000 from 192.168.1.10
"
    );
}

#[test]
fn a_stream_on_two_paths_is_explained_once() {
    let text = explained(good("programme"));
    let streams: Vec<_> = text.lines().filter(|line| line.contains("(line ")).collect();
    assert_eq!(
        streams,
        [
            "video video-1 (line 8), ST 2110-20",
            "audio audio-1 (line 24), ST 2110-30",
            "video anc-1 (line 42), ST 2110-40",
        ]
    );
    for line in [
        "  path 1 to 239.10.1.2 port 20002, TTL 64, from 192.168.10.2\n",
        "  path 2 to 239.20.1.2 port 20002, TTL 64, from 192.168.20.2\n",
        "  2 paths with the same packets (ST 2022-7)\n",
        "  at most 5 packets at once (CMAX) (the SDP says 4), 8 in the receiver's buffer",
        "  6 samples in a packet, 8,000 packets a second; 18.43 Mbit/s of sound, 20.99 of IP\n",
        "    UDP to 239.10.1.1 port 20000 from 192.168.10.2\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn every_sample_is_explained() {
    for (name, text) in GOOD {
        let said = explained(text);
        let longest = said.lines().map(|line| line.chars().count()).max();
        assert!(longest < Some(130), "{name}: {said}");
        assert!(said.ends_with('\n') && !said.contains("  \n"), "{name}: {said}");
    }
    // Without a rate there are no numbers of a second.
    assert!(!explained(super::FFMPEG).contains("a second"));
}
