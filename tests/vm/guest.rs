//! The first process of the guest: makes it fit to live in, plays one scenario, switches it off.

pub(crate) mod cards;
pub(crate) mod configs;
pub(crate) mod flows;
mod modules;
pub(crate) mod program;
pub(crate) mod traffic;

use std::fs::{self, File, OpenOptions};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{io, process, thread};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{self, SetArg};
use nix::unistd::sync;

use crate::image::MARK;
use crate::report::{LINE, Line, SCENARIO};
use crate::scenario;

/// Whether this process is the first of a guest of ours, and not a test program on somebody's
/// machine: then it may load modules and switch off.
pub(crate) fn is_here() -> bool {
    process::id() == 1 && Path::new(MARK).exists()
}

/// Lives the guest's whole life.
pub(crate) fn live() -> ! {
    if let Err(error) = furnish() {
        // Nobody hears results yet: the end of the console is shown.
        let _ = write_console(&format!("the guest could not be made fit: {error}"));
        switch_off();
    }
    let last = panic::catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| {
        let why = PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Line::Failed { why }
    });
    say(&last);
    switch_off()
}

/// What a guest needs of an operating system.
fn furnish() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID;
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        // In place of the kernel's types. Our BPF programs refer to none of them, but their loader
        // reads all 6 MB before each: more than half of the time that a program's start takes here.
        ("tmpfs", "/sys/kernel/btf"),
    ] {
        mount(Some(kind), place, Some(kind), flags, None::<&str>)
            .map_err(|errno| io::Error::other(format!("mount {place}: {errno}")))?;
    }
    let line = OpenOptions::new().read(true).write(true).open(LINE)?;
    // Octets go as they are: no echo, no carriage returns.
    let mut settings = termios::tcgetattr(&line)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&line, SetArg::TCSANOW, &settings)?;
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let why = format!("thread {}: {panic}", thread.name().unwrap_or("?"));
        let _ = write_console(&why);
        let mut first = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_empty() {
            *first = why;
        }
    }));
    Ok(())
}

/// The first panic in words.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// The host.
static LISTENER: Mutex<Option<File>> = Mutex::new(None);

/// Tells the host.
fn say(line: &Line) {
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(listener) = &mut *listener {
        // Where nobody hears, the host's deadline ends this.
        let _ = line.say(listener);
        let _ = termios::tcdrain(listener);
    }
}

/// Tells the host what begins now.
pub(crate) fn step(what: &str) {
    let up = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let at_s = up.split(' ').next().and_then(|seconds| seconds.parse().ok());
    say(&Line::Step { what: what.into(), at_s: at_s.unwrap_or_default() });
}

/// Has the host pull the cable of a card or plug it in; the carrier follows.
pub(crate) fn cable(card: u8, plugged: bool) {
    say(&Line::Cable { card, plugged });
}

fn play() -> Line {
    let command = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let name = command.split_whitespace().find_map(|word| word.strip_prefix(SCENARIO));
    let Some(scenario) = scenario::by_name(name.unwrap_or("")) else {
        return Line::Failed { why: format!("there is no scenario {name:?}") };
    };
    step("load the modules");
    modules::load();
    step("play");
    Line::Played { facts: (scenario.play)(scenario.nics) }
}

fn write_console(text: &str) -> io::Result<()> {
    fs::write("/dev/console", format!("{text}\n"))
}

fn switch_off() -> ! {
    sync();
    let error = reboot(RebootMode::RB_POWER_OFF);
    // The kernel panics when its first process ends, and the emulator ends with it.
    panic!("the guest does not switch off: {error:?}")
}
