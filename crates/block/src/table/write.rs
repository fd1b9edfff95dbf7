//! Writes a Parquet file column by column in bounded memory, with a checksum for each page.
//!
//! Rows are collected to batches, batches go to one column writer each, which compresses pages
//! into memory; a full row group is copied to the file. So a file takes the memory of one row
//! group, compressed, however large it becomes.

mod columns;
mod sink;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::writer::get_column_writer;
use parquet::data_type::ByteArray;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{BlockError, Place};
use crate::layout::PAGE_CHECKSUMS;
use crate::meta::{FileMeta, hex};
use crate::schema::TableSchema;
use columns::{Column, Values};
use sink::{SharedPages, SummedFile, sum_pages};

/// Rows of a row group.
const GROUP_ROWS: usize = 8192;
/// A row group ends when its compressed pages take so much.
const GROUP_BYTES: usize = 32 << 20;
/// Values that are collected before they go to the column writers.
const BATCH_VALUES: usize = 128 << 10;

/// Writes one Parquet file.
pub(crate) struct TableWriter {
    place: Place,
    file: SerializedFileWriter<SummedFile>,
    columns: Vec<Column>,
    batch_values: usize,
    group_rows: usize,
    rows: u64,
    sums: String,
}

impl TableWriter {
    /// Begins a file.
    pub(crate) fn create(
        folder: &Path,
        place: Place,
        schema: &TableSchema,
    ) -> Result<Self, BlockError> {
        let path = folder.join(&place.file);
        let file = File::create_new(path).map_err(|e| place.io(e))?;
        let summed = SummedFile {
            file: BufWriter::new(file),
            all: Xxh3::new(),
            tail: None,
            size: 0,
            end: [0; 8],
        };
        let root = Arc::clone(&schema.root);
        let file = SerializedFileWriter::new(summed, root, Arc::clone(&schema.properties))
            .map_err(|e| place.writing(e))?;
        let mut table = Self {
            place,
            file,
            columns: Vec::new(),
            batch_values: 0,
            group_rows: 0,
            rows: 0,
            sums: String::new(),
        };
        table.open_group();
        Ok(table)
    }

    /// Adds a number to a column that has one in every row.
    pub(crate) fn int32(&mut self, column: usize, value: i32) {
        self.columns[column].int32().push(value);
    }

    /// Adds a number to a column that has one in every row.
    pub(crate) fn int64(&mut self, column: usize, value: i64) {
        self.columns[column].int64().push(value);
    }

    /// Adds a number to a column that has one in every row.
    pub(crate) fn double(&mut self, column: usize, value: f64) {
        self.columns[column].double().push(value);
    }

    /// Adds a text to a column that has one in every row.
    pub(crate) fn text(&mut self, column: usize, value: ByteArray) {
        self.columns[column].text().push(value);
    }

    /// Adds a number, or none.
    pub(crate) fn optional_int32(&mut self, column: usize, value: Option<i32>) {
        let column = &mut self.columns[column];
        column.definitions.push(i16::from(value.is_some()));
        column.int32().extend(value);
    }

    /// Adds a number, or none.
    pub(crate) fn optional_double(&mut self, column: usize, value: Option<f64>) {
        let column = &mut self.columns[column];
        column.definitions.push(i16::from(value.is_some()));
        column.double().extend(value);
    }

    /// Adds a text, or none.
    pub(crate) fn optional_text(&mut self, column: usize, value: Option<ByteArray>) {
        let column = &mut self.columns[column];
        column.definitions.push(i16::from(value.is_some()));
        column.text().extend(value);
    }

    /// Adds a list of numbers that are all there.
    pub(crate) fn list_int32(&mut self, column: usize, values: &[i32]) {
        self.columns[column].list(values.len(), 1);
        self.columns[column].int32().extend_from_slice(values);
        self.batch_values += values.len();
    }

    /// Adds a list of numbers that are all there.
    pub(crate) fn list_int64(&mut self, column: usize, values: &[i64]) {
        self.columns[column].list(values.len(), 1);
        self.columns[column].int64().extend_from_slice(values);
        self.batch_values += values.len();
    }

    /// Adds a list of texts that are all there.
    pub(crate) fn list_text(
        &mut self,
        column: usize,
        values: impl ExactSizeIterator<Item = ByteArray>,
    ) {
        self.columns[column].list(values.len(), 1);
        self.batch_values += values.len();
        self.columns[column].text().extend(values);
    }

