//! Single packets at random gaps, in zero-copy: the shard sleeps in between, each packet wakes it,
//! and its answer leaves without another one. Then two ends: killed, and stopped while the interface
//! is down.
//!
//! ```text
//!   far: asks, waits for the answer, asks ──►  near: echo
//! ```

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tidegate::lab::Wire;
use tidegate_runtime::metrics::ShardStats;
use tidegate_runtime::metrics::snapshot::{ShardSnapshot, Snapshot};

use super::Play;
use super::facts::{Left, law, obtained, ports};
use crate::guest::cards::{await_links, soon, wire};
use crate::guest::configs::{camera, interface};
use crate::guest::program::Program;
use crate::guest::step;
use crate::machine::Nics;

const PACKETS: u32 = 60;
const PORT: u16 = 7;

/// Turns from a packet's arrival until the shard sleeps again. The packet is received, answered and
/// handed to the driver in the first. The driver takes it a little later, on a software CPU some
/// milliseconds, and until then the shard looks at the TX ring once in each. Seen: 2 to 5.
const TURNS_MAX: u64 = 40;

/// Calls that one packet may need: the driver is told of the answer once, and once more each
/// millisecond while it has not taken it. Seen: 1 to 3.
const CALLS_MAX: u64 = TURNS_MAX / 2;

pub(super) struct Singly;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    singles: Vec<Single>,
    /// Over two and a half seconds in which nothing came.
    idle: (u64, u64),
    quiet: Snapshot,
    /// Started when the first was killed, and stopped while its interface was down.
    second: Left,
    /// How long that took.
    stop_ms: u64,
}

/// What one packet cost.
#[derive(Debug, Serialize, Deserialize)]
struct Single {
    turns: u64,
    calls: u64,
    slept_out: u64,
}

impl Play for Singly {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(1);
        step("single packets");
        let program = Program::start(&wire.near.namespace, "echo", &echo(&wire));
        await_links(&wire);
        let singles = singles(&wire, &program);
        step("nothing at all");
        let before = shard(&program).stats;
        thread::sleep(Duration::from_millis(2_500));
        let after = shard(&program).stats;
        let idle = (after.sleeps - before.sleeps, after.turns - before.turns);
        let quiet = program.quiet();
        step("a kill, and a start at once");
        program.signal(Signal::SIGKILL);
        drop(program);
        let (second, stop_ms) = second(&wire);
        Facts { singles, idle, quiet, second, stop_ms }
    }

    fn judge(_: Nics, facts: Facts) {
        let most = |count: fn(&Single) -> u64| facts.singles.iter().map(count).max().unwrap_or(0);
        assert_eq!(facts.singles.len(), PACKETS as usize);
        assert!(most(|it| it.turns) <= TURNS_MAX, "{:?}", facts.singles);
        assert!(most(|it| it.calls) <= CALLS_MAX, "{:?}", facts.singles);
        let slept_out: u64 = facts.singles.iter().map(|it| it.slept_out).sum();
        assert!(slept_out <= 1, "{slept_out} packets waited for the end of a sleep");
        let (sleeps, turns) = facts.idle;
        assert!((1..=4).contains(&sleeps) && turns <= 4 * sleeps, "{:?}", facts.idle);
        law(&facts.quiet);
        assert_eq!(obtained(&facts.quiet, "copy"), ["zero-copy"]);
        assert_eq!(ports(&facts.quiet).settled_transmit, u64::from(PACKETS));

        facts.second.in_order();
        assert!(facts.second.log.contains("frames were given up"), "{}", facts.second.log);
        assert!(facts.stop_ms < 1_900, "drain_timeout is 2 s: {} ms", facts.stop_ms);
    }
}

/// A shard that falls asleep in the first turn without work.
fn echo(wire: &Wire) -> String {
    let to = wire.near.ipv4;
    format!(
        "idle = \"0us\"\n{}\n[[service]]\nname = \"ping\"\nkind = \"echo\"\n\
         selectors = [{{ destination = \"{to}\", protocol = \"udp\", ports = {PORT} }}]\n",
        interface(&wire.near, "")
    )
}

fn shard(program: &Program) -> ShardSnapshot {
    program.now().shards.remove(0)
}

fn singles(wire: &Wire, program: &Program) -> Vec<Single> {
    let socket = wire.far.namespace.run(|| UdpSocket::bind((wire.far.ipv4, 0)).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let asleep = |stats: &ShardStats| stats.sleeps == stats.wakeups + 1;
    let sleeps = || soon_enough(|| asleep(&shard(program).stats));
    let mut gap = gaps(7);
    let single = |number: u32| {
        thread::sleep(gap());
        assert!(sleeps(), "it does not sleep: {:#?}", shard(program));
        let before = shard(program);
        socket.send_to(&number.to_be_bytes(), (wire.near.ipv4, PORT)).unwrap();
        let mut answer = [0; 64];
        let len = socket.recv(&mut answer).expect("an answer, without another packet");
        assert_eq!(answer[..len], number.to_be_bytes());
        let settled = |it: &ShardSnapshot| it.ports[0].stats.settled_transmit;
        assert!(soon_enough(|| settled(&shard(program)) == settled(&before) + 1));
        assert!(sleeps(), "it does not sleep: {:#?}", shard(program));
        let after = shard(program);
        let of_port = |it: &ShardSnapshot| it.ports[0].stats.tx_wakes + it.ports[0].stats.rx_wakes;
        Single {
            turns: after.stats.turns - before.stats.turns,
            calls: of_port(&after) - of_port(&before),
            slept_out: after.stats.slept_out - before.stats.slept_out,
        }
    };
    (0..PACKETS).map(single).collect()
}

/// As `soon`, but looks often.
fn soon_enough(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Gaps of less than the shard takes to fall asleep, about that, and much more.
fn gaps(mut state: u64) -> impl FnMut() -> Duration {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let longest = [1, 1_000, 10_000, 100_000][(state >> 32) as usize % 4];
        Duration::from_micros(state % longest)
    }
}

/// Another program on the queue that the kernel is still taking away from the first. It sends, and
/// is stopped while its interface is down.
fn second(wire: &Wire) -> (Left, u64) {
    let config = interface(&wire.near, "") + &camera(wire, "");
    let program = Program::start(&wire.near.namespace, "camera", &config);
    let sent = || ports(&program.now()).completed_frames;
    assert!(soon(|| sent() > 500), "it does not send");
    step("a stop while the interface is down");
    wire.near.set_down().unwrap();
    let refused = || ports(&program.now()).wake_errors_netdown;
    assert!(soon(|| refused() > 50), "the kernel says that the interface is down");
    let asked = Instant::now();
    let left = program.leave();
    (left, u64::try_from(asked.elapsed().as_millis()).unwrap())
}
