//! One good SDP, one change, one finding: each code that there is, in its line.

use super::super::finding::{Code, Severity};
use super::super::read;
use super::{codes, good};

/// A sample, what is changed in it and to what, and the code and line of what is found.
type Row = (&'static str, &'static str, &'static str, &'static str, usize);

const FILTER: &str = "a=source-filter: incl IN IP4 239.1.2.1 192.168.1.10\n";
const REFCLK: &str = "a=ts-refclk:ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:37\n";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The file. Two that need much text are tested where it is read.
    ("narrow", "v=0", "v=1", "syntax", 1),
    ("narrow", "t=0 0", "t=now", "syntax", 4),
    ("narrow", "o=-", "o=- x", "syntax", 2),
    ("narrow", "o=- 1443716955", "o=- one", "origin", 2),
    ("narrow", "o=- 1443716955 1443716955 IN IP4 192.168.1.10\n", "", "origin", 1),
    ("narrow", "s=2160p25 of camera 1", "s= ", "name", 3),
    ("narrow", "s=2160p25 of camera 1\n", "", "name", 1),
    ("narrow", "t=0 0\n", "", "time-missing", 1),
    ("narrow", "t=0 0", "t=3034423619 3042462419", "time-bounded", 4),
    // A medium.
    ("narrow", "m=video", "m=application", "media-kind", 5),
    ("narrow", "RTP/AVP", "RTP/SAVP", "protocol", 5),
    ("narrow", "m=video 20000", "m=video 0", "port-zero", 5),
    ("narrow", "m=video 20000", "m=video 20000/2", "port-count", 5),
    ("narrow", "AVP 96", "AVP *", "payload-type", 5),
    ("narrow", "AVP 96", "AVP 128", "payload-type", 5),
    ("narrow", "AVP 96", "AVP 96 97", "payload-types", 5),
    ("narrow", "a=rtpmap:96 raw/90000\n", "", "rtpmap-missing", 5),
    ("narrow", "a=rtpmap:96 raw/90000", "a=rtpmap:96 raw", "rtpmap-syntax", 8),
    ("narrow", "a=rtpmap:96", "a=rtpmap:97 raw/90000\na=rtpmap:96", "rtpmap-other", 8),
    ("narrow", "a=rtpmap:96", "a=rtpmap:97", "rtpmap-missing", 5),
    ("narrow", "raw/90000", "jxsv/90000", "encoding", 8),
    ("audio", "L24/48000/8", "AM824/48000/8", "encoding", 9),
    ("narrow", "raw/90000", "raw/27000000", "clock-rate", 8),
    ("ancillary", "smpte291/90000", "smpte291/48000", "clock-rate", 8),
    ("narrow", "a=mediaclk:direct=0", "a=mediaclk:direct=0\na=mediaclk:sender", "attribute-repeated", 12),
    ("narrow", "raw/90000", "raw/90000\na=rtpmap:96 raw/90000", "attribute-repeated", 9),
    ("narrow", "a=ts-refclk", "a=fmtp:96 depth=8\na=ts-refclk", "attribute-repeated", 10),
    // Format parameters.
    ("narrow", "a=fmtp:96", "a=framerate:96", "fmtp-missing", 5),
    ("narrow", "a=fmtp:96", "a=fmtp:all\na=fmtp:96", "fmtp-syntax", 9),
    ("narrow", "a=fmtp:96", "a=fmtp:97 a=1\na=fmtp:96", "fmtp-other", 9),
    ("narrow", "depth=10;", "depth=10; depth=8;", "parameter-repeated", 9),
    ("narrow", "TCS=SDR", "TCD=SDR", "parameter-unknown", 9),
    ("narrow", "colorimetry=BT709", "colorimetry=bt709", "capitals", 9),
    ("narrow", "sampling=YCbCr-4:2:2; ", "", "parameter-missing", 9),
    ("narrow", "depth=10; ", "", "parameter-missing", 9),
    ("narrow", "width=3840; ", "", "parameter-missing", 9),
    ("narrow", "height=2160; ", "", "parameter-missing", 9),
    ("narrow", "exactframerate=25; ", "", "parameter-missing", 9),
    // Addresses.
    ("narrow", "c=IN IP4 239.1.2.1/64\n", "", "connection-missing", 5),
    ("narrow", "c=IN IP4 239.1.2.1/64", "c=IN IP4 group.example/64", "address", 6),
    ("narrow", "c=IN IP4 239.1.2.1/64", "c=IN IP4 239.1.2.1/640", "address", 6),
    ("narrow", "c=IN IP4 239.1.2.1/64", "c=IN IP4 239.1.2.1/64/x", "address", 6),
    ("narrow", "c=IN IP4 239.1.2.1/64", "c=ATM NSAP 239.1.2.1", "address", 6),
    ("narrow", "c=IN IP4", "c=IN IP6", "address-family", 6),
    ("narrow", "239.1.2.1/64", "239.1.2.1/64/3", "address-count", 6),
    ("unicast", "198.18.0.2", "198.18.0.2/64", "ttl-unicast", 4),
    ("narrow", "239.1.2.1/64", "239.1.2.1", "ttl-missing", 6),
    ("narrow", FILTER, "", "filter-missing", 6),
    ("narrow", "incl IN IP4 239.1.2.1 192.168.1.10", "incl IN IP4 239.1.2.1", "filter-syntax", 7),
    ("narrow", "incl IN IP4 239.1.2.1", "incl IN IP4 239.1.2.9", "filter-destination", 7),
    ("high-dynamic-range", "IN IP6 *", "IN IP6 ff35::9", "filter-destination", 5),
    ("narrow", "239.1.2.1 192.168.1.10", "239.1.2.1 camera.example", "filter-name", 7),
    ("narrow", "a=source-filter: incl", "a=source-filter: excl", "filter-exclude", 7),
    ("narrow", "239.1.2.1 192.168.1.10", "239.1.2.1 2001:db8::1", "filter-family", 7),
    // Clocks.
    ("narrow", REFCLK, "", "refclk-missing", 5),
    ("narrow", "ptp=IEEE1588-2008:39", "ptp=IEEE1588-2008:3", "refclk-syntax", 10),
    ("narrow", "CB-D0:37", "CB-D0:200", "refclk-syntax", 10),
    ("narrow", "ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:37", "ptp=traceable", "refclk-syntax", 10),
    ("key", "localmac=02-00-00-00-00-01", "localmac=02-00-00-00-00", "refclk-syntax", 10),
    ("narrow", "ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:37", "ntp=/traceable/", "refclk-kind", 10),
    ("narrow", "IEEE1588-2008", "IEEE1588-2002", "refclk-version", 10),
    ("narrow", "CB-D0:37", "CB-D0", "refclk-domain", 10),
    ("narrow", "a=mediaclk:direct=0\n", "", "mediaclk-missing", 5),
    ("narrow", "direct=0", "direct=x", "mediaclk-syntax", 11),
    ("narrow", "mediaclk:direct=0", "mediaclk:free", "mediaclk-kind", 11),
    ("narrow", "direct=0", "direct=5", "mediaclk-offset", 11),
    // Video.
    ("narrow", "YCbCr-4:2:2", "YCbCr-4:1:1", "sampling", 9),
    ("narrow", "depth=10", "depth=9", "depth", 9),
    ("narrow", "sampling=YCbCr-4:2:2", "sampling=XYZ", "sampling-depth", 9),
    ("narrow", "width=3840", "width=40000", "size", 9),
    ("narrow", "height=2160", "height=0", "size", 9),
    ("narrow", "height=2160", "height=+216", "size", 9),
    ("narrow", "width=3840", "width=3841", "size-pgroup", 9),
    ("narrow", "YCbCr-4:2:2; width=3840; height=2160", "YCbCr-4:2:0; width=3840; height=2161", "size-pgroup", 9),
    ("narrow", "exactframerate=25", "exactframerate=fast", "rate", 9),
    ("narrow", "exactframerate=25", "exactframerate=50/1", "rate-form", 9),
    ("narrow", "exactframerate=25", "exactframerate=59.94", "rate-form", 9),
    ("unicast", "exactframerate=25", "exactframerate=50", "rate-fields", 8),
    ("unicast", "height=576", "height=575", "interlace-height", 8),
    ("two-sources", "interlace; segmented", "segmented", "segmented-alone", 9),
    ("unicast", "interlace;", "interlace=1;", "flag-value", 8),
    ("narrow", "PM=2110GPM; ", "", "pm-missing", 9),
    ("narrow", "PM=2110GPM", "PM=2110XPM", "pm", 9),
    ("narrow", "SSN=ST2110-20:2017; ", "", "ssn-missing", 9),
    ("narrow", "SSN=ST2110-20:2017", "SSN=ST2110-20:2022", "ssn", 9),
    ("narrow", "SSN=ST2110-20:2017", "SSN=ST2110-20:2021", "ssn", 9),
    ("key", "SSN=ST2110-20:2022", "SSN=ST2110-20:2017", "ssn", 17),
    ("narrow", " TP=2110TPN;", "", "tp-missing", 9),
    ("narrow", "TP=2110TPN", "TP=2110TPX", "tp", 9),
    ("unicast", "TROFF=1700", "TROFF=-5", "troff", 8),
    ("unicast", "TROFF=1700", "TROFF=40000", "troff-long", 8),
    ("high-dynamic-range", "CMAX=7", "CMAX=0", "cmax", 9),
    ("high-dynamic-range", "CMAX=7", "CMAX=1000", "cmax-type", 9),
    ("programme", "CMAX=4", "CMAX=100", "cmax-type", 12),
    ("programme", "CMAX=4", "CMAX=4", "cmax-narrow", 12),
    ("narrow", "colorimetry=BT709; ", "", "colorimetry-missing", 9),
    ("narrow", "colorimetry=BT709", "colorimetry=BT709-2", "colorimetry", 9),
    ("narrow", "colorimetry=BT709", "colorimetry=SMPTE240M", "colorimetry", 9),
    ("key", "colorimetry=ALPHA", "colorimetry=BT709", "colorimetry-key", 17),
    ("narrow", "TCS=SDR", "TCS=GAMMA", "tcs", 9),
    ("key", "depth=16f", "depth=12", "tcs-depth", 9),
    ("high-dynamic-range", "RANGE=FULL", "RANGE=HALF", "range", 9),
    ("high-dynamic-range", "RANGE=FULL", "RANGE=FULLPROTECT", "range-bt2100", 9),
    ("unicast", "PAR=16:15", "PAR=1.5", "par", 8),
    ("unicast", "PAR=16:15", "PAR=32:30", "par", 8),
    ("high-dynamic-range", "MAXUDP=8960", "MAXUDP=9200", "maxudp", 9),
    ("high-dynamic-range", "MAXUDP=8960", "MAXUDP=99999", "maxudp", 9),
    ("high-dynamic-range", "MAXUDP=8960", "MAXUDP=1500", "maxudp", 9),
    ("high-dynamic-range", "MAXUDP=8960", "MAXUDP=8960", "maxudp-mtu", 9),
    ("two-sources", "TSMODE=SAMP", "TSMODE=OLD", "tsmode", 9),
    ("two-sources", "TSDELAY=20000", "TSDELAY=20ms", "tsdelay", 9),
    // Audio.
    ("audio", "L24/48000/8", "L24/44100/8", "sample-rate", 9),
    ("audio", "L24/48000/8", "L24/48000/0", "channels", 9),
    ("audio", "a=ptime:0.125\n", "", "ptime-missing", 5),
    ("audio", "a=ptime:0.125", "a=ptime:soon", "ptime", 11),
    ("audio", "L24/48000/8", "L24/48000/200", "audio-packet", 5),
    ("audio", "SMPTE2110.(51,ST)", "SMPTE2110.(5.1,ST)", "channel-order", 10),
    ("audio", "SMPTE2110.(51,ST)", "SMPTE2110.(71,ST)", "channel-count", 10),
    // Ancillary data.
    ("ancillary", "exactframerate=30000/1001;", "", "ancillary-rate", 9),
    ("ancillary", "TM=CTM;", "", "ancillary-ssn", 9),
    ("ancillary", ";SSN=ST2110-40:2023", "", "ancillary-ssn", 9),
    ("ancillary", "TM=CTM", "TM=FAST", "tm", 9),
    ("ancillary", "{0x61,0x02}", "{61,02}", "did-sdid", 9),
    ("ancillary", "VPID_Code=133", "VPID_Code=0x85", "vpid", 9),
    // Groups.
    ("two-paths", "DUP primary secondary", "DUP primary tertiary", "group-mid", 7),
    ("two-paths", "DUP primary secondary", "DUP primary", "group-single", 7),
    ("two-paths", "a=mid:secondary", "a=mid:primary", "mid-repeated", 23),
    ("one-line-two-groups", "m=video 20000 RTP/AVP 100", "m=audio 20000 RTP/AVP 100", "encoding", 10),
];

