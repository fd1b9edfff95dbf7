//! One Parquet file of a block: written row by row, read by ranges of rows.

mod write;
mod read;

pub(crate) use read::{Cells, RowRanges, Table, text};
pub(crate) use write::TableWriter;
