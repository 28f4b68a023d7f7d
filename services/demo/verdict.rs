//! From what everybody said to one plain verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tidegate_runtime::metrics::snapshot::Snapshot;

use crate::lab::flood::Sent;
use crate::lab::witness::Testimony;
use crate::run::Outcome;

/// What everybody said.
pub(super) struct Facts {
    pub(super) format: &'static str,
    pub(super) elapsed: Duration,
    pub(super) near: Outcome,
    pub(super) far: Outcome,
    pub(super) flood: Sent,
    pub(super) legit: Testimony,
    pub(super) flood_delivered: u64,
    pub(super) kernel_path: Testimony,
}

/// The demo's answer; with `--json` as one object.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seconds: f64,
    shards: Vec<Shard>,
    stream: Stream,
    scrub: Scrub,
    kernel_path: KernelPath,
    conservation: Conservation,
    bind: Bind,
    verdict: String,
    #[serde(skip)]
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shard {
    core: Option<u32>,
    rx_frames: u64,
    tx_frames: u64,
    held: u64,
    /// Share of the time that was spent in busy turns.
    busy: f64,
}

#[derive(Debug, Default, Serialize)]
struct Stream {
    format: &'static str,
    packets_sent: u64,
    frames_sent: u64,
    frames_verified: u64,
    frames_wrong: u64,
    packets_lost: u64,
}

#[derive(Debug, Default, Serialize)]
struct Scrub {
    offered: u64,
    dropped: BTreeMap<String, u64>,
    reinjected: u64,
    flood_delivered: u64,
    legit_sent: u64,
    legit_delivered: u64,
}

#[derive(Debug, Serialize)]
struct KernelPath {
    sent: u64,
    delivered: u64,
}

#[derive(Debug, Serialize)]
struct Conservation {
    unaccounted: u64,
}

#[derive(Debug, Default, Serialize)]
struct Bind {
    xdp: String,
    copy: String,
}

impl Report {
    pub(super) const fn holds(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Judges. Pure: the same facts, the same verdict.
pub(super) fn judge(facts: &Facts) -> Report {
    let (near, far) = (&facts.near.snapshot, &facts.far.snapshot);
    let seconds = (facts.elapsed.as_secs_f64() * 10.0).round() / 10.0;
    let stream = Stream {
        format: facts.format,
        packets_sent: counter(near, "camera", "packets_sent"),
        frames_sent: counter(near, "camera", "frames_sent"),
        frames_verified: counter(far, "monitor", "frames_verified"),
        frames_wrong: counter(far, "monitor", "frames_wrong"),
        packets_lost: counter(far, "monitor", "packets_lost"),
    };
    let shield = service(near, "shield");
    let scrub = Scrub {
        offered: facts.flood.taken() + facts.legit.sent,
        dropped: shield.map(|it| nonzero(&it.drops)).unwrap_or_default(),
        reinjected: shield.map_or(0, |it| it.stats.settled_reinject),
        flood_delivered: facts.flood_delivered,
        legit_sent: facts.legit.sent,
        legit_delivered: facts.legit.delivered,
    };
    let kernel_path =
        KernelPath { sent: facts.kernel_path.sent, delivered: facts.kernel_path.delivered };
    let unaccounted = unaccounted(facts);
    let mut report = Report {
        seconds,
        shards: near.shards.iter().map(shard).collect(),
        stream,
        scrub,
        kernel_path,
        conservation: Conservation { unaccounted },
        bind: bind(near),
        verdict: String::new(),
        failures: Vec::new(),
    };
    report.failures = failures(facts, &report);
    report.verdict = match report.failures.as_slice() {
        [] => "all of it held".to_owned(),
        failures => format!("failed: {}", failures.join("; ")),
    };
    report
}

/// What was promised and did not come true.
fn failures(facts: &Facts, report: &Report) -> Vec<String> {
    let Report { stream, scrub, kernel_path, conservation, .. } = report;
    let clean = facts.near.report.is_clean() && facts.far.report.is_clean();
    let promises = [
        (stream.frames_sent > 0, "no video frame was sent"),
        (stream.frames_verified == stream.frames_sent, "not every video frame was verified"),
        (stream.frames_wrong == 0, "a video frame was wrong"),
        (stream.packets_lost == 0, "video packets were lost"),
        (facts.flood.taken() > 0, "there was no flood"),
        (scrub.flood_delivered == 0, "flood reached the protected socket"),
        (scrub.legit_sent > 0, "nobody asked the protected socket"),
        (scrub.legit_delivered == scrub.legit_sent, "questions went unanswered"),
        (scrub.reinjected >= scrub.legit_delivered, "answers came without reinjection"),
        (kernel_path.sent > 0, "nothing went over the kernel's path"),
        (kernel_path.delivered == kernel_path.sent, "the kernel's path lost something"),
        (conservation.unaccounted == 0, "frames are unaccounted for"),
        (clean, "a program did not leave in order"),
    ];
    promises.iter().filter(|(held, _)| !held).map(|(_, words)| (*words).to_owned()).collect()
}

/// Frames that are nowhere, inside the programs and between the kernel and them: redirected is
/// received plus what the kernel says that it lost.
fn unaccounted(facts: &Facts) -> u64 {
    let within = facts.near.report.unaccounted() + facts.far.report.unaccounted();
    let between = [&facts.near.snapshot, &facts.far.snapshot].map(|snapshot| {
        let redirected: u64 =
            snapshot.steering.iter().filter_map(|it| it.counters.get("redirected")).sum();
        let (_, ports, _) = snapshot.totals();
        redirected.abs_diff(ports.rx_frames + ports.lost_packets())
    });
    within + between.iter().sum::<u64>()
}

fn shard(snapshot: &tidegate_runtime::metrics::snapshot::ShardSnapshot) -> Shard {
    let sum = |field: fn(&tidegate_runtime::metrics::PortStats) -> u64| {
        snapshot.ports.iter().map(|port| field(&port.stats)).sum()
    };
    #[expect(clippy::cast_precision_loss, reason = "a share to be looked at")]
    let busy = snapshot.stats.busy_ns as f64 / snapshot.stats.total_ns.max(1) as f64;
    Shard {
        core: snapshot.cpu,
        rx_frames: sum(|it| it.rx_frames),
        tx_frames: sum(|it| it.tx_frames),
        held: sum(|it| it.held_frames),
        busy: (busy * 1000.0).round() / 1000.0,
    }
}

fn service<'a>(
    snapshot: &'a Snapshot,
    name: &str,
) -> Option<&'a tidegate_runtime::metrics::snapshot::ServiceSnapshot> {
    snapshot.shards.iter().flat_map(|shard| &shard.services).find(|service| service.name == name)
}

