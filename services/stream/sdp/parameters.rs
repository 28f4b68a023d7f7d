//! The parameters of a format: what stands behind `a=fmtp:96`.

use std::ops::RangeInclusive;

use tidegate_config::nearest;

use super::finding::{Code, Findings, quoted};
use super::rate::{Form, Rate, digits};
use super::text::Section;
use super::words::Word;

/// The parameters of one medium, of which some have been read.
pub(super) struct Parameters {
    /// Where they stand; the line of `m=` where there are none.
    pub(super) line: usize,
    list: Vec<Parameter>,
}

struct Parameter {
    name: String,
    value: Option<String>,
    is_read: bool,
}

impl Parameters {
    /// The parameters of `payload_type`; `None` where there are none.
    pub(super) fn of(section: &Section, payload_type: u8, out: &mut Findings) -> Option<Self> {
        let mut found: Option<Self> = None;
        for attribute in section.all("fmtp") {
            let line = attribute.line;
            let Ok(fmtp) = attribute.parse::<sdp_types::Fmtp>() else {
                let text = format!("fmtp of {} is no list of parameters", quoted(&attribute.value));
                let remedy = format!("a=fmtp:{payload_type} <name>=<value>; <name>=<value>");
                out.add(line, Code::FmtpSyntax, text, remedy);
                continue;
            };
            if fmtp.fmt != payload_type {
                let text = format!("fmtp of payload type {}, which m= does not have", fmtp.fmt);
                out.add(line, Code::FmtpOther, text, format!("write a=fmtp:{payload_type}"));
                continue;
            }
            if let Some(first) = &found {
                let text = format!("a second fmtp, after line {}", first.line);
                out.add(line, Code::AttributeRepeated, text, "put all parameters into one");
                continue;
            }
            let list = fmtp.format_specific_params.into_iter().map(Parameter::from);
            let list = list.filter(|it| !it.name.is_empty() || it.value.is_some()).collect();
            found = Some(Self { line, list });
        }
        found
    }

    /// None at all.
    pub(super) const fn none(line: usize) -> Self {
        Self { line, list: Vec::new() }
    }

    /// Whether it is there, with a value or without.
    pub(super) fn flag(&mut self, name: &str, out: &mut Findings) -> bool {
        let Some(value) = self.take(name, out) else { return false };
        if let Some(value) = value {
            let text = format!("{name}={} has a value, which it must not", quoted(&value));
            out.add(self.line, Code::FlagValue, text, format!("write {name} alone"));
        }
        true
    }

    /// The value of `name`. One that has none is as good as not there.
    pub(super) fn value(&mut self, name: &str, out: &mut Findings) -> Option<String> {
        self.take(name, out)?.filter(|value| !value.is_empty())
    }

    /// The value of `name`, one of the words of `W`; `code` where it is another.
    pub(super) fn word<W: Word>(
        &mut self,
        name: &str,
        code: Code,
        out: &mut Findings,
    ) -> Option<W> {
        let value = self.value(name, out)?;
        if let Some(word) = W::of(&value) {
            return Some(word);
        }
        let allowed = W::WORDS.join(", ");
        let line = self.line;
        if let Some(word) = W::resembling(&value) {
            let text = format!("{name}={value}, whose capitals are not the standard's");
            out.add(line, Code::Capitals, text, format!("one of {allowed}"));
            return Some(word);
        }
        let close = near(&value, W::WORDS);
        let remedy = close.map_or_else(String::new, |close| format!("{name}={close}? "));
        let text = format!("{name}={} is not known", quoted(&value));
        out.add(line, code, text, format!("{remedy}one of {allowed}"));
        None
    }

    /// The value of `name`, a whole number of `range`; `code` where it is something else.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<u32>,
        code: Code,
        out: &mut Findings,
    ) -> Option<u32> {
        let value = self.value(name, out)?;
        let number = digits(&value).filter(|number| range.contains(number));
        if number.is_none() {
            let text = format!("{name}={} is no number that it may be", quoted(&value));
            let (first, last) = range.into_inner();
            out.add(self.line, code, text, format!("a whole number from {first} to {last}"));
        }
        number
    }

    /// The value of `exactframerate`.
    pub(super) fn rate(&mut self, out: &mut Findings) -> Option<Rate> {
        let value = self.value("exactframerate", out)?;
        let Some((rate, form)) = Rate::read(&value) else {
            let text = format!("exactframerate={} is no rate", quoted(&value));
            let remedy = "frames per second, as 25 or 30000/1001, up to 1000";
            out.add(self.line, Code::Rate, text, remedy);
            return None;
        };
        let said = match form {
            Form::Exact => return Some(rate),
            Form::Unreduced => "is not in its smallest terms",
            Form::Decimal => "is a decimal fraction",
        };
        let text = format!("exactframerate={value} {said}");
        out.add(self.line, Code::RateForm, text, format!("exactframerate={rate}, as it is read"));
        Some(rate)
    }

    /// Whether it is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.list.iter().any(|it| it.name.eq_ignore_ascii_case(name))
    }

    /// Its value, without taking it.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|it| it.name.eq_ignore_ascii_case(name))?.value.as_deref()
    }

    /// Each value of a parameter that may stand several times.
    pub(super) fn values(&mut self, name: &str) -> Vec<String> {
        let named = self.list.iter_mut().filter(|it| it.name.eq_ignore_ascii_case(name));
        let values = named.filter_map(|it| {
            it.is_read = true;
            it.value.clone()
        });
        values.collect()
    }

    /// Notes what nobody has read.
    pub(super) fn finish(self, known: &[&str], out: &mut Findings) {
        for Parameter { name, .. } in self.list.iter().filter(|it| !it.is_read) {
            let close = near(name, known);
            let text = format!("{} is a parameter that nobody here knows", quoted(name));
            let remedy = close.map_or("it is left aside".into(), |close| format!("{close}?"));
            out.add(self.line, Code::ParameterUnknown, text, remedy);
        }
    }

    /// The parameter, whatever its capitals (RFC 4855, section 2).
    fn take(&mut self, name: &str, out: &mut Findings) -> Option<Option<String>> {
        let line = self.line;
        let mut named = self.list.iter_mut().filter(|it| it.name.eq_ignore_ascii_case(name));
        let first = named.next()?;
        first.is_read = true;
        let mut is_repeated = false;
        for again in named {
            again.is_read = true;
            is_repeated = true;
        }
        if is_repeated {
            let text = format!("{name} stands here more than once; the first one counts");
            out.add(line, Code::ParameterRepeated, text, "leave one of them");
        }
        Some(first.value.clone())
    }
}

impl From<sdp_types::FmtpParam> for Parameter {
    fn from(it: sdp_types::FmtpParam) -> Self {
        let (name, value) = (it.param.trim().to_owned(), it.val.map(|val| val.trim().to_owned()));
        Self { name, value, is_read: false }
    }
}

/// The known word that was probably meant. Nobody means a word of a hundred letters.
fn near<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() <= 32 { nearest(word, known) } else { None }
}
