//! Which path a packet came by: told by its interface, destination and source, never guessed.

use std::net::IpAddr;

use tidegate_runtime::port::PortFacts;

use super::PATHS;

/// Ports of one shard that are told apart: a bit for each.
const PORTS_MAX: usize = 64;

/// How one path is told from the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tell {
    /// The interface that it comes in by; `None`: any.
    pub interface: Option<Box<str>>,
    /// UDP port that it is sent to.
    pub port: u16,
    /// Address that it is sent to; `None`: any.
    pub destination: Option<IpAddr>,
    /// Where it comes from; empty: anywhere.
    pub sources: Vec<IpAddr>,
    /// The VLAN that it is in; `None`: any, or none. It tells no path from another: a card may have
    /// taken the tag off.
    pub vlan: Option<u16>,
}

impl Tell {
    /// Whether a packet could be of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        fn may_be<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        let sources = self.sources.is_empty()
            || other.sources.is_empty()
            || self.sources.iter().any(|source| other.sources.contains(source));
        self.port == other.port
            && sources
            && may_be(self.interface.as_ref(), other.interface.as_ref())
            && may_be(self.destination.as_ref(), other.destination.as_ref())
    }

    /// In words, as an operator knows it.
    pub fn words(&self) -> String {
        let interface =
            self.interface.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
        match self.destination {
            Some(IpAddr::V6(address)) => format!("{interface}[{address}]:{}", self.port),
            Some(IpAddr::V4(address)) => format!("{interface}{address}:{}", self.port),
            None => format!("{interface}port {}", self.port),
        }
    }
}

#[derive(Clone, Debug)]
struct Path {
    /// A bit for each port of the shard that it comes in by.
    ports: u64,
    tell: Tell,
}

/// The paths of a stream on one shard.
///
/// Holding one proves that no packet is of two of them.
#[derive(Clone, Debug)]
pub struct Paths(Vec<Path>);

/// What paths cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untold {
    /// More than [`PATHS`], or none.
    Count(usize),
    /// A packet could have come by either.
    Alike,
    /// The shard has no queue of the interface.
    Interface {
        /// Its name.
        asked: Box<str>,
        /// The shard's interfaces.
        found: Box<[Box<str>]>,
    },
}

impl std::fmt::Display for Untold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(found) => write!(f, "a stream with {found} paths; received are 1 or 2"),
            Self::Alike => f.write_str(
                "two paths that no packet can be told by; give them different interfaces, \
                 destinations, sources or ports",
            ),
            Self::Interface { asked, found } => write!(
                f,
                "a path comes in by {asked:?}, of which its cores have no queue; have the service \
                 work on it (interface = [\"…\", {asked:?}]), or name one of those that they \
                 have: {found:?}"
            ),
        }
    }
}

impl std::error::Error for Untold {}

impl Paths {
    /// Checks that the paths can be told.
    ///
    /// # Errors
    ///
    /// [`Untold`], where not.
    pub fn check(tells: &[Tell]) -> Result<(), Untold> {
        match tells {
            [_] => Ok(()),
            [one, other] if !one.overlaps(other) => Ok(()),
            [_, _] => Err(Untold::Alike),
            others => Err(Untold::Count(others.len())),
        }
    }

    /// The paths on a shard with these ports.
    ///
    /// # Errors
    ///
    /// [`Untold`], where they cannot be told or a port is missing.
    pub fn on(tells: Vec<Tell>, ports: &[PortFacts]) -> Result<Self, Untold> {
        Self::check(&tells)?;
        let path = |tell: Tell| {
            let of = |port: &PortFacts| {
                tell.interface.as_ref().is_none_or(|asked| *port.interface == **asked)
            };
            let numbers = (0..PORTS_MAX).zip(ports).filter(|(_, port)| of(port));
            let ports_of = numbers.fold(0, |bits, (number, _)| bits | 1 << number);
            match (ports_of, &tell.interface) {
                (0, Some(asked)) => Err(Untold::Interface {
                    asked: asked.clone(),
                    found: ports.iter().map(|port| port.interface.clone()).collect(),
                }),
                _ => Ok(Path { ports: ports_of, tell }),
            }
        };
        Ok(Self(tells.into_iter().map(path).collect::<Result<_, _>>()?))
    }

    /// How many there are, at most [`PATHS`].
    pub fn count(&self) -> usize {
        debug_assert!(self.0.len() <= PATHS, "checked when they were made");
        self.0.len()
    }

