//! Every source by hand: what it shows, when, and what it refuses.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::stream::video::format::{Depth, Sampling, Scan, Spec};
use crate::stream::{video::convert, y4m};

/// Frames of 5120 octets in pgroups, 8192 in planes.
fn format(depth: Depth) -> Format {
    Format::new(128, 16, depth, "25".parse().unwrap()).unwrap()
}

/// What is held in memory, and what is read ahead.
const HELD: u64 = 1 << 30;
const AHEAD: u64 = 0;

/// A file that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn path(name: &str) -> Self {
        let name = format!("tidegate-source-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn new(name: &str, octets: &[u8]) -> Self {
        let scratch = Self::path(name);
        fs::write(&scratch.0, octets).unwrap();
        scratch
    }

    fn fifo(name: &str) -> Self {
        let scratch = Self::path(name);
        mkfifo(&scratch.0, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        scratch
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn open(&self, format: Format, held: u64) -> Source {
        Source::open(self.name(), format, held).unwrap()
    }

    /// Opened for writing, as a player of files would.
    fn writer(&self) -> fs::File {
        OpenOptions::new().write(true).open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The refusal, with the file's name cut to `FILE`.
fn refusal(octets: &[u8], name: &str, format: Format) -> String {
    let file = Scratch::new(name, octets);
    let refusals = [HELD, AHEAD].map(|held| {
        let error = Source::open(file.name(), format, held).unwrap_err();
        error.to_string().replace(file.name(), "FILE")
    });
    assert_eq!(refusals[0], refusals[1]);
    refusals[0].clone()
}

/// Asks until something is as wanted; the thread has its own time.
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

#[track_caller]
fn begin(source: &mut Source, number: u64) {
    until("the first picture", || match source.ready(number) {
        Ready::Yes => true,
        Ready::NotYet => false,
        Ready::Ended(end) => panic!("{end:?}"),
    });
}

/// Goes on until the frame's own picture is there.
#[track_caller]
fn step(source: &mut Source, number: u64) {
    until("a new picture", || match source.advance(number) {
        Step::New => true,
        Step::Again => false,
        Step::Ended(end) => panic!("frame {number}: {end:?}"),
    });
}

#[track_caller]
fn ends(source: &mut Source, number: u64) -> End {
    let mut how = None;
    until("the end", || match source.advance(number) {
        Step::Ended(end) => {
            how = Some(end);
            true
        }
        Step::New | Step::Again => false,
    });
    how.unwrap()
}

fn octets(source: &mut Source, number: u64, format: &Format) -> Vec<u8> {
    let mut octets = vec![0xa5; format.frame_octets()];
    let picture = source.picture(number);
    for (row, into) in octets.chunks_exact_mut(format.row_octets() as usize).enumerate() {
        picture.write(row, 0, into);
    }
    octets
}

/// A raw frame that shows its number.
fn raw(number: u8) -> Vec<u8> {
    vec![number; 5120]
}

fn raw_file(frames: u8) -> Vec<u8> {
    (0..frames).flat_map(raw).collect()
}

/// Planes of different frames, and Y4M of them.
fn planes(frames: u16) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut file = y4m::Header::emit(&format(Depth::Ten)).unwrap().into_bytes();
    let mut samples = (0..0x400_u16).cycle();
    let mut all = Vec::new();
    for number in 0..frames {
        file.extend(b"FRAME\n");
        let rest = samples.by_ref().skip(usize::from(number)).take(128 * 16 * 2);
        let frame: Vec<u8> = rest.flat_map(u16::to_le_bytes).collect();
        file.extend(&frame);
        all.push(frame);
    }
    (all, file)
}

fn packed(planes: &[u8]) -> Vec<u8> {
    let format = format(Depth::Ten);
    let mut expected = vec![0; format.frame_octets()];
    convert::from_planes(&format, planes, &mut expected);
    expected
}

#[test]
fn a_raw_file_loops_without_a_seam_in_memory_and_read_ahead() {
    let format = format(Depth::Ten);
    let file = Scratch::new("loop.raw", &raw_file(7));
    for held in [HELD, AHEAD] {
        let mut source = file.open(format, held);
        assert_eq!(matches!(source, Source::Feed(_)), held == AHEAD);
        // A number of today, to begin with.
        let first = 44_000_000_003;
        begin(&mut source, first);
        for number in first..first + 30 {
            step(&mut source, number);
            let expected = raw(u8::try_from(number % 7).unwrap());
            assert_eq!(octets(&mut source, number, &format), expected, "{held}: {number}");
        }
    }
}

#[test]
fn a_y4m_file_becomes_pgroups_in_memory_and_read_ahead() {
    let format = format(Depth::Ten);
    let (frames, file) = planes(3);
    let file = Scratch::new("three.y4m", &file);
    for held in [HELD, AHEAD] {
        let mut source = file.open(format, held);
        begin(&mut source, 6);
        for number in 6..12 {
            step(&mut source, number);
            let expected = packed(&frames[usize::try_from(number % 3).unwrap()]);
            assert!(octets(&mut source, number, &format) == expected, "{held}: {number}");
        }
    }
}

#[test]
fn frames_that_were_skipped_and_a_clock_set_back_are_followed() {
    let format = format(Depth::Ten);
    let file = Scratch::new("jump.raw", &raw_file(100));
    let mut source = file.open(format, AHEAD);
    begin(&mut source, 10);
    for number in [10, 11, 14, 60, 61, 20, 21, 1_000_000_000_022] {
        step(&mut source, number);
        let expected = raw(u8::try_from(number % 100).unwrap());
        assert_eq!(octets(&mut source, number, &format), expected, "{number}");
    }
}

#[test]
fn a_picture_that_is_not_there_in_time_is_the_one_before() {
    let format = format(Depth::Ten);
    let fifo = Scratch::fifo("slow");
    let mut source = fifo.open(format, AHEAD);
    assert_eq!(source.ready(5), Ready::NotYet, "nobody has opened it");
    let mut writer = fifo.writer();
    writer.write_all(&raw(1)).unwrap();
    begin(&mut source, 5);
    assert_eq!(source.advance(5), Step::New);
    assert_eq!(source.advance(6), Step::Again);
    // Half of a frame is none.
    writer.write_all(&raw(2)[..3000]).unwrap();
    thread::sleep(Duration::from_millis(60));
    assert_eq!(source.advance(7), Step::Again);
    assert_eq!(octets(&mut source, 7, &format), raw(1));
    writer.write_all(&raw(2)[3000..]).unwrap();
    step(&mut source, 8);
    assert_eq!(source.advance(8), Step::New, "asked again");
    assert_eq!(octets(&mut source, 8, &format), raw(2));
}

#[test]
fn a_pipe_holds_its_writer_back_and_loses_nothing() {
    let format = format(Depth::Ten);
    let (frames, file) = planes(300);
    let fifo = Scratch::fifo("fast.y4m");
    let mut source = fifo.open(format, AHEAD);
    let path = fifo.0.clone();
    let writer = thread::spawn(move || {
        let mut fifo = OpenOptions::new().write(true).open(path).unwrap();
        // In pieces that end anywhere.
        file.chunks(1777).try_for_each(|piece| fifo.write_all(piece)).unwrap();
    });
    begin(&mut source, 1000);
    for (number, planes) in (1000..).zip(&frames) {
        step(&mut source, number);
        assert!(octets(&mut source, number, &format) == packed(planes), "{number}");
    }
    assert_eq!(ends(&mut source, 2000), End::Over);
    writer.join().unwrap();
    assert_eq!(source.advance(2001), Step::Ended(End::Over), "and remains so");
}

#[test]
fn a_pipe_ends_at_its_last_whole_frame() {
    let format = format(Depth::Ten);
    for torn in [1, 5119] {
        let fifo = Scratch::fifo(&format!("torn-{torn}"));
        let mut source = fifo.open(format, AHEAD);
        fifo.writer().write_all(&[raw(1), raw(2), raw(3)[..torn].to_vec()].concat()).unwrap();
        begin(&mut source, 0);
        for number in [0, 1] {
            step(&mut source, number);
        }
        assert_eq!(ends(&mut source, 2), End::Over);
        assert_eq!(octets(&mut source, 2, &format), raw(2));
    }
}

/// What a pipe says that was given these octets and closed.
fn pipe_refusal(octets: &[u8], name: &str) -> String {
    let fifo = Scratch::fifo(name);
    let mut pipe = Pipe::open(&fifo.0).unwrap();
    fifo.writer().write_all(octets).unwrap();
    let (format, shared) = (format(Depth::Ten), feed::Shared::default());
    let read = feed::Input::layout(&mut pipe, &format, &shared.left).and_then(|layout| {
        let mut frame = vec![0; layout.unwrap().octets(&format)];
        while feed::Input::frame(&mut pipe, &shared, &mut frame)?.is_some() {}
        Ok(())
    });
    read.unwrap_err().to_string().replace(fifo.name(), "FIFO")
}

#[test]
fn what_is_wrong_with_a_pipe_is_said_with_what_to_write() {
    let convert = "`ffmpeg -i IN -vf scale=128:16 -r 25 -pix_fmt yuv422p10le -strict -1 \
                   -f yuv4mpegpipe -y FIFO`";
    assert_eq!(
        pipe_refusal(b"", "nothing"),
        format!("video pipe FIFO ended before its first frame; have it written by {convert}")
    );
    assert_eq!(
        pipe_refusal(b"YUV4MPEG2 W1280 H720 F50:1 Ip C420jpeg\nFRAME\n", "others"),
        format!(
            "video pipe FIFO is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, 4:2:2 \
             10 bit; convert it with {convert}"
        )
    );
    let short = "video pipe FIFO ended within its first frame, of 5120 octets; set width, height, \
                 sampling and depth to what it is, or have it write whole frames";
    assert_eq!(pipe_refusal(&[7; 5000], "short"), short);
    assert_eq!(pipe_refusal(b"YUV4", "shorter"), short);
    let (_, mut file) = planes(2);
    let second = file.len() - 8192 - 6;
    file[second] = b'f';
    assert_eq!(
        pipe_refusal(&file, "damaged"),
        "video pipe FIFO: where frame 1 should begin is no FRAME; it is damaged, or of another \
         size than its header says: write it again"
    );
}

#[test]
fn a_broken_pipe_is_told_from_one_that_ended() {
    let fifo = Scratch::fifo("broken");
    let mut source = fifo.open(format(Depth::Ten), AHEAD);
    fifo.writer().write_all(b"YUV4MPEG2 W1280 H720 F50:1 Ip C420jpeg\nFRAME\n").unwrap();
    until("the end", || source.ready(0) == Ready::Ended(End::Broken));
}

#[test]
fn a_file_that_is_removed_or_replaced_is_played_on() {
    let format = format(Depth::Ten);
    let file = Scratch::new("gone.raw", &raw_file(20));
    let mut source = file.open(format, AHEAD);
    begin(&mut source, 0);
    fs::remove_file(&file.0).unwrap();
    fs::write(&file.0, [0xee; 5120]).unwrap();
    for number in 0..50 {
        step(&mut source, number);
        let expected = raw(u8::try_from(number % 20).unwrap());
        assert_eq!(octets(&mut source, number, &format), expected, "{number}");
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_played_ends_the_stream_and_kills_nothing() {
    let format = format(Depth::Ten);
    let file = Scratch::new("cut.raw", &raw_file(50));
    let mut source = file.open(format, AHEAD);
    begin(&mut source, 0);
    step(&mut source, 0);
    file.writer().set_len(5120 * 10 + 77).unwrap();
    // What was read before, and what is left.
    let mut number = 1;
    while number < 10 {
        step(&mut source, number);
        assert_eq!(octets(&mut source, number, &format), raw(u8::try_from(number).unwrap()));
        number += 1;
    }
    assert_eq!(ends(&mut source, number), End::Broken);
    let file = Scratch::new("cut-2.raw", &raw_file(3));
    let reel = Reel::open(&file.0, format).unwrap();
    file.writer().set_len(5120 * 2 + 77).unwrap();
    assert_eq!(
        reel.read(2, &mut raw(0)).unwrap_err().to_string().replace(file.name(), "FILE"),
        "video file FILE was cut while it was played: frame 2 of 3 is not whole any more; write a \
         new file and rename it over the old one, which is then played to the end"
    );
}

#[test]
fn the_thread_ends_with_its_sender() {
    let fifo = Scratch::fifo("left");
    let source = fifo.open(format(Depth::Ten), AHEAD);
    let Source::Feed(feed) = &source else { panic!("{source:?}") };
    let shared = feed.watched();
    drop(source);
    // The thread has let go of what it shares.
    until("its end", || std::sync::Weak::strong_count(&shared) == 0);
}

#[test]
fn a_file_of_other_pictures_is_refused_with_the_way_to_convert_it() {
    let text = b"YUV4MPEG2 W1280 H720 F50:1 Ip C420jpeg\nFRAME\n";
    assert_eq!(
        refusal(text, "other.y4m", format(Depth::Ten)),
        "video file FILE is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, \
         4:2:2 10 bit; convert it with `ffmpeg -i FILE -vf scale=128:16 -r 25 \
         -pix_fmt yuv422p10le -strict -1 out.y4m`"
    );
    let fields = Spec {
        scan: Scan::Interlaced,
        sampling: Sampling::YCbCr444,
        ..format(Depth::Eight).spec()
    };
    assert_eq!(
        refusal(text, "fields.y4m", fields.check().unwrap()),
        "video file FILE is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, \
         interlaced, 4:4:4 8 bit; convert it with `ffmpeg -i FILE -vf scale=128:16 -r 25 \
         -pix_fmt yuv444p -field_order tt out.y4m`"
    );
    let rgb = Spec { sampling: Sampling::Rgb, ..format(Depth::Eight).spec() };
    assert_eq!(
        refusal(text, "rgb.y4m", rgb.check().unwrap()),
        "video file FILE is 1280x720 at 50, C420jpeg, Ip, the stream is 128x16 at 25, \
         RGB 8 bit; Y4M has no RGB, give it as raw pgroups"
    );
    assert_eq!(
        refusal(b"YUV4MPEG2 Wide\n", "odd.y4m", format(Depth::Eight)),
        "video file FILE is damaged Y4M, the stream is 128x16 at 25, 4:2:2 8 bit; \
         convert it with `ffmpeg -i FILE -vf scale=128:16 -r 25 -pix_fmt yuv422p out.y4m`"
    );
}

#[test]
fn a_file_that_ends_within_a_frame_is_refused() {
    for octets in [0, 1, 5119, 5121] {
        assert_eq!(
            refusal(&vec![0; octets], "ragged.raw", format(Depth::Ten)),
            format!(
                "video file FILE has {octets} octets, which are not whole frames of 5120 \
                 octets (128x16 at 25, 4:2:2 10 bit); set width, height, sampling and depth \
                 to what it holds"
            )
        );
    }
    let mut file = y4m::Header::emit(&format(Depth::Eight)).unwrap().into_bytes();
    assert!(refusal(&file, "none.y4m", format(Depth::Eight)).contains("not whole frames"));
    file.extend(b"FRAME\nabc");
    assert!(refusal(&file, "part.y4m", format(Depth::Eight)).contains("not whole frames"));
}

#[test]
fn a_file_whose_frames_are_damaged_is_refused() {
    let (_, mut file) = planes(3);
    let third = file.len() - 8192 - 6;
    file[third + 2] = b'?';
    let file = Scratch::new("damaged.y4m", &file);
    let error = Source::open(file.name(), format(Depth::Ten), HELD).unwrap_err().to_string();
    assert!(error.contains("where frame 2 should begin is no FRAME"), "{error}");
}

#[test]
fn what_is_not_there_is_named() {
    let refused = |name| Source::open(name, format(Depth::Eight), HELD).unwrap_err().to_string();
    assert_eq!(
        refused("/no/such.y4m"),
        "video file /no/such.y4m: No such file or directory (os error 2)"
    );
    let tmp = std::env::temp_dir();
    let directory = tmp.to_str().unwrap();
    assert!(refused(directory).ends_with("Is a directory (os error 21)"), "{}", refused(directory));
}
