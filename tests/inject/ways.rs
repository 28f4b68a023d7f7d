//! What happens where the kernel refuses a way back: the other one is taken.

use std::collections::BTreeMap;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use tidegate_dataplane::inject::{Error, Flushed, Injector, Tiers};

use super::{expect, injector, on_a_wire, options, packet, take};

/// `BPF_PROG_RUN` of enum bpf_cmd.
const PROG_RUN: u64 = 10;

/// Has the kernel refuse live frames to this thread, for good.
fn refuse_live_frames(errno: i32) {
    let is_run =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, PROG_RUN).unwrap();
    let rules = BTreeMap::from([(libc::SYS_bpf, vec![SeccompRule::new(vec![is_run]).unwrap()])]);
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Hides `/dev/net/tun` from this thread.
fn hide_tun() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("none"), "/dev/net", Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

/// So many packets from number `first` on, handed over together: all arrive.
fn arrive(injector: &mut Injector, socket: &std::net::UdpSocket, first: u32, count: u32) {
    let packets: Vec<_> = (first..first + count).map(|number| (number, 60)).collect();
    for (number, len) in &packets {
        take(injector, &packet(*number, *len));
    }
    assert_eq!(injector.flush(), Flushed { delivered: count, refused: 0 });
    expect(socket, packets.into_iter());
}

#[test]
fn without_live_frames_all_go_by_the_tap_device() {
    require_net!();
    on_a_wire(|socket| {
        refuse_live_frames(libc::EPERM);
        let refusal = Injector::new(&options(Tiers::LiveFrames)).unwrap_err();
        assert!(matches!(refusal, Error::Privilege { .. }), "{refusal:?}");
        let mut injector = injector(Tiers::Auto);
        assert_eq!(injector.obtained(), Tiers::Tap);
        arrive(&mut injector, &socket, 0, 100);
        assert_eq!((injector.stats().tap_packets, injector.stats().live_calls), (100, 0));
    });
}

#[test]
fn without_a_tap_device_all_go_as_live_frames() {
    require_net!();
    on_a_wire(|socket| {
        hide_tun();
        let refusal = Injector::new(&options(Tiers::Tap)).unwrap_err();
        assert!(matches!(refusal, Error::NoTun { .. }), "{refusal:?}");
        let mut injector = injector(Tiers::Auto);
        assert_eq!(injector.obtained(), Tiers::LiveFrames);
        arrive(&mut injector, &socket, 0, 1);
        arrive(&mut injector, &socket, 1, 100);
        assert_eq!((injector.stats().live_packets, injector.stats().live_calls), (101, 2));
    });
}

#[test]
fn without_both_it_says_why_of_each() {
    require_net!();
    on_a_wire(|_socket| {
        hide_tun();
        refuse_live_frames(libc::ENOSYS);
        let refusal = Injector::new(&options(Tiers::Auto)).unwrap_err().to_string();
        for words in [
            "no way back into the kernel stack. By live frames: running a live frame failed: \
             Function not implemented",
            "By a TAP device: no TAP device (No such file or directory (os error 2)); `modprobe tun`",
        ] {
            assert!(refusal.contains(words), "{refusal}");
        }
    });
}

#[test]
fn batches_that_are_refused_later_go_by_the_tap_device_in_order() {
    require_net!();
    on_a_wire(|socket| {
        let mut injector = injector(Tiers::Auto);
        arrive(&mut injector, &socket, 0, 64);
        assert_eq!(injector.stats().live_packets, 64);
        refuse_live_frames(libc::ENOMEM);
        arrive(&mut injector, &socket, 64, 64);
        arrive(&mut injector, &socket, 128, 300);
        let stats = injector.stats();
        assert_eq!((stats.live_packets, stats.tap_packets), (64, 364));
        assert_eq!((stats.live_calls, stats.live_refused_calls), (4, 3));
        assert_eq!(stats.refused(), 0);
    });
}

#[test]
fn where_no_other_way_is_open_what_was_refused_is_counted() {
    require_net!();
    on_a_wire(|socket| {
        let mut injector = injector(Tiers::LiveFrames);
        refuse_live_frames(libc::ENOMEM);
        (0..20).for_each(|number| take(&mut injector, &packet(number, 60)));
        assert_eq!(injector.flush(), Flushed { delivered: 0, refused: 20 });
        assert_eq!(injector.stats().refused_memory_packets, 20);
        assert_eq!(injector.pending(), 0);
        expect(&socket, std::iter::empty());
    });
}
