//! Faults: when they fire, what they do, how each is undone and proven.

mod exec;
pub mod injector;
pub mod journal;
pub mod stop;
pub mod undo;
pub mod watchdog;