fn counter(snapshot: &Snapshot, name: &str, counter: &str) -> u64 {
    service(snapshot, name).and_then(|it| it.counters.get(counter)).copied().unwrap_or(0)
}

fn nonzero(drops: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    drops.iter().filter(|(_, count)| **count > 0).map(|(name, n)| (name.clone(), *n)).collect()
}

/// What was obtained, the same on all ports or listed.
fn bind(snapshot: &Snapshot) -> Bind {
    let words = |key: &str| {
        let mut words: Vec<String> = (snapshot.shards.iter())
            .flat_map(|shard| &shard.ports)
            .filter_map(|port| port.obtained.get(key).cloned())
            .collect();
        words.sort();
        words.dedup();
        words.join(", ")
    };
    Bind { xdp: words("xdp"), copy: words("copy") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, stream, scrub, kernel_path, conservation, bind, .. } = self;
        let dropped: u64 = scrub.dropped.values().sum();
        writeln!(f, "\nafter {seconds} s, XDP {}, {}:", bind.xdp, bind.copy)?;
        writeln!(
            f,
            "  video   {}: {} frames sent, {} verified bit for bit,\n          \
             {} wrong, {} packets lost",
            stream.format,
            stream.frames_sent,
            stream.frames_verified,
            stream.frames_wrong,
            stream.packets_lost,
        )?;
        writeln!(
            f,
            "  flood   {} packets offered, {dropped} dropped, {} reached the socket",
            scrub.offered, scrub.flood_delivered,
        )?;
        writeln!(
            f,
            "  users   {} questions, {} answered through the scrubber",
            scrub.legit_sent, scrub.legit_delivered,
        )?;
        writeln!(
            f,
            "  kernel  {} TCP messages on other ports, {} answered",
            kernel_path.sent, kernel_path.delivered,
        )?;
        writeln!(f, "  frames  {} unaccounted for", conservation.unaccounted)?;
        writeln!(f, "{}", self.verdict)
    }
}
