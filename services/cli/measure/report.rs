//! What was measured: numbers from the program's own counters, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tidegate_runtime::metrics::ShardStats;
use tidegate_runtime::metrics::snapshot::{PortSnapshot, ShardSnapshot, Snapshot};

use super::super::stats::units::{count, mean, percent, time};
use super::super::stats::{Table, of_the_kernel};

/// How a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ended {
    /// Its time was over.
    Time,
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    interface: String,
    /// How long packets were taken.
    nanoseconds: u64,
    ended: Ended,
    queues: Vec<Queue>,
    shards: Vec<Shard>,
    /// What the XDP program did with every packet of the interface.
    steering: BTreeMap<String, u64>,
    /// Packets that XDP redirected and that neither arrived nor were lost by a name, and frames
    /// that are nowhere. Anything but 0 is a bug.
    unaccounted: u64,
    #[serde(skip)]
    last: Snapshot,
}

/// One queue.
#[derive(Clone, Debug, Serialize)]
struct Queue {
    queue: u32,
    shard: u32,
    obtained: BTreeMap<String, String>,
    packets: u64,
    /// Ethernet header included.
    octets: u64,
    packets_per_second: u64,
    octets_per_second: u64,
    /// Packets that were sent: none.
    transmitted_packets: u64,
    /// Packets that the kernel lost, by its names.
    kernel_rx_dropped: u64,
    kernel_rx_ring_full: u64,
    /// Times that the kernel found no chunk to receive into.
    kernel_rx_fill_ring_empty_descs: u64,
}

/// One shard, while packets were taken.
#[derive(Clone, Debug, Serialize)]
struct Shard {
    shard: u32,
    cpu: Option<u32>,
    packets: u64,
    turns: u64,
    busy_turns: u64,
    busy_ns: u64,
    asleep_ns: u64,
    total_ns: u64,
    longest_turn_ns: u64,
    /// Nanoseconds of busy turns for each packet.
    busy_ns_per_packet: Option<f64>,
}

impl Report {
    /// The report of a measurement of so long: the shards' time between `before` and `after`, the
    /// packets of all of it, with those that were in the rings at the end.
    pub(super) fn new(
        interface: &str,
        elapsed: Duration,
        ended: Ended,
        before: &Snapshot,
        after: &Snapshot,
        last: &Snapshot,
    ) -> Self {
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).max(1);
        let queues: Vec<Queue> = (last.shards.iter())
            .flat_map(|shard| shard.ports.iter().map(|port| Queue::new(shard, port, nanoseconds)))
            .collect();
        let shards = after.shards.iter().map(|shard| Shard::new(shard, before)).collect();
        let steering = last.steering.first().map(|it| it.counters.clone()).unwrap_or_default();
        let known: u64 = queues.iter().map(Queue::known).sum();
        let redirected = steering.get("redirected").copied().unwrap_or(known);
        Self {
            interface: interface.to_owned(),
            nanoseconds,
            ended,
            queues,
            shards,
            steering,
            unaccounted: redirected.abs_diff(known) + last.conservation.unaccounted,
            last: last.clone(),
        }
    }

    /// Whether every packet is accounted for.
    pub(super) const fn holds(&self) -> bool {
        self.unaccounted == 0
    }
}

impl Queue {
    fn new(shard: &ShardSnapshot, port: &PortSnapshot, nanoseconds: u64) -> Self {
        let stats = &port.stats;
        let rate = |number: u64| {
            let per_second = u128::from(number) * 1_000_000_000 / u128::from(nanoseconds);
            u64::try_from(per_second).unwrap_or(u64::MAX)
        };
        Self {
            queue: port.queue,
            shard: shard.id,
            obtained: port.obtained.clone(),
            packets: stats.rx_frames,
            octets: stats.rx_octets,
            packets_per_second: rate(stats.rx_frames),
            octets_per_second: rate(stats.rx_octets),
            transmitted_packets: stats.tx_frames,
            kernel_rx_dropped: stats.kernel_rx_dropped,
            kernel_rx_ring_full: stats.kernel_rx_ring_full,
            kernel_rx_fill_ring_empty_descs: stats.kernel_rx_fill_ring_empty_descs,
        }
    }

    const fn lost(&self) -> u64 {
        self.kernel_rx_dropped + self.kernel_rx_ring_full
    }

