//! One frame's pixels, as the packetizer reads them.

/// Pixels that can be put into a packet: pgroups that lie somewhere ([`Picture`]), or planes that
/// become pgroups on the way ([`Planar`](super::convert::Planar)).
pub trait Pixels {
    /// Writes pgroups of `row` into `into`, from the one at octet `start` of the row on.
    ///
    /// # Panics
    ///
    /// When the picture has no such octets.
    fn write(&self, row: usize, start: usize, into: &mut [u8]);
}

/// A whole picture in pgroups, borrowed row by row, perhaps from several places.
///
/// Rows need not lie behind each other in memory: a pattern that moves sideways is the same
/// memory read from another column, and the rows with the frame number lie elsewhere. So nothing
/// has to be rendered or copied before the packets are built.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    rows: Rows<'a>,
    /// Rows that replace the first ones: for each of these, which piece of `band`.
    banded: &'a [u8],
    band: &'a [u8],
    row_octets: usize,
}

#[derive(Clone, Copy, Debug)]
enum Rows<'a> {
    /// All rows, one behind the other.
    Whole(&'a [u8]),
    /// Rows of a texture that repeats.
    Repeating { texture: &'a [u8], places: &'a [Place], shifts: [u32; 2], period: u32 },
}

/// Where in a texture a row of the picture is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// First octet of the texture's row.
    pub start: u32,
    /// How far into it the picture's row begins, in octets less than a period.
    pub shift: u32,
}

impl<'a> Picture<'a> {
    /// A picture that lies in memory as it is.
    pub const fn whole(octets: &'a [u8], row_octets: usize) -> Self {
        Self { rows: Rows::Whole(octets), banded: &[], band: &[], row_octets }
    }

    /// A picture whose rows are at `places` of a texture, further shifted by `shifts`, one for
    /// even and one for odd rows; after `period` octets a row of the texture repeats.
    pub(super) fn repeating(
        texture: &'a [u8],
        places: &'a [Place],
        shifts: [u32; 2],
        period: u32,
        row_octets: usize,
    ) -> Self {
        debug_assert!(shifts.iter().all(|&shift| shift < period));
        let rows = Rows::Repeating { texture, places, shifts, period };
        Self { rows, banded: &[], band: &[], row_octets }
    }

    /// The same, but its first rows are those of `band` that `banded` says.
    pub(super) const fn under(self, band: &'a [u8], banded: &'a [u8]) -> Self {
        Self { banded, band, ..self }
    }

    /// `len` octets of `row`, from its octet `start`.
    ///
    /// # Panics
    ///
    /// When the picture has no such octets.
    #[inline]
    pub fn octets(&self, row: usize, start: usize, len: usize) -> &'a [u8] {
        assert!(start + len <= self.row_octets, "octets {start} and {len} more of a row");
        if let Some(&index) = self.banded.get(row) {
            return &self.band[usize::from(index) * self.row_octets + start..][..len];
        }
        match self.rows {
            Rows::Whole(octets) => &octets[row * self.row_octets + start..][..len],
            Rows::Repeating { texture, places, shifts, period } => {
                let place = places[row];
                let mut shift = place.shift + shifts[row % 2];
                if shift >= period {
                    shift -= period;
                }
                &texture[(place.start + shift) as usize + start..][..len]
            }
        }
    }

    /// Whether the picture is these octets, a frame of whole rows.
    pub fn is(&self, octets: &[u8]) -> bool {
        let mut rows = octets.chunks_exact(self.row_octets).enumerate();
        rows.all(|(row, octets)| self.octets(row, 0, self.row_octets) == octets)
    }
}

impl Pixels for Picture<'_> {
    #[inline]
    fn write(&self, row: usize, start: usize, into: &mut [u8]) {
        into.copy_from_slice(self.octets(row, start, into.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pictures_are_read_as_they_lie() {
        let octets: Vec<u8> = (0..12).collect();
        let picture = Picture::whole(&octets, 4);
        assert_eq!(picture.octets(2, 1, 2), [9, 10]);
        assert!(picture.is(&octets));
    }

    #[test]
    fn rows_repeat_downwards_and_move_sideways() {
        // Two rows with a period of 3; rows of 4 octets; two rows of band, the same twice.
        let texture = [0, 1, 2, 0, 1, 2, 0, 10, 11, 12, 10, 11, 12, 10];
        let place = |start, shift| Place { start, shift };
        let places = [place(0, 0), place(7, 0), place(0, 1), place(7, 1)];
        let picture = Picture::repeating(&texture, &places, [2, 0], 3, 4);
        let band = [90, 91, 92, 93];
        let under = picture.under(&band, &[0, 0]);
        assert_eq!(picture.octets(0, 0, 4), [2, 0, 1, 2]);
        assert_eq!(under.octets(1, 1, 3), [91, 92, 93]);
        assert_eq!(under.octets(2, 0, 4), [0, 1, 2, 0], "moved by 2 + 1, a whole period");
        assert_eq!(under.octets(3, 2, 2), [10, 11], "odd rows by another step");
        let seen = [90, 91, 92, 93, 90, 91, 92, 93, 0, 1, 2, 0, 11, 12, 10, 11];
        assert!(under.is(&seen));
        assert!(!picture.is(&seen));
    }

    #[test]
    #[should_panic(expected = "octets 3 and 2 more of a row")]
    fn a_piece_never_crosses_its_row() {
        let _ = Picture::whole(&[0; 8], 4).octets(0, 3, 2);
    }
}
