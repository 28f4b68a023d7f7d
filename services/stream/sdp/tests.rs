//! SDPs of all kinds, good and bad; sessions at random; and what nobody would write.

mod bad;
mod explained;
mod random;

use super::finding::Severity;
use super::session::Session;
use super::{Reading, read};

/// SDPs in the manner of the documents' own examples: each has nothing worse than a note.
pub(in crate::stream) const GOOD: [(&str, &str); 10] = [
    ("narrow", include_str!("samples/narrow.sdp")),
    ("two-paths", include_str!("samples/two-paths.sdp")),
    ("one-line-two-groups", include_str!("samples/one-line-two-groups.sdp")),
    ("two-sources", include_str!("samples/two-sources.sdp")),
    ("high-dynamic-range", include_str!("samples/high-dynamic-range.sdp")),
    ("key", include_str!("samples/key.sdp")),
    ("unicast", include_str!("samples/unicast.sdp")),
    ("audio", include_str!("samples/audio.sdp")),
    ("ancillary", include_str!("samples/ancillary.sdp")),
    ("programme", include_str!("samples/programme.sdp")),
];

/// The good sample of that name.
pub(super) fn good(name: &str) -> &'static str {
    GOOD.iter().find(|(it, _)| *it == name).expect("one of them").1
}

/// What FFmpeg 5.1 writes with `-f rtp -sdp_file`.
pub(super) const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\n\
    t=0 0\r\na=tool:libavformat LIBAVFORMAT_VERSION\r\nm=video 5012 RTP/AVP 96\r\nb=AS:28800\r\n\
    a=rtpmap:96 raw/90000\r\na=fmtp:96 sampling=YCbCr-4:2:2; width=320; height=180; depth=10\r\n";

fn codes(reading: &Reading) -> Vec<(usize, &'static str)> {
    reading.findings.iter().map(|it| (it.line, it.code)).collect()
}

#[test]
fn good_samples_have_nothing_worse_than_notes_and_are_read_whole() {
    for (name, text) in GOOD {
        let reading = read(text.as_bytes());
        let bad: Vec<_> =
            reading.findings.iter().filter(|it| it.severity != Severity::Note).collect();
        assert!(bad.is_empty(), "{name}: {bad:#?}");
        let session = reading.session.unwrap();
        assert_eq!(session.media.len(), text.matches("\nm=").count(), "{name}");
        for (media, place) in session.media.iter().zip(&reading.places) {
            let line = text.lines().nth(place.line - 1).unwrap();
            assert!(line.starts_with(&format!("m={} {}", media.essence.kind(), media.port)));
        }
    }
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for (name, text) in GOOD {
        let first = read(text.as_bytes()).session.unwrap();
        let written = first.emit();
        assert_eq!(read(written.as_bytes()).session.as_ref(), Some(&first), "{name}:\n{written}");
        assert!(written.ends_with("\r\n") && written.starts_with("v=0\r\no="));
    }
}

#[test]
fn a_whole_sdp_is_written_as_the_standard_has_it() {
    let session = Session { name: "camera 1".into(), ..super::samples::session() };
    assert_eq!(
        session.emit().replace('\r', ""),
        "v=0\no=- 1 1 IN IP4 198.18.0.1\ns=camera 1\nt=0 0\nm=video 20000 RTP/AVP 96\n\
         c=IN IP4 239.1.2.1/64\na=source-filter: incl IN IP4 239.1.2.1 198.18.0.1\n\
         a=rtpmap:96 raw/90000\na=fmtp:96 sampling=YCbCr-4:2:2; width=1920; height=1080; \
         exactframerate=50; depth=10; TCS=SDR; colorimetry=BT709; PM=2110GPM; \
         SSN=ST2110-20:2017; TP=2110TPN;\na=ts-refclk:localmac=02-00-00-00-00-01\n\
         a=mediaclk:direct=0\n"
    );
}

#[test]
fn what_another_sender_leaves_out_is_named_and_the_rest_is_read() {
    let reading = read(FFMPEG.as_bytes());
    let found: Vec<_> = codes(&reading);
    let line = 10;
    for code in ["parameter-missing", "pm-missing", "ssn-missing", "tp-missing"] {
        assert!(found.contains(&(line, code)), "{code}: {found:?}");
    }
    assert!(found.contains(&(7, "refclk-missing")) && found.contains(&(7, "mediaclk-missing")));
    let session = reading.session.unwrap();
    let super::session::Essence::Video(video) = &session.media[0].essence else { panic!() };
    assert_eq!((video.width, video.height, video.rate), (320, 180, None));
}

#[test]
fn paths_are_found_by_their_group() {
    let session = read(good("programme").as_bytes()).session.unwrap();
    assert_eq!(session.paths(0), [0, 1]);
    assert_eq!(session.paths(3), [2, 3]);
    assert_eq!(session.streams(), [0, 2, 4]);
    let session = read(good("key").as_bytes()).session.unwrap();
    assert_eq!(session.streams(), [0, 1]);
    let session = read(good("one-line-two-groups").as_bytes()).session.unwrap();
    let legs: Vec<_> = session.media[0].legs.iter().map(|leg| leg.sources.clone()).collect();
    assert_eq!(legs.len(), 2);
    assert_ne!(legs[0], legs[1]);
}
