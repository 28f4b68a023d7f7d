//! Link types: packets of several kinds of capture, seen as Ethernet frames.
//!
//! Whatever reads packets here reads Ethernet. A capture of `any` (Linux cooked), of a tunnel
//! device (raw IP) or of a loopback of BSD has other headers, which say the same in other places:
//! what protocol comes next. [`as_ethernet`] puts an Ethernet header with that EtherType before
//! it. The addresses in it are zero; VLAN tags behind the cooked header stay.

use std::borrow::Cow;

use super::{LINK_ETHERNET, Record};
use crate::wire::ethernet::HEADER_LEN;

/// EtherTypes of the two kinds of IP.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// The packet as an Ethernet frame: as it is, or behind a header that is made for it. `None` where
/// the link type is none of those known here, or the link's own header is cut off or names nothing
/// that has an EtherType.
pub fn as_ethernet(record: &Record) -> Option<Cow<'_, [u8]>> {
    let bytes = &record.bytes[..];
    let (skip, ethertype) = match record.link_type {
        LINK_ETHERNET => return Some(Cow::Borrowed(bytes)),
        // LINKTYPE_NULL has the family in the byte order of who captured, LINKTYPE_LOOP in that of
        // the network. Families are small, so one of both orders is the number.
        0 | 108 => {
            let family = *bytes.first_chunk::<4>()?;
            (4, of_family(u32::from_be_bytes(family).min(u32::from_le_bytes(family)))?)
        }
        // LINKTYPE_RAW, and the numbers that it has on some systems' own files (DLT_RAW).
        12 | 14 | 101 => match bytes.first()? >> 4 {
            4 => (0, IPV4),
            6 => (0, IPV6),
            _ => return None,
        },
        228 => (0, IPV4),
        229 => (0, IPV6),
        // LINKTYPE_LINUX_SLL: the EtherType is the last of 16 octets.
        113 => (16, of_cooked(bytes.get(14..16)?)?),
        // LINKTYPE_LINUX_SLL2: the first of 20.
        276 if bytes.len() >= 20 => (20, of_cooked(bytes.get(..2)?)?),
        // LINKTYPE_PPP, with or without the octets of HDLC framing before the protocol (RFC 1662).
        9 => {
            let skip = if bytes.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
            (skip + 2, of_ppp(bytes.get(skip..skip + 2)?)?)
        }
        // LINKTYPE_C_HDLC: address, control, EtherType.
        104 => (4, of_cooked(bytes.get(2..4)?)?),
        _ => return None,
    };
    let mut frame = vec![0; HEADER_LEN];
    frame[12..14].copy_from_slice(&ethertype);
    frame.extend_from_slice(bytes.get(skip..)?);
    Some(Cow::Owned(frame))
}

/// Octets that [`as_ethernet`] puts before the packet, less those that it takes away: what the
/// original length grows by.
pub fn length_as_ethernet(record: &Record, frame: &[u8]) -> usize {
    let cut = (record.original_len as usize).saturating_sub(record.bytes.len());
    frame.len() + cut
}

/// `AF_INET` is 2 everywhere; `AF_INET6` is 10, 24, 28 or 30, by system.
const fn of_family(family: u32) -> Option<[u8; 2]> {
    match family {
        2 => Some(IPV4),
        10 | 24 | 28 | 30 => Some(IPV6),
        _ => None,
    }
}

/// An EtherType, which is at least 1536; below are numbers of Linux' own (802.3, 802.2, CAN).
fn of_cooked(octets: &[u8]) -> Option<[u8; 2]> {
    let ethertype: [u8; 2] = octets.try_into().ok()?;
    (u16::from_be_bytes(ethertype) >= 1536).then_some(ethertype)
}

/// RFC 1332 and RFC 5072: the protocol numbers of IP over PPP.
fn of_ppp(octets: &[u8]) -> Option<[u8; 2]> {
    match octets {
        [0x00, 0x21] => Some(IPV4),
        [0x00, 0x57] => Some(IPV6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET4: [u8; 3] = [0x45, 1, 2];
    const PACKET6: [u8; 3] = [0x60, 1, 2];

    fn record(link_type: u32, bytes: &[&[u8]]) -> Record {
        let bytes = bytes.concat();
        Record { timestamp_ns: 0, original_len: 1000, bytes, link_type }
    }

    #[test]
    fn each_kind_of_link_gives_the_frame_of_its_packet() {
        let cooked = |ethertype: [u8; 2]| [&[0; 14], &ethertype[..]].concat();
        let cooked2 = |ethertype: [u8; 2]| [&ethertype, &[0; 18][..]].concat();
        let cases = [
            (0, vec![2, 0, 0, 0], PACKET4, IPV4),
            (0, vec![0, 0, 0, 2], PACKET4, IPV4),
            (0, vec![30, 0, 0, 0], PACKET6, IPV6),
            (108, vec![0, 0, 0, 24], PACKET6, IPV6),
            (101, vec![], PACKET4, IPV4),
            (101, vec![], PACKET6, IPV6),
            (12, vec![], PACKET6, IPV6),
            (228, vec![], PACKET4, IPV4),
            (229, vec![], PACKET6, IPV6),
            (113, cooked(IPV4), PACKET4, IPV4),
            (113, cooked([0x81, 0x00]), PACKET4, [0x81, 0x00]),
            (276, cooked2(IPV6), PACKET6, IPV6),
            (9, vec![0xff, 0x03, 0x00, 0x21], PACKET4, IPV4),
            (9, vec![0x00, 0x57], PACKET6, IPV6),
            (104, vec![0x0f, 0x00, 0x08, 0x00], PACKET4, IPV4),
        ];
        for (link_type, header, packet, ethertype) in cases {
            let record = record(link_type, &[&header, &packet]);
            let frame = as_ethernet(&record).unwrap_or_else(|| panic!("link type {link_type}"));
            assert_eq!(frame[12..14], ethertype, "link type {link_type}");
            assert_eq!(frame[14..], packet, "link type {link_type}");
            assert_eq!(length_as_ethernet(&record, &frame), 1000 + 14 - header.len());
        }
        let ethernet = record(1, &[&[7; 20]]);
        assert_eq!(as_ethernet(&ethernet).unwrap(), ethernet.bytes);
    }

    #[test]
    fn other_links_and_every_prefix_give_a_frame_or_none_but_never_panic() {
        for link_type in 0..400 {
            for octets in [[0; 24], [0xff; 24], [0x45; 24]] {
                for end in 0..octets.len() {
                    let record = record(link_type, &[&octets[..end]]);
                    let _ = as_ethernet(&record);
                }
            }
        }
        for (link_type, header) in
            [(127, &[0; 24][..]), (101, &[0x15]), (0, &[9, 0, 0, 0]), (113, &[0; 16])]
        {
            assert_eq!(as_ethernet(&record(link_type, &[header])), None, "link type {link_type}");
        }
    }
}
