//! What an SDP lacks or contradicts, each with its line, its clause, and what helps.

use std::fmt;

use serde::Serialize;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What it describes cannot be received by it.
    Error,
    /// A standard says otherwise; it can be received all the same.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Line of the SDP, from 1.
    pub line: usize,
    /// How bad it is.
    pub severity: Severity,
    /// Which one, for programs.
    pub code: &'static str,
    /// What is found.
    pub text: String,
    /// The document and clause that says otherwise; empty where there is none.
    pub clause: &'static str,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, severity, text, clause, remedy, code: _ } = self;
        write!(f, "{line}: {severity}: {text}")?;
        if !clause.is_empty() {
            write!(f, " ({clause})")?;
        }
        write!(f, "\n  remedy: {remedy}")
    }
}

/// Findings as they are made, in any order.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Notes that `code` holds in `line`.
    pub(super) fn add(
        &mut self,
        line: usize,
        code: Code,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (severity, clause) = code.rule();
        let (text, remedy) = (text.into(), remedy.into());
        self.0.push(Finding { line, severity, code: code.word(), text, clause, remedy });
    }

    /// All of them, in the order of the lines, the worst of a line first.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|it| (it.line, it.severity));
        self.0
    }
}

/// What a text says in a message: short, and on one line.
pub(super) fn quoted(text: &str) -> String {
    /// A line of an SDP may be as long as the SDP.
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

macro_rules! codes {
    ($($(#[doc = $help:literal])+ $Code:ident = $word:literal, $severity:ident, $clause:literal;)+) => {
        /// Everything that can be found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[doc = $help])+ $Code,)+ }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$Code),+];

            /// Its word, which stays the same when its text changes.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Code => $word),+ }
            }

            /// How bad it is, and which clause says so.
            pub const fn rule(self) -> (Severity, &'static str) {
                match self { $(Self::$Code => (Severity::$severity, $clause)),+ }
            }
        }
    };
}

codes! {
    // The file.
    /// Longer than a session is.
    TooLarge = "too-large", Error, "";
    /// Not SDP.
    Syntax = "syntax", Error, "RFC 8866, 9";
    /// Nothing to receive.
    NoMedia = "no-media", Error, "RFC 8866, 5.14";
    /// More media than a session has.
    TooManyMedia = "too-many-media", Error, "";
    /// No `o=`, or one that says little.
    Origin = "origin", Warning, "RFC 8866, 5.2";
    /// No `s=`, or an empty one.
    Name = "name", Warning, "RFC 8866, 5.3";
    /// No `t=`.
    TimeMissing = "time-missing", Warning, "RFC 8866, 5.9";
    /// A session that begins or ends.
    TimeBounded = "time-bounded", Note, "RFC 8866, 5.9";

    // A medium.
    /// Neither video nor audio.
    MediaKind = "media-kind", Error, "ST 2110-10, 6.2";
    /// Not RTP/AVP.
    Protocol = "protocol", Error, "ST 2110-10, 6.2";
    /// Port 0: refused by whoever wrote it.
    PortZero = "port-zero", Error, "RFC 8866, 5.14";
    /// Several ports.
    PortCount = "port-count", Warning, "RFC 8866, 5.14";
    /// A payload type that is no number.
    PayloadType = "payload-type", Error, "RFC 8866, 5.14";
    /// Not of the dynamic ones.
    PayloadTypeStatic = "payload-type-static", Warning, "RFC 3551, 6";
    /// Several of them.
    PayloadTypes = "payload-types", Warning, "ST 2110-20, 7.1";
    /// None for the payload type.
    RtpmapMissing = "rtpmap-missing", Error, "RFC 8866, 6.6";
    /// It cannot be read.
    RtpmapSyntax = "rtpmap-syntax", Error, "RFC 8866, 6.6";
    /// One for another payload type.
    RtpmapOther = "rtpmap-other", Warning, "RFC 8866, 6.6";
    /// Something else than is received here.
    Encoding = "encoding", Error, "";
    /// Another clock rate than the standard's.
    ClockRate = "clock-rate", Error, "ST 2110-20, 7.1";
    /// The same attribute again.
    AttributeRepeated = "attribute-repeated", Warning, "RFC 8866, 5.13";

    // Format parameters.
    /// None for the payload type.
    FmtpMissing = "fmtp-missing", Error, "ST 2110-20, 7.1";
    /// It cannot be read.
    FmtpSyntax = "fmtp-syntax", Warning, "RFC 8866, 6.15";
    /// One for another payload type.
    FmtpOther = "fmtp-other", Warning, "RFC 8866, 6.15";
    /// The same parameter again.
    ParameterRepeated = "parameter-repeated", Warning, "RFC 8866, 6.15";
    /// A parameter that no standard here has.
    ParameterUnknown = "parameter-unknown", Note, "";
    /// A word in other capitals than the standard's.
    Capitals = "capitals", Warning, "ST 2110-20, 7.2";
    /// A parameter without which nothing can be received.
    ParameterMissing = "parameter-missing", Error, "ST 2110-20, 7.2";

    // Addresses.
    /// No `c=`.
    ConnectionMissing = "connection-missing", Error, "RFC 8866, 5.7";
    /// No address, or a name.
    Address = "address", Error, "RFC 8866, 5.7";
    /// An address of the other IP.
    AddressFamily = "address-family", Error, "RFC 8866, 5.7";
    /// Several groups behind one another.
    AddressCount = "address-count", Warning, "RFC 8866, 5.7";
    /// A TTL of a receiver's address.
    TtlUnicast = "ttl-unicast", Warning, "RFC 8866, 5.7";
    /// No TTL of an IPv4 group.
    TtlMissing = "ttl-missing", Warning, "RFC 8866, 5.7";
    /// A group without its source.
    FilterMissing = "filter-missing", Note, "RFC 4570, 3";
    /// It cannot be read.
    FilterSyntax = "filter-syntax", Error, "RFC 4570, 3";
    /// For another destination than that of `c=`.
    FilterDestination = "filter-destination", Error, "RFC 4570, 3.1";
    /// Sources by name.
    FilterName = "filter-name", Error, "RFC 4570, 3";
    /// Sources that are not wanted.
    FilterExclude = "filter-exclude", Warning, "RFC 4570, 3";
    /// A source of the other IP.
    FilterFamily = "filter-family", Error, "RFC 4570, 3";

    // Clocks.
    /// No reference clock.
    RefclkMissing = "refclk-missing", Warning, "ST 2110-10, 8.2";
    /// For the session instead of the medium.
    RefclkSession = "refclk-session", Warning, "ST 2110-10, 8.2";
    /// It cannot be read.
    RefclkSyntax = "refclk-syntax", Warning, "RFC 7273, 4.8";
    /// Neither PTP nor a link address.
    RefclkKind = "refclk-kind", Warning, "ST 2110-10, 8.2";
    /// Another PTP than ST 2059-2 is made of.
    RefclkVersion = "refclk-version", Warning, "ST 2110-10, 8.2";
    /// PTP without its domain.
    RefclkDomain = "refclk-domain", Warning, "ST 2110-10, 8.2";
    /// No media clock.
    MediaclkMissing = "mediaclk-missing", Warning, "ST 2110-10:2022, 8.3";
    /// For the session instead of the medium.
    MediaclkSession = "mediaclk-session", Warning, "ST 2110-10:2022, 8.3";
    /// It cannot be read.
    MediaclkSyntax = "mediaclk-syntax", Warning, "RFC 7273, 5";
    /// Neither direct nor the sender's.
    MediaclkKind = "mediaclk-kind", Warning, "ST 2110-10:2022, 8.3";
    /// An offset to PTP.
    MediaclkOffset = "mediaclk-offset", Warning, "ST 2110-10:2022, 8.3";

    // Video.
    /// Not a sampling.
    Sampling = "sampling", Error, "ST 2110-20, 7.4.1";
    /// Not a depth.
    Depth = "depth", Error, "ST 2110-20, 7.4.2";
    /// There are no pixels of both.
    SamplingDepth = "sampling-depth", Error, "ST 2110-20, 6.2";
    /// Not a width or height.
    Size = "size", Error, "ST 2110-20, 7.2";
    /// Not whole pgroups.
    SizePgroup = "size-pgroup", Error, "ST 2110-20, 6.2";
    /// Not a rate.
    Rate = "rate", Error, "ST 2110-20, 7.2";
    /// A rate in another form.
    RateForm = "rate-form", Warning, "ST 2110-20, 7.2";
    /// The rate of fields, probably.
    RateFields = "rate-fields", Note, "ST 2110-20, 7.2";
    /// An odd number of lines cannot be two fields.
    InterlaceHeight = "interlace-height", Error, "ST 2110-20, 7.3";
    /// PsF is signalled with both words.
    SegmentedAlone = "segmented-alone", Warning, "ST 2110-20, 7.3";
    /// A value of a word that has none.
    FlagValue = "flag-value", Warning, "ST 2110-20, 7.3";
    /// No packing mode.
    PmMissing = "pm-missing", Warning, "ST 2110-20, 7.2";
    /// Not a packing mode.
    Pm = "pm", Warning, "ST 2110-20, 6.3";
    /// No standard's number.
    SsnMissing = "ssn-missing", Warning, "ST 2110-20, 7.2";
    /// Another one than the format asks for.
    Ssn = "ssn", Warning, "ST 2110-20:2022, 7.2";
    /// No sender type.
    TpMissing = "tp-missing", Warning, "ST 2110-21, 8.1";
    /// Not a sender type.
    Tp = "tp", Warning, "ST 2110-21, 8.1";
    /// Not microseconds.
    Troff = "troff", Warning, "ST 2110-21, 8.2";
    /// Later than the frame lasts.
    TroffLong = "troff-long", Warning, "ST 2110-21, 8.2";
    /// Not a number of packets.
    Cmax = "cmax", Warning, "ST 2110-21, 8.2";
    /// More packets at once than the type allows.
    CmaxType = "cmax-type", Warning, "ST 2110-21, 7.1";
    /// Said, though the type alone says it.
    CmaxNarrow = "cmax-narrow", Note, "ST 2110-21, 8.2";
    /// No colorimetry.
    ColorimetryMissing = "colorimetry-missing", Warning, "ST 2110-20, 7.2";
    /// Not a colorimetry.
    Colorimetry = "colorimetry", Warning, "ST 2110-20, 7.5";
    /// A key and its colorimetry go together.
    ColorimetryKey = "colorimetry-key", Warning, "ST 2110-20:2022, 7.4";
    /// Not a transfer characteristic.
    Tcs = "tcs", Warning, "ST 2110-20, 7.6";
    /// A linear one, and whole numbers.
    TcsDepth = "tcs-depth", Warning, "ST 2110-20, 7.6";
    /// Not a range.
    Range = "range", Warning, "ST 2110-20, 7.3";
    /// One that BT.2100 does not have.
    RangeBt2100 = "range-bt2100", Warning, "ST 2110-20, 7.3";
    /// Not a ratio.
    Par = "par", Warning, "ST 2110-20, 7.3";
    /// Not one of the two sizes.
    MaxUdp = "maxudp", Warning, "ST 2110-20, 7.3";
    /// Packets larger than ordinary ones.
    MaxUdpMtu = "maxudp-mtu", Note, "ST 2110-20, 7.3";
    /// Not a mode.
    TsMode = "tsmode", Warning, "ST 2110-10:2022, 8.7";
    /// Not microseconds.
    TsDelay = "tsdelay", Warning, "ST 2110-10:2022, 8.7";

    // Audio.
    /// A sample rate that the standard does not have.
    SampleRate = "sample-rate", Warning, "ST 2110-30, 6.1";
    /// No channel, or more than fit.
    Channels = "channels", Error, "ST 2110-30, 6.2";
    /// No packet time.
    PtimeMissing = "ptime-missing", Warning, "AES67, 8.1";
    /// It cannot be read.
    Ptime = "ptime", Warning, "AES67, 8.1";
    /// Packets longer than the network takes.
    AudioPacket = "audio-packet", Error, "ST 2110-10";
    /// It cannot be read.
    ChannelOrder = "channel-order", Warning, "ST 2110-30, 6.2.2";
    /// More channels than there are.
    ChannelCount = "channel-count", Warning, "ST 2110-30, 6.2.2";

    // Ancillary data.
    /// No rate.
    AncillaryRate = "ancillary-rate", Warning, "ST 2110-40:2023, 7";
    /// Another standard's number.
    AncillarySsn = "ancillary-ssn", Warning, "ST 2110-40:2023, 7";
    /// Not a transmission model.
    Tm = "tm", Warning, "ST 2110-40:2023, 7";
    /// It cannot be read.
    DidSdid = "did-sdid", Warning, "RFC 8331, 4";
    /// It cannot be read.
    Vpid = "vpid", Warning, "RFC 8331, 4";

    // Groups.
    /// A name that no medium has.
    GroupMid = "group-mid", Error, "RFC 5888, 5";
    /// Fewer than two.
    GroupSingle = "group-single", Warning, "RFC 7104, 4.2";
    /// A name that two media have.
    MidRepeated = "mid-repeated", Error, "RFC 5888, 4";
    /// Two legs that are the same.
    LegsSame = "legs-same", Error, "ST 2022-7";
    /// Two legs that carry something different.
    LegsDiffer = "legs-differ", Warning, "ST 2022-7";
    /// Two streams to one address and port.
    MediaCollide = "media-collide", Error, "RFC 8866, 5.14";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_why_and_what_to_do() {
        let mut findings = Findings::default();
        findings.add(9, Code::TpMissing, "TP is missing", "add TP=2110TPW");
        findings.add(2, Code::Name, "s= is empty", "give the session a name");
        let said: Vec<_> = findings.sorted().iter().map(ToString::to_string).collect();
        let name = "2: warning: s= is empty (RFC 8866, 5.3)\n  remedy: give the session a name";
        let tp = "9: warning: TP is missing (ST 2110-21, 8.1)\n  remedy: add TP=2110TPW";
        assert_eq!(said, [name, tp]);
    }

    #[test]
    fn each_code_has_a_word_of_its_own() {
        for (index, code) in Code::ALL.iter().enumerate() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(code.word().chars().all(plain), "{code:?}");
            assert!(Code::ALL[..index].iter().all(|it| it.word() != code.word()), "{code:?}");
        }
    }

    #[test]
    fn what_is_shown_of_an_sdp_is_short_and_on_one_line() {
        assert_eq!(quoted("a\r\nb"), "\"a\\r\\nb\"");
        assert!(quoted(&"ü".repeat(10_000)).chars().count() < 70);
    }
}
