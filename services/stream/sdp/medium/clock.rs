//! Which clock a medium's timestamps follow.

use sdp_types::{MediaClockSource, Ptp, PtpDomain, PtpServer, PtpVersion, ReferenceClock};

use crate::stream::sdp::finding::{Code, Findings, quoted};
use crate::stream::sdp::session::{Grandmaster, MediaClock, RefClock, octets};
use crate::stream::sdp::text::{Attribute, Section};

const PTP: &str = "a=ts-refclk:ptp=IEEE1588-2008:<identity>:<domain>, or localmac=<link address>";

/// The reference clocks of a section, or of the session.
pub(super) fn refclks(section: &Section, top: &Section, out: &mut Findings) -> Vec<RefClock> {
    let mut written: Vec<&Attribute> = section.all("ts-refclk").collect();
    if written.is_empty() {
        written = top.all("ts-refclk").collect();
        match written.first() {
            None => {
                let text = "ts-refclk is missing: what clock do its timestamps follow?";
                out.add(section.line, Code::RefclkMissing, text, PTP);
            }
            Some(first) => {
                let text = format!("its ts-refclk stands in line {}, for the session", first.line);
                out.add(section.line, Code::RefclkSession, text, "put it behind each m=");
            }
        }
    }
    written.into_iter().filter_map(|attribute| refclk(attribute, out)).collect()
}

fn refclk(attribute: &Attribute, out: &mut Findings) -> Option<RefClock> {
    let (line, value) = (attribute.line, attribute.value.as_str());
    let mut broken = |remedy: &str| {
        out.add(line, Code::RefclkSyntax, format!("ts-refclk of {}", quoted(value)), remedy);
        None
    };
    if let Some(mac) = value.strip_prefix("localmac=") {
        return match octets(mac) {
            Some(mac) => Some(RefClock::LocalMac(mac)),
            None => broken("localmac=02-00-00-00-00-01"),
        };
    }
    if value == "ptp=traceable" || value == "ptp=/traceable/" {
        // As an example of the first edition of ST 2110-10 had it.
        return broken("ptp=IEEE1588-2008:traceable");
    }
    // RFC 7273, 4.8, has the word in its grammar and not in its examples.
    let plain = value.replacen("domain-nmbr=", "", 1);
    match plain.parse() {
        Ok(ReferenceClock::Ptp(clock)) => Some(ptp(line, value, &clock, out)),
        Ok(_) => {
            let text = format!("the clock {} is neither PTP nor a link address", quoted(value));
            out.add(line, Code::RefclkKind, text, PTP);
            (!value.is_empty()).then(|| RefClock::Other(value.into()))
        }
        Err(_) => broken(PTP),
    }
}

/// The clock that a config names, in the words of `ts-refclk`.
pub(in crate::stream::sdp) fn named(text: &str) -> Option<RefClock> {
    let mut out = Findings::default();
    let name = "ts-refclk".to_owned();
    let clock = refclk(&Attribute { line: 1, name, value: text.trim().to_owned() }, &mut out);
    // What is worth a warning in another's SDP is a mistake in ours.
    clock.filter(|_| out.sorted().is_empty())
}

fn ptp(line: usize, value: &str, clock: &Ptp, out: &mut Findings) -> RefClock {
    if clock.version != PtpVersion::Ieee1588_2008 {
        let text = format!("PTP of {}, while ST 2059-2 is made of IEEE 1588-2008", clock.version);
        out.add(line, Code::RefclkVersion, text, "IEEE1588-2008");
        return RefClock::Other(value.into());
    }
    let (gmid, domain) = match &clock.server {
        PtpServer::Traceable => return RefClock::Ptp(Grandmaster::Traceable),
        PtpServer::GmidDomain { gmid, domain } => (gmid, domain),
    };
    let domain = match domain {
        Some(PtpDomain::DomainNumber(number)) => Some(*number),
        Some(PtpDomain::DomainName { .. }) | None => {
            let text = "PTP without its domain number: a grandmaster may serve several";
            out.add(line, Code::RefclkDomain, text, format!("ptp=IEEE1588-2008:{gmid}:127"));
            None
        }
    };
    RefClock::Ptp(Grandmaster::Id { id: gmid.bytes, domain })
}

/// The media clock of a section, or of the session.
pub(super) fn mediaclk(
    section: &Section,
    top: &Section,
    refclks: &[RefClock],
    out: &mut Findings,
) -> Option<MediaClock> {
    let own = section.only("mediaclk", out);
    let Some(attribute) = own.or_else(|| top.all("mediaclk").next()) else {
        let text = "mediaclk is missing: how do its timestamps follow the clock?";
        out.add(section.line, Code::MediaclkMissing, text, "a=mediaclk:direct=0");
        return None;
    };
    if own.is_none() {
        let text = format!("its mediaclk stands in line {}, for the session", attribute.line);
        out.add(section.line, Code::MediaclkSession, text, "put it behind each m=");
    }
    let (line, value) = (attribute.line, attribute.value.as_str());
    let Ok(MediaClockSource { id, clock }) = attribute.parse() else {
        let text = format!("mediaclk of {}", quoted(value));
        out.add(line, Code::MediaclkSyntax, text, "a=mediaclk:direct=0");
        return None;
    };
    match clock {
        sdp_types::MediaClock::Sender if id.is_none() => Some(MediaClock::Sender),
        sdp_types::MediaClock::Direct(direct) if id.is_none() && direct.rate.is_none() => {
            let offset = direct.offset.unwrap_or(0);
            let is_ptp = refclks.iter().any(|clock| matches!(clock, RefClock::Ptp(_)));
            if is_ptp && offset != 0 {
                let text = format!("mediaclk with an offset of {offset} to PTP");
                out.add(line, Code::MediaclkOffset, text, "a=mediaclk:direct=0");
            }
            Some(MediaClock::Direct { offset })
        }
        sdp_types::MediaClock::Sender | sdp_types::MediaClock::Direct(_) => {
            Some(MediaClock::Other(value.into()))
        }
        sdp_types::MediaClock::Ieee1722StreamId(_) | sdp_types::MediaClock::Ext(_) => {
            let text = format!("the media clock {} is neither direct nor sender", quoted(value));
            out.add(line, Code::MediaclkKind, text, "a=mediaclk:direct=0");
            (!value.is_empty()).then(|| MediaClock::Other(value.into()))
        }
    }
}
