//! SIGINT, SIGTERM and SIGHUP, as events for the main thread.
//!
//! The first SIGINT or SIGTERM is [`Event::Drain`]: stop admitting, settle every
//! frame, leave with 0. The second one ends the process on the spot, with status
//! 128 plus the signal's number as shells report it: whoever asks twice does not
//! trust the drain, so it does not depend on any thread of ours. The kernel then
//! detaches the XDP programs, as after `kill -9`.
//!
//! SIGHUP is [`Event::HangUp`], for the main thread to read again what can be
//! changed at run time. A closed terminal sends it too, and ends nothing.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGINT or SIGTERM, the first: drain and leave.
    Drain,
    /// SIGHUP.
    HangUp,
}

/// The process's signals, for as long as the process lives: dropping this does
/// not bring back what signals did before. Made once, by the main thread.
#[derive(Debug)]
pub struct Signals {
    terminate: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
    /// [`Event::Drain`] was returned.
    drained: bool,
    /// Gets an octet per signal.
    pipe: UnixStream,
}

impl Signals {
    /// Takes the three signals over.
    ///
    /// # Errors
    ///
    /// When the system grants no socket pair or refuses the handlers.
    pub fn install() -> io::Result<Self> {
        let terminate = Arc::new(AtomicBool::new(false));
        let hang_up = Arc::new(AtomicBool::new(false));
        let (pipe, into_pipe) = UnixStream::pair()?;
        // A signal's actions run in the order of their registration: it is only
        // the second one that finds the flag set.
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&terminate))?;
        }
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&terminate))?;
            pipe::register(signal, into_pipe.try_clone()?)?;
        }
        flag::register(SIGHUP, Arc::clone(&hang_up))?;
        pipe::register(SIGHUP, into_pipe)?;
        Ok(Self { terminate, hang_up, drained: false, pipe })
    }

    /// Whether SIGINT or SIGTERM came, for loops that do not wait here.
    pub fn drain_asked(&self) -> bool {
        self.terminate.load(Ordering::Relaxed)
    }

    /// The next event, waiting up to `timeout` for it; sometimes it ends early
    /// with none. [`Event::Drain`] comes once.
    ///
    /// # Errors
    ///
    /// When the wait itself fails, which is no reason to go on.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<Event>> {
        if let Some(event) = self.take() {
            return Ok(Some(event));
        }
        // Zero would mean for ever.
        self.pipe.set_read_timeout(Some(timeout.max(Duration::from_micros(1))))?;
        match self.pipe.read(&mut [0; 64]) {
            // The flags say what came, not the octets.
            Ok(_count) => (),
            Err(error) => match error.kind() {
                // The time is over, or a signal interrupted the call.
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => (),
                _ => return Err(error),
            },
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Option<Event> {
        if !self.drained && self.drain_asked() {
            self.drained = true;
            Some(Event::Drain)
        } else if self.hang_up.swap(false, Ordering::Relaxed) {
            Some(Event::HangUp)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;
    use std::{env, process, thread};

    use signal_hook::low_level::raise;

    use super::*;

    /// Set in the process that plays the one signalled.
    const ROLE: &str = "TIDEGATE_TEST_SIGNALLED";
    const LONG: Duration = Duration::from_secs(10);
    const AT_ONCE: Duration = Duration::ZERO;

    /// Runs the test `name` of this binary in a process of its own, because
    /// signals are of the process; returns its exit status.
    fn run(name: &str) -> Option<i32> {
        let test = format!("signals::tests::{name}");
        let mut command = Command::new(env::current_exe().unwrap());
        let output = command.args([&test, "--exact"]).env(ROLE, "1").output().unwrap();
        output.status.code()
    }

    #[test]
    fn the_first_asks_for_a_drain_and_the_second_ends_the_process() {
        const NAME: &str = "the_first_asks_for_a_drain_and_the_second_ends_the_process";
        if env::var_os(ROLE).is_none() {
            assert_eq!(run(NAME), Some(128 + SIGINT));
            return;
        }
        let mut signals = Signals::install().unwrap();
        if signals.wait(AT_ONCE).unwrap().is_some() || signals.drain_asked() {
            process::exit(1);
        }
        raise(SIGTERM).unwrap();
        if signals.wait(LONG).unwrap() != Some(Event::Drain) || !signals.drain_asked() {
            process::exit(2);
        }
        if signals.wait(AT_ONCE).unwrap().is_some() {
            process::exit(3);
        }
        raise(SIGINT).unwrap();
        thread::sleep(LONG);
        process::exit(4);
    }

    #[test]
    fn a_closed_terminal_is_noted_each_time_and_ends_nothing() {
        const NAME: &str = "a_closed_terminal_is_noted_each_time_and_ends_nothing";
        if env::var_os(ROLE).is_none() {
            assert_eq!(run(NAME), Some(77));
            return;
        }
        let mut signals = Signals::install().unwrap();
        for _ in 0..3 {
            raise(SIGHUP).unwrap();
            if signals.wait(LONG).unwrap() != Some(Event::HangUp) {
                process::exit(1);
            }
        }
        process::exit(77);
    }

    #[test]
    fn a_signal_ends_a_wait() {
        const NAME: &str = "a_signal_ends_a_wait";
        if env::var_os(ROLE).is_none() {
            assert_eq!(run(NAME), Some(77));
            return;
        }
        let mut signals = Signals::install().unwrap();
        let start = Instant::now();
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(50));
            raise(SIGINT).unwrap();
        });
        // Interrupted waits may return early and empty.
        while start.elapsed() < LONG {
            if signals.wait(LONG).unwrap() == Some(Event::Drain) && start.elapsed() < LONG / 2 {
                process::exit(77);
            }
        }
        process::exit(1);
    }
}
