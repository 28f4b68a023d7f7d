//! What a driver can do for XDP and `AF_XDP`, as the kernel says.
//!
//! The generic netlink family `netdev` tells it (`linux/netdev.h`, since Linux 6.3; the part about
//! sending since 6.8). It tells what the driver has, not what a socket obtained: that depends on
//! the bind.

use core::convert::Infallible;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
    NlaBuffer, NlasIterator,
};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::Error;
use super::line::Line;

/// What the driver of one interface has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// XDP programs run in the driver: pass, drop, transmit.
    pub native: bool,
    /// They may redirect, to `AF_XDP` sockets too.
    pub redirect: bool,
    /// Others may redirect to it.
    pub redirect_target: bool,
    /// XDP programs run on the card.
    pub hardware: bool,
    /// Received packets may have several parts.
    pub multi_buffer: bool,
    /// `AF_XDP` without copies.
    pub zero_copy: bool,
    /// Parts that a sent packet may have in zero-copy; 0 where the kernel does not say.
    pub zero_copy_segments_max: u32,
    /// A program may ask when the card received a packet.
    pub rx_timestamp: bool,
    /// A program may ask for the hash that the card computed.
    pub rx_hash: bool,
    /// A program may ask for the VLAN tag that the card took out.
    pub rx_vlan: bool,
    /// A sender in zero-copy may ask when the card sent a packet.
    pub tx_timestamp: bool,
    /// It may leave checksums to the card.
    pub tx_checksum: bool,
    /// It may say when the card shall send.
    pub tx_launch_time: bool,
}

/// What the driver of interface number `index` has, in the calling thread's namespace. `None` where
/// the kernel does not know such questions.
///
/// # Errors
///
/// `ENODEV` where there is no such interface.
pub fn features(index: u32) -> Result<Option<Features>, Error> {
    let mut line = Line::open(NETLINK_GENERIC, "open a generic netlink socket")?;
    let Some(family) = family(&mut line)? else { return Ok(None) };
    let what = || format!("tell the features of interface number {index}");
    let attributes = vec![attribute(DEV_IFINDEX, &index.to_ne_bytes())];
    let question = Generic { family, command: DEV_GET, attributes };
    let answers = line.exchange(what, NLM_F_ACK, question)?;
    Ok(answers.first().map(read))
}

