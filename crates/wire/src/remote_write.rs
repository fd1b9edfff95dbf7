//! Prometheus remote write 1.0 and 2.0: from a request's body to rows whose labels still lie in it.
//!
//! The way of a body: [`snappy::decompress`] bounds and unpacks it; [`Decoder::decode`] walks it
//! once, hashes and checks as it goes, and hands on a [`Decoded`] whose rows borrow from it.
//! A row that is not allowed is left out and told; a body that is broken is refused as a whole.
//!
//! Read in this order: `decode` (the door), `v1` and `v2` (the walks), `rows` (what they fill).

pub mod snappy;
mod decode;
mod v1;
mod v2;
mod rows;
mod faults;
mod labels;
mod histogram;
mod exemplar;
mod metadata;
mod protobuf;
pub mod encode;

pub use decode::{DecodeError, Decoded, Decoder, Rejected, Version};
pub use labels::{RawLabels, SymbolTable};
