//! Which queue a packet comes to: the RSS indirection table, and flow rules.
//!
//! RSS takes some bits of a packet's hash as an index into a table of queues. A flow rule says the
//! queue of packets that it names, whatever the table says. `EOPNOTSUPP` is the everyday answer of
//! a driver that has neither.

use super::rule::{self, Rule, Shown};
use super::{Error, Ethtool, GET_FEATURES, GET_SET_INFO, GET_STRINGS, NTUPLE};

pub(super) const GET_PERMANENT_ADDRESS: u32 = 0x20;
pub(super) const GET_RINGS: u32 = 0x2d;
pub(super) const GET_RULE_COUNT: u32 = 0x2e;
pub(super) const GET_RULE: u32 = 0x2f;
pub(super) const GET_RULES: u32 = 0x30;
pub(super) const DELETE_RULE: u32 = 0x31;
pub(super) const INSERT_RULE: u32 = 0x32;
pub(super) const GET_TABLE: u32 = 0x38;
pub(super) const SET_TABLE: u32 = 0x39;

/// `RX_CLS_LOC_SPECIAL`: the driver chooses a rule's location where it is asked to.
const SPECIAL: u32 = 0x8000_0000;
/// `RX_CLS_LOC_ANY`: the request to choose.
const ANY: u32 = 0xffff_ffff;

/// Most entries of a table, and most rules of a card, that are believed. The largest known have
/// 2048 and 16384; more is a driver that answers at random, and would take all memory.
const ENTRIES_MAX: u32 = 1 << 20;

/// Octets of the longest hardware address, `MAX_ADDR_LEN`.
const ADDRESS_OCTETS: u32 = 32;

/// The rules of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTable {
    /// Rules that the card has room for, 0 where the driver does not say.
    pub size: u32,
    /// Whether the driver chooses locations itself.
    pub chooses: bool,
    /// Locations in use, in the driver's order.
    pub locations: Vec<u32>,
}

/// Where a rule goes. A packet that several rules name obeys the one at the lowest location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Wherever the driver likes; only where it [chooses](RuleTable::chooses).
    Any,
    /// There. What is there already is replaced.
    At(u32),
}

impl Ethtool {
    /// The address that the maker gave the interface, if it has one.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is no such interface.
    pub fn permanent_address(&self, interface: &str) -> Result<Option<[u8; 6]>, Error> {
        let mut words = [0; 2 + ADDRESS_OCTETS as usize / 4];
        words[..2].copy_from_slice(&[GET_PERMANENT_ADDRESS, ADDRESS_OCTETS]);
        self.call(interface, "its permanent address", &mut words)?;
        let (low, high) = (words[2].to_ne_bytes(), words[3].to_ne_bytes());
        let address = [low[0], low[1], low[2], low[3], high[0], high[1]];
        Ok(Some(address).filter(|address| words[1] == 6 && *address != [0; 6]))
    }

    /// Queues among which packets may be spread: those that a table or a rule may name.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the driver spreads nothing.
    pub fn rings(&self, interface: &str) -> Result<u32, Error> {
        let mut words = [0; rule::WORDS];
        words[0] = GET_RINGS;
        self.call(interface, "its receive rings", &mut words)?;
        Ok(words[2])
    }

    /// The indirection table: a queue for each hash.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the driver has none.
    pub fn table(&self, interface: &str) -> Result<Vec<u32>, Error> {
        const WHAT: &str = "its RSS table";
        let mut size = [GET_TABLE, 0];
        self.call(interface, WHAT, &mut size)?;
        let entries = self.bounded(interface, WHAT, size[1])?;
        let mut words = vec![0; 2 + entries];
        words[..2].copy_from_slice(&[GET_TABLE, size[1]]);
        self.call(interface, WHAT, &mut words)?;
        Ok(words.split_off(2))
    }

    /// Sets the indirection table. From then on the kernel takes it as set by hand: the driver
    /// leaves it alone, and fewer queues than it names are refused (`netif_is_rxfh_configured`).
    ///
    /// # Errors
    ///
    /// `EINVAL` for another number of entries than the driver's, or a queue that is not there;
    /// what the driver says.
    pub fn set_table(&self, interface: &str, table: &[u32]) -> Result<(), Error> {
        self.call(interface, "its RSS table", &mut replacement(table))
    }

    /// Sets the indirection table to the kernel's default, entry `i` of `n` queues to `i % n`, and
    /// takes back that it was set by hand (`ethtool_set_rxfh_indir` of `net/ethtool/ioctl.c`).
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the driver has none; what the driver says.
    pub fn reset_table(&self, interface: &str) -> Result<(), Error> {
        // No entries stand for the default.
        self.call(interface, "its RSS table", &mut replacement(&[]))
    }

