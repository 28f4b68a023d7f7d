//! One frame's pixels, as the packetizer reads them.

/// A whole picture in pgroups, borrowed line by line, perhaps from two places.
///
/// Lines need not lie behind each other in memory: a pattern that moves sideways is the same
/// memory read from another column, and the lines with the frame number lie elsewhere. So nothing
/// has to be rendered or copied before the packets are built.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    lines: Lines<'a>,
    /// Whole lines that replace the first ones.
    band: &'a [u8],
    line_octets: usize,
}

#[derive(Clone, Copy, Debug)]
enum Lines<'a> {
    /// All lines, one behind the other.
    Whole(&'a [u8]),
    /// Rows of `stride` octets that repeat downwards. Each time around they move to the left by
    /// another `step`, of `period` octets, after which a row repeats.
    Repeating { rows: &'a [u8], stride: usize, shift: usize, step: usize, period: usize },
}

impl<'a> Picture<'a> {
    /// A picture that lies in memory as it is.
    pub const fn whole(octets: &'a [u8], line_octets: usize) -> Self {
        Self { lines: Lines::Whole(octets), band: &[], line_octets }
    }

    /// A picture of repeating rows under a band.
    ///
    /// # Panics
    ///
    /// When a row is shorter than a line and a period.
    pub(super) fn repeating(
        rows: &'a [u8],
        [stride, shift, step, period]: [usize; 4],
        band: &'a [u8],
        line_octets: usize,
    ) -> Self {
        assert!(stride >= line_octets + period, "rows of {stride} octets");
        assert!(rows.len().is_multiple_of(stride) && band.len().is_multiple_of(line_octets));
        Self { lines: Lines::Repeating { rows, stride, shift, step, period }, band, line_octets }
    }

    /// `len` octets of `line`, from its octet `start`.
    ///
    /// # Panics
    ///
    /// When the picture has no such octets.
    #[inline]
    pub fn octets(&self, line: usize, start: usize, len: usize) -> &'a [u8] {
        assert!(start + len <= self.line_octets, "octets {start} and {len} more of a line");
        let at = line * self.line_octets + start;
        if let Some(octets) = self.band.get(at..at + len) {
            return octets;
        }
        match self.lines {
            Lines::Whole(octets) => &octets[at..at + len],
            Lines::Repeating { rows, stride, shift, step, period } => {
                let count = rows.len() / stride;
                let (round, row) = (line / count, line % count);
                let at = row * stride + (shift + round * step) % period + start;
                &rows[at..at + len]
            }
        }
    }

    /// Whether the picture is these octets, a frame of whole lines.
    pub fn is(&self, octets: &[u8]) -> bool {
        let mut lines = octets.chunks_exact(self.line_octets).enumerate();
        lines.all(|(line, octets)| self.octets(line, 0, self.line_octets) == octets)
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
        // Two rows with a period of 3; lines of 4 octets; one line of band.
        let rows = [0, 1, 2, 0, 1, 2, 0, 10, 11, 12, 10, 11, 12, 10];
        let band = [90, 91, 92, 93];
        let picture = Picture::repeating(&rows, [7, 2, 1, 3], &band, 4);
        assert_eq!(picture.octets(0, 1, 3), [91, 92, 93]);
        assert_eq!(picture.octets(1, 0, 4), [12, 10, 11, 12]);
        assert_eq!(picture.octets(2, 0, 4), [0, 1, 2, 0], "moved by 2 + 1, a whole period");
        assert_eq!(picture.octets(3, 2, 2), [12, 10]);
        let seen = [90, 91, 92, 93, 12, 10, 11, 12];
        assert!(picture.is(&seen));
        assert!(!picture.is(&[90, 91, 92, 93, 12, 10, 11, 11]));
    }

    #[test]
    #[should_panic(expected = "octets 3 and 2 more of a line")]
    fn a_piece_never_crosses_its_line() {
        let _ = Picture::whole(&[0; 8], 4).octets(0, 3, 2);
    }
}
