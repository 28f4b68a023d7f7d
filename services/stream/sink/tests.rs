//! Every kind of sink, fed by hand.

use std::fs;
use std::thread;

use super::*;
use crate::stream::source::Source;
use crate::stream::video::format::{Depth, Sampling, Spec};
use crate::stream::video::picture::Pixels as _;

fn format() -> Format {
    Format::new(128, 16, Depth::Ten, "50".parse().unwrap()).unwrap()
}

/// Frame `number` of the pattern.
fn frame(number: u64) -> Delivered {
    let format = format();
    let mut pattern = Pattern::new(format);
    let picture = pattern.picture(number);
    let octets = (0..16).flat_map(|line| picture.octets(line, 0, 320)).copied().collect();
    let timestamp = format.rate().timestamp(number);
    Delivered { timestamp, missing_octets: 0, octets: Some(octets) }
}

/// The pixels of frame `number`.
fn octets(number: u64) -> Vec<u8> {
    frame(number).octets.unwrap()
}

/// Offers until the thread takes it.
fn offer(sink: &Sink, mut frame: Delivered) {
    let (timestamp, missing_octets) = (frame.timestamp, frame.missing_octets);
    while let Offered::Behind(octets) = sink.offer(frame) {
        frame = Delivered { timestamp, missing_octets, octets };
        thread::yield_now();
    }
}

fn finish(sink: &mut Sink) {
    while !sink.finished() {
        thread::yield_now();
    }
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-sink-{}-{name}", std::process::id()))
}

/// Puts frames through a sink that writes `name`, and returns the file.
fn written(kind: Kind, name: &str, numbers: &[u64]) -> Vec<u8> {
    let path = scratch(name);
    let mut sink = Sink::start(kind, Some(&path), format()).unwrap();
    for &number in numbers {
        offer(&sink, frame(number));
        while sink.returned().is_some() {}
    }
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts { written: numbers.len() as u64, ..Counts::default() });
    let file = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

#[test]
fn nothing_gives_the_memory_back_at_once() {
    let mut sink = Sink::start(Kind::Nothing, None, format()).unwrap();
    let Offered::Unused(Some(back)) = sink.offer(frame(1)) else { panic!("taken") };
    assert_eq!(back, octets(1));
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts::default());
}

#[test]
fn verify_tells_right_from_wrong() {
    let mut sink = Sink::start(Kind::Verify, None, format()).unwrap();
    let mut flipped = frame(2);
    flipped.octets.as_mut().unwrap()[5000] ^= 1;
    // The right picture at the wrong time: a sender that repeats itself.
    let stuck = Delivered { timestamp: frame(4).timestamp, ..frame(3) };
    for frame in [frame(1), flipped, stuck, frame(90_000_000_000)] {
        offer(&sink, frame);
    }
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts { verified: 2, wrong: 2, ..Counts::default() });
}

#[test]
fn raw_files_are_the_pgroups() {
    let file = written(Kind::File, "out.raw", &[1, 2, 3]);
    assert_eq!(file, [octets(1), octets(2), octets(3)].concat());
}

#[test]
fn y4m_files_can_be_sent_again() {
    let file = written(Kind::File, "out.y4m", &[4, 5]);
    let path = scratch("again.y4m");
    std::fs::write(&path, file).unwrap();
    let mut source = Source::open(path.to_str().unwrap(), format(), 1 << 20).unwrap();
    std::fs::remove_file(&path).unwrap();
    // Frame 0 of the clip is the first one.
    for (number, expected) in [(0, octets(4)), (1, octets(5))] {
        let picture = source.picture(number);
        for (row, expected) in expected.chunks(320).enumerate() {
            let mut octets = [0xa5; 320];
            picture.write(row, 0, &mut octets);
            assert_eq!(octets, expected, "frame {number}, row {row}");
        }
    }
}

