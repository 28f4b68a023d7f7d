//! Each kind of verdict that a rule gives to the program: whose packets it is about, by both Internet
//! protocols, until when, and which rule it is counted for.
//!
//! A rule judges the offender by its hop limit. Whoever shares the verdict has another one: what
//! becomes of those was decided by the program alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate::lab::Wire;
use tidegate_dataplane::steer::{Outcome, State};

use super::senders::{budget, datagram, sent};
use super::{
    Duration, Flood, Kind, PORT, ROOMY, Stage, WireOptions, config, nft, seen, soon, thread, wire,
};
use crate::protected::order::{hear, numbered, patient, received};
use crate::require;

/// Packets of a piece.
const PIECE: u64 = 300;

/// What the rules look for.
const OFFENDER: u8 = 3;

/// Everybody else.
const USUAL: u8 = 64;

/// What comes from the sources here, as the stack sees it.
const SEEN: &str = "table netdev seen {
    counter flood {}
    chain arrives {
        type filter hook ingress device \"tide1\" priority 0;
        ip saddr 198.19.0.0/16 counter name flood
        ip6 saddr 2001:db8:f100::/40 counter name flood
    }
}";

/// Who shares a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Flow,
    Source,
    Network,
}

impl Per {
    const ALL: [Self; 3] = [Self::Flow, Self::Source, Self::Network];

    /// Its rule.
    const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Source => "source",
            Self::Network => "network",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Flow => "per flow",
            Self::Source => "per source",
            Self::Network => "per source/24",
        }
    }
}

/// Who sends: a network, an address in it, a port.
#[derive(Clone, Copy, Debug)]
struct Sender {
    is_ipv4: bool,
    network: u8,
    host: u8,
    port: u16,
}

impl Sender {
    /// The one whom the rule is about; `network` is nobody else's.
    const fn offender(is_ipv4: bool, network: u8) -> Self {
        Self { is_ipv4, network, host: 1, port: 4000 }
    }

    /// The farthest from it that shares a verdict.
    const fn mate(self, per: Per) -> Self {
        match per {
            Per::Flow => self,
            Per::Source if self.is_ipv4 => Self { port: 4001, ..self },
            // A source of IPv6 is its 64 leading bits, whatever is said of IPv4.
            Per::Source | Per::Network => Self { host: 2, port: 4001, ..self },
        }
    }

    /// The nearest to it that does not.
    const fn stranger(self, per: Per) -> Self {
        match per {
            Per::Flow => Self { port: 4001, ..self },
            Per::Source if self.is_ipv4 => Self { host: 2, ..self },
            Per::Source | Per::Network => Self { network: self.network + 1, ..self },
        }
    }

    /// A datagram without a checksum for [`PORT`].
    fn frame(self, wire: &Wire, hops: u8) -> Vec<u8> {
        let (network, host) = (self.network, self.host);
        let (source, to): (IpAddr, IpAddr) = if self.is_ipv4 {
            (Ipv4Addr::new(198, 19, network, host).into(), wire.near.ipv4.into())
        } else {
            let source = [0x2001, 0xdb8, 0xf100, network.into(), 0, 0, 0, host.into()];
            (Ipv6Addr::from(source).into(), wire.near.ipv6.into())
        };
        datagram(wire, [(source, self.port).into(), (to, PORT).into()], hops, &[0; 18])
    }
}

/// A wire of both protocols whose near end counts.
fn counted() -> Wire {
    let wire = wire(&WireOptions::default());
    assert!(nft(&wire.near.namespace, SEEN).is_some(), "nft counts nothing at an interface");
    wire
}

/// The scrubber before both addresses of the near end, always engaged.
fn shield(wire: &Wire, rules: &str) -> String {
    let protect = [IpAddr::from(wire.near.ipv4), wire.near.ipv6.into()].map(|destination| {
        format!(
            "[[service.options.protect]]\ndestination = \"{destination}\"\nengage = \"on\"\n\
             stalled = \"closed\"\n"
        )
    });
    format!(
        "[[service]]\nname = \"shield\"\nkind = \"scrub\"\nheld_frames_max = 8192\n\
         [service.options]\nrules = '''\n{rules}\n'''\n{}",
        protect.concat()
    )
}

impl Stage {
    fn engaged(wire: &Wire, rules: &str) -> Self {
        let stage = Self::start(wire, &config(wire, ROOMY, &shield(wire, rules)));
        let states = || stage.program.steerings()[0].states();
        assert!(soon(|| states()[..2] == [Some(State::Engaged); 2]));
        stage
    }

