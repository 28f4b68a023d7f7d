//! From the RX ring to the services, by the selector that matched in the steering program.
//!
//! The packet was parsed once, in XDP; here its selector is an index into a table. Frames of one
//! service are collected over all ports of the turn and handed over together.

use tidegate_dataplane::frame::Frame;

use crate::burst::Frames;

/// No service has this selector.
pub(crate) const NOBODY: u16 = u16::MAX;

/// Which service has which selector of one port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Box<[u16]>);

impl Claims {
    /// `claims` are pairs of selector and service.
    ///
    /// # Errors
    ///
    /// The selector that two services claim.
    pub(crate) fn new(claims: impl Iterator<Item = (u16, u16)>) -> Result<Self, u16> {
        let mut table = Vec::new();
        for (selector, service) in claims {
            let place = usize::from(selector);
            if table.len() <= place {
                table.resize(place + 1, NOBODY);
            }
            if table[place] != NOBODY {
                return Err(selector);
            }
            table[place] = service;
        }
        Ok(Self(table.into()))
    }

    #[inline]
    fn service(&self, selector: u16) -> u16 {
        self.0.get(usize::from(selector)).copied().unwrap_or(NOBODY)
    }
}

/// Where [`Queue::recv`](tidegate_dataplane::xsk::Queue::recv) puts the frames of one port.
pub(crate) struct Demux<'a> {
    pub(crate) claims: &'a Claims,
    /// One per service.
    pub(crate) staged: &'a mut [Vec<Frame>],
    /// Frames that are nobody's, at most a burst.
    pub(crate) unclaimed: &'a mut Frames,
}

impl Extend<Frame> for Demux<'_> {
    #[inline]
    fn extend<I: IntoIterator<Item = Frame>>(&mut self, frames: I) {
        for frame in frames {
            let service = self.claims.service(frame.selector());
            match self.staged.get_mut(usize::from(service)) {
                Some(staged) => staged.push(frame),
                None => self.unclaimed.push(frame),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_dataplane::frame::NO_SELECTOR;

    #[test]
    fn a_selector_is_an_index_and_all_others_are_nobodys() {
        let claims = Claims::new([(3, 0), (0, 1), (1, 0)].into_iter()).unwrap();
        assert_eq!(
            [0, 1, 2, 3, 4, NO_SELECTOR].map(|s| claims.service(s)),
            [1, 0, NOBODY, 0, NOBODY, NOBODY]
        );
    }

    #[test]
    fn refuses_a_selector_with_two_owners() {
        assert_eq!(Claims::new([(3, 0), (3, 1)].into_iter()).unwrap_err(), 3);
    }
}
