//! resbench: open-loop prediction traffic at a model endpoint while scripted faults hit it.
//!
//! # Map
//!
//! ```text
//! scenario file → Plan → Arrivals → engine (client, clock) → samples → recorder → RunSummary → verdicts → Report
//!                     ↘ fault timeline → runner (injector, journal, proof) → fault events ↗
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`units`], [`rng`], [`clock`], [`hist`], [`outcome`] | quantities, chance, time, histograms, how a request ends |
//! | [`statistics`] | methods of comparison: from the numbers of runs to an answer with its evidence; pure |
//! | [`plan`] | what a scenario means, valid by construction |
//! | [`scenario`] | the language: file → plan, or every problem at once |
//! | [`schedule`] | shapes × arrival processes → arrivals; pure |
//! | [`alteration`] | which arrivals a payload fault alters, and its gate |
//! | [`target`] | protocols: what a body is, what an answer means |
//! | [`client`] | the wire; a failed request is an outcome, never an error |
//! | [`engine`] | dispatch, workers, pacing |
//! | [`record`] | slots per worker, merged after the run |
//! | [`platform`] | where replicas live: processes, link, volume view |
//! | [`fault`] | timeline, runner, journal, watchdog, one file per kind |
//! | [`probe`] | the steady state |
//! | [`summary`], [`impact`], [`bootstrap`], [`objective`] | metrics, recovery, intervals, verdicts; pure |
//! | [`budget`] | what a fault costs of an error budget, which alerts it would have fired; pure |
//! | [`capacity`] | the search for the highest rate that is carried, and what follows from it; pure |
//! | [`report`] | one model, rendered to files |
//! | [`compare`] | reports of many runs → which side is worse, what is carried; pure |
//! | [`run`] | the composition root |
//! | [`cli`] | one file per command; the only module that prints |
//! | [`model_server`] | the embedded target |
//!
//! # Words
//!
//! *scenario* (what a person wrote) · *plan* (checked) · *phase* · *arrival* (one planned request) · *due / sent / done* · *latency* =
//! done − due · *service time* = done − sent · *lag* = sent − due · *shed* (never sent) · *outcome* · *window* (one second) · *slot* (at most
//! 100 ms) · *fault* · *undo* · *journal* · *proof* · *span* · *probe* · *objective* · *verdict*. One word per thing, everywhere.
//!
//! # Invariants
//!
//! - Imports go downward only; `tests/architecture.rs` checks it.
//! - Only `clock.rs` reads time or sleeps; only `cli` prints; only `fault` and `platform` change the outside world.
//! - Arrivals come from the seed alone. Nothing that happens in a run moves one.
//! - planned = ok + Σ errors + shed, in every slot, phase and span; altered requests that are counted apart are in none of these.
//! - An undo is on disk before its fault is applied.
#![warn(missing_docs)]

pub mod clock;
pub mod hist;
pub mod outcome;
pub mod rng;
pub mod statistics;
pub mod units;

pub mod plan;
pub mod scenario;

pub mod alteration;
pub mod bootstrap;
pub mod budget;
pub mod capacity;
pub mod impact;
pub mod objective;
pub mod schedule;
pub mod summary;

pub mod client;
pub mod engine;
pub mod record;
pub mod target;

pub mod fault;
pub mod platform;
pub mod probe;

pub mod report;

pub mod compare;

pub mod run;

pub mod cli;

pub mod model_server;