    /// A piece from `sender`.
    fn send(&self, sender: Sender, hops: u8) {
        sent(&self.wire, [sender.frame(&self.wire, hops)].into(), PIECE);
    }

    /// What came to the stack, what verdicts ended, what they let pass, and what shards received.
    fn counts(&self) -> [u64; 4] {
        let came = seen(&self.wire.near.namespace, "flood");
        let [ended, passed] =
            [Outcome::DropVerdict, Outcome::PassVerdict].map(|outcome| self.outcome(outcome));
        [came, ended, passed, self.outcome(Outcome::Redirected)]
    }

    /// What a piece from `sender` adds to [`Self::counts`].
    fn adds(&self, sender: Sender, hops: u8) -> [u64; 4] {
        let before = self.counts();
        self.send(sender, hops);
        let after = self.counts();
        [0, 1, 2, 3].map(|it| after[it] - before[it])
    }

    /// Sends as an offender until the program has the verdict; all of a piece is by `outcome` then.
    #[track_caller]
    fn promoted(&self, offender: Sender, outcome: Outcome) {
        let all = || {
            let before = self.outcome(outcome);
            self.send(offender, OFFENDER);
            self.outcome(outcome) - before == PIECE
        };
        assert!(soon(all), "{offender:?} {:?}", self.counts());
    }

    /// What is dropped where nobody judges.
    fn stalled(&self) -> u64 {
        self.outcome(Outcome::DropStalled)
    }
}

/// Both protocols, each kind of verdict, and the offender's network.
fn cases() -> impl Iterator<Item = (bool, Per, u8)> {
    [true, false].into_iter().flat_map(|is_ipv4| {
        Per::ALL.into_iter().zip([10, 20, 30]).map(move |(per, network)| (is_ipv4, per, network))
    })
}

/// A rule for the offenders of each kind, of both protocols.
fn rules(action: &str) -> String {
    let rule = |(per, network): (Per, u8)| {
        let sources = format!("{{ 198.19.{network}.0/24, 2001:db8:f100:{network:x}::/64 }}");
        let (name, words) = (per.name(), per.words());
        format!("{name}: {action} {words} when ip.src in {sources} and ip.ttl == {OFFENDER}\n")
    };
    Per::ALL.into_iter().zip([10, 20, 30]).map(rule).collect()
}

#[test]
fn who_shares_a_dropped_senders_verdict_ends_in_the_program_and_nobody_else() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let stage = Stage::engaged(&wire, &rules("drop for 60s"));
    for (is_ipv4, per, network) in cases() {
        let offender = Sender::offender(is_ipv4, network);
        stage.promoted(offender, Outcome::DropVerdict);
        let name = per.name();
        let (judged, hits) = stage.hits(name);
        let added = stage.adds(offender.mate(per), USUAL);
        assert_eq!(added, [0, PIECE, 0, 0], "{is_ipv4} {per:?}");
        assert_eq!(stage.hits(name), (judged, hits + PIECE), "{is_ipv4} {per:?}");

        let (before, stalled) = (stage.counts(), stage.stalled());
        stage.send(offender.stranger(per), USUAL);
        let came = || stage.counts()[0] - before[0] + stage.stalled() - stalled;
        assert!(soon(|| came() == PIECE), "{is_ipv4} {per:?}: {} of {PIECE}", came());
        assert_eq!(stage.counts()[1..3], before[1..3], "{is_ipv4} {per:?}");
        assert_eq!(stage.hits(name), (judged, hits + PIECE), "{is_ipv4} {per:?}");
    }
    stage.leave();
}

#[test]
fn who_shares_a_proven_senders_verdict_does_not_visit_user_space_any_more() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let stage = Stage::engaged(&wire, &format!("{}default drop", rules("pass for 60s")));
    for (is_ipv4, per, network) in cases() {
        let offender = Sender::offender(is_ipv4, network);
        stage.promoted(offender, Outcome::PassVerdict);
        let name = per.name();
        let mate = offender.mate(per);
        // As soon as the last that was judged is back in the kernel.
        assert!(soon(|| stage.adds(mate, USUAL) == [PIECE, 0, PIECE, 0]), "{is_ipv4} {per:?}");
        let (judged, hits) = stage.hits(name);
        let added = stage.adds(mate, USUAL);
        assert_eq!(added, [PIECE, 0, PIECE, 0], "{is_ipv4} {per:?}");
        assert_eq!(stage.hits(name), (judged, hits + PIECE), "{is_ipv4} {per:?}");

        let (before, stalled) = (stage.counts(), stage.stalled());
        stage.send(offender.stranger(per), USUAL);
        let after = stage.counts();
        assert_eq!(after[..3], before[..3], "{is_ipv4} {per:?}");
        assert_eq!(after[3] - before[3] + stage.stalled() - stalled, PIECE, "{is_ipv4} {per:?}");
    }
    stage.leave();
}

