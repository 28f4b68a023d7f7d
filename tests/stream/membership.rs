//! Groups that a receiver joins, as its kernel lists them and as the other end of the wire, where a
//! switch would be, hears of them.

use std::fs;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::pcap::Reader;
use tidegate_dataplane::wire::packet::{Network, Packet};

use super::{PATIENCE, PICTURE, PROGRAM, Scratch};
use crate::require;

const GROUP: &str = "232.18.1.1";
const GROUP_V6: &str = "ff3e::8000:1";

/// A receiver, and both ends of its wire.
struct Scene {
    scratch: Scratch,
    near: End,
    far: End,
}

impl Scene {
    fn new() -> Self {
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let Wire { near, far } = Wire::new(&near, &far, &WireOptions::default()).unwrap();
        Self { scratch: Scratch::new("membership"), near, far }
    }

    /// Starts a receiver of a group.
    fn receives(&self, group: &str, rest: &str) -> Receiver {
        let config = self.scratch.0.join("screen.toml");
        let text = format!(
            "[runtime]\ninstance = \"screen\"\ncontrol_socket = {:?}\n[[interface]]\nname = {:?}\n\
             [[service]]\nname = \"screen\"\nkind = \"stream-receive\"\n[service.options]\n\
             port = 20000\ndestination = \"{group}\"\n{PICTURE}{rest}",
            self.scratch.0.join("screen.sock"),
            self.near.name,
        );
        fs::write(&config, text).unwrap();
        let said = fs::File::create(self.scratch.0.join("said")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--config").arg(config).stderr(said);
        Receiver(self.near.namespace.spawn(&mut command).unwrap())
    }

    /// The line of the key that names the source.
    fn source(&self, group: &str) -> String {
        let group: IpAddr = group.parse().unwrap();
        format!("source = \"{}\"\n", self.far.address(group))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.scratch.0.join("said")).unwrap()
    }

    /// What the receiver's kernel lists in a table of its groups, without the loopback interface's.
    fn table(&self, name: &str) -> String {
        let path = format!("/proc/thread-self/net/{name}");
        self.near.namespace.run(|| fs::read_to_string(path).unwrap()).unwrap().to_lowercase()
    }

