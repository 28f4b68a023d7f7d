//! One guest: QEMU with a software CPU, two NICs joined inside it, and nothing on any disk.
//!
//! ```text
//!   memfd: image ──► QEMU ──► serial line 1: console ──► memfd, shown when something goes wrong
//!                     │ ├───► serial line 2: results ──► pipe
//!                     │ └◄─── monitor: the cables ◄───── socket
//!                  NIC ═ hub ═ NIC       nothing leaves the process
//! ```
//!
//! It is bounded: past its deadline the guest is killed, by its own number. It is killed as well
//! when this program is, so that nothing is ever left behind.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::packages::Packages;
use crate::report::{Line, SCENARIO, hear};

/// Which NICs a guest has, two of each kind: the driver decides what AF_XDP can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nics {
    /// `virtio_net`.
    Virtio,
    /// `virtio_net`, without the IOMMU that zero-copy wants.
    VirtioPlain,
    /// `igb`: the 82576.
    Igb,
}

/// Hardware addresses of the two: locally administered, and the same as in the lab.
pub(crate) const MACS: [[u8; 6]; 2] = [[0x02, 0x74, 0x67, 0, 1, 1], [0x02, 0x74, 0x67, 0, 1, 2]];

impl Nics {
    /// The driver's name, as ethtool tells it.
    pub(crate) const fn driver(self) -> &'static str {
        match self {
            Self::Virtio | Self::VirtioPlain => "virtio_net",
            Self::Igb => "igb",
        }
    }

    /// QEMU's words for two of them on one hub.
    fn words(self) -> Vec<String> {
        let mut words = Vec::new();
        for (number, mac) in MACS.iter().enumerate() {
            let mac = mac.map(|octet| format!("{octet:02x}")).join(":");
            words.extend(["-netdev".into(), format!("hubport,id=h{number},hubid=0")]);
            let common = format!("id=n{number},netdev=h{number},mac={mac},romfile=");
            let device = match self {
                // iommu_platform: without it the driver does no DMA by addresses, and AF_XDP's
                // memory is refused.
                Self::Virtio => {
                    format!("virtio-net-pci,disable-legacy=on,iommu_platform=on,{common}")
                }
                Self::VirtioPlain => format!("virtio-net-pci,disable-legacy=on,{common}"),
                Self::Igb => {
                    words.extend([
                        "-device".into(),
                        format!("pcie-root-port,id=rp{number},chassis={number},slot={number}"),
                    ]);
                    format!("igb,bus=rp{number},{common}")
                }
            };
            words.extend(["-device".into(), device]);
        }
        words
    }
}

/// What a guest is to be and to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    /// Emulator and kernel.
    pub(crate) packages: &'a Packages,
    /// What is in it.
    pub(crate) image: &'a [u8],
    /// Its NICs.
    pub(crate) nics: Nics,
    /// What it plays.
    pub(crate) scenario: &'a str,
    /// How long it may take.
    pub(crate) time: Duration,
}

/// Boots a guest and listens to it until it is gone.
///
/// # Errors
///
/// A text for people: where the guest said no last word, with the end of its console.
pub(crate) fn play(order: &Order<'_>, mut each: impl FnMut(&Line)) -> Result<(), String> {
    let told = |error: io::Error| format!("the guest could not be started: {error}");
    let (console, errors) = (memory("console").map_err(told)?, memory("errors").map_err(told)?);
    let mut guest = Guest::start(order, &console, &errors).map_err(told)?;
    let deadline = Instant::now() + order.time;
    let out = guest.emulator.stdout.take().expect("a pipe, as asked for");
    let (say, heard) = mpsc::channel();
    // Ends with the guest, whose end of the pipe closes then.
    let ear = thread::spawn(move || hear(out, |line| drop(say.send(line))));
    let mut wrong = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match heard.recv_timeout(left) {
            Ok(Ok(Line::Cable { card, plugged })) => guest.cable(card, plugged),
            Ok(Ok(line)) => each(&line),
            Ok(Err(error)) => wrong = wrong.or(Some(error.to_string())),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = order.time.as_secs();
                wrong = Some(format!("the guest was killed, as it was not done after {seconds} s"));
                break;
            }
        }
    }
    let status = guest.end();
    let _ = ear.join();
    match (wrong, status) {
        (None, Ok(status)) if status.success() => Ok(()),
        (wrong, status) => {
            let why = wrong.unwrap_or_else(|| format!("the emulator ended with {status:?}"));
            Err(format!("{why}\nemulator:\n{}\nconsole:\n{}", tail(&errors), tail(&console)))
        }
    }
}

