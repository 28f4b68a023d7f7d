//! Whether a stream's packets fit into the interface and into a chunk.

use std::fmt;

use tidegate_runtime::port::PortFacts;

use crate::stream::header::Header;

/// Octets of IP that every Ethernet takes, and most are set to.
const MTU_USUAL: usize = 1500;

/// Packets that are too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// For the interface.
    Mtu {
        /// The interface.
        interface: Box<str>,
        /// What it sends, in octets of IP.
        mtu: u32,
        /// What is needed.
        needed: usize,
    },
    /// For a chunk.
    Chunk {
        /// What a blank frame holds.
        capacity: usize,
        /// What is needed.
        needed: usize,
    },
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mtu { interface, mtu, needed } => write!(
                f,
                "{interface} has an MTU of {mtu}, packets of the stream need {needed}; raise it \
                 with `ip link set {interface} mtu {}`, and that of the switch",
                (*needed).max(MTU_USUAL)
            ),
            Self::Chunk { capacity, needed } => write!(
                f,
                "packets of the stream need {needed} octets, a chunk holds {capacity}; raise \
                 chunk_octets of the interface"
            ),
        }
    }
}

impl std::error::Error for TooLong {}

/// Checks that a payload of so many octets behind `header` fits.
///
/// # Errors
///
/// Where it does not, with the setting to be raised.
pub fn check(facts: &PortFacts, header: &Header, payload_octets: usize) -> Result<(), TooLong> {
    let octets = header.octets() + payload_octets;
    // An MTU counts from IP's header on: a tag takes nothing of it.
    let needed = octets - header.link_octets();
    if needed > facts.mtu as usize {
        let (interface, mtu) = (facts.interface.clone(), facts.mtu);
        return Err(TooLong::Mtu { interface, mtu, needed });
    }
    if octets > facts.chunk_capacity_octets {
        return Err(TooLong::Chunk { capacity: facts.chunk_capacity_octets, needed: octets });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::wire::ethernet::Vlan;

    use super::*;
    use crate::stream::header::{Flow, Marks};

    fn header(address: &str, vlan: Option<Vlan>) -> Header {
        let flow = Flow {
            source_mac: [2; 6],
            destination_mac: [2; 6],
            source: address.parse().unwrap(),
            destination: address.parse().unwrap(),
            marks: Marks { vlan, ..Marks::default() },
        };
        Header::new(&flow, 100).unwrap()
    }

    #[test]
    fn an_mtu_counts_from_ip_on_and_a_chunk_every_octet() {
        let facts = |mtu, chunk_capacity_octets| PortFacts {
            interface: "eth1".into(),
            mtu,
            chunk_capacity_octets,
            ..PortFacts::default()
        };
        for tag in [None, Vlan::new(100, 0)] {
            let tag_octets = if tag.is_some() { 4 } else { 0 };
            for (address, headers) in [("198.18.0.1:20000", 28), ("[2001:db8::1]:20000", 48)] {
                let header = header(address, tag);
                let fits = |octets, capacity| {
                    check(&facts(1500, capacity), &header, octets).map_err(|it| it.to_string())
                };
                let whole = 1514 + tag_octets;
                assert_eq!(fits(1500 - headers, whole), Ok(()));
                assert_eq!(
                    fits(1501 - headers, 2048).unwrap_err(),
                    "eth1 has an MTU of 1500, packets of the stream need 1501; raise it with `ip \
                     link set eth1 mtu 1501`, and that of the switch"
                );
                assert_eq!(
                    fits(1500 - headers, whole - 1).unwrap_err(),
                    format!(
                        "packets of the stream need {whole} octets, a chunk holds {}; raise \
                         chunk_octets of the interface",
                        whole - 1
                    )
                );
            }
        }
        let small = check(&facts(800, 2048), &header("198.18.0.1:20000", None), 820).unwrap_err();
        assert!(small.to_string().contains("`ip link set eth1 mtu 1500`"), "{small}");
    }
}
