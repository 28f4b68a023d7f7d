//! The shipped program as a process of the guest.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate::lab::Namespace;
use tidegate_runtime::control;
use tidegate_runtime::metrics::snapshot::Snapshot;

use crate::image::PROGRAM;
use crate::scenario::facts::Left;

/// How long anything of a program may take: several times what it takes on a software CPU.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// `tidegate run` with a config. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    namespace: Namespace,
    instance: String,
}

impl Program {
    /// Starts it in `namespace` with `config`, which names no instance, and waits until it serves
    /// packets.
    ///
    /// # Panics
    ///
    /// Where it ends before that, or takes too long: with its log.
    pub(crate) fn start(namespace: &Namespace, instance: &str, config: &str) -> Self {
        let mut program = Self::attempt(namespace, instance, config);
        let give_up = Instant::now() + PATIENCE;
        while !program.log().contains(" running ") {
            let ended = program.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{instance} ended: {ended:?}\n{}", program.log());
            assert!(Instant::now() < give_up, "{instance} does not start:\n{}", program.state());
            thread::sleep(Duration::from_millis(20));
        }
        program
    }

    /// Starts it, and waits for the end that it comes to by itself.
    pub(crate) fn refused(namespace: &Namespace, instance: &str, config: &str) -> Left {
        Self::attempt(namespace, instance, config).end()
    }

    fn attempt(namespace: &Namespace, instance: &str, config: &str) -> Self {
        let file = format!("/tmp/{instance}.toml");
        let head = format!("[runtime]\ninstance = \"{instance}\"\n");
        fs::write(&file, head + config).expect("memory takes it");
        let log = File::create(log(instance)).expect("memory takes it");
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config", &file]).env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = namespace.spawn(&mut command).expect("it is in the image");
        Self { child, namespace: namespace.clone(), instance: instance.into() }
    }

    fn log(&self) -> String {
        fs::read_to_string(log(&self.instance)).unwrap_or_default()
    }

    /// Its log, and where in the kernel its threads are.
    fn state(&self) -> String {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(folder).into_iter().flatten().flatten();
        let stacks = threads.map(|thread| {
            let read = |name: &str| fs::read_to_string(thread.path().join(name));
            let [name, stack] = ["comm", "stack"].map(|name| read(name).unwrap_or_default());
            format!("thread {name}{stack}")
        });
        self.log() + &stacks.collect::<String>()
    }

    /// What it counts now, asked as `tidegate stats` does, but without starting that.
    pub(crate) fn now(&self) -> Snapshot {
        let socket = control::socket_path(&control::directory(), &self.instance);
        let answer = socket.map(|socket| control::request(&socket, "stats"));
        match answer {
            Ok(Ok(answer)) => serde_json::from_value(answer).expect("a snapshot"),
            other => panic!("{} does not answer: {other:?}\n{}", self.instance, self.state()),
        }
    }

    /// What `tidegate stats --json` says.
    fn stats(&self) -> Snapshot {
        let mut command = Command::new(PROGRAM);
        command.args(["stats", "--json", "--instance", &self.instance]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = self.namespace.spawn(&mut command).expect("it is in the image");
        let said = said.wait_with_output().expect("it is our child");
        let errors = String::from_utf8_lossy(&said.stderr);
        serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {errors}\n{}", self.log()))
    }

    /// What `tidegate stats --json` says when nothing moves any more.
    ///
    /// # Panics
    ///
    /// Where something always does.
    pub(crate) fn quiet(&self) -> Snapshot {
        self.quiet_by(|snapshot| {
            let (_, mut ports, _) = snapshot.totals();
            // To be asked wakes a shard, and a kernel that copies then looks for what is to be sent.
            ports.kernel_tx_ring_empty_descs = 0;
            (ports, snapshot.steering.clone())
        })
    }

    /// What `tidegate stats --json` says when that which `moves` does not any more.
    ///
    /// # Panics
    ///
    /// Where it always does.
    pub(crate) fn quiet_by<T: PartialEq>(&self, moves: impl Fn(&Snapshot) -> T) -> Snapshot {
        let give_up = Instant::now() + PATIENCE;
        let mut before = self.now();
        loop {
            thread::sleep(Duration::from_millis(300));
            let now = self.stats();
            if moves(&before) == moves(&now) {
                return now;
            }
            assert!(Instant::now() < give_up, "something moves still: {now:#?}");
            before = now;
        }
    }

    /// Asks it to leave, and waits for its end.
    pub(crate) fn leave(self) -> Left {
        self.signal(Signal::SIGTERM);
        self.end()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process number"));
        kill(pid, signal).expect("it is our child");
    }

    fn end(mut self) -> Left {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return Left { code: status.code(), log: self.log() };
            }
            assert!(Instant::now() < give_up, "{} hangs:\n{}", self.instance, self.state());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Where it has ended already, both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the shipped program says to these words, in `namespace`.
pub(crate) fn said(namespace: &Namespace, words: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let said = namespace.run(|| command.args(words).output());
    let said = said.expect("there is a thread").expect("it is in the image");
    String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
}

fn log(instance: &str) -> String {
    format!("/tmp/{instance}.log")
}
