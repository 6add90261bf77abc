//! resbench: open-loop prediction traffic at a model endpoint while scripted faults hit it.
#![warn(missing_docs)]

pub mod clock;
pub mod rng;
pub mod units;

pub mod model_server;
