//! The harness on small samples: no guest, no packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use libtest_mimic::Trial;

use crate::image::{Archive, load_order};
use crate::packages::{Packages, chosen, version};

/// All of them.
pub(crate) fn all() -> Vec<Trial> {
    let tests: [(&str, fn()); 5] = [
        ("harness::an_archive_is_as_the_kernel_reads_it", an_archive_is_as_the_kernel_reads_it),
        ("harness::modules_come_behind_what_they_need", modules_come_behind_what_they_need),
        ("harness::a_plan_is_cut_to_what_runs", a_plan_is_cut_to_what_runs),
        ("harness::kernels_are_told_by_their_numbers", kernels_are_told_by_their_numbers),
        ("harness::half_a_cache_is_none", half_a_cache_is_none),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    tests.map(trial).into()
}

/// `initramfs-buffer-format.rst`: 13 fields of eight digits behind the magic, the name with its
/// zero, then the octets, each up to a multiple of four.
fn an_archive_is_as_the_kernel_reads_it() {
    let mut archive = Archive::default();
    archive.file("/lib/modules/a.ko", 0o444, b"octets");
    archive.file("/lib/modules/a.ko", 0o444, b"again");
    archive.file("/init", 0o755, b"");
    let mut rest = &archive.finish()[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_at(110);
        let head = str::from_utf8(head).unwrap();
        assert_eq!(&head[..6], "070701");
        let field = |at: usize| usize::from_str_radix(&head[6 + 8 * at..][..8], 16).unwrap();
        let (mode, len, name_len) = (field(1), field(6), field(11));
        let name = str::from_utf8(&behind[..name_len - 1]).unwrap();
        assert_eq!(behind[name_len - 1], 0);
        let start = (110 + name_len).next_multiple_of(4) - 110;
        let octets = &behind[start..start + len];
        found.push((name.to_owned(), mode, octets.to_owned()));
        rest = &behind[(start + len + 110).next_multiple_of(4) - 110..];
    }
    let found: Vec<_> =
        found.iter().map(|(name, mode, octets)| (&**name, *mode, &**octets)).collect();
    let none: &[u8] = b"";
    assert_eq!(
        found,
        [
            ("lib", 0o040_755, none),
            ("lib/modules", 0o040_755, none),
            ("lib/modules/a.ko", 0o100_444, b"octets"),
            ("init", 0o100_755, none),
            ("TRAILER!!!", 0, none),
        ]
    );
}

fn modules_come_behind_what_they_need() {
    let dependencies = "kernel/net/net_failover.ko.xz: kernel/net/failover.ko.xz\n\
                        kernel/net/failover.ko.xz:\n\
                        kernel/net/virtio_net.ko.xz: kernel/net/net_failover.ko.xz \
                        kernel/net/failover.ko.xz\n\
                        kernel/igb.ko.xz: kernel/dca.ko.xz\nkernel/dca.ko.xz:\n";
    let order = load_order(dependencies, &["igb", "virtio_net"]).unwrap();
    let names: Vec<_> = order.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        names,
        ["dca.ko.xz", "igb.ko.xz", "failover.ko.xz", "net_failover.ko.xz", "virtio_net.ko.xz"]
    );
    let refusal = load_order(dependencies, &["ixgbe"]).unwrap_err();
    assert_eq!(refusal.to_string(), "the kernel has no module ixgbe");
}

fn a_plan_is_cut_to_what_runs() {
    let plan = "Reading package lists...\n\
        'http://deb.debian.org/a.deb' libc6_2.41-12%2bdeb13u5_amd64.deb 2850108 SHA256:00\n\
        'http://deb.debian.org/b.deb' qemu-system-x86_1%3a10.0.13+ds-0_amd64.deb 1 SHA256:00\n\
        'http://deb.debian.org/c.deb' passwd_1%3a4.17.4-2_amd64.deb 1 SHA256:00\n\
        'http://deb.debian.org/d.deb' linux-base_4.17_all.deb 1 SHA256:00\n\
        'http://deb.debian.org/e.deb' linux-base-7.3.4+deb13-amd64_7.3.4-1_amd64.deb 1 SHA256:00\n\
        'http://deb.debian.org/f.deb' linux-image-6.18.15+deb13-amd64_6.18.15-1_amd64.deb 1 x\n";
    assert_eq!(
        chosen(plan),
        [
            "libc6=2.41-12+deb13u5",
            "qemu-system-x86=1:10.0.13+ds-0",
            "linux-base-7.3.4+deb13-amd64=7.3.4-1",
            "linux-image-6.18.15+deb13-amd64=6.18.15-1",
        ]
    );
}

fn kernels_are_told_by_their_numbers() {
    assert_eq!(version("6.18.15+deb13-amd64"), Some((6, 18)));
    assert_eq!(version("7.3.4+deb13-amd64"), Some((7, 3)));
    assert_eq!(version("modules"), None);
}

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn half_a_cache_is_none() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("half-{}", process::id()));
    let folder = Folder(root.clone());
    let said = |root: &Path| Packages::open(root).unwrap_err().to_string();
    assert!(said(&root).starts_with("could not use "), "{}", said(&root));
    let modules = root.join("usr/lib/modules");
    fs::create_dir_all(modules.join("6.12.4-amd64")).unwrap();
    assert_eq!(said(&root), "there is no kernel of 6.18 or newer");
    let newer = modules.join("6.18.4-amd64");
    fs::create_dir_all(&newer).unwrap();
    assert!(said(&root).ends_with("6.18.4-amd64/vmlinuz"), "{}", said(&root));
    fs::write(newer.join("vmlinuz"), b"").unwrap();
    assert!(said(&root).ends_with("modules.dep"), "{}", said(&root));
    fs::write(newer.join("modules.dep"), b"").unwrap();
    assert_eq!(Packages::open(&root).unwrap().release, "6.18.4-amd64");
    drop(folder);
    assert!(!root.exists());
}
