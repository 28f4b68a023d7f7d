//! Where emulator and guest kernel come from: Debian packages, unpacked into a cache.
//!
//! ```text
//!   apt-get, with lists of its own ─► dpkg-deb -x ─► depmod ─► try it ─► rename: now it is there
//! ```
//!
//! Nothing is installed and no setting of the machine is touched. The emulator comes with all of
//! its libraries, down to the C library, and is started by the loader that came with them: so the
//! same packages serve whatever Debian the machine runs. Names in backports rotate, so none of a
//! kernel is written here: `linux-image-amd64` depends on the newest one.
//!
//! It refuses to: reach out by other means than `apt-get`, fetch what is there already.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, error, fmt};

/// Changes when what is fetched or how it is unpacked does: the old cache is not used then.
const RECIPE: &str = "1";

/// Where the packages are from, unless the machine has a mirror of its own.
const ARCHIVE: &str = "http://deb.debian.org/debian/";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What is asked for. The emulator is that of the stable suite, at least 10 as the emulated NICs
/// want it; `kmod` finds out which module needs which.
const WANTED: [&str; 3] = ["qemu-system-x86", "kmod", "linux-image-amd64/trixie-backports"];

/// Of all that the wanted depend on, what is needed to run them: the rest (accounts, an init
/// system, boot ROMs for a network) is for an installed system.
const KEPT: [&str; 8] = [
    "lib",
    "zlib1g",
    "qemu-system-",
    "seabios",
    "kmod",
    "linux-binary-",
    "linux-modules-",
    "linux-image-",
];
/// Also needed: the list of the modules that the kernel has built in.
const KEPT_TOO: &str = "linux-base-";

/// The oldest kernel in which both drivers have zero-copy.
const KERNEL_MIN: (u32, u32) = (6, 18);

/// Emulator, kernel and modules, whole and tried.
#[derive(Clone, Debug)]
pub(crate) struct Packages {
    root: PathBuf,
    /// The kernel's release, as `uname -r` says it in the guest.
    pub(crate) release: String,
}

impl Packages {
    /// What an earlier run fetched, if there was one.
    pub(crate) fn at_hand() -> Option<Self> {
        Self::open(&cache().join(RECIPE)).ok()
    }

    /// What an earlier run fetched, or else fetches it. A second run that wants the same
    /// meanwhile waits for the first.
    ///
    /// # Errors
    ///
    /// Where the machine has no `apt-get`, the archive is not reached, or what came is not what
    /// is needed.
    pub(crate) fn fetch() -> Result<Self, Error> {
        let (cache, place) = (cache(), cache().join(RECIPE));
        fs::create_dir_all(&cache).map_err(io_error(&cache))?;
        let path = cache.join("lock");
        let lock = File::create(&path).map_err(io_error(&path))?;
        lock.lock().map_err(io_error(&path))?;
        if let Ok(there) = Self::open(&place) {
            return Ok(there);
        }
        // Left by a run that was killed: the lock says that nobody is at it.
        let half = cache.join("half");
        for leftover in [&half, &place] {
            match fs::remove_dir_all(leftover) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(leftover)(error));
                }
                _ => {}
            }
        }
        fill(&half)?;
        Self::open(&half)?;
        fs::rename(&half, &place).map_err(io_error(&place))?;
        Self::open(&place)
    }

    /// What is at `root`, if it is whole: a folder gets its name when it is.
    fn open(root: &Path) -> Result<Self, Error> {
        let modules = root.join("usr/lib/modules");
        let release = kernels(&modules)?.pop().ok_or_else(|| Error::Unfit {
            what: format!("there is no kernel of {}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1),
        })?;
        let packages = Self { root: root.to_owned(), release };
        for file in [packages.kernel(), packages.modules().join("modules.dep")] {
            if !file.is_file() {
                return Err(Error::Unfit { what: format!("there is no {}", file.display()) });
            }
        }
        Ok(packages)
    }

    /// The kernel's image.
    pub(crate) fn kernel(&self) -> PathBuf {
        let whole = self.root.join(format!("boot/vmlinuz-{}", self.release));
        if whole.is_file() { whole } else { self.modules().join("vmlinuz") }
    }

    /// The folder of its modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.release)
    }

    /// A program of the cache, to be started by the loader and with the libraries of the cache.
    pub(crate) fn program(&self, name: &str) -> Vec<PathBuf> {
        program(&self.root, name)
    }

    /// Where the emulator finds its firmware.
    pub(crate) fn firmware(&self) -> [PathBuf; 2] {
        ["usr/share/qemu", "usr/share/seabios"].map(|folder| self.root.join(folder))
    }
}

fn program(root: &Path, name: &str) -> Vec<PathBuf> {
    let loader = root.join("usr/lib64/ld-linux-x86-64.so.2");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    vec![loader, "--library-path".into(), libraries, root.join("usr/bin").join(name)]
}

/// Releases of the kernels below `folder` that are new enough, the newest last.
fn kernels(folder: &Path) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        let name = entry.map_err(io_error(folder))?.file_name().to_string_lossy().into_owned();
        found.extend(version(&name).map(|version| (version, name)));
    }
    found.retain(|(version, _)| *version >= KERNEL_MIN);
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// The first two numbers of `6.18.5+deb13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A place that outlives the tree, so that a fresh clone finds it again.
fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TIDEGATE_VM_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("tidegate-vm")))
        .or_else(|| Some(set("HOME")?.join(".cache/tidegate-vm")))
        .unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm"))
}

