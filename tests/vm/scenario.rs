//! What guests play, and what must have come of it.
//!
//! A scenario is one file with both halves: `play` runs in the guest and returns facts, `judge`
//! runs on the host and holds them against what must be true.

mod doctor;
pub(crate) mod facts;
mod together;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::Nics;

/// One scenario on one pair of NICs.
pub(crate) struct Scenario {
    /// Its name, as a test and on the kernel's command line.
    pub(crate) name: &'static str,
    /// The NICs of its guest.
    pub(crate) nics: Nics,
    /// The longest it may take: several times what it does.
    pub(crate) time: Duration,
    /// Plays it, in the guest; facts as JSON.
    pub(crate) play: fn(Nics) -> String,
    /// Judges the facts, on the host. Panics where they are not what they should be.
    pub(crate) judge: fn(Nics, &str),
}

/// The two halves of a scenario.
trait Play {
    /// What comes back.
    type Facts: Serialize + DeserializeOwned;
    /// In the guest.
    fn play(nics: Nics) -> Self::Facts;
    /// On the host.
    fn judge(nics: Nics, facts: Self::Facts);
}

const fn scenario<P: Play>(name: &'static str, nics: Nics, seconds: u64) -> Scenario {
    Scenario {
        name,
        nics,
        time: Duration::from_secs(seconds),
        play: |nics| serde_json::to_string(&P::play(nics)).expect("facts are plain values"),
        judge: |nics, facts| {
            P::judge(nics, serde_json::from_str(facts).expect("both halves are one program"));
        },
    }
}

/// All of them.
pub(crate) const ALL: [Scenario; 4] = [
    scenario::<doctor::Doctor>("virtio_net::doctor_sees_the_driver", Nics::Virtio, 60),
    scenario::<doctor::Doctor>("igb::doctor_sees_the_driver", Nics::Igb, 60),
    scenario::<together::Together>("virtio_net::both_services_at_once", Nics::Virtio, 120),
    scenario::<together::Together>("igb::both_services_at_once", Nics::Igb, 120),
];

/// The one of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static Scenario> {
    static SCENARIOS: &[Scenario] = &ALL;
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
