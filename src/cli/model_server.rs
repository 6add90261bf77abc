//! `resbench model-server`.

use crate::cli::{USAGE, out};
use crate::model_server::{Options, run};

pub(super) fn model_server(options: Options) -> u8 {
    match run(options, |address| out::talk(&format!("listening on http://{address}\n"))) {
        Ok(()) => 0,
        Err(error) => {
            out::error(&error.to_string());
            USAGE
        }
    }
}
