//! Reads ranges of rows of a Parquet file, a column at a time: only the pages that hold them, and
//! each page only after its checksum.

mod checked;

pub(crate) use checked::Pages;

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::statistics::Statistics;
use parquet::schema::types::TypePtr;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::decoded::DecodedPages;
use crate::error::{BlockError, Place};
use crate::meta::{FileMeta, hex};
use crate::source::BlockFiles;
use checked::{BoundedPages, CheckedFile, Chunk, FetchedFile, pages};

/// The longest tail that is read, in bytes; a file of 1 GiB has about 1 MiB.
const MAX_TAIL_BYTES: u64 = 64 << 20;
/// For how many values room is made before they come.
const MAX_RESERVED: usize = 1 << 20;
/// How much of a file is read at once to check all of it.
const VERIFY_BYTES: u64 = 4 << 20;

/// Names a file by what it holds: its copies, here and in the bucket, have the same name.
fn file_id(place: &Place, expected: &FileMeta) -> u128 {
    let parts = [&place.block, &place.file, &expected.checksum];
    xxh3_128(parts.map(String::as_str).join("/").as_bytes())
}

/// Ranges of rows of a row group, ascending and apart.
pub(crate) type RowRanges = Vec<Range<usize>>;

/// What was read of a column: values, and levels where the column has them.
#[derive(Debug)]
pub(crate) struct Cells<T> {
    pub(crate) values: Vec<T>,
    pub(crate) definitions: Vec<i16>,
    pub(crate) repetitions: Vec<i16>,
}

/// An open Parquet file of a block.
#[derive(Debug)]
pub(crate) struct Table {
    place: Place,
    file: Arc<CheckedFile>,
    meta: Arc<ParquetMetaData>,
}

impl Table {
    /// Opens a file: reads its tail and checks it against what `meta.json` says.
    pub(crate) fn open(
        files: Arc<dyn BlockFiles>,
        place: Place,
        expected: &FileMeta,
        schema: &TypePtr,
    ) -> Result<Self, BlockError> {
        let size = expected.size;
        if let Some(found) = files.size(&place.file).map_err(|e| place.io(e))?
            && found != size
        {
            let sizes = format!("it has {found} bytes, meta.json says {size}");
            return Err(place.corrupt(sizes));
        }
        let tail_bytes = expected.size.saturating_sub(expected.tail_offset);
        if tail_bytes > MAX_TAIL_BYTES {
            let limit = "more than max_tail_bytes of";
            return Err(place.corrupt(format!(
                "its tail has {tail_bytes} bytes, {limit} {MAX_TAIL_BYTES}"
            )));
        }
        let range = expected.tail_offset..size;
        let fits = |tail: &Bytes| hex(xxh3_64(tail)) == expected.tail_checksum;
        let mut tail = read_one(&*files, &place, range.clone())?;
        if !fits(&tail) {
            // A copy of it may be what is damaged.
            files.forget(&place.file, &range);
            tail = read_one(&*files, &place, range.clone())?;
        }
        if !fits(&tail) {
            files.forget(&place.file, &range);
            return Err(place.corrupt("its tail does not fit its checksum"));
        }
        let mut file = CheckedFile {
            files,
            name: place.file.clone(),
            size,
            tail,
            tail_offset: expected.tail_offset,
            pages: Vec::new(),
            id: file_id(&place, expected),
        };
        let mut reader =
            ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        reader.try_parse(&file).map_err(|e| place.reading(e))?;
        let meta = reader.finish().map_err(|e| place.reading(e))?;
        if meta.file_metadata().schema() != schema.as_ref() {
            return Err(place.corrupt("its schema is not that of this version"));
        }
        if u64::try_from(meta.file_metadata().num_rows()) != Ok(expected.rows) {
            return Err(place.corrupt("it has another number of rows than meta.json says"));
        }
        file.pages =
            pages(&meta).ok_or_else(|| place.corrupt("its page index contradicts itself"))?;
        // What the tail says is in `meta` now.
        file.tail = Bytes::new();
        let file = Arc::new(file);
        Ok(Self {
            place,
            file,
            meta: Arc::new(meta),
        })
    }

    /// What errors about this file say.
    pub(crate) fn corrupt(&self, what: impl Into<String>) -> BlockError {
        self.place.corrupt(what)
    }

    /// Where the file comes from.
    pub(crate) fn files(&self) -> &Arc<dyn BlockFiles> {
        &self.file.files
    }

