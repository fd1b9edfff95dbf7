//! One Parquet file of a block: written row by row, read by ranges of rows.

mod write;
mod read;

pub(crate) use read::{Cells, Pages, RowRanges, Table, text};
pub(crate) use write::TableWriter;
