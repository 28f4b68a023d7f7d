//! Where a row's pixels belong: the divisions of a format, done once.

use tidegate_dataplane::wire::rfc4175::Row;

use crate::stream::video::format::Format;
use crate::stream::video::pgroup::Pgroup;

/// Where a row's pgroups belong: the first within the frame, and their number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) count: usize,
}

/// A picture as pgroups. Asked for each packet, so that nothing is divided here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    fields: u32,
    field_rows: u32,
    row_pgroups: u32,
    /// Octets of a pgroup.
    pub(super) pgroup_octets: u32,
    /// 2^32 by it, rounded up: see [`Pgroup::reciprocal`].
    reciprocal: u64,
    /// Lines and pixels of a pgroup are powers of two: these.
    line_bits: u32,
    pixel_bits: u32,
}

impl Grid {
    /// Of this format.
    pub(super) const fn of(format: &Format) -> Self {
        let pgroup = format.pgroup();
        Self {
            fields: format.fields(),
            field_rows: format.field_rows(),
            row_pgroups: format.row_pgroups(),
            pgroup_octets: pgroup.octets,
            reciprocal: pgroup.reciprocal(),
            line_bits: pgroup.lines.trailing_zeros(),
            pixel_bits: pgroup.pixels.trailing_zeros(),
        }
    }

    /// The place of a row, if it lies within the picture and is of whole pgroups.
    #[inline]
    pub(super) fn place_of(&self, row: &Row<'_>) -> Option<Place> {
        let (line, offset) = (u32::from(row.line), u32::from(row.offset_pixels));
        let field = u32::from(row.second_field);
        let (start, in_field) = (offset >> self.pixel_bits, line >> self.line_bits);
        let octets = u16::try_from(row.data.len()).ok()?;
        let count = Pgroup::count_by(self.reciprocal, self.pgroup_octets, octets)?;
        let fits = start << self.pixel_bits == offset
            && in_field << self.line_bits == line
            && field < self.fields
            && in_field < self.field_rows
            && start + count <= self.row_pgroups;
        let whole = in_field * self.fields + field;
        let start = (whole * self.row_pgroups + start) as usize;
        fits.then_some(Place { start, count: count as usize })
    }
}
