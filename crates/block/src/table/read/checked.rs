//! A file that hands out nothing but what fits its checksum.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use xxhash_rust::xxh3::xxh3_64;

use crate::layout::PAGE_CHECKSUMS;
use crate::source::BlockFiles;

/// Where a page lies, and its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedPage {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) sum: u32,
}

/// All pages in the order of the file, with the checksums of the footer.
pub(super) fn pages(meta: &ParquetMetaData) -> Option<Vec<CheckedPage>> {
    let keys = meta.file_metadata().key_value_metadata()?;
    let sums = keys
        .iter()
        .find(|key| key.key == PAGE_CHECKSUMS)?
        .value
        .as_deref()?;
    let mut pages: Vec<CheckedPage> = Vec::with_capacity(sums.len() / 8);
    for (number, group) in meta.row_groups().iter().enumerate() {
        let index = meta.page_index_for_row_group(number);
        for (column, chunk) in group.columns().iter().enumerate() {
            let locations = index.page_locations(column)?;
            let (start, end) = extent(chunk)?;
            let first = u64::try_from(locations.first()?.offset).ok()?;
            if first != start {
                let length = first.checked_sub(start)?;
                pages.push(CheckedPage {
                    start,
                    length,
                    sum: 0,
                });
            }
            for location in locations {
                let start = u64::try_from(location.offset).ok()?;
                let length = u64::try_from(location.compressed_page_size).ok()?;
                pages.push(CheckedPage {
                    start,
                    length,
                    sum: 0,
                });
            }
            let last = pages.last()?;
            if last.start + last.length != end {
                return None;
            }
        }
    }
    if sums.len() != pages.len() * 8 {
        return None;
    }
    for (number, page) in pages.iter_mut().enumerate() {
        page.sum = u32::from_str_radix(sums.get(number * 8..number * 8 + 8)?, 16).ok()?;
    }
    Some(pages)
}

fn extent(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = chunk
        .dictionary_page_offset()
        .unwrap_or_else(|| chunk.data_page_offset());
    let start = u64::try_from(start).ok()?;
    let length = u64::try_from(chunk.compressed_size()).ok()?;
    Some((start, start.checked_add(length)?))
}

/// A file of which nothing is handed out that has not been checked: its tail, and whole pages.
#[derive(Debug)]
pub(super) struct CheckedFile {
    pub(super) files: Arc<dyn BlockFiles>,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) tail: Bytes,
    pub(super) tail_offset: u64,
    pub(super) pages: Vec<CheckedPage>,
    /// Names the file among all: the same for each copy of it.
    pub(super) id: u128,
}

impl CheckedFile {
    fn tail_from(&self, start: u64) -> Option<Bytes> {
        let at = usize::try_from(start.checked_sub(self.tail_offset)?).ok()?;
        (at <= self.tail.len()).then(|| self.tail.slice(at..))
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for CheckedFile {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let tail = self.tail_from(start);
        tail.map(Cursor::new).ok_or_else(|| outside(start, 0))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start >= self.tail_offset {
            let tail = self.tail_from(start).filter(|tail| tail.len() >= length);
            return tail
                .map(|tail| tail.slice(..length))
                .ok_or_else(|| outside(start, length));
        }
        let page = self.page_at(start, length)?;
        let first = self.read_page(page)?;
        page.checked(first).or_else(|_| self.read_again(page))
    }
}

impl CheckedFile {
    /// The page of that place and length.
    fn page_at(&self, start: u64, length: usize) -> ParquetResult<&CheckedPage> {
        let at = self.pages.binary_search_by_key(&start, |page| page.start);
        let page = at.ok().and_then(|at| self.pages.get(at));
        let page = page.filter(|page| page.length == length as u64);
        page.ok_or_else(|| outside(start, length))
    }

    fn read_page(&self, page: &CheckedPage) -> ParquetResult<Bytes> {
        let range = page.start..page.start + page.length;
        let read = self.files.read(&self.name, std::slice::from_ref(&range));
        let read = read.map_err(|e: io::Error| ParquetError::External(Box::new(e)))?;
        Ok(read.into_iter().next().unwrap_or_default())
    }

    /// Reads a page again that did not fit its checksum: a copy of it may be what is damaged.
    fn read_again(&self, page: &CheckedPage) -> ParquetResult<Bytes> {
        let range = page.start..page.start + page.length;
        self.files.forget(&self.name, &range);
        let again = page.checked(self.read_page(page)?);
        if again.is_err() {
            self.files.forget(&self.name, &range);
        }
        again
    }

