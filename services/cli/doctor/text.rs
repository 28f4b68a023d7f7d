//! Reads the text files in which the kernel tells about itself. All pure.

use super::facts::{HugePages, Irq};

/// The value behind `key` in a file of lines `key: value`, as `/proc/self/status`.
pub(super) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// The effective capabilities in `/proc/self/status`; none if they cannot be read.
pub(super) fn capabilities(status: &str) -> u64 {
    value(status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
}

/// Whether `/proc/self/uid_map` is that of a user namespace other than the first.
pub(super) fn is_user_namespace(uid_map: &str) -> bool {
    // user_namespaces(7): the first namespace maps all 2^32 - 1 users to themselves.
    uid_map.split_whitespace().ne(["0", "0", "4294967295"])
}

/// Huge pages of 2 MiB, of `/proc/meminfo`; `None` where the ordinary huge page is another.
pub(super) fn huge_pages(meminfo: &str) -> Option<HugePages> {
    if value(meminfo, "Hugepagesize")? != "2048 kB" {
        return None;
    }
    let pages = |key| value(meminfo, key)?.parse().ok();
    Some(HugePages { total: pages("HugePages_Total")?, free: pages("HugePages_Free")? })
}

/// A list as the kernel writes it: `0-3,8`.
pub(super) fn cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// The interrupts of `/proc/interrupts` that belong to an interface: those whose number is among
/// `numbers`, or whose name begins with the interface's or its device's name.
///
/// Both ways are needed: a PCI device lists its numbers, a virtio device only has its name there.
pub(super) fn irqs(
    interrupts: &str,
    interface: &str,
    device: Option<&str>,
    numbers: &[u32],
) -> Vec<Irq> {
    let belongs = |number: u32, name: &str| {
        let first = name.split(['-', ':', '@']).next().unwrap_or("");
        numbers.contains(&number) || first == interface || Some(first) == device
    };
    let irq = |line: &str| {
        let (number, rest) = line.trim().split_once(':')?;
        let (number, name) = (number.parse().ok()?, rest.split_whitespace().last()?);
        belongs(number, name).then(|| Irq { number, name: name.to_owned(), cpus: Vec::new() })
    };
    interrupts.lines().filter_map(irq).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_capabilities_as_the_kernel_writes_them() {
        let status = "Name:\ttidegate\nCapPrm:\t0000000000000000\nCapEff:\t0000000000003000\n";
        assert_eq!(capabilities(status), 1 << 12 | 1 << 13);
        assert_eq!(capabilities("Name:\tx\n"), 0);
    }

    #[test]
    fn tells_a_user_namespace_from_the_machines_own() {
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(is_user_namespace("         0       1000          1\n"));
    }

    #[test]
    fn reads_huge_pages_of_the_size_that_umem_wants() {
        let text =
            |size| format!("HugePages_Total: 8\nHugePages_Free: 3\nHugepagesize: {size} kB\n");
        assert_eq!(huge_pages(&text(2048)), Some(HugePages { total: 8, free: 3 }));
        assert_eq!(huge_pages(&text(1_048_576)), None);
        assert_eq!(huge_pages(""), None);
    }

    #[test]
    fn reads_lists_of_cpus() {
        assert_eq!(cpu_list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(cpu_list("\n"), [0; 0]);
    }

    #[test]
    fn finds_the_interrupts_of_an_interface_by_name_device_or_number() {
        let text = "           CPU0       CPU1\n 24:  1  0  IO-APIC   5-edge      ACPI:Ged\n \
                    41:  2500  0 PCI-MSIX-0000:00:04.0   1-edge      virtio3-rx\n \
                    50:  0  0 PCI-MSIX-0000:00:05.0   0-edge      eth1-TxRx-0\n \
                    51:  0  0 PCI-MSIX-0000:00:06.0   0-edge      mlx5_comp0@pci:0000:00:06.0\n\
                    NMI:  0  0   Non-maskable interrupts\n";
        let found = |interface, device, numbers: &[u32]| {
            irqs(text, interface, device, numbers)
                .into_iter()
                .map(|it| it.number)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("eth0", Some("virtio3"), &[]), [41]);
        assert_eq!(found("eth1", None, &[]), [50]);
        assert_eq!(found("eth2", Some("0000:00:06.0"), &[51]), [51]);
        assert_eq!(found("eth", None, &[]), [0; 0], "a prefix of a name is another interface");
        assert_eq!(irqs(text, "eth1", None, &[])[0].name, "eth1-TxRx-0");
    }
}
