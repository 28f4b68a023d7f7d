//! What a network card is told about its queues, and how that is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::{Config, Interface, Steering};
use tidegate_dataplane::steer::hardware::{Aim, Hardware, Mode, Options, SeenRule};
use tidegate_runtime::control;
use tidegate_runtime::metrics::snapshot::{HardwareSnapshot, RuleSnapshot};

use super::translate;
use crate::run::RunError;

/// Where it is told what was changed on cards: beside the control sockets, and like them for the
/// owner alone.
pub(super) fn records(config: &Config) -> Result<PathBuf, RunError> {
    let directory = control::directory();
    let changes = config.interfaces.iter().any(|it| it.steering != Steering::Xdp);
    // A killed process may have left something also where this one changes nothing.
    if changes || directory.exists() {
        control::private_directory(&directory)?;
    }
    Ok(directory)
}

/// Puts back what a killed process left on the card of `interface`, and tells it what the config
/// says, if that is anything.
pub(super) fn take(
    config: &Config,
    interface: &Interface,
    records: &Path,
) -> Result<Option<Arc<Hardware>>, RunError> {
    let name = interface.name.as_str();
    let taken = config.taken(name);
    let aim = |aim: tidegate_config::Aim<'_>| Aim {
        selector: translate::selector(0, aim.selector),
        queue: aim.queue,
    };
    let options = Options {
        interface: name.into(),
        // No queue is taken where no service works on one: there is nothing to keep free.
        mode: if taken.is_empty() { Mode::Xdp } else { translate::steering(interface.steering) },
        taken,
        aims: config.aims(name).map(aim).collect(),
        records: records.to_owned(),
    };
    if options.mode == Mode::Rss && !options.aims.is_empty() {
        tracing::info!(
            interface = name,
            "with steering = \"rss\" selectors get only what flow rules of yours send to the taken queues"
        );
    }
    Ok(Hardware::take(&options)?.map(Arc::new))
}

/// What is in place, for `stats`.
pub(crate) fn snapshot(hardware: &Hardware) -> HardwareSnapshot {
    let seen = hardware.seen();
    let rule = |rule: SeenRule| RuleSnapshot {
        location: rule.location,
        selector: rule.selector,
        queue: rule.queue,
        flow: rule.flow.into(),
        in_place: rule.in_place,
    };
    HardwareSnapshot {
        asked: hardware.mode().word().to_owned(),
        isolated_queues: seen.isolated,
        table: seen.table.word().to_owned(),
        rules: seen.rules.into_iter().map(rule).collect(),
        remarks: seen.remarks.into_iter().map(String::from).collect(),
    }
}