    /// What each is called.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|path| path.tell.words())
    }

    /// The path of a packet that came in by this port of the shard, perhaps with a tag. `None` where it came by none.
    #[inline]
    pub fn of(
        &self,
        shard_port: u16,
        udp_port: u16,
        destination: IpAddr,
        source: IpAddr,
        tag: Option<u16>,
    ) -> Option<usize> {
        self.0.iter().position(|Path { ports, tell }| {
            tell.port == udp_port
                && tell.vlan.zip(tag).is_none_or(|(asked, found)| asked == found)
                && ports & 1 << shard_port != 0
                && tell.destination.is_none_or(|asked| asked == destination)
                && (tell.sources.is_empty() || tell.sources.contains(&source))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(interface: &str, port: u16, destination: &str, source: &str) -> Tell {
        Tell {
            interface: (!interface.is_empty()).then(|| interface.into()),
            port,
            destination: destination.parse().ok(),
            sources: source.parse().into_iter().collect(),
            vlan: None,
        }
    }

    fn ports() -> Vec<PortFacts> {
        let port = |name: &str| PortFacts { interface: name.into(), ..PortFacts::default() };
        vec![port("a"), port("b"), port("a")]
    }

    #[test]
    fn a_path_is_told_by_any_of_interface_port_destination_and_source() {
        let two = "198.18.0.2";
        for (one, other, by_one, by_other) in [
            (tell("a", 1, "", ""), tell("b", 1, "", ""), (2, 1, two, two), (1, 1, two, two)),
            (tell("", 1, "", ""), tell("", 3, "", ""), (0, 1, two, two), (0, 3, two, two)),
            (
                tell("", 1, "239.1.1.1", ""),
                tell("", 1, "239.1.1.2", ""),
                (1, 1, "239.1.1.1", two),
                (0, 1, "239.1.1.2", two),
            ),
            (
                tell("", 1, two, "198.18.0.7"),
                tell("", 1, two, "198.18.0.8"),
                (1, 1, two, "198.18.0.7"),
                (1, 1, two, "198.18.0.8"),
            ),
        ] {
            let paths = Paths::on(vec![one, other], &ports()).unwrap();
            let of = |(shard_port, udp_port, to, from): (u16, u16, &str, &str)| {
                paths.of(shard_port, udp_port, to.parse().unwrap(), from.parse().unwrap(), None)
            };
            assert_eq!((of(by_one), of(by_other)), (Some(0), Some(1)), "{paths:?}");
            let (to, from) = (by_one.2, by_one.3);
            assert_eq!(of((0, 9, to, from)), None, "{paths:?}");
        }
    }

    #[test]
    fn what_comes_in_by_another_interface_is_of_no_path() {
        let paths = Paths::on(vec![tell("b", 1, "198.18.0.2", "")], &ports()).unwrap();
        let address = "198.18.0.2".parse().unwrap();
        assert_eq!(paths.of(1, 1, address, address, None), Some(0));
        assert_eq!(paths.of(0, 1, address, address, None), None);
    }

    #[test]
    fn what_has_the_tag_of_another_vlan_is_of_no_path() {
        let address = "198.18.0.2".parse().unwrap();
        let of = |vlan, tag| {
            let tell = Tell { vlan, ..tell("", 1, "", "") };
            Paths::on(vec![tell], &ports()).unwrap().of(0, 1, address, address, tag)
        };
        assert_eq!((of(Some(100), Some(100)), of(Some(100), Some(101))), (Some(0), None));
        // A card may have taken it off.
        assert_eq!(of(Some(100), None), Some(0));
        assert_eq!((of(None, Some(100)), of(None, None)), (Some(0), Some(0)));
    }

    #[test]
    fn paths_that_cannot_be_told_are_refused_with_the_remedy() {
        let alike = [
            (tell("", 1, "", ""), tell("", 1, "", "")),
            (tell("a", 1, "", ""), tell("", 1, "", "")),
            (tell("", 1, "198.18.0.2", ""), tell("", 1, "", "198.18.0.7")),
        ];
        for (one, other) in alike {
            let text = Paths::check(&[one, other]).unwrap_err().to_string();
            assert!(
                text.ends_with("give them different interfaces, destinations, sources or ports")
            );
        }
        let missing = Paths::on(vec![tell("c", 1, "", "")], &ports()).unwrap_err().to_string();
        assert_eq!(
            missing,
            "a path comes in by \"c\", of which its cores have no queue; have the service work on \
             it (interface = [\"…\", \"c\"]), or name one of those that they have: \
             [\"a\", \"b\", \"a\"]"
        );
        assert_eq!(Paths::check(&[]), Err(Untold::Count(0)));
    }

    #[test]
    fn a_path_is_called_by_what_tells_it() {
        assert_eq!(tell("eth1", 5, "239.1.1.1", "").words(), "eth1 239.1.1.1:5");
        assert_eq!(tell("", 5, "2001:db8::1", "").words(), "[2001:db8::1]:5");
        assert_eq!(tell("eth2", 5, "", "").words(), "eth2 port 5");
    }
}
