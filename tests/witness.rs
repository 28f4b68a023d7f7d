//! Servers and clients as Debian ships them, behind the scrubber, while their port is flooded.
//!
//! ```text
//!   far: flood, client (curl, dnsperf, iperf3) ───► wire ───► near: tidegate ─► kernel ─► server
//! ```
//!
//! Clients ask at a steady rate that a quiet machine meets easily, and nobody asks twice: what
//! counts is how much of what was asked for came, not how fast. Each witness is heard four times:
//!
//! | | without flood | under flood |
//! |---|---|---|
//! | `tidegate run` | all | at least 999 of 1000 of that |
//! | the kernel alone | all | whatever is left, printed beside it |
//!
//! The flood is at [`pace`], far below what a core can take away: flood, clients and servers have
//! two cores for all of them. `WITNESS_SECONDS` makes each run longer, `WITNESS_PACE` the flood
//! stronger.
//!
//! A veth receives on the processor that sends, so a kernel that is busy with a flood slows it down.
//! `WITNESS_APART=1` has it received by a thread of real time on processor 0, as the interrupts of a
//! card are, whatever else that processor should do: then the flood does not wait for anybody.

mod bulk;
mod dns;
mod web;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate::lab::flood::{self, Budget, Flood, Kind, Running};
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_runtime::control;
use tidegate_runtime::metrics::PortStats;
use tidegate_runtime::metrics::snapshot::Snapshot;

/// How long a thing may take that takes well under a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who stands before the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Tidegate,
    Nobody,
}

/// What a client asked for, and what it got: requests, queries or octets.
#[derive(Clone, Copy, Debug)]
struct Goodput {
    asked: u64,
    got: u64,
}

impl Goodput {
    /// Of a thousand.
    #[expect(clippy::cast_precision_loss, reason = "a share to be looked at")]
    fn share(self) -> f64 {
        self.got as f64 / self.asked.max(1) as f64
    }
}

/// One hearing.
#[derive(Clone, Copy, Debug)]
struct Heard {
    goodput: Goodput,
    /// What the flood was: a kernel that is busy with it slows it down here, where both share a
    /// processor.
    flood_per_second: f64,
    /// Packets that the wire dropped, whose they may be.
    wire: u64,
    /// Packets that found no room in the program's rings.
    rings: u64,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { goodput, flood_per_second, wire, rings } = self;
        write!(
            f,
            "{:>10} of {:>10} (x {:.4}), flood {flood_per_second:>8.0}/s; lost: wire {wire}, rings {rings}",
            goodput.got,
            goodput.asked,
            goodput.share(),
        )
    }
}

