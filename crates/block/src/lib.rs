//! Blocks: a range of a tenant's time as immutable Parquet files, open to any SQL engine.
//!
//! [`BlockWriter`] takes series in the order of their names and labels and writes a folder of
//! files; [`Block`] opens such a folder and answers selects from the pages that hold the answer.
//! What lies in the files is specified in `docs/formats/block.md`.

mod decoded;
mod error;
mod layout;
mod source;
mod schema;
pub mod meta;
mod encode;
mod histogram;
mod timeline;
mod table;
mod writer;
mod reader;
mod at_once;
pub mod merge;
pub mod several;
pub mod bucket;
pub mod catalog;
pub mod ulid;
pub mod sizes;
pub mod families;

pub use decoded::DecodedPages;
pub use error::BlockError;
pub use layout::{BlockSpec, slice_ms_for};
pub use meta::BlockMeta;
pub use reader::Block;
pub use source::BlockFiles;
pub use writer::{BlockWriter, MAX_BLOCK_SERIES, SortKey};
