//! TCP signatures in the form of p0f 3.
//!
//! ```text
//! ver:ittl:olen:mss:wsize,scale:olayout:quirks:pclass
//!
//! *:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0          Linux, as p0f.fp has it
//! 4:54+10:0:1460:65535,3:mss,nop,ws,nop,nop,sok:df:0     as p0f prints what it saw
//! ```
//!
//! A signature holds of a SYN or SYN-ACK when p0f 3 would call it an exact match: the order of the
//! options, the padding behind them and the set of quirks are those of the signature, and the TTL is
//! at most 35 hops below the initial one (`64-`: at most it). p0f's fuzzy matches do not count.
//!
//! Two things more than p0f takes: `*` as the length of IP options, as bpftools does, and `*` among
//! the quirks, which allows others than those named.
//!
//! Not done: the MSS of the SYN that a SYN-ACK answers is not known here, so a window that is a
//! multiple of that alone is not one of `mss*N`. Fragments and IPv6 extension headers have no shape,
//! as in p0f.

use super::misread::Misread;

#[cfg(test)]
mod peer;
mod read;
mod shape;
mod show;
#[cfg(test)]
mod tests;

pub(crate) use shape::Shape;

/// `MAX_DIST` of p0f: hops that a packet may have come.
const HOPS_MAX: u8 = 35;

/// `MAX_TCP_OPT` of p0f: options that are looked at.
const OPTIONS_MAX: usize = 24;

/// What a SYN or SYN-ACK must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// 4 or 6; without it, either.
    version: Option<u8>,
    ttl: u8,
    /// Whether the TTL may be anything up to `ttl`.
    any_hops: bool,
    ip_options_octets: Option<u8>,
    mss: Option<u16>,
    window: Window,
    scale: Option<u8>,
    /// Kinds of the TCP options in their order.
    layout: Box<[u8]>,
    /// Octets behind the end of the options; `None` as many as there are.
    padding: Option<u8>,
    quirks: Quirks,
    /// Whether there may be other quirks, too.
    other_quirks: bool,
    /// Whether there is payload.
    payload: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Any,
    Exactly(u16),
    /// `%N`.
    MultipleOf(u16),
    /// `mss*N`.
    OfMss(u16),
    /// `mtu*N`.
    OfMtu(u16),
}

/// Oddities, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quirks(u32);

/// Makes the bits and the table of their names.
macro_rules! quirks {
    ($($(#[doc = $help:literal])+ $NAME:ident $text:literal $bit:literal;)+) => {
        impl Quirks {
            $($(#[doc = $help])+ const $NAME: Self = Self(1 << $bit);)+

            /// Each with its name in a signature.
            const ALL: &[(&'static str, Self)] = &[$(($text, Self::$NAME),)+];
        }
    };
}

quirks! {
    /// Don't fragment is set (IPv4).
    DONT_FRAGMENT "df" 0;
    /// Don't fragment is set, and the identification is not zero (IPv4).
    ID_NOT_ZERO "id+" 1;
    /// Don't fragment is not set, and the identification is zero (IPv4).
    ID_ZERO "id-" 2;
    /// Congestion notification is supported.
    ECN "ecn" 3;
    /// The bit of IPv4 that must be zero is not.
    RESERVED "0+" 4;
    /// The flow label is not zero (IPv6).
    FLOW "flow" 5;
    /// The sequence number is zero.
    SEQUENCE_ZERO "seq-" 6;
    /// An acknowledgement number without the flag.
    ACK_NOT_ZERO "ack+" 7;
    /// The flag without an acknowledgement number.
    ACK_ZERO "ack-" 8;
    /// An urgent pointer without the flag.
    URGENT_NOT_ZERO "uptr+" 9;
    /// The urgent flag is set.
    URGENT "urgf+" 10;
    /// The push flag is set.
    PUSH "pushf+" 11;
    /// The sender's own timestamp is zero.
    TIMESTAMP_ZERO "ts1-" 12;
    /// A SYN echoes a timestamp.
    ECHO_NOT_ZERO "ts2+" 13;
    /// Something other than zero is behind the end of the options.
    PADDING_NOT_ZERO "opt+" 14;
    /// The window scale is over 14.
    SCALE_EXCESSIVE "exws" 15;
    /// The options are malformed.
    BAD "bad" 16;
}

impl Quirks {
    /// Those that only IPv4 has.
    const ONLY_IPV4: Self =
        Self(Self::DONT_FRAGMENT.0 | Self::ID_NOT_ZERO.0 | Self::ID_ZERO.0 | Self::RESERVED.0);

    const fn set(&mut self, other: Self, when: bool) {
        if when {
            self.0 |= other.0;
        }
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Signature {
    /// The same of a packet that was read before, for one signature after the other.
    pub(crate) fn matches_shape(&self, shape: &Shape) -> bool {
        // What the signature says of the other version is nothing that this packet could have.
        let asked = match (self.version, shape.version) {
            (None, 4) => self.quirks.without(Quirks::FLOW),
            (None, _) => self.quirks.without(Quirks::ONLY_IPV4.without(Quirks::RESERVED)),
            _ => self.quirks,
        };
        let quirks_agree =
            if self.other_quirks { shape.quirks.contains(asked) } else { shape.quirks == asked };
        quirks_agree
            && self.version.is_none_or(|version| version == shape.version)
            && shape.ttl <= self.ttl
            && (self.any_hops || self.ttl - shape.ttl <= HOPS_MAX)
            && self.ip_options_octets.is_none_or(|octets| octets == shape.ip_options_octets)
            && self.mss.is_none_or(|mss| mss == shape.mss)
            && self.scale.is_none_or(|scale| scale == shape.scale)
            && self.payload.is_none_or(|payload| payload == shape.payload)
            && self.layout[..] == *shape.layout()
            && self.padding.is_none_or(|padding| padding == shape.padding)
            && match self.window {
                Window::Any => true,
                Window::Exactly(window) => window == shape.window,
                Window::MultipleOf(divisor) => shape.window.is_multiple_of(divisor),
                Window::OfMss(times) => shape.window_of_mss() == Some(times.into()),
                Window::OfMtu(times) => shape.window_of_mtu() == Some(times.into()),
            }
    }

    /// Whether a packet, given from its IP header on, has the signature.
    pub(crate) fn matches_packet(&self, packet: &[u8]) -> bool {
        Shape::of(packet).is_some_and(|shape| self.matches_shape(&shape))
    }
}
