//! TF Serving's REST API: `POST /v1/models/NAME:predict`, rows (`instances`, answered by `predictions`) or columns (`inputs`,
//! answered by `outputs`).
//!
//! Shapes are those of tensorflow.org/tfx/serving/api_rest ("Predict API"). TF Serving itself is not run by our tests: requests and
//! answers of its documentation are, and the embedded model server speaks it as a peer.

use crate::plan::{Dataset, Encoding, Form};
use crate::target::encode;

/// Appends rows: by rows or by columns, a tensor for each column or all of them in one.
pub(super) fn encode(encoding: &Encoding, table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(signature) = &encoding.signature {
        out.extend_from_slice(br#""signature_name":"#);
        encode::text(signature, out);
        out.push(b',');
    }
    match (encoding.form, &encoding.input) {
        (Form::Inputs, None) => {
            out.extend_from_slice(br#""inputs":"#);
            encode::columns(table, rows, out);
        }
        (Form::Inputs, Some(name)) => {
            out.extend_from_slice(br#""inputs":{"#);
            encode::text(name, out);
            out.extend_from_slice(b":[");
            encode::list(rows, out, |row, out| encode::cells(table, row, out));
            out.extend_from_slice(b"]}");
        }
        (_, None) => {
            out.extend_from_slice(br#""instances":["#);
            encode::list(rows, out, |row, out| encode::record(table, row, out));
            out.push(b']');
        }
        (_, Some(name)) => {
            out.extend_from_slice(br#""instances":["#);
            encode::list(rows, out, |row, out| {
                out.push(b'{');
                encode::text(name, out);
                out.push(b':');
                encode::cells(table, row, out);
                out.push(b'}');
            });
            out.push(b']');
        }
    }
    out.push(b'}');
}
