//! Options of a TCP header, RFC 9293, section 3.1.

/// Option kinds that are asked for by name.
pub mod kind {
    /// End of the list.
    pub const END: u8 = 0;
    /// Nothing, to align what follows.
    pub const NO_OPERATION: u8 = 1;
    /// Maximum segment size, RFC 9293, section 3.7.1.
    pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
    /// Window scale, RFC 7323, section 2.
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgments may be sent, RFC 2018, section 2.
    pub const SACK_PERMITTED: u8 = 4;
    /// Timestamps, RFC 7323, section 3.
    pub const TIMESTAMPS: u8 = 8;
}

/// The options one after the other, each as its kind and what is behind its length. At most 40: an
/// option has one octet at least.
///
/// Ends behind the end of the list, and before an option whose length is impossible: there no one
/// can tell where the next begins. [`Options::rest`] is what was not read.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
    ended: bool,
}

impl<'a> Options<'a> {
    /// Of the octets behind a header's first 20.
    #[inline]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, ended: false }
    }

    /// What is behind the options that were given out.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The value of the first option of this kind with so many octets of value. One of another
    /// length is not the option that it says it is.
    #[inline]
    pub fn value<const N: usize>(self, kind: u8) -> Option<&'a [u8; N]> {
        self.into_iter().find_map(|(found, value)| value.try_into().ok().filter(|_| found == kind))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&found, behind) = self.rest.split_first().filter(|_| !self.ended)?;
        if found <= kind::NO_OPERATION {
            self.ended = found == kind::END;
            self.rest = behind;
            return Some((found, &[]));
        }
        // The length counts kind and length.
        let length = usize::from(*behind.first()?).checked_sub(2)?;
        let (value, rest) = behind[1..].split_at_checked(length)?;
        self.rest = rest;
        Some((found, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux sends a SYN.
    const SYN: [u8; 20] =
        [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, kind::NO_OPERATION, 3, 3, 7];

    #[test]
    fn reads_the_options_of_a_syn_in_their_order() {
        let kinds: Vec<u8> = Options::new(&SYN).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [2, 4, 8, 1, 3]);
        let options = Options::new(&SYN);
        assert_eq!(options.value(kind::MAXIMUM_SEGMENT_SIZE), Some(&[5, 0xb4]));
        assert_eq!(options.value(kind::WINDOW_SCALE), Some(&[7]));
        assert_eq!(options.value(kind::SACK_PERMITTED), Some(&[]));
        assert_eq!(options.value(kind::TIMESTAMPS), Some(&[0, 0, 0, 7, 0, 0, 0, 0]));
        assert_eq!(options.value::<2>(5), None);
        assert_eq!(options.value::<4>(kind::MAXIMUM_SEGMENT_SIZE), None, "of another length");
    }

    #[test]
    fn ends_behind_the_end_and_before_the_impossible() {
        for (octets, expected, rest) in [
            (&[0, 2, 4, 5, 0xb4][..], 1, 4),
            (&[1, 1, 1, 1], 4, 0),
            (&[4, 2, 2, 1, 0], 1, 3),
            (&[4, 2, 2, 0], 1, 2),
            (&[4, 2, 2, 5, 0, 0], 1, 4),
            (&[4], 0, 1),
            (&[], 0, 0),
        ] {
            let mut options = Options::new(octets);
            assert_eq!(options.by_ref().count(), expected, "{octets:?}");
            assert_eq!(options.rest().len(), rest, "{octets:?}");
        }
    }

    #[test]
    fn every_prefix_and_every_octet_ends() {
        for end in 0..=SYN.len() {
            assert!(Options::new(&SYN[..end]).count() <= end);
        }
        for octet in 0..=u8::MAX {
            for at in 0..SYN.len() {
                let mut octets = SYN;
                octets[at] = octet;
                assert!(Options::new(&octets).count() <= octets.len());
            }
        }
    }
}
