//! What no single medium shows: groups, names, and streams that collide.

use super::finding::{Code, Findings, quoted};
use super::medium::Place;
use super::session::{Leg, Media, Session};
use super::text::Fields;

/// Notes what does not go together in a session.
pub(super) fn check(session: &Session, places: &[Place], fields: &Fields, out: &mut Findings) {
    names(fields, out);
    groups(session, places, fields, out);
    collisions(session, places, out);
}

/// Each `mid` is there once.
fn names(fields: &Fields, out: &mut Findings) {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for section in &fields.media {
        let Some(mid) = section.all("mid").next().filter(|mid| !mid.value.is_empty()) else {
            continue;
        };
        match seen.iter().find(|(name, _)| *name == mid.value) {
            Some((name, line)) => {
                let text = format!("mid {} is that of line {line} too", quoted(name));
                out.add(mid.line, Code::MidRepeated, text, "a name that no other medium has");
            }
            None => seen.push((&mid.value, mid.line)),
        }
    }
}

fn groups(session: &Session, places: &[Place], fields: &Fields, out: &mut Findings) {
    let written = fields.top.all("group").filter(|it| it.value.starts_with("DUP"));
    for (group, attribute) in session.groups.iter().zip(written) {
        for mid in &group.mids {
            let named =
                |section: &super::text::Section| section.all("mid").any(|it| it.value == *mid);
            if !fields.media.iter().any(named) {
                let text = format!("the group names the mid {}, which no medium has", quoted(mid));
                out.add(attribute.line, Code::GroupMid, text, format!("a=mid:{mid} behind its m="));
            }
        }
        let of = |mid: &String| session.media.iter().position(|it| it.mid.as_ref() == Some(mid));
        let members: Vec<usize> = group.mids.iter().filter_map(of).collect();
        let Some((&first, others)) = members.split_first() else { continue };
        for &other in others.iter().filter(|&&other| other != first) {
            differ(session, places, first, other, out);
        }
    }
}

/// Notes where the second of two media is not what the first is.
fn differ(session: &Session, places: &[Place], first: usize, other: usize, out: &mut Findings) {
    let (a, b) = (&session.media[first], &session.media[other]);
    let what = if a.essence != b.essence {
        "format parameters"
    } else if a.payload_type != b.payload_type {
        "payload type"
    } else {
        return;
    };
    let first = places[first].line;
    let text = format!("another {what} than the medium of line {first}, which is the same stream");
    let remedy = "the same packets on both paths";
    out.add(places[other].parameters, Code::LegsDiffer, text, remedy);
}

/// Notes media that would come to the same address and port from the same source.
fn collisions(session: &Session, places: &[Place], out: &mut Findings) {
    for (index, media) in session.media.iter().enumerate() {
        let earlier = session.media[..index].iter().position(|other| collide(media, other));
        let Some(other) = earlier else { continue };
        let leg = &media.legs[0];
        let line = places[other].line;
        let to =
            format!("{} port {}, as does the medium of line {line}", leg.destination, media.port);
        let place = places[index].line;
        if session.paths(index).contains(&other) {
            let text = format!("the second path goes to {to}: one fault takes both");
            out.add(place, Code::LegsSame, text, "another group or source for each path");
        } else {
            let text = format!("goes to {to}: they cannot be told apart");
            out.add(place, Code::MediaCollide, text, "another group or port for each stream");
        }
    }
}

fn collide(a: &Media, b: &Media) -> bool {
    let meet = |a: &Leg, b: &Leg| {
        let open = a.sources.is_empty() || b.sources.is_empty();
        let shared = a.sources.iter().any(|source| b.sources.contains(source));
        a.destination == b.destination && (open || shared)
    };
    a.port == b.port && a.legs.iter().any(|a| b.legs.iter().any(|b| meet(a, b)))
}
