//! The interface goes down and up again while packets go back by it.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate_dataplane::inject::Tiers;

use super::{PORT, expect, injector, packet, take};

#[test]
fn every_packet_has_a_fate_while_the_interface_goes_down_and_up() {
    require_net!();
    const FLAPS: u32 = 10;
    for tiers in [Tiers::Auto, Tiers::LiveFrames, Tiers::Tap] {
        let near = Namespace::new().unwrap();
        let options = WireOptions { ipv6: false, ..WireOptions::default() };
        let wire = Wire::new(&near, &Namespace::new().unwrap(), &options).unwrap();
        let over = AtomicBool::new(false);
        let inject = || {
            let mut injector = injector(tiers);
            let (mut taken, mut delivered, mut refused) = (0_u64, 0_u64, 0_u64);
            let mut flush = |injector: &mut tidegate_dataplane::inject::Injector| {
                let flushed = injector.flush();
                delivered += u64::from(flushed.delivered);
                refused += u64::from(flushed.refused);
            };
            while !over.load(Ordering::Relaxed) {
                for number in 0..40 {
                    take(&mut injector, &packet(number, 60 + number as usize));
                    taken += 1;
                }
                flush(&mut injector);
            }
            assert_eq!(taken, delivered + refused, "{injector:?}");
            let stats = *injector.stats();
            assert_eq!((stats.injected(), stats.refused()), (delivered, refused));

            // As if nothing had been.
            let socket = UdpSocket::bind(("198.18.1.1", PORT)).unwrap();
            setsockopt(&socket, sockopt::BindToDevice, &"tide1".into()).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            (0..30).for_each(|number| take(&mut injector, &packet(number, 60)));
            let flushed = injector.flush();
            assert_eq!((flushed.delivered, flushed.refused), (30, 0), "{tiers}");
            expect(&socket, (0..30).map(|number| (number, 60)));
        };
        thread::scope(|scope| {
            let injecting = scope.spawn(|| near.run(inject).unwrap());
            for _ in 0..FLAPS {
                thread::sleep(Duration::from_millis(20));
                wire.near.set_down().unwrap();
                thread::sleep(Duration::from_millis(20));
                wire.near.set_up().unwrap();
            }
            over.store(true, Ordering::Relaxed);
            injecting.join().unwrap();
        });
    }
}