    /// Where what is decoded is kept, and the name the file has there.
    pub(crate) fn decoded(&self) -> Option<(&DecodedPages, u128)> {
        let decoded = self.file.files.decoded()?;
        Some((decoded, self.file.id))
    }

    /// What the footer says.
    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        &self.meta
    }

    /// How many row groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.meta.num_row_groups()
    }

    /// How many rows a group has.
    pub(crate) fn group_rows(&self, group: usize) -> usize {
        usize::try_from(self.meta.row_group(group).num_rows()).unwrap_or_default()
    }

    /// Which rows of which groups these rows of the file are; they ascend.
    pub(crate) fn locate(&self, rows: impl Iterator<Item = usize>) -> Vec<(usize, RowRanges)> {
        let mut found: Vec<(usize, RowRanges)> = Vec::new();
        let (mut group, mut before) = (0, 0);
        for row in rows {
            while group < self.groups() && row >= before + self.group_rows(group) {
                before += self.group_rows(group);
                group += 1;
            }
            if found.last().is_none_or(|(last, _)| *last != group) {
                found.push((group, Vec::new()));
            }
            let row = row - before;
            match found.last_mut().and_then(|(_, ranges)| ranges.last_mut()) {
                Some(last) if last.end == row => last.end += 1,
                _ => found
                    .last_mut()
                    .into_iter()
                    .for_each(|(_, ranges)| ranges.push(row..row + 1)),
            }
        }
        found
    }

    /// The least and greatest number of a column in a group, where that is known.
    pub(crate) fn bounds(&self, group: usize, column: usize) -> Option<(i64, i64)> {
        match self.meta.row_group(group).column(column).statistics()? {
            Statistics::Int32(s) => Some((i64::from(*s.min_opt()?), i64::from(*s.max_opt()?))),
            Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
            _ => None,
        }
    }

    /// The rows of a group's pages that may hold texts for which `keep` holds, given bounds of a
    /// page's texts; all rows where the page index does not tell.
    pub(crate) fn pages_with(
        &self,
        group: usize,
        column: usize,
        keep: impl Fn(&[u8], &[u8]) -> bool,
    ) -> RowRanges {
        let rows = self.group_rows(group);
        let index = self.meta.page_index_for_row_group(group);
        let (Some(ColumnIndexMetaData::BYTE_ARRAY(bounds)), Some(pages)) =
            (index.column_index(column), index.page_locations(column))
        else {
            return join(std::iter::once(0..rows));
        };
        let start = |page: usize| {
            let first = pages.get(page).map(|page| page.first_row_index);
            first.map_or(rows, |first| {
                usize::try_from(first).unwrap_or_default().min(rows)
            })
        };
        let may_hold = |page: &usize| match (bounds.min_value(*page), bounds.max_value(*page)) {
            (Some(least), Some(greatest)) => keep(least, greatest),
            _ => true,
        };
        let kept = (0..pages.len())
            .filter(may_hold)
            .map(|page| start(page)..start(page + 1));
        join(kept)
    }

    /// Fetches the pages that hold rows of groups in some columns, all in one call.
    pub(crate) fn fetch<'r>(
        &self,
        wanted: impl IntoIterator<Item = (usize, &'r [Range<usize>])>,
        columns: impl IntoIterator<Item = usize> + Clone,
    ) -> Result<Pages, BlockError> {
        self.fetch_parts(wanted.into_iter().flat_map(|(group, rows)| {
            let columns = columns.clone().into_iter();
            columns.map(move |column| (group, column, rows))
        }))
    }

    /// Fetches the pages that hold rows of groups in some columns and, with them, in others; nothing
    /// where all of the first are in memory decompressed.
    pub(crate) fn fetch_with<'r>(
        &self,
        wanted: impl IntoIterator<Item = (usize, &'r [Range<usize>])> + Clone,
        columns: &[usize],
        others: &[usize],
    ) -> Result<Pages, BlockError> {
        let mut places = Vec::new();
        for (group, rows) in wanted.clone() {
            for column in columns {
                self.places_of(group, *column, rows, &mut places);
            }
        }
        if self.file.knows(&places) {
            return Ok(Pages::default());
        }
        for (group, rows) in wanted {
            for column in others {
                self.places_of(group, *column, rows, &mut places);
            }
        }
        self.file.fetch(places).map_err(|e| self.place.io(e))
    }

    /// Fetches the pages of parts, all in one call: each is a group, a column, and rows of it.
    pub(crate) fn fetch_parts<'r>(
        &self,
        parts: impl IntoIterator<Item = (usize, usize, &'r [Range<usize>])>,
    ) -> Result<Pages, BlockError> {
        let mut places = Vec::new();
        for (group, column, rows) in parts {
            self.places_of(group, column, rows, &mut places);
        }
        self.file.fetch(places).map_err(|e| self.place.io(e))
    }

    /// Whether a column may have values in these rows, by its page index.
    pub(crate) fn may_have_values(
        &self,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
    ) -> bool {
        let index = self.meta.page_index_for_row_group(group);
        let (Some(bounds), Some(pages)) =
            (index.column_index(column), index.page_locations(column))
        else {
            return true;
        };
        let mut with_rows = pages_of(pages, rows);
        with_rows.any(|at| !bounds.is_null_page(at))
    }

    /// Where the pages lie that hold rows of a column, its dictionary included.
    fn places_of(
        &self,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
        places: &mut Vec<Range<u64>>,
    ) {
        if group >= self.groups() || rows.is_empty() {
            return;
        }
        let chunk = self.meta.row_group(group).column(column);
        let index = self.meta.page_index_for_row_group(group);
        let Some(pages) = index.page_locations(column) else {
            return;
        };
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        if let (Some(dictionary), Some(first)) = (chunk.dictionary_page_offset(), pages.first()) {
            let place = number(dictionary)..number(first.offset);
            places.extend(Some(place).filter(|place| !place.is_empty()));
        }
        for page in pages_of(pages, rows).filter_map(|at| pages.get(at)) {
            let length = u64::try_from(page.compressed_page_size).unwrap_or_default();
            places.push(number(page.offset)..number(page.offset) + length);
        }
    }

    /// Reads rows of a column that is not nullable.
    pub(crate) fn read<T: DataType>(
        &self,
        pages: &Pages,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
    ) -> Result<Vec<T::T>, BlockError> {
        let cells = self.read_cells::<T>(pages, group, column, rows)?;
        let wanted: usize = rows.iter().map(Range::len).sum();
        if cells.values.len() != wanted {
            return Err(self.short(column));
        }
        Ok(cells.values)
    }

    /// Reads rows of a column in which values may be missing.
    pub(crate) fn read_optional<T: DataType>(
        &self,
        pages: &Pages,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
    ) -> Result<Vec<Option<T::T>>, BlockError> {
        let cells = self.read_cells::<T>(pages, group, column, rows)?;
        let mut values = cells.values.into_iter();
        let take = |level: &i16| (*level > 0).then(|| values.next()).flatten();
        Ok(cells.definitions.iter().map(take).collect())
    }

    /// Reads rows of a column, with levels.
    pub(crate) fn read_cells<T: DataType>(
        &self,
        pages: &Pages,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
    ) -> Result<Cells<T::T>, BlockError> {
        let count = rows.iter().map(Range::len).sum();
        self.read_lists::<T>(pages, group, column, rows, count)
    }

    /// Reads rows of a column, with levels, where it should have so many values.
    pub(crate) fn read_lists<T: DataType>(
        &self,
        pages: &Pages,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
        expected: usize,
    ) -> Result<Cells<T::T>, BlockError> {
        // A page that fits its checksum was written so. The Parquet library panics at some pages
        // that contradict themselves; nothing of what it panicked in is used afterwards.
        let read = AssertUnwindSafe(|| self.try_read::<T>(pages, group, column, rows, expected));
        let read = catch_unwind(read).map_err(|_| self.corrupt("a page can't be decoded"))?;
        let (cells, count) = read.map_err(|e| self.place.reading(e))?;
        let wanted: usize = rows.iter().map(Range::len).sum();
        if count != wanted {
            return Err(self.short(column));
        }
        Ok(cells)
    }

    fn short(&self, column: usize) -> BlockError {
        let path = self
            .meta
            .file_metadata()
            .schema_descr()
            .column(column)
            .path()
            .string();
        self.corrupt(format!("column {path} has fewer rows than it should"))
    }

    fn try_read<T: DataType>(
        &self,
        pages: &Pages,
        group: usize,
        column: usize,
        rows: &[Range<usize>],
        expected: usize,
    ) -> ParquetResult<(Cells<T::T>, usize)> {
        if group >= self.groups() {
            return Err(ParquetError::General(format!(
                "there is no row group {group}"
            )));
        }
        let mut reader = self.column::<T>(pages, group, column)?;
        let descriptor = self.meta.row_group(group).column(column).column_descr();
        let levels = |most: i16| if most > 0 { expected } else { 0 };
        let room = expected.min(MAX_RESERVED);
        let mut cells = Cells {
            values: Vec::with_capacity(room),
            definitions: Vec::with_capacity(levels(descriptor.max_def_level()).min(room)),
            repetitions: Vec::with_capacity(levels(descriptor.max_rep_level()).min(room)),
        };
        let (mut at, mut count) = (0, 0);
        for range in rows {
            let gap = range.start.saturating_sub(at);
            if gap > 0 && reader.skip_records(gap)? != gap {
                break;
            }
            let mut left = range.len();
            while left > 0 {
                let (read, _, _) = reader.read_records(
                    left,
                    Some(&mut cells.definitions),
                    Some(&mut cells.repetitions),
                    &mut cells.values,
                )?;
                if read == 0 {
                    break;
                }
                left -= read.min(left);
                count += read;
            }
            at = range.end;
        }
        Ok((cells, count))
    }

    fn column<T: DataType>(
        &self,
        fetched: &Pages,
        group: usize,
        column: usize,
    ) -> ParquetResult<ColumnReaderImpl<T>> {
        let chunk = self.meta.row_group(group).column(column);
        let file = FetchedFile {
            file: Arc::clone(&self.file),
            pages: fetched.clone(),
        };
        let pages = BoundedPages::new(
            file,
            Chunk {
                meta: Arc::clone(&self.meta),
                group,
                column,
                index: self.meta.page_index_for_row_group(group),
                rows: self.group_rows(group),
            },
        )?;
        let descriptor = chunk.column_descr_ptr();
        Ok(get_typed_column_reader(get_column_reader(
            descriptor,
            Box::new(pages),
        )))
    }

    /// Where the pages lie, and their checksums.
    #[cfg(test)]
    pub(crate) fn pages(&self) -> Vec<(Range<usize>, u32)> {
        let pages = self.file.pages.iter();
        pages
            .map(|page| {
                let start = page.start as usize;
                (start..start + page.length as usize, page.sum)
            })
            .collect()
    }

    /// Reads the whole file and compares its checksum.
    pub(crate) fn verify(&self, expected: &FileMeta) -> Result<(), BlockError> {
        let mut hasher = Xxh3::new();
        let mut at = 0;
        while at < self.file.size {
            let end = self.file.size.min(at + VERIFY_BYTES);
            hasher.update(&read_one(&*self.file.files, &self.place, at..end)?);
            at = end;
        }
        if hex(hasher.digest()) != expected.checksum {
            return Err(self.corrupt("it does not fit its checksum"));
        }
        Ok(())
    }
}