/// What the rows above cannot make with one change.
fn made() -> Vec<(String, &'static str, usize)> {
    let two = good("two-paths");
    let same =
        two.replace("239.101.9.10", "239.100.9.10").replace("192.168.101.2", "192.168.100.2");
    let same = same.replace("m=video 50020", "m=video 50000");
    let apart = same.replace("a=group:DUP primary secondary\n", "a=x-none\n");
    let payload = two.replacen("RTP/AVP 112", "RTP/AVP 113", 1);
    let payload =
        payload.replacen("rtpmap:112", "rtpmap:113", 1).replacen("fmtp:112", "fmtp:113", 1);
    let without = good("narrow").split("m=video").next().unwrap().to_owned();
    vec![
        (same, "legs-same", 16),
        (apart, "media-collide", 16),
        (payload, "legs-differ", 20),
        (
            good("audio").replace("RTP/AVP 98", "RTP/AVP 10").replace("rtpmap:98", "rtpmap:10"),
            "payload-type-static",
            14,
        ),
        (without, "no-media", 1),
        (
            good("narrow").replace(REFCLK, "").replace("t=0 0\n", &format!("t=0 0\n{REFCLK}")),
            "refclk-session",
            6,
        ),
        (
            good("narrow")
                .replace("a=mediaclk:direct=0\n", "")
                .replace("t=0 0\n", "t=0 0\na=mediaclk:direct=0\n"),
            "mediaclk-session",
            6,
        ),
    ]
}

