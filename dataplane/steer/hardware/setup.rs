//! Changing a card: each change is written down, made, and read back.

use super::error::{Error, list};
use super::ntuple::{self, RULES_MAX};
use super::record::{Journal, Record, RuleChange, TableChange};
use super::{Mode, Nic, Options, is_unsupported, rss};
use crate::sys::ethtool::rule::Rule;
use crate::sys::ethtool::steering::Location;

/// The changes of one card. What was made when an error ends it is told by the record.
pub(super) struct Changes<'a> {
    nic: &'a dyn Nic,
    journal: &'a mut Journal,
    record: &'a mut Record,
    options: &'a Options,
    /// Of each rule of the record, its selector.
    selectors: Vec<usize>,
    remarks: Vec<Box<str>>,
}

impl<'a> Changes<'a> {
    pub(super) const fn new(
        nic: &'a dyn Nic,
        journal: &'a mut Journal,
        record: &'a mut Record,
        options: &'a Options,
    ) -> Self {
        Self { nic, journal, record, options, selectors: Vec::new(), remarks: Vec::new() }
    }

    /// Selectors of the rules, and what could not be had.
    pub(super) fn told(self) -> (Vec<usize>, Vec<Box<str>>) {
        (self.selectors, self.remarks)
    }

    pub(super) fn make(&mut self) -> Result<(), Error> {
        match self.options.mode {
            Mode::Xdp => Ok(()),
            Mode::Rss => self.isolate(),
            Mode::Ntuple => {
                // Rules first: most drivers that cannot, refuse here, and nothing was changed.
                self.add_rules()?;
                match self.isolate() {
                    // The rules send the packets of the selectors to the right queues all the
                    // same; what others send there too, the XDP program passes to the kernel.
                    Err(error @ (Error::NoTable { .. } | Error::AllTaken { .. })) => {
                        let queues = list(&self.options.taken);
                        let why = match error {
                            Error::AllTaken { .. } => "all are taken".to_owned(),
                            _ => format!("{} has no RSS table", self.record.place.driver),
                        };
                        self.remarks.push(
                            format!("other packets come to queue {queues} as well: {why}").into(),
                        );
                        Ok(())
                    }
                    done => done,
                }
            }
        }
    }

    fn os(&self, what: &'static str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let interface = self.options.interface.clone();
        move |source| Error::Os { interface, what, source }
    }

    fn isolate(&mut self) -> Result<(), Error> {
        let Options { interface, taken, .. } = self.options;
        let driver = self.record.place.driver.clone();
        let no_table = || Error::NoTable {
            interface: interface.clone(),
            driver: driver.clone(),
            taken: taken.clone(),
        };
        let before = match self.nic.table() {
            Err(error) if is_unsupported(&error) => return Err(no_table()),
            table => table.map_err(self.os("read the RSS table"))?,
        };
        if before.is_empty() {
            return Err(no_table());
        }
        let rings = self.nic.rings().map_err(self.os("count the queues"))?;
        let Some(ours) = rss::isolate(&before, taken, rings) else {
            return Err(Error::AllTaken { interface: interface.clone(), rings });
        };
        if ours == before {
            return Ok(());
        }
        let taken = taken.clone();
        self.record.table = Some(TableChange { before, ours: ours.clone(), rings, taken });
        self.journal.write(self.record)?;
        match self.nic.set_table(&ours) {
            // One that can only be read.
            Err(error) if is_unsupported(&error) => {
                self.record.table = None;
                self.journal.write(self.record)?;
                return Err(no_table());
            }
            set => set.map_err(self.os("set the RSS table"))?,
        }
        let shown = self.nic.table().map_err(self.os("read the RSS table"))?;
        if shown == ours {
            return Ok(());
        }
        // It is the driver's form of ours; so it is put back.
        if let Some(change) = &mut self.record.table {
            change.ours = shown;
        }
        self.journal.write(self.record)?;
        let what = "an RSS table".into();
        Err(Error::NotKept { interface: interface.clone(), driver, what })
    }

