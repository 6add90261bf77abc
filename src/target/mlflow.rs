//! MLflow's scoring protocol: `POST /invocations` with `dataframe_split`, answered by `{"predictions": […]}`.

use std::borrow::Cow;

use crate::plan::Dataset;
use crate::target::{Scalar, extract, json_cell};

/// Appends rows as `{"dataframe_split":{"columns":[…],"data":[[…],…]}}`.
pub(super) fn encode(table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"dataframe_split":{"columns":"#);
    serde_json::to_writer(&mut *out, &table.columns).expect("writing to memory");
    out.extend_from_slice(br#","data":["#);
    for (n, row) in rows.iter().enumerate() {
        out.extend_from_slice(if n > 0 { b",[" } else { b"[" });
        for (column, cell) in row.iter().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            json_cell(table, column, cell, out);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"]}}");
}

/// A good answer is a JSON object with a prediction for each row, the first of which is null neither in itself nor by being no number.
pub(super) fn check(body: &[u8], rows: usize) -> Result<(), Cow<'static, str>> {
    match extract::array_at(body, "/predictions") {
        extract::Found::Array { len, first } if len == rows => match first {
            Scalar::Null => Err("the prediction is null".into()),
            Scalar::Number(n) if !n.is_finite() => Err("the prediction is not a finite number".into()),
            _ => Ok(()),
        },
        extract::Found::Array { len, .. } => {
            let s = if rows == 1 { "" } else { "s" };
            Err(format!("{len} predictions for {rows} row{s}").into())
        }
        extract::Found::NotArray => Err("`predictions` is not an array".into()),
        extract::Found::Missing => Err("no `predictions` in the answer".into()),
        extract::Found::NotJson => Err("the answer is not JSON".into()),
    }
}
