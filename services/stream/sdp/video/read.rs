//! Reads the parameters of video, and says which of them do not go together.

use super::{
    Colorimetry, Depth, Packing, Pgroup, Range, SSN_2017, SSN_2022, Sampling, Scan, SenderType,
    Tcs, Video,
};
use crate::stream::sdp::finding::{Code, Findings, quoted};
use crate::stream::sdp::medium::COMMON;
use crate::stream::sdp::numbers;
use crate::stream::sdp::parameters::Parameters;
use crate::stream::sdp::rate::{digits, gcd};

/// What ST 2110-20, 7.2 and 7.3, and ST 2110-21, 8, have.
const KNOWN: [&str; 16] = [
    "sampling",
    "depth",
    "width",
    "height",
    "exactframerate",
    "colorimetry",
    "PM",
    "SSN",
    "interlace",
    "segmented",
    "TCS",
    "RANGE",
    "PAR",
    "TP",
    "TROFF",
    "CMAX",
];

/// Largest width and height: rows and offsets have 15 bits on the wire.
const SIZE_MAX: u32 = 32_767;

/// Video of these parameters; `None` where it cannot be received, which is then said.
pub(in crate::stream::sdp) fn read(
    mut parameters: Parameters,
    max_udp: u16,
    out: &mut Findings,
) -> Option<Video> {
    let p = &mut parameters;
    let sampling = p.word::<Sampling>("sampling", Code::Sampling, out);
    let depth = p.word::<Depth>("depth", Code::Depth, out);
    let width = p.number("width", 1..=SIZE_MAX, Code::Size, out);
    let height = p.number("height", 1..=SIZE_MAX, Code::Size, out);
    let rate = p.rate(out);
    required(p, out);
    let scan = scan(p, out);
    let colorimetry = colorimetry(p, out);
    let tcs = p.word("TCS", Code::Tcs, out).unwrap_or(Tcs::Sdr);
    let range = p.word("RANGE", Code::Range, out).unwrap_or(Range::Narrow);
    let pixel_aspect = pixel_aspect(p, out);
    let packing = p.word("PM", Code::Pm, out).unwrap_or(Packing::General);
    let sender = p.word("TP", Code::Tp, out);
    let troff_us = p.number("TROFF", 0..=u32::MAX, Code::Troff, out);
    let cmax = p.number("CMAX", 1..=u32::MAX, Code::Cmax, out);
    let ssn = p.value("SSN", out);
    let line = p.line;
    let known: Vec<&str> = KNOWN.into_iter().chain(COMMON).collect();
    parameters.finish(&known, out);

    let (sampling, depth, width, height) = (sampling?, depth?, width?, height?);
    let video = Video {
        sampling,
        depth,
        width,
        height,
        rate,
        scan,
        colorimetry,
        tcs,
        range,
        pixel_aspect,
        packing,
        sender,
        troff_us,
        cmax,
    };
    let is_whole = whole(line, &video, out);
    colours(line, &video, out);
    number(line, &video, ssn.as_deref(), out);
    if is_whole {
        sending(line, &video, max_udp, out);
    }
    is_whole.then_some(video)
}

/// Notes what is missing and should not be.
fn required(p: &mut Parameters, out: &mut Findings) {
    let line = p.line;
    let needed = [
        ("sampling", "sampling=YCbCr-4:2:2"),
        ("depth", "depth=10"),
        ("width", "width=1920"),
        ("height", "height=1080"),
        ("exactframerate", "exactframerate=25 or 30000/1001"),
    ];
    for (name, remedy) in needed {
        if !p.has(name) {
            let text = format!("{name} is missing");
            out.add(line, Code::ParameterMissing, text, format!("add {remedy}, say"));
        }
    }
    let asked = [
        ("PM", Code::PmMissing, "PM=2110GPM, as it is taken to be, or PM=2110BPM"),
        ("SSN", Code::SsnMissing, "SSN=ST2110-20:2017"),
        ("TP", Code::TpMissing, "TP=2110TPN, 2110TPNL or 2110TPW: as even as the sender is"),
        ("colorimetry", Code::ColorimetryMissing, "colorimetry=BT709, or what it is"),
    ];
    for (name, code, remedy) in asked {
        if !p.has(name) {
            out.add(line, code, format!("{name} is missing"), format!("add {remedy}"));
        }
    }
}