#[test]
fn hashes_are_crc_32_of_the_pgroups() {
    let file = written(Kind::Hash, "out.txt", &[6]);
    let expected = format!("{} {:08x}\n", frame(6).timestamp, slow_crc(&octets(6)));
    assert_eq!(String::from_utf8(file).unwrap(), expected);
}

#[test]
fn the_last_picture_is_repeated_and_what_is_missing_is_said() {
    let path = scratch("holes.txt");
    let mut sink = Sink::start(Kind::Hash, Some(&path), format()).unwrap();
    let timestamp = |number| frame(number).timestamp;
    offer(&sink, frame(6));
    offer(&sink, Delivered { timestamp: timestamp(7), missing_octets: 5, octets: None });
    offer(&sink, Delivered { missing_octets: 10, ..frame(8) });
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts { written: 3, ..Counts::default() });
    let sum = |number| slow_crc(&octets(number));
    let expected = format!(
        "{} {:08x}\n{} {:08x} missing 5 repeated\n{} {:08x} missing 10\n",
        timestamp(6),
        sum(6),
        timestamp(7),
        sum(6),
        timestamp(8),
        sum(8),
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    fs::remove_file(&path).unwrap();
}

/// CRC-32 of ISO 3309, bit by bit.
fn slow_crc(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |sum, &octet| {
        (0..8).fold(sum ^ u32::from(octet), |sum, _| sum >> 1 ^ (0xedb8_8320 * (sum & 1)))
    })
}

#[test]
fn refusals_say_what_is_missing() {
    let refused = |kind, path: Option<&str>| {
        Sink::start(kind, path.map(Path::new), format()).unwrap_err().to_string()
    };
    assert_eq!(refused(Kind::Hash, None), "sink \"hash\" needs path, the file for its lines");
    assert_eq!(refused(Kind::File, None), "sink \"file\" needs path, ending in .y4m for Y4M");
    assert_eq!(
        refused(Kind::Verify, Some("x")),
        "path is for the sinks \"hash\" and \"file\" only"
    );
    let rgb = Spec { sampling: Sampling::Rgb, width: 256, ..format().spec() }.check().unwrap();
    assert_eq!(
        Sink::start(Kind::File, Some(Path::new("out.y4m")), rgb).unwrap_err().to_string(),
        "cannot write RGB to out.y4m: Y4M has none; use another ending, as in .raw, for pgroups"
    );
    assert_eq!(
        refused(Kind::File, Some("/no/such/out.raw")),
        "cannot make the sink's file /no/such/out.raw: No such file or directory (os error 2)"
    );
}

#[test]
fn a_disk_that_refuses_costs_frames_and_nothing_else() {
    // Always full; the kernel has it for such tests.
    let mut sink = Sink::start(Kind::File, Some(Path::new("/dev/full")), format()).unwrap();
    assert!(matches!(sink.offer(frame(1)), Offered::Taken));
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts { failed: 1, ..Counts::default() });
}

/// The CPUs that a task of this process may use, as the kernel writes them.
fn cpus(task: &Path) -> Option<String> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    status.lines().find(|line| line.starts_with("Cpus_allowed:")).map(ToOwned::to_owned)
}

#[test]
fn the_thread_leaves_the_cpu_of_the_shard_that_started_it() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    let all = sched_getaffinity(Pid::this()).unwrap();
    let first = (0..CpuSet::count()).find(|&cpu| all.is_set(cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    // This test's own thread, as the shard.
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let _sink = Sink::start(Kind::Verify, None, format()).unwrap();
    let process = cpus(Path::new("/proc/self")).unwrap();
    let is_elsewhere = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let is_sink = |task: &PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "stream-sink")
        };
        // Other tests have sinks as well, which are everywhere from the start.
        let sinks: Vec<String> = tasks.filter(is_sink).filter_map(|task| cpus(&task)).collect();
        !sinks.is_empty() && sinks.iter().all(|cpus| *cpus == process)
    };
    let moved = (0..400).any(|_| {
        thread::sleep(std::time::Duration::from_millis(5));
        is_elsewhere()
    });
    assert!(moved, "a sink is still on its shard's CPU");
}
