//! The messages of `proto/` as prost structs, written by hand so that no build needs protoc.
//!
//! Clients, tests and encoders use them; requests that come in are decoded by
//! [`crate::remote_write`].

pub mod v1;
pub mod v2;

pub use prost::Message;
