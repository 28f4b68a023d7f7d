//! `tidegate top`: who sends most to a scrubber.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Top, TopOf};
use super::ask::{ask, list, number, text};
use super::stats::Table;
use super::stats::units::{count, mean, time};

/// How often `--watch` looks.
const PERIOD: Duration = Duration::from_secs(1);

impl TopOf {
    /// In a request.
    const fn word(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Destinations => "destinations",
            Self::Ports => "ports",
            Self::Rules => "rules",
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// Where nobody answers, or `out` cannot be written.
pub fn run(args: &Top, is_terminal: bool, out: &mut dyn Write) -> io::Result<()> {
    let request = json!({ "of": args.what.word(), "count": args.count });
    loop {
        let answer = ask(&args.asked, "top", &request)?;
        if args.json {
            writeln!(out, "{answer}")?;
        } else {
            let home = if args.watch && is_terminal { "\x1b[H\x1b[J" } else { "" };
            write!(out, "{home}{}", render(args.what, &answer))?;
        }
        out.flush()?;
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(PERIOD);
    }
}

/// The screen.
fn render(what: TopOf, answer: &Value) -> String {
    let rows = list(answer, "top");
    if what == TopOf::Rules {
        return rules(answer, rows);
    }
    let span_ns = number(answer, "span_ns").max(1);
    let mut screen = format!("the last {}\n", time(span_ns));
    if rows.is_empty() {
        screen.push_str("\nnothing was judged\n");
        return screen;
    }
    let mut table = Table::new(&[what.word(), "packets", "within", "a second"]);
    for row in rows {
        let (least, most) = (number(row, "at_least"), number(row, "at_most"));
        let within = match least == most {
            true => "exactly".to_owned(),
            false => format!("{}..{}", count(least), count(most)),
        };
        let a_second = u128::from(most) * 1_000_000_000 / u128::from(span_ns);
        let a_second = count(u64::try_from(a_second).unwrap_or(u64::MAX));
        table.row([text(row, "name").to_owned(), count(most), within, a_second]);
    }
    screen.push_str(&table.set(1));
    let others = number(answer, "others_at_most");
    let _ = writeln!(screen, "\nnobody else sent more than {} packets", count(others));
    screen
}

/// Rules by what they decided on.
fn rules(answer: &Value, rows: &[Value]) -> String {
    let mut screen = format!("generation {}\n", number(answer, "generation"));
    if rows.is_empty() {
        screen.push_str("\nno rule has decided on a packet\n");
        return screen;
    }
    let mut table = Table::new(&["rule", "packets", "octets", "mean", "dry-run"]);
    for row in rows {
        let [packets, octets, dry_run] =
            ["packets", "octets", "dry_run"].map(|key| number(row, key));
        let name = text(row, "name").to_owned();
        table.row([name, count(packets), count(octets), mean(octets, packets), count(dry_run)]);
    }
    screen.push_str(&table.set(1));
    screen
}

/// An address or port as a row's name.
pub(crate) fn port_name((protocol, port): (u8, u16)) -> String {
    match protocol {
        6 => format!("tcp {port}"),
        17 => format!("udp {port}"),
        other => format!("protocol {other} port {port}"),
    }
}

/// An address as a row's name.
pub(crate) fn address_name(address: IpAddr) -> String {
    address.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_counts_with_their_bounds() {
        let row = |name: &str, least: u64, most: u64| json!({ "name": name, "at_least": least, "at_most": most });
        let rows = [row("198.18.0.1", 900_000, 900_000), row("2001:db8::1", 500, 700)];
        let answer = json!({ "top": rows, "span_ns": 10_000_000_000_u64, "others_at_most": 700 });
        assert_eq!(
            render(TopOf::Sources, &answer),
            "\
the last 10.0s

sources      packets    within  a second
198.18.0.1      900k   exactly     90.0k
2001:db8::1      700  500..700        70

nobody else sent more than 700 packets
"
        );
        let nothing = json!({ "top": [], "span_ns": 5_000 });
        assert_eq!(render(TopOf::Ports, &nothing), "the last 5.00us\n\nnothing was judged\n");
    }

    #[test]
    fn shows_rules_by_what_they_decided_on() {
        let bad = json!({ "name": "bad", "packets": 4_000, "octets": 240_000 });
        let answer = json!({ "top": [bad], "generation": 7 });
        assert_eq!(
            render(TopOf::Rules, &answer),
            "\
generation 7

rule  packets  octets  mean  dry-run
bad      4000    240k  60.0        0
"
        );
    }

    #[test]
    fn ports_are_named_by_their_protocol() {
        assert_eq!(port_name((6, 443)), "tcp 443");
        assert_eq!(port_name((17, 53)), "udp 53");
        assert_eq!(port_name((132, 9)), "protocol 132 port 9");
    }
}
