//! Ancillary data of ST 2110-40 (RFC 8331), as SDP says it.

use std::fmt;

use super::finding::{Code, Findings, quoted};
use super::medium::COMMON;
use super::parameters::Parameters;
use super::rate::{Rate, digits};
use super::words::words;

/// Ancillary data: captions, timecode, and what else stood beside the picture in SDI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// Kinds of packets that may come, by DID and SDID; empty: any.
    pub kinds: Vec<(u8, u8)>,
    /// Byte 1 of the payload identifier of the video (ST 352).
    pub vpid: Option<u8>,
    /// Frames per second of the video.
    pub rate: Option<Rate>,
    /// How soon data are sent; `None` means [`Transmission::Compatible`].
    pub transmission: Option<Transmission>,
    /// Microseconds from a frame's time; `None`: the default of the format.
    pub troff_us: Option<u32>,
}

words! {
    /// How soon data are sent, ST 2110-40:2023, 7.
    pub enum Transmission {
        /// Within a millisecond of where they stood in SDI.
        Compatible = "CTM",
        /// Within some lines of it.
        LowLatency = "LLTM",
    }
}

impl Ancillary {
    /// The SSN, ST 2110-40:2023, 7: the older year unless TM is signalled.
    pub const fn ssn(&self) -> &'static str {
        match self.transmission {
            None => "ST2110-40:2018",
            Some(_) => "ST2110-40:2023",
        }
    }
}

/// What RFC 8331, 4, and ST 2110-40, 7, have.
const KNOWN: [&str; 6] = ["DID_SDID", "VPID_Code", "exactframerate", "TM", "SSN", "TROFF"];

/// Ancillary data of these parameters, all of which may be missing.
pub(super) fn read(mut parameters: Parameters, out: &mut Findings) -> Ancillary {
    let p = &mut parameters;
    let line = p.line;
    let rate = p.rate(out);
    if !p.has("exactframerate") {
        let text = "exactframerate is missing: which frames do the data belong to?";
        out.add(line, Code::AncillaryRate, text, "exactframerate=25, or that of the video");
    }
    let transmission = p.word("TM", Code::Tm, out);
    let troff_us = p.number("TROFF", 0..=u32::MAX, Code::Troff, out);
    let mut kinds = Vec::new();
    for value in p.values("DID_SDID") {
        match kind(&value) {
            Some(kind) => kinds.push(kind),
            None => {
                let text = format!("DID_SDID={}", quoted(&value));
                out.add(line, Code::DidSdid, text, "DID_SDID={0x61,0x02}");
            }
        }
    }
    let vpid = p.value("VPID_Code", out).and_then(|value| {
        let code = digits::<u8>(&value).filter(|&code| code > 0);
        if code.is_none() {
            let text = format!("VPID_Code={}", quoted(&value));
            out.add(line, Code::Vpid, text, "a number from 1 to 255");
        }
        code
    });
    let ssn = p.value("SSN", out);
    let ancillary = Ancillary { kinds, vpid, rate, transmission, troff_us };
    let wanted = ancillary.ssn();
    // ST 2110-40:2023, 7: receivers take a value of 2021 for the same as one of 2023.
    let is_right = |ssn: &String| {
        ssn == wanted || (ancillary.transmission.is_some() && ssn == "ST2110-40:2021")
    };
    if !ssn.as_ref().is_some_and(is_right) {
        let found = ssn.map_or("SSN is missing".into(), |ssn| format!("SSN={}", quoted(&ssn)));
        let when = if ancillary.transmission.is_some() { "with" } else { "without" };
        out.add(line, Code::AncillarySsn, format!("{found}, {when} TM"), format!("SSN={wanted}"));
    }
    parameters.finish(&[&KNOWN[..], &COMMON[..]].concat(), out);
    ancillary
}

/// DID and SDID of what stands behind `DID_SDID=`, RFC 8331, 4: `{0x61,0x02}`.
pub(super) fn kind(text: &str) -> Option<(u8, u8)> {
    let (did, sdid) = text.strip_prefix('{')?.strip_suffix('}')?.split_once(',')?;
    Some((octet(did.trim())?, octet(sdid.trim())?))
}

/// One or two hexadecimal digits behind `0x`.
fn octet(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let sound = (1..=2).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    sound.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

impl fmt::Display for Ancillary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ancillary data")?;
        if let Some(rate) = self.rate {
            write!(f, " at {rate}")?;
        }
        for (index, (did, sdid)) in self.kinds.iter().enumerate() {
            write!(f, "{} {did:02x}/{sdid:02x}", if index == 0 { ", DID/SDID" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_two_octets_in_braces() {
        assert_eq!(kind("{0x61,0x02}"), Some((0x61, 2)));
        assert_eq!(kind("{0x6,0xFf}"), Some((6, 0xff)));
        for text in ["", "{}", "0x61,0x02", "{61,02}", "{0x161,0x02}", "{0x,0x02}", "{0x+1,0x02}"] {
            assert_eq!(kind(text), None, "{text}");
        }
    }
}
