//! Asks the machine what hangs on an interface, before it is cut off. Decides nothing.

use std::env;
use std::fs;
use std::io;
use std::net::IpAddr;

use tidegate_dataplane::sys::netlink::{Link, Netlink, carriers};

/// An interface, and what goes through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Its name; empty where there is no such interface.
    pub(super) name: String,
    /// Whether it was switched on.
    pub(super) up: bool,
    /// Whether it is the loopback.
    pub(super) loopback: bool,
    /// The interfaces that default routes leave by and that this one is or carries.
    pub(super) default_routes: Vec<String>,
    /// Where the session of this process comes from, if it comes in by this interface.
    pub(super) session_from: Option<IpAddr>,
}

/// `LOOPBACK_IFINDEX` of the kernel: the same in every namespace, whatever its name.
const LOOPBACK: u32 = 1;

/// What is found around `interface`, in the calling thread's namespace.
pub(super) fn of(interface: &str) -> io::Result<Surroundings> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let Some(link) = links.iter().find(|link| &*link.name == interface) else {
        return Ok(Surroundings::default());
    };
    let carries = |upper: u32| carriers(&links, upper).contains(&link.index);
    let name = |index: u32| {
        let named = links.iter().find(|link| link.index == index);
        named.map_or_else(|| format!("interface number {index}"), |link| link.name.to_string())
    };
    let routes = netlink.default_route_interfaces()?;
    let session = session();
    let session_from =
        session.filter(|session| way(&mut netlink, &links, session).into_iter().any(carries));
    Ok(Surroundings {
        name: link.name.to_string(),
        up: link.up,
        loopback: link.index == LOOPBACK,
        default_routes: routes.into_iter().filter(|&it| carries(it)).map(name).collect(),
        session_from: session_from.map(|session| session.client),
    })
}

/// An SSH session: who is at the other end, and at which address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    client: IpAddr,
    server: IpAddr,
}

/// The session that this process belongs to, by the word of sshd. `sudo` takes it away from the
/// environment, but not from its parents'.
fn session() -> Option<Session> {
    if let Ok(told) = env::var("SSH_CONNECTION") {
        return read(&told);
    }
    let mut process = std::process::id();
    // More ancestors than any session has: the bound is for a loop that cannot be.
    for _ in 0..64 {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let told = environment
            .split(|octet| *octet == 0)
            .find_map(|word| std::str::from_utf8(word).ok()?.strip_prefix("SSH_CONNECTION="));
        if let Some(told) = told {
            return read(told);
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        process = parent.trim().parse().ok().filter(|&parent| parent > 0)?;
    }
    None
}

/// ssh(1): "client IP address, client port number, server IP address, and server port number".
fn read(told: &str) -> Option<Session> {
    let mut words = told.split(' ');
    // A link-local address has its interface behind a percent sign.
    let address = |word: &str| word.split('%').next().unwrap_or(word).parse().ok();
    let client = address(words.next()?)?;
    let server = address(words.nth(1)?)?;
    Some(Session { client, server })
}

/// The interfaces of a session: the one that has the server's address, and the one by which its
/// answers leave.
fn way(netlink: &mut Netlink, links: &[Link], session: &Session) -> Vec<u32> {
    let answers = netlink.route_to(session.client).ok().map(|route| route.interface_index);
    let owner = links.iter().map(|link| link.index).find(|&index| {
        let addresses = netlink.addresses(index).unwrap_or_default();
        addresses.iter().any(|(address, _)| *address == session.server)
    });
    answers.into_iter().chain(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_sshd_writes_it() {
        let session = read("198.18.7.9 50000 198.18.7.1 22").unwrap();
        assert_eq!(session.client, IpAddr::from([198, 18, 7, 9]));
        assert_eq!(session.server, IpAddr::from([198, 18, 7, 1]));
        let local = read("fe80::1%eth0 50000 fe80::2%eth0 22").unwrap();
        assert_eq!(local.server, "fe80::2".parse::<IpAddr>().unwrap());
        for nonsense in ["", "198.18.7.9", "a b c d", "198.18.7.9 1 198.18"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn the_loopback_is_known_and_a_session_over_it_is_found() {
        let lo = of("lo").unwrap();
        assert_eq!((&*lo.name, lo.loopback), ("lo", true));
        let mut netlink = Netlink::open().unwrap();
        let links = netlink.links().unwrap();
        let here = Session { client: [127, 0, 0, 1].into(), server: [127, 0, 0, 1].into() };
        assert_eq!(way(&mut netlink, &links, &here), [1, 1]);
        assert_eq!(of("no-such-link").unwrap(), Surroundings::default());
    }
}
