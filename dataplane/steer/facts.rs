//! What has to be known of an interface before and after the kernel's answer.

use super::Error;

/// Index of `interface` in this thread's network namespace.
pub(super) fn ifindex(interface: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(interface)
        .map_err(|_| Error::NoInterface { interface: interface.into() })
}

/// Who is on `interface`, as far as the kernel tells.
pub(super) fn occupied(interface: &str) -> Error {
    let prog_id = attached_prog_id(interface);
    let prog_name = prog_id.and_then(prog_name);
    Error::Occupied { interface: interface.into(), prog_id, prog_name }
}

fn attached_prog_id(interface: &str) -> Option<u32> {
    let _ = interface;
    None
}

fn prog_name(id: u32) -> Option<Box<str>> {
    let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    Some(program.name_as_str()?.into())
}
