//! Packets, captures and configs that nobody would write, for everything that reads them.
//!
//! Right packets of every protocol are made by chance, and most are then damaged: bits flipped,
//! cut, grown, lengths that lie, the head of one on the tail of another or of a captured one. No
//! reader may panic, each packet is counted once, and where two readers read the same packet they
//! read the same.
//!
//! `SEED=n` replays a run and `ITERATIONS=n` makes it as long as wanted: packet `i` of a run
//! depends on `SEED + i` alone. A failure prints both, and the packet.

mod damage;
mod essence;
mod generator;
mod long;
mod video;

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;

use damage::{damaged, damaged_text};
use generator::Made;
use tidegate::echo::Echo;
use tidegate::registry::{NoOptions, Registry};
use tidegate::scrub::Scrub;
use tidegate::stream::StreamReceive;
use tidegate_config::{Config, Options};
use tidegate_dataplane::pcap;
use tidegate_dataplane::steer::Outcome;
use tidegate_dataplane::wire::packet::{Network, Packet, Transport};
use tidegate_dataplane::wire::{Ethernet, Fragment, Malformed, Rfc4175, Rtp};
use tidegate_dataplane::xsk::testing::Delivery;
use tidegate_runtime::metrics::snapshot::ServiceSnapshot;
use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::report::Health;
use tidegate_runtime::sim::{Random, Sim, SimPort};

use crate::steer::{Bench, to};

/// What the environment says, or `otherwise`.
fn number(name: &str, otherwise: u64) -> u64 {
    let Ok(value) = env::var(name) else { return otherwise };
    value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number is wanted"))
}

/// Calls `try_one` for each packet of a run.
fn run(iterations: u64, mut try_one: impl FnMut(&mut Random, &Case)) {
    let seed = number("SEED", 1);
    for index in 0..number("ITERATIONS", iterations) {
        let case = Case { seed, index };
        try_one(&mut Random::new(seed.wrapping_add(index)), &case);
    }
}

/// One packet's place in a run.
struct Case {
    seed: u64,
    index: u64,
}

/// Says on which packet, when a test fails.
struct Suspect<'a>(&'a Case, &'a [u8]);

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self(Case { seed, index }, octets) = self;
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            let _ = writeln!(
                io::stderr(),
                "SEED={seed} ITERATIONS={} comes to this, SEED={} ITERATIONS=1 begins with it:\n\
                 {hex}",
                index + 1,
                seed.wrapping_add(*index)
            );
        }
    }
}

