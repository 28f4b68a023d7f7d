//! A request that the kernel did not grant.

use std::{error, fmt, io};

use netlink_packet_core::ErrorMessage;

/// Why an rtnetlink request failed.
///
/// Names the request in the words of the caller's intent, and repeats what the
/// kernel said about it beyond the error number, where it said anything.
#[derive(Debug)]
pub struct Error {
    request: Box<str>,
    words: Option<Box<str>>,
    source: io::Error,
}

impl Error {
    pub(super) fn new(request: impl Into<Box<str>>, source: io::Error) -> Self {
        Self { request: request.into(), words: None, source }
    }

    pub(super) fn unreadable(request: impl Into<Box<str>>, cause: impl fmt::Display) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidData, cause.to_string());
        Self::new(request, source)
    }

    pub(super) fn refused(refusal: &ErrorMessage) -> Self {
        Self { request: "".into(), words: words(&refusal.header), source: refusal.to_io() }
    }

    pub(super) fn about(self, request: String) -> Self {
        Self { request: request.into(), ..self }
    }

    /// The kernel's error number, where it answered at all.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// The kernel's sentence in an extended acknowledgement.
///
/// `Documentation/userspace-api/netlink/intro.rst`: behind the header of the
/// request, which is alone with `NETLINK_CAP_ACK`, follow attributes of
/// {u16 length, u16 type, octets}; type 1, `NLMSGERR_ATTR_MSG`, is a string.
fn words(echo: &[u8]) -> Option<Box<str>> {
    const REQUEST_HEADER_LEN: usize = 16;
    const MESSAGE: u16 = 1;
    let mut rest = echo.get(REQUEST_HEADER_LEN..)?;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..len)?;
        if u16::from_ne_bytes([head[2], head[3]]) == MESSAGE {
            let text = value.split(|octet| *octet == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into());
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel did not {}", self.request)?;
        match &self.words {
            Some(words) => write!(f, " ({words})"),
            None => Ok(()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind, so that callers can still tell what is missing from what
    /// is forbidden; the text is the whole story in one line.
    fn from(error: Error) -> Self {
        Self::new(error.source.kind(), format!("{error}: {}", error.source))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn refusal(attributes: &[u8]) -> Error {
        let mut refusal = ErrorMessage::default();
        refusal.code = std::num::NonZeroI32::new(-95);
        refusal.header = [&[0xa5; 16], attributes].concat();
        Error::refused(&refusal).about("set tide0 up".into())
    }

    #[test]
    fn messages_are_exact() {
        // Type 2 is an offset; the sentence stands behind it.
        let told = refusal(b"\x08\0\x02\0\0\0\0\0\x0c\0\x01\0no veth\0");
        assert_eq!(told.to_string(), "the kernel did not set tide0 up (no veth)");
        assert_eq!(told.source().unwrap().to_string(), "Operation not supported (os error 95)");
        assert_eq!(refusal(b"").to_string(), "the kernel did not set tide0 up");
        let io = io::Error::from(refusal(b""));
        assert_eq!(io.kind(), io::ErrorKind::Unsupported);
        assert_eq!(
            io.to_string(),
            "the kernel did not set tide0 up: Operation not supported (os error 95)"
        );
    }

    #[test]
    fn cut_or_lying_attributes_give_no_words_and_never_panic() {
        let whole = b"\x08\0\x02\0\0\0\0\0\x0c\0\x01\0no veth\0";
        for end in 0..whole.len() {
            assert_eq!(refusal(&whole[..end]).words, None, "{end} octets");
        }
        assert_eq!(refusal(b"\0\0\x02\0\0\0\0\0").words, None, "a length of zero");
        assert_eq!(refusal(b"\x02\0\x02\0\0\0\0\0").words, None, "shorter than its head");
    }
}
