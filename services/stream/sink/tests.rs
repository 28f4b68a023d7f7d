//! Every kind of sink, fed by hand.

use std::fs;
use std::io::{Read as _, Seek as _};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;
use crate::stream::source::Source;
use crate::stream::video::format::{Depth, Sampling, Spec};
use crate::stream::video::pattern::Pattern;
use crate::stream::video::picture::Pixels as _;
use crate::stream::y4m;

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
    let mut sink = Sink::start(kind, Some(&path), None, format()).unwrap();
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
    let mut sink = Sink::start(Kind::Nothing, None, None, format()).unwrap();
    let Offered::Unused(Some(back)) = sink.offer(frame(1)) else { panic!("taken") };
    assert_eq!(back, octets(1));
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts::default());
}

#[test]
fn verify_tells_right_from_wrong() {
    let mut sink = Sink::start(Kind::Verify, None, None, format()).unwrap();
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
    let mut sink = Sink::start(Kind::Hash, Some(&path), None, format()).unwrap();
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
        Sink::start(kind, path.map(Path::new), None, format()).unwrap_err().to_string()
    };
    assert_eq!(refused(Kind::Hash, None), "sink \"hash\" needs path, the file for its lines");
    assert_eq!(refused(Kind::File, None), "sink \"file\" needs path, ending in .y4m for Y4M");
    assert_eq!(
        refused(Kind::Verify, Some("x")),
        "path is for the sinks \"hash\", \"file\" and \"png\" only"
    );
    let colours = Pictures { colorimetry: Some(Colorimetry::Xyz), ..Pictures::default() };
    for (kind, path, pictures, expected) in [
        (Kind::Png, None, None, "sink \"png\" needs path, ending in .png"),
        (Kind::Png, Some("a.jpg"), None, "sink \"png\" needs path, ending in .png"),
        (Kind::Hash, Some("-"), None, "path \"-\", standard output, is for sink \"file\" only"),
        (
            Kind::Png,
            Some("a.png"),
            Some(colours),
            "pictures of colorimetry XYZ: allowed are BT601, BT709, BT2020 and BT2100",
        ),
        (Kind::Nothing, None, Some(colours), "pictures is for the sink \"png\" only"),
    ] {
        let started = Sink::start(kind, path.map(Path::new), pictures, format());
        assert_eq!(started.unwrap_err().to_string(), expected);
    }
    let rgb = Spec { sampling: Sampling::Rgb, width: 256, ..format().spec() }.check().unwrap();
    assert_eq!(
        Sink::start(Kind::File, Some(Path::new("out.y4m")), None, rgb).unwrap_err().to_string(),
        "cannot write RGB to out.y4m: Y4M has none; use another ending, as in .raw, for pgroups"
    );
    assert_eq!(
        refused(Kind::File, Some("/no/such/out.raw")),
        "cannot make the sink's file /no/such/out.raw: No such file or directory (os error 2)"
    );
}

/// A path that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = scratch(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn fifo(name: &str) -> Self {
        let it = Self::new(name);
        nix::unistd::mkfifo(&it.0, nix::sys::stat::Mode::S_IRWXU).unwrap();
        it
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Asks until the thread has done it.
#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if is() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain: {what}");
}

/// Reads whole frames of Y4M, with the header in front.
fn read_y4m(reader: &mut fs::File, frames: usize) -> Vec<u8> {
    let header = y4m::Header::emit(&format()).unwrap().len();
    let mut octets = vec![0; header + frames * (6 + 128 * 16 * 2 * 2)];
    reader.read_exact(&mut octets).unwrap();
    octets
}

#[test]
fn a_pipe_that_nobody_reads_costs_frames_and_a_new_reader_begins_with_the_header() {
    let fifo = Scratch::fifo("pipe.y4m");
    let mut sink = Sink::start(Kind::File, Some(&fifo.0), None, format()).unwrap();
    offer(&sink, frame(1));
    until("a lost frame", || sink.counts().failed == 1);
    for first in [2, 10] {
        let mut reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&fifo.0)
            .unwrap();
        for number in [first, first + 1] {
            let written = sink.counts().written;
            offer(&sink, frame(number));
            until("a frame", || sink.counts().written > written);
        }
        let octets = read_y4m(&mut reader, 2);
        let whole = written(Kind::File, &format!("whole-{first}.y4m"), &[first, first + 1]);
        assert!(octets == whole);
        drop(reader);
        // Into a pipe that was closed: lost, and the sink lives.
        let failed = sink.counts().failed;
        offer(&sink, frame(5));
        until("a lost frame", || sink.counts().failed > failed);
    }
    finish(&mut sink);
}

