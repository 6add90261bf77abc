//! Plain HTTP: bodies as they are, rows as flat JSON objects; good is what `expect_status` says.

use crate::plan::Dataset;
use crate::target::json_cell;

/// Appends one row as `{"column": cell, …}`, several as a list of those.
pub(super) fn encode(table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    if let [row] = rows {
        return object(table, row, out);
    }
    for (n, row) in rows.iter().enumerate() {
        out.push(if n > 0 { b',' } else { b'[' });
        object(table, row, out);
    }
    out.push(b']');
}

fn object(table: &Dataset, row: &[String], out: &mut Vec<u8>) {
    out.push(b'{');
    for (column, cell) in row.iter().enumerate() {
        if column > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &table.columns[column]).expect("writing to memory");
        out.push(b':');
        json_cell(table, column, cell, out);
    }
    out.push(b'}');
}
