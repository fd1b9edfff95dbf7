//! Random valid PromQL over a random data set: what two engines are compared on, and what one
//! engine may not break under.
//!
//! [`dataset`] makes series of many kinds from a seed; [`Generator`] makes queries that mostly find
//! some of them, as trees of [`Expr`] that can be printed for either generation of Prometheus and
//! [shrunk](shrink).

pub mod tree;
mod print;
pub mod vocabulary;
mod counters;
mod gauges;
pub mod dataset;
mod natives;
pub mod storage;
mod generate;
mod selectors;
pub mod functions;
mod aggregations;
mod operators;
mod modern;
mod wrong;
pub mod shrink;

pub use generate::{Generator, Moment, Scope};
pub use tree::{Dialect, Expr, Kind};