    /// The rules that are there, and the room for more.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the driver has none.
    pub fn rules(&self, interface: &str) -> Result<RuleTable, Error> {
        const WHAT: &str = "its flow rules";
        let mut head = [0; rule::WORDS];
        head[0] = GET_RULE_COUNT;
        self.call(interface, WHAT, &mut head)?;
        // With the flag, the size comes with the count; without, only with the locations.
        let (chooses, told) = (head[2] & SPECIAL != 0, head[2] & !SPECIAL);
        let count = head[rule::COUNT];
        let entries = self.bounded(interface, WHAT, count)?;
        let mut words = vec![0; rule::WORDS.max(rule::LOCATIONS + entries)];
        (words[0], words[rule::COUNT]) = (GET_RULES, count);
        self.call(interface, WHAT, &mut words)?;
        let size = if told > 0 { told } else { words[2] & !SPECIAL };
        let found = (words[rule::COUNT] as usize).min(entries);
        let locations = words[rule::LOCATIONS..][..found].to_vec();
        Ok(RuleTable { size, chooses, locations })
    }

    /// The rule at a location.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EINVAL`, as the driver likes, where there is none.
    pub fn rule(&self, interface: &str, location: u32) -> Result<Shown, Error> {
        let mut words = [0; rule::WORDS];
        (words[0], words[rule::LOCATION]) = (GET_RULE, location);
        self.call(interface, "a flow rule", &mut words)?;
        Ok(Shown::of(&words))
    }

    /// Adds a rule and returns its location.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the driver has no rules, or none of this kind; `EINVAL` where it cannot
    /// compare these bits; `ENOSPC` where its table is full; what else the driver says.
    pub fn insert_rule(
        &self,
        interface: &str,
        rule: &Rule,
        location: Location,
    ) -> Result<u32, Error> {
        let mut words = insertion(rule, location);
        self.call(interface, "a flow rule", &mut words)?;
        Ok(words[rule::LOCATION])
    }

    /// Removes the rule at a location.
    ///
    /// # Errors
    ///
    /// What the driver says.
    pub fn delete_rule(&self, interface: &str, location: u32) -> Result<(), Error> {
        self.call(interface, "a flow rule", &mut deletion(location))
    }

    /// Whether flow rules (the feature `ntuple`) can be switched on and off; `false` where the
    /// feature is fixed, on or off.
    ///
    /// # Errors
    ///
    /// Where the kernel does not tell its features.
    pub fn can_switch_rules(&self, interface: &str) -> Result<bool, Error> {
        self.can_switch(interface, NTUPLE)
    }

    /// Whether the feature that the kernel calls `name` can be switched on and off.
    fn can_switch(&self, interface: &str, name: &str) -> Result<bool, Error> {
        const WHAT: &str = "its features";
        // The numbers of features are the kernel's own; only their names are the same everywhere.
        const SET: u32 = 4; // ETH_SS_FEATURES.
        const NAME_WORDS: usize = 8;
        let mut info = [GET_SET_INFO, 0, 1 << SET, 0, 0];
        self.call(interface, WHAT, &mut info)?;
        let count = self.bounded(interface, WHAT, info[4])?;
        let mut names = vec![0; 3 + NAME_WORDS * count];
        names[..3].copy_from_slice(&[GET_STRINGS, SET, info[4]]);
        self.call(interface, WHAT, &mut names)?;
        let is_it = |found: &[u32; NAME_WORDS]| {
            let octets: Vec<u8> = found.iter().flat_map(|word| word.to_ne_bytes()).collect();
            octets.split(|octet| *octet == 0).next() == Some(name.as_bytes())
        };
        let (names, _) = names[3..].as_chunks();
        let Some(bit) = names.iter().position(is_it) else { return Ok(false) };
        let blocks = count.div_ceil(32);
        let mut features = vec![0; 2 + 4 * blocks];
        features[..2].copy_from_slice(&[GET_FEATURES, info[4].div_ceil(32)]);
        self.call(interface, WHAT, &mut features)?;
        // Of each 32 features: those that can be switched, are wanted, are on, are fixed for ever.
        Ok(features[2 + 4 * (bit / 32)] >> (bit % 32) & 1 == 1)
    }

    /// A count that the driver told, if there can be so many.
    fn bounded(&self, interface: &str, what: &'static str, count: u32) -> Result<usize, Error> {
        if count <= ENTRIES_MAX { Ok(count as usize) } else { Err(Error::absurd(interface, what)) }
    }
}

fn replacement(table: &[u32]) -> Vec<u32> {
    let entries = u32::try_from(table.len()).unwrap_or(u32::MAX);
    let mut words = vec![SET_TABLE, entries];
    words.extend_from_slice(table);
    words
}

fn insertion(rule: &Rule, location: Location) -> [u32; rule::WORDS] {
    let mut words = [0; rule::WORDS];
    words[0] = INSERT_RULE;
    let location = match location {
        Location::Any => ANY,
        Location::At(location) => location,
    };
    rule.encode(location, &mut words);
    words
}

fn deletion(location: u32) -> [u32; rule::WORDS] {
    let mut words = [0; rule::WORDS];
    (words[0], words[rule::LOCATION]) = (DELETE_RULE, location);
    words
}

#[cfg(test)]
mod tests;
