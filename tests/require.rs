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
use std::path::{Path, PathBuf};
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

fn required() -> bool {
    env::var_os("REQUIRE_NET").is_some_and(|value| value == "1")
}

/// Keeps other tests that measure or flood from running meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that panicked has let the machine go as well.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The modules that need privilege, as their sources say.
fn privileged() -> Vec<String> {
    let sources = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap();
    let paths = sources.map(|entry| entry.unwrap().path());
    let modules = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let privileged = modules.filter(|path| asks(path) || parts(path).iter().any(|it| asks(it)));
    privileged.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Whether a source has a test that needs privilege.
fn asks(path: &Path) -> bool {
    let calls = concat!("require_net", "!();");
    fs::read_to_string(path).unwrap().contains(calls)
}

/// The sources that a module of many tests is split into.
fn parts(module: &Path) -> Vec<PathBuf> {
    let Ok(parts) = fs::read_dir(module.with_extension("")) else { return Vec::new() };
    let paths = parts.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn the_privileged_tests_are_there_to_be_run() {
    let program = env::current_exe().unwrap();
    let list = Command::new(program).args(["--list", "--format=terse"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let modules = privileged();
    for module in ["lab", "links", "under_load"] {
        assert!(modules.iter().any(|found| found == module), "{module} in {modules:?}");
    }
    for module in modules {
        let of_module = |line: &&str| line.starts_with(&format!("{module}::"));
        assert!(list.lines().any(|line| of_module(&line)), "no test in {module}:\n{list}");
    }
    require_net!();
    lab::Namespace::new().unwrap();
}
