//! Harness for the tests of whole processes: it starts the real `tidemark`, speaks to it over
//! sockets only, and kills it.
//!
//! Nothing here uses the product's own encoders or parsers, so that a mistake in them cannot
//! cancel itself out; but [`promqltest`], which runs scripts over the engine without a process.

#![expect(
    clippy::panic,
    reason = "a panic is how a test fails, and this crate is for tests only"
)]

pub mod wait;
pub mod random;
pub mod campaign;
pub mod http;
pub mod protobuf;
pub mod remote_write;
pub mod answer;
pub mod binary;
pub mod process;
pub mod tidemark;
pub mod servers;
pub mod promqltest;
pub mod promqlgen;
pub mod differential;
