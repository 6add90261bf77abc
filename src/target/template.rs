//! Templates of bodies: what a person wrote, with cells of rows in its holes.

use crate::plan::{Dataset, Piece, Template};
use crate::target::encode;

/// Appends the template, filled with these rows.
pub(super) fn fill(template: &Template, table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    pieces(&template.before, table, rows[0], out);
    if let Some(each) = &template.each {
        encode::list(rows, out, |row, out| pieces(each, table, row, out));
    }
    pieces(&template.after, table, rows[0], out);
}

fn pieces(pieces: &[Piece], table: &Dataset, row: &[String], out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value(column) => encode::cell(table, *column, &row[*column], out),
            Piece::Inside(column) => {
                let start = out.len();
                encode::text(&row[*column], out);
                // The quotes stand in the template already.
                out.pop();
                out.remove(start);
            }
        }
    }
}
