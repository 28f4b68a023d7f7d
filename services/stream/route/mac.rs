//! Link addresses: as they are written, and those that groups have in themselves.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use tidegate_config::Refusal;

/// A link address, written as `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl std::str::FromStr for Mac {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused =
            || Refusal::new(format!("link address {text:?}"), "the form \"02:00:00:00:00:01\"");
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(octets)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Mac {
    /// The link address of a group; `None` for what is none.
    pub fn of_group(address: IpAddr) -> Option<Self> {
        match address {
            // RFC 1112, section 6.4.
            IpAddr::V4(group) if group.is_multicast() => {
                let [_, a, b, c] = group.octets();
                Some(Self([0x01, 0x00, 0x5e, a & 0x7f, b, c]))
            }
            // RFC 2464, section 7.
            IpAddr::V6(group) if group.is_multicast() => {
                let [.., a, b, c, d] = group.octets();
                Some(Self([0x33, 0x33, a, b, c, d]))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_link_address_in_itself() {
        let of = |address: &str| Mac::of_group(address.parse().unwrap()).map(|it| it.to_string());
        assert_eq!(of("239.129.2.1").as_deref(), Some("01:00:5e:01:02:01"));
        assert_eq!(of("ff3e::8000:abcd").as_deref(), Some("33:33:80:00:ab:cd"));
        assert_eq!((of("198.18.0.2"), of("2001:db8::2")), (None, None));
    }

    #[test]
    fn link_addresses_are_read_strictly() {
        assert_eq!("02:00:00:00:00:0A".parse(), Ok(Mac([2, 0, 0, 0, 0, 10])));
        for text in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "0g:00:00:00:00:00"]
        {
            assert_eq!(
                text.parse::<Mac>().unwrap_err().to_string(),
                format!("link address {text:?}; allowed: the form \"02:00:00:00:00:01\"")
            );
        }
    }
}
