//! What `command` and `http` faults do: a program that is run, or a request that is sent.
//!
//! Owns one deed from its start to success or failure; leaves alone when it is done and what proves it (`command.rs`)
//! and the journal's copy of it (`undo.rs`).

use std::path::Path;
use std::time::Duration;

use super::exec::{self, Watch};
use super::injector::Undo;
use super::undo::show_command;
use crate::client::blocking;
use crate::plan::{AnswerPaths, Protocol, Request, Target, dependency_of};
use crate::platform::process;
use crate::scenario;

#[derive(Clone)]
pub(super) enum Deed {
    Command(Vec<String>),
    Request(Request),
}

impl Deed {
    /// Does it, within `timeout`.
    pub(super) fn act(&self, dir: &Path, timeout: Duration, watch: Watch<'_>, purpose: Purpose) -> Result<(), String> {
        match self {
            Deed::Command(args) => exec::run(args, dir, timeout, watch),
            Deed::Request(request) => send(request, timeout, purpose),
        }
    }

    /// Whether it could be begun from this folder: a program must be there. A request is not sent to find out.
    pub(super) fn look(&self, dir: &Path) -> Result<(), String> {
        match self {
            Deed::Command(args) => args.first().map_or(Ok(()), |program| process::look_for(program, dir)),
            Deed::Request(_) => Ok(()),
        }
    }

    /// As a person would write it.
    pub(super) fn show(&self) -> String {
        match self {
            Deed::Command(args) => show_command(args),
            Deed::Request(request) => show_request(request),
        }
    }

    /// What its success looks like.
    pub(super) fn success(&self) -> &'static str {
        match self {
            Deed::Command(_) => "exit status 0",
            Deed::Request(_) => "an expected answer",
        }
    }

    /// How a person does it by hand.
    pub(super) fn by_hand(&self, dir: &Path) -> String {
        match self {
            Deed::Command(_) => format!("run it by hand in {}", dir.display()),
            Deed::Request(_) => "send it by hand".to_owned(),
        }
    }

    /// The step that a journal holds.
    pub(super) fn step(&self, dir: &Path, timeout: Duration) -> Undo {
        let timeout_ms = timeout.as_millis() as u64;
        if let Deed::Request(request) = self
            && let Some(name) = dependency_of(&request.url)
        {
            return Undo::InProcess { what: format!("what was done to dependency {name}, which ends with the run") };
        }
        match self {
            Deed::Command(run) => Undo::Command { run: run.clone(), dir: dir.to_owned(), timeout_ms },
            Deed::Request(request) => Undo::Request { request: request.clone(), timeout_ms },
        }
    }
}

/// What a deed is done for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    Break,
    /// Here 404 is success too: what is gone already is put back.
    PutBack,
}

/// Sends it once. Success is one of its statuses; without any, every 2xx.
///
/// # Errors
/// What was seen instead.
pub(super) fn send(request: &Request, timeout: Duration, purpose: Purpose) -> Result<(), String> {
    let url = scenario::url(&request.url)?;
    let target = Target {
        protocol: Protocol::Http,
        url: None,
        path: url.path.clone(),
        headers: request.headers.clone().into_iter().collect(),
        ca: request.ca.clone(),
        http2: false,
        method: request.method.clone(),
        expect_status: request.expect_status.clone(),
        answer: AnswerPaths::default(),
        chat: None,
        encoding: Default::default(),
    };
    let good = |status: u16| match request.expect_status.as_slice() {
        [] => (200..300).contains(&status) || (purpose == Purpose::PutBack && status == 404),
        expected => expected.contains(&status),
    };
    let judge = |answer: &crate::target::Answer<'_>| {
        let beginning: String = String::from_utf8_lossy(answer.body).chars().take(120).collect();
        if good(answer.status) {
            Ok(())
        } else {
            Err(format!("was answered with status {}: {beginning}", answer.status))
        }
    };
    let body = request.body.as_bytes();
    blocking::call(&target, &url, &request.method, body, timeout, None, judge)
        .unwrap_or_else(|(class, why)| Err(format!("failed: {}: {why}", class.word())))
}

/// `POST http://…`.
pub(super) fn show_request(request: &Request) -> String {
    format!("{} {}", request.method, request.url)
}
