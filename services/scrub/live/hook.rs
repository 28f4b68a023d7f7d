//! The operator's own command, told of every engagement and release.
//!
//! It runs beside everything else: nobody waits for it, there are [`RUNNING_MAX`] at a time, and one
//! that does not end within [`PATIENCE_NS`] is killed with all that it started. How it ended is logged.

use std::fmt;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tracing::{info, warn};

/// Hooks that run at a time. More are not started: a hook that hangs must not fill the machine.
pub(crate) const RUNNING_MAX: usize = 8;

/// How long a hook may run. It is for telling somebody, not for doing the work.
pub(crate) const PATIENCE_NS: u64 = 10_000_000_000;

/// What a hook is told, in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `TIDEGATE_SERVICE`.
    pub(crate) service: Box<str>,
    /// `TIDEGATE_DESTINATION`.
    pub(crate) destination: Box<str>,
    /// `TIDEGATE_STATE`: `engaged` or `released`.
    pub(crate) state: &'static str,
    /// `TIDEGATE_REASON`: what was above its threshold, or why else.
    pub(crate) reason: Box<str>,
    /// `TIDEGATE_PACKETS_PER_SECOND` that come for the destination.
    pub(crate) packets_per_second: u64,
    /// `TIDEGATE_BITS_PER_SECOND` that come for the destination.
    pub(crate) bits_per_second: u64,
}

impl Event {
    fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("TIDEGATE_SERVICE", self.service.to_string()),
            ("TIDEGATE_DESTINATION", self.destination.to_string()),
            ("TIDEGATE_STATE", self.state.to_owned()),
            ("TIDEGATE_REASON", self.reason.to_string()),
            ("TIDEGATE_PACKETS_PER_SECOND", self.packets_per_second.to_string()),
            ("TIDEGATE_BITS_PER_SECOND", self.bits_per_second.to_string()),
        ]
    }
}

/// A hook that runs.
struct Running {
    child: Child,
    event: Event,
    until_ns: u64,
    killed: bool,
}

/// What became of hooks since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ended with 0.
    pub(crate) done: u64,
    /// Ended otherwise, were killed, or could not be started.
    pub(crate) failed: u64,
}

/// The command, and those of it that run.
pub(crate) struct Hook {
    command: Option<Box<str>>,
    running: Vec<Running>,
    counts: Counts,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running.len();
        f.debug_struct("Hook").field("command", &self.command).field("running", &running).finish()
    }
}

impl Hook {
    /// A hook that is a command of the shell; none, and nothing is run.
    pub(crate) fn new(command: Option<Box<str>>) -> Self {
        Self { command, running: Vec::with_capacity(RUNNING_MAX), counts: Counts::default() }
    }

    /// Another command from now on.
    pub(crate) fn set_command(&mut self, command: Option<Box<str>>) {
        self.command = command;
    }

    /// What became of hooks, where there is a command or was one.
    pub(crate) fn counts(&self) -> Option<Counts> {
        let any = self.command.is_some() || self.counts != Counts::default();
        any.then_some(self.counts)
    }

