//! What was changed on a card, on disk, so that it can be put back after a `kill -9`.
//!
//! ```text
//!   <directory>/steering-<network namespace>-<interface number>.json
//! ```
//!
//! A record is written before the change that it tells of, whole or not at all (another file, then
//! `rename`), and it is removed when all was put back. Its owner holds a lock on it, which the
//! kernel lets go with the process, in whatever way that ends: a record that nobody holds was left
//! behind.
//!
//! It is believed only on the same boot, in the same network namespace, for the same interface
//! number, hardware address and driver. The directory must be its owner's alone, for who can write
//! there can have a table set.
//!
//! It is not made to outlive the machine's power: then the card has forgotten as well. It does have
//! to outlive its process: a `RuntimeDirectory=` that systemd removes with the unit takes it along,
//! unless `ExecStopPost=` puts back before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::sys::ethtool::rule::{Rule, Shown};
use crate::sys::ethtool::{self, Ethtool};
use crate::sys::netlink::Netlink;

/// How the files of records begin.
const PREFIX: &str = "steering-";

/// Which interface of which namespace on which boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// `kernel.random.boot_id`.
    pub(super) boot: Box<str>,
    /// Inode of the network namespace.
    pub(super) namespace: u64,
    /// Number of the interface in that namespace.
    pub(super) ifindex: u32,
    /// The address that its maker gave it, else the present one.
    pub(super) address: [u8; 6],
    /// Its driver.
    pub(super) driver: Box<str>,
}

impl Place {
    /// Of `interface`, in the calling thread's network namespace.
    pub(super) fn of(
        interface: &str,
        ethtool: &Ethtool,
        netlink: &mut Netlink,
    ) -> Result<Self, Error> {
        let link = netlink.link(interface).map_err(|error| match error.errno() {
            Some(libc::ENODEV) => Error::NoInterface { interface: interface.into() },
            _ => Error::os(interface, "ask for the interface", io::Error::other(error)),
        })?;
        let told =
            |error: ethtool::Error| Error::os(interface, "ask for the driver", error.into_answer());
        let driver = match ethtool.driver(interface) {
            // As the loopback.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => "no driver".into(),
            driver => driver.map_err(told)?,
        };
        let permanent = ethtool.permanent_address(interface).map_err(told)?;
        let proc = |source| Error::os(interface, "read /proc", source);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(proc)?;
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_err(proc)?.ino();
        Ok(Self {
            boot: boot.trim().into(),
            namespace,
            ifindex: link.index,
            address: permanent.unwrap_or(link.mac),
            driver,
        })
    }

    fn file(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{PREFIX}{}-{}.json", self.namespace, self.ifindex))
    }
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The process that changed it.
    pub(super) pid: u32,
    pub(super) place: Place,
    pub(super) table: Option<TableChange>,
    /// Whether the feature `ntuple` was switched on.
    pub(super) switched_rules_on: bool,
    pub(super) rules: Vec<RuleChange>,
    /// Locations that had rules before.
    pub(super) occupied: Vec<u32>,
}

/// The RSS table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableChange {
    pub(super) before: Vec<u32>,
    pub(super) ours: Vec<u32>,
    /// Queues that it could name.
    pub(super) rings: u32,
    /// The taken queues that it keeps out.
    pub(super) taken: Vec<u32>,
}

/// A rule that was added or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuleChange {
    pub(super) rule: Rule,
    /// Where; `None` before the driver has chosen.
    pub(super) location: Option<u32>,
    /// How the driver showed it just after.
    pub(super) shown: Option<Shown>,
}

impl Record {
    pub(super) fn new(place: Place) -> Self {
        Self {
            pid: std::process::id(),
            place,
            table: None,
            switched_rules_on: false,
            rules: Vec::new(),
            occupied: Vec::new(),
        }
    }

    /// Whether nothing was changed.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_none() && !self.switched_rules_on && self.rules.is_empty()
    }
}

/// The right to change a card: its record, held.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Locked, and the file at `path`.
    file: File,
    /// Whether the file says nothing yet.
    is_blank: bool,
}

