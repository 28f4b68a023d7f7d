//! What the program says when it is asked about itself.

use std::process::{Command, Stdio};

use super::{Process, Said, tidegate};

const COMMANDS: [&str; 8] =
    ["run", "check", "stats", "demo", "doctor", "sdp", "restore", "completions"];

/// Needs no namespace: nothing is touched.
fn said(words: &[&str]) -> Said {
    let mut command = tidegate(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Process::adopt(command.spawn().unwrap()).end()
}

#[test]
fn completions_of_each_shell_know_every_command_and_the_shell_reads_them() {
    for shell in ["bash", "zsh", "fish"] {
        let said = said(&["completions", shell]);
        assert_eq!((said.code, &*said.errors), (Some(0), ""), "{shell}");
        for command in COMMANDS {
            assert!(said.out.contains(command), "no {command} for {shell}");
        }
    }
    // The one that is everywhere completes with it.
    let script = "eval \"$(\"$0\" completions bash)\"; COMP_WORDS=(tidegate ch); COMP_CWORD=1; \
                  _tidegate tidegate ch tidegate; echo \"${COMPREPLY[@]}\"";
    let bash = ["-c", script, env!("CARGO_BIN_EXE_tidegate")];
    let reply = Command::new("bash").args(bash).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&reply.stdout), "check\n", "{reply:?}");
}

#[test]
fn help_names_every_command_and_what_is_no_command_is_refused() {
    let help = said(&["--help"]);
    assert_eq!((help.code, &*help.errors), (Some(0), ""));
    for command in COMMANDS {
        assert!(help.out.contains(command), "no {command} in {}", help.out);
    }
    let wrong = said(&["ran"]);
    assert_eq!((wrong.code, &*wrong.out), (Some(2), ""));
    assert!(wrong.errors.contains("similar subcommand exists: 'run'"), "{}", wrong.errors);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut command = tidegate(&["completions", "zsh"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before a word was read, as by `| head -0`.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}
