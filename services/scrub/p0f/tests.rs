//! What signatures are read, and which packets have them.

use super::*;

/// Makes a segment another one.
type Change = fn(&mut Segment);

fn signature(text: &str) -> Signature {
    text.parse().unwrap_or_else(|misread| panic!("{text}: {misread}"))
}

/// A segment, from its IP header on; a checksum is nothing that p0f looks at.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) version: u8,
    pub(super) ttl: u8,
    pub(super) traffic_class: u8,
    /// Flags and fragment offset of IPv4.
    pub(super) fragment: u16,
    pub(super) id: u16,
    /// Of IPv4, a multiple of four octets.
    pub(super) ip_options: Vec<u8>,
    pub(super) flow: u32,
    pub(super) source_port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    /// The bits beside the length of the TCP header.
    pub(super) reserved: u8,
    pub(super) window: u16,
    pub(super) urgent: u16,
    /// A multiple of four octets.
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Options of a Linux SYN: MSS 1460, SACK permitted, timestamps, window scale 7.
const LINUX: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

impl Segment {
    /// What Linux sends to connect.
    pub(super) fn linux() -> Self {
        Self {
            version: 4,
            ttl: 60,
            traffic_class: 0,
            fragment: 0x4000,
            id: 7,
            ip_options: Vec::new(),
            flow: 0,
            source_port: 40_000,
            sequence: 1,
            acknowledgement: 0,
            flags: 2,
            reserved: 0,
            window: 29_200,
            urgent: 0,
            options: LINUX.to_vec(),
            payload: Vec::new(),
        }
    }

