//! Sessions for tests.

use std::net::IpAddr;

use super::rate::Rate;
use super::session::{Essence, Leg, Media, MediaClock, Origin, RefClock, Session, UDP_STANDARD};
use super::video::{Colorimetry, Depth, Packing, Range, Sampling, Scan, SenderType, Tcs, Video};

/// 1080p50, as most of it is.
pub(super) fn video() -> Video {
    Video {
        sampling: Sampling::YCbCr422,
        depth: Depth::Ten,
        width: 1920,
        height: 1080,
        rate: Rate::new(50, 1),
        scan: Scan::Progressive,
        colorimetry: Colorimetry::Bt709,
        tcs: Tcs::Sdr,
        range: Range::Narrow,
        pixel_aspect: (1, 1),
        packing: Packing::General,
        sender: Some(SenderType::Narrow),
        troff_us: None,
        cmax: None,
    }
}

/// A leg to a group from one source.
pub(super) fn leg(destination: &str, source: &str) -> Leg {
    let destination: IpAddr = destination.parse().unwrap();
    let ttl = destination.is_ipv4().then_some(64);
    Leg { destination, ttl, sources: vec![source.parse().unwrap()] }
}

/// One stream of it.
pub(super) fn media() -> Media {
    Media {
        mid: None,
        port: 20_000,
        legs: vec![leg("239.1.2.1", "198.18.0.1")],
        payload_type: 96,
        refclks: vec![RefClock::LocalMac([2, 0, 0, 0, 0, 1])],
        mediaclk: Some(MediaClock::Direct { offset: 0 }),
        max_udp: UDP_STANDARD,
        ts_mode: None,
        ts_delay_us: None,
        essence: Essence::Video(video()),
    }
}

/// A session of it alone.
pub(super) fn session() -> Session {
    Session {
        origin: Origin { user: "-".into(), id: 1, version: 1, host: "198.18.0.1".into() },
        name: "camera".into(),
        information: None,
        groups: Vec::new(),
        media: vec![media()],
    }
}
