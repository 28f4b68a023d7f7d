//! The same packet in one chunk and in several: whoever reads it comes to the same.

use tidegate::echo::Echo;
use tidegate::registry::NoOptions;
use tidegate::scrub::Scrub;
use tidegate::stream::StreamReceive;
use tidegate_dataplane::wire::packet::{Network, Packet, Transport};
use tidegate_runtime::plan::ServicePlan;
use tidegate_runtime::sim::{Random, SimPort};

use super::{Case, Fate, Stage, Suspect, captured, generator, options, run, some_packet};

/// Octets of a packet in the first of several chunks, and in one that holds all of it.
const PART: usize = 2048 - 256;
const ONE: usize = 4096 - 256;

/// One service twice: where each packet has one chunk, and where it has as many as it needs.
struct Twins {
    one: Stage,
    several: Stage,
}

impl Twins {
    fn new(plan: impl Fn() -> ServicePlan) -> Self {
        let one = SimPort { chunk_octets: 4096, ..SimPort::default() };
        let several = SimPort { multi_buffer: true, ..SimPort::default() };
        Self { one: Stage::on(one, plan()), several: Stage::on(several, plan()) }
    }

    /// What became of a packet here and there, which has to be the same unless the headers are not
    /// whole in the first chunk. Then nobody may have read on.
    fn feed(&mut self, octets: &[u8]) -> Fate {
        let (here, there) = (self.one.feed(octets), self.several.feed(octets));
        let outcome = |stage: &mut Stage| (stage.sim.sent(0, 0), stage.sim.reinjected(0, 0));
        let (whole, parts) = (outcome(&mut self.one), outcome(&mut self.several));
        let head = &octets[..octets.len().min(PART)];
        let split =
            Packet::parse(octets).is_ok() && Packet::parse_head(head, octets.len()).is_err();
        if split {
            assert!(matches!(there, Fate::Dropped(_)), "{there:?}");
        } else {
            assert_eq!((&here, whole), (&there, parts));
        }
        here
    }

    fn finish(self) {
        self.one.finish();
        self.several.finish();
    }
}

/// A packet with octets behind its end, which three times of four its length fields count.
fn lengthened(random: &mut Random, mut octets: Vec<u8>) -> Vec<u8> {
    let len = 1 + usize::try_from(random.below(ONE as u64)).unwrap();
    if len < octets.len() {
        octets.truncate(ONE);
        return octets;
    }
    let lengths = Packet::parse(&octets).ok().filter(|_| random.chance(750)).map(|packet| {
        let ip = packet.ethernet().header_octets();
        let (field, counted, body) = match packet.network() {
            Network::V4(v4) => (ip + 2, len - ip, v4.payload_octets()),
            Network::V6(v6) => (ip + 4, len - ip - 40, v6.payload_octets()),
        };
        let start = ip + packet.ip_octets() - body;
        let udp = matches!(packet.transport(), Transport::Udp(_)).then_some(start + 4);
        [Some((field, counted)), udp.map(|at| (at, len - start))]
    });
    while octets.len() < len {
        octets.push(random.below(256).to_le_bytes()[0]);
    }
    for (at, value) in lengths.into_iter().flatten().flatten() {
        octets[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_be_bytes());
    }
    octets
}

/// Feeds `twins` packets, more than half of which have several chunks.
fn differ(iterations: u64, mut twins: Twins) -> Vec<Fate> {
    let captured = captured();
    let (mut fates, mut long) = (Vec::new(), 0);
    run(iterations, |random, case: &Case| {
        let packet = some_packet(random, &captured);
        let mut octets = lengthened(random, packet);
        octets.resize(octets.len().max(1), 0);
        let _suspect = Suspect(case, &octets);
        long += u64::from(octets.len() > PART);
        let fate = twins.feed(&octets);
        if !fates.contains(&fate) {
            fates.push(fate);
        }
    });
    twins.finish();
    if std::env::var_os("ITERATIONS").is_none() {
        assert!(long > iterations / 3, "{long} of {iterations} had several chunks");
    }
    fates
}

#[test]
fn the_scrubber_judges_a_packet_alike_in_one_chunk_and_in_several() {
    // One rule at a time: all are counted under the same reason, and each is to be met.
    for rule in [
        "drop when udp and ip.len in { 2000-2600 }",
        "drop when payload[2000] < 0x40",
        "drop when payload[1750] < 0x40",
        "drop when payload[-1] < 0x40",
        "drop when payload contains 2a:2a",
        "drop when ip.fragment and ip.len in { 28-3000 }",
    ] {
        let text = format!("rules = 'only: {rule}'");
        let plan = || ServicePlan::of::<Scrub>("shield", options(&text));
        let fates = differ(1_000, Twins::new(plan));
        for reason in ["malformed", "rule"] {
            assert!(fates.contains(&Fate::Dropped(reason.into())), "{rule}: {reason}: {fates:?}");
        }
        assert!(fates.contains(&Fate::Reinjected), "{rule}");
    }
}

#[test]
fn echo_answers_a_packet_alike_in_one_chunk_and_in_several() {
    let fates = differ(3_000, Twins::new(|| ServicePlan::of::<Echo>("echo", NoOptions {})));
    assert!(fates.contains(&Fate::Transmitted) && fates.len() > 1, "{fates:?}");
}

#[test]
fn the_stream_receiver_takes_a_packet_alike_in_one_chunk_and_in_several() {
    let (width, height, port) = generator::VIDEO;
    let text = format!(
        "port = {port}\nwidth = {width}\nheight = {height}\nrate = \"25\"\ndepth = 10\n\
         sink = \"nothing\""
    );
    let plan = || ServicePlan::of::<StreamReceive>("in", options(&text));
    let fates = differ(3_000, Twins::new(plan));
    assert!(fates.len() > 2, "{fates:?}");
}