    /// A SYN without options or oddities.
    fn plain() -> Self {
        Self { fragment: 0, options: Vec::new(), window: 0, ..Self::linux() }
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[..2].copy_from_slice(&self.source_port.to_be_bytes());
        tcp[3] = 80;
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        tcp[12] = u8::try_from((20 + self.options.len()) / 4).unwrap() << 4 | self.reserved;
        tcp[13] = self.flags;
        tcp[14..16].copy_from_slice(&self.window.to_be_bytes());
        tcp[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        tcp.extend([&self.options[..], &self.payload].concat());
        let mut ip = if self.version == 4 {
            let mut ip = vec![0; 20];
            let words = u8::try_from((20 + self.ip_options.len()) / 4).unwrap();
            let total = u16::try_from(20 + self.ip_options.len() + tcp.len()).unwrap();
            ip[0] = 0x40 | words;
            ip[1] = self.traffic_class;
            ip[2..4].copy_from_slice(&total.to_be_bytes());
            ip[4..6].copy_from_slice(&self.id.to_be_bytes());
            ip[6..8].copy_from_slice(&self.fragment.to_be_bytes());
            ip[8..10].copy_from_slice(&[self.ttl, 6]);
            ip[12..20].copy_from_slice(&[198, 18, 0, 1, 198, 19, 0, 2]);
            ip.extend(&self.ip_options);
            ip
        } else {
            let mut ip = vec![0; 40];
            let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow;
            ip[..4].copy_from_slice(&first.to_be_bytes());
            ip[4..6].copy_from_slice(&u16::try_from(tcp.len()).unwrap().to_be_bytes());
            ip[6..8].copy_from_slice(&[6, self.ttl]);
            ip[8..10].copy_from_slice(&[0x20, 1]);
            ip[24..26].copy_from_slice(&[0x20, 1]);
            ip
        };
        ip.extend(tcp);
        ip
    }
}

#[test]
fn reads_signatures_of_p0f_and_says_where_others_are_wrong() {
    for text in [
        "*:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0",
        "4:64-:0:265:512,0:mss,sok,ts:ack+:0",
        "4:120+8:0:1452:65535,0:mss,nop,nop,sok:df,id+:0",
        "6:255:0:0:%8192,*:?250,eol+2:flow,seq-,bad:+",
        "*:1:4:*:mtu*2,255:::*",
        " 4:64:*:*:*,*::*:* ",
    ] {
        signature(text);
    }
    for (text, part, reason) in [
        ("", "", "1 parts instead of 8"),
        ("4:64:0:*:*,*::", "4:64:0:*:*,*::", "7 parts instead of 8"),
        ("5:64:0:*:*,*:::0", "5", "not an IP version: 4, 6 or *"),
        ("22:64:0:*:*,*:::0", "22", "not an IP version"),
        ("4:x:0:*:*,*:::0", "x", "not an initial TTL: a number from 1 to 255"),
        ("4:0:0:*:*,*:::0", "0", "not an initial TTL"),
        ("4:255x:0:*:*,*:::0", "255x", "not an initial TTL"),
        ("4:+64:0:*:*,*:::0", "+64", "not a TTL"),
        ("4:200+100:0:*:*,*:::0", "200+100", "over 255"),
        ("4:200+?:0:*:*,*:::0", "200+?", "or as in 54+10 or 64-"),
        (
            "4:64:0.1:*:*,*:::0",
            "0.1",
            "a length of IP options in octets: a number from 0 to 255, or *",
        ),
        ("4:64:0:y:*,*:::0", "y", "not an MSS: a number from 0 to 65535, or * for any"),
        ("4:64:0:65536:*,*:::0", "65536", "not an MSS: a number from 0 to 65535, or * for any"),
        ("4:64:0:*:*:::0", "*", "not a window size and a scale"),
        ("4:64:0:*:nope*2,*:::0", "nope*2", "not a window: a number from 0 to 65535; or as in"),
        ("4:64:0:*:mss*0,*:::0", "0", "not a multiple of the MSS: a number from 1 to 1000"),
        ("4:64:0:*:%1,*:::0", "1", "not a divisor of windows: a number from 2"),
        ("4:64:0:*:mss*2,x:::0", "x", "not a window scale: a number from 0 to 255, or *"),
        ("4:64:0:*:*,*:mss,nop,nope::0", "nope", "not an option: nop, mss, ws"),
        ("4:64:0:*:*,*:mss,::0", "", "not an option"),
        ("4:64:0:*:*,*:eol+1,nop::0", "nop", "stands behind eol"),
        ("4:64:0:*:*,*:eol+256::0", "256", "octets behind eol"),
        ("4:64:0:*:*,*::quirk:0", "quirk", "not a quirk: df, id+, id-, ecn"),
        ("6:64:0:*:*,*::df:0", "df", "df can be in IPv4 only"),
        ("4:64:0:*:*,*::flow:0", "flow", "flow can be in IPv6 only"),
        ("4:64:0:*:*,*:::-", "-", "not a class of payload"),
    ] {
        let misread = text.parse::<Signature>().expect_err(text);
        assert!(misread.what.contains(reason), "{text}: {misread}");
        assert_eq!(&text[misread.at], part, "{text}: {}", misread.what);
    }
    let many = format!("4:64:0:*:*,*:{}nop::0", "nop,".repeat(24));
    assert!(many.parse::<Signature>().unwrap_err().what.contains("more than 24 options"));
}

#[test]
fn a_signature_holds_of_what_it_describes_only() {
    let text = "*:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0";
    let linux = Segment::linux();
    assert!(signature(text).matches_packet(&linux.octets()));
    let changes: [(&str, Change); 17] = [
        ("a TTL above", |s| s.ttl = 65),
        ("a TTL too far below", |s| s.ttl = 28),
        ("IP options", |s| s.ip_options = vec![1; 4]),
        ("another window", |s| s.window = 29_201),
        ("another scale", |s| s.options[19] = 8),
        ("another order", |s| s.options.swap(16, 4)),
        ("no don't fragment", |s| s.fragment = 0),
        ("no identification", |s| s.id = 0),
        ("congestion notification", |s| s.flags |= 0xc0),
        ("urgent", |s| s.flags |= 0x20),
        ("payload", |s| s.payload = vec![0]),
        ("one option more", |s| s.options.extend([1; 4])),
        ("an acknowledgement", |s| s.acknowledgement = 1),
        ("a fragment", |s| s.fragment = 0x2000),
        ("a reset", |s| s.flags |= 4),
        ("no SYN", |s| s.flags = 16),
        ("no sequence number", |s| s.sequence = 0),
    ];
    for (what, change) in changes {
        let mut segment = linux.clone();
        change(&mut segment);
        assert!(!signature(text).matches_packet(&segment.octets()), "{what}");
    }
    let mut six = linux.clone();
    (six.version, six.window) = (6, 28_800);
    assert!(signature(text).matches_packet(&six.octets()), "df and id+ mean nothing in IPv6");
    assert!(!signature(&text.replacen('*', "4", 1)).matches_packet(&six.octets()));
    let mut answer = linux;
    (answer.flags, answer.acknowledgement) = (0x12, 5);
    assert!(signature(text).matches_packet(&answer.octets()), "a SYN-ACK, too");
}

/// Signatures of one property each, after those that bpftools is tested with.
#[test]
fn each_property_is_looked_at() {
    let plain = Segment::plain();
    let with = |change: fn(&mut Segment)| {
        let mut segment = plain.clone();
        change(&mut segment);
        segment.octets()
    };
    let mss = |s: &mut Segment| s.options = vec![2, 4, 3, 232, 3, 3, 1, 1];
    for (text, packet, holds) in [
        ("4:255-:*:*:*,*:::*", with(|_| {}), true),
        ("4:64:*:*:*,*:::*", with(|_| {}), true),
        ("4:128:*:*:*,*:::*", with(|_| {}), false),
        ("4:50+10:*:*:*,*:::*", with(|_| {}), true),
        ("4:59-:*:*:*,*:::*", with(|_| {}), false),
        ("6:255-:*:*:*,*:::*", with(|s| s.version = 6), true),
        ("6:255-:*:*:*,*:::*", with(|_| {}), false),
        ("*:255-:4:*:*,*:::*", with(|s| s.ip_options = vec![1; 4]), true),
        ("*:255-:8:*:*,*:::*", with(|s| s.ip_options = vec![1; 4]), false),
        ("4:255-:*:1000:*,1:mss,ws,nop::*", with(mss), true),
        ("4:255-:*:900:*,*:mss,ws,nop::*", with(mss), false),
        ("4:255-:*:*:65535,0:::*", with(|s| s.window = 65_535), true),
        ("4:255-:*:*:65535,0:::*", with(|s| s.window = 1), false),
        ("4:255-:*:*:%200,*:::*", with(|s| s.window = 8_000), true),
        ("4:255-:*:*:%200,*:::*", with(|s| s.window = 8_001), false),
        ("4:255-:*:*:*,*:nop,eol+2::*", with(|s| s.options = vec![1, 0, 0, 0]), true),
        ("4:255-:*:*:*,*:nop,eol+1::*", with(|s| s.options = vec![1, 0, 0, 0]), false),
        ("4:255-:*:*:*,*:nop,eol::*", with(|s| s.options = vec![1, 0, 0, 0]), true),
        ("4:255-:*:*:*,*:nop,eol+2:opt+:*", with(|s| s.options = vec![1, 0, 1, 0]), true),
        ("4:255-:*:*:*,*:nop,eol+2::*", with(|s| s.options = vec![1, 0, 1, 0]), false),
        ("4:255-:*:*:*,*::df:*", with(|s| (s.fragment, s.id) = (0x4000, 0)), true),
        ("4:255-:*:*:*,*::df,id+:*", with(|s| s.fragment = 0x4000), true),
        ("4:255-:*:*:*,*::id-:*", with(|s| s.id = 0), true),
        ("4:255-:*:*:*,*::0+:*", with(|s| s.fragment = 0x8000), true),
        ("4:255-:*:*:*,*::ecn:*", with(|s| s.traffic_class = 2), true),
        ("6:255-:*:*:*,*::ecn:*", with(|s| (s.version, s.traffic_class) = (6, 1)), true),
        ("4:255-:*:*:*,*::ecn:*", with(|s| s.reserved = 1), true),
        ("6:255-:*:*:*,*::flow:*", with(|s| (s.version, s.flow) = (6, 1)), true),
        ("4:255-:*:*:*,*::seq-:*", with(|s| s.sequence = 0), true),
        ("4:255-:*:*:*,*::ack+:*", with(|s| s.acknowledgement = 0x0100), true),
        ("4:255-:*:*:*,*::ack-:*", with(|s| s.flags = 0x12), true),
        ("4:255-:*:*:*,*::uptr+:*", with(|s| s.urgent = 1), true),
        ("4:255-:*:*:*,*::urgf+:*", with(|s| (s.flags, s.urgent) = (0x22, 1)), true),
        ("4:255-:*:*:*,*::pushf+:*", with(|s| s.flags = 0x0a), true),
        ("4:255-:*:*:*,*::pushf+:*", with(|s| (s.flags, s.urgent) = (0x0a, 1)), false),
        ("4:255-:*:*:*,*::pushf+,*:*", with(|s| (s.flags, s.urgent) = (0x0a, 1)), true),
        ("4:255-:*:*:*,*::urgf+,*:*", with(|s| (s.flags, s.urgent) = (0x0a, 1)), false),
        ("4:255-:*:*:*,*::bad:*", with(|s| s.options = vec![1, 1, 1, 1]), false),
        ("4:255-:*:*:*,*:nop,?77:bad:*", with(|s| s.options = vec![1, 77, 3, 1]), false),
        ("4:255-:*:*:*,*:nop,?77:bad:*", with(|s| s.options = vec![1, 77, 4, 1]), true),
        ("4:255-:*:*:*,*:nop,?77::*", with(|s| s.options = vec![1, 77, 3, 1]), true),
        ("4:255-:*:*:*,20:ws,nop:exws:*", with(|s| s.options = vec![3, 3, 20, 1]), true),
        ("4:255-:*:*:*,*:::0", with(|_| {}), true),
        ("4:255-:*:*:*,*:::+", with(|_| {}), false),
        ("4:255-:*:*:*,*:::+", with(|s| s.payload = vec![1]), true),
        ("4:255-:*:*:*,*:::0", with(|s| s.payload = vec![1]), false),
    ] {
        assert_eq!(signature(text).matches_packet(&packet), holds, "{text}: {packet:02x?}");
    }
    // Padding of Ethernet is no payload, and octets that are not there are not read.
    let mut padded = plain.octets();
    padded.extend([0; 6]);
    assert!(signature("4:255-:*:*:*,*:::0").matches_packet(&padded));
    let linux = Segment::linux().octets();
    for end in 0..linux.len() {
        assert!(!signature("*:64:0:*:*,*:mss,sok,ts,nop,ws:*:*").matches_packet(&linux[..end]));
    }
}

#[test]
fn windows_are_multiples_of_what_p0f_tries_in_its_order() {
    let mut segment = Segment::linux();
    for (window, mss, multiple) in [
        (14_600_u16, 1460_u16, "mss*10"),
        (14_480, 1460, "mss*10"), // 12 less: the timestamps.
        (14_000, 1400, "mss*10"),
        (2_920, 1400, "mss*2"), // Of an MTU of 1500.
        (2_880, 1400, "mtu*2"),
        (3_000, 1400, "mtu*2"), // Of 1500.
        (3_000, 1000, "mss*3"), // Before any MTU.
        (65_535, 65_500, "65535"),
        (1_000, 99, "1000"),
        (0, 1460, "0"),
    ] {
        segment.window = window;
        segment.options[2..4].copy_from_slice(&mss.to_be_bytes());
        for other in ["mss*10", "mss*2", "mss*3", "mtu*2", "mtu*3", "mss*1", "mtu*1"] {
            let text = format!("4:64:0:*:{other},7:mss,sok,ts,nop,ws:df,id+:0");
            let holds = signature(&text).matches_packet(&segment.octets());
            assert_eq!(holds, other == multiple, "{window} with {mss}: {other}");
        }
    }
}
