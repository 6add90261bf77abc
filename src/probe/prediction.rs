//! A prediction: a row that traffic also sends, and an answer judged as traffic's answers are.

use std::time::Duration;

use crate::client::blocking;
use crate::plan::{AddressFamily, Target, Url};
use crate::target::{Checker, RequestBodies, Wrong};

/// Sends one row and judges the answer.
pub(super) fn ask(
    target: &Target,
    url: &Url,
    checker: &Checker,
    bodies: &RequestBodies,
    row: usize,
    timeout: Duration,
    family: Option<AddressFamily>,
) -> Result<String, String> {
    let judge = |answer: &crate::target::Answer<'_>| match checker.check(answer, bodies, row) {
        Ok(facts) => Ok(facts.version.map_or("a good answer".to_owned(), |v| format!("a good answer by version {v}"))),
        Err(wrong) => {
            let beginning: String = String::from_utf8_lossy(answer.body).chars().take(120).collect();
            Err(match wrong {
                Wrong::Status(status) => format!("status {status}: {beginning}"),
                Wrong::Content(why) => format!("{why}: {beginning}"),
            })
        }
    };
    blocking::call(&bodies.target(row, target), url, &target.method, bodies.get(row), timeout, family, judge)
        .unwrap_or_else(|(class, why)| Err(format!("{url}: {}: {why}", class.word())))
}

/// Sends one body; any HTTP answer is enough.
pub(super) fn reach(
    target: &Target,
    url: &Url,
    body: &[u8],
    timeout: Duration,
    family: Option<AddressFamily>,
) -> Result<(), String> {
    blocking::call(target, url, &target.method, body, timeout, family, |_| ())
        .map_err(|(class, why)| format!("{url}: {} ({why})", class.meaning()))
}
