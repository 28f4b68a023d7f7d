//! Sound and ancillary data by an SDP and by keys, and what contradicts them.

use std::path::PathBuf;

use super::*;

/// Pictures, sound and ancillary data, sound by two paths.
const PROGRAMME: &str = "v=0\no=- 1 1 IN IP4 198.18.0.1\ns=programme\nt=0 0\n\
    a=group:DUP left right\n\
    m=video 20000 RTP/AVP 96\nc=IN IP4 239.1.2.1/64\na=rtpmap:96 raw/90000\n\
    a=fmtp:96 sampling=YCbCr-4:2:2; width=640; height=64; exactframerate=50; depth=10; \
    TCS=SDR; colorimetry=BT709; PM=2110GPM; SSN=ST2110-20:2017; TP=2110TPW;\n\
    m=audio 20010 RTP/AVP 98\nc=IN IP4 239.1.2.2/64\n\
    a=source-filter: incl IN IP4 239.1.2.2 198.18.0.1\na=rtpmap:98 L16/96000/4\n\
    a=ptime:0.125\na=mid:left\n\
    m=audio 20012 RTP/AVP 98\nc=IN IP4 239.2.2.2/64\na=rtpmap:98 L16/96000/4\n\
    a=ptime:0.125\na=mid:right\n\
    m=video 20020 RTP/AVP 101\nc=IN IP4 239.1.2.3/64\na=rtpmap:101 smpte291/90000\n\
    a=fmtp:101 exactframerate=50; SSN=ST2110-40:2018;\n";

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("tidegate-essence-{name}-{}.sdp", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn each_stream_of_a_programme_is_found_by_its_kind() {
    let file = File::new("whole", PROGRAMME);
    let sdp = Some(&*file.0);
    let (format, payload_type, arrivals) =
        sound(&AskedAudio { sdp, ..AskedAudio::default() }).unwrap();
    assert_eq!(format.to_string(), "4 channels of L16 at 96000 Hz, 125 us");
    assert_eq!((payload_type, arrivals.len()), (98, 2));
    assert_eq!((arrivals[0].port, arrivals[1].port), (20010, 20012));
    let leg = arrivals[0].leg.as_ref().unwrap();
    assert_eq!(leg.sources, ["198.18.0.1".parse::<IpAddr>().unwrap()]);
    let (rate, payload_type, arrivals) = data(&AskedData { sdp, ..AskedData::default() }).unwrap();
    assert_eq!((rate.unwrap().ratio(), payload_type, arrivals.len()), ((50, 1), 101, 1));
}

#[test]
fn what_the_sdp_contradicts_is_named_with_its_key() {
    let file = File::new("differs", PROGRAMME);
    let asked = AskedAudio { sdp: Some(&file.0), ..AskedAudio::default() };
    let refused = |asked: AskedAudio<'_>| sound(&asked).unwrap_err().to_string();
    for (asked, says) in [
        (AskedAudio { channels: Some(2), ..asked }, "channels: 2, while line"),
        (AskedAudio { sample_rate: Some(48_000), ..asked }, "sample_rate: 48000, while line"),
        (AskedAudio { depth: Some(Depth::TwentyFour), ..asked }, "depth: 24, while line"),
        (AskedAudio { payload_type: Some(97), ..asked }, "payload_type: 97, while line"),
        (AskedAudio { packet_time_us: Some(1000), ..asked }, "packet_time_us: 1000, while"),
        (AskedAudio { port: Some(1), ..asked }, "port: 1, while line"),
        (AskedAudio { media: Some("middle"), ..asked }, "media: \"middle\", which is no sound of"),
        (
            AskedAudio { destination: "239.1.2.2".parse().ok(), ..asked },
            "destination: addresses, while",
        ),
    ] {
        let text = refused(asked);
        assert!(text.starts_with(says), "{text}");
    }
    let rate = Some("25".parse().unwrap());
    let refused = data(&AskedData { sdp: Some(&file.0), rate, ..AskedData::default() });
    let text = refused.unwrap_err().to_string();
    assert!(text.starts_with("rate: 25, while line") && text.contains("says 50"), "{text}");
}

#[test]
fn an_sdp_without_the_kind_is_refused() {
    let only = PROGRAMME.split("m=audio").next().unwrap().replace("a=group:DUP left right\n", "");
    let file = File::new("none", &only);
    let text = sound(&AskedAudio { sdp: Some(&file.0), ..AskedAudio::default() });
    let text = text.unwrap_err().to_string();
    assert!(text.contains("which has no sound; allowed: an SDP with sound"), "{text}");
    let twice = PROGRAMME.replace("a=group:DUP left right\n", "");
    let file = File::new("twice", &twice);
    let text = sound(&AskedAudio { sdp: Some(&file.0), ..AskedAudio::default() });
    let text = text.unwrap_err().to_string();
    assert!(text.contains("several streams of sound; allowed: one of left (line"), "{text}");
    let asked = AskedAudio { sdp: Some(&file.0), media: Some("right"), ..AskedAudio::default() };
    assert_eq!(sound(&asked).unwrap().2[0].port, 20012);
}

#[test]
fn without_an_sdp_the_port_is_needed_and_the_rest_has_defaults() {
    let text = sound(&AskedAudio::default()).unwrap_err().to_string();
    assert!(text.starts_with("audio: no port; the key is required"), "{text}");
    let asked = AskedAudio { port: Some(5004), ..AskedAudio::default() };
    let (format, payload_type, arrivals) = sound(&asked).unwrap();
    assert_eq!(format.to_string(), "2 channels of L24 at 48000 Hz, 1000 us");
    assert_eq!((payload_type, arrivals[0].port, arrivals[0].leg.is_none()), (97, 5004, true));
    let text = sound(&AskedAudio { channels: Some(11), ..asked }).unwrap_err().to_string();
    assert!(text.starts_with("audio: channels 11"), "{text}");
}