/// A running emulator. Dropping it kills it.
struct Guest {
    emulator: Child,
    /// Its monitor, which takes commands of people.
    monitor: UnixStream,
}

impl Guest {
    fn start(order: &Order<'_>, console: &File, errors: &File) -> io::Result<Self> {
        let mut image = memory("image")?;
        image.write_all(order.image)?;
        let (monitor, inherited) = UnixStream::pair()?;
        fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let mut command = command(order, &image, console, &inherited);
        let emulator = command.stderr(errors.try_clone()?).spawn()?;
        Ok(Self { emulator, monitor })
    }

    /// Plugs the cable of a card in, or pulls it. Whether it worked the guest sees by its carrier.
    fn cable(&mut self, card: u8, plugged: bool) {
        let word = if plugged { "on" } else { "off" };
        let _ = writeln!(self.monitor, "set_link n{card} {word}");
    }

    /// It has closed its pipe and ends, or is past its time: gone when this returns.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let patience = Instant::now() + Duration::from_secs(2);
        while Instant::now() < patience {
            if let Some(status) = self.emulator.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.emulator.kill()?;
        self.emulator.wait()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Where it has ended already, both do nothing.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// A file that is nowhere, and that a child inherits.
fn memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::empty())?.into())
}

fn command(order: &Order<'_>, image: &File, console: &File, monitor: &UnixStream) -> Command {
    let Order { packages, nics, scenario, .. } = order;
    let path = |file: &File| format!("/dev/fd/{}", file.as_raw_fd());
    // Dies with the thread that started it; it is the emulator itself from then on (exec).
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(packages.program("qemu-system-x86_64"));
    command.args("-accel tcg,thread=multi -machine q35 -cpu max -smp 2 -m 1024".split(' '));
    command.args("-nodefaults -no-user-config -display none -no-reboot".split(' '));
    for folder in packages.firmware() {
        command.arg("-L").arg(folder);
    }
    command.arg("-kernel").arg(packages.kernel());
    command.args(["-initrd", &path(image)]);
    let boot = format!("console=ttyS0 loglevel=6 panic=-1 mitigations=off {SCENARIO}{scenario}");
    command.args(["-append", &boot]);
    command.args(["-serial", &format!("file:{}", path(console))]);
    // Nobody reads what it answers: its few words to a few commands fit the socket's buffer.
    command.args(["-chardev", &format!("socket,id=monitor,fd={}", monitor.as_raw_fd())]);
    command.args(["-mon", "chardev=monitor,mode=readline"]);
    command.args(["-chardev", "stdio,id=results,signal=off", "-serial", "chardev:results"]);
    command.args(nics.words().into_iter().map(OsString::from));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// The last lines of what was said, for whoever wants to know why.
fn tail(said: &File) -> String {
    const LINES: usize = 40;
    let mut octets = vec![0; 64 << 10];
    let len = said.metadata().map_or(0, |about| about.len());
    let from = len.saturating_sub(octets.len() as u64);
    let read = said.read_at(&mut octets, from).unwrap_or(0);
    let text = String::from_utf8_lossy(&octets[..read]).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    if last.is_empty() { "  (silent)".into() } else { format!("  {}", last.join("\n  ")) }
}
