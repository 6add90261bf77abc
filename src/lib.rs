//! resbench: open-loop prediction traffic at a model endpoint while scripted faults hit it.
#![warn(missing_docs)]

pub mod clock;
pub mod hist;
pub mod outcome;
pub mod rng;
pub mod units;

pub mod bootstrap;
pub mod impact;
pub mod objective;
pub mod plan;
pub mod scenario;
pub mod schedule;
pub mod summary;

pub mod client;
pub mod engine;
pub mod record;
pub mod target;

pub mod fault;
pub mod platform;

pub mod report;

pub mod model_server;
