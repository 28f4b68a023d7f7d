//! A crate outside of the tree adds a service of its own and has the same command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The program, built once.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

/// Builds `tests/outside` beside this test, so that the dependencies are there already.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = root.join("tests/outside");
    // The same versions as here: whatever was downloaded for this test is enough for that one.
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let profile = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let target = profile.parent().unwrap();
    // One job of low priority: the tests beside this one send packets against the clock.
    let mut cargo = Command::new("nice");
    cargo.arg(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--offline", "--quiet", "--jobs", "1", "--manifest-path"]);
    cargo.arg(package.join("Cargo.toml")).arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile.join("outside")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn a_service_of_ones_own_has_the_same_command_line() {
    let program = program();
    let run = |words: &[&str]| -> Output { Command::new(program).args(words).output().unwrap() };

    let help = run(&["--help"]);
    assert!(help.status.success());
    for command in ["run", "check", "stats", "demo", "doctor", "completions"] {
        assert!(text(&help.stdout).contains(command), "no {command} in {}", text(&help.stdout));
    }

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let check = |name: &str, kind: &str, options: &str| {
        let file = folder.join(name);
        let config = format!(
            "[[interface]]\nname = \"eth1\"\nqueues = [0]\n\n\
             [[service]]\nname = \"mine\"\nkind = \"{kind}\"\ninterface = \"eth1\"\n\
             selectors = [{{ destination = \"198.18.0.1\" }}]\noptions = {options}\n"
        );
        fs::write(&file, config).unwrap();
        run(&["check", "--config", file.to_str().unwrap()])
    };
    let good = check("outside_good.toml", "sampler", "{ one_in = 10 }");
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("is a valid config"), "{}", text(&good.stdout));

    let unknown = check("outside_kind.toml", "simpler", "{}");
    assert!(!unknown.status.success());
    let errors = text(&unknown.stderr);
    assert!(errors.contains("did you mean \"sampler\"?"), "{errors}");
    assert!(errors.contains("allowed: echo, scrub, "), "{errors}");

    let wrong = check("outside_options.toml", "sampler", "{ one_in = 0 }");
    assert!(!wrong.status.success());
    assert!(text(&wrong.stderr).contains("service[0].options.one_in"), "{}", text(&wrong.stderr));
}