#[test]
fn a_reader_who_stops_is_waited_for_by_the_thread_alone_and_not_for_ever() {
    let fifo = Scratch::fifo("stuck.raw");
    // As much as the pipe may hold, twice, in frames of 5 KB.
    let sink = Sink::start(Kind::File, Some(&fifo.0), None, format()).unwrap();
    let reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&fifo.0)
        .unwrap();
    let mut behind = 0;
    for number in 0..500 {
        // Never more than a moment: this is the shard.
        if matches!(sink.offer(frame(number)), Offered::Behind(_)) {
            behind += 1;
            thread::sleep(Duration::from_millis(1));
        }
        while sink.returned().is_some() {}
    }
    assert!(behind > 100, "{behind}");
    let (counts, shared) = (sink.counts(), Arc::downgrade(&sink.shared));
    assert!(counts.written > 0 && counts.failed == 0, "{counts:?}");
    // Whole frames, and the part of one that found room.
    let mut read = Vec::new();
    let _ = (&reader).read_to_end(&mut read);
    assert!(read.len() as u64 / 5120 >= counts.written, "{}", read.len());
    let mut sent = (0..500).map(octets);
    assert!(read.chunks_exact(5120).all(|got| sent.any(|it| it == got)), "in their order");
    drop(sink);
    until("the end of the thread", || shared.strong_count() == 0);
    drop(reader);
}

#[test]
fn of_a_file_on_a_full_disk_whole_frames_remain() {
    // A file that cannot grow, with room for one frame and a piece of the next.
    let flags = MFdFlags::MFD_ALLOW_SEALING;
    let file = fs::File::from(memfd_create(c"tidegate-full", flags).unwrap());
    let frame = vec![7; 3 * 4096];
    file.set_len(5 * 4096).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
    let mut output = output::Output::File { file: file.try_clone().unwrap(), octets: 0 };
    output.frame(&[&frame]).unwrap();
    assert!(output.frame(&[&frame]).is_err());
    assert_eq!(file.metadata().unwrap().len(), 3 * 4096);
    // With room again the next frame is behind the first.
    let output::Output::File { mut file, octets } = output else { panic!("{output:?}") };
    assert_eq!((octets, file.stream_position().unwrap()), (3 * 4096, 3 * 4096));
}

/// What a PNG holds: bits, and colours.
fn decode(path: &Path) -> (u8, Vec<u8>) {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut octets = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut octets).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (128, 16, png::ColorType::Rgb));
    (if info.bit_depth == png::BitDepth::Eight { 8 } else { 16 }, octets)
}

/// What a frame looks like.
fn shown(number: u64) -> Vec<u8> {
    use crate::stream::video::colour::{Colours, Screen};
    let mut screen = Screen::new(format(), Colours::of(&format(), None, None)).unwrap();
    let mut picture = vec![0; screen.octets()];
    screen.show(&octets(number), &mut picture);
    picture
}

#[test]
fn pictures_are_the_first_the_last_each_or_the_newest() {
    let number = NonZeroU32::new;
    for (name, wanted, expected) in [
        ("newest", None, &[("", 6)][..]),
        ("one", Some(Pictures { first: number(1), ..Pictures::default() }), &[("", 0)]),
        (
            "first",
            Some(Pictures { first: number(2), ..Pictures::default() }),
            &[("-000000", 0), ("-000001", 1)],
        ),
        (
            "last",
            Some(Pictures { last: number(2), every: number(2), ..Pictures::default() }),
            &[("-000002", 4), ("-000003", 6)],
        ),
        (
            "every",
            Some(Pictures { every: number(3), ..Pictures::default() }),
            &[("-000000", 0), ("-000001", 3), ("-000002", 6)],
        ),
    ] {
        let directory = scratch(name);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("shot.png");
        let mut sink = Sink::start(Kind::Png, Some(&path), wanted, format()).unwrap();
        for number in 0..7 {
            offer(&sink, frame(number));
        }
        finish(&mut sink);
        assert_eq!((sink.counts().total(), sink.counts().failed), (7, 0), "{name}");
        let mut found: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|it| it.unwrap().path()).collect();
        found.sort();
        let names = expected.iter().map(|(end, _)| directory.join(format!("shot{end}.png")));
        assert_eq!(found, names.collect::<Vec<_>>(), "{name}");
        for (path, (_, number)) in found.iter().zip(expected) {
            assert!(decode(path) == (16, shown(*number)), "{}", path.display());
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn a_disk_that_refuses_costs_frames_and_nothing_else() {
    // Always full; the kernel has it for such tests.
    let mut sink = Sink::start(Kind::File, Some(Path::new("/dev/full")), None, format()).unwrap();
    assert!(matches!(sink.offer(frame(1)), Offered::Taken));
    finish(&mut sink);
    assert_eq!(sink.counts(), Counts { failed: 1, ..Counts::default() });
}

#[test]
fn a_directory_that_is_gone_costs_pictures_and_nothing_else() {
    let directory = scratch("gone");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("shot.png");
    let mut sink = Sink::start(Kind::Png, Some(&path), None, format()).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    offer(&sink, frame(1));
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
    let _sink = Sink::start(Kind::Verify, None, None, format()).unwrap();
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
