//! Interfaces, addresses, neighbours and routes, set and asked in own namespaces.

use std::net::{IpAddr, Ipv4Addr};

use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};
use tidegate_dataplane::sys::netlink::{Neighbour, Route, VethEnd, XdpMode};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 9, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 9, 2));

fn end(name: &str) -> VethEnd<'_> {
    let mac = [2, 0, 0, 0, 9, name.as_bytes()[0]];
    VethEnd { name, mac, mtu: 1400, rx_queues: 3, tx_queues: 2, namespace: None }
}

#[test]
fn a_veth_pair_is_made_as_asked_moved_and_removed() {
    require_net!();
    let (home, abroad) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let mut netlink = home.netlink().unwrap();
    netlink.create_veth(&end("one"), &end("two")).unwrap();
    let taken = netlink.create_veth(&end("one"), &end("three")).unwrap_err();
    assert_eq!(taken.errno(), Some(libc::EEXIST), "{taken}");

    let one = netlink.link("one").unwrap();
    assert_eq!((one.mac, one.mtu), ([2, 0, 0, 0, 9, b'o'], 1400));
    assert_eq!((one.rx_queues, one.tx_queues), (3, 2));
    assert_eq!((one.up, one.carrier, one.xdp), (false, false, None));
    assert_eq!(one.kind.as_deref(), Some("veth"));
    assert_eq!(netlink.link_by_index(one.index).unwrap(), one);
    let names: Vec<_> = netlink.links().unwrap().into_iter().map(|link| link.name).collect();
    for name in ["lo", "one", "two"] {
        assert!(names.contains(&name.into()), "{name} in {names:?}");
    }

    let two = netlink.link("two").unwrap();
    netlink.set_up(one.index).unwrap();
    netlink.set_up(two.index).unwrap();
    let up = netlink.link("one").unwrap();
    assert!(up.up && up.carrier, "{up:?}");
    netlink.set_down(two.index).unwrap();
    let alone = netlink.link("one").unwrap();
    assert!(alone.up && !alone.carrier, "{alone:?}");

    let mut there = abroad.netlink().unwrap();
    let descriptor = abroad.run(|| std::fs::File::open("/proc/thread-self/ns/net")).unwrap();
    let descriptor = descriptor.unwrap();
    netlink.move_to_netns(two.index, std::os::fd::AsFd::as_fd(&descriptor)).unwrap();
    assert_eq!(netlink.link("two").unwrap_err().errno(), Some(libc::ENODEV));
    assert_eq!(there.link("two").unwrap().mac, [2, 0, 0, 0, 9, b't']);

    netlink.delete_link(one.index).unwrap();
    assert_eq!(there.link("two").unwrap_err().errno(), Some(libc::ENODEV), "goes with its peer");
}

#[test]
fn addresses_neighbours_and_routes_are_there_once_set() {
    require_net!();
    let namespace = Namespace::new().unwrap();
    let mut netlink = namespace.netlink().unwrap();
    netlink.create_veth(&end("one"), &end("two")).unwrap();
    let index = netlink.link("one").unwrap().index;
    let two = netlink.link("two").unwrap().index;
    netlink.set_up(index).unwrap();
    netlink.set_up(two).unwrap();
    assert_eq!(netlink.default_route_interface().unwrap(), None);
    let lost = netlink.route_to(THERE).unwrap_err();
    assert_eq!(lost.errno(), Some(libc::ENETUNREACH), "{lost}");

    let own_ipv6: IpAddr = "2001:db8:9::1".parse().unwrap();
    netlink.add_address(index, HERE, 24).unwrap();
    netlink.add_address(index, own_ipv6, 64).unwrap();
    assert_eq!(netlink.add_address(index, HERE, 24).unwrap_err().errno(), Some(libc::EEXIST));
    let addresses = netlink.addresses(index).unwrap();
    assert!(addresses.contains(&(HERE, 24)) && addresses.contains(&(own_ipv6, 64)));
    assert_eq!(netlink.addresses(two).unwrap(), []);
    let next_door =
        Route { interface_index: index, gateway: None, source: Some(HERE), local: false };
    assert_eq!(netlink.route_to(THERE).unwrap(), next_door);

    let neighbour_ipv6 = "2001:db8:9::2".parse().unwrap();
    for address in [THERE, neighbour_ipv6] {
        assert_eq!(netlink.neighbour(index, address).unwrap(), None);
        netlink.add_neighbour(index, address, [2, 0, 0, 0, 0, 7]).unwrap();
        let known = Neighbour { mac: [2, 0, 0, 0, 0, 7], permanent: true, confirmed: true };
        assert_eq!(netlink.neighbour(index, address).unwrap(), Some(known));
    }

    let far: IpAddr = "198.19.0.0".parse().unwrap();
    netlink.add_route(far, 16, Some(THERE), index).unwrap();
    let behind: IpAddr = "198.19.1.1".parse().unwrap();
    let through =
        Route { interface_index: index, gateway: Some(THERE), source: Some(HERE), local: false };
    assert_eq!(netlink.route_to(behind).unwrap(), through);
    netlink.add_route("0.0.0.0".parse().unwrap(), 0, Some(THERE), index).unwrap();
    assert_eq!(netlink.default_route_interface().unwrap(), Some(index));
}

#[test]
fn offloads_queues_and_driver_are_told_and_switched() {
    require_net!();
    let namespace = Namespace::new().unwrap();
    namespace.netlink().unwrap().create_veth(&end("one"), &end("two")).unwrap();
    namespace
        .run(|| {
            let ethtool = Ethtool::open().unwrap();
            assert_eq!(&*ethtool.driver("one").unwrap(), "veth");
            let channels = ethtool.channels("one").unwrap();
            assert_eq!((channels.rx_max, channels.tx_max), (3, 2), "{channels:?}");
            for offload in [Offload::TxChecksum, Offload::Tso, Offload::Gso, Offload::Gro] {
                for on in [true, false, true] {
                    ethtool.set_offload("one", offload, on).unwrap();
                    assert_eq!(ethtool.offload("one", offload).unwrap(), on, "{offload:?}");
                }
            }
            ethtool.set_offload("one", Offload::RxVlan, false).unwrap();
            assert!(!ethtool.offload("one", Offload::RxVlan).unwrap());
        })
        .unwrap();
}

#[test]
fn a_program_on_an_interface_is_seen_with_its_mode_until_it_goes() {
    require_net!();
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
    let sink = Sink::attach(&wire.near, Action::Drop).unwrap();
    let attached = wire.near.link().unwrap().xdp.unwrap();
    assert_eq!(attached.mode, XdpMode::Native);
    assert_ne!(attached.prog_id, 0);
    assert_eq!(wire.far.link().unwrap().xdp, None);
    let busy = Sink::attach(&wire.near, Action::Drop).err().unwrap();
    assert_eq!(busy.to_string(), "the lab could not attach the sink's XDP program");
    drop(sink);
    assert_eq!(wire.near.link().unwrap().xdp, None);
}
