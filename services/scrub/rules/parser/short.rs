//! What tcpdump writes without a comparison: `host`, `net`, `port`, `portrange`, `src`, `dst`.

use std::sync::Arc;

use tidegate_config::Prefix;

use super::super::expression::{Expression, Prefixes, Ranges, Test};
use super::super::field::{AddressField, NumberField, Scope};
use super::super::mistake::Wrong;
use super::super::subject::PORTS;
use super::super::value::{Subject, prefix};
use super::{Parser, either};

/// Which ends are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
    Either,
}

impl End {
    fn of<T: Copy>(self, both: &[T]) -> Vec<T> {
        match (self, both) {
            (Self::Source, &[source, ..]) => vec![source],
            (Self::Destination, &[_, destination, ..]) => vec![destination],
            _ => both.to_vec(),
        }
    }
}

impl Parser<'_, '_, '_> {
    /// Whether behind `tcp` or `udp` a port is asked for as tcpdump does.
    pub(super) fn short_follows(&self) -> bool {
        let word = self.cursor.peek_word();
        matches!(word, Some("port" | "portrange" | "src" | "dst"))
    }

    /// `src port 80`, of the protocol that has these `ports`.
    pub(super) fn short_of(&mut self, ports: &[NumberField; 2]) -> Result<Expression, Wrong> {
        let end = self.end();
        match self.cursor.word("`port` or `portrange`")? {
            ("port" | "portrange", _) => self.ports(Scope::Outer, &end.of(ports)),
            (word, at) => {
                let found = format!("`{word}`");
                Err(Wrong::new(&at, found, "`port` or `portrange`; addresses stand behind `and`"))
            }
        }
    }

    /// What stands behind `word`, one of tcpdump's.
    pub(super) fn short(&mut self, word: &str) -> Result<Expression, Wrong> {
        let (end, word) = match word {
            "src" => (End::Source, None),
            "dst" => (End::Destination, None),
            _ => (End::Either, Some(word)),
        };
        let next = word.or_else(|| self.cursor.peek_word());
        let is_known = matches!(next, Some("host" | "net" | "port" | "portrange"));
        if word.is_none() && is_known {
            self.cursor.take();
        }
        match next {
            Some("port" | "portrange") => self.ports(Scope::Outer, &end.of(&PORTS)),
            Some("net") => self.addresses(end, false),
            Some("host") => self.addresses(end, true),
            // `src 198.18.0.1`.
            _ => self.addresses(end, true),
        }
    }

    /// `53` or `1000-2000` behind `port`.
    pub(super) fn short_ports(
        &mut self,
        scope: Scope,
        fields: &[NumberField],
    ) -> Result<Expression, Wrong> {
        self.ports(scope, fields)
    }

    fn end(&mut self) -> End {
        if self.cursor.skip_word("src") {
            End::Source
        } else if self.cursor.skip_word("dst") {
            End::Destination
        } else {
            End::Either
        }
    }

    fn ports(&mut self, scope: Scope, fields: &[NumberField]) -> Result<Expression, Wrong> {
        let (word, at) =
            self.cursor.word("a port from 0 to 65535, or a range such as 1000-2000")?;
        let subject = Subject { name: "a port".into(), field: None, last: u16::MAX.into() };
        let ranges = Ranges::new([subject.range(word, &at)?]);
        let mask = u16::MAX.into();
        let tests = fields.iter().map(|&field| {
            Expression::Test(Test::Number { scope, field, mask, ranges: ranges.clone() })
        });
        Ok(either(tests.collect(), false))
    }

    fn addresses(&mut self, end: End, is_host: bool) -> Result<Expression, Wrong> {
        let (word, at) = self.cursor.word(match is_host {
            true => "an address, such as 198.18.0.1",
            false => "a network, such as 198.18.0.0/15",
        })?;
        let network = prefix(word, &at)?;
        let one = Prefix::network(network.address(), if network.is_ipv4() { 32 } else { 128 });
        if is_host && network != one {
            let found = format!("the network {word}, where one address is asked for");
            return Err(Wrong::new(&at, found, format!("`net {word}`")));
        }
        let set = Arc::new(Prefixes::new([network]));
        let fields = end.of(AddressField::ALL);
        let tests = fields.into_iter().map(|field| {
            Expression::Test(Test::Address { scope: Scope::Outer, field, set: set.clone() })
        });
        Ok(either(tests.collect(), false))
    }
}
