//! What `stats` prints: every counter of one process at one moment.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use serde::{Deserialize, Serialize};

use super::{Help, Kind, PortStats, ServiceStats, ShardStats};

/// All counters of one process. Travels as JSON over the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Name of the instance.
    pub instance: String,
    /// Process.
    pub pid: u32,
    /// Nanoseconds since the process started its shards.
    pub uptime_ns: u64,
    /// Shards, in order of their ids.
    pub shards: Vec<ShardSnapshot>,
    /// What the XDP program counted, per interface.
    pub steering: Vec<SteeringSnapshot>,
    /// What the services show beyond their own shards.
    #[serde(default)]
    pub tables: Vec<TableSnapshot>,
    /// Whether every frame is somewhere.
    pub conservation: Conservation,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSnapshot {
    /// Counts from 0.
    pub id: u32,
    /// The CPU it is pinned to, if it is.
    pub cpu: Option<u32>,
    /// True when the copy could not be taken as a whole; sums may not hold.
    pub torn: bool,
    /// The shard itself.
    pub stats: ShardStats,
    /// Its ports.
    pub ports: Vec<PortSnapshot>,
    /// Its services.
    pub services: Vec<ServiceSnapshot>,
}

/// One port of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSnapshot {
    /// Interface.
    pub interface: String,
    /// Queue of the interface.
    pub queue: u32,
    /// What was obtained, in words (`xdp`, `copy`, `pages`, ...).
    pub obtained: BTreeMap<String, String>,
    /// Counters.
    pub stats: PortStats,
}

/// One service on one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSnapshot {
    /// Name in the configuration.
    pub name: String,
    /// Kind in the configuration.
    pub kind: String,
    /// Counters that every service has.
    pub stats: ServiceStats,
    /// Counters that this service registered.
    pub counters: BTreeMap<String, u64>,
    /// Frames dropped, by reason. Sums to `stats.settled_drop`.
    pub drops: BTreeMap<String, u64>,
    /// Present values that this service registered.
    pub gauges: BTreeMap<String, u64>,
    /// Signed values that this service registered. Not to be summed.
    #[serde(default)]
    pub levels: BTreeMap<String, i64>,
    /// What this service says in words.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
}

/// Rows that are alike: what a service has several of, whose number is known only at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSnapshot {
    /// Name of the service in the configuration.
    pub service: String,
    /// What each row is one of, in the singular.
    pub name: String,
    /// The rows.
    pub rows: Vec<RowSnapshot>,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSnapshot {
    /// Unlike that of any other row.
    pub name: String,
    /// What is said in words.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    /// What only grows.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// What goes up and down.
    #[serde(default)]
    pub gauges: BTreeMap<String, u64>,
}

/// Counters of one XDP program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteeringSnapshot {
    /// Interface.
    pub interface: String,
    /// Values by name.
    pub counters: BTreeMap<String, u64>,
    /// What the network card was told; nothing with `steering = "xdp"`.
    #[serde(default)]
    pub hardware: Option<HardwareSnapshot>,
}

/// What a network card was told about its queues, and shows now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareSnapshot {
    /// What the config asks for: `rss` or `ntuple`.
    pub asked: String,
    /// Taken queues that the RSS table does not name.
    pub isolated_queues: Vec<u32>,
    /// The RSS table: `ours`, `as found`, `changed by somebody else` or `none`.
    pub table: String,
    /// Flow rules that were added.
    pub rules: Vec<RuleSnapshot>,
    /// What could not be had, in words.
    pub remarks: Vec<String>,
}

/// One flow rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSnapshot {
    /// Where it is in the card's table.
    pub location: u32,
    /// The selector of the interface that it is of, counting from 0.
    pub selector: usize,
    /// The queue that it sends to.
    pub queue: u32,
    /// The packets, in the words of `ethtool -N`.
    pub flow: String,
    /// Whether there still is a rule at that location.
    pub in_place: bool,
}

/// The ownership law over all ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conservation {
    /// Frames that are in no known place, or in two. Anything but 0 is a mistake
    /// in this program.
    pub unaccounted: u64,
}

