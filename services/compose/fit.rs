//! Whether what the config asks for fits the driver of the interface.

use std::{error, fmt};

use tidegate_dataplane::driver::{Driver, NOT_MTU_OCTETS};
use tidegate_dataplane::steer::XdpMode;
use tidegate_dataplane::umem;
use tidegate_dataplane::xsk::CopyMode;

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Zero-copy without a program in the driver.
    NoProgramInDriver {
        /// The interface as configured.
        interface: Box<str>,
    },
    /// The driver would bring long packets in pieces, each as if it were a packet.
    Pieces {
        /// The interface as configured.
        interface: Box<str>,
        /// Its driver.
        driver: &'static str,
        /// Octets of a chunk.
        chunk_octets: u32,
        /// Octets of the longest packet that comes whole into it.
        whole_octets: u32,
        /// What the interface sends and receives, in octets of IP.
        mtu: u32,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgramInDriver { interface } => write!(
                f,
                "{interface} cannot have zero-copy: its XDP program runs in the stack (generic); \
                 set xdp = \"native\" to see why, or copy = \"auto\"",
            ),
            Self::Pieces { interface, driver, chunk_octets, whole_octets, mtu } => write!(
                f,
                "{interface} has an MTU of {mtu}, and its driver, {driver}, brings packets of more \
                 than {whole_octets} octets in pieces where chunks have {chunk_octets} octets; \
                 leave umem.chunk_octets out, set copy = \"copy\", or lower the MTU with \
                 `ip link set dev {interface} mtu {}`",
                whole_octets.saturating_sub(NOT_MTU_OCTETS),
            ),
        }
    }
}

impl error::Error for Unfit {}

/// The copy mode to ask for where the program runs in `xdp`.
///
/// A driver without a program binds for zero-copy all the same, and then does not send
/// (`sends_without_program` of [`Driver`]); what it receives, the stack copies in any case.
pub(super) fn copy_mode(
    interface: &str,
    wanted: CopyMode,
    xdp: XdpMode,
) -> Result<CopyMode, Unfit> {
    match (xdp, wanted) {
        (XdpMode::Generic, CopyMode::ZeroCopy) => {
            Err(Unfit::NoProgramInDriver { interface: interface.into() })
        }
        (XdpMode::Generic, CopyMode::Auto) => Ok(CopyMode::Copy),
        (_, wanted) => Ok(wanted),
    }
}

/// Whether whole packets come into chunks as they are, now that it is known how they are filled, and
/// that a packet may have only one.
///
/// # Errors
///
/// Where halves of packets would be taken for packets. That packets are longer than any chunk is
/// none: those are lost, counted, and perhaps never come (see `long`).
pub(super) fn chunk(
    interface: &str,
    driver: &'static Driver,
    umem: &umem::Options,
    mtu: u32,
    obtained: CopyMode,
) -> Result<(), Unfit> {
    let chunk_octets = umem.chunk_octets;
    let whole_octets = driver.whole_octets(chunk_octets, obtained);
    if driver.fits(chunk_octets, mtu, obtained) {
        return Ok(());
    }
    if driver.fits(chunk_octets, mtu, CopyMode::Copy) {
        let (interface, driver) = (interface.into(), driver.called());
        return Err(Unfit::Pieces { interface, driver, chunk_octets, whole_octets, mtu });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::umem::Pages;

    use super::*;

    fn fits(driver: &str, chunk_octets: u32, mtu: u32, copy: CopyMode) -> Result<(), Unfit> {
        let umem = umem::Options { chunk_octets, frames: 64, pages: Pages::Auto };
        chunk("eth1", Driver::named(driver), &umem, mtu, copy)
    }

    #[test]
    fn halves_of_packets_are_refused_with_the_remedies() {
        let refusal = fits("igb", 2048, 1500, CopyMode::ZeroCopy).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "eth1 has an MTU of 1500, and its driver, igb, brings packets of more than 1024 octets \
             in pieces where chunks have 2048 octets; leave umem.chunk_octets out, set \
             copy = \"copy\", or lower the MTU with `ip link set dev eth1 mtu 1002`"
        );
        for mended in [
            fits("igb", 4096, 1500, CopyMode::ZeroCopy),
            fits("igb", 2048, 1500, CopyMode::Copy),
            fits("igb", 2048, 1002, CopyMode::ZeroCopy),
            fits("virtio_net", 2048, 1500, CopyMode::ZeroCopy),
        ] {
            assert_eq!(mended, Ok(()));
        }
    }

    #[test]
    fn packets_beyond_every_chunk_are_only_told_of() {
        assert_eq!(fits("veth", 4096, 9000, CopyMode::Copy), Ok(()));
        assert_eq!(fits("igb", 4096, 9000, CopyMode::ZeroCopy), Ok(()));
    }

    #[test]
    fn zero_copy_wants_the_program_in_the_driver() {
        let mode = |wanted, xdp| copy_mode("eth1", wanted, xdp);
        assert_eq!(mode(CopyMode::Auto, XdpMode::Native), Ok(CopyMode::Auto));
        assert_eq!(mode(CopyMode::Auto, XdpMode::Generic), Ok(CopyMode::Copy));
        assert_eq!(mode(CopyMode::ZeroCopy, XdpMode::Native), Ok(CopyMode::ZeroCopy));
        let refusal = mode(CopyMode::ZeroCopy, XdpMode::Generic).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "eth1 cannot have zero-copy: its XDP program runs in the stack (generic); set \
             xdp = \"native\" to see why, or copy = \"auto\""
        );
    }
}
