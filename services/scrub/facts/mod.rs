//! Facts: what one packet says of itself, for whoever has rules about it.
//!
//! ```text
//!  frame ─► Ethernet ─► IP ─► TCP | UDP | ICMP          at once: who asks nothing else pays no more
//!                        │      ├─► options, DNS         when asked
//!                        └──────┴─► packet within it     when asked, once
//! ```
//!
//! What the headers say is taken as they say it. A field that the packet does not have has no value,
//! and there is none that has a value and is not in the octets: ports, flags and payload are those
//! of the packet at hand, so a later fragment has none, whatever its first part said.
//!
//! A packet is read in a bounded number of steps: at most two VLAN tags, eight extension headers, one
//! packet within another, forty octets of options, a name of 255 octets. Nothing is allocated.
//!
//! Not done here: a packet within a packet within a packet; reassembly; a search for DNS on other
//! ports than 53.

mod carried;
mod headers;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;

use std::cell::OnceCell;
use std::net::IpAddr;

use tidegate_dataplane::wire::dns::Question;
use tidegate_dataplane::wire::packet::{Network, Transport};
use tidegate_dataplane::wire::{Dns, Ethernet, Malformed, Tcp};

use super::rules::expression::Place;
use super::rules::field::{AddressField, Layer, NumberField, Scope, Standing};
use headers::Headers;

/// What is known of a packet from before it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standings {
    /// It belongs to a connection that this host has.
    pub(crate) known: bool,
    /// Its source has answered a challenge.
    pub(crate) verified: bool,
    /// It is one of very many that look alike, or that nobody answers.
    pub(crate) surging: bool,
}

/// What one packet says. Holding one proves that the headers that it shows are whole.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    outer: Headers<'a>,
    /// The packet within, looked for when first asked for.
    inner: OnceCell<Option<Headers<'a>>>,
    standing: Standings,
}

impl<'a> Facts<'a> {
    /// Reads `head`, the beginning of a frame of `octets` or all of it. A frame that is not IP is not
    /// malformed, it has no facts but those of its link.
    ///
    /// # Errors
    ///
    /// Where a header from Ethernet to TCP, UDP or ICMP is cut off or at odds with itself. What is
    /// wrong further in makes no error: it is not there.
    ///
    /// # Panics
    ///
    /// When `octets` are fewer than `head` has.
    #[inline]
    pub(crate) fn of(
        head: &'a [u8],
        octets: usize,
        standing: Standings,
    ) -> Result<Self, Malformed> {
        assert!(head.len() <= octets, "a beginning is no longer than the whole");
        let outer = Headers::of_frame(Ethernet::parse(head)?, octets)?;
        Ok(Self { outer, inner: OnceCell::new(), standing })
    }

    #[inline]
    fn headers(&self, scope: Scope) -> Option<&Headers<'a>> {
        match scope {
            Scope::Outer => Some(&self.outer),
            Scope::Inner => self.inner.get_or_init(|| carried::within(&self.outer)).as_ref(),
        }
    }

    /// The number in a field, where the packet has the field.
    #[inline]
    pub(crate) fn number(&self, scope: Scope, field: NumberField) -> Option<u64> {
        self.headers(scope)?.number(field)
    }

    /// The address in a field, where the packet has the field.
    #[inline]
    pub(crate) fn address(&self, scope: Scope, field: AddressField) -> Option<IpAddr> {
        Some(match (self.headers(scope)?.network()?, field) {
            (Network::V4(ip), AddressField::Source) => ip.source().into(),
            (Network::V4(ip), AddressField::Destination) => ip.destination().into(),
            (Network::V6(ip), AddressField::Source) => ip.source().into(),
            (Network::V6(ip), AddressField::Destination) => ip.destination().into(),
        })
    }

    /// Whether a header is there.
    #[inline]
    pub(crate) fn has(&self, scope: Scope, layer: Layer) -> bool {
        match (scope, layer) {
            (Scope::Outer, Layer::Carried) => self.headers(Scope::Inner).is_some(),
            (Scope::Inner, Layer::Carried) => false,
            _ => self.headers(scope).is_some_and(|headers| headers.has(layer)),
        }
    }

    /// What is behind the header of IP and of TCP, UDP or ICMP, as far as it is in the octets that
    /// were given. Empty in later fragments.
    #[inline]
    pub(crate) fn payload(&self, scope: Scope) -> &'a [u8] {
        self.headers(scope).map_or(&[], Headers::payload)
    }

    /// So many octets of the payload from `place` on, where they are all there. Counted from the
    /// payload's end, that is the end of the whole packet and not of the octets that were given.
    #[inline]
    pub(crate) fn octets(&self, scope: Scope, place: Place, count: usize) -> Option<&'a [u8]> {
        let headers = self.headers(scope)?;
        let start = match place {
            Place::Front(before) => usize::from(before),
            Place::Back(behind) => headers.payload_octets().checked_sub(usize::from(behind))?,
        };
        headers.payload().get(start..start + count)
    }

    /// The name that a DNS message asks for, in the form of the wire: at most 255 octets.
    #[inline]
    pub(crate) fn query_name(&self, scope: Scope) -> Option<&'a [u8]> {
        self.question(scope).map(|question| question.name)
    }

    /// The first question of a DNS message.
    #[inline]
    pub(crate) fn question(&self, scope: Scope) -> Option<Question<'a>> {
        self.dns(scope)?.question()
    }

    /// A DNS message: from or to port 53.
    #[inline]
    pub(crate) fn dns(&self, scope: Scope) -> Option<Dns<'a>> {
        self.headers(scope)?.dns()
    }

    /// The packet from its IP header on, without padding, as far as it was given.
    #[inline]
    pub(crate) fn ip(&self) -> Option<&'a [u8]> {
        self.outer.ip_octets()
    }

    /// The internet layer, where it is IP.
    #[inline]
    pub(crate) fn network(&self, scope: Scope) -> Option<Network<'a>> {
        self.headers(scope)?.network()
    }

    /// The transport layer, where there is IP.
    #[inline]
    pub(crate) fn transport(&self, scope: Scope) -> Option<Transport<'a>> {
        self.headers(scope)?.transport()
    }

    /// The segment, where it is TCP.
    #[inline]
    pub(crate) fn tcp(&self, scope: Scope) -> Option<Tcp<'a>> {
        self.headers(scope)?.tcp()
    }

    /// From here on its source counts as verified.
    #[inline]
    pub(crate) const fn verify(&mut self) {
        self.standing.verified = true;
    }

    /// From here on it counts as one of very many.
    #[inline]
    pub(crate) const fn surge(&mut self) {
        self.standing.surging = true;
    }

    /// Source and destination port, where the packet shows any.
    #[inline]
    pub(crate) fn ports(&self, scope: Scope) -> Option<(u16, u16)> {
        match self.transport(scope)? {
            Transport::Tcp(tcp) => Some((tcp.source(), tcp.destination())),
            Transport::Udp(udp) => Some((udp.source(), udp.destination())),
            _ => None,
        }
    }

    /// Whether the packet stands so.
    #[inline]
    pub(crate) const fn stands(&self, standing: Standing) -> bool {
        match standing {
            Standing::Known => self.standing.known,
            Standing::Verified => self.standing.verified,
            Standing::Surging => self.standing.surging,
        }
    }
}
