//! Who sends most, asked of all shards.

use std::time::Duration;

use serde_json::{Value, json};

use super::instance::{Done, Order};
use super::keeper::Keeper;
use super::show;
use crate::cli::top::{address_name, port_name};
use crate::scrub::heavy::{By, Hitter, Windows, merged};

/// Rows at most.
const COUNT_MAX: u64 = 1000;

/// Answers `{"of": "sources", "count": 10}`. Shards that do not answer in time are not in it, and are
/// named.
pub(super) fn answer(
    keeper: &Keeper,
    request: &Value,
    patience: Duration,
    now_ns: u64,
) -> Result<Value, String> {
    let count = request["count"].as_u64().unwrap_or(10).clamp(1, COUNT_MAX);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let by = match request["of"].as_str() {
        Some("sources") => By::Source,
        Some("destinations") => By::Destination,
        Some("ports") => By::Port,
        Some("rules") => {
            let (generation, hits) = keeper.hits()?;
            return Ok(show::top_rules(&generation, &hits, count));
        }
        _ => return Err("top: of sources, destinations, ports or rules".into()),
    };
    let instances = keeper.instances()?;
    let ask = |&shard: &u32| {
        let windows = Box::new(Windows::new(now_ns));
        instances.ask::<Order, Done>(shard, Order::Heavy(windows)).map_err(|_| shard)
    };
    let asked: Vec<_> = instances.shards().iter().map(ask).collect();
    let (mut windows, mut silent) = (Vec::new(), Vec::new());
    for one in asked {
        match one.map(|mut one| (one.shard(), one.wait(patience))) {
            Ok((_, Ok(Done::Heavy(filled)))) => windows.push(filled),
            Ok((shard, _)) | Err(shard) => silent.push(shard),
        }
    }
    let merged = merged(&windows, by, count);
    let row = |hitter: &Hitter| {
        let name = match by {
            By::Source | By::Destination => address_name(hitter.address()),
            By::Port => port_name(hitter.port()),
        };
        json!({ "name": name, "at_least": hitter.packets.start(), "at_most": hitter.packets.end() })
    };
    Ok(json!({
        "top": merged.hitters.iter().map(row).collect::<Vec<_>>(),
        "others_at_most": merged.others_max,
        "span_ns": now_ns.saturating_sub(merged.since_ns),
        "silent": silent,
    }))
}
