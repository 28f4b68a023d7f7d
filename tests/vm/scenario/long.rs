//! Packets longer than a chunk on drivers that cannot have them in zero-copy: what is demanded is
//! refused by name, what is left open gives up zero-copy, and the packets are whole.

use std::net::UdpSocket;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::lab::Wire;
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Left, law, obtained, ports};
use crate::guest::cards::{await_links, wire};
use crate::guest::configs::interface;
use crate::guest::program::Program;
use crate::guest::step;
use crate::machine::Nics;

const MTU: u32 = 9000;

/// Octets of data in a datagram of one chunk, of several, and of all that the MTU allows.
const LENGTHS: [usize; 4] = [100, 3000, 5000, MTU as usize - 28];

const QUESTIONS: usize = 20;

pub(super) struct Long;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// With `copy = "zero-copy"` and `multi_buffer = "on"`.
    refused: Left,
    /// A program that was left behind by that.
    attached: bool,
    /// With all left open and a long MTU.
    auto: Snapshot,
    auto_left: Left,
    asked: Asked,
}

impl Play for Long {
    type Facts = Facts;

    fn play(_: Nics) -> Facts {
        let wire = wire(1);
        let near = &wire.near.namespace;
        step("both demanded");
        let both = "copy = \"zero-copy\"\nmulti_buffer = \"on\"";
        let refused = Program::refused(near, "demanding", &config(&wire, both));
        let attached = wire.near.link().unwrap().xdp.is_some();
        step("a long MTU");
        await_links(&wire);
        wire.near.set_mtu(MTU).unwrap();
        wire.far.set_mtu(MTU).unwrap();
        let program = Program::start(near, "content", &config(&wire, ""));
        await_links(&wire);
        step("ask");
        let asked = ask(&wire);
        let auto = program.quiet();
        Facts { refused, attached, auto, auto_left: program.leave(), asked }
    }

    fn judge(nics: Nics, facts: Facts) {
        // igb_xdp_setup() of igb_main.c: a frame of such an MTU has to fit one of its buffers.
        let (driver, xdp) = match nics {
            Nics::Igb => ("igb", "generic"),
            Nics::Virtio | Nics::VirtioPlain => ("virtio_net", "native"),
        };
        let complaint = facts.refused.complaint();
        let expected = format!(
            "tidegate: shard 0, eth0 queue 0: the driver of eth0 ({driver}) has no zero-copy for \
             packets in several chunks; set copy = \"auto\" or \"copy\", or multi_buffer = \"off\" \
             and an MTU that one chunk holds"
        );
        assert_eq!(complaint, expected);
        assert!(!facts.attached);
        let auto = &facts.auto;
        law(auto);
        facts.auto_left.in_order();
        assert_eq!(obtained(auto, "copy"), ["copy"], "{}", facts.auto_left.log);
        assert_eq!(obtained(auto, "packet_chunks_max"), ["17"]);
        assert_eq!(obtained(auto, "xdp"), [xdp]);
        let questions = QUESTIONS as u64;
        assert_eq!(facts.asked, Asked { sent: questions, answered: questions, odd: 0 });
        let port = ports(auto);
        assert_eq!((port.rx_frames, port.tx_frames), (questions, questions), "{port:#?}");
        // 1, 1, 2 and 3 chunks.
        let parts = questions / 4 * 3;
        assert_eq!((port.rx_parts, port.tx_parts), (parts, parts), "{port:#?}");
    }
}

/// An echo behind an interface with `more` keys.
fn config(wire: &Wire, more: &str) -> String {
    let echo = format!(
        "[[service]]\nname = \"echo\"\nkind = \"echo\"\n\
         selectors = [{{ destination = \"{}\", protocol = \"udp\", ports = 7 }}]\n",
        wire.near.ipv4
    );
    interface(&wire.near, more) + &echo
}

/// One question after the other, each of another length.
fn ask(wire: &Wire) -> Asked {
    let open = || UdpSocket::bind((wire.far.ipv4, 0)).unwrap();
    let socket = wire.far.namespace.run(open).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut asked = Asked { sent: 0, answered: 0, odd: 0 };
    let mut octets = vec![0; 65_536];
    for (number, length) in LENGTHS.into_iter().cycle().take(QUESTIONS).enumerate() {
        let octet = |at: usize| ((at * 31 + at / 251 + number) % 251).to_le_bytes()[0];
        let data: Vec<u8> = (0..length).map(octet).collect();
        asked.sent += u64::from(socket.send_to(&data, (wire.near.ipv4, 7)).is_ok());
        match socket.recv(&mut octets) {
            Ok(len) if octets[..len] == data => asked.answered += 1,
            Ok(_) => asked.odd += 1,
            Err(_) => {}
        }
    }
    asked
}