fn scan(p: &mut Parameters, out: &mut Findings) -> Scan {
    let line = p.line;
    match (p.flag("interlace", out), p.flag("segmented", out)) {
        (false, false) => Scan::Progressive,
        (true, false) => Scan::Interlaced,
        (true, true) => Scan::Segmented,
        (false, true) => {
            let text = "segmented without interlace";
            out.add(line, Code::SegmentedAlone, text, "interlace; segmented");
            Scan::Segmented
        }
    }
}

/// Colorimetry, also in the words of RFC 4175, which older senders use.
fn colorimetry(p: &mut Parameters, out: &mut Findings) -> Colorimetry {
    let line = p.line;
    let old = match p.peek("colorimetry") {
        Some("BT601-5") => Colorimetry::Bt601,
        Some("BT709-2" | "BT.709-2" | "BT.709") => Colorimetry::Bt709,
        _ => {
            let read = p.word("colorimetry", Code::Colorimetry, out);
            return read.unwrap_or(Colorimetry::Unspecified);
        }
    };
    let text = format!(
        "colorimetry={} in the words of RFC 4175",
        p.value("colorimetry", out).unwrap_or_default()
    );
    out.add(line, Code::Colorimetry, text, format!("colorimetry={old}, as it is read"));
    old
}

/// PAR; 1:1 where it is not said, or not as a ratio.
fn pixel_aspect(p: &mut Parameters, out: &mut Findings) -> (u32, u32) {
    let line = p.line;
    let Some(value) = p.value("PAR", out) else { return (1, 1) };
    let terms = value.split_once(':').and_then(|(width, height)| {
        let (width, height) = (digits::<u32>(width)?, digits::<u32>(height)?);
        (width > 0 && height > 0).then_some((width, height))
    });
    let Some((width, height)) = terms else {
        let text = format!("PAR={} is no ratio", quoted(&value));
        out.add(line, Code::Par, text, "width:height of a pixel, as 12:11");
        return (1, 1);
    };
    let divisor = gcd(width, height);
    let least = (width / divisor, height / divisor);
    if divisor != 1 {
        let text = format!("PAR={value} is not in its smallest terms");
        out.add(line, Code::Par, text, format!("PAR={}:{}", least.0, least.1));
    }
    least
}

/// Whether the picture is of whole pgroups and whole fields.
fn whole(line: usize, video: &Video, out: &mut Findings) -> bool {
    let Video { sampling, depth, width, height, scan, .. } = video;
    let Some(Pgroup { pixels, lines, .. }) = video.pgroup() else {
        let text = format!("{sampling} of {depth} bits: there are no such pixels");
        out.add(line, Code::SamplingDepth, text, "depth=12 or more");
        return false;
    };
    let mut is_whole = true;
    if !width.is_multiple_of(pixels) {
        let text =
            format!("width={width}, while pixels of {sampling} {depth} bit come by {pixels}");
        let nearest = width.next_multiple_of(pixels);
        out.add(line, Code::SizePgroup, text, format!("a multiple of {pixels}, as {nearest}"));
        is_whole = false;
    }
    if !height.is_multiple_of(lines) {
        let text = format!("height={height}, while lines of {sampling} come by {lines}");
        out.add(line, Code::SizePgroup, text, format!("a multiple of {lines}"));
        is_whole = false;
    }
    if *scan != Scan::Progressive && !height.is_multiple_of(2 * lines) {
        let text = format!("interlace with height={height}, which is not two equal fields");
        let remedy = format!("a multiple of {}, both fields together", 2 * lines);
        out.add(line, Code::InterlaceHeight, text, remedy);
        is_whole = false;
    }
    is_whole
}

