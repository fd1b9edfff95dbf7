//! Evaluation: a plan, over a source of series, to a value.

pub mod column;
pub mod kernel;