impl Snapshot {
    /// Sums over all shards: the shards themselves, their ports, their services.
    pub fn totals(&self) -> (ShardStats, PortStats, ServiceStats) {
        let mut totals = (ShardStats::default(), PortStats::default(), ServiceStats::default());
        for shard in &self.shards {
            totals.0 = totals.0.combine(&shard.stats);
            for port in &shard.ports {
                totals.1 = totals.1.combine(&port.stats);
            }
            for service in &shard.services {
                totals.2 = totals.2.combine(&service.stats);
            }
        }
        totals
    }

    /// The ownership law over `shards`.
    pub(super) fn conservation(shards: &[ShardSnapshot]) -> Conservation {
        let ports = shards.iter().flat_map(|shard| &shard.ports);
        Conservation { unaccounted: ports.map(|port| port.stats.unaccounted()).sum() }
    }

    /// The same in the text format that Prometheus scrapes (exposition format
    /// 0.0.4). One family per counter, one line per owner.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for (place, help) in ShardStats::HELP.iter().enumerate() {
            family(&mut text, "shard", help);
            for shard in &self.shards {
                let labels = format!("shard=\"{}\"", shard.id);
                line(&mut text, "shard", help.name, &labels, shard.stats.values()[place]);
            }
        }
        for (place, help) in PortStats::HELP.iter().enumerate() {
            family(&mut text, "port", help);
            for (shard, port) in
                self.shards.iter().flat_map(|s| s.ports.iter().map(move |p| (s, p)))
            {
                let (interface, queue) = (escape(&port.interface), port.queue);
                let labels =
                    format!("shard=\"{}\",interface=\"{interface}\",queue=\"{queue}\"", shard.id);
                line(&mut text, "port", help.name, &labels, port.stats.values()[place]);
            }
        }
        let services = || self.shards.iter().flat_map(|s| s.services.iter().map(move |p| (s, p)));
        for (place, help) in ServiceStats::HELP.iter().enumerate() {
            family(&mut text, "service", help);
            for (shard, service) in services() {
                let labels =
                    format!("shard=\"{}\",service=\"{}\"", shard.id, escape(&service.name));
                line(&mut text, "service", help.name, &labels, service.stats.values()[place]);
            }
        }
        for (shard, service) in services() {
            let owner = format!("shard=\"{}\",service=\"{}\"", shard.id, escape(&service.name));
            let all = [
                ("count", &service.counters),
                ("drop", &service.drops),
                ("gauge", &service.gauges),
            ];
            for (kind, values) in all {
                for (name, value) in values {
                    line(&mut text, "named", kind, &format!("{owner},name=\"{name}\""), value);
                }
            }
            for (name, value) in &service.levels {
                line(&mut text, "named", "level", &format!("{owner},name=\"{name}\""), value);
            }
            // A word has no number: one line that is there, as for versions of programs.
            for (name, word) in &service.words {
                let labels = format!("{owner},name=\"{name}\",word=\"{}\"", escape(word));
                line(&mut text, "named", "word", &labels, 1);
            }
        }
        for steering in &self.steering {
            for (name, value) in &steering.counters {
                let labels =
                    format!("interface=\"{}\",name=\"{name}\"", escape(&steering.interface));
                line(&mut text, "steering", "count", &labels, *value);
            }
        }
        for table in &self.tables {
            let owner = format!("service=\"{}\",table=\"{}\"", escape(&table.service), table.name);
            for row in &table.rows {
                let owner = format!("{owner},row=\"{}\"", escape(&row.name));
                for (kind, values) in [("count", &row.counters), ("gauge", &row.gauges)] {
                    for (name, value) in values {
                        line(&mut text, "table", kind, &format!("{owner},name=\"{name}\""), value);
                    }
                }
                for (name, word) in &row.words {
                    let labels = format!("{owner},name=\"{name}\",word=\"{}\"", escape(word));
                    line(&mut text, "table", "word", &labels, 1);
                }
            }
        }
        line(&mut text, "frames", "unaccounted", "", self.conservation.unaccounted);
        text
    }
}

