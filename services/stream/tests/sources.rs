//! Senders whose pictures a thread reads, in the thread's own time.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tidegate_runtime::report::Health;

use super::*;

/// A name that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-sources-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn sender(&self) -> sender::Options {
        sender::Options { source: self.0.to_str().unwrap().into(), clip_mib: 0, ..sender() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Pgroups of so many different frames.
fn frames(count: u64) -> Vec<Vec<u8>> {
    let octets = format().frame_octets() as u64;
    (0..count)
        .map(|n| (0..octets).map(|at| (at * 7 + n * 13 + at / 977).to_le_bytes()[0]).collect())
        .collect()
}

fn start(sim: &mut Sim, sending: sender::Options, receiving: receiver::Options) {
    let port = [SimPort::default()];
    sim.shard(&port, vec![sends(sending)], Policy::default()).unwrap();
    sim.shard(&port, vec![receives(receiving)], Policy::default()).unwrap();
    sim.link((0, 0), (1, 0), Faults::default(), |_| 0);
}

/// Turns, and time for the threads, until it is so.
#[track_caller]
fn run_until(sim: &mut Sim, what: &str, mut is: impl FnMut(&mut Sim) -> bool) {
    for _ in 0..20_000 {
        if is(sim) {
            return;
        }
        sim.run_for(PERIOD_NS / 4);
        thread::sleep(Duration::from_micros(200));
    }
    panic!("waited in vain: {what}");
}

fn sum(octets: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(octets))
}