    fn add_rules(&mut self) -> Result<(), Error> {
        let interface = self.options.interface.clone();
        let driver = self.record.place.driver.clone();
        let no_rules = || Error::NoRules { interface: interface.clone(), driver: driver.clone() };
        let mut wanted: Vec<(usize, Rule)> = Vec::new();
        for (selector, aim) in self.options.aims.iter().enumerate() {
            let rules = ntuple::rules(&aim.selector, aim.queue);
            wanted.extend(rules.into_iter().map(|rule| (selector, rule)));
        }
        // The first of the same packets decides, as in the program.
        let all = wanted.clone();
        let mut index = 0;
        wanted.retain(|(_, rule)| {
            let earlier = &all[..index];
            index += 1;
            !earlier.iter().any(|(_, other)| other.flow == rule.flow)
        });
        let too_many =
            |room| Error::TooManyRules { interface: interface.clone(), count: wanted.len(), room };
        if wanted.len() > RULES_MAX {
            return Err(too_many(RULES_MAX));
        }
        let table = match self.nic.rules() {
            Err(error) if is_unsupported(&error) => return Err(no_rules()),
            table => table.map_err(self.os("read the flow rules"))?,
        };
        self.leave_those_of_others(&table.locations, &mut wanted)?;
        let places: Vec<Location> = if table.chooses {
            vec![Location::Any; wanted.len()]
        } else {
            let free = ntuple::free_locations(table.size, &table.locations, wanted.len());
            free.into_iter().map(Location::At).collect()
        };
        if places.len() < wanted.len() {
            let room = places.len();
            let count = wanted.len();
            return Err(Error::TooManyRules { interface, count, room });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let is_on = self.switch_rules_on()?;
        self.record.occupied = table.locations;
        self.record.rules = (wanted.iter().zip(&places))
            .map(|((_, rule), place)| {
                let location = match place {
                    Location::Any => None,
                    Location::At(location) => Some(*location),
                };
                RuleChange { rule: *rule, location, shown: None }
            })
            .collect();
        self.selectors = wanted.iter().map(|(selector, _)| *selector).collect();
        self.journal.write(self.record)?;
        for (index, ((selector, rule), place)) in wanted.into_iter().zip(places).enumerate() {
            match self.nic.insert(&rule, place) {
                Ok(location) => self.keep(index, &rule, location)?,
                // With the feature off and fixed, the first answer tells whether there are rules
                // all the same; any other answer is about this rule.
                Err(error) if index == 0 && is_unsupported(&error) && !is_on => {
                    return Err(no_rules());
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let count = self.record.rules.len();
                    return Err(Error::TooManyRules { interface, count, room: index });
                }
                Err(source) => {
                    let rule = rule.to_string().into();
                    return Err(Error::RuleRefused { interface, driver, selector, rule, source });
                }
            }
        }
        Ok(())
    }

    /// Takes out of `wanted` what a rule of somebody else does already. One that sends the same
    /// packets elsewhere is in the way.
    fn leave_those_of_others(
        &self,
        locations: &[u32],
        wanted: &mut Vec<(usize, Rule)>,
    ) -> Result<(), Error> {
        for &location in locations {
            // One that cannot be read or says more than ours is none of the same packets.
            let Ok(Some(theirs)) = self.nic.rule(location).map(|shown| shown.rule()) else {
                continue;
            };
            let Some(at) = wanted.iter().position(|(_, rule)| rule.flow == theirs.flow) else {
                continue;
            };
            let (_, ours) = wanted.remove(at);
            if ours.queue != theirs.queue {
                return Err(Error::RuleInTheWay {
                    interface: self.options.interface.clone(),
                    location,
                    rule: theirs.to_string().into(),
                    queue: ours.queue,
                });
            }
        }
        Ok(())
    }

    /// Switches rules on where they are off. `false` where that is no choice: a driver without
    /// rules, or one that has them always and does not say so.
    fn switch_rules_on(&mut self) -> Result<bool, Error> {
        if self.nic.ntuple().map_err(self.os("ask for the feature ntuple"))? {
            return Ok(true);
        }
        self.record.switched_rules_on = true;
        self.journal.write(self.record)?;
        match self.nic.set_ntuple(true) {
            Err(error) if is_unsupported(&error) => {
                self.record.switched_rules_on = false;
                self.journal.write(self.record).map(|()| false)
            }
            switched => switched.map(|()| true).map_err(self.os("switch the feature ntuple on")),
        }
    }

    /// Notes where a rule is, and how it is shown.
    fn keep(&mut self, index: usize, rule: &Rule, location: u32) -> Result<(), Error> {
        let change = &mut self.record.rules[index];
        change.location = Some(location);
        let shown = self.nic.rule(location);
        if let Ok(shown) = &shown {
            change.shown = Some(shown.clone());
        }
        self.journal.write(self.record)?;
        let shown = shown.map_err(self.os("read a flow rule"))?;
        if shown.queue() == Some(rule.queue) {
            return Ok(());
        }
        let driver = self.record.place.driver.clone();
        let what = format!("the flow rule `{rule}`").into();
        Err(Error::NotKept { interface: self.options.interface.clone(), driver, what })
    }
}
