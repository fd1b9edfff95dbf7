//! PromQL: text → plan → result over a source of series. Pure and synchronous: no I/O, no clock.
//!
//! A query is parsed into an expression of ours, checked and planned, and evaluated series by
//! series over all steps at once: a series is a column of floats ([`eval::column::Column`]), an
//! aggregation holds one accumulator per group, and functions are kernels that compute one
//! series in one call ([`eval::kernel`]).

pub mod query;
pub mod value;
pub mod ast;
pub mod parse;
pub mod annotations;
pub mod format;
pub mod plan;
pub mod functions;
pub mod eval;
pub mod memory;
mod stack;

pub use eval::{
    CancelFlag, Cores, EvalError, EvalLimits, EvalOptions, Evaluation, QueryStats, QueryTime,
    Queryable,
};
pub use parse::{ParseError, ParseOptions, parse_selector};
pub use query::Query;
pub use value::QueryValue;
