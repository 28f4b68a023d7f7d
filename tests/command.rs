//! The program as an operator meets it: its words, its exit code, and what it leaves, on bad days.
//!
//! Each test starts the real binary in a namespace of its own, causes one bad day, and looks at
//! three things: the message (what was asked, where, what to type), the exit code, and that
//! nothing is left on the interface.

mod contained;
mod forbidden;
mod instance;
mod links;
mod measure;
mod refused;
mod sighup;
mod steering;
mod words;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate::lab::{End, Namespace, Wire, WireOptions};

/// How long anything here may take. All of it takes well under a second on an idle machine; a
/// busy one is no failure, a program that hangs is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these words on its command line.
fn tidegate(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(words).env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// What a process said until it ended.
#[derive(Debug)]
struct Said {
    /// `None`: a signal ended it.
    code: Option<i32>,
    out: String,
    errors: String,
}

impl Said {
    /// Its one complaint, of a process that failed and did nothing else.
    #[track_caller]
    fn refusal(&self) -> &str {
        assert_eq!((self.code, &*self.out), (Some(1), ""), "{self:?}");
        self.errors.strip_suffix('\n').unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// A process of a test. Dropping it kills it.
struct Process {
    child: Child,
    out: Ear,
    errors: Ear,
}

impl Process {
    /// Starts `command` inside `namespace`.
    fn start(namespace: &Namespace, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::adopt(namespace.spawn(&mut command).unwrap())
    }

    /// Listens to a process that was started with pipes for its output.
    fn adopt(mut child: Child) -> Self {
        let (out, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, out: Ear::on(out), errors: Ear::on(errors) }
    }

    /// Waits until it says that it serves packets.
    #[track_caller]
    fn await_running(&mut self) {
        self.await_words(" running ");
    }

    /// Waits until its log has these words.
    #[track_caller]
    fn await_words(&mut self, words: &str) {
        let give_up = Instant::now() + PATIENCE;
        while !self.errors.heard().contains(words) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.errors.heard());
            assert!(Instant::now() < give_up, "no {words:?}: {}", self.errors.heard());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    fn end(mut self) -> Said {
        let give_up = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < give_up, "hangs: {}", self.errors.heard()),
            }
            thread::sleep(Duration::from_millis(5));
        };
        Said { code: status.code(), out: self.out.all(), errors: self.errors.all() }
    }

    /// Asks it to leave, and waits for its end.
    #[track_caller]
    fn leave(self) -> Said {
        self.signal(Signal::SIGTERM);
        self.end()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe, so that no process waits for a reader.
struct Ear {
    heard: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    fn on(mut pipe: impl Read + Send + 'static) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&heard);
        let thread = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = pipe.read(&mut piece) {
                own.lock().unwrap().extend_from_slice(&piece[..len]);
            }
        });
        Self { heard, thread: Some(thread) }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }

    /// All of it; the writer has ended.
    fn all(&mut self) -> String {
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
        self.heard()
    }
}

/// A directory of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file and gives its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A name that no other test has, of this run or of another on this machine.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("tidetest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A config with an echo service at UDP port 7 on queue 0 of `interface`.
fn echo(instance: &str, interface: &str) -> String {
    format!(
        "[runtime]\ninstance = \"{instance}\"\n\n\
         [[interface]]\nname = \"{interface}\"\numem = {{ frames = 512 }}\nring_entries = 64\n\n\
         [[service]]\nname = \"ping\"\nkind = \"echo\"\n\
         selectors = [{{ destination = \"198.18.0.0/15\", protocol = \"udp\", ports = 7 }}]\n"
    )
}

/// A wire with these many queues.
fn wire(queues: u32) -> Wire {
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let options = WireOptions { queues, ipv6: false, ..WireOptions::default() };
    Wire::new(&near, &far, &options).unwrap()
}

/// `tidegate run` of a config, at the near end of a wire.
fn run(end: &End, folder: &Folder, config: &str) -> Process {
    let file = folder.write("tide.toml", config);
    Process::start(&end.namespace, tidegate(&["run", "--config", &file]))
}

/// `tidegate stats` about `instance`, with more words.
fn stats(namespace: &Namespace, instance: &str, words: &[&str]) -> Said {
    let words = [&["stats", "--instance", instance], words].concat();
    Process::start(namespace, tidegate(&words)).end()
}

/// Nothing of ours, and nothing of others that was not there before.
#[track_caller]
fn assert_bare(end: &End) {
    assert_eq!(end.link().unwrap().xdp, None, "a program was left on {}", end.name);
}
