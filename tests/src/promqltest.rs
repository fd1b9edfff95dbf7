//! The script language in which PromQL engines are tested: `load`, `clear`, `eval`, `expect`.
//!
//! [`Script::parse`] reads a file, [`run`] loads and evaluates over the engine itself, without a
//! server between.

pub mod notation;
mod literal;
mod script;
mod custom_buckets;
mod hints;
mod pinned;
mod compare;
mod runner;

pub use runner::{EvalOutcome, Switches, run};
pub use script::Script;
