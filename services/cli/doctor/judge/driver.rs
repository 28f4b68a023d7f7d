//! What is known of an interface's driver, and what follows for a config.

use tidegate_dataplane::driver::{CHUNK_OCTETS, Driver, HEADROOM_OCTETS, NOT_MTU_OCTETS, Seen};
use tidegate_dataplane::umem::chain::CHUNKS_MAX;
use tidegate_dataplane::xsk::CopyMode;

use super::{About, LinkFacts, Severity};

/// The driver's facts in words. What holds as a matter of course is not said.
pub(super) fn facts(link: &LinkFacts, say: &mut About<'_>) {
    let driver = of(link);
    if driver.name.is_empty() {
        let what = "its driver is not known here: it is taken for one that needs a program to send";
        return say.add(Severity::Advice, what, None);
    }
    if !driver.sends_without_program.is {
        let what = "sends in zero-copy only with a program in the driver: run attaches one to \
                    every interface";
        say.good(told(what, driver.sends_without_program.seen));
    }
    let [.., largest] = CHUNK_OCTETS;
    let used = driver.whole_octets(largest, CopyMode::Auto);
    if used < largest - HEADROOM_OCTETS {
        let step = &driver.buffer_step_octets;
        let what = format!(
            "receives in zero-copy into a multiple of {} octets: {used} of a chunk of {largest}",
            step.is
        );
        say.good(told(&what, step.seen));
    }
    if driver.resets_link.is {
        let what =
            "takes its link down when a program comes or goes: a start waits for the carrier";
        say.good(told(what, driver.resets_link.seen));
    }
}

fn told(what: &str, seen: Seen) -> String {
    format!("{what} ({seen})")
}

/// Whether every packet comes whole into a chunk, and how large that then is; or into how many.
pub(super) fn mtu(link: &LinkFacts, say: &mut About<'_>) {
    let (driver, [smallest, largest]) = (of(link), CHUNK_OCTETS);
    if !driver.fits(largest, link.mtu, CopyMode::Copy) {
        several(link, driver.whole_octets(largest, CopyMode::Copy), say);
    } else if !driver.fits(largest, link.mtu, CopyMode::Auto) {
        let longest = driver.whole_octets(largest, CopyMode::Auto) - NOT_MTU_OCTETS;
        say.add(
            Severity::Warning,
            format!(
                "in zero-copy its driver brings packets of {} octets in pieces, which run refuses; \
                 copy = \"copy\" takes them whole",
                link.mtu
            ),
            Some(format!("ip link set dev {} mtu {longest}", link.name)),
        );
    } else if driver.chunk_octets(link.mtu, CopyMode::Auto) != smallest {
        say.good(format!(
            "packets need chunks of {largest} octets: leave umem.chunk_octets out, or say so"
        ));
    }
}

/// What becomes of packets that no chunk holds, with `part_octets` of them in each.
fn several(link: &LinkFacts, part_octets: u32, say: &mut About<'_>) {
    let (name, mtu) = (&link.name, link.mtu);
    let longest = CHUNKS_MAX * part_octets - NOT_MTU_OCTETS;
    if mtu > longest {
        return say.add(
            Severity::Warning,
            format!("packets of {mtu} octets do not fit into {CHUNKS_MAX} chunks and are lost"),
            Some(format!("ip link set dev {name} mtu {longest}")),
        );
    }
    let chunks = (mtu + NOT_MTU_OCTETS).div_ceil(part_octets);
    let what = format!("packets of {mtu} octets take {chunks} chunks (multi_buffer)");
    let segments = link.features.as_ref().map(|found| found.zero_copy_segments_max);
    match segments {
        Some(most) if most >= chunks => say.good(what),
        Some(0) | None => say.good(format!("{what}; whether in zero-copy too is not told")),
        Some(most) => say.add(
            Severity::Advice,
            format!(
                "{what}, in zero-copy its driver takes {most}: copy = \"auto\" gives up zero-copy, \
                 copy = \"zero-copy\" the long packets"
            ),
            Some(format!("ip link set dev {name} mtu {}", part_octets - NOT_MTU_OCTETS)),
        ),
    }
}

fn of(link: &LinkFacts) -> &'static Driver {
    link.driver.as_deref().map_or(&Driver::UNKNOWN, Driver::named)
}