/// Found in a text too long to be in a row.
const ELSEWHERE: [&str; 2] = ["too-large", "too-many-media"];

#[test]
fn each_mistake_is_named_in_its_line() {
    let changed = ROWS.iter().map(|&(sample, from, to, code, line)| {
        let text = good(sample);
        assert!(text.contains(from), "{sample} has no {from:?}");
        (text.replacen(from, to, 1), code, line)
    });
    let mut unnamed: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    unnamed.retain(|code| !ELSEWHERE.contains(code));
    let mut failed = Vec::new();
    for (text, code, line) in changed.chain(made()) {
        let found = codes(&read(text.as_bytes()));
        if !found.contains(&(line, code)) {
            failed.push(format!("no {code} in line {line}, but {found:?}:\n{text}"));
        }
        unnamed.retain(|it| *it != code);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(unnamed.is_empty(), "without a row: {unnamed:?}");
}

#[test]
fn an_error_is_what_cannot_be_received() {
    for &(sample, from, to, code, _) in ROWS {
        let reading = read(good(sample).replacen(from, to, 1).as_bytes());
        let media = |reading: &super::Reading| {
            reading.session.as_ref().map_or(0, |session| session.media.len())
        };
        let whole = media(&read(good(sample).as_bytes()));
        let is_error =
            Code::ALL.iter().any(|it| it.word() == code && it.rule().0 == Severity::Error);
        if !is_error {
            assert_eq!(media(&reading), whole, "{code}: left out for a warning");
        }
        // Nothing is left out in silence.
        assert!(media(&reading) == whole || reading.has_errors(), "{code}");
    }
}
