//! Faults: when they fire, what they do, how each is undone and proven.

pub mod injector;
pub mod io;
