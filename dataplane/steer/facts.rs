//! What has to be known of an interface before and after the kernel's answer.

use super::Error;
use crate::sys::netlink;

/// Index of `interface` in this thread's network namespace.
pub(super) fn ifindex(interface: &str) -> Result<u32, Error> {
    match netlink::link(interface) {
        Ok(link) => Ok(link.index),
        Err(error) if error.errno() == Some(libc::ENODEV) => {
            Err(Error::NoInterface { interface: interface.into() })
        }
        Err(error) => Err(Error::from_call("asking for the interface's index", error)),
    }
}

/// Who is on `interface`, as far as the kernel tells.
pub(super) fn occupied(interface: &str) -> Error {
    let prog_id = attached_prog_id(interface);
    let prog_name = prog_id.and_then(prog_name);
    Error::Occupied { interface: interface.into(), prog_id, prog_name }
}

/// A number of 0 stands for several programs.
fn attached_prog_id(interface: &str) -> Option<u32> {
    let id = netlink::link(interface).ok()?.xdp?.prog_id;
    (id != 0).then_some(id)
}

fn prog_name(id: u32) -> Option<Box<str>> {
    let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    Some(program.name_as_str()?.into())
}