/// Times that a record may be replaced between being opened and being locked, because its owner is
/// writing it.
const ATTEMPTS: u32 = 10;

impl Journal {
    /// Takes the record of `place`, and says what was left in it: by a process that was killed on
    /// this boot. `None` where there is no record and `make` does not ask for one.
    pub(super) fn open(
        directory: &Path,
        place: &Place,
        make: bool,
    ) -> Result<Option<(Self, Option<Record>)>, Error> {
        let path = place.file(directory);
        let fail = |source| Error::Record { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).mode(0o600);
        for _ in 0..ATTEMPTS {
            let mut file = match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
                file => file.map_err(fail)?,
            };
            let is_ours = lock(&file).map_err(fail)?;
            // Another file may be there by now, whose lock is the one that counts.
            let locked = file.metadata().map_err(fail)?;
            if !fs::metadata(&path).is_ok_and(|there| there.ino() == locked.ino()) {
                continue;
            }
            let found = read(&mut file).map_err(fail)?;
            if !is_ours {
                return Err(Error::Held { pid: found.and_then(Result::ok).map(|it| it.pid) });
            }
            let left = match found {
                None => None,
                Some(Err(_)) => return Err(Error::Garbled { path }),
                Some(Ok(record)) if record.place != *place => {
                    tracing::debug!(path = %path.display(), "a record of another card or boot");
                    None
                }
                Some(Ok(record)) => Some(record),
            };
            let is_blank = left.is_none();
            return Ok(Some((Self { path, file, is_blank }, left)));
        }
        Err(Error::Held { pid: None })
    }

    /// Writes what is changed, before it is.
    pub(super) fn write(&mut self, record: &Record) -> Result<(), Error> {
        let fail = |source| Error::Record { path: self.path.clone(), source };
        let text = serde_json::to_vec(record).map_err(|error| fail(error.into()))?;
        // Only who holds the record comes here, so the name is free.
        let next = self.path.with_extension("tmp");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&next).map_err(fail)?;
        // Locked before it is seen: nobody finds the record without its owner.
        if !lock(&file).map_err(fail)? {
            return Err(fail(io::ErrorKind::WouldBlock.into()));
        }
        file.write_all(&text).map_err(fail)?;
        fs::rename(&next, &self.path).map_err(fail)?;
        self.file = file;
        self.is_blank = false;
        Ok(())
    }

    /// Removes the record, when all was put back.
    pub(super) fn remove(mut self) -> Result<(), Error> {
        self.is_blank = false;
        // While it is locked, so it is ours that is removed.
        fs::remove_file(&self.path)
            .map_err(|source| Error::Record { path: self.path.clone(), source })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.is_blank {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there is any record, of whatever card.
pub(super) fn are_any(directory: &Path) -> bool {
    let is_record = |entry: &fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
    };
    fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|it| is_record(&it)))
}

/// Reads the record of `place` without taking it, and says whether its process lives.
pub(super) fn look(directory: &Path, place: &Place) -> io::Result<Option<(Record, bool)>> {
    for _ in 0..ATTEMPTS {
        let mut file = match File::open(place.file(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let is_held = is_held(&file)?;
        match read(&mut file)? {
            Some(Ok(record)) if record.place == *place => return Ok(Some((record, is_held))),
            // Replaced meanwhile: the lock is that of the other file.
            None => {}
            Some(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// What a record's file says; nothing where its process had no time to write.
fn read(file: &mut File) -> io::Result<Option<Result<Record, serde_json::Error>>> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok((!text.is_empty()).then(|| serde_json::from_slice(&text)))
}

/// The whole file. The lock is of the open file, not of the process (`F_OFD_SETLK`): it goes when
/// the last descriptor of it is closed, and holds against the same process too.
#[allow(clippy::cast_possible_truncation)] // Small constants, of other widths on other machines.
const fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Whether the lock was to be had.
fn lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether somebody has the lock. Takes nothing.
fn is_held(file: &File) -> io::Result<bool> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests;