/// Captured packets to be spliced in, if there are any, and always one that is made.
fn captured() -> Vec<Vec<u8>> {
    let place = env::var_os("TIDEGATE_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), Into::into);
    let mut packets = vec![generator::packet(&mut Random::new(0)).octets];
    for file in [
        "attack/tcp-syn-flood-spoofed.pcap",
        "attack/udp-dns-rrsig-amplification-fragmented.pcap",
        "attack/udp-snmp-amplification.pcapng",
        "legit/http-ipv6.pcap",
        "legit/quic.pcap",
        "odd/ip-fragmented-garbage.pcap",
    ] {
        match pcap::Reader::open(place.join("pcap").join(file)) {
            Ok(records) => packets.extend(records.take(200).map(|record| record.unwrap().bytes)),
            Err(error) => {
                let required = env::var_os("REQUIRE_CORPUS").is_some_and(|value| value == "1");
                assert!(!required, "REQUIRE_CORPUS=1, but {error}");
            }
        }
    }
    packets
}

/// A packet, one in four of them whole.
fn some_packet(random: &mut Random, captured: &[Vec<u8>]) -> Vec<u8> {
    let made = generator::packet(random);
    wear(random, made, captured)
}

fn wear(random: &mut Random, made: Made, captured: &[Vec<u8>]) -> Vec<u8> {
    if random.chance(250) {
        return made.octets;
    }
    let other = usize::try_from(random.below(captured.len() as u64)).unwrap();
    damaged(random, &made, &captured[other])
}

/// Octets from the frame's first to the end of its IP packet.
fn needed(packet: &Packet<'_>) -> usize {
    packet.ethernet().header_octets() + packet.ip_octets()
}

/// Where user space sees the upper layer begin.
fn l4_offset(packet: &Packet<'_>) -> Option<usize> {
    let payload = match packet.network() {
        Network::V4(ip) => ip.payload(),
        Network::V6(ip) => ip.payload(),
    };
    let later = matches!(packet.fragment(), Fragment::Later { .. });
    (!later).then(|| needed(packet) - payload.len())
}

#[test]
fn right_packets_are_read_and_end_where_they_say() {
    run(2_000, |random, case| {
        let made = generator::packet(random);
        let _suspect = Suspect(case, &made.octets);
        let read = Packet::parse(&made.octets);
        assert_eq!(read.is_ok(), made.readable, "{read:?}");
        let Ok(packet) = read else { return };
        for end in 0..=made.octets.len() {
            let whole = Packet::parse(&made.octets[..end]).is_ok();
            assert_eq!(whole, end >= needed(&packet), "{end} octets");
        }
    });
}

#[test]
fn no_damage_shows_a_view_octets_from_outside() {
    let captured = captured();
    let (mut read, mut refused) = (0, 0);
    run(60_000, |random, case| {
        let octets = some_packet(random, &captured);
        let _suspect = Suspect(case, &octets);
        let Ok(packet) = Packet::parse(&octets) else {
            refused += 1;
            return;
        };
        read += 1;
        assert!(needed(&packet) <= octets.len());
        let (bounds, payload) = (octets.as_ptr_range(), packet.payload().as_ptr_range());
        assert!(bounds.start <= payload.start && payload.end <= bounds.end, "{packet:?}");
        let _ = (packet.source(), packet.destination(), packet.ports(), packet.protocol());
        if let Ok(rtp) = Rtp::parse(packet.payload())
            && let Ok(video) = Rfc4175::parse(rtp.payload())
        {
            let octets: usize = video.rows().map(|row| row.data.len()).sum();
            assert!(octets <= rtp.payload().len());
        }
    });
    if env::var_os("ITERATIONS").is_none() {
        assert!(read > 15_000 && refused > 15_000, "{read} read, {refused} refused");
    }
}

/// One service alone on a shard.
struct Stage {
    sim: Sim,
    before: ServiceSnapshot,
}

/// What became of one packet.
#[derive(Debug, PartialEq)]
enum Fate {
    Transmitted,
    Reinjected,
    Consumed,
    Dropped(String),
    /// The chunk was too small; no service saw it.
    TooLong,
}

impl Stage {
    fn new(plan: ServicePlan) -> Self {
        Self::on(SimPort::default(), plan)
    }

    fn on(port: SimPort, plan: ServicePlan) -> Self {
        let mut sim = Sim::new(1);
        sim.shard(&[port], vec![plan.selector(0, 0)], Policy::default()).unwrap();
        let before = sim.report(0).services.remove(0).snapshot;
        Self { sim, before }
    }

    /// One packet in, one fate out, and every law holds. It has an octet at least: an empty one
    /// is a bad descriptor, and comes to no service.
    fn feed(&mut self, octets: &[u8]) -> Fate {
        match self.sim.deliver(0, 0, octets, 0) {
            Delivery::Delivered => {}
            Delivery::TooLong => {
                assert!(octets.len() > 1_500 + 22, "{} octets", octets.len());
                return Fate::TooLong;
            }
            other => panic!("{other:?}"),
        }
        self.sim.turn();
        self.sim.check();
        if self.sim.report(0).services[0].snapshot.stats.settled() == self.before.stats.settled() {
            // It waits for another one, which does not come.
            self.sim.pass(60_000_000);
            self.sim.turn();
            self.sim.check();
        }
        let report = self.sim.report(0).services.remove(0);
        assert_eq!(report.health, Health::Running);
        let (was, is) = (&self.before, &report.snapshot);
        assert_eq!(is.stats.rx_frames, was.stats.rx_frames + 1);
        assert_eq!(is.stats.rx_octets, was.stats.rx_octets + octets.len() as u64);
        let outcomes = [
            (is.stats.settled_transmit - was.stats.settled_transmit, Fate::Transmitted),
            (is.stats.settled_reinject - was.stats.settled_reinject, Fate::Reinjected),
            (is.stats.settled_consumed - was.stats.settled_consumed, Fate::Consumed),
        ];
        let drops = is.drops.iter().map(|(reason, count)| {
            (count - was.drops.get(reason).copied().unwrap_or(0), Fate::Dropped(reason.clone()))
        });
        let mut fates: Vec<_> =
            outcomes.into_iter().chain(drops).filter(|(count, _)| *count > 0).collect();
        assert_eq!(fates.len(), 1, "{fates:?}");
        let (count, fate) = fates.remove(0);
        assert_eq!(count, 1, "{fate:?}");
        self.before = report.snapshot;
        fate
    }

    /// Drains; returns how often the service panicked or failed.
    fn finish(mut self) {
        let report = self.sim.drain().remove(0);
        assert_eq!((report.unaccounted, report.leaked), (0, 0));
        assert!(!report.drain_timed_out);
        assert_eq!(report.services[0].health, Health::Finished);
    }
}

fn options<T: serde::de::DeserializeOwned>(text: &str) -> T {
    Options::from_text(text).unwrap().parse().unwrap()
}

#[test]
fn the_scrubber_gives_each_packet_one_fate_and_changes_none() {
    let text = r#"
        rules = """
            default drop
            dns: pass when udp.dstport == 53
            syn: limit 10 packets/s burst 20 per source of 16 when tcp.flags.syn and not tcp.flags.ack
            marked: drop when payload[3] == 0x2a
            parts: drop when ip.fragment and ip.len in { 28-1500 }
            six: pass when ip.src in { 2001:db8::/32 }
        """
    "#;
    let mut stage = Stage::new(ServicePlan::of::<Scrub>("shield", options(text)));
    let captured = captured();
    run(6_000, |random, case| {
        let mut octets = some_packet(random, &captured);
        octets.resize(octets.len().max(1), 0);
        let _suspect = Suspect(case, &octets);
        let fate = stage.feed(&octets);
        let refused = match Packet::parse(&octets) {
            Ok(_) | Err(Malformed::NotIp { .. }) => false,
            Err(_) => true,
        };
        if fate != Fate::TooLong {
            assert_eq!(fate == Fate::Dropped("malformed".into()), refused, "{fate:?}");
        }
        let given_back = stage.sim.reinjected(0, 0);
        let expected = if fate == Fate::Reinjected { vec![octets.clone()] } else { Vec::new() };
        assert_eq!(given_back, expected);
    });
    stage.finish();
}

#[test]
fn echo_answers_what_is_udp_and_nothing_else() {
    let mut stage = Stage::new(ServicePlan::of::<Echo>("echo", NoOptions {}));
    let captured = captured();
    run(6_000, |random, case| {
        let mut octets = some_packet(random, &captured);
        octets.resize(octets.len().max(1), 0);
        let _suspect = Suspect(case, &octets);
        let fate = stage.feed(&octets);
        let asked = Packet::parse(&octets).ok();
        let asked = asked.filter(|packet| matches!(packet.transport(), Transport::Udp(_)));
        let sent = stage.sim.sent(0, 0);
        let (Some(asked), true) = (asked, fate != Fate::TooLong) else {
            assert_ne!(fate, Fate::Transmitted);
            assert!(sent.is_empty());
            return;
        };
        assert_eq!(fate, Fate::Transmitted);
        let answer = Packet::parse(&sent[0]).unwrap();
        assert_eq!((answer.source(), answer.destination()), (asked.destination(), asked.source()));
        assert_eq!(
            answer.ports(),
            asked.ports().map(|(source, destination)| (destination, source))
        );
        assert_eq!(answer.payload(), asked.payload());
        assert_eq!((sent.len(), sent[0].len()), (1, octets.len()));
    });
    stage.finish();
}

#[test]
fn the_stream_receiver_takes_or_drops_each_packet_with_a_reason() {
    let (width, height, port) = generator::VIDEO;
    let text = format!(
        "port = {port}\nwidth = {width}\nheight = {height}\nrate = \"25\"\ndepth = 10\n\
         sink = \"nothing\""
    );
    let mut stage = Stage::new(ServicePlan::of::<StreamReceive>("in", options(&text)));
    let captured = captured();
    let mut taken = 0;
    run(6_000, |random, case| {
        // A stream that goes on, with strangers between; about one packet in four is whole.
        let sequence = u32::try_from(case.index).unwrap().wrapping_add(0xffff_f000);
        let (frame, line) = (case.index / u64::from(height), case.index % u64::from(height));
        let time = u32::try_from(frame * 3_600).unwrap();
        let mut octets = if random.chance(700) {
            let line = line.try_into().unwrap();
            let made = generator::video(random, sequence, time, line);
            wear(random, made, &captured)
        } else {
            some_packet(random, &captured)
        };
        octets.resize(octets.len().max(1), 0);
        let _suspect = Suspect(case, &octets);
        match stage.feed(&octets) {
            Fate::Consumed => taken += 1,
            Fate::Dropped(reason) if reason == "malformed" => {}
            Fate::Dropped(_) => assert!(Packet::parse(&octets).is_ok()),
            Fate::TooLong => {}
            fate => panic!("{fate:?}"),
        }
    });
    let counted = stage.sim.report(0).services.remove(0).counter("packets_received");
    assert_eq!(counted, taken);
    if env::var_os("ITERATIONS").is_none() {
        assert!(taken > 500, "{taken} taken");
    }
    stage.finish();
}

#[test]
fn broken_captures_end_with_an_error_or_their_last_record() {
    let captured = captured();
    run(6_000, |random, case| {
        let whole = if random.chance(500) { classic(random, &captured) } else { next(random) };
        let octets = damaged(random, &whole, &captured[0]);
        let _suspect = Suspect(case, &octets);
        let Ok(reader) = pcap::Reader::new("fuzz.pcap", &octets[..]) else { return };
        let (mut records, mut failed) = (0, 0);
        for record in reader {
            assert_eq!(failed, 0, "something behind an error");
            match record {
                Ok(record) => assert!(record.bytes.len() <= octets.len()),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    failed += 1;
                }
            }
            records += 1;
            assert!(records <= octets.len(), "more records than octets");
        }
    });
}

