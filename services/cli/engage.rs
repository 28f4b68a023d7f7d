//! `tidegate engage` and `release`: an operator overrules what is counted.

use std::io::{self, Write};

use serde_json::json;

use super::args::Engage;
use super::ask::{ask, number};

/// Runs the command: `engaged` or released.
///
/// # Errors
///
/// Where nobody answers, or `out` cannot be written.
pub fn run(args: &Engage, engaged: bool, out: &mut dyn Write) -> io::Result<()> {
    let state = match engaged {
        _ if args.auto => "auto",
        true => "engaged",
        false => "released",
    };
    let request = json!({ "destination": args.destination, "state": state });
    let answer = ask(&args.asked, "engage", &request)?;
    let count = number(&answer, "destinations");
    let what = match state {
        "auto" => "as the config says again",
        state => state,
    };
    writeln!(out, "{count} destinations are {what}, within a tenth of a second")
}
