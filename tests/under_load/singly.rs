//! Single packets at random gaps, and nothing in between: the shard sleeps, and each packet wakes
//! it. Latency is counted in turns, which are the same on any machine.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use tidegate_runtime::metrics::ShardStats;

use super::{Stage, WireOptions, config, soon, wire};
use crate::require;

const PACKETS: u32 = 200;
const PORT: u16 = 7;

/// Turns from a packet's arrival until the shard sleeps again: it is received, answered and sent in
/// the first; then the kernel is done with the answer, at once or a little later, and a turn that
/// found nothing to do comes before the sleep. Seen: 2 and 3.
const TURNS_MAX: u64 = 6;

/// Gaps in microseconds: less than the shard takes to fall asleep, about that, and much more.
fn gaps(mut state: u64) -> impl FnMut() -> Duration {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let longest = [1, 100, 3_000, 30_000][(state >> 32) as usize % 4];
        Duration::from_micros(state % longest)
    }
}

#[test]
fn each_packet_wakes_its_shard_and_is_answered_within_a_few_turns() {
    require_net!();
    let _alone = require::alone();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let wire = wire(&WireOptions { ipv6: false, ..WireOptions::default() });
    let service = format!(
        "[[service]]\nname = \"ping\"\nkind = \"echo\"\n\
         selectors = [{{ destination = \"{}\", protocol = \"udp\", ports = {PORT} }}]\n",
        wire.near.ipv4
    );
    // It falls asleep in the first turn without work.
    let text = config(&wire, "", &service).replace("[runtime]\n", "[runtime]\nidle = \"0us\"\n");
    let stage = Stage::start(&wire, &text);
    let socket = wire.far.namespace.run(|| UdpSocket::bind((wire.far.ipv4, 0)).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let shard = || stage.program.snapshot().shards[0].clone();
    let answered = || shard().ports[0].stats.settled_transmit;
    // What is published is of the moment at which it fell asleep last.
    let asleep = |stats: &ShardStats| stats.sleeps == stats.wakeups + 1;

    let mut gap = gaps(seed);
    let (mut most_turns, mut slept_out) = (0, 0);
    for number in 0..PACKETS {
        thread::sleep(gap());
        assert!(soon(|| asleep(&shard().stats)), "it does not sleep: {:#?}", shard());
        let before = shard().stats;
        socket.send_to(&number.to_be_bytes(), (wire.near.ipv4, PORT)).unwrap();
        let mut answer = [0; 64];
        let len = socket.recv(&mut answer).expect("an answer, without another packet");
        assert_eq!(answer[..len], number.to_be_bytes());
        assert!(soon(|| answered() == u64::from(number) + 1), "{:#?}", shard());
        let after = shard().stats;
        most_turns = most_turns.max(after.turns - before.turns);
        slept_out += after.slept_out - before.slept_out;
    }
    assert!(most_turns <= TURNS_MAX, "{most_turns} turns for one packet");
    // No sleep lasts for a second here, unless nobody tells of a packet. One may: this test's own
    // thread may be away for as long.
    assert!(slept_out <= 1, "{slept_out} packets waited for the end of a sleep");

    let before = shard().stats;
    thread::sleep(Duration::from_millis(2_500));
    let after = shard().stats;
    let sleeps = after.sleeps - before.sleeps;
    assert!((1..=4).contains(&sleeps), "a sleep lasts for a second: {before:?} {after:?}");
    assert!(after.turns - before.turns <= 4 * sleeps, "{before:?} {after:?}");
    assert!(asleep(&after));
    stage.leave();
}
