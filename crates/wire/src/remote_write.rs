//! Prometheus remote write 1.0 and 2.0: from a request's body to rows whose labels still lie in it.

pub mod labels;
mod protobuf;

pub use labels::{RawLabels, SymbolTable};