fn family(text: &mut String, owner: &str, help: &Help) {
    let kind = match help.kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Peak => "gauge",
    };
    let (name, words) = (help.name, help.text);
    let _ = writeln!(text, "# HELP tidegate_{owner}_{name} {words}");
    let _ = writeln!(text, "# TYPE tidegate_{owner}_{name} {kind}");
}

fn line(text: &mut String, owner: &str, name: &str, labels: &str, value: impl Display) {
    let _ = match labels {
        "" => writeln!(text, "tidegate_{owner}_{name} {value}"),
        labels => writeln!(text, "tidegate_{owner}_{name}{{{labels}}} {value}"),
    };
}

/// Exposition format 0.0.4, label values: backslash, quote and line feed.
fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let port = |queue, total_frames| PortSnapshot {
            interface: "ve\"th".into(),
            queue,
            stats: PortStats { rx_frames: 5, total_frames, free_frames: 8, ..Default::default() },
            ..PortSnapshot::default()
        };
        let service = ServiceSnapshot {
            name: "gate".into(),
            drops: BTreeMap::from([("malformed".into(), 4)]),
            levels: BTreeMap::from([("vrx_min".into(), -3)]),
            words: BTreeMap::from([("format".into(), "720 \"p\"".into())]),
            ..ServiceSnapshot::default()
        };
        let shards = vec![
            ShardSnapshot { id: 0, ports: vec![port(0, 8)], ..ShardSnapshot::default() },
            ShardSnapshot {
                id: 1,
                ports: vec![port(1, 9)],
                services: vec![service],
                ..ShardSnapshot::default()
            },
        ];
        let conservation = Snapshot::conservation(&shards);
        let row = RowSnapshot {
            name: "198.18.0.1".into(),
            words: BTreeMap::from([("state".into(), "engaged".into())]),
            counters: BTreeMap::from([("packets".into(), 6)]),
            gauges: BTreeMap::from([("packets_per_second".into(), 2)]),
        };
        let (service, name) = ("gate".into(), "destination".into());
        let tables = vec![TableSnapshot { service, name, rows: vec![row] }];
        Snapshot {
            tables,
            instance: "a".into(),
            pid: 7,
            shards,
            conservation,
            ..Snapshot::default()
        }
    }

    #[test]
    fn travels_as_json() {
        let json = serde_json::to_string(&snapshot()).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot());
    }

    #[test]
    fn a_counter_that_an_older_process_does_not_have_reads_as_zero() {
        let stats: PortStats = serde_json::from_str(r#"{"rx_frames": 3}"#).unwrap();
        assert_eq!(stats, PortStats { rx_frames: 3, ..PortStats::default() });
    }

    #[test]
    fn sums_over_ports_and_finds_the_frame_that_is_nowhere() {
        let snapshot = snapshot();
        assert_eq!(snapshot.totals().1.rx_frames, 10);
        assert_eq!(snapshot.conservation.unaccounted, 1);
    }

    #[test]
    fn is_text_that_prometheus_reads() {
        let text = snapshot().prometheus();
        for expected in [
            "# HELP tidegate_port_rx_frames Frames taken from the RX ring\n\
             # TYPE tidegate_port_rx_frames counter\n\
             tidegate_port_rx_frames{shard=\"0\",interface=\"ve\\\"th\",queue=\"0\"} 5\n\
             tidegate_port_rx_frames{shard=\"1\",interface=\"ve\\\"th\",queue=\"1\"} 5\n",
            "tidegate_named_drop{shard=\"1\",service=\"gate\",name=\"malformed\"} 4\n",
            "tidegate_named_level{shard=\"1\",service=\"gate\",name=\"vrx_min\"} -3\n",
            "tidegate_named_word{shard=\"1\",service=\"gate\",name=\"format\",\
             word=\"720 \\\"p\\\"\"} 1\n",
            "tidegate_table_count{service=\"gate\",table=\"destination\",row=\"198.18.0.1\",\
             name=\"packets\"} 6\n",
            "name=\"packets_per_second\"} 2\n",
            "name=\"state\",word=\"engaged\"} 1\n",
            "tidegate_frames_unaccounted 1\n",
        ] {
            assert!(text.contains(expected), "{expected}\nis not in\n{text}");
        }
    }
}