    /// Adds a list of numbers that are all there, or no list.
    pub(crate) fn optional_list_int64(&mut self, column: usize, values: Option<&[i64]>) {
        self.columns[column].list(
            values.map_or(0, <[i64]>::len),
            if values.is_some() { 2 } else { 1 },
        );
        if let Some(values) = values {
            self.columns[column].int64().extend_from_slice(values);
            self.batch_values += values.len();
        }
    }

    /// Adds a list of numbers that are all there, or no list where it is empty.
    pub(crate) fn optional_list_double(&mut self, column: usize, values: &[f64]) {
        self.columns[column].list(values.len(), if values.is_empty() { 1 } else { 2 });
        self.columns[column].double().extend_from_slice(values);
        self.batch_values += values.len();
    }

    /// Adds a list of numbers of which some are missing, or no list where there are none.
    pub(crate) fn sparse_list_int64(
        &mut self,
        column: usize,
        values: &[i64],
        present: Option<&[bool]>,
    ) {
        self.columns[column].sparse_list(values.len(), present);
        self.columns[column].int64().extend_from_slice(values);
        self.batch_values += values.len();
    }

    /// Adds a list of numbers of which some are missing, or no list where there are none.
    pub(crate) fn sparse_list_double(
        &mut self,
        column: usize,
        values: &[f64],
        present: Option<&[bool]>,
    ) {
        self.columns[column].sparse_list(values.len(), present);
        self.columns[column].double().extend_from_slice(values);
        self.batch_values += values.len();
    }

    /// Ends a row: every column has been given its part of it.
    pub(crate) fn end_row(&mut self) -> Result<(), BlockError> {
        self.batch_values += self.columns.len();
        self.group_rows += 1;
        self.rows += 1;
        if self.batch_values >= BATCH_VALUES {
            self.write_batch()?;
        }
        if self.group_rows >= GROUP_ROWS || self.group_bytes() >= GROUP_BYTES {
            self.close_group()?;
            self.open_group();
        }
        Ok(())
    }

    /// Ends the file, syncs it and says what is in it.
    pub(crate) fn finish(mut self) -> Result<FileMeta, BlockError> {
        if self.group_rows > 0 {
            self.close_group()?;
        }
        let sums = std::mem::take(&mut self.sums);
        self.file
            .append_key_value_metadata(KeyValue::new(PAGE_CHECKSUMS.to_owned(), sums));
        self.file.flush().map_err(|e| self.place.io(e))?;
        let tail_offset = self.file.inner().size;
        self.file.inner_mut().tail = Some(Xxh3::new());
        let mut summed = self.file.into_inner().map_err(|e| self.place.writing(e))?;
        let synced = summed
            .flush()
            .and_then(|()| summed.file.get_ref().sync_all());
        synced.map_err(|e| self.place.io(e))?;
        // A Parquet file ends with the length of its footer and four magic bytes.
        let length = u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|at| summed.end[at])));
        Ok(FileMeta {
            name: self.place.file,
            size: summed.size,
            rows: self.rows,
            tail_offset,
            footer_bytes: length + 8,
            checksum: hex(summed.all.digest()),
            tail_checksum: hex(summed.tail.map_or(0, |tail| tail.digest())),
        })
    }

    fn open_group(&mut self) {
        let properties = self.file.properties();
        let open = |descriptor: &parquet::schema::types::ColumnDescPtr| {
            let pages = SharedPages::default();
            let writer = get_column_writer(
                Arc::clone(descriptor),
                Arc::clone(properties),
                Box::new(pages.clone()),
            );
            Column {
                values: Values::of(&writer),
                definitions: Vec::new(),
                repetitions: Vec::new(),
                writer,
                pages,
            }
        };
        self.columns = self
            .file
            .schema_descr()
            .columns()
            .iter()
            .map(open)
            .collect();
        self.group_rows = 0;
        self.batch_values = 0;
    }

    fn group_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.pages.size()).sum()
    }

    fn write_batch(&mut self) -> Result<(), BlockError> {
        for column in &mut self.columns {
            column.write_batch().map_err(|e| self.place.writing(e))?;
        }
        self.batch_values = 0;
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), BlockError> {
        self.write_batch()?;
        let columns = std::mem::take(&mut self.columns);
        let append = || -> ParquetResult<()> {
            let mut group = self.file.next_row_group()?;
            for column in columns {
                let close = column.writer.close()?;
                let pages = Bytes::from(column.pages.take());
                sum_pages(&pages, &close, &mut self.sums);
                group.append_column(&pages, close)?;
            }
            group.close()?;
            Ok(())
        };
        append().map_err(|e| self.place.writing(e))
    }
}
