//! The packet within a packet: GRE, IPIP, 6in4, VXLAN.

use tidegate_dataplane::wire::ethernet::ether_type;
use tidegate_dataplane::wire::{Ethernet, Fragment, gre, protocol};

use super::headers::Headers;

/// The packet that is in `outer`, if any that can be read. Of a later fragment nothing is known, and
/// in a first one the packet within goes on behind what is there.
pub(super) fn within<'a>(outer: &Headers<'a>) -> Option<Headers<'a>> {
    let cut = match outer.fragment()? {
        Fragment::Whole => 0,
        // So much may still come of a datagram.
        Fragment::First { .. } => usize::from(u16::MAX),
        Fragment::Later { .. } => return None,
    };
    // Of a frame in several chunks too, the lengths within are held against the whole.
    let missing = outer.payload_octets().saturating_sub(outer.payload().len());
    let whole = |head: &[u8]| head.len() + missing + cut;
    let packet =
        |ether_type: u16, head: &'a [u8]| Headers::of_packet(ether_type, head, whole(head)).ok();
    let frame = |head: &'a [u8]| Headers::of_frame(Ethernet::parse(head).ok()?, whole(head)).ok();
    match outer.other() {
        // RFC 2003 and RFC 2473: of either kind of IP in either.
        Some((protocol::IPV4, octets)) => packet(ether_type::IPV4, octets),
        Some((protocol::IPV6, octets)) => packet(ether_type::IPV6, octets),
        Some((protocol::GRE, _)) => {
            let gre = outer.gre().filter(|gre| gre.shows_what_it_carries())?;
            match gre.protocol() {
                gre::ETHERNET => frame(gre.payload()),
                ether_type => packet(ether_type, gre.payload()),
            }
        }
        Some(_) => None,
        None => frame(outer.vxlan()?.payload()),
    }
}
