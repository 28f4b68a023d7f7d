//! What a test needs of the machine, and what becomes of it where that is missing.
//!
//! A test that needs privilege starts with `require_net!()`. Where something is
//! missing it is skipped, and says so with the reason, past the capture of the
//! test harness. With `REQUIRE_NET=1` the same is a failure; and so that "none
//! ran" is one too, the test below looks for the tests of each module that says
//! it needs privilege.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use tidegate::lab;

/// Ends the test here, skipped, where the machine gives no lab.
macro_rules! require_net {
    () => {
        if !$crate::require::net() {
            return;
        }
    };
}

/// Whether there is all that a lab needs; says what is missing, once for each test.
pub(crate) fn net() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let Some(missing) = MISSING.get_or_init(lab::missing) else { return true };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(!required(), "REQUIRE_NET=1, and {test} cannot run:\n{missing}");
    // The harness captures what is printed, not what is written. The reason in
    // full comes once.
    static TOLD: Once = Once::new();
    TOLD.call_once(|| drop(writeln!(io::stderr(), "no lab here:\n{missing}")));
    let reason = missing.lines().next().unwrap_or("");
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
    false
}

/// Whether the program `name`, which others wrote, can be asked what it sees; says so if it cannot.
pub(crate) fn program(name: &str) -> bool {
    let places = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&places).any(|place| place.join(name).is_file()) {
        return true;
    }
    without(&format!("{name} is not installed"));
    false
}

/// Whether the file `path` of Debian's `package` is there; says so if it is not.
pub(crate) fn file(path: &str, package: &str) -> bool {
    if Path::new(path).is_file() {
        return true;
    }
    without(&format!("{package} is not installed"));
    false
}

/// Says that the test leaves something out, and why.
pub(crate) fn without(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(!required(), "REQUIRE_NET=1, and {test} cannot run: {why}");
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}

fn required() -> bool {
    env::var_os("REQUIRE_NET").is_some_and(|value| value == "1")
}

/// Keeps other tests that measure or flood from running meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that panicked has let the machine go as well.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The modules that need privilege, as their sources say: `lab`, `command::refused`.
fn privileged() -> Vec<String> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"));
    let calls = concat!("require_net", "!();");
    let (mut folders, mut modules) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                // A package of its own is none of our modules.
                folders.extend((!path.join("Cargo.toml").exists()).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(&path).unwrap().contains(calls)
            {
                let module = path.strip_prefix(root).unwrap().with_extension("");
                modules.push(module.to_str().unwrap().replace('/', "::"));
            }
        }
    }
    modules
}

#[test]
fn the_privileged_tests_are_there_to_be_run() {
    let program = env::current_exe().unwrap();
    let list = Command::new(program).args(["--list", "--format=terse"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let modules = privileged();
    for module in ["lab", "links", "command::refused"] {
        assert!(modules.iter().any(|found| found == module), "{module} in {modules:?}");
    }
    for module in modules {
        let of_module = |line: &&str| line.starts_with(&format!("{module}::"));
        assert!(list.lines().any(|line| of_module(&line)), "no test in {module}:\n{list}");
    }
    require_net!();
    lab::Namespace::new().unwrap();
}