/// Colours that do not go together.
fn colours(line: usize, video: &Video, out: &mut Findings) {
    let Video { sampling, depth, colorimetry, tcs, range, .. } = video;
    let (is_key, is_alpha) = (*sampling == Sampling::Key, *colorimetry == Colorimetry::Alpha);
    if is_key != is_alpha {
        let text = format!("sampling={sampling} with colorimetry={colorimetry}");
        let remedy = "sampling=KEY and colorimetry=ALPHA together";
        out.add(line, Code::ColorimetryKey, text, remedy);
    }
    let is_linear =
        matches!(tcs, Tcs::Linear | Tcs::Bt2100LinPq | Tcs::Bt2100LinHlg | Tcs::St2065_1);
    if is_linear && *depth != Depth::SixteenFloat {
        let text = format!("TCS={tcs}, which is of floating point, with depth={depth}");
        out.add(line, Code::TcsDepth, text, "depth=16f, or TCS=SDR, PQ or HLG");
    }
    if *colorimetry == Colorimetry::Bt2100 && *range == Range::FullProtect {
        let text = "RANGE=FULLPROTECT with colorimetry=BT2100";
        out.add(line, Code::RangeBt2100, text, "RANGE=NARROW or FULL");
    }
}

/// The standard's number that the format asks for.
fn number(line: usize, video: &Video, ssn: Option<&str>, out: &mut Findings) {
    let (Some(ssn), wanted) = (ssn, video.ssn()) else { return };
    if ssn == wanted {
        return;
    }
    let why = match wanted {
        SSN_2022 => "colorimetry=ALPHA and TCS=ST2115LOGS3 came with the revision of 2022",
        _ if ssn == SSN_2022 => "nothing here came with the revision of 2022",
        _ => "there is no such one",
    };
    debug_assert!(matches!(wanted, SSN_2017 | SSN_2022));
    out.add(line, Code::Ssn, format!("SSN={}: {why}", quoted(ssn)), format!("SSN={wanted}"));
}

/// How it is sent, against what it is.
fn sending(line: usize, video: &Video, max_udp: u16, out: &mut Findings) {
    let Some(rate) = video.rate else { return };
    if video.scan == Scan::Interlaced && rate.per_second() > 31.0 {
        let text = format!("interlace at {rate} frames per second; is it the rate of the fields?");
        out.add(line, Code::RateFields, text, "exactframerate counts frames: 25 for 1080i50");
    }
    let period_us = 1e6 / rate.per_second();
    if let Some(troff_us) = video.troff_us
        && f64::from(troff_us) >= period_us
    {
        let text = format!("TROFF={troff_us}, while a frame lasts {period_us:.0} us");
        out.add(line, Code::TroffLong, text, "microseconds, fewer than a frame lasts");
    }
    let (Some(cmax), Some(sender)) = (video.cmax, video.sender) else { return };
    let Some(packets) = numbers::packets(video, max_udp) else { return };
    // How many packets a frame has, its sender knows; more than twice as many as are needed, or
    // than make its lines whole, has none.
    let count = 2 * packets.by_line.max(packets.fewest);
    let Some(bounds) = numbers::bounds(video, sender, count, max_udp) else { return };
    let most = bounds.cmax;
    if u64::from(cmax) > most {
        let text = format!("CMAX={cmax} with TP={sender}, whose bound is below {most}");
        out.add(line, Code::CmaxType, text, "a smaller CMAX, or TP=2110TPW");
    } else if sender != SenderType::Wide {
        let text = format!("CMAX={cmax} with TP={sender}, whose bound follows from the format");
        out.add(line, Code::CmaxNarrow, text, "it may be left out");
    }
}
