//! The extension headers of an IPv6 packet, one by one.

use super::header_octets;

/// Each as its protocol number and its octets; at most [`super::MAX_EXTENSION_HEADERS`], because the
/// packet was checked.
#[derive(Clone, Copy, Debug)]
pub struct Extensions<'a> {
    next: u8,
    rest: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// Of the headers in `octets`, which were walked once and end with the last of them.
    #[inline]
    pub(super) const fn new(first: u8, octets: &'a [u8]) -> Self {
        Self { next: first, rest: octets }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&[next, length], _) = self.rest.split_first_chunk::<2>()?;
        let kind = self.next;
        let (header, rest) = self.rest.split_at_checked(header_octets(kind, length))?;
        (self.next, self.rest) = (next, rest);
        Some((kind, header))
    }
}
