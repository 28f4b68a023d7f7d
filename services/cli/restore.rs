//! `tidegate restore`: puts back what a process that was killed left on network cards.
//!
//! The next `run` on such an interface does the same before it begins. This is for the day on which
//! there will be none, and for `ExecStopPost=` of a systemd unit. It touches nothing that a living
//! process holds, nor what somebody else has changed since.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use tidegate_dataplane::steer::hardware::{self, Error};
use tidegate_dataplane::sys::netlink::Netlink;
use tidegate_runtime::control;

use super::args::Restore;
use super::told::told;

/// Runs the command. Fails where something could not be put back.
///
/// # Errors
///
/// Where the kernel does not list its interfaces, or `out` or `errors` cannot be written.
pub fn run(args: &Restore, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<ExitCode> {
    let records = control::directory();
    // Who else can write there could have cards set as they like.
    if records.exists()
        && let Err(error) = control::private_directory(&records)
    {
        writeln!(errors, "tidegate: {}", told(&error))?;
        return Ok(ExitCode::FAILURE);
    }
    let mut code = ExitCode::SUCCESS;
    let mut any = false;
    for name in names(args)? {
        match put_back(args, &name, &records, out) {
            Ok(found) => any |= found?,
            Err(error) => {
                writeln!(errors, "tidegate: {name}: {}", told(&error))?;
                (code, any) = (ExitCode::FAILURE, true);
            }
        }
    }
    if !any {
        writeln!(out, "nothing was left behind")?;
    }
    Ok(code)
}

/// The interfaces that are named, or all of this network namespace.
fn names(args: &Restore) -> io::Result<Vec<String>> {
    if !args.interfaces.is_empty() {
        return Ok(args.interfaces.clone());
    }
    let links = Netlink::open()?.links()?;
    Ok(links.into_iter().map(|link| link.name.into()).collect())
}

/// Says what was put back on one interface; whether there was anything.
fn put_back(
    args: &Restore,
    name: &str,
    records: &Path,
    out: &mut dyn Write,
) -> Result<io::Result<bool>, Error> {
    let undone = match hardware::put_back(name, records) {
        // What a living process has is nothing left behind; only who names it is told.
        Err(Error::Held { .. }) if args.interfaces.is_empty() => None,
        undone => undone?,
    };
    let Some(undone) = undone else { return Ok(Ok(false)) };
    if undone.is_empty() {
        return Ok(writeln!(out, "{name}: it was as before already").map(|()| true));
    }
    let mut lines = undone.iter().map(|it| writeln!(out, "{name}: {it}"));
    Ok(lines.find(Result::is_err).unwrap_or(Ok(())).map(|()| true))
}
