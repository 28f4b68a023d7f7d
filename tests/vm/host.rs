//! The host's half: one test for each scenario.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::image::image;
use crate::machine::{Order, play};
use crate::packages::Packages;
use crate::report::Line;
use crate::require::{self, Wish};
use crate::scenario::{ALL, Scenario};

/// Runs the tests that the command line names.
pub(crate) fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A guest has two processors, and is not to wait for another guest's.
    arguments.test_threads = Some(1);
    let stage = if arguments.list { Err(Lack::skip("listed only")) } else { Stage::set() };
    let trials = match stage {
        Ok(stage) => {
            let stage = Arc::new(stage);
            let trial = |scenario: &'static Scenario| {
                let stage = Arc::clone(&stage);
                Trial::test(scenario.name, move || stage.play(scenario))
            };
            ALL.iter().map(trial).collect()
        }
        Err(Lack { why, fails }) => {
            if !arguments.list {
                let verdict = if fails { "failed" } else { "skipped" };
                tell(&format!("{verdict}: all of tests/vm: {why}"));
            }
            let trial = |scenario: &Scenario| {
                let why = Failed::from(&why);
                Trial::test(scenario.name, || Err(why)).with_ignored_flag(!fails && !arguments.list)
            };
            ALL.iter().map(trial).collect()
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    for Time { what, took, used } in TIMES.lock().unwrap_or_else(PoisonError::into_inner).drain(..)
    {
        let [took, used] = [took, used].map(|time| time.as_secs_f64());
        tell(&format!("{took:6.1} s, {used:6.1} s of processors  {what}"));
    }
    conclusion.exit_code()
}

/// Why no guest can be had.
struct Lack {
    why: String,
    /// It is a failure, not a skip.
    fails: bool,
}

impl Lack {
    fn skip(why: impl Into<String>) -> Self {
        Self { why: why.into(), fails: require::wish() == Wish::Required }
    }

    /// Of the tree's own making, so that it fails wherever it is seen.
    fn failure(why: impl ToString) -> Self {
        Self { why: why.to_string(), fails: true }
    }
}

/// What all guests share.
struct Stage {
    packages: Packages,
    image: Vec<u8>,
}

impl Stage {
    fn set() -> Result<Self, Lack> {
        let packages = timed("packages", require::packages).map_err(Lack::skip)?;
        let program = timed("cargo build --release", build).map_err(Lack::failure)?;
        let init = env::current_exe().map_err(Lack::failure)?;
        let image = timed("image", || image(&packages, &init, &program)).map_err(Lack::failure)?;
        tell(&format!("guests have Linux {}, and {} MiB", packages.release, image.len() >> 20));
        Ok(Self { packages, image })
    }

    fn play(&self, scenario: &'static Scenario) -> Result<(), Failed> {
        let Self { packages, image } = self;
        let &Scenario { name, nics, .. } = scenario;
        let order = Order { packages, image, nics, scenario: name, time: TIME };
        let (mut last, mut steps) = (None, Vec::new());
        let end = timed(name, || {
            play(&order, |line| match line {
                Line::Step { what, at_s } => steps.push(format!("  {at_s:6.2} s {what}")),
                Line::Played { .. } | Line::Failed { .. } => last = Some(line.clone()),
                Line::Cable { .. } => {}
            })
        });
        let why = match (end, last) {
            (Ok(()), Some(Line::Played { facts })) => {
                if env::var_os("VM_STEPS").is_some() {
                    tell(&format!("\n{}", steps.join("\n")));
                }
                (scenario.judge)(nics, &facts);
                return Ok(());
            }
            (_, Some(Line::Failed { why })) => format!("in the guest: {why}"),
            (Err(why), _) => why,
            (Ok(()), _) => "the guest switched off without a word".into(),
        };
        Err(format!("{why}\nsteps:\n{}", steps.join("\n")).into())
    }
}

/// The program as it is shipped, whatever profile these tests have: `cargo test` is a debug
/// build, so cargo is asked for the other one, which takes no time where it is there already.
fn build() -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--release",
        "--bin",
        "tidegate",
        "--message-format=json-render-diagnostics",
    ]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(std::process::Stdio::inherit());
    let said = command.output().map_err(|error| format!("cargo could not be started: {error}"))?;
    if !said.status.success() {
        return Err("`cargo build --release --bin tidegate` failed".into());
    }
    let said = String::from_utf8_lossy(&said.stdout);
    let messages =
        said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter_map(|message| Some(message.get("executable")?.as_str()?.into()))
        .next_back()
        .ok_or_else(|| "cargo named no program".into())
}

/// How long a guest may take: ten times what it does, as other work on a machine makes it slow.
const TIME: Duration = Duration::from_secs(300);

/// How long everything took, told at the end.
static TIMES: Mutex<Vec<Time>> = Mutex::new(Vec::new());

/// How long something took. On a busy machine the time of processors says more.
struct Time {
    what: String,
    took: Duration,
    used: Duration,
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (start, used) = (Instant::now(), used());
    let result = work();
    let time = Time { what: what.into(), took: start.elapsed(), used: self::used() - used };
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    result
}

/// The time that processors spent on processes that we started and that have ended.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let used = usage.user_time() + usage.system_time();
    Duration::from_micros(used.num_microseconds().try_into().unwrap_or(0))
}

/// Past whatever captures what is printed.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
