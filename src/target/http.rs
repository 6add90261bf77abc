//! Plain HTTP: bodies as they are, rows as flat JSON objects; good is what `expect_status` says, and an answer with a prediction
//! where the scenario says that one stands.

use crate::plan::Dataset;
use crate::target::encode;

/// Appends one row as `{"column": cell, …}`, several as a list of those.
pub(super) fn encode(table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    if let [row] = rows {
        return encode::record(table, row, out);
    }
    out.push(b'[');
    encode::list(rows, out, |row, out| encode::record(table, row, out));
    out.push(b']');
}
