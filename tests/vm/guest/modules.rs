//! Kernel modules, in the order that the host found out.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::image::MODULES;

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`: the kernel unpacks it.
const COMPRESSED: u32 = 4;

/// Loads all that are in the image.
///
/// # Panics
///
/// Where one is refused: nothing could be shown without it.
pub(super) fn load() {
    for module in fs::read_to_string(MODULES).expect("the image has a list").lines() {
        let file = File::open(Path::new("/lib/modules").join(module)).expect("the image has it");
        let compressed = if module.ends_with(".ko") { 0 } else { COMPRESSED };
        match finit_module(file, c"", ModuleInitFlags::from_bits_retain(compressed)) {
            // Some kernels have it built in.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => panic!("the kernel refuses its module {module}: {errno}"),
        }
    }
}