    /// Waits until a table has these digits, or has them no more.
    fn until(&self, table: &str, digits: &str, there: bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.table(table).contains(digits) != there {
            let (table, said) = (self.table(table), self.said());
            assert!(Instant::now() < deadline, "{digits} {there}: {table}\n{said}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Hears what the other end is told of groups.
struct Ear {
    child: Child,
    path: std::path::PathBuf,
}

impl Ear {
    fn open(scene: &Scene, name: &str) -> Self {
        let path = scene.scratch.0.join(name);
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["-i", &scene.far.name, "-U", "--immediate-mode", "-Z", "root", "-w"]);
        tcpdump.arg(&path).args(["igmp", "or", "ip6"]).stderr(Stdio::null());
        let child = scene.far.namespace.spawn(&mut tcpdump).unwrap();
        // The file begins when the capture does.
        let deadline = Instant::now() + PATIENCE;
        while fs::metadata(&path).map_or(0, |facts| facts.len()) < 24 {
            assert!(Instant::now() < deadline, "tcpdump does not begin");
            thread::sleep(Duration::from_millis(20));
        }
        Self { child, path }
    }

    /// Messages heard so far: IGMP's, and ICMPv6's behind their options.
    fn heard(&self) -> Vec<Vec<u8>> {
        let Ok(records) = Reader::open(&self.path) else { return Vec::new() };
        let messages = records.map_while(Result::ok).filter_map(|record| {
            Some(match Packet::parse(&record.bytes).ok()?.network() {
                Network::V4(ip) => ip.payload().to_vec(),
                Network::V6(ip) => ip.payload().to_vec(),
            })
        });
        messages.collect()
    }

    /// Waits for a message that begins like this and has these octets somewhere.
    fn until(&self, kind: u8, octets: &[u8]) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.heard();
            let is = |message: &&Vec<u8>| {
                message[0] == kind && message.windows(octets.len()).any(|it| it == octets)
            };
            if let Some(message) = heard.iter().find(is) {
                return message.clone();
            }
            assert!(Instant::now() < deadline, "no message {kind:#x} with {octets:?}: {heard:x?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, receiving; ended with the test, however that ends.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn end(mut receiver: Receiver, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(receiver.0.id()).unwrap()), signal).unwrap();
    receiver.0.wait().unwrap();
}

/// RFC 3376, section 4.2.12.
const ALLOW_NEW_SOURCES: u8 = 5;
const BLOCK_OLD_SOURCES: u8 = 6;

#[test]
fn a_group_is_joined_with_its_source_and_left_at_the_end_and_by_death() {
    require_net!();
    if !require::program("tcpdump") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new();
    // Group and source in one record.
    let pair = [[232, 18, 1, 1], scene.far.ipv4.octets()].concat();
    let listed = "0xe8120101 0xc6120102";
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let ear = Ear::open(&scene, "igmp.pcap");
        assert!(!scene.table("mcfilter").contains(listed));
        let receiver = scene.receives(GROUP, &scene.source(GROUP));
        scene.until("mcfilter", listed, true);
        // IGMPv3: type 0x22, and a record: kind, length, count of sources, group, source. What the
        // receiver before has left is still said again for a while, in records of the other kind.
        let joined = [&[ALLOW_NEW_SOURCES, 0, 0, 1][..], &pair].concat();
        ear.until(0x22, &joined);
        drop(ear);
        let ear = Ear::open(&scene, "igmp.pcap");
        end(receiver, signal);
        scene.until("mcfilter", listed, false);
        let left = [&[BLOCK_OLD_SOURCES, 0, 0, 1][..], &pair].concat();
        ear.until(0x22, &left);
    }
}

#[test]
fn igmp_has_the_version_that_the_machine_is_set_to() {
    require_net!();
    if !require::program("tcpdump") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new();
    let setting = format!("net/ipv4/conf/{}/force_igmp_version", scene.near.name);
    scene.near.namespace.set(&setting, "2").unwrap();
    let ear = Ear::open(&scene, "igmp.pcap");
    let receiver = scene.receives(GROUP, &scene.source(GROUP));
    // RFC 2236: a report is 0x16, a leave is 0x17; both have the group from octet 4.
    ear.until(0x16, &[232, 18, 1, 1]);
    end(receiver, Signal::SIGTERM);
    ear.until(0x17, &[232, 18, 1, 1]);
    assert!(ear.heard().iter().all(|message| message[0] != 0x22), "{:x?}", ear.heard());
}

#[test]
fn a_group_of_ipv6_is_joined_by_mld() {
    require_net!();
    if !require::program("tcpdump") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new();
    let ear = Ear::open(&scene, "mld.pcap");
    let receiver = scene.receives(GROUP_V6, &scene.source(GROUP_V6));
    let listed = "ff3e0000000000000000000080000001 20010db8000000010000000000000002";
    scene.until("mcfilter6", listed, true);
    // RFC 3810, section 5.2: a report of version 2 is 143.
    let group: std::net::Ipv6Addr = GROUP_V6.parse().unwrap();
    ear.until(143, &[&group.octets()[..], &scene.far.ipv6.octets()[..]].concat());
    end(receiver, Signal::SIGTERM);
    scene.until("mcfilter6", listed, false);
}

#[test]
fn sound_and_ancillary_data_have_groups_of_their_own() {
    require_net!();
    let _alone = require::alone();
    let scene = Scene::new();
    let source = scene.source(GROUP);
    let rest = format!(
        "{source}[service.options.audio]\nport = 20002\ndestination = \"232.18.1.2\"\n{source}\
         [service.options.ancillary]\nport = 20004\ndestination = \"232.18.1.1\"\n{source}"
    );
    let receiver = scene.receives(GROUP, &rest);
    for group in ["0xe8120101", "0xe8120102"] {
        scene.until("mcfilter", &format!("{group} 0xc6120102"), true);
    }
    // That of pictures and data is joined once: one user in the kernel's list.
    let listed = scene.table("igmp");
    let line = listed.lines().find(|line| line.contains("010112e8")).unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some("1"), "{listed}");
    end(receiver, Signal::SIGTERM);
    scene.until("mcfilter", "0xe8120102", false);
}

#[test]
fn a_group_without_its_source_is_joined_for_any_and_that_is_said() {
    require_net!();
    let _alone = require::alone();
    let scene = Scene::new();
    let receiver = scene.receives("239.18.1.1", "");
    scene.until("igmp", "010112ef", true);
    assert!(!scene.table("mcfilter").contains("0xef120101"));
    let said = scene.said();
    assert!(said.contains("joined for any source") && said.contains("239.18.1.1"), "{said}");
    end(receiver, Signal::SIGTERM);
    scene.until("igmp", "010112ef", false);
}

#[test]
fn a_receiver_that_is_told_not_to_joins_nothing() {
    require_net!();
    let _alone = require::alone();
    let scene = Scene::new();
    let rest = format!("{}membership = \"none\"\n", scene.source(GROUP));
    let receiver = scene.receives(GROUP, &rest);
    // It runs when it answers.
    let deadline = Instant::now() + PATIENCE;
    while !scene.scratch.0.join("screen.sock").exists() {
        assert!(Instant::now() < deadline, "{}", scene.said());
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
    assert!(!scene.table("mcfilter").contains("0xe8120101"));
    assert!(!scene.table("igmp").contains("010112e8"));
    end(receiver, Signal::SIGTERM);
}
