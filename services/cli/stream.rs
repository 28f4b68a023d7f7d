//! `tidegate stream`: what can be said of a stream without sending or receiving one.
//!
//! - `plot` measures a captured stream by ST 2110-21 and draws VRX and C_INST.
//! - `probe` finds out what comes, on an interface or from a capture.
//! - `picture` makes a PNG of a captured picture.

mod live;
mod picture;
mod probe;
mod svg;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use super::args::{Plot, Stream, StreamCommand};
use crate::stream::timing::arrivals::{Arrived, Expected, Span};
use crate::stream::timing::capture::{Analysis, Capture, Point, analyse};
use crate::stream::timing::record::Standing;
use crate::stream::timing::schedule::{Images, Read};
use svg::{Diagram, page};

/// Runs the command.
///
/// # Errors
///
/// Where a file cannot be read or written, or does not hold what it should.
pub fn run(args: &Stream, out: &mut dyn Write) -> io::Result<ExitCode> {
    match &args.command {
        StreamCommand::Plot(args) => plot(args, out),
        StreamCommand::Probe(args) => probe::run(args, out),
        StreamCommand::Picture(args) => picture::run(args, out),
    }
}

fn plot(args: &Plot, out: &mut dyn Write) -> io::Result<ExitCode> {
    let capture = Capture::read(&args.capture, args.port).map_err(io::Error::other)?;
    let images = Images {
        frames: args.rate,
        scan: args.scan,
        height: args.height,
        packets: 0, // Learned.
    };
    let expected = Expected {
        images,
        class: args.class,
        offset_us: args.troffset_us,
        reference: args.reference,
    };
    let tai_at_zero_ns = u64::from(args.tai_offset) * 1_000_000_000;
    let analysis = analyse(&capture.packets, expected, tai_at_zero_ns).map_err(io::Error::other)?;
    let (address, port, _) = capture.destination;
    let title = format!(
        "{} lines {}, {} frames a second, pictures of {} packets, to {address} port {port}",
        args.height,
        args.scan.word(),
        args.rate,
        analysis.schedule.images().packets,
    );
    write!(out, "{}", report(&analysis, &title))?;
    if let Some(path) = &args.out {
        let named = |error| io::Error::other(format!("{}: {error}", path.display()));
        std::fs::write(path, draw(&analysis, args, &title)).map_err(named)?;
        writeln!(out, "drawn    {}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said in words.
fn report(analysis: &Analysis, title: &str) -> String {
    let Analysis { schedule, limits, images, worst, times, .. } = analysis;
    let mut text = String::new();
    let read = match schedule.read() {
        Read::Gapped => "gapped",
        Read::Linear => "linear",
    };
    let count = |standing: Standing| {
        let of = |arrived: &&Arrived| {
            arrived.image.is_some_and(|image| Standing::from(image.held) == standing)
        };
        images.iter().filter(of).count()
    };
    let unjudged = images.iter().filter(|arrived| arrived.image.is_none()).count();
    let (trs, parts) = schedule.spacing_ratio();
    let _ = writeln!(text, "stream   {title}");
    let _ = writeln!(
        text,
        "read     {read}, a packet each {} ns, from {} us after k*T on",
        thousandths(u128::from(trs) * 1000 / u128::from(parts)),
        thousandths(schedule.offset_ns().into()),
    );
    let extremes = worst.extremes;
    if worst.standing == Standing::Unmeasured {
        let _ = writeln!(text, "VRX      of no whole picture");
    } else {
        let _ = writeln!(
            text,
            "VRX      {} to {}; narrow allows 0 to {}, wide 0 to {}",
            extremes.buffer_min,
            extremes.buffer_max,
            limits.narrow.buffer_packets,
            limits.wide.buffer_packets,
        );
        let _ = writeln!(
            text,
            "C_INST   {} at most; narrow allows {}, wide {}",
            extremes.burst_max, limits.narrow.burst_packets, limits.wide.burst_packets,
        );
    }
    let _ = writeln!(
        text,
        "pictures {} narrow, {} narrow-linear, {} wide, {} of no class, {unjudged} not whole",
        count(Standing::Narrow),
        count(Standing::NarrowLinear),
        count(Standing::Wide),
        count(Standing::Nothing),
    );
    let Span { min_ns, max_ns } = times.first_packet;
    let _ = writeln!(
        text,
        "first    packet {} to {} us after k*T",
        microseconds(min_ns),
        microseconds(max_ns)
    );
    let Span { min_ns, max_ns } = times.latency;
    let _ = writeln!(
        text,
        "latency  {} to {} us after the RTP timestamp",
        microseconds(min_ns),
        microseconds(max_ns)
    );
    let _ = writeln!(text, "class    {}", Standing::WORDS[worst.standing.number()]);
    text
}

/// A number of thousandths with its point.
fn thousandths(number: u128) -> String {
    format!("{}.{:03}", number / 1000, number % 1000)
}

fn microseconds(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", thousandths(ns.unsigned_abs().into()))
}

/// The pictures asked for, as SVG.
fn draw(analysis: &Analysis, args: &Plot, title: &str) -> String {
    let Analysis { schedule, limits, points, worst, .. } = analysis;
    let first = points.first().map_or(0, |point| point.tai_ns);
    let period = schedule.period_ns();
    let later =
        |from: u64, pictures: u32| from.saturating_add(period.saturating_mul(pictures.into()));
    let (from, until) =
        (later(first, args.skip), later(first, args.skip.saturating_add(args.pictures)));
    let shown: Vec<&Point> =
        points.iter().filter(|point| (from..until).contains(&point.tai_ns)).collect();
    let of = |level: fn(&Point) -> i64| -> Vec<(u64, i64)> {
        shown.iter().map(|point| (point.tai_ns, level(point))).collect()
    };
    let (vrx, c) = (of(|point| point.levels.buffer), of(|point| point.levels.burst));
    let limits = |of: fn(&crate::stream::timing::class::Limit) -> u32| {
        [(i64::from(of(&limits.narrow)), "narrow"), (i64::from(of(&limits.wide)), "wide")]
    };
    let (of_vrx, of_c) = (limits(|it| it.buffer_packets), limits(|it| it.burst_packets));
    let with_zero = [(0, "late"), of_vrx[0], of_vrx[1]];
    let subtitle = format!(
        "class {} over {} pictures; {} of them drawn",
        Standing::WORDS[worst.standing.number()],
        analysis.images.len(),
        args.pictures,
    );
    page(
        title,
        &subtitle,
        &[
            Diagram { title: "VRX, packets", points: &vrx, limits: &with_zero },
            Diagram { title: "C_INST, packets", points: &c, limits: &of_c },
        ],
    )
}

#[cfg(test)]
mod tests;
