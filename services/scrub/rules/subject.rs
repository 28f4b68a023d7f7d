//! What a word asks of a packet.

use std::collections::BTreeMap;

use tidegate_config::nearest;

use super::field::{AddressField, Layer, NumberField, Scope, Standing};
use super::words;

/// What a word at the beginning of a test means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Number(Scope, NumberField),
    /// Either of two fields: `port`, `tcp.port`, `udp.port`.
    EitherNumber(Scope, [NumberField; 2]),
    Address(Scope, AddressField),
    /// `ip.addr`.
    EitherAddress(Scope),
    Layer(Scope, Layer),
    /// `payload`.
    Payload(Scope),
    /// `dns.qry.name`.
    QueryName(Scope),
    Standing(Standing),
    Bytecode,
    Fingerprint,
    /// `true`, or `false`.
    Always(bool),
    /// `host`, `net`, `portrange`, `src`, `dst`, as tcpdump has them.
    Short,
}

/// The two ends of `port`.
pub(super) const PORTS: [NumberField; 2] = [NumberField::SourcePort, NumberField::DestinationPort];

/// The two ends of `tcp.port`.
pub(super) const TCP_PORTS: [NumberField; 2] =
    [NumberField::TcpSourcePort, NumberField::TcpDestinationPort];

/// The two ends of `udp.port`.
pub(super) const UDP_PORTS: [NumberField; 2] =
    [NumberField::UdpSourcePort, NumberField::UdpDestinationPort];

/// The words of tcpdump that stand before a value.
const SHORT: [&str; 5] = ["host", "net", "portrange", "src", "dst"];

/// What may stand before a field of the packet within.
const INNER: &str = "inner.";

/// All words that begin a test.
#[derive(Debug)]
pub(super) struct Vocabulary(BTreeMap<&'static str, Asked>);

impl Vocabulary {
    pub(super) fn new() -> Self {
        use Scope::Outer;
        let numbers = NumberField::ALL.iter().map(|&it| (it.name(), Asked::Number(Outer, it)));
        let addresses = AddressField::ALL.iter().map(|&it| (it.name(), Asked::Address(Outer, it)));
        let layers = Layer::ALL.iter().map(|&it| (it.name(), Asked::Layer(Outer, it)));
        let short = SHORT.into_iter().map(|word| (word, Asked::Short));
        let others = [
            ("port", Asked::EitherNumber(Outer, PORTS)),
            ("tcp.port", Asked::EitherNumber(Outer, TCP_PORTS)),
            ("udp.port", Asked::EitherNumber(Outer, UDP_PORTS)),
            ("ip.addr", Asked::EitherAddress(Outer)),
            ("payload", Asked::Payload(Outer)),
            ("dns.qry.name", Asked::QueryName(Outer)),
            ("known", Asked::Standing(Standing::Known)),
            ("verified", Asked::Standing(Standing::Verified)),
            ("surging", Asked::Standing(Standing::Surging)),
            ("cbpf", Asked::Bytecode),
            ("p0f", Asked::Fingerprint),
            ("true", Asked::Always(true)),
            ("false", Asked::Always(false)),
        ];
        Self(numbers.chain(addresses).chain(layers).chain(short).chain(others).collect())
    }

    /// What `word` means.
    pub(super) fn find(&self, word: &str) -> Option<Asked> {
        if let Some(&asked) = self.0.get(word) {
            return Some(asked);
        }
        let inner = Scope::Inner;
        Some(match *self.0.get(word.strip_prefix(INNER)?)? {
            Asked::Number(_, field) => Asked::Number(inner, field),
            Asked::EitherNumber(_, fields) => Asked::EitherNumber(inner, fields),
            Asked::Address(_, field) => Asked::Address(inner, field),
            Asked::EitherAddress(_) => Asked::EitherAddress(inner),
            Asked::Layer(_, Layer::Carried) => return None,
            Asked::Layer(_, layer) => Asked::Layer(inner, layer),
            Asked::Payload(_) => Asked::Payload(inner),
            Asked::QueryName(_) => Asked::QueryName(inner),
            Asked::Standing(_)
            | Asked::Bytecode
            | Asked::Fingerprint
            | Asked::Always(_)
            | Asked::Short => return None,
        })
    }

    /// What somebody may have meant who wrote `word`.
    pub(super) fn near(&self, word: &str) -> Option<String> {
        let (scope, bare) = match word.strip_prefix(INNER) {
            Some(bare) => (INNER, bare),
            None => ("", word),
        };
        let elsewhere = words::ELSEWHERE.iter().find(|(theirs, _)| *theirs == bare);
        let known: Vec<&str> = self.0.keys().copied().collect();
        let same = || known.iter().find(|known| known.eq_ignore_ascii_case(bare)).copied();
        let near = elsewhere.map(|&(_, ours)| ours).or_else(same).or_else(|| nearest(bare, &known));
        near.map(|near| format!("{scope}{near}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_and_no_word_means_two_things() {
        let words = Vocabulary::new();
        let fields = NumberField::ALL.len() + AddressField::ALL.len() + Layer::ALL.len();
        assert_eq!(words.0.len(), fields + SHORT.len() + 13);
        for &field in NumberField::ALL {
            assert_eq!(words.find(field.name()), Some(Asked::Number(Scope::Outer, field)));
            let inner = format!("inner.{field}");
            assert_eq!(words.find(&inner), Some(Asked::Number(Scope::Inner, field)));
        }
        for word in ["inner.inner", "inner.known", "inner.cbpf", "inner.host", "inner.", "", "TCP"]
        {
            assert_eq!(words.find(word), None, "{word}");
        }
    }

    #[test]
    fn a_slip_and_a_name_from_elsewhere_lead_to_the_field() {
        let words = Vocabulary::new();
        for (word, meant) in [
            ("tcp.dsport", "tcp.dstport"),
            ("ipv6.src", "ip.src"),
            ("inner.ipv6.src", "inner.ip.src"),
            ("inner.tcp.falgs", "inner.tcp.flags"),
            ("TCP", "tcp"),
        ] {
            assert_eq!(words.near(word).as_deref(), Some(meant), "{word}");
        }
        assert_eq!(words.near("colour.of.the.sky"), None);
        for (theirs, ours) in words::ELSEWHERE {
            assert_eq!(words.find(theirs), None, "{theirs} is ours too");
            assert!(words.find(ours).is_some(), "{ours}");
        }
    }
}