/// A capture as our writer makes it.
fn classic(random: &mut Random, captured: &[Vec<u8>]) -> Made {
    let mut writer = pcap::Writer::new("fuzz.pcap", Vec::new()).unwrap();
    let mut lengths = vec![(16, 4)];
    let mut at = 24;
    for packet in captured.iter().take(3) {
        writer.write(random.below(1 << 60), packet).unwrap();
        lengths.extend([(at + 8, 4), (at + 12, 4)]);
        at += 16 + packet.len();
    }
    Made::new(writer.into_stream(), &lengths)
}

/// A pcapng of one section, one interface, and packets of both kinds.
fn next(random: &mut Random) -> Made {
    let mut octets = Vec::new();
    let mut lengths = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        lengths.push((octets.len() + 4, 4));
        let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        octets.extend([&kind.to_le_bytes(), &length[..], body, &length].concat());
    };
    let words = |values: &[u32]| -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    let resolution = [9, 0, 1, 0, random.next().to_le_bytes()[0], 0, 0, 0, 0, 0, 0, 0];
    block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0][..], &resolution].concat());
    block(6, &words(&[0, 1, 2, 3, 9, 0x00cc_bbaa]));
    block(3, &words(&[2, 0x0000_dd0c]));
    Made::new(octets, &lengths)
}

