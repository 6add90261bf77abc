//! Plain HTTP: bodies as they are, rows as flat JSON objects; good is what `expect_status` says.

use crate::plan::Dataset;
use crate::target::json_cell;

/// Appends one row as `{"column": cell, …}`.
pub(super) fn encode(table: &Dataset, row: &[String], out: &mut Vec<u8>) {
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
