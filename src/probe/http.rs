//! An HTTP request whose status and body are expected.

use std::time::Duration;

use crate::client::blocking;
use crate::plan::{AddressFamily, Target, Url};

/// What is asked and expected.
pub(super) struct Question<'a> {
    pub(super) url: &'a Url,
    pub(super) method: &'a str,
    pub(super) expect_status: &'a [u16],
    pub(super) body_contains: Option<&'a str>,
}

/// Asks once.
pub(super) fn ask(
    target: &Target,
    question: &Question<'_>,
    timeout: Duration,
    family: Option<AddressFamily>,
) -> Result<String, String> {
    let judge = |answer: &crate::target::Answer<'_>| {
        let body = String::from_utf8_lossy(answer.body);
        let beginning: String = body.chars().take(120).collect();
        if !question.expect_status.contains(&answer.status) {
            return Err(format!("status {}: {beginning}", answer.status));
        }
        match question.body_contains {
            Some(wanted) if !body.contains(wanted) => Err(format!("`{wanted}` is not in the answer: {beginning}")),
            _ => Ok(format!("status {}", answer.status)),
        }
    };
    blocking::call(target, question.url, question.method, b"", timeout, family, judge)
        .unwrap_or_else(|(class, why)| Err(format!("{} {}: {}: {why}", question.method, question.url, class.word())))
}