/// Fetches and unpacks all of it into `root`.
fn fill(root: &Path) -> Result<(), Error> {
    let apt = root.join("apt");
    for folder in ["state/lists/partial", "cache/archives/partial", "debs"] {
        let folder = apt.join(folder);
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    }
    let write = |name: &str, text: String| {
        let path = apt.join(name);
        fs::write(&path, text).map_err(io_error(&path))
    };
    write("status", String::new())?;
    write("list.sources", sources(&mirror()))?;
    write("apt.conf", settings(&apt))?;
    let get = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(apt.join("apt.conf")).args(words).current_dir(apt.join("debs"));
        output(&mut command)
    };
    get(&["-q", "update"])?;
    let planned = [&["-y", "--no-install-recommends", "--print-uris", "install"], &WANTED[..]];
    let chosen = chosen(&get(&planned.concat())?);
    let download: Vec<&str> =
        ["-q", "download"].into_iter().chain(chosen.iter().map(|it| &**it)).collect();
    get(&download)?;
    let debs = apt.join("debs");
    for entry in fs::read_dir(&debs).map_err(io_error(&debs))? {
        let deb = entry.map_err(io_error(&debs))?.path();
        output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root))?;
    }
    fs::remove_dir_all(&apt).map_err(io_error(&apt))?;
    // Older packages have them at /lib, which a merged system makes a link to /usr/lib.
    let (old, new) = (root.join("lib/modules"), root.join("usr/lib/modules"));
    if old.is_dir() && !new.exists() {
        fs::rename(&old, &new).map_err(io_error(&old))?;
    }
    for release in kernels(&new)? {
        let mut words = program(root, "kmod");
        // kmod is many programs; its name says which.
        words.splice(1..1, ["--argv0".into(), "depmod".into()]);
        words.extend(["-b".into(), root.join("usr"), release.into()]);
        output(Command::new(&words[0]).args(&words[1..]))?;
    }
    let emulator = program(root, "qemu-system-x86_64");
    output(Command::new(&emulator[0]).args(&emulator[1..]).arg("--version"))?;
    Ok(())
}

/// The mirror that this machine's own lists name, so that one nearby is used.
fn mirror() -> String {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let listed = output(&mut command).unwrap_or_default();
    let mut debian = listed.lines().filter(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    debian.next().unwrap_or(ARCHIVE).to_owned()
}

fn sources(mirror: &str) -> String {
    format!(
        "Types: deb\nURIs: {mirror}\nSuites: trixie trixie-backports\nComponents: main\n\
         Architectures: amd64\nSigned-By: {KEYRING}\n"
    )
}

/// Settings that keep `apt-get` to `apt`: its own lists, an empty list of installed packages (so
/// that the plan does not depend on the machine), and none of the machine's hooks.
fn settings(apt: &Path) -> String {
    let apt = apt.display();
    format!(
        "Dir::Etc::sourcelist \"{apt}/list.sources\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State \"{apt}/state\";\n\
         Dir::State::status \"{apt}/status\";\n\
         Dir::Cache \"{apt}/cache\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\n\
         APT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"2\";\n\
         Acquire::http::Timeout \"20\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

/// From a plan of `--print-uris`, `name=version` of the packages that are needed to run.
fn chosen(plan: &str) -> Vec<String> {
    let packages = plan.lines().filter(|line| line.starts_with('\'')).filter_map(|line| {
        let mut parts = line.split_whitespace().nth(1)?.split('_');
        Some((parts.next()?, parts.next()?.replace("%3a", ":")))
    });
    let numbered =
        |name: &str| name.trim_start_matches(KEPT_TOO).starts_with(|c: char| c.is_ascii_digit());
    packages
        .filter(|(name, _)| {
            KEPT.iter().any(|kept| name.starts_with(kept))
                || name.starts_with(KEPT_TOO) && numbered(name)
        })
        .map(|(name, version)| format!("{name}={version}"))
        .collect()
}

/// Runs a command to its end, for what it says.
fn output(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let said = command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .map_err(|source| Error::Io { what: format!("start {name}"), source })?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).take(6).collect();
    let errors = String::from_utf8_lossy(&said.stderr);
    let last: Vec<&str> = errors.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Error::Command { command: format!("{name} {}", words.join(" ")), said: last.join("\n") })
}

/// Why the packages are not there.
#[derive(Debug)]
pub(crate) enum Error {
    /// A file or folder, or a program that is not there.
    Io {
        /// What was tried.
        what: String,
        /// The machine's answer.
        source: io::Error,
    },
    /// A program failed.
    Command {
        /// Its first words.
        command: String,
        /// Its last words.
        said: String,
    },
    /// What came is not what is needed.
    Unfit {
        /// In which way.
        what: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what: format!("use {}", path.display()), source }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, source } => write!(f, "could not {what}: {source}"),
            Self::Command { command, said } => write!(f, "{command} failed:\n{said}"),
            Self::Unfit { what } => f.write_str(what),
        }
    }
}

impl error::Error for Error {}
