//! The process is alive and stands still: `kill -STOP`.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

/// In the environment of the process that is stopped: the destination that it protects.
const PROTECTS: &str = "TIDEGATE_TEST_PROTECTS";
/// In front of what it says.
const SAYS: &str = "redirected and stalled: ";

/// The process that is stopped, and no test: it works only where the test below starts it.
#[test]
fn stands_where_it_is_told_to() {
    let Ok(destination) = env::var(PROTECTS) else { return };
    let stand = Stand::start("tide1", destination.parse().unwrap(), engaged());
    // A line is a question. At the end of the input it leaves.
    for _ in stdin().lines() {
        let counters = stand.steering.counters().unwrap();
        let [redirected, stalled] =
            [Outcome::Redirected, Outcome::PassStalled].map(|it| counters.get(it).packets);
        println!("\n{SAYS}{redirected} {stalled}");
    }
    assert!(stand.leave().is_clean());
}

struct Process {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(near: &End) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "protected::stalled::stands_where_it_is_told_to", "--nocapture"])
            .env(PROTECTS, near.ipv4.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = near.namespace.spawn(&mut command).unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// What it redirected, and what passed it by.
    fn asked(&mut self) -> (u64, u64) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "it left");
            if let Some(said) = line.trim().strip_prefix(SAYS) {
                let (redirected, stalled) = said.split_once(' ').unwrap();
                return (redirected.parse().unwrap(), stalled.parse().unwrap());
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may stand still where the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One datagram; whether it came within a time that only something that stands still takes.
fn arrives(client: &UdpSocket, server: &UdpSocket, to: SocketAddr, number: u64) -> bool {
    client.send_to(&number.to_be_bytes(), to).unwrap();
    let mut octets = [0; 8];
    loop {
        match server.recv(&mut octets) {
            Ok(_) if u64::from_be_bytes(octets) == number => return true,
            // Of a question before.
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn a_process_that_is_stopped_is_passed_by_within_a_tenth_of_a_second_and_then_serves_again() {
    require_net!();
    let _alone = require::alone();
    let wire = wire();
    let (near, far) = (&wire.near, &wire.far);
    let mut process = Process::start(near);
    let server = near.namespace.run(|| UdpSocket::bind((near.ipv4, PORT))).unwrap().unwrap();
    let client = far.namespace.run(|| UdpSocket::bind((far.ipv4, 0))).unwrap().unwrap();
    let to = SocketAddr::from((near.ipv4, PORT));
    process.asked();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut number = 0;
    let mut next = || {
        number += 1;
        arrives(&client, &server, to, number)
    };
    // All by the shard, unless the machine takes its processor away for too long.
    let served = |process: &mut Process, next: &mut dyn FnMut() -> bool| {
        let (before, stalled_before) = process.asked();
        (0..20).for_each(|_| assert!(next()));
        let (redirected, stalled) = process.asked();
        assert_eq!(redirected + stalled, before + stalled_before + 20);
        redirected == before + 20
    };
    assert!(soon(|| served(&mut process, &mut next)), "the shard has none of it");
    let (_, stalled_before) = process.asked();

    process.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    thread::sleep(Duration::from_millis(101));
    // All that is sent from now on arrives while nobody is there to reinject it.
    for _ in 0..20 {
        assert!(next(), "lost {:?} after the stop", stopped.elapsed());
        thread::sleep(Duration::from_millis(5));
    }

    process.signal(Signal::SIGCONT);
    let (_, stalled) = process.asked();
    assert!(stalled >= stalled_before + 20, "{stalled_before} and {stalled} passed it by");
    assert!(soon(|| served(&mut process, &mut next)), "it stays passed by");
    drop(process.child.stdin.take());
    assert!(process.child.wait().unwrap().success());
}