    /// Whether all these pages are in memory decompressed.
    pub(super) fn knows(&self, places: &[Range<u64>]) -> bool {
        let decoded = self.files.decoded();
        decoded.is_some_and(|known| places.iter().all(|place| known.has(self.id, place.start)))
    }

    /// Fetches pages in one call; what comes is checked when it is used.
    pub(super) fn fetch(&self, mut places: Vec<Range<u64>>) -> io::Result<Pages> {
        places.sort_unstable_by_key(|place| place.start);
        places.dedup();
        if let Some(decoded) = self.files.decoded() {
            places.retain(|place| !decoded.has(self.id, place.start));
        }
        if places.is_empty() {
            return Ok(Pages::default());
        }
        let read = self.files.read(&self.name, &places)?;
        let starts = places.iter().map(|place| place.start);
        Ok(Pages(Arc::new(starts.zip(read).collect())))
    }
}

impl CheckedPage {
    fn checked(&self, bytes: Bytes) -> ParquetResult<Bytes> {
        if bytes.len() as u64 == self.length && xxh3_64(&bytes) as u32 == self.sum {
            return Ok(bytes);
        }
        let what = format!("the page at byte {} does not fit its checksum", self.start);
        Err(ParquetError::General(what))
    }
}

/// Pages that were fetched ahead, by where they start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages(Arc<HashMap<u64, Bytes>>);

/// A file of which some pages have been fetched: others are read as they are needed.
pub(super) struct FetchedFile {
    pub(super) file: Arc<CheckedFile>,
    pub(super) pages: Pages,
}

impl Length for FetchedFile {
    fn len(&self) -> u64 {
        self.file.size
    }
}

impl ChunkReader for FetchedFile {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self.pages.0.get(&start) {
            Some(bytes) => {
                let page = self.file.page_at(start, length)?;
                let checked = page.checked(bytes.clone());
                checked.or_else(|_| self.file.read_again(page))
            }
            None => self.file.get_bytes(start, length),
        }
    }
}

fn outside(start: u64, length: usize) -> ParquetError {
    ParquetError::General(format!("{length} bytes at {start} are no page of the file"))
}

/// The pages of a column chunk: those that are known decoded, the rest as they are read. None may
/// claim more values than the chunk has: runs of levels take no bytes, so that a page could claim
/// any number and take memory for it.
pub(super) struct BoundedPages {
    file: Arc<FetchedFile>,
    chunk: Chunk,
    /// Whether the chunk begins with a dictionary.
    dictionary: Option<u64>,
    /// The next page: the dictionary, where there is one, is page 0.
    next: usize,
    /// Reads and decompresses; made when it is first needed, as it costs as much as some pages.
    reader: Option<(SerializedPageReader<FetchedFile>, usize)>,
    values: usize,
    /// Whether there are repetition levels: they are 0 or 1, as lists of this format do not nest.
    repeats: bool,
}

/// A column of a row group.
pub(super) struct Chunk {
    pub(super) meta: Arc<ParquetMetaData>,
    pub(super) group: usize,
    pub(super) column: usize,
    pub(super) index: RowGroupPageIndex,
    pub(super) rows: usize,
}

impl Chunk {
    fn column(&self) -> &ColumnChunkMetaData {
        self.meta.row_group(self.group).column(self.column)
    }

    fn pages(&self) -> &[PageLocation] {
        self.index
            .page_locations(self.column)
            .map_or(&[], Vec::as_slice)
    }
}

impl BoundedPages {
    pub(super) fn new(file: FetchedFile, chunk: Chunk) -> ParquetResult<Self> {
        let missing = || ParquetError::General("the page index is missing".to_owned());
        let column = chunk.column();
        let (start, _) = extent(column).ok_or_else(missing)?;
        let first = chunk.pages().first().ok_or_else(missing)?;
        Ok(Self {
            dictionary: (u64::try_from(first.offset) != Ok(start)).then_some(start),
            values: usize::try_from(column.num_values()).unwrap_or_default(),
            repeats: column.column_descr().max_rep_level() > 0,
            file: Arc::new(file),
            next: 0,
            reader: None,
            chunk,
        })
    }

    /// Where the next page begins; `None` at the end.
    fn offset(&self) -> Option<u64> {
        let before = usize::from(self.dictionary.is_some());
        match (self.next, self.dictionary) {
            (0, Some(dictionary)) => Some(dictionary),
            (next, _) => {
                let page = self.chunk.pages().get(next - before)?;
                u64::try_from(page.offset).ok()
            }
        }
    }

