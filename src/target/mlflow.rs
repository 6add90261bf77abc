//! MLflow's scoring protocol: `POST /invocations` in one of four forms, answered by `{"predictions": […]}`.
//!
//! The forms, as mlflow.org's "Local inference server" has them: `dataframe_split` and `dataframe_records` become a pandas
//! DataFrame, `instances` and `inputs` are those of TF Serving (rows and columns).

use crate::plan::{Dataset, Form};
use crate::target::encode;

/// Appends rows in this form.
pub(super) fn encode(form: Form, table: &Dataset, rows: &[&[String]], out: &mut Vec<u8>) {
    match form {
        Form::Records | Form::Instances => {
            out.extend_from_slice(if form == Form::Records {
                br#"{"dataframe_records":["#
            } else {
                br#"{"instances":["#
            });
            encode::list(rows, out, |row, out| encode::record(table, row, out));
            out.extend_from_slice(b"]}");
        }
        Form::Inputs => {
            out.extend_from_slice(br#"{"inputs":"#);
            encode::columns(table, rows, out);
            out.push(b'}');
        }
        _ => {
            out.extend_from_slice(br#"{"dataframe_split":{"columns":["#);
            encode::list(&table.columns, out, |name, out| encode::text(name, out));
            out.extend_from_slice(br#"],"data":["#);
            encode::list(rows, out, |row, out| encode::cells(table, row, out));
            out.extend_from_slice(b"]}}");
        }
    }
}
