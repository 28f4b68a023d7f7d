//! Packets made by hand, one layer a function. Wrong ones too.

/// Destination of every packet here.
pub(super) const VICTIM: [u8; 4] = [198, 18, 0, 80];
/// The same over IPv6: 2001:db8::50.
pub(super) const VICTIM6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50];
/// Source of every packet here.
pub(super) const CLIENT: [u8; 4] = [198, 19, 7, 7];
/// The same over IPv6: 2001:db8:7::7.
pub(super) const CLIENT6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;

/// IEEE 802.3 without a tag.
pub(super) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    packet.extend(ethertype.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A VLAN tag of type `tpid` put into an Ethernet packet, outermost.
pub(super) fn tagged(tpid: u16, packet: &[u8]) -> Vec<u8> {
    let mut tagged = packet[..12].to_vec();
    tagged.extend(tpid.to_be_bytes());
    tagged.extend([0, 42]);
    tagged.extend(&packet[12..]);
    tagged
}

fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).unwrap().to_be_bytes()
}

/// An IPv4 header in front of `payload`, without checksum.
pub(super) struct Ipv4 {
    pub(super) protocol: u8,
    /// Flags and offset, as in the header.
    pub(super) fragment: u16,
    pub(super) options: Vec<u8>,
}

impl Ipv4 {
    pub(super) fn new(protocol: u8) -> Self {
        Self { protocol, fragment: 0, options: Vec::new() }
    }

    pub(super) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut ip = vec![0x40 | (header_len / 4).to_le_bytes()[0], 0];
        ip.extend(length(header_len + payload.len()));
        ip.extend([0, 1]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([64, self.protocol, 0, 0]);
        ip.extend(CLIENT);
        ip.extend(VICTIM);
        ip.extend(&self.options);
        ip.extend(payload);
        ethernet(0x0800, &ip)
    }
}

/// A whole IPv6 packet; `chain` is extension headers and payload.
pub(super) fn ipv6(next: u8, chain: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend(length(chain.len()));
    ip.extend([next, 64]);
    ip.extend(CLIENT6);
    ip.extend(VICTIM6);
    ip.extend(chain);
    ethernet(0x86dd, &ip)
}

/// An extension header of `units` times eight octets in front of `rest`.
pub(super) fn extension(next: u8, units: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0; usize::from(units) * 8];
    header[0] = next;
    header[1] = units - 1;
    header.extend(rest);
    header
}

/// A fragment header; `offset` in units of eight octets.
pub(super) fn fragment(next: u8, offset: u16, more: bool, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend((offset << 3 | u16::from(more)).to_be_bytes());
    header.extend([0, 0, 0, 1]);
    header.extend(rest);
    header
}

/// The start of a TCP, UDP or SCTP header, and something behind it.
pub(super) fn ports(destination: u16) -> Vec<u8> {
    let mut header = 40000u16.to_be_bytes().to_vec();
    header.extend(destination.to_be_bytes());
    header.extend([0; 16]);
    header
}

/// The plain case.
pub(super) fn udp(destination: u16) -> Vec<u8> {
    Ipv4::new(UDP).packet(&ports(destination))
}

/// The plain case over IPv6.
pub(super) fn udp6(destination: u16) -> Vec<u8> {
    ipv6(UDP, &ports(destination))
}