/// Which pages hold any of these rows, which ascend.
fn pages_of(pages: &[PageLocation], rows: &[Range<usize>]) -> impl Iterator<Item = usize> {
    let row_of = |at: usize| {
        let row = |page: &PageLocation| usize::try_from(page.first_row_index).unwrap_or_default();
        pages.get(at).map(row)
    };
    let mut rows = rows.iter().peekable();
    (0..pages.len()).filter(move |at| {
        let start = row_of(*at).unwrap_or_default();
        let end = row_of(at + 1).unwrap_or(usize::MAX);
        while rows.next_if(|range| range.end <= start).is_some() {}
        rows.peek().is_some_and(|range| range.start < end)
    })
}

/// Reads one range of a file.
fn read_one(files: &dyn BlockFiles, place: &Place, range: Range<u64>) -> Result<Bytes, BlockError> {
    let wanted = range.end.saturating_sub(range.start);
    let read = files.read(&place.file, std::slice::from_ref(&range));
    let read = read.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => place.corrupt("it is shorter than meta.json says"),
        _ => place.io(error),
    })?;
    let bytes = read.into_iter().next().unwrap_or_default();
    if bytes.len() as u64 != wanted {
        return Err(place.corrupt("it is shorter than meta.json says"));
    }
    Ok(bytes)
}

/// Joins ranges that touch.
fn join(ranges: impl Iterator<Item = Range<usize>>) -> RowRanges {
    let mut joined: RowRanges = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// A text column's value.
pub(crate) fn text(value: &ByteArray) -> Option<&str> {
    std::str::from_utf8(value.data()).ok()
}
