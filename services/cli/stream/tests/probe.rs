//! From a capture to what it is, and to a picture of it.

use super::*;
use crate::stream::source::Source;
use crate::stream::video::colour::{Colours, Screen};
use crate::stream::video::picture::Pixels as _;
use crate::stream::video::{Depth, Format};

#[test]
fn a_captured_stream_says_what_it_is() {
    let scratch = Scratch::new("probe");
    let pcap = scratch.path("a.pcap");
    capture(&pcap, "narrow", 6);
    let text = output(&format!("stream probe --read {pcap}")).unwrap();
    for expected in [
        "stream   198.18.0.1 port 20000 to 198.18.0.2 port 20000, payload type 96, SSRC 0x00000007\n",
        "packets  768 in ",
        "; 0 lost, 0 twice, 0 out of order\n",
        "video    640x64 at 500, progressive, YCbCr-4:2:2 10 bit\n",
        "packing  gpm-line: 128 packets in each of 5 whole pictures, of 800 octets of pixels and 1 \
         pieces at most\n",
        "class narrow: VRX ",
        "unknown  colorimetry, transfer characteristic, range and clock: not in the packets\n",
        "m=video 20000 RTP/AVP 96\r\n",
        "sampling=YCbCr-4:2:2; width=640; height=64; exactframerate=500; depth=10; ",
        "colorimetry=UNSPECIFIED; PM=2110GPM; ",
        "TP=2110TPN",
    ] {
        assert!(text.contains(expected), "{expected:?}: {text}");
    }
    // What is not known is not said.
    assert!(!text.contains("ts-refclk") && !text.contains("BT709"), "{text}");
    let json = output(&format!("stream probe --read {pcap} --json --port 20000")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let stream = &json["streams"][0];
    assert_eq!((&stream["packets"], &stream["packets_lost"]), (&768.into(), &0.into()));
    let video = &stream["essence"];
    let first = &video["candidates"][0];
    assert_eq!(
        (&first["width"], &first["sampling"], &first["depth"]),
        (&640.into(), &"YCbCr-4:2:2".into(), &10.into())
    );
    assert_eq!((&video["rate"], &video["class"]), (&"500".into(), &"narrow".into()));
    let sdp = stream["sdp"].as_str().unwrap();
    assert!(text.ends_with(&format!("\n{sdp}\n")));
    // Our own reader finds in it what the sender was told.
    let reading = crate::stream::sdp::read(sdp.as_bytes());
    assert_eq!(reading.session.unwrap().media[0].port, 20000, "{:?}", reading.findings);
}

#[test]
fn formats_with_the_same_packets_are_all_named() {
    let scratch = Scratch::new("alike");
    let pcap = scratch.path("a.pcap");
    capture_of(&pcap, "wide", 4, "sampling = \"RGB\"\n");
    let text = output(&format!("stream probe --read {pcap}")).unwrap();
    for expected in [
        "video    640x64 at 500, progressive, RGB 10 bit\n",
        "or       640x64 at 500, progressive, YCbCr-4:4:4 10 bit, which has the same packets\n",
    ] {
        assert!(text.contains(expected), "{expected:?}: {text}");
    }
    let out = scratch.path("a.png");
    assert_eq!(
        output(&format!("stream picture {pcap} {out}")).unwrap_err(),
        "the stream may be RGB 10 bit of 640 pixels, or YCbCr-4:4:4 10 bit of 640 pixels: its \
         packets are the same; say which by --sampling, --depth and --width"
    );
    output(&format!("stream picture {pcap} {out} --sampling RGB")).unwrap();
    assert_eq!(
        output(&format!("stream picture {pcap} {out} --sampling YCbCr-4:2:2")).unwrap_err(),
        "the stream is RGB 10 bit of 640 pixels, or YCbCr-4:4:4 10 bit of 640 pixels: it is not \
         what was given"
    );
}

#[test]
fn a_port_without_a_stream_and_a_capture_without_video_are_said() {
    let scratch = Scratch::new("none");
    let pcap = scratch.path("a.pcap");
    capture(&pcap, "wide", 2);
    let text = output(&format!("stream probe --read {pcap} --port 9")).unwrap();
    assert_eq!(text, "no stream of RTP among 0 packets\n");
    assert_eq!(
        output(&format!("stream picture {pcap} {} --port 9", scratch.path("a.png"))).unwrap_err(),
        format!("{pcap} has no stream of video; a capture must have whole packets (tcpdump -s 0)")
    );
    assert!(output("stream probe").unwrap_err().contains("<INTERFACE>"));
    assert!(output("stream probe eth1 --read a.pcap").is_err());
    assert!(output("stream probe no-such0").unwrap_err().contains("no-such0"));
}

#[test]
fn a_picture_of_a_capture_is_the_one_that_was_sent() {
    let scratch = Scratch::new("picture");
    let pcap = scratch.path("a.pcap");
    capture(&pcap, "wide", 5);
    let format = Format::new(640, 64, Depth::Ten, "500".parse().unwrap()).unwrap();
    let start = format.rate().next_frame(tidegate_runtime::sim::TAI_AT_ZERO_NS + 1_000_000_000);
    let mut screen = Screen::new(format, Colours::of(&format, None, None)).unwrap();
    let mut shown = |number: u64| {
        let (mut source, mut pgroups) = (Source::pattern(format), vec![0; format.frame_octets()]);
        let picture = source.picture(number);
        for (row, into) in pgroups.chunks_exact_mut(format.row_octets() as usize).enumerate() {
            picture.write(row, 0, into);
        }
        let mut octets = vec![0; screen.octets()];
        screen.show(&pgroups, &mut octets);
        octets
    };
    let mut numbers = Vec::new();
    for number in 0..3 {
        let out = scratch.path("a.png");
        let text = output(&format!("stream picture {pcap} {out} --number {number}")).unwrap();
        assert_eq!(
            text,
            format!(
                "picture  {number} of 640x64 at 500, 4:2:2 10 bit, to 198.18.0.2 port 20000, by \
                 BT601 and range NARROW\nwritten  {out}, 16 bits a colour\n"
            )
        );
        let file = std::io::BufReader::new(std::fs::File::open(&out).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut octets = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut octets).unwrap();
        let is = (start..start + 6).find(|&it| shown(it) == octets);
        numbers.push(is.unwrap_or_else(|| panic!("picture {number} was not sent")));
    }
    assert_eq!((numbers[1] - numbers[0], numbers[2] - numbers[1]), (1, 1), "{numbers:?}");
    let error = output(&format!("stream picture {pcap} {} --number 99", scratch.path("b.png")));
    assert_eq!(
        error.unwrap_err(),
        format!(
            "{pcap} has 5 whole pictures of 640x64 at 500, 4:2:2 10 bit, counted from 0; --number 99 \
             is none of them"
        )
    );
}
