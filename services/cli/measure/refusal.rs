//! Which interfaces are not measured on, or only for who says twice that this is meant. Pure.

use std::fmt;
use std::net::IpAddr;

use super::super::args::Measure;
use super::surroundings::Surroundings;

/// Why nothing is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such interface.
    Missing {
        /// As it was named.
        interface: String,
    },
    /// It is the loopback.
    Loopback {
        /// As it was named.
        interface: String,
    },
    /// It is switched off.
    Down {
        /// As it was named.
        interface: String,
    },
    /// The machine is probably reached by it.
    WayIn {
        /// As it was named.
        interface: String,
        /// Interfaces of default routes that it is or carries.
        default_routes: Vec<String>,
        /// Where the session comes from that comes in by it.
        session_from: Option<IpAddr>,
        /// Flags that were not given.
        missing: Vec<&'static str>,
    },
}

const ALLOW: &str = "--allow-default-route";
const MEANT: &str = "--yes-cut-me-off";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { interface } => write!(
                f,
                "no interface {interface:?} in this network namespace; `ip -brief link` lists them"
            ),
            Self::Loopback { interface } => write!(
                f,
                "{interface} is the loopback, by which this machine speaks to itself; name an \
                 interface at which packets arrive"
            ),
            Self::Down { interface } => write!(
                f,
                "{interface} is switched off, nothing arrives there; `ip link set dev {interface} \
                 up` switches it on"
            ),
            Self::WayIn { interface, default_routes, session_from, missing } => {
                let carries = default_routes.iter().filter(|name| *name != interface);
                let carries: Vec<&str> = carries.map(String::as_str).collect();
                if let Some(client) = session_from {
                    write!(f, "your session from {client} comes in by {interface}")?;
                } else if carries.is_empty() {
                    write!(f, "a default route leaves by {interface}")?;
                } else {
                    write!(f, "{interface} carries {}, a default route's", carries.join(", "))?;
                }
                write!(
                    f,
                    ": measuring there may cut this machine off from you. Nothing was done. Who \
                     means it says it twice, by {ALLOW} and {MEANT}; missing: {}",
                    missing.join(", ")
                )
            }
        }
    }
}

/// Whether to go on.
pub(super) fn judge(args: &Measure, found: &Surroundings) -> Result<(), Refusal> {
    let interface = args.interface.clone();
    if found.name.is_empty() {
        return Err(Refusal::Missing { interface });
    }
    if found.loopback {
        return Err(Refusal::Loopback { interface });
    }
    let Surroundings { default_routes, session_from, .. } = found.clone();
    if !default_routes.is_empty() || session_from.is_some() {
        let flags = [(ALLOW, args.allow_default_route), (MEANT, args.yes_cut_me_off)];
        let missing: Vec<_> =
            flags.into_iter().filter(|(_, given)| !given).map(|(flag, _)| flag).collect();
        if !missing.is_empty() {
            return Err(Refusal::WayIn { interface, default_routes, session_from, missing });
        }
    }
    if !found.up {
        return Err(Refusal::Down { interface });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    fn fit() -> Surroundings {
        Surroundings { name: "eth1".to_owned(), up: true, ..Surroundings::default() }
    }

    #[track_caller]
    fn refused(line: &str, found: Surroundings) -> String {
        judge(&args(line), &found).unwrap_err().to_string()
    }

    #[test]
    fn an_interface_that_nobody_needs_is_measured_on() {
        assert_eq!(judge(&args("eth1"), &fit()), Ok(()));
    }

    #[test]
    fn what_cannot_be_measured_on_is_refused_whatever_is_said() {
        let both = "eth1 --allow-default-route --yes-cut-me-off";
        assert_eq!(
            refused(both, Surroundings::default()),
            "no interface \"eth1\" in this network namespace; `ip -brief link` lists them"
        );
        assert_eq!(
            refused(both, Surroundings { loopback: true, ..fit() }),
            "eth1 is the loopback, by which this machine speaks to itself; name an interface at \
             which packets arrive"
        );
        assert_eq!(
            refused(both, Surroundings { up: false, ..fit() }),
            "eth1 is switched off, nothing arrives there; `ip link set dev eth1 up` switches it on"
        );
    }

    #[test]
    fn the_way_in_is_measured_on_only_for_who_says_it_twice() {
        let routes = vec!["eth1".to_owned()];
        let way = Surroundings { default_routes: routes, ..fit() };
        assert_eq!(
            refused("eth1", way.clone()),
            "a default route leaves by eth1: measuring there may cut this machine off from you. \
             Nothing was done. Who means it says it twice, by --allow-default-route and \
             --yes-cut-me-off; missing: --allow-default-route, --yes-cut-me-off"
        );
        let once = refused("eth1 --allow-default-route", way.clone());
        assert!(once.ends_with("; missing: --yes-cut-me-off"), "{once}");
        let once = refused("eth1 --yes-cut-me-off", way.clone());
        assert!(once.ends_with("; missing: --allow-default-route"), "{once}");
        assert_eq!(judge(&args("eth1 --allow-default-route --yes-cut-me-off"), &way), Ok(()));
    }

    #[test]
    fn what_carries_the_way_in_and_a_session_is_told_from_it() {
        let below = Surroundings { default_routes: vec!["bond0".into(), "eth1.7".into()], ..fit() };
        let text = refused("eth1", below);
        assert!(text.starts_with("eth1 carries bond0, eth1.7, a default route's: "), "{text}");
        let session_from = Some([198, 18, 7, 9].into());
        let text = refused("eth1", Surroundings { session_from, ..fit() });
        assert!(text.starts_with("your session from 198.18.7.9 comes in by eth1: "), "{text}");
    }
}
