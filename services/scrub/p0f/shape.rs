//! What p0f sees of a packet.

use super::{OPTIONS_MAX, Quirks};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE_CWR: u8 = 0xc0;

/// IP and TCP headers without options, of IPv4 and of IPv6.
const HEADERS_IPV4: u32 = 40;
const HEADERS_IPV6: u32 = 60;

/// Octets that timestamps take of each segment.
const TIMESTAMPS: u32 = 12;

/// MTU of Ethernet.
const MTU: u32 = 1500;

/// Of a SYN or SYN-ACK, what signatures ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(super) version: u8,
    pub(super) ttl: u8,
    pub(super) ip_options_octets: u8,
    /// 0 where the option is not there.
    pub(super) mss: u16,
    pub(super) window: u16,
    /// 0 where the option is not there.
    pub(super) scale: u8,
    pub(super) quirks: Quirks,
    pub(super) payload: bool,
    /// Octets behind the end of the options.
    pub(super) padding: u8,
    /// Octets of both headers, options included.
    headers: u16,
    timestamp: u32,
    kinds: [u8; OPTIONS_MAX],
    count: usize,
}

impl Shape {
    /// Reads a packet from its IP header on. `None` of what p0f does not look at: all but SYN and
    /// SYN-ACK without FIN and RST, fragments, IPv6 with extension headers, headers that are cut off.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let mut shape = Self {
            version: packet.first()? >> 4,
            ttl: 0,
            ip_options_octets: 0,
            mss: 0,
            window: 0,
            scale: 0,
            quirks: Quirks::default(),
            payload: false,
            padding: 0,
            headers: 0,
            timestamp: 0,
            kinds: [0; OPTIONS_MAX],
            count: 0,
        };
        let (ip_header, total) = match shape.version {
            4 => shape.ipv4(packet.first_chunk()?)?,
            6 => shape.ipv6(packet.first_chunk()?)?,
            _ => return None,
        };
        let tcp = packet.get(ip_header..)?;
        let header: &[u8; 20] = tcp.first_chunk()?;
        let tcp_header = usize::from(header[12] >> 4) * 4;
        let options = tcp.get(20..tcp_header)?;
        shape.payload = total.checked_sub(ip_header + tcp_header)? > 0;
        shape.headers = u16::try_from(ip_header + tcp_header).ok()?;
        shape.tcp(header)?;
        let is_syn = header[13] & ACK == 0;
        if shape.options(options, is_syn).is_none() {
            shape.quirks.set(Quirks::BAD, true);
        }
        Some(shape)
    }

    /// The length of the header and of the packet.
    fn ipv4(&mut self, header: &[u8; 20]) -> Option<(usize, usize)> {
        let octets = usize::from(header[0] & 0xf) * 4;
        let flags = u16::from_be_bytes([header[6], header[7]]);
        // More fragments, or an offset.
        if octets < 20 || header[9] != 6 || flags & 0x3fff != 0 {
            return None;
        }
        let (reserved, dont_fragment) = (flags & 0x8000 != 0, flags & 0x4000 != 0);
        let id_zero = header[4..6] == [0, 0];
        self.ttl = header[8];
        self.ip_options_octets = (octets - 20).to_le_bytes()[0];
        self.quirks.set(Quirks::ECN, header[1] & 3 != 0);
        self.quirks.set(Quirks::RESERVED, reserved);
        self.quirks.set(Quirks::DONT_FRAGMENT, dont_fragment);
        self.quirks.set(Quirks::ID_NOT_ZERO, dont_fragment && !id_zero);
        self.quirks.set(Quirks::ID_ZERO, !dont_fragment && id_zero);
        Some((octets, u16::from_be_bytes([header[2], header[3]]).into()))
    }

    /// The same.
    fn ipv6(&mut self, header: &[u8; 40]) -> Option<(usize, usize)> {
        if header[6] != 6 {
            return None;
        }
        self.ttl = header[7];
        self.quirks.set(Quirks::ECN, header[1] & 0x30 != 0);
        let flow = [header[1] & 0xf, header[2], header[3]];
        self.quirks.set(Quirks::FLOW, flow != [0; 3]);
        Some((40, 40 + usize::from(u16::from_be_bytes([header[4], header[5]]))))
    }

    fn tcp(&mut self, header: &[u8; 20]) -> Option<()> {
        let flags = header[13];
        if flags & (SYN | FIN | RST) != SYN {
            return None;
        }
        self.window = u16::from_be_bytes([header[14], header[15]]);
        let acknowledges = header[8..12] != [0; 4];
        let urges = header[18..20] != [0; 2];
        let (has_ack, has_urg) = (flags & ACK != 0, flags & URG != 0);
        // The bit of accurate ECN stands beside the header's length.
        self.quirks.set(Quirks::ECN, flags & ECE_CWR != 0 || header[12] & 1 != 0);
        self.quirks.set(Quirks::SEQUENCE_ZERO, header[4..8] == [0; 4]);
        self.quirks.set(Quirks::ACK_ZERO, has_ack && !acknowledges);
        self.quirks.set(Quirks::ACK_NOT_ZERO, !has_ack && acknowledges);
        self.quirks.set(Quirks::URGENT, has_urg);
        self.quirks.set(Quirks::URGENT_NOT_ZERO, !has_urg && urges);
        self.quirks.set(Quirks::PUSH, flags & PSH != 0);
        Some(())
    }

    /// `None` where they end in the middle of one, or one has a length that cannot be.
    fn options(&mut self, mut rest: &[u8], is_syn: bool) -> Option<()> {
        while let Some((&kind, behind)) = rest.split_first() {
            if self.count == OPTIONS_MAX {
                return None;
            }
            self.kinds[self.count] = kind;
            self.count += 1;
            rest = behind;
            match kind {
                0 => {
                    self.padding = rest.len().to_le_bytes()[0];
                    // p0f 3.09 does not look at the last one, and prints signatures accordingly.
                    let looked_at = rest.split_last().map_or(&[][..], |(_, before)| before);
                    let is_odd = looked_at.iter().any(|&octet| octet != 0);
                    self.quirks.set(Quirks::PADDING_NOT_ZERO, is_odd);
                    return Some(());
                }
                1 => {}
                2 => {
                    let body = self.fixed::<3>(&mut rest)?;
                    self.mss = u16::from_be_bytes([body[1], body[2]]);
                }
                3 => {
                    self.scale = self.fixed::<2>(&mut rest)?[1];
                    self.quirks.set(Quirks::SCALE_EXCESSIVE, self.scale > 14);
                }
                4 => {
                    self.fixed::<1>(&mut rest)?;
                }
                8 => {
                    let body = self.fixed::<9>(&mut rest)?;
                    self.timestamp = u32::from_be_bytes([body[1], body[2], body[3], body[4]]);
                    self.quirks.set(Quirks::TIMESTAMP_ZERO, self.timestamp == 0);
                    self.quirks.set(Quirks::ECHO_NOT_ZERO, is_syn && body[5..] != [0; 4]);
                }
                5 => rest = variable(rest, 10, 34)?,
                _ => rest = variable(rest, 2, 40)?,
            }
        }
        Some(())
    }

    /// The rest of an option that always has so many octets behind its kind, whatever length it
    /// gives; another one is a quirk.
    fn fixed<'o, const N: usize>(&mut self, rest: &mut &'o [u8]) -> Option<&'o [u8; N]> {
        let (body, behind) = rest.split_first_chunk::<N>()?;
        self.quirks.set(Quirks::BAD, usize::from(body[0]) != N + 1);
        *rest = behind;
        Some(body)
    }

    /// Kinds of the TCP options in their order.
    pub(super) fn layout(&self) -> &[u8] {
        &self.kinds[..self.count]
    }

    /// How many times the MSS the window is, if it is a multiple of it.
    pub(super) fn window_of_mss(&self) -> Option<u32> {
        self.multiple().and_then(|(times, is_mtu)| (!is_mtu).then_some(times))
    }

    /// How many times the MTU the window is, if it is a multiple of that and not of the MSS.
    pub(super) fn window_of_mtu(&self) -> Option<u32> {
        self.multiple().and_then(|(times, is_mtu)| is_mtu.then_some(times))
    }

    /// The window as a multiple of what stacks take for it, tried in the order of p0f; and whether
    /// that was an MTU.
    fn multiple(&self) -> Option<(u32, bool)> {
        if self.window == 0 || self.mss < 100 {
            return None;
        }
        let (window, mss) = (u32::from(self.window), u32::from(self.mss));
        let stamped = self.timestamp != 0;
        let six = self.version == 6;
        let divisors = [
            (true, mss, false),
            (stamped, mss - TIMESTAMPS, false),
            (true, MTU - HEADERS_IPV4, false),
            (true, MTU - HEADERS_IPV4 - TIMESTAMPS, false),
            (six, MTU - HEADERS_IPV6, false),
            (six, MTU - HEADERS_IPV6 - TIMESTAMPS, false),
            (true, mss + HEADERS_IPV4, true),
            (true, mss + u32::from(self.headers), true),
            (six, mss + HEADERS_IPV6, true),
            (true, MTU, true),
        ];
        (divisors.iter())
            .find(|&&(asked, divisor, _)| asked && window.is_multiple_of(divisor))
            .map(|&(_, divisor, is_mtu)| (window / divisor, is_mtu))
    }
}

/// What is behind an option that gives its own length, which counts its kind, too.
fn variable(rest: &[u8], least: u8, most: u8) -> Option<&[u8]> {
    let &octets = rest.first()?;
    if octets < least || octets > most {
        return None;
    }
    rest.get(usize::from(octets) - 1..)
}