/// A number that may be said in the environment.
fn said(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Seconds of one run.
fn seconds() -> u64 {
    said("WITNESS_SECONDS", 3)
}

/// Packets a second of a flood. A debug build takes away a fraction of what the shipped one does.
fn pace() -> u64 {
    said("WITNESS_PACE", if cfg!(debug_assertions) { 50_000 } else { 300_000 })
}

/// Whether the flood is received apart from where it is made.
fn apart() -> bool {
    said("WITNESS_APART", 0) == 1
}

/// A place with a wire and a folder, gone with it.
struct Quay {
    wire: Wire,
    folder: PathBuf,
}

impl Quay {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("witness-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir(&folder).unwrap();
        let namespace = || Namespace::new().unwrap();
        // The threads below are found by the interface's name, which nobody else should have.
        let number = if apart() { 217 } else { 1 };
        let options = WireOptions { number, ipv6: false, ..WireOptions::default() };
        let quay = Self { wire: Wire::new(&namespace(), &namespace(), &options).unwrap(), folder };
        if apart() {
            quay.receive_by_threads();
        }
        quay
    }

    fn receive_by_threads(&self) {
        let near = &self.wire.near;
        let switch =
            format!("mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{}/threaded", near.name);
        let mut command = program("unshare", &["--mount", "sh", "-c", &switch]);
        assert!(near.namespace.spawn(&mut command).unwrap().wait().unwrap().success());
    }

    /// Gives the threads that receive at the near end their processor and their priority. They are
    /// there as soon as there is a program.
    fn raise_receivers(&self) {
        let prefix = format!("napi/{}-", self.wire.near.name);
        let found = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let names = entries.filter(|entry| {
                fs::read_to_string(entry.path().join("comm"))
                    .is_ok_and(|name| name.starts_with(&prefix))
            });
            names.filter_map(|it| it.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        assert!(soon(|| !found().is_empty()), "no thread receives");
        for pid in found() {
            for (tool, words) in [("taskset", ["-c", "-p", "0"]), ("chrt", ["-f", "-p", "1"])] {
                let mut command = program(tool, &words);
                command.arg(&pid).stdout(Stdio::null());
                assert!(command.status().unwrap().success(), "{tool} {pid}");
            }
        }
    }

    /// Writes a file and gives its path.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The server's address.
    fn at(&self, port: u16) -> SocketAddr {
        (self.wire.near.ipv4, port).into()
    }

    /// Starts a server, and waits until someone listens at the port.
    fn serve(&self, mut command: Command, port: u16) -> Server {
        let log = fs::File::create(self.folder.join("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Server(self.wire.near.namespace.spawn(&mut command).unwrap());
        // Column 2 of proc_pid_net(5): the local address in hexadecimal, `ADDRESS:PORT`.
        let listens = || {
            let tables = ["tcp", "udp"].map(|table| format!("/proc/thread-self/net/{table}"));
            let wanted = format!(":{port:04X}");
            tables.iter().any(|table| {
                let text = fs::read_to_string(table).unwrap();
                text.lines().any(|line| {
                    line.split_whitespace().nth(1).is_some_and(|it| it.ends_with(&wanted))
                })
            })
        };
        let there = || soon(|| self.wire.near.namespace.run(listens).unwrap());
        assert!(there(), "{:?}", fs::read_to_string(self.folder.join("server.log")));
        server
    }

    /// Runs a client to its end.
    #[track_caller]
    fn ask(&self, command: &mut Command) -> Output {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let client = self.wire.far.namespace.spawn(command).unwrap();
        client.wait_with_output().unwrap()
    }

    /// What clients get: under a flood of this kind, where it is said.
    fn hear(&self, guard: Guard, flood: Option<Kind>, client: &dyn Fn(&Self) -> Goodput) -> Heard {
        let before = self.wire.far.link().unwrap().counters.tx_dropped;
        let gate = Gate::close(self, guard);
        if apart() {
            self.raise_receivers();
        }
        let flood = flood.map(|kind| self.flood(kind));
        let goodput = client(self);
        let flood = flood.map(|flood| flood.stop().unwrap().1);
        let ports = gate.open();
        if let (Some(sent), Guard::Tidegate) = (flood, guard) {
            // The flood was one, also where other work takes its processor, and it ended here.
            assert!(sent.offered > pace() * seconds() / 5, "{sent:?}");
            assert!(ports.settled_drop > sent.taken() / 2, "{ports:?} of {sent:?}");
        }
        let wire = self.wire.far.link().unwrap().counters.tx_dropped - before;
        let flood_per_second = flood.map_or(0.0, |sent| sent.packets_per_second());
        Heard { goodput, flood_per_second, wire, rings: ports.kernel_losses() }
    }

    /// A flood at [`pace`], for as long as no client takes.
    fn flood(&self, kind: Kind) -> Running {
        let budget = Budget {
            packets: u64::MAX,
            time: PATIENCE + Duration::from_secs(3 * seconds()),
            packets_per_second: NonZeroU64::new(pace()),
            // The shard has the other one.
            processor: (processors() > 1).then_some(1),
        };
        let options = flood::Options::new(kind);
        let flood = Flood::new(&self.wire.far, &options).unwrap().start(budget).unwrap();
        assert!(soon(|| flood.offered() > 1_000));
        flood
    }

    /// All four hearings, with what has to hold.
    fn compare(&self, name: &str, kind: Kind, client: &dyn Fn(&Self) -> Goodput) {
        let [quiet, flooded] =
            [None, Some(kind)].map(|flood| self.hear(Guard::Tidegate, flood, client));
        let [alone, drowned] =
            [None, Some(kind)].map(|flood| self.hear(Guard::Nobody, flood, client));
        let told: String = [
            ("tidegate, without flood", quiet),
            ("tidegate, under flood", flooded),
            ("the kernel, without flood", alone),
            ("the kernel, under flood", drowned),
        ]
        .map(|(who, heard)| format!("  {who:<26} {heard}\n"))
        .concat();
        let _ = write!(io::stderr(), "{name}, {} s each\n{told}", seconds());
        let [quiet, flooded] = [quiet.goodput, flooded.goodput];
        assert!(quiet.got > 0 && quiet.share() >= 0.999, "without flood: {quiet:?}\n{told}");
        assert!(flooded.share() >= 0.999 * quiet.share(), "{flooded:?} of {quiet:?}\n{told}");
    }

    /// The scrubber before these ports: what it is told, in one place.
    fn config(&self, instance: &str, ports: &[u16]) -> String {
        let (name, address) = (&self.wire.near.name, self.wire.near.ipv4);
        let selectors: String = ports
            .iter()
            .flat_map(|port| ["udp", "tcp"].map(|protocol| (port, protocol)))
            .map(|(port, protocol)| {
                format!(
                    "{{ destination = \"{address}\", protocol = \"{protocol}\", ports = {port} }},"
                )
            })
            .collect();
        format!(
            r#"
[runtime]
instance = "{instance}"
shards = 1
cpus = [0]
[[interface]]
name = "{name}"
umem = {{ frames = 16384 }}
ring_entries = 8192
[[service]]
name = "shield"
kind = "scrub"
held_frames_max = 8192
selectors = [{selectors}]
[service.options]
rules = "spoofed: drop when ip.src in {{ 198.19.0.0/16 }}"
"#
        )
    }
}

impl Drop for Quay {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Ports of all witnesses.
const PORTS: [u16; 3] = [dns::PORT, web::PORT, bulk::PORT];

/// What takes live frames at the near end: the program, or a receiver that passes all.
enum Gate {
    Tidegate { child: Server, socket: PathBuf },
    Nobody { _receiver: Sink },
}

impl Gate {
    fn close(quay: &Quay, guard: Guard) -> Self {
        if guard == Guard::Nobody {
            let receiver = Sink::attach(&quay.wire.near, Action::Pass).unwrap();
            return Self::Nobody { _receiver: receiver };
        }
        let instance = quay.folder.file_name().unwrap().to_str().unwrap();
        let file = quay.write("tide.toml", quay.config(instance, &PORTS));
        let log = fs::File::create(quay.folder.join("tide.log")).unwrap();
        // Of real time, as a service manager starts it: whoever keeps the gate does not queue
        // behind what else a machine has to do.
        let mut command = program("chrt", &["--fifo", "1", env!("CARGO_BIN_EXE_tidegate")]);
        command.args(["run", "--config", &file]).env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = Server(quay.wire.near.namespace.spawn(&mut command).unwrap());
        let socket = control::socket_path(&control::directory(), instance).unwrap();
        let log = quay.folder.join("tide.log");
        let ready = || fs::read_to_string(&log).unwrap().contains(" running ");
        assert!(soon(ready), "{:?}", fs::read_to_string(&log));
        Self::Tidegate { child, socket }
    }

    /// Takes it away. Returns what its ports counted: no packet was refused on its way back, and
    /// none is nowhere.
    fn open(self) -> PortStats {
        let Self::Tidegate { child, socket } = self else { return PortStats::default() };
        let answer = control::request(&socket, "stats").unwrap();
        let snapshot: Snapshot = serde_json::from_value(answer).unwrap();
        let (_, ports, _) = snapshot.totals();
        assert_eq!(snapshot.conservation.unaccounted, 0, "{snapshot:#?}");
        assert_eq!(ports.reinject_refused_packets, 0);
        kill(Pid::from_raw(child.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        let mut child = child;
        assert!(child.0.wait().unwrap().success());
        ports
    }
}

/// A child process. Dropping it kills it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Whether `true` comes within a time that only something broken needs.
fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// A program with these words.
fn program(name: &str, words: &[&str]) -> Command {
    // Servers are where only root has them in its path.
    let there = |folder: &&str| Path::new(folder).join(name).is_file();
    let folder = ["/usr/sbin", "/usr/bin"].into_iter().find(there).unwrap_or("/usr/bin");
    let mut command = Command::new(Path::new(folder).join(name));
    command.args(words);
    command
}
