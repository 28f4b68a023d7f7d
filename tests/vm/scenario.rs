//! What guests play, and what must have come of it.
//!
//! A scenario is one file with both halves: `play` runs in the guest and returns facts, `judge`
//! runs on the host and holds them against what must be true.

mod away;
mod checksums;
mod doctor;
mod driver;
pub(crate) mod facts;
mod fallback;
mod flap;
mod queues;
mod singly;
mod steering;
mod together;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::Nics;

/// One scenario on one pair of NICs.
pub(crate) struct Scenario {
    /// Its name, as a test and on the kernel's command line.
    pub(crate) name: &'static str,
    /// The NICs of its guest.
    pub(crate) nics: Nics,
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

const fn scenario<P: Play>(name: &'static str, nics: Nics) -> Scenario {
    Scenario {
        name,
        nics,
        play: |nics| serde_json::to_string(&P::play(nics)).expect("facts are plain values"),
        judge: |nics, facts| {
            P::judge(nics, serde_json::from_str(facts).expect("both halves are one program"));
        },
    }
}

/// All of them.
pub(crate) static ALL: &[Scenario] = &[
    scenario::<doctor::Doctor>("virtio_net::doctor_sees_the_driver", Nics::Virtio),
    scenario::<doctor::Doctor>("igb::doctor_sees_the_driver", Nics::Igb),
    scenario::<together::Together>("virtio_net::both_services_at_once", Nics::Virtio),
    scenario::<together::Together>("igb::both_services_at_once", Nics::Igb),
    scenario::<fallback::Fallback>(
        "virtio_net::zero_copy_is_had_or_refused_and_auto_goes_on_without",
        Nics::VirtioPlain,
    ),
    scenario::<flap::Flap>("virtio_net::a_link_that_flaps_costs_its_outage", Nics::Virtio),
    scenario::<flap::Flap>("igb::a_link_that_flaps_costs_its_outage", Nics::Igb),
    scenario::<away::Away>("virtio_net::a_shard_that_was_away_goes_on", Nics::Virtio),
    scenario::<away::Away>("igb::a_shard_that_was_away_goes_on", Nics::Igb),
    scenario::<queues::Queues<4>>("igb::shards_take_some_of_4_queues", Nics::Igb),
    scenario::<queues::Queues<8>>("igb::shards_take_some_of_8_queues", Nics::Igb),
    scenario::<steering::Steering>("igb::a_taken_queue_leaves_the_table_and_comes_back", Nics::Igb),
    scenario::<driver::Facts>("virtio_net::does_what_is_said_of_it", Nics::Virtio),
    scenario::<driver::Facts>("igb::does_what_is_said_of_it", Nics::Igb),
    scenario::<singly::Singly>("virtio_net::single_packets_wake_their_shard", Nics::Virtio),
    scenario::<singly::Singly>("igb::single_packets_wake_their_shard", Nics::Igb),
];

/// The one of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