/// The number that the kernel gave to the family when it started.
fn family(line: &mut Line) -> Result<Option<u16>, Error> {
    let attributes = vec![attribute(CTRL_FAMILY_NAME, b"netdev\0")];
    let question = Generic { family: CTRL, command: CTRL_GET_FAMILY, attributes };
    match line.exchange(|| "name the netlink family netdev".to_owned(), NLM_F_ACK, question) {
        Ok(answers) => Ok(answers.first().and_then(|answer| answer.number(CTRL_FAMILY_ID))),
        Err(refused) if refused.errno() == Some(libc::ENOENT) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// `GENL_ID_CTRL` and what is asked of it, `linux/genetlink.h`.
const CTRL: u16 = 0x10;
const CTRL_GET_FAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;

/// `NETDEV_CMD_DEV_GET` and its attributes `NETDEV_A_DEV_*`, `linux/netdev.h`.
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP: u16 = 3;
const DEV_ZERO_COPY_SEGMENTS: u16 = 4;
const DEV_RX_METADATA: u16 = 5;
const DEV_XSK: u16 = 6;

/// Each bit by its name there; an attribute that an older kernel does not send has none.
fn read(answer: &Generic) -> Features {
    let bits = |kind| answer.number::<u64>(kind).unwrap_or(0);
    let (xdp, rx, xsk) = (bits(DEV_XDP), bits(DEV_RX_METADATA), bits(DEV_XSK));
    let has = |bits: u64, bit: u32| bits >> bit & 1 == 1;
    Features {
        native: has(xdp, 0),
        redirect: has(xdp, 1),
        redirect_target: has(xdp, 2),
        zero_copy: has(xdp, 3),
        hardware: has(xdp, 4),
        multi_buffer: has(xdp, 5),
        zero_copy_segments_max: answer.number(DEV_ZERO_COPY_SEGMENTS).unwrap_or(0),
        rx_timestamp: has(rx, 0),
        rx_hash: has(rx, 1),
        rx_vlan: has(rx, 2),
        tx_timestamp: has(xsk, 0),
        tx_checksum: has(xsk, 1),
        tx_launch_time: has(xsk, 2),
    }
}

/// A message of any generic family: {u8 command, u8 version, u16 reserved}, then attributes.
#[derive(Debug)]
struct Generic {
    family: u16,
    command: u8,
    attributes: Vec<DefaultNla>,
}

/// Both families here are of version 1.
const VERSION: u8 = 1;
const HEADER_OCTETS: usize = 4;

fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

impl Generic {
    /// The number in the attribute of this kind, if it is there and has the size.
    fn number<T: Number>(&self, kind: u16) -> Option<T> {
        use netlink_packet_core::Nla as _;
        let attribute = self.attributes.iter().find(|it| it.kind() == kind)?;
        let mut octets = vec![0; attribute.value_len()];
        attribute.emit_value(&mut octets);
        T::read(&octets)
    }
}

/// The sizes that numbers have here, in the kernel's order of octets.
trait Number: Sized {
    fn read(octets: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($($Size:ty),+) => {
        $(impl Number for $Size {
            fn read(octets: &[u8]) -> Option<Self> {
                octets.try_into().ok().map(Self::from_ne_bytes)
            }
        })+
    };
}

number!(u16, u32, u64);

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER_OCTETS + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(HEADER_OCTETS);
        header.copy_from_slice(&[self.command, VERSION, 0, 0]);
        self.attributes.as_slice().emit(attributes);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = Infallible;

    /// Attributes up to the first that is cut or lies about its length.
    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        let (command, octets) = match payload.split_first_chunk::<HEADER_OCTETS>() {
            Some((head, octets)) => (head[0], octets),
            None => (0, &[][..]),
        };
        let whole = NlasIterator::new(octets).map_while(Result::ok);
        let attributes =
            whole.map(|it: NlaBuffer<&[u8]>| attribute(it.kind(), it.value())).collect();
        Ok(Self { family: header.message_type, command, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(attributes: &[(u16, &[u8])]) -> Generic {
        let attributes = attributes.iter().map(|(kind, value)| attribute(*kind, value)).collect();
        Generic { family: 0x20, command: DEV_GET, attributes }
    }

    #[test]
    fn every_bit_has_its_name() {
        let whole = answer(&[
            (DEV_IFINDEX, &7_u32.to_ne_bytes()),
            (DEV_XDP, &0x7f_u64.to_ne_bytes()),
            (DEV_ZERO_COPY_SEGMENTS, &8_u32.to_ne_bytes()),
            (DEV_RX_METADATA, &0b111_u64.to_ne_bytes()),
            (DEV_XSK, &0b111_u64.to_ne_bytes()),
        ]);
        let all = Features {
            native: true,
            redirect: true,
            redirect_target: true,
            hardware: true,
            multi_buffer: true,
            zero_copy: true,
            zero_copy_segments_max: 8,
            rx_timestamp: true,
            rx_hash: true,
            rx_vlan: true,
            tx_timestamp: true,
            tx_checksum: true,
            tx_launch_time: true,
        };
        assert_eq!(read(&whole), all);
        // The three sets of bits are not mixed up.
        let some = answer(&[
            (DEV_XDP, &0b10_0111_u64.to_ne_bytes()),
            (DEV_RX_METADATA, &0b010_u64.to_ne_bytes()),
            (DEV_XSK, &0b010_u64.to_ne_bytes()),
        ]);
        let told = Features {
            native: true,
            redirect: true,
            redirect_target: true,
            multi_buffer: true,
            rx_hash: true,
            tx_checksum: true,
            ..Features::default()
        };
        assert_eq!(read(&some), told);
    }

    #[test]
    fn what_an_older_kernel_does_not_say_or_says_in_another_size_is_not_there() {
        assert_eq!(read(&answer(&[])), Features::default());
        assert_eq!(read(&answer(&[(DEV_XDP, &[0xff; 4])])), Features::default());
    }

    #[test]
    fn reads_back_what_it_writes_and_cut_octets_give_fewer_attributes() {
        let message = answer(&[(CTRL_FAMILY_NAME, b"netdev\0"), (DEV_XSK, &[1; 8])]);
        let mut octets = vec![0xa5; message.buffer_len()];
        message.serialize(&mut octets);
        assert_eq!(octets[..15], *b"\x01\x01\0\0\x0b\0\x02\0netdev\0");
        let header = NetlinkHeader::default();
        for end in 0..octets.len() {
            let Ok(cut) = Generic::deserialize(&header, &octets[..end]);
            assert!(cut.attributes.len() < 2, "{end} octets");
        }
        let Ok(whole) = Generic::deserialize(&header, &octets);
        assert_eq!(whole.number::<u64>(DEV_XSK), Some(0x0101_0101_0101_0101));
    }

    #[test]
    fn the_loopback_interface_has_no_native_xdp_and_no_such_link_is_an_error() {
        // `None` on a kernel before 6.3.
        if let Some(lo) = features(1).unwrap() {
            assert_eq!((lo.native, lo.zero_copy, lo.tx_checksum), (false, false, false));
        }
        if let Err(refused) = features(u32::MAX >> 1) {
            assert_eq!(refused.errno(), Some(libc::ENODEV));
        }
    }
}
