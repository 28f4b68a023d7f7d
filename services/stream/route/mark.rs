//! What networks are told about a stream's packets, as an operator writes it.
//!
//! Each is checked while it is read, so that a mistake is shown with its line and key.

use serde::Deserialize;
use tidegate_config::Refusal;
use tidegate_dataplane::wire::ethernet::Vlan;

use crate::stream::header::{DSCP_DEFAULT, DSCP_MAX, TTL_DEFAULT};

/// The VLAN of a stream: `100`, or `{ id = 100, priority = 5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Tag(pub Vlan);

/// Identifiers that a VLAN may have: IEEE 802.1Q, table 9-2, keeps 0 for "none" and 4095.
const ID_MAX: i64 = 4094;

/// Priorities: three bits.
const PRIORITY_MAX: i64 = 7;

#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a VLAN from 1 to 4094, as 100, or with its priority, as { id = 100, priority = 5 }"
)]
enum Written {
    Id(i64),
    Tag {
        id: i64,
        #[serde(default)]
        priority: i64,
    },
}

impl TryFrom<Written> for Tag {
    type Error = Refusal;

    fn try_from(written: Written) -> Result<Self, Refusal> {
        let (id, priority) = match written {
            Written::Id(id) => (id, 0),
            Written::Tag { id, priority } => (id, priority),
        };
        if !(1..=ID_MAX).contains(&id) {
            return Err(Refusal::new(
                format!("VLAN {id}"),
                "1 to 4094; for packets without a tag leave the key out",
            ));
        }
        let small = |number: i64| u8::try_from(number).ok();
        let tag = |priority| Vlan::new(u16::try_from(id).ok()?, priority).map(Self);
        small(priority).and_then(tag).ok_or_else(|| {
            Refusal::new(format!("priority {priority}"), format!("0 to {PRIORITY_MAX}"))
        })
    }
}

/// A differentiated services code point: a number, or a name as `"AF41"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Point")]
pub struct Dscp(pub u8);

impl Default for Dscp {
    fn default() -> Self {
        Self(DSCP_DEFAULT)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number from 0 to 63, or a name, as \"AF41\", \"EF\" or \"CS5\"")]
enum Point {
    Number(i64),
    Name(String),
}

impl TryFrom<Point> for Dscp {
    type Error = Refusal;

    fn try_from(point: Point) -> Result<Self, Refusal> {
        let (found, value) = match point {
            Point::Number(number) => {
                let value = u8::try_from(number).ok().filter(|&value| value <= DSCP_MAX);
                (number.to_string(), value)
            }
            Point::Name(name) => {
                let value = named(&name);
                (format!("{name:?}"), value)
            }
        };
        value.map(Self).ok_or_else(|| {
            let allowed = "0 to 63, \"CS0\" to \"CS7\", \"AF11\" to \"AF43\", or \"EF\"";
            Refusal::new(format!("code point {found}"), allowed)
        })
    }
}

/// RFC 2474 (CS), RFC 2597 (AF) and RFC 3246 (EF).
fn named(name: &str) -> Option<u8> {
    let digit = |octet: u8, max: u8| octet.checked_sub(b'0').filter(|value| *value <= max);
    match *name.as_bytes() {
        [b'E', b'F'] => Some(46),
        [b'C', b'S', class] => Some(8 * digit(class, 7)?),
        [b'A', b'F', class, drop] => {
            let (class, drop) = (digit(class, 4)?, digit(drop, 3)?);
            (class > 0 && drop > 0).then_some(8 * class + 2 * drop)
        }
        _ => None,
    }
}

/// Hops that packets may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Ttl(pub u8);

impl Default for Ttl {
    fn default() -> Self {
        Self(TTL_DEFAULT)
    }
}

impl TryFrom<i64> for Ttl {
    type Error = Refusal;

    fn try_from(hops: i64) -> Result<Self, Refusal> {
        let value = u8::try_from(hops).ok().filter(|&value| value > 0);
        value.map(Self).ok_or_else(|| {
            Refusal::new(format!("{hops} hops"), "1, which no router passes on, to 255")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Marks {
        vlan: Option<Tag>,
        #[serde(default)]
        dscp: Dscp,
        #[serde(default)]
        ttl: Ttl,
    }

    fn read(text: &str) -> Result<Marks, String> {
        let options = tidegate_config::Options::from_text(text).unwrap();
        options.parse().map_err(|error| {
            let mistake = &error.mistakes()[0];
            format!("{}: {}; {}", mistake.key, mistake.found, mistake.allowed)
        })
    }

    #[test]
    fn a_vlan_is_a_number_or_has_a_priority_too() {
        let tag = |text: &str| read(text).unwrap().vlan.map(|Tag(it)| (it.id(), it.priority()));
        assert_eq!(tag(""), None);
        assert_eq!(tag("vlan = 100"), Some((100, 0)));
        assert_eq!(tag("vlan = 4094"), Some((4094, 0)));
        assert_eq!(tag("vlan = { id = 100, priority = 5 }"), Some((100, 5)));
        assert_eq!(tag("vlan = { id = 1 }"), Some((1, 0)));
    }

    #[test]
    fn code_points_have_numbers_and_names() {
        let point = |text: &str| read(&format!("dscp = {text}")).unwrap().dscp.0;
        assert_eq!((point("46"), point("\"EF\"")), (46, 46));
        assert_eq!((point("\"AF41\""), point("\"AF11\""), point("\"AF43\"")), (34, 10, 38));
        assert_eq!((point("\"CS0\""), point("\"CS7\"")), (0, 56));
        assert_eq!((read("").unwrap().dscp.0, read("").unwrap().ttl.0), (34, 64));
    }

    #[test]
    fn mistakes_are_shown_with_what_is_allowed() {
        let vlan = "1 to 4094; for packets without a tag leave the key out";
        let form = "a VLAN from 1 to 4094, as 100, or with its priority, as { id = 100, priority = \
                    5 }";
        let point = "0 to 63, \"CS0\" to \"CS7\", \"AF11\" to \"AF43\", or \"EF\"";
        for (text, error) in [
            ("vlan = 0", format!("options.vlan: VLAN 0; {vlan}")),
            ("vlan = 4095", format!("options.vlan: VLAN 4095; {vlan}")),
            ("vlan = { id = 4096 }", format!("options.vlan: VLAN 4096; {vlan}")),
            ("vlan = { id = 1, priority = 8 }", "options.vlan: priority 8; 0 to 7".into()),
            ("vlan = \"eth1.100\"", format!("options.vlan: the string \"eth1.100\"; {form}")),
            ("dscp = 64", format!("options.dscp: code point 64; {point}")),
            ("dscp = \"AF44\"", format!("options.dscp: code point \"AF44\"; {point}")),
            ("dscp = \"AF01\"", format!("options.dscp: code point \"AF01\"; {point}")),
            ("ttl = 0", "options.ttl: 0 hops; 1, which no router passes on, to 255".into()),
            ("ttl = 256", "options.ttl: 256 hops; 1, which no router passes on, to 255".into()),
        ] {
            assert_eq!(read(text).unwrap_err(), error);
        }
    }
}