    /// Packets whose fate is known.
    const fn known(&self) -> u64 {
        self.packets + self.lost()
    }
}

impl Shard {
    fn new(shard: &ShardSnapshot, before: &Snapshot) -> Self {
        let old = before.shards.iter().find(|old| old.id == shard.id);
        let packets = |shard: &ShardSnapshot| -> u64 {
            shard.ports.iter().map(|port| port.stats.rx_frames).sum()
        };
        let since = |of: fn(&ShardStats) -> u64| {
            of(&shard.stats).saturating_sub(old.map_or(0, |old| of(&old.stats)))
        };
        let busy_ns = since(|it| it.busy_ns);
        let packets = packets(shard).saturating_sub(old.map_or(0, packets));
        #[expect(clippy::cast_precision_loss, reason = "a mean, of far less than 2^52")]
        let busy_ns_per_packet = (packets > 0).then(|| busy_ns as f64 / packets as f64);
        Self {
            shard: shard.id,
            cpu: shard.cpu,
            packets,
            turns: since(|it| it.turns),
            busy_turns: since(|it| it.busy_turns),
            busy_ns,
            asleep_ns: since(|it| it.asleep_ns),
            total_ns: since(|it| it.total_ns),
            longest_turn_ns: shard.stats.longest_turn_ns,
            busy_ns_per_packet,
        }
    }
}

/// The line of each second.
pub(super) fn second(number: u64, packets: u64, lost: u64) -> String {
    format!(
        "second {number}: {} packets/s, {} lost by the kernel until now",
        count(packets),
        count(lost)
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = match self.ended {
            Ended::Time => "",
            Ended::Signal => ", ended by a signal",
        };
        writeln!(f, "\n{}: {}{ended}", self.interface, time(self.nanoseconds))?;
        f.write_str(&self.queue_table())?;
        f.write_str(&self.shard_table())?;
        writeln!(f)?;
        f.write_str(&of_the_kernel(&self.last))?;
        match self.unaccounted {
            0 => writeln!(f, "\nevery packet is accounted for"),
            packets => writeln!(f, "\nUNACCOUNTED PACKETS: {packets} (a bug of tidegate)"),
        }
    }
}

impl Report {
    fn queue_table(&self) -> String {
        let head = ["queue", "shard", "packets", "packets/s", "octets/s", "bit/s", "lost"];
        let mut table = Table::new(&head);
        let cells = |queues: &[&Queue]| {
            let sum = |of: fn(&Queue) -> u64| queues.iter().map(|it| of(it)).sum::<u64>();
            let octets = sum(|it| it.octets_per_second);
            [
                count(sum(|it| it.packets)),
                count(sum(|it| it.packets_per_second)),
                count(octets),
                count(octets.saturating_mul(8)),
                count(sum(Queue::lost)),
            ]
        };
        for queue in &self.queues {
            let first = [queue.queue.to_string(), queue.shard.to_string()];
            table.row(first.into_iter().chain(cells(&[queue])));
        }
        let all: Vec<&Queue> = self.queues.iter().collect();
        table.lines(2, ["all".to_owned(), String::new()].into_iter().chain(cells(&all)))
    }

