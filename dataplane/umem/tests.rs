//! Who holds which chunk, and what is refused.

use super::*;

fn small() -> Umem {
    Umem::new(&Options { frames: 4, pages: Pages::Ordinary, ..Options::default() }).unwrap()
}

#[test]
fn a_chunk_is_leased_to_one_at_a_time() {
    let umem = small();
    let leases: Vec<_> = std::iter::from_fn(|| umem.take()).collect();
    let mut addresses: Vec<_> = leases.iter().map(Lease::address).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [0, 2048, 4096, 6144]);
    assert_eq!(umem.count(Owner::Shard), 4);
    assert_eq!(umem.count(Owner::Pool), 0);
}

#[test]
fn a_dropped_lease_is_reclaimed_and_counted() {
    let umem = small();
    drop(umem.take());
    assert_eq!((umem.count(Owner::Pool), umem.reclaimed()), (4, 1));
    umem.take().unwrap().release();
    assert_eq!((umem.count(Owner::Pool), umem.reclaimed()), (4, 1));
}

#[test]
fn an_address_is_believed_only_where_the_table_says_so() {
    let umem = small();
    let address = umem.take_for_fill().unwrap();
    assert!(umem.lease(address, Owner::Tx).is_none(), "it is not sending");
    assert!(umem.lease(4 * 2048, Owner::Fill).is_none(), "past the memory");
    assert!(umem.lease(u64::MAX, Owner::Fill).is_none(), "far past the memory");
    let lease = umem.lease(address + 256, Owner::Fill).unwrap();
    assert!(umem.lease(address + 256, Owner::Fill).is_none(), "a second time");
    lease.release();
    assert_eq!(umem.count(Owner::Pool), 4);
}

#[test]
fn what_is_written_through_one_lease_is_not_seen_in_another() {
    let umem = small();
    let (mut first, second) = (umem.take().unwrap(), umem.take().unwrap());
    first.bytes_mut(0, 2048).fill(0xa5);
    assert!(second.bytes(0, 2048).iter().all(|&octet| octet == 0));
    first.release();
    second.release();
}

#[test]
#[should_panic(expected = "past the chunk")]
fn a_range_past_the_chunk_is_our_mistake() {
    let umem = small();
    let _ = umem.take().unwrap().bytes(2047, 2);
}

#[test]
fn a_lease_keeps_the_memory_alive() {
    let umem = small();
    let mut lease = umem.take().unwrap();
    drop(umem);
    lease.bytes_mut(0, 1)[0] = 7;
    assert_eq!(lease.bytes(0, 1), [7]);
}

#[test]
fn refuses_sizes_that_the_kernel_refuses_and_says_what_it_takes() {
    let chunk = Options { chunk_octets: 1500, ..Options::default() };
    assert_eq!(
        Umem::new(&chunk).unwrap_err().to_string(),
        "chunks of 1500 octets: the kernel takes 2048 or 4096"
    );
    let frames = Options { frames: 0, ..Options::default() };
    assert_eq!(
        Umem::new(&frames).unwrap_err().to_string(),
        "a UMEM of 0 frames: 1 to 1048576 are possible"
    );
    let huge = Error::Memory {
        octets: 8 << 20,
        pages: Pages::Huge,
        source: io::ErrorKind::OutOfMemory.into(),
    };
    assert_eq!(
        huge.to_string(),
        "no 8388608 octets of huge pages for the UMEM; reserve them with \
         `sysctl vm.nr_hugepages=4` or set pages = \"auto\""
    );
}
