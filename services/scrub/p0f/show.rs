//! A signature as text, in the form of p0f 3.

use std::fmt;

use super::{Quirks, Signature, Window};

impl fmt::Display for Signature {
    /// What reads back to the same signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |number: Option<u16>| number.map_or("*".to_owned(), |it| it.to_string());
        let version = any(self.version.map(u16::from));
        let hops = if self.any_hops { "-" } else { "" };
        write!(f, "{version}:{}{hops}:", self.ttl)?;
        write!(f, "{}:{}:", any(self.ip_options_octets.map(u16::from)), any(self.mss))?;
        match self.window {
            Window::Any => f.write_str("*")?,
            Window::Exactly(window) => write!(f, "{window}")?,
            Window::MultipleOf(divisor) => write!(f, "%{divisor}")?,
            Window::OfMss(times) => write!(f, "mss*{times}")?,
            Window::OfMtu(times) => write!(f, "mtu*{times}")?,
        }
        write!(f, ",{}:", any(self.scale.map(u16::from)))?;
        let options = self.layout.iter().map(|&kind| match (kind, self.padding) {
            (0, None) => "eol".to_owned(),
            (0, Some(octets)) => format!("eol+{octets}"),
            _ => format!("?{kind}"),
        });
        write!(f, "{}:", options.collect::<Vec<_>>().join(","))?;
        let quirks = Quirks::ALL.iter().filter(|&&(_, quirk)| self.quirks.contains(quirk));
        let others = self.other_quirks.then_some("*");
        let quirks: Vec<&str> = quirks.map(|&(name, _)| name).chain(others).collect();
        write!(f, "{}:", quirks.join(","))?;
        f.write_str(match self.payload {
            None => "*",
            Some(false) => "0",
            Some(true) => "+",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_to_itself() {
        for text in [
            "*:64:0:*:mss*20,10:mss,sok,ts,nop,ws:df,id+:0",
            "4:54+10:0:1460:65535,3:mss,nop,ws,nop,nop,sok:df:0",
            "6:64-:*:1440:mtu*4,*::flow,ecn,*:+",
            "*:255:8:*:%8192,0:mss,eol+2:opt+,bad:*",
            "4:128:0:0:*,*:?33,eol:df,id-,0+,uptr+:*",
        ] {
            let signature: Signature = text.parse().unwrap();
            let again = signature.to_string().parse::<Signature>();
            assert_eq!(again.as_ref(), Ok(&signature), "{text} as {signature}");
        }
    }
}