    fn shard_table(&self) -> String {
        let head =
            ["shard", "cpu", "busy", "asleep", "turns", "with packets", "longest", "ns/packet"];
        let mut table = Table::new(&head);
        for shard in &self.shards {
            table.row([
                shard.shard.to_string(),
                shard.cpu.map_or("any".to_owned(), |cpu| cpu.to_string()),
                percent(shard.busy_ns, shard.total_ns),
                percent(shard.asleep_ns, shard.total_ns),
                count(shard.turns),
                percent(shard.busy_turns, shard.turns),
                time(shard.longest_turn_ns),
                mean(shard.busy_ns, shard.packets),
            ]);
        }
        // Without totals: sums of shares say nothing.
        table.set(2)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_runtime::metrics::PortStats;
    use tidegate_runtime::metrics::snapshot::SteeringSnapshot;

    use super::*;

    fn snapshot(k: u64) -> Snapshot {
        let shard = |id: u32| ShardSnapshot {
            id,
            cpu: Some(id),
            stats: ShardStats {
                turns: 1_000 * k,
                busy_turns: 400 * k,
                busy_ns: 200_000_000 * k,
                asleep_ns: 300_000_000 * k,
                total_ns: 1_000_000_000 * k,
                longest_turn_ns: 80_000,
                ..ShardStats::default()
            },
            ports: vec![PortSnapshot {
                interface: "eth1".to_owned(),
                queue: id,
                obtained: [("copy".to_owned(), "zero-copy".to_owned())].into(),
                stats: PortStats {
                    rx_frames: 1_000_000 * k,
                    rx_octets: 64_000_000 * k,
                    kernel_rx_ring_full: 5 * u64::from(id),
                    kernel_rx_dropped: 2 * u64::from(id),
                    ..PortStats::default()
                },
            }],
            ..ShardSnapshot::default()
        };
        let redirected = 2_000_000 * k + 7;
        Snapshot {
            shards: vec![shard(0), shard(1)],
            steering: vec![SteeringSnapshot {
                interface: "eth1".to_owned(),
                hardware: None,
                counters: [("redirected".to_owned(), redirected), ("pass_not_ip".to_owned(), 3)]
                    .into(),
            }],
            ..Snapshot::default()
        }
    }

    fn report(last: &Snapshot) -> Report {
        let elapsed = Duration::from_secs(2);
        Report::new("eth1", elapsed, Ended::Time, &snapshot(1), &snapshot(3), last)
    }

    #[test]
    fn shows_queues_shards_what_was_obtained_and_that_nothing_is_missing() {
        let report = report(&snapshot(3));
        assert!(report.holds());
        assert_eq!(
            report.to_string(),
            "
eth1: 2.00s

queue  shard  packets  packets/s  octets/s  bit/s  lost
0      0        3.00M      1.50M     96.0M   768M     0
1      1        3.00M      1.50M     96.0M   768M     7
all             6.00M      3.00M      192M  1.54G     7

shard  cpu   busy  asleep  turns  with packets  longest  ns/packet
0      0    20.0%   30.0%   2000         40.0%   80.0us      200.0
1      1    20.0%   30.0%   2000         40.0%   80.0us      200.0

obtained by eth1:0 eth1:1: copy zero-copy
kernel at eth1:1: rx_ring_full 5, rx_dropped 2
steering of eth1: redirected 6.00M, pass_not_ip 3

every packet is accounted for
"
        );
    }

    #[test]
    fn a_packet_that_is_nowhere_is_shouted() {
        let mut last = snapshot(3);
        last.steering[0].counters.insert("redirected".to_owned(), 6_000_008);
        let report = report(&last);
        assert!(!report.holds());
        assert!(report.to_string().ends_with("UNACCOUNTED PACKETS: 1 (a bug of tidegate)\n"));
    }

    #[test]
    fn json_has_the_numbers_and_nothing_of_the_screen() {
        let json = serde_json::to_value(report(&snapshot(3))).unwrap();
        assert_eq!(json["interface"], "eth1");
        assert_eq!(json["ended"], "time");
        assert_eq!(json["nanoseconds"], 2_000_000_000_u64);
        assert_eq!(json["queues"][1]["packets_per_second"], 1_500_000);
        assert_eq!(json["queues"][1]["kernel_rx_ring_full"], 5);
        assert_eq!(json["queues"][0]["obtained"]["copy"], "zero-copy");
        assert_eq!(json["shards"][0]["busy_ns_per_packet"], 200.0);
        assert_eq!(json["steering"]["pass_not_ip"], 3);
        assert_eq!((&json["unaccounted"], &json["last"]), (&0.into(), &serde_json::Value::Null));
    }

    #[test]
    fn a_silent_interface_has_no_cost_per_packet() {
        let silent = Snapshot { steering: Vec::new(), ..snapshot(0) };
        let elapsed = Duration::from_secs(1);
        let mut last = silent.clone();
        for shard in &mut last.shards {
            shard.ports[0].stats = PortStats::default();
        }
        let report = Report::new("eth1", elapsed, Ended::Signal, &last, &last, &last);
        let text = report.to_string();
        assert!(text.contains("eth1: 1.00s, ended by a signal\n"), "{text}");
        assert!(report.holds());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["shards"][0]["busy_ns_per_packet"], serde_json::Value::Null);
    }

    #[test]
    fn each_second_has_a_line() {
        assert_eq!(
            second(3, 1_020_000, 12),
            "second 3: 1.02M packets/s, 12 lost by the kernel until now"
        );
    }
}