    /// Starts the command for what has happened.
    pub(crate) fn tell(&mut self, event: Event, now_ns: u64) {
        let Some(command) = &self.command else { return };
        let Event { service, destination, state, .. } = &event;
        if self.running.len() == RUNNING_MAX {
            self.counts.failed += 1;
            warn!(
                %service, %destination, state,
                "the hook was not run: {RUNNING_MAX} of it have not ended yet"
            );
            return;
        }
        let started = Command::new("/bin/sh")
            .args(["-c", command])
            .envs(event.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A group of its own, so that all of it can be killed.
            .process_group(0)
            .spawn();
        match started {
            Ok(child) => {
                let until_ns = now_ns + PATIENCE_NS;
                self.running.push(Running { child, event, until_ns, killed: false });
            }
            Err(error) => {
                self.counts.failed += 1;
                warn!(%service, %destination, state, %error, "the hook could not be started");
            }
        }
    }

    /// Sees to those that ended, and ends those that should have. Waits for none.
    pub(crate) fn look(&mut self, now_ns: u64) {
        let counts = &mut self.counts;
        self.running.retain_mut(|running| match running.child.try_wait() {
            Ok(None) => {
                if !running.killed && now_ns >= running.until_ns {
                    running.kill();
                }
                true
            }
            Ok(Some(status)) => {
                match status.success() && !running.killed {
                    true => counts.done += 1,
                    false => counts.failed += 1,
                }
                running.log(status);
                false
            }
            Err(error) => {
                counts.failed += 1;
                warn!(%error, "the hook's end could not be asked for");
                false
            }
        });
    }
}

impl Running {
    fn kill(&mut self) {
        self.killed = true;
        let Event { service, destination, state, .. } = &self.event;
        warn!(%service, %destination, state, "the hook has not ended in 10 s and is killed");
        if let Ok(id) = i32::try_from(self.child.id()) {
            // Not reaped yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }

    fn log(&self, status: ExitStatus) {
        let Event { service, destination, state, .. } = &self.event;
        match (status.code(), status.signal()) {
            (Some(0), _) => info!(%service, %destination, state, "the hook has ended"),
            (Some(code), _) => warn!(%service, %destination, state, code, "the hook failed"),
            (None, signal) => {
                warn!(%service, %destination, state, signal, "the hook was ended by a signal");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};
    use std::{env, fs, process, thread};

    use super::*;

    fn event(state: &'static str) -> Event {
        Event {
            service: "shield".into(),
            destination: "198.18.0.1 udp 53".into(),
            state,
            reason: "7 packets a second, above 5".into(),
            packets_per_second: 7,
            bits_per_second: 3360,
        }
    }

    fn file(name: &str) -> PathBuf {
        env::temp_dir().join(format!("tidegate-hook-{}-{name}", process::id()))
    }

    /// Looks until none runs.
    fn ended(hook: &mut Hook, now_ns: u64) -> Counts {
        let start = Instant::now();
        while !hook.running.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "{hook:?}");
            hook.look(now_ns);
            thread::sleep(Duration::from_millis(2));
        }
        hook.counts
    }

    #[test]
    fn a_hook_is_told_what_happened_and_how_it_ended_is_counted() {
        let path = file("told");
        let command = format!(
            "env | grep ^TIDEGATE_ | grep -v ^TIDEGATE_CORPUS= | sort > {}",
            path.display()
        );
        let mut hook = Hook::new(Some(command.as_str().into()));
        hook.tell(event("engaged"), 0);
        assert_eq!(ended(&mut hook, 0), Counts { done: 1, failed: 0 });
        let told = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            told,
            "TIDEGATE_BITS_PER_SECOND=3360\nTIDEGATE_DESTINATION=198.18.0.1 udp 53\n\
             TIDEGATE_PACKETS_PER_SECOND=7\nTIDEGATE_REASON=7 packets a second, above 5\n\
             TIDEGATE_SERVICE=shield\nTIDEGATE_STATE=engaged\n"
        );
        hook.set_command(Some("exit 3".into()));
        hook.tell(event("released"), 0);
        assert_eq!(ended(&mut hook, 0), Counts { done: 1, failed: 1 });
        hook.set_command(None);
        hook.tell(event("engaged"), 0);
        assert!(hook.running.is_empty());
    }

    #[test]
    fn hooks_that_hang_are_bounded_and_killed_with_what_they_started() {
        let path = file("alive");
        // What it starts would write after the hook is gone.
        let command = format!("(sleep 3; touch {}) & sleep 100", path.display());
        let mut hook = Hook::new(Some(command.as_str().into()));
        let start = Instant::now();
        (0..RUNNING_MAX + 2).for_each(|_| hook.tell(event("engaged"), 0));
        assert!(start.elapsed() < Duration::from_secs(2), "nobody waits for them");
        assert_eq!((hook.running.len(), hook.counts.failed), (RUNNING_MAX, 2));
        hook.look(PATIENCE_NS - 1);
        assert_eq!(hook.running.len(), RUNNING_MAX);
        let failed = 2 + RUNNING_MAX as u64;
        assert_eq!(ended(&mut hook, PATIENCE_NS), Counts { done: 0, failed });
        thread::sleep(Duration::from_millis(3500));
        assert!(!path.exists(), "what a hook started outlived it");
    }
}
