//! From the text to a signature.

use std::str::FromStr;

use super::{Misread, OPTIONS_MAX, Quirks, Signature, Window};

const FORM: &str = "ver:ittl:olen:mss:wsize,scale:olayout:quirks:pclass, as in \
                    `*:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0`";

/// Kinds of options by their names in a signature; `eol+N` and `?N` besides.
const OPTIONS: [(&str, u8); 6] =
    [("nop", 1), ("mss", 2), ("ws", 3), ("sok", 4), ("sack", 5), ("ts", 8)];

impl FromStr for Signature {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        // Each refusal names a part of `text`, so it can be pointed at.
        read(text.trim()).map_err(|(part, what)| Misread::part(text, part, what))
    }
}

/// The part that is wrong, and why.
type Wrong<'a> = (&'a str, String);

fn read(text: &str) -> Result<Signature, Wrong<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    let &[version, ttl, ip_options, mss, window, layout, quirks, payload] = &parts[..] else {
        return Err((text, format!("{} parts instead of 8: {FORM}", parts.len())));
    };
    let (size, scale) = window.split_once(',').ok_or_else(|| {
        (window, format!("{window:?} is not a window size and a scale, as in `mss*20,7`"))
    })?;
    let version = match version {
        "4" => Some(4),
        "6" => Some(6),
        "*" => None,
        _ => return Err((version, format!("{version:?} is not an IP version: 4, 6 or *"))),
    };
    let (ttl, any_hops) = read_ttl(ttl)?;
    let (layout, padding) = read_layout(layout)?;
    let (quirks, other_quirks) = read_quirks(quirks, version)?;
    Ok(Signature {
        version,
        ttl,
        any_hops,
        ip_options_octets: or_any(ip_options, "a length of IP options in octets", 255)?
            .map(low_octet),
        mss: or_any(mss, "an MSS", 65_535)?,
        window: read_window(size)?,
        scale: or_any(scale, "a window scale", 255)?.map(low_octet),
        layout,
        padding,
        quirks,
        other_quirks,
        payload: match payload {
            "*" => None,
            "0" => Some(false),
            "+" => Some(true),
            _ => {
                let what =
                    format!("{payload:?} is not a class of payload: 0 (none), + (some) or *");
                return Err((payload, what));
            }
        },
    })
}

/// Of a number up to 255.
const fn low_octet(number: u16) -> u8 {
    number.to_le_bytes()[0]
}

fn number<'a>(text: &'a str, what: &str, least: u16, most: u16) -> Result<u16, Wrong<'a>> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
        _ => Err((text, format!("{text:?} is not {what}: a number from {least} to {most}"))),
    }
}

fn or_any<'a>(text: &'a str, what: &str, most: u16) -> Result<Option<u16>, Wrong<'a>> {
    if text == "*" {
        return Ok(None);
    }
    number(text, what, 0, most)
        .map(Some)
        .map_err(|(part, what)| (part, format!("{what}, or * for any")))
}

/// `64`; `54+10`, which is the same, seen 10 hops away; `64-`, which is anything up to 64.
fn read_ttl(text: &str) -> Result<(u8, bool), Wrong<'_>> {
    let what = "an initial TTL";
    let or_forms = |(_, what): Wrong<'_>| (text, format!("{what}; or as in 54+10 or 64-"));
    if let Some(most) = text.strip_suffix('-') {
        return Ok((low_octet(number(most, what, 1, 255).map_err(or_forms)?), true));
    }
    let Some((seen, hops)) = text.split_once('+') else {
        return Ok((low_octet(number(text, what, 1, 255).map_err(or_forms)?), false));
    };
    let seen = number(seen, "a TTL", 1, 255).map_err(or_forms)?;
    let hops = number(hops, "a number of hops", 0, 255).map_err(or_forms)?;
    if seen + hops > 255 {
        return Err((text, format!("{seen} and {hops} hops are over 255, the highest TTL")));
    }
    Ok((low_octet(seen + hops), false))
}

fn read_window(text: &str) -> Result<Window, Wrong<'_>> {
    if text == "*" {
        return Ok(Window::Any);
    }
    if let Some(divisor) = text.strip_prefix('%') {
        return number(divisor, "a divisor of windows", 2, 65_535).map(Window::MultipleOf);
    }
    if let Some(times) = text.strip_prefix("mss*") {
        return number(times, "a multiple of the MSS", 1, 1000).map(Window::OfMss);
    }
    if let Some(times) = text.strip_prefix("mtu*") {
        return number(times, "a multiple of the MTU", 1, 1000).map(Window::OfMtu);
    }
    number(text, "a window", 0, 65_535)
        .map(Window::Exactly)
        .map_err(|(part, what)| (part, format!("{what}; or as in *, %8192, mss*4 or mtu*4")))
}

/// The kinds, and the octets behind the end.
fn read_layout(text: &str) -> Result<(Box<[u8]>, Option<u8>), Wrong<'_>> {
    let mut kinds = Vec::new();
    let mut padding = Some(0);
    if text.is_empty() {
        return Ok((kinds.into(), padding));
    }
    for part in text.split(',') {
        if kinds.last() == Some(&0) {
            return Err((part, format!("{part:?} stands behind eol, which ends the options")));
        }
        if kinds.len() == OPTIONS_MAX {
            return Err((part, format!("more than {OPTIONS_MAX} options: p0f looks at no more")));
        }
        let named = OPTIONS.iter().find(|(name, _)| *name == part);
        let kind = if let Some(&(_, kind)) = named {
            kind
        } else if part == "eol" {
            padding = None;
            0
        } else if let Some(octets) = part.strip_prefix("eol+") {
            padding = Some(low_octet(number(octets, "a number of octets behind eol", 0, 255)?));
            0
        } else if let Some(kind) = part.strip_prefix('?') {
            low_octet(number(kind, "the kind of an option", 0, 255)?)
        } else {
            let what = format!(
                "{part:?} is not an option: nop, mss, ws, sok, sack, ts, eol+N (N octets follow) or ?N"
            );
            return Err((part, what));
        };
        kinds.push(kind);
    }
    Ok((kinds.into(), padding))
}

/// Those that are named, and whether others may be there.
fn read_quirks(text: &str, version: Option<u8>) -> Result<(Quirks, bool), Wrong<'_>> {
    let (mut quirks, mut others) = (Quirks::default(), false);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        if part == "*" {
            others = true;
            continue;
        }
        let Some(&(name, quirk)) = Quirks::ALL.iter().find(|(name, _)| *name == part) else {
            let names: Vec<&str> = Quirks::ALL.iter().map(|&(name, _)| name).collect();
            return Err((part, format!("{part:?} is not a quirk: {} or *", names.join(", "))));
        };
        match version {
            Some(6) if Quirks::ONLY_IPV4.contains(quirk) => {
                return Err((part, format!("{name} can be in IPv4 only, and the version is 6")));
            }
            Some(4) if quirk == Quirks::FLOW => {
                return Err((part, format!("{name} can be in IPv6 only, and the version is 4")));
            }
            _ => quirks.set(quirk, true),
        }
    }
    Ok((quirks, others))
}