#[test]
fn every_config_is_understood_or_its_mistakes_are_shown() {
    let stock = Registry::stock();
    run(1_500, |random, case| {
        let text = damaged_text(random, tidegate_config::EXAMPLE);
        let _suspect = Suspect(case, text.as_bytes());
        let config = match Config::parse("fuzz.toml", &text) {
            Ok(config) => stock.check(&config).map(|()| config),
            Err(error) => Err(error),
        };
        if let Err(error) = config {
            assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                let lines = text.split('\n').count();
                assert!((1..=lines).contains(&mistake.line), "{mistake}");
                assert!(mistake.column >= 1, "{mistake}");
                assert!(!mistake.allowed.is_empty(), "{mistake}");
            }
        }
    });
}

#[test]
fn the_kernels_program_and_user_space_see_the_same_packet() {
    require_net!();
    let mut bench = Bench::new(&[to("0.0.0.0/0"), to("::/0")]);
    let captured = captured();
    run(8_000, |random, case| {
        let mut octets = some_packet(random, &captured);
        // The kernel runs programs on 14 octets and more.
        octets.resize(octets.len().max(14), 0);
        let _suspect = Suspect(case, &octets);
        let met = bench.run(&octets);
        let read = Packet::parse(&octets);
        if read.is_ok() {
            let taken = [Outcome::Redirected, Outcome::PassHeadersSplit];
            assert!(taken.contains(&met.outcome), "{:?} and {read:?}", met.outcome);
        }
        let Some(metadata) = met.metadata else { return };
        let link = Ethernet::parse(&octets).unwrap();
        assert_eq!(usize::from(metadata.l3_offset), link.header_octets());
        if let Ok(packet) = read {
            assert_eq!(metadata.l4_offset.map(usize::from), l4_offset(&packet), "{packet:?}");
        }
    });
}