    /// Reads the next page, and checks it.
    fn read_next(&mut self) -> ParquetResult<Option<Page>> {
        if self.reader.is_none() {
            let pages = SerializedPageReader::new(
                Arc::clone(&self.file),
                self.chunk.column(),
                self.chunk.rows,
                Some(self.chunk.pages().to_vec()),
            )?;
            self.reader = Some((pages, 0));
        }
        let Some((reader, at)) = &mut self.reader else {
            return Ok(None);
        };
        while *at < self.next {
            reader.skip_next_page()?;
            *at += 1;
        }
        let page = reader.get_next_page()?;
        *at += 1;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }

    fn check(&self, page: &Page) -> ParquetResult<()> {
        self.check_levels(page)?;
        if page.is_data_page() && page.num_values() as usize > self.values {
            let what = "a page claims more values than its column has";
            return Err(ParquetError::General(what.to_owned()));
        }
        Ok(())
    }
}

impl BoundedPages {
    /// Sees that a page has the repetition levels it claims. The Parquet library would look for
    /// the next one for ever.
    fn check_levels(&self, page: &Page) -> ParquetResult<()> {
        if !self.repeats {
            return Ok(());
        }
        let levels = match page {
            Page::DataPage {
                buf,
                rep_level_encoding: Encoding::RLE,
                ..
            } => buf.split_first_chunk().and_then(|(length, rest)| {
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                rest.get(..length)
            }),
            Page::DataPageV2 {
                buf,
                rep_levels_byte_len,
                ..
            } => buf.get(..*rep_levels_byte_len as usize),
            Page::DataPage { .. } => None,
            Page::DictionaryPage { .. } => return Ok(()),
        };
        let claimed = page.num_values() as usize;
        if levels.is_some_and(|levels| levels_of(levels) >= claimed) {
            return Ok(());
        }
        let what = "a page has fewer repetition levels than it claims";
        Err(ParquetError::General(what.to_owned()))
    }
}

/// How many levels of one bit there are in runs: a header, then either one byte for all of the run
/// or a byte for each eight of them.
fn levels_of(mut runs: &[u8]) -> usize {
    let mut count = 0_usize;
    loop {
        let (mut header, mut shift) = (0_u64, 0);
        loop {
            let Some((byte, rest)) = runs.split_first() else {
                return count;
            };
            runs = rest;
            if shift > 28 {
                return count;
            }
            header |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let length = (header >> 1) as usize;
        let (levels, bytes) = match header & 1 {
            0 => (length, 1),
            _ => (length.min(runs.len()).saturating_mul(8), length),
        };
        if runs.is_empty() || length == 0 {
            return count;
        }
        count = count.saturating_add(levels);
        runs = runs.get(bytes..).unwrap_or_default();
    }
}

impl PageReader for BoundedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let Some(offset) = self.offset() else {
            return Ok(None);
        };
        let file = Arc::clone(&self.file);
        let decoded = file.file.files.decoded();
        let known = decoded.and_then(|pages| pages.get(file.file.id, offset));
        let page = match known {
            Some(page) => Some(page),
            None => {
                let read = self.read_next()?;
                match (decoded, read) {
                    (Some(pages), Some(read)) => Some(pages.keep(file.file.id, offset, read)),
                    (_, read) => read,
                }
            }
        };
        self.next += 1;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        if self.next == 0 && self.dictionary.is_some() {
            return Ok(Some(PageMetadata {
                num_rows: None,
                num_levels: None,
                is_dict: true,
            }));
        }
        let at = self.next - usize::from(self.dictionary.is_some());
        let pages = self.chunk.pages();
        let row = |page: &PageLocation| usize::try_from(page.first_row_index).unwrap_or_default();
        Ok(pages.get(at).map(|page| {
            let end = pages.get(at + 1).map_or(self.chunk.rows, row);
            PageMetadata {
                num_rows: Some(end.saturating_sub(row(page))),
                num_levels: None,
                is_dict: false,
            }
        }))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.next += 1;
        Ok(())
    }

    /// With a page index, each page begins with a record.
    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        Ok(true)
    }
}

impl Iterator for BoundedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::levels_of;

    #[test]
    fn levels_are_counted_by_run() {
        let check =
            |runs: &[u8], expected: usize| assert_eq!(levels_of(runs), expected, "{runs:?}");
        check(&[], 0);
        check(&[20, 1], 10);
        check(&[5, 0xff, 0x0f], 16);
        check(&[20, 1, 5, 0xff, 0x0f], 26);
        check(&[0x80 | 88, 2, 0], 172);
        // What is cut off, empty or endless counts for nothing.
        check(&[20], 0);
        check(&[20, 1, 5], 10);
        check(&[0, 1, 20, 1], 0);
        check(&[0xff; 9], 0);
    }
}