#[test]
fn a_verdict_ends_with_its_time_and_is_decided_anew() {
    require_net!();
    if !require::program("nft") {
        return;
    }
    let _alone = require::alone();
    let wire = counted();
    let stage = Stage::engaged(&wire, &rules("drop for 700ms"));
    for (is_ipv4, per, network) in cases() {
        let offender = Sender::offender(is_ipv4, network);
        let name = per.name();
        for _ in 0..2 {
            let before = stage.hits(name);
            // Judged, at least once each time that nothing is decided, and then ended.
            assert!(soon(|| {
                stage.send(offender, OFFENDER);
                let now = stage.hits(name);
                now.0 > before.0 && now.1 > before.1
            }));
            let mate = offender.mate(per);
            assert!(soon(|| stage.adds(mate, USUAL)[1] == 0), "{is_ipv4} {per:?} does not end");
            let before = seen(&wire.near.namespace, "flood");
            let came = || {
                stage.send(mate, USUAL);
                seen(&wire.near.namespace, "flood") > before
            };
            assert!(soon(came), "{is_ipv4} {per:?}");
        }
    }
    stage.leave();
}

#[test]
fn a_numbered_flow_stays_in_order_while_its_verdict_comes_and_goes() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    // A verdict ends before the next of its flow is wished for: judged and passed, in turns.
    let rules = "proven: pass for 300ms per flow when udp.dstport == 5300\nrest: drop when udp";
    let stage = Stage::engaged(&wire, rules);
    let options = tidegate::lab::flood::Options::new(Kind::Udp { port: 9 });
    let flood = Flood::new(&wire.far, &options).unwrap().start(budget(u64::MAX, 10_000)).unwrap();
    for (near, far) in [
        (IpAddr::from(wire.near.ipv4), IpAddr::from(wire.far.ipv4)),
        (wire.near.ipv6.into(), wire.far.ipv6.into()),
    ] {
        let to = SocketAddr::new(near, PORT);
        let socket = wire.near.namespace.run(|| UdpSocket::bind(to)).unwrap().unwrap();
        patient(&socket);
        let client = wire.far.namespace.run(|| UdpSocket::bind((far, 4000))).unwrap().unwrap();
        let count = |outcome| stage.outcome(outcome);
        let before = [Outcome::PassStalled, Outcome::DropStalled].map(count);
        let passed = || stage.outcome(Outcome::PassVerdict);
        let promoted = || {
            let tables = stage.program.desk().attended()[0].operator.tables();
            let verdicts = tables.iter().find(|table| table.name == "verdicts");
            verdicts.map_or(0, |table| table.rows[0].counters["promoted"])
        };
        let (passed_before, promoted_before) = (passed(), promoted());
        let (sending, hearing) = (AtomicBool::new(false), AtomicBool::new(false));
        let send = |number: u64| {
            client.send_to(&number.to_be_bytes(), to).unwrap();
        };
        let (sent, heard) = thread::scope(|scope| {
            let hearer = scope.spawn(|| hear(|| received(&socket), &hearing));
            let sender = scope.spawn(|| numbered(send, &sending));
            let often = soon(|| promoted() >= promoted_before + 6);
            sending.store(true, Ordering::Relaxed);
            let sent = sender.join().unwrap();
            thread::sleep(Duration::from_millis(300));
            hearing.store(true, Ordering::Relaxed);
            assert!(often, "its verdict did not come again");
            (sent, hearer.join().unwrap())
        });
        let [out_of_turn, dropped] = [Outcome::PassStalled, Outcome::DropStalled].map(count);
        let (out_of_turn, dropped) = (out_of_turn - before[0], dropped - before[1]);
        heard.in_order(out_of_turn);
        let lost = super::lost(&wire, &stage.program.snapshot()) + dropped;
        assert!(heard.count + lost >= sent, "{} of {sent}, {lost} lost", heard.count);
        assert!(passed() - passed_before > 100);
    }
    flood.stop().unwrap();
    stage.leave();
}