#[test]
fn what_comes_through_a_pipe_goes_out_until_it_ends() {
    let (fifo, sums) = (Scratch::new("fifo"), Scratch::new("sums"));
    mkfifo(&fifo.0, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let all = frames(30);
    let (path, octets) = (fifo.0.clone(), [all.concat(), vec![1; 100]].concat());
    let writer = thread::spawn(move || {
        OpenOptions::new().write(true).open(path).unwrap().write_all(&octets).unwrap();
    });
    let receiving =
        receiver::Options { sink: sink::Kind::Hash, path: Some(sums.0.clone()), ..receiver() };
    let mut sim = Sim::new(1);
    start(&mut sim, fifo.sender(), receiving);
    let word = |sim: &mut Sim| sim.report(0).services[0].word("source").to_owned();
    assert_eq!(word(&mut sim), "playing");
    run_until(&mut sim, "the end of the pipe", |sim| word(sim) == "ended");
    assert_eq!(sim.report(0).services[0].health, Health::Finished);
    writer.join().unwrap();
    sim.run_for(PERIOD_NS);
    let (sent, received) = ended(&mut sim);
    let repeated = sent.counter("frames_repeated");
    assert_eq!(sent.counter("frames_sent"), 30 + repeated, "and no part of another");
    assert_eq!(sent.counter("packets_sent"), (30 + repeated) * PACKETS);
    assert_eq!(sent.counter("groups_late"), 0);
    assert_eq!(received.counter("frames_received"), 30 + repeated);
    // In their order, each as often as it was repeated; the sink may have dropped some.
    let text = fs::read_to_string(&sums.0).unwrap();
    let mut seen: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    seen.dedup();
    let mut expected = all.iter().map(|frame| sum(frame));
    for sum in &seen {
        assert!(expected.any(|it| it == *sum), "{sum}: {seen:?}");
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn a_pipe_that_is_too_slow_repeats_frames_and_delays_no_group() {
    let fifo = Scratch::new("slow");
    mkfifo(&fifo.0, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut sim = Sim::new(1);
    start(&mut sim, fifo.sender(), receiver::Options { sink: sink::Kind::Nothing, ..receiver() });
    sim.run_for(3 * PERIOD_NS);
    assert_eq!(sim.report(0).services[0].counter("packets_sent"), 0, "nothing to begin with");
    let mut writer = OpenOptions::new().write(true).open(&fifo.0).unwrap();
    let all = frames(2);
    writer.write_all(&all[0]).unwrap();
    let sent = |sim: &mut Sim| sim.report(0).services[0].counter("frames_sent");
    run_until(&mut sim, "frames", |sim| sent(sim) >= 5);
    // Half a frame changes nothing.
    writer.write_all(&all[1][..1000]).unwrap();
    let before = sent(&mut sim);
    run_until(&mut sim, "more frames", |sim| sent(sim) >= before + 5);
    let report = sim.report(0).services.remove(0);
    // All but the first, and perhaps the one that has just begun.
    let others = report.counter("frames_sent") - 1;
    let repeated = report.counter("frames_repeated");
    assert!((others..=others + 1).contains(&repeated), "{repeated} of {others}");
    for zero in ["groups_late", "frames_late", "frames_skipped"] {
        assert_eq!(report.counter(zero), 0, "{zero}");
    }
    sim.drain();
}

#[test]
fn two_senders_of_one_file_send_the_same_whoever_reads_ahead() {
    let file = Scratch::new("both.raw");
    let all = frames(7);
    fs::write(&file.0, all.concat()).unwrap();
    let mut sums = Vec::new();
    for clip_mib in [0, 64] {
        let list = Scratch::new(&format!("list-{clip_mib}"));
        let mut sim = Sim::new(1);
        let receiving =
            receiver::Options { sink: sink::Kind::Hash, path: Some(list.0.clone()), ..receiver() };
        start(&mut sim, sender::Options { clip_mib, ..file.sender() }, receiving);
        let written = |sim: &mut Sim| sim.report(1).services[0].counter("frames_written");
        run_until(&mut sim, "frames", |sim| written(sim) >= 20);
        sim.drain();
        let text = fs::read_to_string(&list.0).unwrap();
        sums.push(text.lines().map(ToOwned::to_owned).collect::<BTreeSet<_>>());
    }
    // 180 ticks a frame: the same picture at the same times, of which these are the remainders.
    let of = |line: &str| {
        let (timestamp, sum) = line.split_once(' ').unwrap();
        (timestamp.parse::<u32>().unwrap() / 180 % 7, sum.to_owned())
    };
    let held: BTreeSet<_> = sums[1].iter().map(|line| of(line)).collect();
    assert_eq!(held.len(), 7, "{held:?}");
    // The thread may be late now and then.
    let ahead = sums[0].iter().filter(|line| held.contains(&of(line))).count();
    assert!(ahead > sums[0].len() / 2, "{ahead}: {sums:?}");
}

#[test]
fn turns_of_a_sender_that_reads_ahead_allocate_nothing() {
    let file = Scratch::new("ahead.raw");
    fs::write(&file.0, frames(9).concat()).unwrap();
    let mut sim = Sim::new(1);
    start(&mut sim, file.sender(), receiver::Options { sink: sink::Kind::Nothing, ..receiver() });
    let sent = |sim: &mut Sim| sim.report(0).services[0].counter("frames_sent");
    run_until(&mut sim, "frames", |sim| sent(sim) >= 3);
    let (before, repeated) = (sent(&mut sim), sim.report(0).services[0].counter("frames_repeated"));
    for turn in 0..6 * PERIOD_NS / TURN_NS {
        let counts = allocation_counter::measure(|| sim.turn_alone(0));
        assert_eq!(counts.count_total, 0, "turn {turn}");
        sim.turn();
        if turn % 200 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let frames = sent(&mut sim) - before;
    let repeated = sim.report(0).services[0].counter("frames_repeated") - repeated;
    assert!(frames >= 4 && repeated < frames, "{frames} frames, {repeated} repeated");
    sim.drain();
}

#[test]
fn an_unpaced_sender_waits_for_its_pictures() {
    let fifo = Scratch::new("unpaced");
    mkfifo(&fifo.0, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut sim = Sim::new(1);
    let sending = sender::Options { unpaced: true, ..fifo.sender() };
    start(&mut sim, sending, receiver::Options { sink: sink::Kind::Nothing, ..receiver() });
    let mut writer = OpenOptions::new().write(true).open(&fifo.0).unwrap();
    for (number, frame) in (1..).zip(frames(3)) {
        writer.write_all(&frame).unwrap();
        let sent = |sim: &mut Sim| sim.report(0).services[0].counter("frames_sent");
        run_until(&mut sim, "the frame", |sim| sent(sim) == number);
        sim.run_for(2 * PERIOD_NS);
        assert_eq!(sent(&mut sim), number, "sent once");
    }
    drop(writer);
    let word = |sim: &mut Sim| sim.report(0).services[0].word("source").to_owned();
    run_until(&mut sim, "the end", |sim| word(sim) == "ended");
    sim.drain();
}
