//! Octets on the wire: checked views to read them, emitters to write them.
//!
//! ```text
//!  frame ─► Ethernet ─► tags ─► Ipv4 | Ipv6 ─► extension headers ─► Tcp | Udp | Icmp ─► payload
//!                                                └─► Gre                    ├─► Rtp ─► Rfc4175
//!                                                                           └─► Dns | Vxlan
//! ```
//!
//! Each file is one protocol. A view (`Udp`, `Ipv4`, …) borrows the octets it was made from and can
//! be made only by its `parse`, which checks everything that its accessors rely on: whoever holds a
//! view can ask it anything and cannot fail. Payloads end where the protocol's length field says,
//! so Ethernet padding never reaches a service. [`packet::Packet`] walks a whole frame once and is
//! what a service wants; the single views are for those who already know what they have.
//!
//! Emitters are plain structs with an `emit` that returns a header as an array of its fixed size.
//! They set what the field names say and compute only what follows from it (IPv4's header
//! checksum).
//!
//! Nothing here allocates, copies a payload, keeps state or looks at a clock. What is refused, and
//! why, is one enum, [`Malformed`]: on the data path it is a peer's mistake, so it becomes a drop
//! with a reason and never an error.
//!
//! Not done here: reassembly of fragments, verification of checksums while parsing (the functions
//! are in [`checksum`]; the kernel or the NIC has judged or will judge), and the walk into tunnels:
//! [`gre`] and [`vxlan`] show where a packet within a packet begins, and whoever wants to know goes
//! on from there.

pub mod checksum;
pub mod dns;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
mod malformed;
pub mod packet;
pub mod rfc4175;
pub mod rtp;
pub mod tcp;
pub mod transport;
pub mod udp;
pub mod vxlan;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod samples;

pub use dns::Dns;
pub use ethernet::{Ethernet, Vlan};
pub use gre::Gre;
pub use icmp::Icmp;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use malformed::Malformed;
pub use packet::Packet;
pub use rfc4175::Rfc4175;
pub use rtp::Rtp;
pub use tcp::Tcp;
pub use transport::TransportChecksum;
pub use udp::Udp;
pub use vxlan::Vxlan;

/// Protocol numbers that the house reads: IPv4's protocol field and IPv6's next header.
pub mod protocol {
    /// IPv6 hop-by-hop options, RFC 8200, section 4.3.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// A packet of IPv4, RFC 2003.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// A packet of IPv6, RFC 4213.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header, RFC 8200, section 4.4.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header, RFC 8200, section 4.5.
    pub const FRAGMENT: u8 = 44;
    /// GRE, RFC 2784.
    pub const GRE: u8 = 47;
    /// Authentication header, RFC 4302.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows, RFC 8200, section 4.7.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options, RFC 8200, section 4.6.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// IPv6 mobility header, RFC 6275, section 6.1.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol, RFC 7401, section 5.1.
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6, RFC 5533, section 5.1.
    pub const SHIM6: u8 = 140;
}

/// Which part of an IP datagram a packet carries.
///
/// Ports are in the first part only; who judges by ports must decide about [`Fragment::Later`] on
/// its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it. IPv6's atomic fragments count as whole (RFC 6946, section 4).
    Whole,
    /// The beginning, with the transport header.
    First {
        /// Identification that all parts share; 16 bits of it in IPv4.
        id: u32,
    },
    /// A part without transport header.
    Later {
        /// Identification that all parts share; 16 bits of it in IPv4.
        id: u32,
        /// Where this part starts in the datagram's payload, a multiple of 8.
        offset_octets: u16,
        /// Whether the sender says that parts follow.
        more: bool,
    },
}
