//! The guest's only disk: an archive in memory that the kernel unpacks and runs `/init` from.
//!
//! What is in it: this very test program as `/init`, the shipped program, the shared libraries
//! that both need, and kernel modules. No shell, no tools.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::packages::Packages;

/// Where the shipped program is in the guest.
pub(crate) const PROGRAM: &str = "/bin/tidegate";

/// The modules, one a line, each behind those that it needs.
pub(crate) const MODULES: &str = "/modules";

/// That this is a guest of ours: nothing else has this file, so nothing else is taken for one.
pub(crate) const MARK: &str = "/tidegate-guest";

/// Drivers, and what the programs ask of the kernel; what these need comes with them.
const WANTED_MODULES: [&str; 7] =
    ["virtio_net", "igb", "veth", "tun", "sch_ingress", "cls_bpf", "act_mirred"];

/// Makes the archive for a guest in which `init` is the first process.
///
/// # Errors
///
/// Where a file cannot be read or is not what it should be.
pub(crate) fn image(packages: &Packages, init: &Path, program: &Path) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "tmp", "run"] {
        archive.folder(folder);
    }
    archive.file(MARK, 0o444, b"");
    archive.file("/init", 0o755, &loadable(&fs::read(init)?)?);
    archive.file(PROGRAM, 0o755, &loadable(&fs::read(program)?)?);
    for library in [init, program].map(libraries) {
        for path in library? {
            let name = path.to_string_lossy().into_owned();
            archive.file(&name, 0o755, &loadable(&fs::read(&path)?)?);
        }
    }
    let folder = packages.modules();
    let order = load_order(&fs::read_to_string(folder.join("modules.dep"))?, &WANTED_MODULES)?;
    for module in &order {
        archive.file(&format!("/lib/modules/{module}"), 0o444, &fs::read(folder.join(module))?);
    }
    archive.file(MODULES, 0o444, order.join("\n").as_bytes());
    Ok(archive.finish())
}

/// The shared libraries that a program is started with, the loader among them: the loader's own
/// word, as `ldd` has it.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let paths: Vec<PathBuf> =
        listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    if paths.is_empty() {
        let program = program.display();
        return Err(io::Error::other(format!(
            "the loader lists no libraries of {program}: {listed}"
        )));
    }
    Ok(paths)
}

/// A program without what no loader looks at, which in a debug build is most of it.
fn loadable(program: &[u8]) -> io::Result<Vec<u8>> {
    let not_elf = |error| io::Error::other(format!("not a program of this machine: {error}"));
    let header = FileHeader64::<LittleEndian>::parse(program).map_err(not_elf)?;
    let segments = header.program_headers(LittleEndian, program).map_err(not_elf)?;
    let ends = segments
        .iter()
        .filter(|segment| segment.p_type(LittleEndian) == PT_LOAD)
        .map(|segment| segment.p_offset(LittleEndian) + segment.p_filesz(LittleEndian));
    let end = usize::try_from(ends.max().unwrap_or(0)).unwrap_or(usize::MAX).min(program.len());
    Ok(program[..end].to_vec())
}

/// The `wanted` modules and all that they need, in an order in which they can be loaded.
///
/// `modules.dep` has a line for each: its path, a colon, and the paths that it needs, those that
/// are needed by others last.
fn load_order(dependencies: &str, wanted: &[&str]) -> io::Result<Vec<String>> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let by_name: BTreeMap<&str, (&str, &str)> = lines
        .map(|(path, needs)| {
            let file = path.rsplit('/').next().unwrap_or(path);
            (file.split('.').next().unwrap_or(file), (path, needs))
        })
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let Some((path, needs)) = by_name.get(name) else {
            return Err(io::Error::other(format!("the kernel has no module {name}")));
        };
        for path in needs.split_whitespace().rev().chain([*path]) {
            if !order.iter().any(|there| there == path) {
                order.push(path.into());
            }
        }
    }
    Ok(order)
}

/// A cpio archive in the "newc" format (kernel: `initramfs-buffer-format.rst`).
#[derive(Default)]
struct Archive {
    octets: Vec<u8>,
    /// What is in it already: folders are made once, and so are libraries.
    names: Vec<String>,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    /// A file, and the folders that it is in.
    fn file(&mut self, name: &str, mode: u32, octets: &[u8]) {
        let name = name.trim_start_matches('/');
        for (at, _) in name.match_indices('/') {
            self.folder(&name[..at]);
        }
        self.entry(name, 0o100_000 | mode, octets);
    }

    fn entry(&mut self, name: &str, mode: u32, octets: &[u8]) {
        if self.names.iter().any(|there| there == name) {
            return;
        }
        self.names.push(name.into());
        let number = u32::try_from(self.names.len()).expect("few files");
        let len = u32::try_from(octets.len()).expect("a file below 4 GiB");
        let name_len = u32::try_from(name.len() + 1).expect("a short name");
        // Number, mode, owner, group, links, time, length, device (2), special device (2), length
        // of the name, checksum.
        let fields = [number, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0];
        self.octets.extend(b"070701");
        for field in fields {
            write!(self.octets, "{field:08x}").expect("memory takes it");
        }
        self.octets.extend(name.as_bytes());
        self.octets.push(0);
        self.align();
        self.octets.extend(octets);
        self.align();
    }

    fn align(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.octets
    }
}
