//! Reads an SDP: as much of a session as there is, and everything that is wrong with it.
//!
//! It goes on after what it cannot read, so that all is said at once. A medium that lacks what no
//! receiver can do without is left out of the session; the findings say why.

use super::check;
use super::finding::{Code, Finding, Findings, Severity, quoted};
use super::medium::{self, Place};
use super::rate::digits;
use super::session::{Group, Origin, Session};
use super::text::{self, Fields};

/// What was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What could be read; `None` where the text is no SDP at all.
    pub session: Option<Session>,
    /// Where its media stand, one for each.
    pub places: Vec<Place>,
    /// What is wrong, in the order of the lines.
    pub findings: Vec<Finding>,
}

impl Reading {
    /// Whether something of it cannot be received.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|it| it.severity == Severity::Error)
    }
}

/// Reads an SDP of ST 2110.
pub fn read(text: &[u8]) -> Reading {
    let mut out = Findings::default();
    let Some(fields) = text::fields(text, &mut out) else {
        return Reading { session: None, places: Vec::new(), findings: out.sorted() };
    };
    let (mut media, mut places) = (Vec::new(), Vec::new());
    for (index, (medium, section)) in fields.session.medias.iter().zip(&fields.media).enumerate() {
        if let Some((it, place)) = medium::read(index, medium, section, &fields.top, &mut out) {
            media.push(it);
            places.push(place);
        }
    }
    if fields.media.is_empty() {
        out.add(1, Code::NoMedia, "no m= line: nothing is sent", "add the media");
    }
    let session = Session {
        origin: origin(&fields, &mut out),
        name: name(&fields, &mut out),
        information: fields.session.session_description.clone(),
        groups: groups(&fields, &mut out),
        media,
    };
    time(&fields, &mut out);
    medium::session_filters(&fields, &mut out);
    check::check(&session, &places, &fields, &mut out);
    Reading { session: Some(session), places, findings: out.sorted() }
}

fn origin(fields: &Fields, out: &mut Findings) -> Origin {
    let origin = &fields.session.origin;
    let remedy = "o=- <number> <version> IN IP4 <address of the sender>";
    match fields.origin {
        None => out.add(1, Code::Origin, "o= is missing: nobody knows whose session it is", remedy),
        Some(line) if digits::<u64>(&origin.sess_id).is_none() => {
            let text = format!("o= has {} for a session number", quoted(&origin.sess_id));
            out.add(line, Code::Origin, text, remedy);
        }
        Some(_) => {}
    }
    Origin {
        user: origin.username.clone().unwrap_or_else(|| "-".into()),
        id: digits(&origin.sess_id).unwrap_or(0),
        version: origin.sess_version,
        host: origin.unicast_address.clone(),
    }
}

fn name(fields: &Fields, out: &mut Findings) -> String {
    let name = fields.session.session_name.trim();
    let remedy = "s=<name>, or s=- where there is none";
    match fields.name {
        None => out.add(1, Code::Name, "s= is missing", remedy),
        Some(line) if name.is_empty() => out.add(line, Code::Name, "s= is empty", remedy),
        Some(_) => {}
    }
    if name.is_empty() { "-".into() } else { name.into() }
}

fn time(fields: &Fields, out: &mut Findings) {
    let Some(line) = fields.time else {
        out.add(1, Code::TimeMissing, "t= is missing", "t=0 0 for a session without end");
        return;
    };
    if let Some(time) = fields.session.times.first()
        && (time.start_time, time.stop_time) != (0, 0)
    {
        let text = "the session begins or ends at a set time, which is left aside here";
        out.add(line, Code::TimeBounded, text, "t=0 0 for a session without end");
    }
}

fn groups(fields: &Fields, out: &mut Findings) -> Vec<Group> {
    let mut groups = Vec::new();
    for attribute in fields.top.all("group") {
        let mut words = attribute.value.split_whitespace();
        if words.next() != Some("DUP") {
            continue;
        }
        let mids: Vec<String> = words.map(str::to_owned).collect();
        if mids.len() < 2 {
            let text = "a group of fewer than two media: nothing is sent twice";
            let remedy = "a=group:DUP <mid> <mid>, or no group";
            out.add(attribute.line, Code::GroupSingle, text, remedy);
        }
        groups.push(Group { mids });
    }
    groups
}
