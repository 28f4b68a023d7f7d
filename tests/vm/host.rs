//! The host's half: one test for each scenario.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::image::image;
use crate::machine::{Order, play};
use crate::packages::Packages;
use crate::report::Line;
use crate::require::{self, Wish};
use crate::scenario::{ALL, Scenario, unruly};
use crate::tests;

/// Runs the tests that the command line names.
pub(crate) fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A guest waits a good part of its time, for links and for the beat of a video: two of them take
    // two thirds of the time that they take one after the other. More only make each other late.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let stage = if arguments.list { Err(Lack::skip("listed only")) } else { Stage::set() };
    let trials: Vec<Trial> = match stage {
        Ok(stage) => {
            let stage = Arc::new(stage);
            let trial = |scenario: &'static Scenario| {
                let stage = Arc::clone(&stage);
                Trial::test(scenario.name, move || stage.judge(scenario))
            };
            let unruly = |(name, test): (&'static str, UnrulyTest)| {
                let stage = Arc::clone(&stage);
                Trial::test(name, move || test(&stage))
            };
            ALL.iter().map(trial).chain(UNRULY_TESTS.map(unruly)).collect()
        }
        Err(Lack { why, fails }) => {
            if !arguments.list {
                let verdict = if fails { "failed" } else { "skipped" };
                tell(&format!("{verdict}: all of tests/vm: {why}"));
            }
            let trial = |name: &'static str| {
                let why = Failed::from(&why);
                Trial::test(name, || Err(why)).with_ignored_flag(!fails && !arguments.list)
            };
            let names = ALL.iter().map(|scenario| scenario.name);
            names.chain(UNRULY_TESTS.map(|it| it.0)).map(trial).collect()
        }
    };
    let trials = tests::all().into_iter().chain(trials).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    for Time { what, took, used } in TIMES.lock().unwrap_or_else(PoisonError::into_inner).drain(..)
    {
        let [took, used] = [took, used].map(|time| time.as_secs_f64());
        tell(&format!("{took:6.1} s, {used:6.1} s of processors  {what}"));
    }
    let ran = conclusion.num_passed + conclusion.num_failed;
    if ran == 0 && !arguments.list && require::wish() == Wish::Required {
        tell("REQUIRE_VM=1, and no test has that name");
        return ExitCode::FAILURE;
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

    /// Plays a scenario and judges what came of it.
    fn judge(&self, scenario: &'static Scenario) -> Result<(), Failed> {
        let facts = self.play(scenario, TIME)?;
        (scenario.judge)(scenario.nics, &facts);
        Ok(())
    }

    /// The facts of a scenario, or why there are none.
    fn play(&self, scenario: &Scenario, time: Duration) -> Result<String, String> {
        let Self { packages, image } = self;
        let &Scenario { name, nics, .. } = scenario;
        let order = Order { packages, image, nics, scenario: name, time };
        let (mut last, mut steps) = (None, Vec::new());
        let start = Instant::now();
        let end = play(&order, |line| match line {
            Line::Step { what, at_s } => steps.push(format!("{at_s:12.1} s   {what}")),
            Line::Played { .. } | Line::Failed { .. } => last = Some(line.clone()),
            Line::Cable { .. } => {}
        });
        let steps = steps.join("\n");
        note(Time { what: format!("{name}\n{steps}"), took: start.elapsed(), used: end.used });
        let why = match (end.wrong, last) {
            (None, Some(Line::Played { facts })) => return Ok(facts),
            (_, Some(Line::Failed { why })) => format!("in the guest: {why}"),
            (Some(why), _) => why,
            (None, _) => "the guest switched off without a word".into(),
        };
        Err(format!("{why}\nsteps:\n{steps}\n{}", end.said))
    }
}

/// A test of guests that do not do as they are told.
type UnrulyTest = fn(&Stage) -> Result<(), Failed>;

const UNRULY_TESTS: [(&str, UnrulyTest); 3] = [
    ("harness::a_guest_that_hangs_is_killed_and_shown", |stage| {
        let why = stage.play(&unruly::HANGS, Duration::from_secs(15)).unwrap_err();
        assert!(why.contains("was killed, as it was not done after 15 s"), "{why}");
        assert!(why.contains("console:"), "{why}");
        Ok(())
    }),
    ("harness::a_kernel_that_panics_is_shown", |stage| {
        let why = stage.play(&unruly::DIES, TIME).unwrap_err();
        assert!(why.contains("Kernel panic"), "{why}");
        Ok(())
    }),
    ("harness::a_scenario_that_panics_is_told_with_its_words", |stage| {
        let why = stage.play(&unruly::PANICS, TIME).unwrap_err();
        assert!(why.contains("in the guest: thread main: panicked at"), "{why}");
        assert!(why.contains("these are its words"), "{why}");
        Ok(())
    }),
];

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

/// How long something took, and what its guest used of processors, which on a busy machine says
/// more.
struct Time {
    what: String,
    took: Duration,
    used: Duration,
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    note(Time { what: what.into(), took: start.elapsed(), used: Duration::ZERO });
    result
}

fn note(time: Time) {
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push(time);
}

/// Past whatever captures what is printed.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
