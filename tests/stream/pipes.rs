//! `ffmpeg … | tidegate run`, and `tidegate run | ffmpeg …`: pictures through pipes at both ends.

use std::process::Stdio;

use super::*;
use crate::require;

/// Frames of the clip, all different.
const CLIP: usize = 30;

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// Octets of a frame as FFmpeg's yuv422p10le.
const FRAME: usize = WIDTH * HEIGHT * 2 * 2;

const SMALL: &str = "width = 320\nheight = 180\nrate = \"25\"\ndepth = 10\n";

fn ffmpeg() -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-y"]).stdin(Stdio::null());
    ffmpeg
}

/// FFmpeg's moving picture, as it gives it to whatever comes behind.
fn painted(end: &[&str]) -> Command {
    let mut ffmpeg = ffmpeg();
    ffmpeg.args(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-frames:v"]);
    ffmpeg.arg(CLIP.to_string()).args(["-pix_fmt", "yuv422p10le", "-strict", "-1"]).args(end);
    ffmpeg
}

/// Two namespaces with a wire.
struct Scene {
    scratch: Scratch,
    near: Namespace,
    far: Namespace,
    wire: Wire,
}

impl Scene {
    fn set(name: &str) -> Self {
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
        Self { scratch: Scratch::new(name), near, far, wire }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    fn sends(&self, source: &str) -> String {
        let (here, there) = (&self.wire.near, &self.wire.far);
        format!(
            "[[interface]]\nname = {:?}\n[[service]]\nname = \"camera\"\nkind = \"stream-send\"\n\
             [service.options]\ndestination = \"{}:20000\"\nsource_address = \"{}:20000\"\n\
             source = {source:?}\n{SMALL}",
            here.name, there.ipv4, here.ipv4,
        )
    }

    /// The receiver at the far end, ready.
    fn receiver(&self, path: &str, output: Stdio) -> Running {
        let there = &self.wire.far;
        let receives = format!(
            "[[interface]]\nname = {:?}\n[[service]]\nname = \"screen\"\nkind = \"stream-receive\"\n\
             selectors = [{{ destination = \"{}\", protocol = \"udp\", ports = 20000 }}]\n\
             [service.options]\nport = 20000\nsink = \"file\"\npath = {path:?}\n{SMALL}",
            there.name, there.ipv4,
        );
        let mut receiver =
            Running::start_with(&self.far, &self.scratch.0, "screen", &receives, |command| {
                command.stdout(output);
            });
        let turns = |stats: &Value| stats["shards"][0]["stats"]["turns"].as_u64();
        receiver.until("the receiver", |stats| turns(stats) > Some(0));
        receiver
    }
}

/// Waits for a program's end.
#[track_caller]
fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where each received frame is in the clip: forward, and none is torn.
#[track_caller]
fn places(got: &[u8], clip: &[u8]) -> Vec<usize> {
    assert_eq!(got.len() % FRAME, 0, "ends within a frame");
    let place = |frame: &[u8]| clip.chunks(FRAME).position(|it| it == frame);
    let places: Vec<usize> = got
        .chunks(FRAME)
        .enumerate()
        .map(|(at, frame)| place(frame).unwrap_or_else(|| panic!("frame {at} is none of the clip")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    places
}

/// What went through both pipes, as places in the clip; `None` where the machine was so busy that
/// the kernel or a sink lost some.
fn through(scene: &Scene, clip: &[u8]) -> Option<Vec<usize>> {
    let got = scene.path("got.yuv");
    // ┌ ffmpeg ─► tidegate ─► wire ─► tidegate ─► ffmpeg ┐
    let mut player = ffmpeg();
    player.args(["-f", "yuv4mpegpipe", "-i", "-", "-fps_mode", "passthrough"]);
    player.args(["-f", "rawvideo", "-pix_fmt", "yuv422p10le"]).arg(&got).stdin(Stdio::piped());
    let mut player = player.spawn().unwrap();
    let input = player.stdin.take().unwrap();
    let mut receiver = scene.receiver("-", Stdio::from(input));

    let mut painter = painted(&["-f", "yuv4mpegpipe", "-"]);
    let mut painter = painter.stdout(Stdio::piped()).spawn().unwrap();
    let pictures = painter.stdout.take().unwrap();
    let sends = scene.sends("-");
    let mut sender = Running::start_with(&scene.near, &scene.scratch.0, "camera", &sends, |it| {
        it.stdin(pictures);
    });
    // It leaves by itself, and says that all is well.
    assert!(ended(&mut sender.child, "the sender").success());
    assert!(painter.wait().unwrap().success());
    let mut before = 0;
    let received = receiver.until("silence", |stats| {
        let (got, written) = (counter(stats, "frames_received"), counter(stats, "frames_written"));
        let dropped = counter(stats, "frames_dropped");
        let is_quiet = got > 0 && std::mem::replace(&mut before, got) == got;
        is_quiet && written + dropped == got
    });
    assert!(receiver.stop().success());
    assert!(ended(&mut player, "the player").success());
    let lost = ["packets_lost", "frames_dropped", "frames_incomplete"];
    if lost.iter().any(|name| counter(&received, name) > 0) {
        return None;
    }
    let got = fs::read(&got).unwrap();
    assert_eq!((got.len() / FRAME) as u64, counter(&received, "frames_written"));
    Some(places(&got, clip))
}

#[test]
fn what_ffmpeg_pipes_in_comes_out_of_the_other_pipe_bit_for_bit() {
    require_net!();
    if !require::program("ffmpeg") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::set("pipes");
    let file = scene.path("clip.yuv");
    assert!(painted(&["-f", "rawvideo"]).arg(&file).status().unwrap().success());
    let clip = fs::read(&file).unwrap();
    assert_eq!(clip.len(), CLIP * FRAME);
    let places = (0..4).find_map(|_| through(&scene, &clip)).expect("one of them in time");
    // Each of them; again where FFmpeg was late.
    let mut distinct = places.clone();
    distinct.dedup();
    assert_eq!(distinct, (0..CLIP).collect::<Vec<_>>(), "{places:?}");
}

#[test]
fn a_fifo_of_other_pictures_ends_the_program_with_the_reason() {
    require_net!();
    let _alone = require::alone();
    let scene = Scene::set("fifo");
    let fifo = scene.path("in.fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let sends = scene.sends(fifo.to_str().unwrap());
    let log = scene.path("log.txt");
    let mut sender = Running::start_with(&scene.near, &scene.scratch.0, "camera", &sends, |it| {
        it.stderr(fs::File::create(&log).unwrap());
    });
    // It waits for a writer, and for as long as it takes.
    let turns = |stats: &Value| stats["shards"][0]["stats"]["turns"].as_u64();
    let waiting = sender.until("the sender", |stats| turns(stats) > Some(100));
    assert_eq!(waiting["shards"][0]["services"][0]["words"]["source"], "playing");
    assert_eq!(counter(&waiting, "packets_sent"), 0);
    fs::write(&fifo, "YUV4MPEG2 W1280 H720 F50:1 Ip C420jpeg\nFRAME\n").unwrap();
    let status = ended(&mut sender.child, "the sender");
    assert_eq!(status.code(), Some(1));
    let log = fs::read_to_string(&log).unwrap();
    let reason = "is 1280x720 at 50, C420jpeg, Ip, the stream is 320x180 at 25, 4:2:2 10 bit";
    assert!(log.contains(reason) && log.contains("-f yuv4mpegpipe -y"), "{log}");
}

#[test]
fn a_file_read_ahead_is_played_on_when_it_is_removed_and_ends_the_stream_when_it_is_cut() {
    require_net!();
    let _alone = require::alone();
    let scene = Scene::set("removed");
    let (file, log) = (scene.path("clip.raw"), scene.path("log.txt"));
    let frames = (0..100_u8).flat_map(|number| vec![number; 320 * 180 * 5 / 2]);
    fs::write(&file, frames.collect::<Vec<u8>>()).unwrap();
    let writer = fs::OpenOptions::new().write(true).open(&file).unwrap();
    let sends = scene.sends(file.to_str().unwrap()) + "clip_mib = 0\n";
    let mut sender = Running::start_with(&scene.near, &scene.scratch.0, "camera", &sends, |it| {
        it.stderr(fs::File::create(&log).unwrap());
    });
    sender.until("frames", |stats| counter(stats, "frames_sent") > 3);
    fs::remove_file(&file).unwrap();
    let sent = sender.until("frames", |stats| counter(stats, "frames_sent") > 10);
    assert_eq!(sent["shards"][0]["services"][0]["words"]["source"], "playing");
    writer.set_len(1000).unwrap();
    assert_eq!(ended(&mut sender.child, "the sender").code(), Some(1));
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("was cut while it was played") && log.contains("rename"), "{log}");
}

#[test]
fn a_player_that_leaves_costs_frames_and_nothing_else() {
    use std::io::Read as _;

    require_net!();
    let _alone = require::alone();
    let scene = Scene::set("player");
    let mut receiver = scene.receiver("-", Stdio::piped());
    let mut player = receiver.child.stdout.take().unwrap();
    let sender = Running::start(&scene.near, &scene.scratch.0, "camera", &scene.sends("pattern"));
    let mut header = [0; 9];
    player.read_exact(&mut header).unwrap();
    assert_eq!(&header, b"YUV4MPEG2");
    // It reads no more: what does not fit the pipe is dropped.
    let stuck = receiver.until("dropped frames", |stats| counter(stats, "frames_dropped") > 2);
    let written = counter(&stuck, "frames_written");
    drop(player);
    let dropped = counter(&stuck, "frames_dropped");
    let gone =
        receiver.until("more of them", |stats| counter(stats, "frames_dropped") > dropped + 5);
    assert!(counter(&gone, "frames_written") <= written + 1, "{gone}");
    assert!(counter(&gone, "frames_received") > counter(&stuck, "frames_received"), "{gone}");
    assert!(sender.stop().success());
    assert!(receiver.stop().success());
}
