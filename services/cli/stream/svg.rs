//! A plot as SVG: a few lines of our own, for one kind of picture.
//!
//! Each column of pixels shows the lowest and the highest value of its stretch of time, so a
//! packet that stands out is seen among a million.

use std::fmt::Write as _;

/// One diagram.
pub(super) struct Diagram<'a> {
    /// Above it.
    pub(super) title: &'a str,
    /// Time in nanoseconds and value; times do not decrease.
    pub(super) points: &'a [(u64, i64)],
    /// Lines across, with their names; those far outside of what is plotted are left out.
    pub(super) limits: &'a [(i64, &'a str)],
}

const WIDTH: u32 = 1000;
const PLOT: u32 = 900;
const LEFT: u32 = 60;
const HEIGHT: u32 = 220;
const GAP: u32 = 60;
const TOP: u32 = 50;

/// The page: what it is of, and diagrams one below the other on a common axis of time.
pub(super) fn page(title: &str, subtitle: &str, diagrams: &[Diagram<'_>]) -> String {
    let count = u32::try_from(diagrams.len()).expect("a few");
    let height = TOP + count * (HEIGHT + GAP) + 20;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n\
         <text x=\"{LEFT}\" y=\"38\">{}</text>",
        escape(title),
        escape(subtitle),
    );
    let all = diagrams.iter().flat_map(|diagram| diagram.points);
    let (first, last) =
        all.fold((u64::MAX, 0), |(first, last), &(at, _)| (first.min(at), last.max(at)));
    let span = last.saturating_sub(first).max(1);
    let mut top = TOP + 20;
    for diagram in diagrams {
        one(&mut text, diagram, top, first, span);
        top += HEIGHT + GAP;
    }
    text.push_str("</svg>\n");
    text
}

fn one(text: &mut String, diagram: &Diagram<'_>, top: u32, first: u64, span: u64) {
    let lowest = diagram.points.iter().map(|&(_, value)| value).min().unwrap_or(0).min(0);
    let highest = diagram.points.iter().map(|&(_, value)| value).max().unwrap_or(0).max(1);
    // A limit that is far above would press the plot flat.
    let near = |limit: i64| (lowest..=highest * 2 + 4).contains(&limit);
    let shown = diagram.limits.iter().filter(|(limit, _)| near(*limit));
    let highest = shown.clone().map(|&(limit, _)| limit).fold(highest, i64::max);
    let (lowest, highest) = (lowest - 1, highest + 1);
    // Pixels in tenths, all in integers.
    let y = |value: i64| {
        let from_top = i128::from(highest - value) * i128::from(HEIGHT) * 10;
        let tenths = from_top / i128::from(highest - lowest) + i128::from(top) * 10;
        decimal(tenths)
    };
    let bottom = top + HEIGHT;
    let right = LEFT + PLOT;
    let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top - 6, escape(diagram.title));
    let _ = writeln!(
        text,
        "<path d=\"M{LEFT} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#999\"/>"
    );
    for value in ticks(lowest, highest) {
        let at = y(value);
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {at}H{right}\" stroke=\"#eee\"/>\
             <text x=\"{}\" y=\"{at}\" dy=\"4\" text-anchor=\"end\">{value}</text>",
            LEFT - 6
        );
    }
    for part in 0..=10_u32 {
        let x = LEFT + part * PLOT / 10;
        // In hundredths of a millisecond.
        let at = i128::from(span) * i128::from(part) / 10 / 10_000;
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}.{:02} ms</text>",
            bottom + 16,
            at / 100,
            at % 100
        );
    }
    let _ = write!(text, "<path stroke=\"#1f6fb2\" fill=\"none\" d=\"");
    for (column, low, high) in columns(diagram.points, first, span) {
        // A line of no length is not drawn.
        let (from, to) = if low == high { (y(high), None) } else { (y(high), Some(y(low))) };
        let x = LEFT + column;
        let _ = match to {
            Some(to) => write!(text, "M{x} {from}V{to}"),
            None => write!(text, "M{x} {from}h1"),
        };
    }
    text.push_str("\"/>\n");
    for &(limit, name) in shown {
        let at = y(limit);
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {at}H{right}\" stroke=\"#c0392b\" stroke-dasharray=\"6 4\"/>\
             <text x=\"{right}\" y=\"{at}\" dy=\"-4\" text-anchor=\"end\" fill=\"#c0392b\">{}</text>",
            escape(name)
        );
    }
}

/// For each column that has a point: the column, its lowest and its highest value.
fn columns(points: &[(u64, i64)], first: u64, span: u64) -> Vec<(u32, i64, i64)> {
    let mut columns: Vec<(u32, i64, i64)> = Vec::new();
    for &(at, value) in points {
        let column = u128::from(at - first) * u128::from(PLOT - 1) / u128::from(span);
        let column = u32::try_from(column).expect("below the width");
        match columns.last_mut() {
            Some((last, low, high)) if *last == column => {
                (*low, *high) = (value.min(*low), value.max(*high));
            }
            _ => columns.push((column, value, value)),
        }
    }
    columns
}

/// Up to ten round values of an axis.
fn ticks(lowest: i64, highest: i64) -> Vec<i64> {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000, 1_000_000];
    let step = steps.into_iter().find(|step| (highest - lowest) / step <= 10);
    let step = step.unwrap_or((highest - lowest) / 5);
    let first = lowest.div_euclid(step) * step;
    (0..=12)
        .map(|count| first + count * step)
        .filter(|it| (lowest..=highest).contains(it))
        .collect()
}

/// A number of tenths.
fn decimal(tenths: i128) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_stands_out_is_drawn_among_many() {
        let mut points: Vec<(u64, i64)> = (0..1_000_000).map(|at| (at * 10, 3)).collect();
        points[777_777].1 = -40;
        let columns = columns(&points, 0, 9_999_990);
        assert_eq!(columns.len(), 900);
        let low: Vec<_> = columns.iter().filter(|&&(_, low, _)| low < 3).collect();
        assert_eq!(low, [&(699, -40, 3)]);
        let text = page("a < b", "", &[Diagram { title: "VRX", points: &points, limits: &[] }]);
        assert!(text.contains("a &lt; b") && text.contains("M759 "), "{text}");
        assert!(text.len() < 40_000, "{} octets", text.len());
    }

    #[test]
    fn limits_are_drawn_where_they_can_be_seen() {
        let points = [(5, 0), (10, 7)];
        let limits = [(8, "narrow"), (720, "wide")];
        let text = page("", "", &[Diagram { title: "VRX", points: &points, limits: &limits }]);
        assert!(text.contains(">narrow</text>") && !text.contains("wide"), "{text}");
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(-1, 9), [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(ticks(-21, 104), [-20, 0, 20, 40, 60, 80, 100]);
        assert!(ticks(-5_000_000_000, 5_000_000_000).len() <= 11);
    }

    #[test]
    fn nothing_to_plot_is_an_empty_plot() {
        let text = page("t", "s", &[Diagram { title: "VRX", points: &[], limits: &[] }]);
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }
}
