//! How fast does one core send 1262-octet packets: bare rings, the stream service, kernel sockets?
//!
//! The bare loop sends one prebuilt packet again and again. The service renders video or reads it
//! from a file, builds every packet with its headers in place and counts it. GStreamer sends the
//! same picture from the same kind of file, where it is installed. What arrives at the far end is
//! counted, by XDP.

mod common;

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::bare::Bare;
use common::{Contender, Lap, Watch, compare, lasting, start, wire};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use tidegate::lab::End;
use tidegate::lab::sink::{Action, Sink};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::xsk::queue::{BURST_FRAMES, Group};
use tidegate_dataplane::xsk::{self};

const FRAME_OCTETS: usize = 1262;
const FRAME_OCTETS_U32: u32 = 1262;
const PAYLOAD_OCTETS: usize = FRAME_OCTETS - 42;

fn main() {
    let wire = wire();
    let sink = Sink::attach(&wire.far, Action::Drop).expect("a sink");
    let near = &wire.near;
    // What arrived is counted, not what was handed over.
    let measured = |work: &(dyn Fn(Duration) + Sync), time: Duration| {
        let arrived = || sink.arrived().expect("a count").packets;
        let (before, watch) = (arrived(), Watch::start());
        near.namespace.run(|| work(time)).expect("a thread");
        watch.lap(arrived() - before)
    };
    let file = VideoFile::new();
    let pattern = "pattern";
    let mut contenders = vec![
        Contender::new("bare rings", |time| measured(&|time| bare(near, time), time)),
        Contender::new("frames, built once", |time| measured(&|time| frames(near, time), time)),
        Contender::new("stream-send, unpaced", |time| service(near, &sink, pattern, "none", time)),
        Contender::new("the same from a file", |time| service(near, &sink, &file.0, "none", time)),
        Contender::new("with checksums", |time| service(near, &sink, pattern, "full", time)),
        Contender::new("sendmmsg of 64", |time| measured(&|time| sockets(near, time), time)),
    ];
    if Command::new("gst-launch-1.0").arg("--version").output().is_ok() {
        contenders.push(Contender::new("GStreamer", |time| gstreamer(near, &sink, &file.0, time)));
    }
    compare(contenders);
}

/// Pictures as pgroups in a file, in memory as the page cache would have it.
struct VideoFile(String);

impl VideoFile {
    fn new() -> Self {
        let path = format!("/dev/shm/tidegate-bench-{}.raw", std::process::id());
        std::fs::write(&path, vec![0x5a; 1920 * 1080 / 2 * 5]).expect("room in memory");
        Self(path)
    }
}

impl Drop for VideoFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Its RTP payloader and a socket: what one would use without us. Its start is not measured.
fn gstreamer(end: &End, sink: &Sink, file: &str, time: Duration) -> Lap {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "multifilesrc", "loop=true", &format!("location={file}")]);
    command.arg("caps=video/x-raw,format=UYVP,width=1920,height=1080,framerate=50/1");
    command.args(["!", "rtpvrawpay", &format!("mtu={PAYLOAD_OCTETS}"), "!", "udpsink"]);
    command.args([&format!("host={}", end.peer.ipv4), "port=9", "sync=false", "async=false"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = end.namespace.spawn(&mut command).expect("GStreamer");
    let arrived = || sink.arrived().expect("a count").packets;
    let start = arrived();
    while arrived() == start {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (before, watch) = (arrived(), Watch::start_of(child.id()));
    std::thread::sleep(time);
    let lap = watch.lap(arrived() - before);
    let _ = child.kill();
    let _ = child.wait();
    lap
}

/// 1080p 4:2:2 10 bit: four packets of 1200 octets a line. Its start and end are not measured.
fn service(end: &End, sink: &Sink, source: &str, checksum: &str, time: Duration) -> Lap {
    let program = start(
        end,
        &format!(
            r#"
[runtime]
instance = "bench-tx"
shards = 1
idle = "spin"
[[interface]]
name = "{}"
[[service]]
name = "camera"
kind = "stream-send"
options = {{ destination = "{}:9", source_address = "{}:9", destination_mac = "02:00:00:00:00:02", \
unpaced = true, source = "{source}", checksum = "{checksum}", width = 1920, height = 1080, rate = "50", depth = 10 }}
"#,
            end.name, end.peer.ipv4, end.ipv4
        )
        .replace("\\\n", ""),
    );
    let arrived = || sink.arrived().expect("a count").packets;
    std::thread::sleep(Duration::from_millis(100));
    let (before, watch) = (arrived(), Watch::start());
    std::thread::sleep(time);
    let lap = watch.lap(arrived() - before);
    program.stop();
    lap
}

fn packet(end: &End) -> Vec<u8> {
    let mut packet = vec![0xa5; FRAME_OCTETS];
    packet[..6].copy_from_slice(&end.peer.mac);
    packet[6..12].copy_from_slice(&end.mac);
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    packet
}

fn bare(end: &End, time: Duration) {
    let mut bare = Bare::open(&end.name, 0, &packet(end));
    bare.send(FRAME_OCTETS_U32, lasting(time));
}

fn frames(end: &End, time: Duration) {
    let packet = packet(end);
    let umem = Umem::new(&umem::Options { pages: umem::Pages::Ordinary, ..Default::default() });
    let mut queue =
        xsk::open(&xsk::Options::new(&end.name, 0), umem.expect("memory")).expect("a queue");
    // Fills every chunk once: afterwards a frame from the pool holds the packet already.
    let mut all: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
    for frame in &mut all {
        frame.set_len(FRAME_OCTETS);
        frame.bytes_mut().copy_from_slice(&packet);
    }
    all.into_iter().for_each(|frame| queue.release(frame));
    let mut group = Group::new();
    let mut go = lasting(time);
    while go() {
        while group.len() < BURST_FRAMES
            && let Some(mut frame) = queue.take()
        {
            frame.set_len(FRAME_OCTETS);
            group.push(frame);
        }
        queue.send(&mut group);
        queue.kick();
        queue.reap();
    }
    group.drain(..).for_each(|frame| queue.release(frame));
}

fn sockets(end: &End, time: Duration) {
    let socket = UdpSocket::bind((end.ipv4, 0)).expect("a socket");
    let payload = [0xa5; PAYLOAD_OCTETS];
    let address = SockaddrIn::from(std::net::SocketAddrV4::new(end.peer.ipv4, 9));
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(64, None);
    let slices = [[IoSlice::new(&payload)]; 64];
    let mut go = lasting(time);
    while go() {
        let addresses = [Some(address); 64];
        let sent =
            sendmmsg(socket.as_raw_fd(), &mut headers, &slices, addresses, [], MsgFlags::empty());
        let _ = sent.map(|results| results.count());
    }
}
