//! Where pages and files go: pages to memory until their row group is full, and files to the disk
//! with their checksums.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result as ParquetResult;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The pages of a column, in memory until its row group is full.
#[derive(Clone)]
pub(super) struct SharedPages(Arc<Mutex<TrackedWrite<Vec<u8>>>>);

impl Default for SharedPages {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(TrackedWrite::new(Vec::new()))))
    }
}

impl SharedPages {
    pub(super) fn size(&self) -> usize {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.bytes_written()
    }

    pub(super) fn take(&self) -> Vec<u8> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = std::mem::replace(&mut *pages, TrackedWrite::new(Vec::new()));
        full.into_inner().unwrap_or_default()
    }
}

impl PageWriter for SharedPages {
    fn write_page(&mut self, page: CompressedPage) -> ParquetResult<PageWriteSpec> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        SerializedPageWriter::new(&mut pages).write_page(page)
    }

    fn close(&mut self) -> ParquetResult<()> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.flush()?;
        Ok(())
    }
}

/// A file that knows its size and checksums.
pub(super) struct SummedFile {
    pub(super) file: BufWriter<File>,
    pub(super) all: Xxh3,
    pub(super) tail: Option<Xxh3>,
    pub(super) size: u64,
    /// The last bytes written.
    pub(super) end: [u8; 8],
}

impl Write for SummedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.all.update(bytes);
        if let Some(tail) = &mut self.tail {
            tail.update(bytes);
        }
        self.size += bytes.len() as u64;
        let new = &bytes[bytes.len().saturating_sub(self.end.len())..];
        let kept = self.end.len() - new.len();
        self.end.copy_within(new.len().., 0);
        self.end[kept..].copy_from_slice(new);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Adds the checksum of each page: the lower half of its xxh3-64, in 8 hexadecimal digits.
pub(super) fn sum_pages(chunk: &[u8], close: &ColumnCloseResult, sums: &mut String) {
    let locations = close
        .offset_index
        .iter()
        .flat_map(|index| &index.page_locations);
    let mut starts: Vec<usize> = locations.map(|page| page.offset as usize).collect();
    if close.metadata.dictionary_page_offset().is_some() {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([chunk.len()]);
    for (start, end) in starts.iter().zip(ends) {
        let sum = xxh3_64(&chunk[*start..end]) as u32;
        write!(sums, "{sum:08x}").expect("a String takes all there is memory for");
    }
}
